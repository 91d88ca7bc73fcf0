//! From paths to jobs: which files to upload, under which name and into which folder. Reads the file system, never the
//! network.

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
use crate::options::Destination;
use crate::platform::kind_of;

pub use filter::Filters;
pub use parts::Parts;
use targets::Targets;
pub use targets::Twin;
use walk::Walk;

/// Where a job's bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A local file.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

/// A folder in the drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parent {
    /// An existing folder, by its ID; `None` is the drive's root.
    Existing(Option<String>),
    /// A folder below it, which is found or created when it is needed.
    New(Arc<Folder>),
}

impl Parent {
    /// The ID given by the user, at the top of the chain.
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
    /// The folder that contains it.
    pub above: Parent,
    /// Its name in the drive.
    pub name: String,
    /// The directory's path, as walked to.
    pub shown: String,
    /// Printed before the folder is created.
    pub warning: Option<String>,
}

/// One file to upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Where its bytes come from.
    pub input: Input,
    /// Its name in the drive.
    pub name: String,
    /// The MIME type, if given by the user.
    pub mime_type: Option<String>,
    /// Size in bytes when the file was looked at; unknown for standard input.
    pub size: Option<u64>,
    /// The target folder.
    pub place: Parent,
    /// Printed before the file is sent.
    pub warnings: Vec<String>,
    /// An earlier input with the same name in the same folder.
    pub twin: Option<Twin>,
}

/// One input file and the result of looking at it.
#[derive(Debug)]
pub struct Planned {
    /// The path as given or walked to, with undecodable bytes as `%XX`. Messages and reports show it.
    pub shown: String,
    /// The job, or the reason why there is none.
    pub job: Result<Job, Error>,
}

/// The next thing to do.
#[derive(Debug)]
pub enum Step {
    /// Make sure that the folder exists, whether or not a file goes into it.
    Folder(Arc<Folder>),
    /// Upload a file.
    File(Planned),
    /// Skip a given file that the filters exclude.
    Excluded {
        /// The path as given.
        shown: String,
    },
    /// Print a warning.
    Warning {
        /// The path as walked to.
        shown: String,
        /// The text of the warning.
        message: String,
    },
}

/// What the user asked to upload.
#[derive(Debug, Clone)]
pub struct Selection {
    /// The PATH arguments.
    pub paths: Vec<OsString>,
    /// Upload directories too.
    pub recursive: bool,
    /// Follow links in directories.
    pub follow_symlinks: bool,
    /// Apply to entries of directories and to given files.
    pub filters: Filters,
    /// Target folder, name and MIME type.
    pub destination: Destination,
}

/// All steps of a run, in the order of the PATHs. Each path is looked at when its step is requested. An error does not
/// stop the rest.
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
    /// A file that the filters exclude.
    Excluded,
}

/// Looks at one PATH. Errors do not repeat the path.
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
        // Filters do not apply to the directory itself. If an include comes first, its folder is created only for files
        // in it.
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

/// Whether a directory stands for its contents, as in rsync: `dir/`, `dir/.`, `.`, and paths without a name.
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

/// Looks at a path without opening it: opening a FIFO blocks until somebody writes to it, and opening a device can have
/// side effects. Links are followed.
fn look_at(path: &Path) -> Result<Metadata, Error> {
    fs::metadata(path).map_err(|error| {
        let dangling = error.kind() == ErrorKind::NotFound && path.is_symlink();
        Error::local(if dangling { "open the file that the link points to" } else { "open the file" }, error)
    })
}

/// One line of `--dry-run`: JSON without a line break.
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
