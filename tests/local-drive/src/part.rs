//! A part of a multipart upload: its bytes, its ETag, and how it is written.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use md5_many::{Digest as _, Md5};

use crate::options::Mode;
use crate::record::StoredPart;
use crate::store::{Object, Refusal, Store};

/// The bytes of a part. The file is deleted with its last user, except if the store keeps its files.
pub(crate) struct Content {
    pub(crate) path: Option<PathBuf>,
    pub(crate) keep: Arc<AtomicBool>,
}

impl Drop for Content {
    fn drop(&mut self) {
        if let Some(path) = self.path.as_ref().filter(|_| !self.keep.load(Ordering::SeqCst)) {
            // The whole folder may be deleted already.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A stored part.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) etag: String,
    /// The ETag is not an MD5, as with KMS encryption.
    pub(crate) encrypted: bool,
    pub(crate) size: u64,
    pub(crate) content: Arc<Content>,
}

/// A part that is being received. If it is dropped before [`PartWriter::finish`], nothing is stored.
pub(crate) struct PartWriter<'a> {
    store: &'a Store,
    upload_id: String,
    key: String,
    number: u32,
    hash: Md5,
    size: u64,
    file: Option<File>,
    content: Content,
}

impl<'a> PartWriter<'a> {
    pub(crate) fn new(
        store: &'a Store,
        (upload_id, key): (&str, &str),
        number: u32,
        content: Content,
    ) -> Result<Self, Refusal> {
        let create =
            |path: &PathBuf| File::create(path).with_context(|| format!("cannot create {}", path.display()));
        let file = content.path.as_ref().map(create).transpose();
        let file = file.map_err(|error| Refusal::Internal(format!("{error:#}")))?;
        let (upload_id, key) = (upload_id.to_owned(), key.to_owned());
        Ok(Self { store, upload_id, key, number, hash: Md5::new(), size: 0, file, content })
    }

    /// Writes on the caller's thread. For chunks of a few hundred KiB, which go to the page cache, that is faster
    /// than another thread.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        if self.store.mode != Mode::Sink {
            self.hash.update(bytes);
        }
        self.size += bytes.len() as u64;
        match &mut self.file {
            Some(file) => file.write_all(bytes).map_err(|error| Refusal::Internal(error.to_string())),
            None => Ok(()),
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Stores the part.
    pub(crate) fn finish(self) -> Result<StoredPart, Refusal> {
        let encrypted = self.store.is_encrypted();
        let etag = if encrypted { random_etag() } else { hex(&self.hash.finalize()) };
        let content = Arc::new(self.content);
        let part = Part { etag: etag.clone(), encrypted, size: self.size, content };
        self.store.add_part(&self.upload_id, &self.key, self.number, part)?;
        Ok(StoredPart { number: self.number, etag, size: self.size })
    }

    /// Makes an object of this part alone. Its ETag is its MD5.
    pub(crate) fn finish_object(self) -> Result<Object, Refusal> {
        let (store, upload_id, key) = (self.store, self.upload_id.clone(), self.key.clone());
        let part = self.finish()?;
        store.complete_single(&upload_id, &key, part)
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An ETag that looks like an MD5 but is not one.
pub(crate) fn random_etag() -> String {
    format!("{:032x}", fastrand::u128(..))
}

/// The MD5 of the binary MD5s of the parts, as in the ETag of a multipart object.
pub(crate) fn multipart_digest(parts: &[Part]) -> String {
    let mut hash = Md5::new();
    for part in parts {
        // The ETag is the hexadecimal form of 16 bytes.
        hash.update(u128::from_str_radix(&part.etag, 16).unwrap_or_default().to_be_bytes());
    }
    hex(&hash.finalize())
}
