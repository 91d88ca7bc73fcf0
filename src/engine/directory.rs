//! A folder of the drive, with its contents as far as they are known.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};

use serde_json::value::RawValue;
use tokio::sync::Mutex;
use unicode_normalization::UnicodeNormalization as _;

use super::state::{Peers, Snapshot};
use crate::disk::on_disk;
use crate::drive::wire::Tree;
use crate::drive::{Drive, RetryObserver};
use crate::error::{Call, Error, Failure};
use crate::item::{Item, Node};

/// An existing folder. Names in it are in NFC.
pub(super) struct Directory {
    /// Its ID; `None` is the drive's root.
    pub(super) id: Option<String>,
    /// A child keeps its parent alive, so that the listing need not be requested again.
    _parent: Option<Arc<Directory>>,
    /// Whether to remember its files too.
    with_files: bool,
    contents: Mutex<Option<Result<Contents, Arc<Error>>>>,
    /// The service does not know this folder.
    missing: OnceLock<Failure>,
}

/// The contents of a folder.
#[derive(Default)]
pub(super) struct Contents {
    folders: HashMap<String, Child>,
    files: HashMap<String, Vec<FoundFile>>,
    /// The service has more items than it lists.
    pub(super) truncated: bool,
    /// What other runs had created when the folder was listed.
    pub(super) snapshot: Snapshot,
}

/// A folder in a folder.
enum Child {
    /// It exists. All its users share one `Directory`.
    Exists { found: FoundFolder, live: Weak<Directory> },
    /// It could not be found or created. This is not tried again for each of its files.
    Failed(Arc<Error>),
}

/// A folder found by its name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FoundFolder {
    pub(super) id: String,
    /// In milliseconds since 1970.
    created_ms: Option<i64>,
    /// Other folders have the same name. This is the oldest.
    pub(super) is_ambiguous: bool,
}

/// A file in a folder.
#[derive(Clone)]
pub(super) struct FoundFile {
    /// Size in bytes.
    pub(super) size: Option<u64>,
    /// By the service's clock, in milliseconds since 1970.
    pub(super) created_ms: Option<i64>,
    /// The item as the listing has it.
    pub(super) item: Item,
}

impl Directory {
    /// A folder, with its contents if they are known.
    pub(super) fn new(
        id: Option<String>,
        parent: Option<Arc<Self>>,
        with_files: bool,
        contents: Option<Contents>,
    ) -> Arc<Self> {
        let contents = Mutex::new(contents.map(Ok));
        Arc::new(Self { id, _parent: parent, with_files, contents, missing: OnceLock::new() })
    }

    /// Remembers that an upload into the folder could not be started, perhaps because it does not exist. Its other files
    /// need not ask again.
    pub(super) fn note_missing(&self, error: &Error) {
        if let Error::Call { call: Call::Start, failure, .. } = error
            && failure.status() == Some(404)
        {
            let _ = self.missing.set(failure.clone());
        }
    }

    /// Fails if the folder is known to be missing.
    pub(super) fn check_exists(&self) -> Result<(), Error> {
        let missing = self.missing.get().cloned();
        missing.map_or(Ok(()), |failure| Err(Error::Call { call: Call::Start, failure, tries: 1 }))
    }

    /// Passes the contents to `read`. Lists them first if they are not known or `is_stale`.
    pub(super) async fn contents<T>(
        &self,
        drive: &Drive,
        peers: &Arc<Peers>,
        caller: &dyn RetryObserver,
        is_stale: impl FnOnce(Snapshot) -> bool,
        read: impl FnOnce(&mut Contents) -> T,
    ) -> Result<T, Arc<Error>> {
        let mut known = self.contents.lock().await;
        let list = match &*known {
            None => true,
            Some(Ok(contents)) => is_stale(contents.snapshot),
            Some(Err(_)) => false,
        };
        if list {
            let others = Arc::clone(peers);
            let snapshot = on_disk(move || others.snapshot()).await.map_err(Arc::new)?;
            let listed = drive.folder(caller, self.id.as_deref()).await;
            let listed =
                listed.map(|tree| Contents::read(&tree, self.with_files, snapshot)).map_err(Arc::new);
            match &mut *known {
                Some(Ok(contents)) => contents.update(listed?),
                _ => *known = Some(listed),
            }
        }
        match known.get_or_insert_with(|| Ok(Contents::default())) {
            Ok(contents) => Ok(read(contents)),
            Err(error) => Err(Arc::clone(error)),
        }
    }

    /// A folder in this one, if known. If others have the same name, calls `warn` once with its ID.
    pub(super) async fn child(
        self: &Arc<Self>,
        name: &str,
        warn: impl FnOnce(&str),
    ) -> Option<Result<Arc<Self>, Arc<Error>>> {
        let mut known = self.contents.lock().await;
        match known.as_mut()?.as_mut().ok()?.folders.get_mut(name)? {
            Child::Exists { found, live } => {
                if std::mem::take(&mut found.is_ambiguous) {
                    warn(&found.id);
                }
                Some(Ok(live.upgrade().unwrap_or_else(|| {
                    let child = self.new_child(found.id.clone(), None);
                    *live = Arc::downgrade(&child);
                    child
                })))
            }
            Child::Failed(error) => Some(Err(Arc::clone(error))),
        }
    }

    fn new_child(self: &Arc<Self>, id: String, contents: Option<Contents>) -> Arc<Self> {
        Self::new(Some(id), Some(Arc::clone(self)), self.with_files, contents)
    }

    /// Remembers a folder that was found or created, or why there is none. A new folder comes with a snapshot from before it
    /// existed.
    pub(super) async fn note_child(
        self: &Arc<Self>,
        name: &str,
        result: Result<(String, Option<Snapshot>), Error>,
    ) -> Result<Arc<Self>, Arc<Error>> {
        let noted = result.map_err(Arc::new).map(|(id, made)| {
            self.new_child(id, made.map(|snapshot| Contents { snapshot, ..Contents::default() }))
        });
        let child = match &noted {
            Ok(child) => {
                let found = FoundFolder::known(child.id.clone().unwrap_or_default());
                Child::Exists { found, live: Arc::downgrade(child) }
            }
            Err(error) => Child::Failed(Arc::clone(error)),
        };
        if let Some(Ok(contents)) = &mut *self.contents.lock().await {
            contents.folders.insert(name.to_owned(), child);
        }
        noted
    }
}

impl Contents {
    fn read(tree: &Tree, with_files: bool, snapshot: Snapshot) -> Self {
        let mut contents = Self { truncated: tree.truncated, snapshot, ..Self::default() };
        for raw in &tree.root {
            let node = Node::read(raw);
            let Some(name) = node.name().map(|name| name.nfc().collect::<String>()) else {
                continue;
            };
            match node.id() {
                Some(id) if node.is_folder() => {
                    let found =
                        FoundFolder { created_ms: node.created_ms(), ..FoundFolder::known(id.to_owned()) };
                    let found = match contents.folders.remove(&name) {
                        Some(Child::Exists { found: other, .. }) => other.oldest(found),
                        _ => found,
                    };
                    contents.folders.insert(name, Child::Exists { found, live: Weak::new() });
                }
                Some(_) if with_files => {
                    contents.files.entry(name).or_default().extend(FoundFile::read(raw, &node));
                }
                _ => {}
            }
        }
        contents
    }

    /// Replaces the contents by a newer listing. Known folders stay the same objects.
    fn update(&mut self, later: Self) {
        let known = std::mem::replace(self, later).folders;
        self.folders.extend(known);
    }

    /// The files of this name.
    pub(super) fn files_named(&self, name: &str) -> &[FoundFile] {
        self.files.get(name).map_or(&[], Vec::as_slice)
    }
}

impl FoundFolder {
    fn known(id: String) -> Self {
        Self { id, created_ms: None, is_ambiguous: false }
    }

    /// The oldest folder of this name in a listing.
    pub(super) fn oldest_named<'a>(nodes: impl Iterator<Item = &'a Node>, name: &str) -> Option<Self> {
        let named = nodes.filter(|node| node.is_folder() && node.is_named(name));
        let found = named.filter_map(|node| {
            Some(Self { created_ms: node.created_ms(), ..Self::known(node.id()?.to_owned()) })
        });
        found.reduce(Self::oldest)
    }

    /// The older of two folders with the same name, so that every run takes the same one. Without times, the first listed.
    fn oldest(self, later: Self) -> Self {
        let age = |folder: &Self| folder.created_ms.unwrap_or(i64::MAX);
        let oldest = if age(&later) < age(&self) { later } else { self };
        Self { is_ambiguous: true, ..oldest }
    }
}

impl FoundFile {
    /// Reads a file from a listing. `None` if it is not an item.
    pub(super) fn read(raw: &RawValue, node: &Node) -> Option<Self> {
        Some(Self { size: node.size(), created_ms: node.created_ms(), item: Item::new(raw.to_owned())? })
    }
}
