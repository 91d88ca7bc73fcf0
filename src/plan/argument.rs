//! Inspects one PATH: standard input, a file, or a directory to walk.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::path::{Component, Path};
use std::sync::Arc;

use super::walk::Walk;
use super::{EXCLUDED, Folder, Input, Job, Parent, Planned, Selection, Step, Steps, name, one};
use crate::error::Error;
use crate::options::Destination;
use crate::platform::{kind_of, literal_path, opening_error};

/// The job for the PATH `-`.
pub(super) fn standard_input(destination: &Destination, target: &Parent) -> Result<Job, Error> {
    let name = destination.name.clone().ok_or_else(|| {
        Error::usage_hint(
            "it needs a name: give it one with --name",
            "a file that is called `-` is given as ./-",
        )
    })?;
    Ok(Job {
        input: Input::Stdin,
        name,
        mime_type: destination.mime_type.clone(),
        size: None,
        parent: target.clone(),
        warnings: Vec::new(),
        duplicate: None,
    })
}

/// The steps for a path, which messages call `shown`. Errors do not repeat it.
pub(super) fn inspect(
    path: &std::ffi::OsStr,
    shown: &str,
    selection: &Selection,
    target: &Parent,
) -> Result<Steps, Error> {
    let destination = &selection.destination;
    let path = Path::new(path);
    if selection.relative {
        check_relative(path)?;
    }
    let metadata = metadata(path)?;
    let own_name = path.file_name();
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
        let is_folder = own_name.is_some() && (selection.relative || !stands_for_contents(path));
        let Some(own_name) = own_name.filter(|_| is_folder) else {
            return Ok(Box::new(Walk::new(path, target.clone(), None, selection)));
        };
        let parent = if selection.relative { directories_of(path, target) } else { target.clone() };
        let (name, warning) = name::of_entry(own_name);
        let shown = name::decode(path.as_os_str()).0;
        // Filters do not apply to the directory itself. If an include comes first, its folder is created only for files
        // in it.
        let has_step = selection.filters.includes(Path::new(""), true);
        let folder = Arc::new(Folder { parent, name, shown, warning, has_step });
        let step = has_step.then(|| Step::Folder(Arc::clone(&folder)));
        return Ok(Box::new(Walk::new(path, Parent::New(folder), step, selection)));
    }
    if own_name.is_some_and(|name| !selection.filters.includes(Path::new(name), false)) {
        return Ok(one(Step::Warning { shown: shown.to_owned(), message: EXCLUDED.to_owned() }));
    }
    if !metadata.is_file() {
        return Err(Error::not_a_file(kind_of(metadata.file_type())));
    }
    let (name, warning) = match (&destination.name, own_name) {
        (Some(name), _) => (name.clone(), None),
        (None, Some(own)) => name::of_entry(own),
        (None, None) => return Err(Error::usage("has no file name of its own; give one with --name")),
    };
    let job = Job {
        input: Input::File(path.to_owned()),
        name,
        mime_type: destination.mime_type.clone(),
        size: Some(metadata.len()),
        parent: if selection.relative { directories_of(path, target) } else { target.clone() },
        warnings: warning.into_iter().collect(),
        duplicate: None,
    };
    Ok(one(Step::File(Planned { shown: shown.to_owned(), job: Ok(job) })))
}

/// Checks that the directories of a path can be kept (`-R`).
/// Fails with [`Error::usage`] for an absolute path, and for one with `..`.
pub fn check_relative(path: &Path) -> Result<(), Error> {
    let wrong = |why: &str| {
        let hint = "-R keeps the directories of a path, so it needs one below the working directory";
        Err(Error::usage_hint(format!("{why}, and -R was given"), hint))
    };
    for component in path.components() {
        match component {
            Component::Prefix(_) | Component::RootDir => return wrong("is an absolute path"),
            Component::ParentDir => return wrong("has `..` in it"),
            Component::CurDir | Component::Normal(_) => {}
        }
    }
    Ok(())
}

/// The folders for the directories of a relative path, without its last component.
fn directories_of(path: &Path, target: &Parent) -> Parent {
    let mut folder = target.clone();
    let mut walked = std::path::PathBuf::new();
    for component in path.parent().into_iter().flat_map(Path::components) {
        walked.push(component);
        if let Component::Normal(own) = component {
            let (name, warning) = name::of_entry(own);
            let shown = name::decode(walked.as_os_str()).0;
            folder = Parent::New(Arc::new(Folder { parent: folder, name, shown, warning, has_step: false }));
        }
    }
    folder
}

/// Whether a directory stands for its contents, as in rsync: `dir/`, `dir/.`, `.`, and paths without a name.
fn stands_for_contents(path: &Path) -> bool {
    let text = path.as_os_str().as_encoded_bytes();
    let separates = |byte: &u8| std::path::is_separator(char::from(*byte));
    match text {
        b"." => true,
        [.., last] if separates(last) => true,
        [.., before, b'.'] => separates(before),
        _ => false,
    }
}

/// The metadata of a path, without opening it: opening a FIFO blocks until it has a writer, and opening a device can have
/// side effects. Links are followed.
fn metadata(path: &Path) -> Result<Metadata, Error> {
    fs::metadata(literal_path(path)).map_err(|error| {
        let error = opening_error(path, error);
        let dangling = error.kind() == ErrorKind::NotFound && path.is_symlink();
        Error::local(if dangling { "open the file that the link points to" } else { "open the file" }, error)
    })
}
