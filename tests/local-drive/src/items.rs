//! Items, folders and upload sessions of the drive, and their JSON.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::clock::rfc3339;

/// A file or a folder.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) parent: Option<String>,
    pub(crate) created: Timestamp,
    /// `None` for a folder.
    pub(crate) file: Option<FileInfo>,
}

/// The file behind an item.
#[derive(Clone, Debug)]
pub(crate) struct FileInfo {
    pub(crate) mime: String,
    /// As declared at the start of the upload. The stored object may be smaller.
    pub(crate) size: u64,
    pub(crate) key: String,
}

impl Item {
    /// The item as the service returns it. It has unknown fields in an unusual order, because a client must pass on
    /// every field unchanged.
    pub(crate) fn json(&self) -> Value {
        let mut json = json!({
            "_id": self.id,
            "name": self.name,
            "type": if self.file.is_some() { "file" } else { "folder" },
            "owner": "6512bd43d9caa6e02c990b0a",
            "createdAt": rfc3339(self.created),
            "updatedAt": rfc3339(self.created),
        });
        let mut set = |name: &str, value: Value| {
            if let Some(map) = json.as_object_mut() {
                map.insert(name.to_owned(), value);
            }
        };
        if let Some(file) = &self.file {
            set("mimeType", json!(file.mime));
            set("size", json!(file.size));
        }
        if let Some(parent) = &self.parent {
            set("parent", json!(parent));
        }
        set("accessLevel", json!("workspace"));
        set("_meta", json!({ "zone": "eu", "flags": [], "checksum": null, "rev": 1.50 }));
        json
    }
}

/// A started upload.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) key: String,
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) mime: String,
    pub(crate) parent: Option<String>,
    pub(crate) finalized: bool,
}

#[derive(Default)]
struct Inner {
    items: Vec<Item>,
    by_id: HashMap<String, usize>,
    children: HashMap<Option<String>, Vec<usize>>,
    sessions: HashMap<String, Session>,
}

impl Inner {
    fn index(&mut self) {
        self.by_id.clear();
        self.children.clear();
        for (index, item) in self.items.iter().enumerate() {
            self.by_id.insert(item.id.clone(), index);
            self.children.entry(item.parent.clone()).or_default().push(index);
        }
    }
}

/// All items and sessions of a drive.
#[derive(Default)]
pub(crate) struct Items {
    inner: Mutex<Inner>,
}

/// A page of the tree.
pub(crate) struct Tree {
    pub(crate) root: Vec<Value>,
    pub(crate) total: usize,
    pub(crate) truncated: bool,
    pub(crate) next: Vec<String>,
}

impl Items {
    pub(crate) fn add(
        &self,
        name: &str,
        parent: Option<String>,
        created: Timestamp,
        file: Option<FileInfo>,
    ) -> Item {
        let item = Item { id: new_id(created), name: name.to_owned(), parent, created, file };
        let mut inner = self.lock();
        let index = inner.items.len();
        inner.by_id.insert(item.id.clone(), index);
        inner.children.entry(item.parent.clone()).or_default().push(index);
        inner.items.push(item.clone());
        item
    }

    /// Deletes an item. Children of a folder remain, but the tree no longer shows them.
    pub(crate) fn remove(&self, id: &str) {
        let mut inner = self.lock();
        inner.items.retain(|item| item.id != id);
        inner.index();
    }

    /// Moves an item into another folder.
    pub(crate) fn move_to(&self, id: &str, parent: Option<&str>) {
        let mut inner = self.lock();
        for item in inner.items.iter_mut().filter(|item| item.id == id) {
            item.parent = parent.map(str::to_owned);
        }
        inner.index();
    }

    pub(crate) fn get(&self, id: &str) -> Option<Item> {
        let inner = self.lock();
        inner.by_id.get(id).and_then(|index| inner.items.get(*index)).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Item> {
        self.lock().items.clone()
    }

    /// Bytes used by files and by open uploads.
    pub(crate) fn used(&self) -> u64 {
        let inner = self.lock();
        let files: u64 = inner.items.iter().filter_map(|item| item.file.as_ref()).map(|file| file.size).sum();
        let open: u64 =
            inner.sessions.values().filter(|session| !session.finalized).map(|session| session.size).sum();
        files.saturating_add(open)
    }

    pub(crate) fn open_session(&self, upload_id: &str, session: Session) {
        self.lock().sessions.insert(upload_id.to_owned(), session);
    }

    pub(crate) fn session(&self, upload_id: &str) -> Option<Session> {
        self.lock().sessions.get(upload_id).cloned()
    }

    pub(crate) fn mark_finalized(&self, upload_id: &str) {
        if let Some(session) = self.lock().sessions.get_mut(upload_id) {
            session.finalized = true;
        }
    }

    /// The items below a folder, level by level, up to `depth` levels and `limit` items.
    ///
    /// `next` has the folders that were not opened because of the depth or the limit. A folder with more than `limit`
    /// children is cut, and clients cannot request the rest.
    pub(crate) fn tree(&self, parent: Option<&str>, depth: u32, limit: usize) -> Tree {
        let inner = self.lock();
        let mut tree = Tree { root: Vec::new(), total: 0, truncated: false, next: Vec::new() };
        let mut opened: HashMap<usize, Vec<usize>> = HashMap::new();
        let none = Vec::new();
        let children_of = |id: Option<&str>| inner.children.get(&id.map(str::to_owned)).unwrap_or(&none);
        let mut first = children_of(parent).clone();
        tree.truncated = first.len() > limit;
        first.truncate(limit);
        tree.total = first.len();
        let mut level = first.clone();
        for deep in 1.. {
            let mut below = Vec::new();
            for index in level {
                let Some(item) = inner.items.get(index).filter(|item| item.file.is_none()) else { continue };
                let children = children_of(Some(&item.id));
                if children.is_empty() {
                    continue;
                }
                let fits = tree.total + children.len() <= limit;
                if deep >= depth || !fits {
                    tree.truncated |= !fits && deep < depth;
                    tree.next.push(item.id.clone());
                    continue;
                }
                tree.total += children.len();
                below.extend_from_slice(children);
                opened.insert(index, children.clone());
            }
            if below.is_empty() {
                break;
            }
            level = below;
        }
        tree.root = first.iter().filter_map(|index| inner.node(*index, &opened)).collect();
        tree
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn node(&self, index: usize, opened: &HashMap<usize, Vec<usize>>) -> Option<Value> {
        let item = self.items.get(index)?;
        let has_children = self.children.get(&Some(item.id.clone())).is_some_and(|list| !list.is_empty());
        let children: Vec<Value> = opened
            .get(&index)
            .map(|list| list.iter().filter_map(|child| self.node(*child, opened)).collect())
            .unwrap_or_default();
        let mut json = item.json();
        let map = json.as_object_mut()?;
        map.insert("hasChildren".to_owned(), json!(has_children));
        map.insert("children".to_owned(), Value::Array(children));
        Some(json)
    }
}

/// An ID like those of MongoDB: the time in seconds, then random bytes.
pub(crate) fn new_id(now: Timestamp) -> String {
    format!("{:08x}{:016x}", now.as_second() & 0xffff_ffff, fastrand::u64(..))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> (Items, String, String) {
        let items = Items::default();
        let now = Timestamp::now();
        let outer = items.add("outer", None, now, None).id;
        let inner = items.add("inner", Some(outer.clone()), now, None).id;
        for name in ["a", "b", "c"] {
            items.add(name, Some(inner.clone()), now, None);
        }
        (items, outer, inner)
    }

    #[test]
    fn tree_lists_folders_below_its_depth_in_next() {
        let (items, outer, inner) = filled();
        let tree = items.tree(None, 1, 500);
        assert_eq!((tree.total, tree.truncated, tree.next), (1, false, vec![outer]));
        let tree = items.tree(None, 2, 500);
        assert_eq!((tree.total, tree.next), (2, vec![inner]));
        let tree = items.tree(None, 3, 500);
        assert_eq!((tree.total, tree.next), (5, Vec::new()));
    }

    #[test]
    fn tree_above_the_limit_is_truncated_and_continues_by_folder() {
        let (items, _, inner) = filled();
        let tree = items.tree(None, 10, 4);
        assert_eq!((tree.total, tree.truncated, tree.next), (2, true, vec![inner.clone()]));
        let rest = items.tree(Some(&inner), 10, 4);
        assert_eq!((rest.total, rest.truncated), (3, false));
        let cut = items.tree(Some(&inner), 10, 2);
        assert_eq!((cut.root.len(), cut.truncated), (2, true));
    }
}
