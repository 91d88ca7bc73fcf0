//! Records which upload from this machine has created which item, so that no other upload claims it.
//!
//! After a lost response to finalize, an upload looks for its item by name, size and content. An item that another run
//! created with the same content would match too. The ledger tells them apart.
//!
//! There is one file for each API and month; old files are removed. A line has hashes of an item's ID and of an upload's
//! ID. It is written once per upload, without a sync, and only read when an upload looks for its item.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::checksum::hex;
use crate::drive::wire::Upload;
use crate::platform;

/// Hexadecimal digits of an ID's hash.
const HASH: usize = 32;

/// The ledger of one API.
pub struct Ledger {
    folder: Option<PathBuf>,
    /// The prefix of this API's file names.
    prefix: String,
    /// Hashes of the IDs of items that were known to be wrong at the start. Empty unless [`Ledger::with_wrong_items`].
    wrong: HashSet<String>,
}

/// The file of items that are wrong. Its lines have this in place of the upload.
const WRONG: &str = "wrong";

impl Ledger {
    /// The ledger of an API in this folder; without a folder nothing is kept.
    pub fn new(folder: Option<&Path>, api: &str) -> Self {
        let prefix = format!("{}-", hash(api));
        Self { folder: folder.map(Path::to_owned), prefix, wrong: HashSet::new() }
    }

    /// Also reads which items are wrong. Blocks on the disk.
    #[must_use]
    pub fn with_wrong_items(mut self) -> Self {
        let path = self.folder.as_ref().map(|folder| folder.join(self.file_name(WRONG)));
        let text = path.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
        let items = text.lines().filter_map(|line| line.split_once(' ')).map(|(item, _)| item.to_owned());
        self.wrong = items.collect();
        self
    }

    /// Records that an upload created this item. If the disk rejects it, only this proof is missing. Blocks on the
    /// disk.
    pub fn record(&self, item: &str, upload: &Upload) {
        let _ = self.add(&jiff::Timestamp::now().strftime("%Y%m").to_string(), item, &upload.upload_id);
    }

    /// Records that an item's object is not the file that was uploaded. Blocks on the disk.
    pub fn record_wrong(&self, item: &str) -> io::Result<()> {
        self.add(WRONG, item, WRONG)
    }

    /// Whether an earlier run found that an item's object is not the file that was uploaded.
    pub fn is_wrong(&self, item: &str) -> bool {
        !self.wrong.is_empty() && self.wrong.contains(&hash(item))
    }

    /// Claims an item for the upload that found it. `false` if it belongs to another upload. Blocks on the disk.
    ///
    /// Two runs may find the same item at the same time, so looking and claiming happen under a lock.
    pub fn claim(&self, item: &str, upload: &Upload) -> bool {
        // A separate, empty file, because a locked file cannot be read on Windows. On a file system without locks, the race
        // is unlikely enough.
        let lock = self.folder.as_ref().and_then(|folder| self.open(folder, "claim").ok());
        let _locked = lock.as_ref().map(|(file, _)| file.lock());
        let free = self.read(upload).creator_of(item) != Creator::Other;
        if free {
            self.record(item, upload);
        }
        free
    }

    /// The creators of items of at least the last month. Blocks on the disk.
    pub fn read(&self, upload: &Upload) -> Creators {
        let entries = self.folder.as_ref().and_then(|folder| std::fs::read_dir(folder).ok());
        let files = entries.into_iter().flatten().flatten().filter(|entry| {
            let name = entry.file_name();
            name.to_str().is_some_and(|name| name.starts_with(&self.prefix) && name.ends_with(".items"))
        });
        let texts = files.filter_map(|file| std::fs::read(file.path()).ok());
        let ours = hash(&upload.upload_id);
        let mut creators = HashMap::new();
        for text in texts {
            let lines = text.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
            for (item, upload) in lines.filter_map(|line| line.split_once(' ')) {
                if item.len() == HASH && upload.len() == HASH {
                    creators.insert(
                        item.to_owned(),
                        if upload == ours { Creator::ThisUpload } else { Creator::Other },
                    );
                }
            }
        }
        Creators(creators)
    }

    fn file_name(&self, name: &str) -> String {
        format!("{}{name}.items", self.prefix)
    }

    fn open(&self, folder: &Path, name: &str) -> io::Result<(File, PathBuf)> {
        let path = folder.join(self.file_name(name));
        let open = || platform::append_private(&path);
        let file = open().or_else(|_| platform::create_private_dir(folder).and_then(|()| open()))?;
        Ok((file, path))
    }

    /// Adds a line to a file. On a full disk, no empty file is left.
    fn add(&self, name: &str, item: &str, upload: &str) -> io::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let (mut file, path) = self.open(folder, name)?;
        // A single write. The leading newline ends a line that a full disk has cut off.
        let written = file.write_all(format!("\n{} {}\n", hash(item), hash(upload)).as_bytes());
        if written.is_err() && file.metadata().is_ok_and(|metadata| metadata.len() == 0) {
            let _ = std::fs::remove_file(path);
        }
        written
    }
}

/// The upload that created an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creator {
    /// The upload that asks.
    ThisUpload,
    /// Another upload from this machine.
    Other,
    /// Not known.
    Unknown,
}

/// Creators by the hashes of item IDs.
pub struct Creators(HashMap<String, Creator>);

impl Creators {
    pub fn creator_of(&self, item: &str) -> Creator {
        self.0.get(&hash(item)).copied().unwrap_or(Creator::Unknown)
    }
}

fn hash(text: &str) -> String {
    hex(&Sha256::digest(text))[..HASH].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upload(id: &str) -> Upload {
        Upload { upload_id: id.to_owned(), file_key: "k".to_owned() }
    }

    #[test]
    fn an_item_is_claimed_once_by_all_runs_together() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = [0, 1].map(|_| Ledger::new(Some(folder.path()), "https://api"));
        one.record("a", &upload("1"));
        assert!(!other.claim("a", &upload("2")));
        assert!(other.claim("a", &upload("1")), "it is the same upload in a later run");
        assert!(other.claim("b", &upload("2")));
        assert!(!one.claim("b", &upload("1")));
        let elsewhere = Ledger::new(Some(folder.path()), "https://other");
        assert!(elsewhere.claim("a", &upload("2")), "the IDs of another service are different");
    }

    #[test]
    fn a_torn_line_does_not_affect_later_lines() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(Some(folder.path()), "https://api");
        ledger.record("a", &upload("1"));
        let path = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        File::options().append(true).open(path).unwrap().write_all(b"\n0123").unwrap();
        ledger.record("b", &upload("2"));
        let creators = ledger.read(&upload("1"));
        assert_eq!(
            ["a", "b", "c"].map(|id| creators.creator_of(id)),
            [Creator::ThisUpload, Creator::Other, Creator::Unknown]
        );
    }

    #[test]
    fn a_wrong_item_is_known_to_later_runs_and_never_claimed() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = || Ledger::new(Some(folder.path()), "https://api").with_wrong_items();
        assert!(!ledger().is_wrong("a"));
        ledger().record_wrong("a").unwrap();
        assert_eq!(["a", "b"].map(|id| ledger().is_wrong(id)), [true, false]);
        assert!(!ledger().claim("a", &upload("1")));
    }

    #[test]
    fn without_a_folder_nothing_is_recorded_and_everything_can_be_claimed() {
        let ledger = Ledger::new(None, "https://api");
        ledger.record("a", &upload("1"));
        assert!(ledger.claim("a", &upload("2")));
    }
}
