//! Records on disk, one file for each upload, from which the same command resumes after Ctrl-C, a kill or a reboot.

use std::fs::{File, TryLockError};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::record::{self, Entry, Header, Recorded, StartedUpload, UploadKey};
use crate::etag::CompletedPart;
use crate::item::Item;
use crate::platform::{self, Identity};

/// Records that have not changed for this long are removed. S3 deletes unfinished uploads after some days (a lifecycle
/// rule of the bucket, commonly 7).
const MAX_AGE: Duration = Duration::from_secs(30 * 86_400);
/// Limit on the size of a record. One with 10,000 parts has about 2 MB.
const MAX_SIZE: u64 = 64 * 1024 * 1024;

/// A folder of records.
#[derive(Debug, Clone)]
pub struct JournalStore(PathBuf);

/// A locked record. Its content has been read; entries are appended.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    key: UploadKey,
    /// It has a valid first line.
    begun: bool,
    /// The offset of the status line; `None` if statuses are appended.
    status_at: Option<u64>,
    /// The last line may be incomplete, so the next entry starts a new one.
    torn: bool,
}

/// A record, its content from an earlier run, and a warning if that could not be used.
pub type Opened = (Journal, Option<Recorded>, Option<String>);

/// Why a record could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// Locked by another process.
    Busy(PathBuf),
    /// The disk failed.
    Io(io::Error),
}

impl JournalStore {
    /// Opens a file's record like [`JournalStore::open`]. Uses one that an early version kept under the path `early`.
    pub fn open_current_or_early(&self, key: UploadKey, early: String) -> Result<Opened, OpenError> {
        let early = UploadKey { path: early, ..key.clone() };
        let has_early = early != key && self.0.join(early.file_name()).exists();
        let opened = self.open(key)?;
        if has_early && opened.1.is_none() {
            let other = self.open(early)?;
            if other.1.is_some() {
                return Ok(other);
            }
        }
        Ok(opened)
    }

    /// Records in this folder, which is created when needed.
    pub fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// The folder of the records.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// The path of the record for a key, whether it exists or not.
    pub fn path_of(&self, key: &UploadKey) -> PathBuf {
        self.0.join(key.file_name())
    }

    /// Opens the record for a key, locks it for this process, and reads it. The `String` is a warning about a record
    /// that could not be used.
    pub fn open(&self, key: UploadKey) -> Result<Opened, OpenError> {
        platform::create_private_dir(&self.0).map_err(OpenError::Io)?;
        let path = self.0.join(key.file_name());
        let file = loop {
            let file = platform::open_private(&path).map_err(OpenError::Io)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(OpenError::Busy(path)),
                // A file system without locks (some network file systems): continue without.
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
                Err(TryLockError::Error(error)) => return Err(OpenError::Io(error)),
            }
            // The previous holder may have removed the record just before it released the lock.
            if platform::is_replaced(&file, &path).is_ok_and(|replaced| !replaced) {
                break file;
            }
        };
        let mut text = Vec::new();
        BufReader::new(&file).take(MAX_SIZE).read_to_end(&mut text).map_err(OpenError::Io)?;
        let torn = !text.is_empty() && !text.ends_with(b"\n");
        let mut journal = Journal { file, path, key, begun: false, status_at: None, torn };
        match record::parse(&text, &journal.key) {
            Ok(recorded) => {
                journal.begun = recorded.is_some();
                let has_status = recorded.as_ref().is_some_and(|recorded| recorded.head.status_line);
                journal.status_at =
                    has_status.then(|| record::find_status_line(&text)).flatten().map(|(at, _)| at);
                Ok((journal, recorded, None))
            }
            Err(warning) => {
                journal.clear().map_err(OpenError::Io)?;
                Ok((journal, None, Some(warning)))
            }
        }
    }

    /// Uploads that were being finalized, so that their items may exist. Blocks on the disk.
    pub fn unsettled_uploads(&self) -> impl Iterator<Item = (UploadKey, Recorded)> {
        let entries = std::fs::read_dir(&self.0).into_iter().flatten().flatten().map(|entry| entry.path());
        let records = entries.filter(|path| path.extension().is_some_and(|end| end == "upload"));
        records.filter_map(|path| {
            let mut text = Vec::new();
            File::open(path).ok()?.take(MAX_SIZE).read_to_end(&mut text).ok()?;
            let Some(Entry::Head(head)) =
                text.split(|byte| *byte == b'\n').next().and_then(record::parse_line)
            else {
                return None;
            };
            let key = head.key;
            let recorded = record::parse(&text, &key).ok()??;
            recorded.finalizing.then_some((key, recorded))
        })
    }

    /// Removes files that have not changed for a month and are not locked.
    pub fn remove_expired(&self, now: SystemTime) {
        let Ok(entries) = std::fs::read_dir(&self.0) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            let old = || {
                entry
                    .metadata()
                    .and_then(|m| m.modified())
                    .ok()
                    .is_some_and(|at| now.duration_since(at).is_ok_and(|age| age > MAX_AGE))
            };
            // Not only records, but also the storage host (`endpoint_hint.rs`), and locks of killed runs (`lock_file.rs`).
            let kinds = ["upload", "finished", "storage", "items", "new", "lock", "run", "entry"];
            if path.extension().is_some_and(|end| kinds.iter().any(|kind| end == *kind))
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
    /// Whether it has a valid first line. Without one, it is not used.
    pub fn is_begun(&self) -> bool {
        self.begun
    }

    /// Replaces the content by an upload that was just started. If this fails, the record is empty.
    pub fn begin(&mut self, begun: StartedUpload, sync: bool) -> io::Result<()> {
        self.clear()?;
        let head = Header::new(self.key.clone(), begun);
        let mut text = record::entry_line(&Entry::Head(Box::new(head)))?;
        let status_at = text.len() as u64;
        text.push_str(&record::status_line(&Entry::NotFinalized)?);
        if let Err(error) = self.append(&text, sync) {
            let _ = self.clear();
            return Err(error);
        }
        (self.begun, self.status_at) = (true, Some(status_at));
        Ok(())
    }

    /// Records a finished part. Without `sync`, the line survives a kill, but not a power failure.
    pub fn add_part(&mut self, number: u32, part: &CompletedPart, sync: bool) -> io::Result<()> {
        self.add(&Entry::Part { number, etag: part.etag.clone(), md5: part.md5.clone() }, sync)
    }

    /// Records that the parts were compared with the file as it is now.
    pub fn set_identity(&mut self, identity: Identity) -> io::Result<()> {
        self.add(&Entry::Identity(identity), true)
    }

    /// Records whether finalize may have created an item: before it is sent, and after it was refused or did not reach the
    /// service.
    pub fn set_finalizing(&mut self, finalizing: bool, sync: bool) -> io::Result<()> {
        self.set_status(if finalizing { &Entry::Finalizing } else { &Entry::NotFinalized }, sync)
    }

    /// Records the item that finalize has created and that is to be verified.
    pub fn add_item(&mut self, item: &Item, sync: bool) -> io::Result<()> {
        self.add(&Entry::Item(item.one_line()), sync)
    }

    /// Removes the record of a finished upload.
    pub fn remove(self) {
        // While it is locked, so that no other run reads it.
        let _ = std::fs::remove_file(&self.path);
    }

    /// Empties the record.
    pub fn clear(&mut self) -> io::Result<()> {
        (self.begun, self.status_at) = (false, None);
        // ext4 writes a file to the disk when it is closed if it was ever truncated to nothing, even an empty one.
        if self.file.metadata()?.len() > 0 {
            self.file.set_len(0)?;
        }
        self.torn = false;
        Ok(())
    }

    fn set_status(&mut self, status: &Entry, sync: bool) -> io::Result<()> {
        if let Some(at) = self.status_at {
            let line = record::status_line(status)?;
            let written =
                self.file.seek(SeekFrom::Start(at)).and_then(|_| self.file.write_all(line.as_bytes()));
            if written.is_ok() {
                return self.sync(sync);
            }
            // A full copy-on-write file system refuses this too. An appended status takes precedence over the status line.
            self.status_at = None;
        }
        self.add(status, sync)
    }

    fn add(&mut self, entry: &Entry, sync: bool) -> io::Result<()> {
        self.append(&record::entry_line(entry)?, sync)
    }

    fn append(&mut self, text: &str, sync: bool) -> io::Result<()> {
        self.file.seek(SeekFrom::End(0))?;
        let begin = if self.torn { "\n" } else { "" };
        // Until the write is complete. It is a single write, so that a crash tears at most the last line.
        self.torn = true;
        self.file.write_all(format!("{begin}{text}").as_bytes())?;
        self.torn = false;
        self.sync(sync)
    }

    fn sync(&self, sync: bool) -> io::Result<()> {
        if sync { self.file.sync_data() } else { Ok(()) }
    }
}

impl Drop for Journal {
    /// Removes an empty record.
    fn drop(&mut self) {
        if self.file.metadata().is_ok_and(|metadata| metadata.len() == 0) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
