//! Multipart uploads and objects of the embedded S3 server.
//!
//! Each part is a file, and an object is a list of such files, so completing an upload of any size takes no time.
//! A part is written to a new file and joins the upload only when it is complete. An aborted PUT leaves nothing, and
//! the last of several concurrent PUTs to finish wins, as on S3.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::options::Mode;
use crate::part::{Content, Part, PartWriter, multipart_digest, random_etag};
use crate::record::StoredPart;

/// The smallest part, except for the last one of an object.
pub(crate) const MIN_PART: u64 = 5 * 1024 * 1024;
/// The largest part.
pub(crate) const MAX_PART: u64 = 5 * 1024 * 1024 * 1024;
/// The highest part number.
pub(crate) const MAX_PARTS: u32 = 10_000;

/// Why S3 refuses a request, named like its error codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    NoSuchUpload,
    /// From external servers only.
    NoSuchBucket,
    NoSuchKey,
    MalformedXml,
    InvalidPart,
    InvalidPartOrder,
    EntityTooSmall {
        number: u32,
        size: u64,
    },
    Internal(String),
}

struct Upload {
    key: String,
    parts: BTreeMap<u32, Part>,
}

/// A completed object.
#[derive(Clone)]
pub(crate) struct Object {
    pub(crate) etag: String,
    /// The ETag is not an MD5, as with KMS encryption.
    pub(crate) encrypted: bool,
    pub(crate) size: u64,
    parts: Vec<Part>,
}

impl Object {
    /// The files that make it up, with their sizes. `None` if the bytes were discarded.
    pub(crate) fn files(&self) -> Option<Vec<(PathBuf, u64)>> {
        self.parts.iter().map(|part| part.content.path.clone().map(|path| (path, part.size))).collect()
    }
}

#[derive(Default)]
struct Inner {
    uploads: HashMap<String, Upload>,
    objects: HashMap<String, Object>,
}

/// All uploads and objects of a drive.
pub(crate) struct Store {
    folder: PathBuf,
    pub(crate) mode: Mode,
    kms: bool,
    next_file: AtomicU64,
    keep: Arc<AtomicBool>,
    inner: Mutex<Inner>,
}

impl Store {
    /// Nothing else may use `folder`. With `kms`, ETags are not MD5s.
    pub(crate) fn new(folder: &Path, mode: Mode, kms: bool) -> Self {
        Self {
            folder: folder.to_owned(),
            mode,
            kms,
            next_file: AtomicU64::new(0),
            keep: Arc::default(),
            inner: Mutex::default(),
        }
    }

    /// Whether ETags are not MD5s.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.kms || self.mode == Mode::Sink
    }

    /// Files remain when the store is dropped.
    pub(crate) fn keep_files(&self) {
        self.keep.store(true, Ordering::SeqCst);
    }

    pub(crate) fn create(&self, key: &str) -> String {
        // The length and characters of Amazon's, so that URLs are as long as real ones.
        const CHARACTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._";
        let id: String = (0..128)
            .map(|_| char::from(CHARACTERS.get(fastrand::usize(..CHARACTERS.len())).copied().unwrap_or(b'A')))
            .collect();
        self.lock().uploads.insert(id.clone(), Upload { key: key.to_owned(), parts: BTreeMap::new() });
        id
    }

    pub(crate) fn abort(&self, upload_id: &str) -> Result<(), Refusal> {
        self.lock().uploads.remove(upload_id).map(drop).ok_or(Refusal::NoSuchUpload)
    }

    pub(crate) fn abort_all(&self) {
        self.lock().uploads.clear();
    }

    /// Open uploads: ID, key, parts.
    pub(crate) fn uploads(&self) -> Vec<(String, String, Vec<StoredPart>)> {
        let inner = self.lock();
        inner.uploads.iter().map(|(id, upload)| (id.clone(), upload.key.clone(), upload.list())).collect()
    }

    pub(crate) fn list(&self, upload_id: &str, key: &str) -> Result<Vec<StoredPart>, Refusal> {
        Ok(self.lock().upload(upload_id, key)?.list())
    }

    /// Begins a part. [`PartWriter::finish`] looks up the upload again, because it may be aborted in between.
    pub(crate) fn begin_part(
        &self,
        upload_id: &str,
        key: &str,
        number: u32,
    ) -> Result<PartWriter<'_>, Refusal> {
        self.lock().upload(upload_id, key)?;
        let path = (self.mode == Mode::Keep).then(|| {
            let name = self.next_file.fetch_add(1, Ordering::Relaxed);
            self.folder.join(format!("part-{number:05}-{name}"))
        });
        PartWriter::new(self, (upload_id, key), number, Content { path, keep: Arc::clone(&self.keep) })
    }

    /// Adds a part to its upload, or replaces it.
    pub(crate) fn add_part(
        &self,
        upload_id: &str,
        key: &str,
        number: u32,
        part: Part,
    ) -> Result<(), Refusal> {
        let mut inner = self.lock();
        let upload = inner.uploads.get_mut(upload_id).filter(|upload| upload.key == key);
        upload.ok_or(Refusal::NoSuchUpload)?.parts.insert(number, part);
        Ok(())
    }

    /// Begins an object that is sent without a multipart upload.
    pub(crate) fn begin_object(&self, key: &str) -> Result<PartWriter<'_>, Refusal> {
        let upload_id = self.create(key);
        self.begin_part(&upload_id, key, 1)
    }

    /// Gives a stored part an ETag that is not its MD5, as KMS encryption does.
    pub(crate) fn rename_etag(&self, upload_id: &str, number: u32, etag: &str) {
        let mut inner = self.lock();
        if let Some(part) = inner.uploads.get_mut(upload_id).and_then(|upload| upload.parts.get_mut(&number))
        {
            etag.clone_into(&mut part.etag);
            part.encrypted = true;
        }
    }

    /// Makes an object of the named parts. Checks them in the order of S3.
    pub(crate) fn complete(
        &self,
        upload_id: &str,
        key: &str,
        wanted: &[(u32, String)],
    ) -> Result<Object, Refusal> {
        let mut inner = self.lock();
        let upload = inner.upload(upload_id, key)?;
        if wanted.is_empty() {
            return Err(Refusal::MalformedXml);
        }
        if !wanted.is_sorted_by(|(first, _), (second, _)| first < second) {
            return Err(Refusal::InvalidPartOrder);
        }
        let mut parts = Vec::with_capacity(wanted.len());
        for (number, etag) in wanted {
            let part = upload.parts.get(number).filter(|part| part.etag == etag.trim_matches('"'));
            parts.push(part.ok_or(Refusal::InvalidPart)?.clone());
        }
        let last = parts.len() - 1;
        let small = parts.iter().zip(wanted).take(last).find(|(part, _)| part.size < MIN_PART);
        if let Some((part, (number, _))) = small {
            return Err(Refusal::EntityTooSmall { number: *number, size: part.size });
        }
        let encrypted = parts.iter().any(|part| part.encrypted);
        let digest = if encrypted { random_etag() } else { multipart_digest(&parts) };
        let etag = format!("{digest}-{}", parts.len());
        let object = Object { etag, encrypted, size: parts.iter().map(|part| part.size).sum(), parts };
        inner.uploads.remove(upload_id);
        inner.objects.insert(key.to_owned(), object.clone());
        Ok(object)
    }

    /// Makes an object of one part that was sent without a multipart upload. Its ETag is that of the part.
    pub(crate) fn complete_single(
        &self,
        upload_id: &str,
        key: &str,
        part: StoredPart,
    ) -> Result<Object, Refusal> {
        let mut object = self.complete(upload_id, key, &[(part.number, part.etag.clone())])?;
        object.etag = part.etag;
        self.lock().objects.insert(key.to_owned(), object.clone());
        Ok(object)
    }

    pub(crate) fn object(&self, key: &str) -> Result<Object, Refusal> {
        self.lock().objects.get(key).cloned().ok_or(Refusal::NoSuchKey)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn upload(&self, upload_id: &str, key: &str) -> Result<&Upload, Refusal> {
        self.uploads.get(upload_id).filter(|upload| upload.key == key).ok_or(Refusal::NoSuchUpload)
    }
}

impl Upload {
    fn list(&self) -> Vec<StoredPart> {
        let part = |(number, part): (&u32, &Part)| StoredPart {
            number: *number,
            etag: part.etag.clone(),
            size: part.size,
        };
        self.parts.iter().map(part).collect()
    }
}

#[cfg(test)]
mod tests;
