//! The embedded S3's store: multipart uploads and the objects made of them.
//!
//! A part is a file of its own and an object is the list of its parts' files, so completing an upload takes no time
//! whatever its size. A part is written under a name that nothing else has and takes its place in the list only when
//! it is whole: a broken-off PUT leaves nothing, and of two at once the one that finishes last wins, as in S3.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use md5_many::{Digest as _, Md5};

use crate::options::Mode;
use crate::record::StoredPart;
use crate::sigv4::hex;

/// S3 takes smaller parts, but not in the middle of an object.
pub(crate) const MIN_PART: u64 = 5 * 1024 * 1024;
/// The largest part.
pub(crate) const MAX_PART: u64 = 5 * 1024 * 1024 * 1024;
/// The highest part number.
pub(crate) const MAX_PARTS: u32 = 10_000;

/// Why S3 refuses, named as its error codes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    NoSuchUpload,
    /// Of another S3 server only.
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

/// A part's bytes. The file goes with the last who needs it, unless the folder's owner wants it.
struct Content {
    path: Option<PathBuf>,
    keep: Arc<AtomicBool>,
}

impl Drop for Content {
    fn drop(&mut self) {
        if let Some(path) = self.path.as_ref().filter(|_| !self.keep.load(Ordering::SeqCst)) {
            // It may be gone with its folder already.
            let _ = std::fs::remove_file(path);
        }
    }
}

#[derive(Clone)]
struct Part {
    etag: String,
    /// The ETag is no MD5, as that of a part encrypted with KMS.
    encrypted: bool,
    size: u64,
    content: Arc<Content>,
}

struct Upload {
    key: String,
    parts: BTreeMap<u32, Part>,
}

/// A finished object, to be read.
#[derive(Clone)]
pub(crate) struct Object {
    pub(crate) etag: String,
    /// The ETag is no MD5, as that of an object encrypted with KMS.
    pub(crate) encrypted: bool,
    pub(crate) size: u64,
    parts: Vec<Part>,
}

impl Object {
    /// The files that make it up, with their sizes; `None` when the bytes were discarded.
    pub(crate) fn files(&self) -> Option<Vec<(PathBuf, u64)>> {
        self.parts.iter().map(|part| part.content.path.clone().map(|path| (path, part.size))).collect()
    }
}

#[derive(Default)]
struct Inner {
    uploads: HashMap<String, Upload>,
    objects: HashMap<String, Object>,
}

/// All uploads and objects of one drive.
pub(crate) struct Store {
    folder: PathBuf,
    mode: Mode,
    kms: bool,
    next_file: AtomicU64,
    keep: Arc<AtomicBool>,
    inner: Mutex<Inner>,
}

impl Store {
    /// `folder` has to be this store's own. `kms`: ETags are no MD5.
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

    /// Whether ETags are no MD5.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.kms || self.mode == Mode::Sink
    }

    /// Files that are there from now on stay when the store goes.
    pub(crate) fn leave_files(&self) {
        self.keep.store(true, Ordering::SeqCst);
    }

    pub(crate) fn create(&self, key: &str) -> String {
        // As long and with the same characters as Amazon's, so that URLs are as long as real ones.
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

    /// Open uploads: id, key, parts.
    pub(crate) fn uploads(&self) -> Vec<(String, String, Vec<StoredPart>)> {
        let inner = self.lock();
        inner.uploads.iter().map(|(id, upload)| (id.clone(), upload.key.clone(), upload.list())).collect()
    }

    pub(crate) fn list(&self, upload_id: &str, key: &str) -> Result<Vec<StoredPart>, Refusal> {
        Ok(self.lock().upload(upload_id, key)?.list())
    }

    /// Begins a part. The upload is looked up now and again at the end: it may be aborted in between.
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
        let file = path
            .as_ref()
            .map(|path| File::create(path).with_context(|| format!("cannot create {}", path.display())))
            .transpose()
            .map_err(|error| Refusal::Internal(format!("{error:#}")))?;
        Ok(PartWriter {
            store: self,
            upload_id: upload_id.to_owned(),
            key: key.to_owned(),
            number,
            hash: Md5::new(),
            size: 0,
            file,
            content: Content { path, keep: Arc::clone(&self.keep) },
        })
    }

    /// Begins an object of one piece, sent without a multipart upload.
    pub(crate) fn begin_object(&self, key: &str) -> Result<PartWriter<'_>, Refusal> {
        let upload_id = self.create(key);
        self.begin_part(&upload_id, key, 1)
    }

    /// Makes S3 know a part by an ETag that is no MD5, as an encrypted bucket does.
    pub(crate) fn rename_etag(&self, upload_id: &str, number: u32, etag: &str) {
        let mut inner = self.lock();
        if let Some(part) = inner.uploads.get_mut(upload_id).and_then(|upload| upload.parts.get_mut(&number))
        {
            etag.clone_into(&mut part.etag);
            part.encrypted = true;
        }
    }

    /// Makes an object of the parts named, in the order of S3's checks.
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

/// Looks like an MD5 and is none.
pub(crate) fn random_etag() -> String {
    hex(&fastrand::u128(..).to_be_bytes())
}

/// The MD5 of the parts' binary MD5s, from which S3 makes a multipart object's ETag.
fn multipart_digest(parts: &[Part]) -> String {
    let mut hash = Md5::new();
    for part in parts {
        // An ETag that is not encrypted came from `hex` of 16 bytes.
        hash.update(u128::from_str_radix(&part.etag, 16).unwrap_or_default().to_be_bytes());
    }
    hex(&hash.finalize())
}

/// A part on its way in. Dropped before [`PartWriter::finish`] it leaves nothing.
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

impl PartWriter<'_> {
    /// Writes straight to the page cache, on the caller's thread: for chunks of a few hundred KiB that is quicker
    /// than handing each to another thread.
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

    /// Makes it an object by itself, whose ETag is its MD5.
    pub(crate) fn finish_object(self) -> Result<Object, Refusal> {
        let (store, upload_id, key) = (self.store, self.upload_id.clone(), self.key.clone());
        let part = self.finish()?;
        let mut object = store.complete(&upload_id, &key, &[(part.number, part.etag.clone())])?;
        object.etag = part.etag;
        store.lock().objects.insert(key, object.clone());
        Ok(object)
    }

    /// Puts the part into its place.
    pub(crate) fn finish(self) -> Result<StoredPart, Refusal> {
        let encrypted = self.store.is_encrypted();
        let etag = if encrypted { random_etag() } else { hex(&self.hash.finalize()) };
        let content = Arc::new(self.content);
        let part = Part { etag: etag.clone(), encrypted, size: self.size, content };
        let mut inner = self.store.lock();
        inner.upload(&self.upload_id, &self.key)?;
        let upload = inner.uploads.get_mut(&self.upload_id).ok_or(Refusal::NoSuchUpload)?;
        upload.parts.insert(self.number, part);
        Ok(StoredPart { number: self.number, etag, size: self.size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(store: &Store, upload: &str, number: u32, bytes: &[u8]) -> (u32, String) {
        let mut part = store.begin_part(upload, "k", number).unwrap();
        part.write(bytes).unwrap();
        (number, part.finish().unwrap().etag)
    }

    /// The program under test may use the same MD5 as this store, so its results are compared with another's.
    #[test]
    fn etag_agrees_with_another_implementation_at_every_block_boundary() {
        use md5::Digest as _;
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path(), Mode::Discard, false);
        let upload = store.create("k");
        let bytes: Vec<u8> = (0..100_000_u32).map(|index| u8::try_from(index * 7 % 256).unwrap()).collect();
        for length in (0..260).chain([4095, 4096, 65_537, 100_000]) {
            let mut part = store.begin_part(&upload, "k", 1).unwrap();
            for chunk in bytes[..length].chunks(999) {
                part.write(chunk).unwrap();
            }
            let expected = hex(&md5::Md5::digest(&bytes[..length]));
            assert_eq!(part.finish().unwrap().etag, expected, "{length}");
        }
    }

    #[test]
    fn part_that_finishes_last_wins_and_leaves_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path(), Mode::Keep, false);
        let upload = store.create("k");
        let mut slow = store.begin_part(&upload, "k", 1).unwrap();
        put(&store, &upload, 1, b"quick");
        slow.write(b"slow").unwrap();
        slow.finish().unwrap();
        let parts = store.list(&upload, "k").unwrap();
        assert_eq!(parts.iter().map(|part| part.size).collect::<Vec<_>>(), [4]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn part_that_breaks_off_or_whose_upload_is_aborted_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path(), Mode::Keep, false);
        let upload = store.create("k");
        let mut broken = store.begin_part(&upload, "k", 1).unwrap();
        broken.write(b"half").unwrap();
        drop(broken);
        let late = store.begin_part(&upload, "k", 2).unwrap();
        store.abort(&upload).unwrap();
        assert_eq!(late.finish().unwrap_err(), Refusal::NoSuchUpload);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    /// The expected value is what `md5sum` and `xxd -r -p` make of the two parts.
    #[test]
    fn finished_object_has_the_md5_of_its_parts_md5s_and_their_number_as_its_etag() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path(), Mode::Discard, false);
        let etag = |parts: &[&[u8]]| {
            let upload = store.create("k");
            let parts: Vec<_> =
                (1..).zip(parts).map(|(number, bytes)| put(&store, &upload, number, bytes)).collect();
            store.complete(&upload, "k", &parts).unwrap().etag
        };
        assert_eq!(etag(&[b"hello"]), "62109206880d38a4010a98e11243924a-1");
        assert_eq!(etag(&[b""]), "59adb24ef3cdbe0297f05b395827453f-1");
        assert_eq!(etag(&[&[0; MIN_PART as usize], b"end"]), "76b2438ee89d0d54dbb3eb6005874976-2");
        let encrypted = Store::new(folder.path(), Mode::Discard, true);
        let upload = encrypted.create("k");
        let part = put(&encrypted, &upload, 1, b"hello");
        assert_ne!(part.1, "5d41402abc4b2a76b9719d911017c592");
        let object = encrypted.complete(&upload, "k", &[part]).unwrap();
        assert!(
            object.encrypted
                && object.etag.ends_with("-1")
                && object.etag != "62109206880d38a4010a98e11243924a-1"
        );
    }

    #[test]
    fn completing_checks_order_etag_and_size_as_s3_does() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path(), Mode::Discard, false);
        let upload = store.create("k");
        let first = put(&store, &upload, 1, b"small");
        let second = put(&store, &upload, 2, b"end");
        let complete =
            |parts: &[(u32, String)]| store.complete(&upload, "k", parts).map(|object| object.size);
        assert_eq!(complete(&[]), Err(Refusal::MalformedXml));
        assert_eq!(complete(&[second.clone(), first.clone()]), Err(Refusal::InvalidPartOrder));
        assert_eq!(complete(&[(1, second.1.clone())]), Err(Refusal::InvalidPart));
        assert_eq!(complete(&[(3, first.1.clone())]), Err(Refusal::InvalidPart));
        assert_eq!(complete(&[first.clone(), second]), Err(Refusal::EntityTooSmall { number: 1, size: 5 }));
        assert_eq!(complete(&[first]), Ok(5), "a shorter object, without a word");
    }
}
