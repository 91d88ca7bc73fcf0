//! The record of one upload, on disk: what makes the same command resume after Ctrl-C, a kill or a reboot.
//!
//! A text file with one entry a line: what the upload is, whether finalize was begun, and then, appended, each
//! finished part and each change of the file that was looked into. Every line carries its own checksum. A line that is
//! torn or damaged counts as never written: its part is sent again. A damaged first line makes the record useless,
//! never wrong.
//!
//! Whether finalize was begun stands in the second line, which is overwritten in place: a full disk, which takes no
//! more parts, still takes this, and without it the next run could make a second item.

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

/// The format's number. A record with another one cannot be used.
const FORMAT: u32 = 1;
/// Hexadecimal digits of a line's checksum.
const SUM: usize = 16;
/// Characters of a status, the longest of which is `"not_finalized"`; shorter ones are padded with blanks.
const STATUS: usize = 15;
/// Bytes of the status line: checksum, blank, status, newline.
const STATUS_LINE: usize = SUM + 1 + STATUS + 1;
/// S3 cleans unfinished uploads up after days (a bucket's lifecycle rule, commonly 7); a record that nothing
/// was added to for this long belongs to none that still is.
const KEPT: Duration = Duration::from_secs(30 * 86_400);
/// A record of 10,000 parts has about 2 MB; what is larger than this is none of ours.
const SIZE_MOST: u64 = 64 * 1024 * 1024;

/// What an upload is bound to: a record counts only for exactly this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadKey {
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

impl UploadKey {
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
pub struct Header {
    format: u32,
    binding: UploadKey,
    /// The file when the upload began, or when its parts were last compared with it.
    pub identity: Identity,
    /// Bytes a part.
    pub part_size: u64,
    /// The service's name for the upload.
    pub upload: Upload,
    /// The service's clock when the upload began, seconds since 1970.
    pub started: i64,
    /// The MIME type that it was begun with. Unknown in records of early versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// The next line is the status. Not so in records of early versions, which append it.
    #[serde(default)]
    status_line: bool,
}

/// What an upload is when it begins.
#[derive(Debug)]
pub struct Begun {
    /// The file.
    pub identity: Identity,
    /// Bytes a part.
    pub part_size: u64,
    /// The service's name for the upload.
    pub upload: Upload,
    /// The service's clock, seconds since 1970.
    pub started: i64,
    /// The MIME type that the service was told, if it is known.
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

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The upload.
    pub head: Header,
    /// Its finished parts.
    pub parts: BTreeMap<u32, CompletedPart>,
    /// Whether finalize was begun and not clearly refused: then the item may exist.
    pub finalizing: bool,
}

/// Where records are kept.
#[derive(Debug, Clone)]
pub struct JournalStore(PathBuf);

/// A locked record. What it says is known; what happens is added.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    binding: UploadKey,
    /// It says which upload it is about.
    begun: bool,
    /// Where its status line is; `None`: statuses are appended.
    status_at: Option<u64>,
    /// The last line may not be whole: the next entry begins a new one.
    torn: bool,
}

/// A record, what it says of an earlier upload, and a warning about one that could not be used.
pub type Opened = (Journal, Option<Recorded>, Option<String>);

/// Why a record could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// Another process holds it.
    Busy(PathBuf),
    /// The disk says no.
    Io(io::Error),
}

impl JournalStore {
    /// Opens the record of a file as [`JournalStore::open`] does. `early`: the path by which early versions kept it; a
    /// record that is still there counts.
    ///
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

    /// Records in this folder, which is made when it is needed.
    pub fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Where the record for a binding is, or would be.
    pub fn path_of(&self, binding: &UploadKey) -> PathBuf {
        self.0.join(binding.file_name())
    }

    /// Opens the record for a binding, locked for this process, and reads what it says. The `String` is a
    /// warning about a record that could not be used.
    ///
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

    /// The uploads whose items may exist though nobody was told, of this folder of records. Waits for the disk.
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
            // Locks are left behind by runs that were killed (`lock_file.rs`).
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
    /// Whether it says which upload it is about: without that nothing in it counts.
    pub fn is_begun(&self) -> bool {
        self.begun
    }

    /// Begins the record anew for an upload just started. When it fails, nothing is on record.
    ///
    /// # Errors
    /// The disk's.
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

    /// A part is in storage. Without `sync` the line is safe against a kill, not against a power cut.
    ///
    /// # Errors
    /// The disk's.
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

/// The paths that a file's record may be kept under: the file's own, whichever way led to it, and the given one, made
/// absolute, by which early versions kept it. Waits for the disk.
pub fn path_texts(path: &Path) -> (String, String) {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let canonical = platform::canonical(path).unwrap_or_else(|_| absolute.clone());
    (text_of(&canonical), text_of(&absolute))
}

/// A path as text that tells different paths apart, also when it is no Unicode.
fn text_of(path: &Path) -> String {
    match path.to_str() {
        Some(text) => text.to_owned(),
        None => format!("bytes:{}", hex(path.as_os_str().as_encoded_bytes())),
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
