//! Finds inputs of one run that get the same name in the same folder.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::sync::Arc;

use super::{Input, Job, Parent, Planned, Step};
use crate::options::IfExists;

/// An earlier input with the same name in the same folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicate {
    /// The path of the earlier input, as shown.
    pub first: String,
    /// Both have the same path: the file was given twice.
    pub same_file: bool,
}

impl Duplicate {
    /// The warning to print before the second one is sent.
    pub fn warning(&self, if_exists: IfExists) -> String {
        match (self.same_file, if_exists) {
            (_, IfExists::Fail) => {
                format!("gets the same name in the same folder as {}; it will not be sent", self.first)
            }
            (true, IfExists::Skip | IfExists::Newer) => "was given before; it is sent once".to_owned(),
            (true, _) => "was given before; it is uploaded again, as another item".to_owned(),
            (false, _) => {
                format!("gets the same name in the same folder as {}; each creates its own item", self.first)
            }
        }
    }
}

/// All inputs so far, at about 50 bytes each: stores each directory once, and a name only if it differs from the name
/// in the drive.
#[derive(Default)]
pub(super) struct Duplicates {
    first: HashMap<u64, First>,
    /// Every [`First::text`], stored once.
    texts: HashSet<Arc<str>>,
}

/// The first input with this target.
struct First {
    path: u64,
    /// The part of the path before the name.
    text: Arc<str>,
    /// The text is the whole path.
    whole: bool,
}

impl Duplicates {
    /// Remembers the step's file, and sets its `duplicate` if an earlier input has the same target.
    pub(super) fn mark(&mut self, mut step: Step) -> Step {
        if let Step::File(Planned { shown, job: Ok(job) }) = &mut step {
            job.duplicate = self.duplicate_of(shown, job);
        }
        step
    }

    fn duplicate_of(&mut self, shown: &str, job: &Job) -> Option<Duplicate> {
        let path = hash_of_path(&job.input);
        // Nearly all files keep their name.
        let (text, whole) = match shown.strip_suffix(job.name.as_str()) {
            Some(before) => (before, false),
            None => (shown, true),
        };
        match self.first.entry(job.target()) {
            Entry::Vacant(entry) => {
                let text = self.texts.get(text).cloned().unwrap_or_else(|| {
                    let text = Arc::<str>::from(text);
                    self.texts.insert(Arc::clone(&text));
                    text
                });
                entry.insert(First { path, text, whole });
                None
            }
            Entry::Occupied(first) => {
                let first = first.get();
                let name = if first.whole { "" } else { &job.name };
                let earlier = format!("{}{name}", first.text);
                let same_file = first.path == path || is_same_file(&earlier, &job.input);
                Some(Duplicate { first: earlier, same_file })
            }
        }
    }
}

impl Job {
    /// A hash of the target: equal for equal names in the same folder of one run.
    pub fn target(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.name.hash(&mut hasher);
        let mut parent = &self.parent;
        while let Parent::New(folder) = parent {
            folder.name.hash(&mut hasher);
            parent = &folder.parent;
        }
        parent.existing_id().hash(&mut hasher);
        hasher.finish()
    }
}

fn hash_of_path(input: &Input) -> u64 {
    let mut hasher = DefaultHasher::new();
    if let Input::File(path) = input {
        std::path::absolute(path).unwrap_or_else(|_| path.clone()).hash(&mut hasher);
    }
    hasher.finish()
}

/// Whether a link or `..` leads to the earlier file.
fn is_same_file(earlier: &str, input: &Input) -> bool {
    let Input::File(path) = input else { return false };
    let canonical = |path| std::fs::canonicalize(path).ok();
    canonical(Path::new(earlier)).is_some_and(|earlier| canonical(path) == Some(earlier))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::plan::Folder;

    fn folder(parent: Parent, name: &str, shown: &str) -> Parent {
        Parent::New(Arc::new(Folder {
            parent,
            name: name.into(),
            shown: shown.into(),
            warning: None,
            has_step: true,
        }))
    }

    fn duplicate(duplicates: &mut Duplicates, parent: &Parent, name: &str, shown: &str) -> Option<Duplicate> {
        let (input, parent) = (Input::File(PathBuf::from(shown)), parent.clone());
        let (name, mime_type, size, warnings) = (name.to_owned(), None, None, Vec::new());
        let job = Job { input, name, mime_type, size, parent, warnings, duplicate: None };
        match duplicates.mark(Step::File(Planned { shown: shown.to_owned(), job: Ok(job) })) {
            Step::File(Planned { job: Ok(job), .. }) => job.duplicate,
            _ => None,
        }
    }

    #[test]
    fn files_with_the_same_target_are_found_by_name_and_folder() {
        let (mut duplicates, root) = (Duplicates::default(), Parent::Existing(None));
        let first =
            |duplicate: Option<Duplicate>| duplicate.map(|duplicate| (duplicate.first, duplicate.same_file));
        let mut note =
            |parent: &Parent, name: &str, shown: &str| first(duplicate(&mut duplicates, parent, name, shown));
        assert_eq!(note(&root, "r", "x/r"), None);
        assert_eq!(note(&root, "r", "y/r"), Some(("x/r".into(), false)));
        assert_eq!(note(&root, "r", "./x/r"), Some(("x/r".into(), true)));
        assert_eq!(note(&root, "é", "e\u{301}"), None);
        assert_eq!(note(&root, "é", "é"), Some(("e\u{301}".into(), false)));
        // Folders of one name are one folder, wherever they come from.
        let (one, two) = (folder(root.clone(), "d", "a/d"), folder(root.clone(), "d", "b/d"));
        assert_eq!(note(&one, "r", "a/d/r"), None);
        assert_eq!(note(&two, "r", "b/d/r"), Some(("a/d/r".into(), false)));
        assert_eq!(note(&folder(one, "d", "a/d/d"), "r", "a/d/d/r"), None);
        assert_eq!(note(&Parent::Existing(Some("id".into())), "r", "z/r"), None);
    }
}
