//! Walks directories, one entry at a time. Memory depends on the depth of the tree, not on its size.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use walkdir::{DirEntry, WalkDir};

use super::filter::Filters;
use super::{Folder, Input, Job, Parent, Planned, Selection, Step, name};
use crate::error::{Code, Error};
use crate::platform::kind_of;

/// Directories that a walk keeps open. The remaining entries of their parents are read into memory. More would save memory
/// in deep trees, but use up file descriptors.
const MAX_OPEN: usize = 4;

/// Walks one directory.
pub(super) struct Walk {
    root: PathBuf,
    entries: walkdir::IntoIter,
    filters: Filters,
    mime_type: Option<String>,
    /// The folder of each directory on the way to the current entry.
    parents: Vec<Parent>,
    /// Returned before the next entry.
    ahead: Option<Step>,
}

impl Walk {
    /// Walks a directory whose contents go to `parent`. `step` is returned first.
    pub(super) fn new(root: &Path, parent: Parent, step: Option<Step>, selection: &Selection) -> Self {
        Self {
            root: root.to_owned(),
            entries: WalkDir::new(root)
                .follow_links(selection.follow_symlinks)
                .max_open(MAX_OPEN)
                .into_iter(),
            filters: selection.filters.clone(),
            mime_type: selection.destination.mime_type.clone(),
            parents: vec![parent],
            ahead: step,
        }
    }

    /// Whether an unreadable entry, such as a dangling link, is excluded.
    fn is_excluded(&self, path: &Path) -> bool {
        let below = path.strip_prefix(&self.root).unwrap_or(path);
        if path.is_dir() { !self.filters.enters(below) } else { !self.filters.includes(below, false) }
    }

    /// The step for an entry; `None` if it is excluded.
    fn step(&mut self, entry: &DirEntry) -> Option<Step> {
        let kind = entry.file_type();
        let below = entry.path().strip_prefix(&self.root).unwrap_or(entry.path());
        let is_included = self.filters.includes(below, kind.is_dir());
        if kind.is_dir() && !self.filters.enters(below) {
            self.entries.skip_current_dir();
            return None;
        }
        if !kind.is_dir() && !is_included {
            return None;
        }
        self.parents.truncate(entry.depth());
        let parent = self.parents.last().cloned()?;
        let (shown, _) = name::decode(entry.path().as_os_str());
        if kind.is_symlink() {
            let message = "is a link and is skipped; -L follows links".to_owned();
            return Some(Step::Warning { shown, message });
        }
        let (name, warning) = name::of_entry(entry.file_name());
        if kind.is_dir() {
            let folder = Folder { parent, name, shown: shown.clone(), warning, has_step: is_included };
            let folder = Arc::new(folder);
            self.parents.push(Parent::New(Arc::clone(&folder)));
            // An unmatched folder is created together with the first matching file in it.
            return is_included.then_some(Step::Folder(folder));
        }
        let job = entry.metadata().map_err(|error| failure(&error)).and_then(|metadata| {
            let size = size_of_file(&metadata)?;
            let warnings = warning.into_iter().collect();
            let (input, mime_type) = (Input::File(entry.path().to_owned()), self.mime_type.clone());
            Ok(Job { input, name, mime_type, size: Some(size), parent, warnings, duplicate: None })
        });
        Some(Step::File(Planned { shown, job }))
    }
}

impl Iterator for Walk {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if let Some(step) = self.ahead.take() {
            return Some(step);
        }
        loop {
            match self.entries.next()? {
                // The directory itself.
                Ok(entry) if entry.depth() == 0 => {}
                Ok(entry) => match self.step(&entry) {
                    Some(step) => return Some(step),
                    None => continue,
                },
                Err(error) => {
                    let path = error.path().unwrap_or(&self.root);
                    if self.is_excluded(path) {
                        continue;
                    }
                    let (shown, _) = name::decode(path.as_os_str());
                    return Some(Step::File(Planned { shown, job: Err(failure(&error)) }));
                }
            }
        }
    }
}

fn size_of_file(metadata: &Metadata) -> Result<u64, Error> {
    let kind = metadata.file_type();
    if kind.is_file() { Ok(metadata.len()) } else { Err(Error::not_a_file(kind_of(kind))) }
}

fn failure(error: &walkdir::Error) -> Error {
    if let Some(above) = error.loop_ancestor() {
        let (above, _) = name::decode(above.as_os_str());
        let message = format!("is a link to {above}, a directory that contains it: a loop");
        return Error::new(Code::LocalFile, message);
    }
    // Without walkdir's own text, which repeats the path.
    let source = error.io_error().map_or_else(
        || std::io::Error::other(error.to_string()),
        |error| match error.raw_os_error() {
            Some(code) => std::io::Error::from_raw_os_error(code),
            None => std::io::Error::new(error.kind(), error.to_string()),
        },
    );
    Error::local("read it", source)
}
