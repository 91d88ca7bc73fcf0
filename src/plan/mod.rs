//! From paths to jobs: which files to upload, under which names and into which folders. Uses the file system, not the
//! network.

mod argument;
mod duplicates;
pub mod filter;
pub mod list;
pub mod mime;
pub mod name;
pub mod parts;
mod walk;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Error;
use crate::options::Destination;

pub use argument::check_relative;
pub use duplicates::Duplicate;
use duplicates::Duplicates;
pub use filter::Filters;
pub use list::{List, ListError, ListSource};
pub use parts::Parts;

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
    /// The ID of the existing folder at the top.
    pub fn existing_id(&self) -> Option<&str> {
        match self {
            Self::Existing(id) => id.as_deref(),
            Self::New(folder) => folder.parent.existing_id(),
        }
    }

    /// The new folders, from the bottom up.
    pub fn folders(&self) -> impl Iterator<Item = &Folder> {
        std::iter::successors(self.folder(), |folder| folder.parent.folder())
    }

    /// The path below the existing folder; empty for that folder itself.
    pub fn path(&self) -> String {
        let mut names: Vec<_> = self.folders().map(|folder| folder.name.as_str()).collect();
        names.reverse();
        names.join("/")
    }

    fn folder(&self) -> Option<&Folder> {
        match self {
            Self::Existing(_) => None,
            Self::New(folder) => Some(folder),
        }
    }

    /// The folder named by `--parent` and `--to`.
    fn target(destination: &Destination) -> Self {
        let mut target = Self::Existing(destination.parent.clone());
        for (at, name) in destination.to.iter().enumerate() {
            let shown = format!("--to {}", destination.to[..=at].join("/"));
            let (name, warning, has_step) = (name.clone(), None, false);
            target = Self::New(Arc::new(Folder { parent: target, name, shown, warning, has_step }));
        }
        target
    }
}

/// A folder by its name.
#[derive(Debug, PartialEq, Eq)]
pub struct Folder {
    /// The folder that contains it.
    pub parent: Parent,
    /// Its name in the drive.
    pub name: String,
    /// For messages: the directory's path, as walked to, or `--to` and its value up to this folder.
    pub shown: String,
    /// Printed before the folder is created.
    pub warning: Option<String>,
    /// It has a step of its own, which reports whether it can be created.
    pub has_step: bool,
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
    /// Size in bytes when the plan was made; unknown for standard input.
    pub size: Option<u64>,
    /// The target folder.
    pub parent: Parent,
    /// Printed before the file is sent.
    pub warnings: Vec<String>,
    /// An earlier input with the same name in the same folder.
    pub duplicate: Option<Duplicate>,
}

/// One input file and its job.
#[derive(Debug)]
pub struct Planned {
    /// The path as given or walked to, with undecodable bytes as `%XX`. Messages and reports show it.
    pub shown: String,
    /// The job, or the reason why there is none.
    pub job: Result<Job, Error>,
}

/// The warning about a given file that the filters exclude. The output of `-o report` leaves such a file out.
pub const EXCLUDED: &str =
    "skipped: excluded by --include or --exclude, on the command line or in a configuration file";

/// A step of a run.
#[derive(Debug)]
pub enum Step {
    /// Find or create a folder, even if no file goes into it.
    Folder(Arc<Folder>),
    /// Upload a file.
    File(Planned),
    /// Print a warning.
    Warning {
        /// The path as given or walked to.
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
    /// Keep the directories of each path.
    pub relative: bool,
    /// Follow links in directories.
    pub follow_symlinks: bool,
    /// Apply to entries of directories and to given files.
    pub filters: Filters,
    /// Target folders, name and MIME type.
    pub destination: Destination,
}

/// All steps of a run: those of the PATHs, then those of the paths in `list`. Each path is inspected when its step is
/// requested. An error does not stop the others.
pub fn steps(selection: Selection, list: Option<List>) -> impl Iterator<Item = Step> + Send + 'static {
    let target = Parent::target(&selection.destination);
    let arguments = selection.paths.clone().into_iter().map(|path| (path == "-", path));
    let paths = arguments.chain(list.into_iter().flatten().map(|path| (false, path)));
    let steps = paths.flat_map(move |(is_stdin, path)| {
        // In messages, `-` is standard input.
        let shown = if path == "-" && !is_stdin { "./-".to_owned() } else { name::decode(&path).0 };
        if is_stdin {
            let job = argument::standard_input(&selection.destination, &target);
            return one(Step::File(Planned { shown, job }));
        }
        argument::inspect(&path, &shown, &selection, &target)
            .unwrap_or_else(|error| one(Step::File(Planned { shown, job: Err(error) })))
    });
    let mut duplicates = Duplicates::default();
    steps.map(move |step| duplicates.mark(step))
}

type Steps = Box<dyn Iterator<Item = Step> + Send>;

fn one(step: Step) -> Steps {
    Box::new(std::iter::once(step))
}

/// One line of `--dry-run`: JSON without a line break.
pub fn dry_run_line(
    path: &str,
    name: &str,
    folder: &Parent,
    mime_type: &str,
    parts: &Parts,
) -> Result<String, Error> {
    #[derive(serde::Serialize)]
    struct Line<'a> {
        path: &'a str,
        name: &'a str,
        #[serde(skip_serializing_if = "String::is_empty")]
        to: String,
        size: u64,
        mime_type: &'a str,
        part_size: u64,
        parts: u32,
    }
    let to = folder.path();
    let (size, part_size, parts) = (parts.size, parts.part_size, parts.count);
    serde_json::to_string(&Line { path, name, to, size, mime_type, part_size, parts })
        .map_err(|e| Error::Internal(format!("the plan cannot be written as JSON: {e}")))
}

#[cfg(test)]
mod tests;
