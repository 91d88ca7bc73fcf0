//! From paths to jobs: what each file is, what it will be called, which folder it goes to. Reads the file
//! system, never the network.

pub mod filter;
pub mod mime;
pub mod name;
pub mod parts;
mod targets;
mod walk;

use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::Error;
use crate::platform::kind_of;
use crate::settings::Destination;

pub use filter::Filters;
pub use parts::Parts;
use targets::Targets;
pub use targets::Twin;
use walk::Walk;

/// Where a job's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// In a file.
    File(PathBuf),
    /// They come over standard input.
    Stdin,
}

/// A folder of the drive's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parent {
    /// One that is there, by its id; `None`: the drive's root.
    Existing(Option<String>),
    /// One below it, which is found or made when it is needed.
    New(Arc<Folder>),
}

impl Parent {
    /// The id of the folder that the user named.
    pub fn given(&self) -> Option<&str> {
        match self {
            Self::Existing(id) => id.as_deref(),
            Self::New(folder) => folder.above.given(),
        }
    }
}

/// A folder by its name.
#[derive(Debug, PartialEq, Eq)]
pub struct Folder {
    /// The folder that it is in.
    pub above: Parent,
    /// Its name in the drive.
    pub name: String,
    /// The directory's path as walked to.
    pub shown: String,
    /// What to warn of before it is made.
    pub warning: Option<String>,
}

/// One file to upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Where its bytes are.
    pub input: Input,
    /// Its name in the drive.
    pub name: String,
    /// What kind of file it is, if the user said so.
    pub mime_type: Option<String>,
    /// Its bytes, when it was looked at; `None`: that remains to be seen.
    pub size: Option<u64>,
    /// The folder it goes to.
    pub place: Parent,
    /// What to warn of before it is sent.
    pub warnings: Vec<String>,
    /// An input before it that gets the same name in the same folder.
    pub twin: Option<Twin>,
}

/// One input file, and what it turned out to be.
#[derive(Debug)]
pub struct Planned {
    /// The path as given or walked to, undecodable bytes as `%XX`: what messages and reports show.
    pub shown: String,
    /// The job, or why there is none.
    pub job: Result<Job, Error>,
}

/// What there is to do next.
#[derive(Debug)]
pub enum Step {
    /// A directory: the folder is to be there, whether or not a file goes into it.
    Folder(Arc<Folder>),
    /// A file.
    File(Planned),
    /// A given file that the filters leave out.
    Excluded {
        /// The path as given.
        shown: String,
    },
    /// Nothing to do, but to be told.
    Warning {
        /// The path as walked to.
        shown: String,
        /// What.
        message: String,
    },
}

/// What is to be uploaded, as the user said it.
#[derive(Debug, Clone)]
pub struct Selection {
    /// The PATHs as given.
    pub paths: Vec<OsString>,
    /// Directories are uploaded too.
    pub recursive: bool,
    /// Links in directories are followed.
    pub follow_symlinks: bool,
    /// Which entries of directories, and which of the given files, are sent.
    pub filters: Filters,
    /// Where to, and under which name and type.
    pub destination: Destination,
}

/// All steps of a run, for each PATH in its order. Each is looked at when it is asked for, and what cannot be
/// uploaded does not stop the rest.
pub fn steps(selection: Selection) -> impl Iterator<Item = Step> + Send + 'static {
    let paths = selection.paths.clone();
    let steps = paths.into_iter().flat_map(move |path| -> Box<dyn Iterator<Item = Step> + Send> {
        match given(&path, &selection) {
            Ok(Given::Directory(walk)) => walk,
            Ok(Given::Excluded) => Box::new(std::iter::once(Step::Excluded { shown: name::decode(&path).0 })),
            Ok(Given::File(job)) => one(&path, Ok(job)),
            Err(error) => one(&path, Err(error)),
        }
    });
    let mut targets = Targets::default();
    steps.map(move |step| targets.note(step))
}

fn one(path: &OsStr, job: Result<Job, Error>) -> Box<dyn Iterator<Item = Step> + Send> {
    let shown = name::decode(path).0;
    Box::new(std::iter::once(Step::File(Planned { shown, job })))
}

/// What a PATH turned out to be.
enum Given {
    File(Job),
    Directory(Box<dyn Iterator<Item = Step> + Send>),
    /// A file that the filters leave out.
    Excluded,
}

/// What one PATH stands for. Errors do not repeat the path.
fn given(path: &OsStr, selection: &Selection) -> Result<Given, Error> {
    let destination = &selection.destination;
    let place = Parent::Existing(destination.parent.clone());
    let job = |input, name, size, warnings| Job {
        input,
        name,
        mime_type: destination.mime_type.clone(),
        size,
        place: place.clone(),
        warnings,
        twin: None,
    };
    if path == "-" {
        let name = destination.name.clone().ok_or_else(|| {
            Error::usage_hint(
                "standard input has no name of its own: give it one with --name",
                "a file that is called `-` is given as ./-",
            )
        })?;
        return Ok(Given::File(job(Input::Stdin, name, None, Vec::new())));
    }
    let own_name = Path::new(path).file_name();
    let path = Path::new(path);
    let metadata = look_at(path)?;
    if metadata.is_dir() {
        if !selection.recursive {
            return Err(Error::usage_hint(
                "is a directory",
                "-r uploads directories with all that is in them",
            ));
        }
        if destination.name.is_some() {
            return Err(Error::usage_hint(
                "is a directory, and --name is for one file",
                "a directory keeps its own name; with a `/` behind it, its contents go straight into the target",
            ));
        }
        let Some(own_name) = own_name.filter(|_| !means_contents(path)) else {
            return Ok(Given::Directory(Box::new(Walk::new(path, place, None, selection))));
        };
        let (name, warning) = name::of_entry(own_name);
        let shown = name::decode(path.as_os_str()).0;
        let folder = Arc::new(Folder { above: place, name, shown, warning });
        // The directory itself is not filtered; where an include comes first it is made for the files in it only.
        let step = selection.filters.includes(Path::new(""), true).then(|| Step::Folder(Arc::clone(&folder)));
        return Ok(Given::Directory(Box::new(Walk::new(path, Parent::New(folder), step, selection))));
    }
    if own_name.is_some_and(|name| !selection.filters.includes(Path::new(name), false)) {
        return Ok(Given::Excluded);
    }
    if !metadata.is_file() {
        return Err(Error::NotAFile { kind: kind_of(metadata.file_type()) });
    }
    let (name, warning) = match (&destination.name, own_name) {
        (Some(name), _) => (name.clone(), None),
        (None, Some(own)) => name::of_entry(own),
        (None, None) => return Err(Error::usage("has no file name of its own; give one with --name")),
    };
    let (input, warnings) = (Input::File(path.to_owned()), warning.into_iter().collect());
    Ok(Given::File(job(input, name, Some(metadata.len()), warnings)))
}

/// Whether a directory stands for what is in it, as for rsync: `dir/`, `dir/.`, `.`, and what has no name.
fn means_contents(path: &Path) -> bool {
    let text = path.as_os_str().as_encoded_bytes();
    let separates = |byte: &u8| std::path::is_separator(char::from(*byte));
    match text {
        b"." => true,
        [.., last] if separates(last) => true,
        [.., before, b'.'] => separates(before),
        _ => false,
    }
}

/// What is behind a path. A link is followed; nothing is opened, since opening a FIFO waits until somebody
/// writes to it, and opening a device can do anything.
fn look_at(path: &Path) -> Result<Metadata, Error> {
    fs::metadata(path).map_err(|error| {
        let dangling = error.kind() == ErrorKind::NotFound && path.is_symlink();
        Error::local(if dangling { "open the file that the link points to" } else { "open the file" }, error)
    })
}

/// The line of `--dry-run` for one job: JSON, without a line break.
pub fn dry_run_line(shown: &str, name: &str, mime_type: &str, parts: &Parts) -> Result<String, Error> {
    #[derive(serde::Serialize)]
    struct Line<'a> {
        path: &'a str,
        name: &'a str,
        size: u64,
        mime_type: &'a str,
        part_size: u64,
        parts: u32,
    }
    let (size, part_size, parts) = (parts.size, parts.part_size, parts.count);
    serde_json::to_string(&Line { path: shown, name, size, mime_type, part_size, parts })
        .map_err(|e| Error::Internal(format!("the plan cannot be written as JSON: {e}")))
}

#[cfg(test)]
mod tests;
