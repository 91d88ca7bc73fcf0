//! The record of one upload, on disk: what makes the same command go on after Ctrl-C, a kill or a reboot.
//!
//! A text file, appended to, one entry a line: first what the upload is, then each finished part, each change
//! of the file that was looked into, and finally that finalize was begun (and whether it was refused). Every line carries a checksum of
//! itself. A line that is torn or damaged is as if it had never been written: its part is sent again.
//! A damaged first line makes the record useless, never wrong.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::api::wire::Upload;
use crate::checksum::hex;
use crate::platform::{self, Identity};
use crate::storage::{Etag, Receipt};

/// The format's number. A record with another one cannot be used.
const FORMAT: u32 = 1;
/// Hexadecimal digits of a line's checksum.
const SUM: usize = 16;
/// S3 cleans unfinished uploads up after days (a bucket's lifecycle rule, commonly 7); a record that nothing
/// was added to for this long belongs to none that still is.
const KEPT: Duration = Duration::from_secs(30 * 86_400);
/// A record of 10,000 parts has about 2 MB; what is larger than this is none of ours.
const SIZE_MOST: u64 = 64 * 1024 * 1024;

/// What an upload is bound to: a record counts only for exactly this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The API's URL.
    pub api: String,
    /// A hash of the token.
    pub account: String,
    /// The folder; `None` is the root.
    pub parent: Option<String>,
    /// The name in the drive.
    pub name: String,
    /// The file, absolute.
    pub path: String,
}

impl Binding {
    /// The record's file name: equal for equal bindings, and telling nothing about them.
    fn file_name(&self) -> String {
        let text = serde_json::to_vec(self).unwrap_or_default();
        format!("{}.upload", &hex(&Sha256::digest(text))[..40])
    }
}

/// A hash of a token, to know an account again by without keeping its secret.
pub fn account(token: &crate::secret::Token) -> String {
    hex(&Sha256::digest(format!("copera-upload account\n{}", token.expose())))[..32].to_owned()
}

/// A record's first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    format: u32,
    binding: Binding,
    /// The file when the upload began, or when its parts were last compared with it.
    pub identity: Identity,
    /// Bytes a part.
    pub part_size: u64,
    /// The service's name for the upload.
    pub upload: Upload,
    /// The service's clock when the upload began, seconds since 1970.
    pub started: i64,
}

/// A line of the record.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Entry {
    Head(Head),
    Part { number: u32, etag: Etag, md5: Option<Etag> },
    Identity(Identity),
    Finalizing,
    NotFinalized,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The upload.
    pub head: Head,
    /// Its finished parts.
    pub parts: BTreeMap<u32, Receipt>,
    /// Whether finalize was begun and not clearly refused: then the item may exist.
    pub finalizing: bool,
}

/// Where records are kept.
#[derive(Debug, Clone)]
pub struct Journals(PathBuf);

/// A locked record. What it says is known; what happens is added.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    binding: Binding,
}

/// Why a record could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// Another process holds it.
    Busy(PathBuf),
    /// The disk says no.
    Io(io::Error),
}

impl Journals {
    /// Records in this folder, which is made when it is needed.
    pub fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Opens the record for a binding, locked for this process, and reads what it says. The `String` is a
    /// warning about a record that could not be used.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(&self, binding: Binding) -> Result<(Journal, Option<Recorded>, Option<String>), OpenError> {
        platform::create_private_dir(&self.0).map_err(OpenError::Io)?;
        let path = self.0.join(binding.file_name());
        let file = loop {
            let file = platform::open_private(&path).map_err(OpenError::Io)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(OpenError::Busy(path)),
                // A file system without locks (some network homes): go on without.
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
                Err(TryLockError::Error(error)) => return Err(OpenError::Io(error)),
            }
            // Whoever had the lock may have removed the record just before it let go.
            if platform::is_replaced(&file, &path).is_ok_and(|replaced| !replaced) {
                break file;
            }
        };
        let mut text = Vec::new();
        BufReader::new(&file).take(SIZE_MOST).read_to_end(&mut text).map_err(OpenError::Io)?;
        let mut journal = Journal { file, path, binding };
        match read(&text, &journal.binding) {
            Ok(recorded) => {
                // What follows a torn line would be lost with it.
                if recorded.is_some() && !text.ends_with(b"\n") {
                    journal.file.write_all(b"\n").map_err(OpenError::Io)?;
                }
                Ok((journal, recorded, None))
            }
            Err(useless) => {
                journal.clear().map_err(OpenError::Io)?;
                Ok((journal, None, Some(useless)))
            }
        }
    }

    /// Removes records that nothing was added to for a month, if nobody holds them.
    pub fn clean(&self, now: SystemTime) {
        let Ok(entries) = std::fs::read_dir(&self.0) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            let old = || {
                entry
                    .metadata()
                    .and_then(|m| m.modified())
                    .ok()
                    .is_some_and(|at| now.duration_since(at).is_ok_and(|age| age > KEPT))
            };
            // The name of the storage's host too (`host.rs`): it is known again after the next upload.
            if path.extension().is_some_and(|end| end == "upload" || end == "storage" || end == "new")
                && old()
                && let Ok(file) = File::options().read(true).append(true).open(&path)
                && file.try_lock().is_ok()
            {
                let _ = std::fs::remove_file(&path);
            }
        }
    }
}

impl Journal {
    /// Begins the record anew for an upload just started.
    ///
    /// # Errors
    /// The disk's.
    pub fn begin(
        &mut self,
        identity: Identity,
        part_size: u64,
        upload: Upload,
        started: i64,
        sync: bool,
    ) -> io::Result<()> {
        self.clear()?;
        let binding = self.binding.clone();
        self.add(&Entry::Head(Head { format: FORMAT, binding, identity, part_size, upload, started }), sync)
    }

    /// A part is in storage. Without `sync` the line is safe against a kill, not against a power cut.
    ///
    /// # Errors
    /// The disk's.
    pub fn part(&mut self, number: u32, receipt: &Receipt, sync: bool) -> io::Result<()> {
        self.add(&Entry::Part { number, etag: receipt.etag.clone(), md5: receipt.md5.clone() }, sync)
    }

    /// The parts on record were compared with the file as it is now.
    ///
    /// # Errors
    /// The disk's.
    pub fn compared(&mut self, identity: Identity) -> io::Result<()> {
        self.add(&Entry::Identity(identity), true)
    }

    /// Finalize is about to be sent.
    ///
    /// # Errors
    /// The disk's.
    pub fn finalizing(&mut self, sync: bool) -> io::Result<()> {
        self.add(&Entry::Finalizing, sync)
    }

    /// Finalize was refused, or never reached the service: there is no item.
    ///
    /// # Errors
    /// The disk's.
    pub fn not_finalized(&mut self, sync: bool) -> io::Result<()> {
        self.add(&Entry::NotFinalized, sync)
    }

    /// The upload is over: the record is removed.
    pub fn remove(self) {
        // While the lock is held, so that nobody reads it in between.
        let _ = std::fs::remove_file(&self.path);
    }

    /// Forgets what the record says.
    ///
    /// # Errors
    /// The disk's.
    pub fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()
    }

    fn add(&mut self, entry: &Entry, sync: bool) -> io::Result<()> {
        // One write for one line: a crash tears at most the last one.
        self.file.write_all(line(entry)?.as_bytes())?;
        if sync { self.file.sync_data() } else { Ok(()) }
    }
}

impl Drop for Journal {
    /// A record that nothing was written to is none.
    fn drop(&mut self) {
        if self.file.metadata().is_ok_and(|metadata| metadata.len() == 0) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn line(entry: &Entry) -> io::Result<String> {
    let text = serde_json::to_string(entry)?;
    Ok(format!("{} {text}\n", sum(text.as_bytes())))
}

fn sum(text: &[u8]) -> String {
    hex(&Sha256::digest(text))[..SUM].to_owned()
}

/// Reads a record. Nothing in it gives `None`; one that cannot be used, a reason.
fn read(text: &[u8], binding: &Binding) -> Result<Option<Recorded>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let mut entries = text.split(|byte| *byte == b'\n').map(read_line);
    let Some(Some(Entry::Head(head))) = entries.next() else {
        return Err(
            "the record of an earlier upload is damaged or from another version: starting over".to_owned()
        );
    };
    if head.format != FORMAT || head.binding != *binding {
        return Err("the record of an earlier upload belongs to something else: starting over".to_owned());
    }
    let mut recorded = Recorded { head, parts: BTreeMap::new(), finalizing: false };
    for entry in entries.flatten() {
        match entry {
            Entry::Part { number, etag, md5 } => {
                recorded.parts.insert(number, Receipt { etag, md5 });
            }
            Entry::Identity(identity) => recorded.head.identity = identity,
            Entry::Finalizing => recorded.finalizing = true,
            Entry::NotFinalized => recorded.finalizing = false,
            // Only the first line is one.
            Entry::Head(_) => {}
        }
    }
    Ok(Some(recorded))
}

fn read_line(line: &[u8]) -> Option<Entry> {
    let (head, text) = line.split_at_checked(SUM)?;
    let text = text.strip_prefix(b" ")?;
    (sum(text).as_bytes() == head).then(|| serde_json::from_slice(text).ok())?
}

/// An absolute path as text that tells different paths apart, also when it is no Unicode.
pub fn path_text(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match absolute.to_str() {
        Some(text) => text.to_owned(),
        None => format!("bytes:{}", hex(absolute.as_os_str().as_encoded_bytes())),
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
