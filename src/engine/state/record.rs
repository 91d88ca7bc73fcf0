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
const FORMAT: u32 = 2;
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
    /// The canonical path of the file; `-` is standard input.
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
    format: u32,
    key: UploadKey,
    started: StartedUpload,
}

/// A multipart upload, and what it was started with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartedUpload {
    pub upload: Upload,
    /// The file when the upload was started, or when its parts were last compared with it.
    pub identity: Identity,
    /// Size of a part in bytes.
    pub part_size: u64,
    /// The service's clock, in seconds since 1970.
    #[serde(rename = "at")]
    pub started_at: i64,
    pub mime_type: String,
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
    pub key: UploadKey,
    pub started: StartedUpload,
    pub parts: BTreeMap<u32, CompletedPart>,
    /// Finalize was started and not refused, so the item may exist.
    pub finalizing: bool,
    /// The item, if it is only to be verified.
    pub item: Option<Item>,
}

/// The first lines of a record: the header and the status. Also returns the offset of the status line.
pub fn first_lines(key: &UploadKey, started: &StartedUpload, finalizing: bool) -> io::Result<(String, u64)> {
    let head = Header { format: FORMAT, key: key.clone(), started: started.clone() };
    let head = entry_line(&Entry::Head(Box::new(head)))?;
    let status_at = head.len() as u64;
    Ok((head + &status_line(finalizing)?, status_at))
}

/// The line of an entry.
pub fn entry_line(entry: &Entry) -> io::Result<String> {
    Ok(with_checksum(&serde_json::to_string(entry)?))
}

/// A status line, equally long for each status.
pub fn status_line(finalizing: bool) -> io::Result<String> {
    Ok(with_checksum(&format!("{:<STATUS_WIDTH$}", serde_json::to_string(&Entry::status(finalizing))?)))
}

pub fn with_checksum(text: &str) -> String {
    format!("{} {text}\n", checksum(text.as_bytes()))
}

fn checksum(text: &[u8]) -> String {
    hex(&Sha256::digest(text))[..CHECKSUM_DIGITS].to_owned()
}

/// Reads a record. Also returns the offset of its status line, if that is complete.
/// Fails with a warning if the record is damaged or from another version.
pub fn parse(text: &[u8]) -> Result<(Recorded, Option<u64>), String> {
    let unusable =
        || "the record of an earlier upload is damaged or from another version: starting over".to_owned();
    let mut lines = text.split(|byte| *byte == b'\n');
    let head = lines.next().unwrap_or_default();
    let Some(Entry::Head(header)) = parse_line(head) else { return Err(unusable()) };
    let Header { format: FORMAT, key, started } = *header else { return Err(unusable()) };
    let mut recorded = Recorded { key, started, parts: BTreeMap::new(), finalizing: false, item: None };
    let status_at = head.len() + 1;
    let status = text.get(status_at..status_at + STATUS_LINE).map(|line| &line[..STATUS_LINE - 1]);
    for entry in lines.filter_map(parse_line) {
        match entry {
            Entry::Part { number, etag, md5 } => {
                recorded.parts.insert(number, CompletedPart { etag, md5 });
            }
            Entry::Identity(identity) => recorded.started.identity = identity,
            Entry::Item(raw) => recorded.item = Item::new(raw),
            // The disk may not have accepted a change of the status line, so a status may also have been appended.
            Entry::Finalizing => recorded.finalizing = true,
            Entry::NotFinalized => recorded.finalizing = false,
            // Only the first line is one.
            Entry::Head(_) => {}
        }
    }
    // A damaged status was just being changed, so finalize may have been started, and looking for an item costs little.
    recorded.finalizing |= status.is_some_and(|line| !matches!(parse_line(line), Some(Entry::NotFinalized)));
    Ok((recorded, status.map(|_| status_at as u64)))
}

fn parse_line(line: &[u8]) -> Option<Entry> {
    serde_json::from_slice(strip_checksum(line)?).ok()
}

/// The text of a line without its checksum. `None` if it is damaged.
pub fn strip_checksum(line: &[u8]) -> Option<&[u8]> {
    let (head, text) = line.split_at_checked(CHECKSUM_DIGITS)?;
    let text = text.strip_prefix(b" ")?;
    (checksum(text).as_bytes() == head).then_some(text)
}

/// The path of a file without links, as text. Blocks on the disk.
pub fn canonical_text(path: &Path) -> String {
    platform::canonical(path).map_or_else(|_| absolute_text(path), |canonical| text_of(&canonical))
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
