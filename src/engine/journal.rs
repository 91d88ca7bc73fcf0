//! The record of one upload on disk. It lets the same command resume after Ctrl-C, a kill or a reboot.
//! A text file with one entry per line: what the upload is, whether finalize was started, and then, appended, each
//! finished part and each time that a changed file was compared. Every line has a checksum. A torn or damaged line
//! counts as not written, and its part is sent again. A damaged first line makes the record useless, but never wrong.
//! Whether finalize was started is in the second line, which is overwritten in place. A full disk, which accepts no
//! more parts, still accepts this. Without it, the next run could create a second item.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::checksum::hex;
use crate::drive::wire::Upload;
use crate::etag::{CompletedPart, Etag};
use crate::platform::{self, Identity};

/// Version of the format. A record of another version cannot be used.
const FORMAT: u32 = 1;
/// Hexadecimal digits of a line's checksum.
const SUM: usize = 16;
/// Length of the status. The longest is `"not_finalized"`; shorter ones are padded with spaces.
const STATUS: usize = 15;
/// Length of the status line in bytes: checksum, space, status, newline.
const STATUS_LINE: usize = SUM + 1 + STATUS + 1;
/// Records that have not changed for this long are removed. S3 deletes unfinished uploads after some days (a lifecycle
/// rule of the bucket, commonly 7).
const KEPT: Duration = Duration::from_secs(30 * 86_400);
/// Limit on the size of a record. One with 10,000 parts has about 2 MB.
const SIZE_MOST: u64 = 64 * 1024 * 1024;

/// Identifies an upload. A record is only valid for exactly this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadKey {
    /// The API's URL.
    pub api: String,
    /// A hash of the token.
    pub account: String,
    /// The folder's ID; `None` is the root.
    pub parent: Option<String>,
    /// The name in the drive.
    pub name: String,
    /// The absolute path of the file.
    pub path: String,
}

impl UploadKey {
    /// The name of the record: equal for equal keys, without revealing them.
    fn file_name(&self) -> String {
        let text = serde_json::to_vec(self).unwrap_or_default();
        format!("{}.upload", &hex(&Sha256::digest(text))[..40])
    }
}

/// A hash of a token. Recognizes an account without storing its secret.
pub fn account(token: &crate::secret::Token) -> String {
    hex(&Sha256::digest(format!("copera-upload account\n{}", token.expose())))[..32].to_owned()
}

/// The first line of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    format: u32,
    binding: UploadKey,
    /// The file when the upload was started, or when its parts were last compared with it.
    pub identity: Identity,
    /// Size of a part in bytes.
    pub part_size: u64,
    /// The multipart upload.
    pub upload: Upload,
    /// The service's clock when the upload was started, in seconds since 1970.
    pub started: i64,
    /// Unknown in records of early versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// The next line is the status. Early versions appended it.
    #[serde(default)]
    status_line: bool,
}

/// An upload that has just been started.
#[derive(Debug)]
pub struct Begun {
    pub identity: Identity,
    /// Size of a part in bytes.
    pub part_size: u64,
    pub upload: Upload,
    /// The service's clock, in seconds since 1970.
    pub started: i64,
    /// As sent to the service, if known.
    pub mime_type: Option<String>,
}

/// A line of the record.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Entry {
    Head(Box<Header>),
    Part { number: u32, etag: Etag, md5: Option<Etag> },
    Identity(Identity),
    Finalizing,
    NotFinalized,
}

/// The content of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    pub head: Header,
    pub parts: BTreeMap<u32, CompletedPart>,
    /// Finalize was started and not clearly refused, so the item may exist.
    pub finalizing: bool,
}

/// A folder of records.
#[derive(Debug, Clone)]
pub struct JournalStore(PathBuf);

/// A locked record. Its content has been read; entries are appended.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    binding: UploadKey,
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
    /// The disk says no.
    Io(io::Error),
}

impl JournalStore {
    /// Opens a file's record like [`JournalStore::open`]. Early versions kept it under the path `early`; one that is
    /// still there is used.
    /// # Errors
    /// [`OpenError`].
    pub fn open_any(&self, binding: UploadKey, early: String) -> Result<Opened, OpenError> {
        let early = UploadKey { path: early, ..binding.clone() };
        let has_early = early != binding && self.0.join(early.file_name()).exists();
        let opened = self.open(binding)?;
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

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// The path of the record for a key, whether it exists or not.
    pub fn path_of(&self, binding: &UploadKey) -> PathBuf {
        self.0.join(binding.file_name())
    }

    /// Opens the record for a key, locks it for this process, and reads it. The `String` is a warning about a record
    /// that could not be used.
    /// # Errors
    /// [`OpenError`].
    pub fn open(&self, binding: UploadKey) -> Result<Opened, OpenError> {
        platform::create_private_dir(&self.0).map_err(OpenError::Io)?;
        let path = self.0.join(binding.file_name());
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
        BufReader::new(&file).take(SIZE_MOST).read_to_end(&mut text).map_err(OpenError::Io)?;
        let torn = !text.is_empty() && !text.ends_with(b"\n");
        let mut journal = Journal { file, path, binding, begun: false, status_at: None, torn };
        match read(&text, &journal.binding) {
            Ok(recorded) => {
                journal.begun = recorded.is_some();
                let has_status = recorded.as_ref().is_some_and(|recorded| recorded.head.status_line);
                journal.status_at = has_status.then(|| status_line_in(&text)).flatten().map(|(at, _)| at);
                Ok((journal, recorded, None))
            }
            Err(useless) => {
                journal.clear().map_err(OpenError::Io)?;
                Ok((journal, None, Some(useless)))
            }
        }
    }

    /// Uploads in this folder whose items may exist without having been reported. Blocks on the disk.
    pub fn at_finalize(&self) -> impl Iterator<Item = (UploadKey, Recorded)> {
        let entries = std::fs::read_dir(&self.0).into_iter().flatten().flatten().map(|entry| entry.path());
        let records = entries.filter(|path| path.extension().is_some_and(|end| end == "upload"));
        records.filter_map(|path| {
            let mut text = Vec::new();
            File::open(path).ok()?.take(SIZE_MOST).read_to_end(&mut text).ok()?;
            let Some(Entry::Head(head)) = text.split(|byte| *byte == b'\n').next().and_then(read_line) else {
                return None;
            };
            let binding = head.binding;
            let recorded = read(&text, &binding).ok()??;
            recorded.finalizing.then_some((binding, recorded))
        })
    }

    /// Removes records that have not changed for a month and are not locked.
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
            // Includes the storage host (`endpoint_hint.rs`), which is learned again, and locks left by killed runs
            // (`lock_file.rs`).
            let kinds = ["upload", "storage", "items", "new", "lock", "run"];
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
    /// Whether it has a valid first line. Nothing in it counts without one.
    pub fn is_begun(&self) -> bool {
        self.begun
    }

    /// Starts the record anew for an upload that was just started. If this fails, the record is empty.
    /// # Errors
    /// Those of the disk.
    pub fn begin(&mut self, begun: Begun, sync: bool) -> io::Result<()> {
        self.clear()?;
        let Begun { identity, part_size, upload, started, mime_type } = begun;
        let (binding, status_line) = (self.binding.clone(), true);
        let head =
            Header { format: FORMAT, binding, identity, part_size, upload, started, mime_type, status_line };
        let mut text = line(&Entry::Head(Box::new(head)))?;
        let status_at = text.len() as u64;
        text.push_str(&status_line_of(&Entry::NotFinalized)?);
        if let Err(error) = self.append(&text, sync) {
            let _ = self.clear();
            return Err(error);
        }
        (self.begun, self.status_at) = (true, Some(status_at));
        Ok(())
    }

    /// Records a finished part. Without `sync`, the line survives a kill, but not a power failure.
    /// # Errors
    /// Those of the disk.
    pub fn part(&mut self, number: u32, receipt: &CompletedPart, sync: bool) -> io::Result<()> {
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
        self.set_status(&Entry::Finalizing, sync)
    }

    /// Finalize was refused, or never reached the service: there is no item.
    ///
    /// # Errors
    /// The disk's.
    pub fn not_finalized(&mut self, sync: bool) -> io::Result<()> {
        self.set_status(&Entry::NotFinalized, sync)
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
        (self.begun, self.status_at) = (false, None);
        self.file.set_len(0)?;
        self.torn = false;
        Ok(())
    }

    fn set_status(&mut self, status: &Entry, sync: bool) -> io::Result<()> {
        if let Some(at) = self.status_at {
            let line = status_line_of(status)?;
            let written =
                self.file.seek(SeekFrom::Start(at)).and_then(|_| self.file.write_all(line.as_bytes()));
            if written.is_ok() {
                return self.sync(sync);
            }
            // A file system that copies on write may refuse this too. Then the last word is at the end.
            self.status_at = None;
        }
        self.add(status, sync)
    }

    fn add(&mut self, entry: &Entry, sync: bool) -> io::Result<()> {
        self.append(&line(entry)?, sync)
    }

    fn append(&mut self, text: &str, sync: bool) -> io::Result<()> {
        self.file.seek(SeekFrom::End(0))?;
        let begin = if self.torn { "\n" } else { "" };
        // Until all of it is written. One write, so that a crash tears at most the last line.
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
    /// A record that nothing was written to is none.
    fn drop(&mut self) {
        if self.file.metadata().is_ok_and(|metadata| metadata.len() == 0) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn line(entry: &Entry) -> io::Result<String> {
    Ok(line_of(&serde_json::to_string(entry)?))
}

/// A status line, equally long for each status.
fn status_line_of(status: &Entry) -> io::Result<String> {
    Ok(line_of(&format!("{:<STATUS$}", serde_json::to_string(status)?)))
}

fn line_of(text: &str) -> String {
    format!("{} {text}\n", sum(text.as_bytes()))
}

fn sum(text: &[u8]) -> String {
    hex(&Sha256::digest(text))[..SUM].to_owned()
}

/// Reads a record. Nothing in it gives `None`; one that cannot be used, a reason.
fn read(text: &[u8], binding: &UploadKey) -> Result<Option<Recorded>, String> {
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
    let status = head.status_line.then(|| status_line_in(text)).flatten();
    let mut recorded = Recorded { head: *head, parts: BTreeMap::new(), finalizing: false };
    for entry in entries.flatten() {
        match entry {
            Entry::Part { number, etag, md5 } => {
                recorded.parts.insert(number, CompletedPart { etag, md5 });
            }
            Entry::Identity(identity) => recorded.head.identity = identity,
            Entry::Finalizing => recorded.finalizing = true,
            Entry::NotFinalized => recorded.finalizing = false,
            // Only the first line is one.
            Entry::Head(_) => {}
        }
    }
    // An early version, or a disk that took no change of the status line, may have appended another status. And one
    // that is damaged was being changed: finalize may have been begun, and to look for an item costs little.
    let begun = |(_, status): (u64, &[u8])| !matches!(read_line(status), Some(Entry::NotFinalized));
    recorded.finalizing |= status.is_some_and(begun);
    Ok(Some(recorded))
}

/// The second line of a record, without its newline, and where it begins. `None`: the record ends before that line
/// does, since writing the first lines was interrupted.
fn status_line_in(text: &[u8]) -> Option<(u64, &[u8])> {
    let at = text.iter().position(|byte| *byte == b'\n')? + 1;
    Some((at as u64, text.get(at..at + STATUS_LINE)?.get(..STATUS_LINE - 1)?))
}

fn read_line(line: &[u8]) -> Option<Entry> {
    let (head, text) = line.split_at_checked(SUM)?;
    let text = text.strip_prefix(b" ")?;
    (sum(text).as_bytes() == head).then(|| serde_json::from_slice(text).ok())?
}

/// The paths that a file's record may be kept under: its canonical path, and the given path made absolute, as early
/// versions did. Blocks on the disk.
pub fn path_texts(path: &Path) -> (String, String) {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let canonical = platform::canonical(path).unwrap_or_else(|_| absolute.clone());
    (text_of(&canonical), text_of(&absolute))
}

/// A path as text that is unique even if it is not valid Unicode.
fn text_of(path: &Path) -> String {
    match path.to_str() {
        Some(text) => text.to_owned(),
        None => format!("bytes:{}", hex(path.as_os_str().as_encoded_bytes())),
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
