//! The files that a run of several files has finished, so that the next run of the same command does not send them again.
//!
//! The record of a single upload is removed once its result has been printed; from then on the file is in this record. It
//! is removed when a run has done everything. It has a line with a checksum for each finished file. A torn line counts as
//! not written.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::lock_file::LockFile;
use super::peers::RunKey;
use super::record::{strip_checksum, with_checksum};
use crate::mutex::lock;
use crate::platform::Identity;

/// Limit on the length of a line. An item has some hundred bytes.
const MAX_LINE: u64 = 1024 * 1024;

/// Identifies a finished file within a command.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileKey {
    /// The absolute path, as text that is unique even if it is not valid Unicode.
    pub path: String,
    /// The names of the folders below the parent, and of the file.
    pub target: Vec<String>,
}

/// A finished file.
#[derive(Debug, Serialize, Deserialize)]
pub struct FinishedFile {
    #[serde(flatten)]
    pub key: FileKey,
    /// The file when its content was last known to be that of the parts.
    pub identity: Identity,
    /// Size of a part in bytes.
    pub part_size: u64,
    /// The multipart ETag of its content, if known.
    pub etag: Option<String>,
    /// The ID of the folder; `None` is the root.
    pub parent: Option<String>,
    /// The item as the service returned it.
    pub item: Box<RawValue>,
}

/// The record of a command. Only one run of a command is active at a time. An empty record is removed.
#[derive(Debug)]
pub struct RunRecord {
    lock: Mutex<LockFile>,
    /// The finished files of earlier runs, by hashes of their keys, with the offsets of their lines. About 16 bytes for
    /// each file.
    earlier: Vec<(u64, u64)>,
    /// Indices into `earlier` that this run has used.
    used: Mutex<HashSet<usize>>,
    /// Some lines cannot be read. They stay until a run has done everything, so each run until then finds them.
    pub damaged: bool,
    hasher: RandomState,
    unsynced: AtomicBool,
}

impl RunRecord {
    /// Opens the record of a command, and reads it. Blocks on the disk.
    /// Fails with errors of the disk. Damaged lines are skipped; see `damaged`.
    pub fn open(folder: &Path, key: &RunKey) -> io::Result<Self> {
        // The lock only prevents the removal of expired records. The command has a lock of its own.
        let lock = LockFile::open(&path_of(folder, key))?.ok_or(io::ErrorKind::WouldBlock)?;
        let hasher = RandomState::new();
        let (mut earlier, mut damaged) = (Vec::new(), false);
        let mut reader = BufReader::new(&lock.file);
        let (mut at, mut line) = (0, Vec::new());
        while reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? > 0 {
            match read(&line) {
                Some(finished) => earlier.push((hasher.hash_one(finished.key), at)),
                None => damaged |= line != b"\n",
            }
            at += line.len() as u64;
            line.clear();
        }
        earlier.sort_unstable();
        let (used, unsynced) = (Mutex::default(), AtomicBool::new(false));
        Ok(Self { lock: Mutex::new(lock), earlier, used, damaged, hasher, unsynced })
    }

    /// Removes the record of a command, if there is one.
    pub fn remove(folder: &Path, key: &RunKey) {
        let _ = std::fs::remove_file(path_of(folder, key));
    }

    /// Whether earlier runs have finished any file.
    pub fn is_empty(&self) -> bool {
        self.earlier.is_empty()
    }

    /// Takes the latest entry of a file that this run has not taken yet. A file that is given twice has two. Blocks on the
    /// disk.
    pub fn take(&self, key: &FileKey) -> Option<FinishedFile> {
        let hash = self.hasher.hash_one(key);
        let first = self.earlier.partition_point(|(other, _)| *other < hash);
        let last = self.earlier.partition_point(|(other, _)| *other <= hash);
        for index in (first..last).rev() {
            if lock(&self.used).insert(index)
                && let Some(finished) = self.read_at(self.earlier[index].1)
                && finished.key == *key
            {
                return Some(finished);
            }
        }
        None
    }

    /// Adds a finished file. The line survives a kill and, after [`RunRecord::sync`], a power failure. Blocks on the disk.
    pub fn add(&self, finished: &FinishedFile) -> io::Result<()> {
        // A single write. The leading newline ends a line that a full disk has cut off.
        let line = format!("\n{}", with_checksum(&serde_json::to_string(finished)?));
        let file = &mut lock(&self.lock).file;
        file.seek(SeekFrom::End(0))?;
        file.write_all(line.as_bytes())?;
        self.unsynced.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Syncs new lines to the disk. Blocks on it.
    pub fn sync(&self) {
        if self.unsynced.swap(false, Ordering::Relaxed) {
            // A separate handle, so that adding a line does not have to wait.
            let file = lock(&self.lock).file.try_clone();
            // A failure only matters after a power failure.
            let _ = file.and_then(|file| file.sync_data());
        }
    }

    fn read_at(&self, offset: u64) -> Option<FinishedFile> {
        let mut line = Vec::new();
        let file = &mut lock(&self.lock).file;
        file.seek(SeekFrom::Start(offset)).ok()?;
        BufReader::new(file).take(MAX_LINE).read_until(b'\n', &mut line).ok()?;
        read(&line)
    }
}

fn path_of(folder: &Path, key: &RunKey) -> PathBuf {
    folder.join(format!("{}.finished", key.id()))
}

fn read(line: &[u8]) -> Option<FinishedFile> {
    serde_json::from_slice(strip_checksum(line.strip_suffix(b"\n")?)?).ok()
}

#[cfg(test)]
#[path = "run_record_tests.rs"]
mod tests;
