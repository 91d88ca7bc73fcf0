//! The format of a record: a text file with one entry per line.
//!
//! The first line describes the upload, the second line says whether finalize was started. Then follow the finished parts
//! and the file's identity whenever a changed file was compared. Each line has a checksum. A torn or damaged line counts as
//! not written, and its part is sent again. If the first line is damaged, the record is not used.
//!
//! The second line is overwritten in place, which a full disk still accepts. Without it, the next run could create a
//! second item.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::checksum::hex;
use crate::drive::wire::Upload;
use crate::etag::{CompletedPart, Etag};
use crate::item::Item;
use crate::platform::{self, Identity};

/// Version of the format. A record of another version cannot be used.
const FORMAT: u32 = 1;
/// Hexadecimal digits of a line's checksum.
const CHECKSUM_DIGITS: usize = 16;
/// Width of a status. The longest is `"not_finalized"`; shorter ones are padded with spaces.
const STATUS_WIDTH: usize = 15;
/// Length of the status line in bytes: checksum, space, status, newline.
const STATUS_LINE: usize = CHECKSUM_DIGITS + 1 + STATUS_WIDTH + 1;

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
    /// The file name of the record, which does not reveal the key.
    pub fn file_name(&self) -> String {
        let text = serde_json::to_vec(self).unwrap_or_default();
        format!("{}.upload", &hex(&Sha256::digest(text))[..40])
    }
}

/// A hash of a token, which identifies an account without storing its secret.
pub fn account(token: &crate::secret::Token) -> String {
    hex(&Sha256::digest(format!("copera-upload account\n{}", token.expose())))[..32].to_owned()
}

/// The first line of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub format: u32,
    #[serde(rename = "binding")]
    pub key: UploadKey,
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
    pub status_line: bool,
}

impl Header {
    /// The header of a new record.
    pub fn new(key: UploadKey, begun: &StartedUpload) -> Self {
        let StartedUpload { identity, part_size, upload, started, mime_type } = begun.clone();
        Self { format: FORMAT, key, identity, part_size, upload, started, mime_type, status_line: true }
    }
}

/// A started upload.
#[derive(Debug, Clone)]
pub struct StartedUpload {
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
pub enum Entry {
    Head(Box<Header>),
    Part {
        number: u32,
        etag: Etag,
        md5: Option<Etag>,
    },
    Identity(Identity),
    Finalizing,
    NotFinalized,
    /// The item that finalize has created, if it is still to be verified.
    Item(Box<RawValue>),
}

impl Entry {
    pub fn part(number: u32, part: &CompletedPart) -> Self {
        Self::Part { number, etag: part.etag.clone(), md5: part.md5.clone() }
    }

    pub fn status(finalizing: bool) -> Self {
        if finalizing { Self::Finalizing } else { Self::NotFinalized }
    }
}

/// The content of a record, as an earlier run left it.
#[derive(Debug, Clone)]
pub struct Recorded {
    pub head: Header,
    pub parts: BTreeMap<u32, CompletedPart>,
    /// Finalize was started and not refused, so the item may exist.
    pub finalizing: bool,
    /// The item, if it is only to be verified.
    pub item: Option<Item>,
}

/// The line of an entry.
pub fn entry_line(entry: &Entry) -> io::Result<String> {
    Ok(with_checksum(&serde_json::to_string(entry)?))
}

/// A status line, equally long for each status.
pub fn status_line(status: &Entry) -> io::Result<String> {
    Ok(with_checksum(&format!("{:<STATUS_WIDTH$}", serde_json::to_string(status)?)))
}

pub fn with_checksum(text: &str) -> String {
    format!("{} {text}\n", checksum(text.as_bytes()))
}

fn checksum(text: &[u8]) -> String {
    hex(&Sha256::digest(text))[..CHECKSUM_DIGITS].to_owned()
}

/// Reads a record. `None` if it is empty; the reason if it cannot be used.
pub fn parse(text: &[u8], key: &UploadKey) -> Result<Option<Recorded>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let mut entries = text.split(|byte| *byte == b'\n').map(parse_line);
    let Some(Some(Entry::Head(head))) = entries.next() else {
        return Err(
            "the record of an earlier upload is damaged or from another version: starting over".to_owned()
        );
    };
    if head.format != FORMAT || head.key != *key {
        return Err("the record of an earlier upload belongs to another upload: starting over".to_owned());
    }
    let status = head.status_line.then(|| find_status_line(text)).flatten();
    let mut recorded = Recorded { head: *head, parts: BTreeMap::new(), finalizing: false, item: None };
    for entry in entries.flatten() {
        match entry {
            Entry::Part { number, etag, md5 } => {
                recorded.parts.insert(number, CompletedPart { etag, md5 });
            }
            Entry::Identity(identity) => recorded.head.identity = identity,
            Entry::Item(raw) => recorded.item = Item::new(raw),
            Entry::Finalizing => recorded.finalizing = true,
            Entry::NotFinalized => recorded.finalizing = false,
            // Only the first line is one.
            Entry::Head(_) => {}
        }
    }
    // A status may also have been appended: by an early version, or because the disk did not accept a change of the status
    // line. A damaged status was just being changed, so finalize may have been started, and looking for an item costs little.
    let started = |(_, status): (u64, &[u8])| !matches!(parse_line(status), Some(Entry::NotFinalized));
    recorded.finalizing |= status.is_some_and(started);
    Ok(Some(recorded))
}

/// The second line of a record, without its newline, and its offset. `None` if it is incomplete.
pub fn find_status_line(text: &[u8]) -> Option<(u64, &[u8])> {
    let at = text.iter().position(|byte| *byte == b'\n')? + 1;
    Some((at as u64, text.get(at..at + STATUS_LINE)?.get(..STATUS_LINE - 1)?))
}

/// Reads a line. `None` if it is damaged.
pub fn parse_line(line: &[u8]) -> Option<Entry> {
    serde_json::from_slice(strip_checksum(line)?).ok()
}

/// The text of a line without its checksum. `None` if it is damaged.
pub fn strip_checksum(line: &[u8]) -> Option<&[u8]> {
    let (head, text) = line.split_at_checked(CHECKSUM_DIGITS)?;
    let text = text.strip_prefix(b" ")?;
    (checksum(text).as_bytes() == head).then_some(text)
}

/// The paths under which a file's record may be kept: the canonical path, and the absolute path that early versions used.
/// Blocks on the disk.
pub fn record_paths(path: &Path) -> (String, String) {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let canonical = platform::canonical(path).unwrap_or_else(|_| absolute.clone());
    (text_of(&canonical), text_of(&absolute))
}

/// The path of a file made absolute, as text.
pub fn absolute_text(path: &Path) -> String {
    text_of(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()))
}

/// A path as text that is unique even if it is not valid Unicode.
fn text_of(path: &Path) -> String {
    match path.to_str() {
        Some(text) => text.to_owned(),
        None => format!("bytes:{}", hex(path.as_os_str().as_encoded_bytes())),
    }
}
