//! Records on disk, one file for each upload, from which the same command resumes after Ctrl-C, a kill or a reboot.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::lock_file::LockFile;
use super::record::{self, Entry, Recorded, StartedUpload, UploadKey};
use crate::etag::CompletedPart;
use crate::item::Item;
use crate::platform::Identity;

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
    lock: LockFile,
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

impl JournalStore {
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

    /// Opens the record for a key, locks it for this process, and reads it. `None` if another process has locked it.
    pub fn open(&self, key: &UploadKey) -> io::Result<Option<Opened>> {
        let Some(lock) = LockFile::open(&self.path_of(key))? else { return Ok(None) };
        let mut text = Vec::new();
        if lock.existed {
            (&lock.file).take(MAX_SIZE).read_to_end(&mut text)?;
        }
        let torn = !text.is_empty() && !text.ends_with(b"\n");
        let mut journal = Journal { lock, key: key.clone(), begun: false, status_at: None, torn };
        if text.is_empty() {
            return Ok(Some((journal, None, None)));
        }
        let warning = match record::parse(&text) {
            Ok((recorded, status_at)) if recorded.key == *key => {
                (journal.begun, journal.status_at) = (true, status_at);
                return Ok(Some((journal, Some(recorded), None)));
            }
            Ok(_) => "the record of an earlier upload belongs to another upload: starting over".to_owned(),
            Err(warning) => warning,
        };
        journal.clear()?;
        Ok(Some((journal, None, Some(warning))))
    }

    /// Uploads that were being finalized, so that their items may exist. Blocks on the disk.
    pub fn unsettled_uploads(&self) -> impl Iterator<Item = Recorded> {
        let entries = std::fs::read_dir(&self.0).into_iter().flatten().flatten().map(|entry| entry.path());
        let records = entries.filter(|path| path.extension().is_some_and(|end| end == "upload"));
        records.filter_map(|path| {
            let mut text = Vec::new();
            File::open(path).ok()?.take(MAX_SIZE).read_to_end(&mut text).ok()?;
            record::parse(&text).ok().map(|(recorded, _)| recorded).filter(|recorded| recorded.finalizing)
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

    /// Replaces the content by a started upload with these finished parts. If this fails, the record is empty.
    pub fn begin(
        &mut self,
        started: &StartedUpload,
        parts: &BTreeMap<u32, CompletedPart>,
        finalizing: bool,
        sync: bool,
    ) -> io::Result<()> {
        self.clear()?;
        let (mut text, status_at) = record::first_lines(&self.key, started, finalizing)?;
        for (number, part) in parts {
            text.push_str(&record::entry_line(&Entry::part(*number, part))?);
        }
        if let Err(error) = self.append(&text, sync) {
            let _ = self.clear();
            return Err(error);
        }
        (self.begun, self.status_at) = (true, Some(status_at));
        Ok(())
    }

    /// Records a finished part. Without `sync`, the line survives a kill, but not a power failure.
    pub fn add_part(&mut self, number: u32, part: &CompletedPart, sync: bool) -> io::Result<()> {
        self.add(&Entry::part(number, part), sync)
    }

    /// Records that the parts were compared with the file as it is now.
    pub fn set_identity(&mut self, identity: Identity) -> io::Result<()> {
        self.add(&Entry::Identity(identity), true)
    }

    /// Records whether finalize may have created an item: before it is sent, and after it was refused or did not reach the
    /// service.
    pub fn set_finalizing(&mut self, finalizing: bool, sync: bool) -> io::Result<()> {
        if !self.begun {
            return Ok(());
        }
        if let Some(at) = self.status_at {
            let line = record::status_line(finalizing)?;
            let file = &mut self.lock.file;
            let written = file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(line.as_bytes()));
            if written.is_ok() {
                return self.sync(sync);
            }
            // A full copy-on-write file system refuses this too. If either the line or an appended status says that
            // finalize was started, the next run looks for the item.
            self.status_at = None;
        }
        self.add(&Entry::status(finalizing), sync)
    }

    /// Records the item that finalize has created and that is to be verified.
    pub fn add_item(&mut self, item: &Item, sync: bool) -> io::Result<()> {
        self.add(&Entry::Item(item.compact()), sync)
    }

    /// Removes the record of a finished upload, while it is locked, so that no other run reads it.
    pub fn remove(self) {
        self.lock.remove();
    }

    /// Empties the record. An empty one is removed when it is dropped.
    pub fn clear(&mut self) -> io::Result<()> {
        (self.begun, self.status_at) = (false, None);
        // ext4 writes a file to the disk when it is closed if it was ever truncated to nothing, even an empty one.
        if self.lock.file.metadata()?.len() > 0 {
            self.lock.file.set_len(0)?;
        }
        self.torn = false;
        Ok(())
    }

    fn add(&mut self, entry: &Entry, sync: bool) -> io::Result<()> {
        self.append(&record::entry_line(entry)?, sync)
    }

    fn append(&mut self, text: &str, sync: bool) -> io::Result<()> {
        self.lock.file.seek(SeekFrom::End(0))?;
        let begin = if self.torn { "\n" } else { "" };
        // Until the write is complete. It is a single write, so that a crash tears at most the last line.
        self.torn = true;
        self.lock.file.write_all(format!("{begin}{text}").as_bytes())?;
        self.torn = false;
        self.sync(sync)
    }

    fn sync(&self, sync: bool) -> io::Result<()> {
        if sync { self.lock.file.sync_data() } else { Ok(()) }
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
