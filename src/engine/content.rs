//! Compares the finished parts with the file if its size and times do not prove that it is unchanged.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::session::{FileUpload, Session};
use crate::checksum::{Checksums, Stream};
use crate::disk::Disk;
use crate::error::Error;
use crate::etag::{CompletedPart, Etag, multipart_etag};
use crate::event::Phase;
use crate::mutex::lock;
use crate::plan::Parts;
use crate::platform::Identity;
use crate::source::Source;

/// Parts compared at a time: as many as MD5 has lanes with AVX2.
const MAX_COMPARING: usize = 8;
/// Bytes per read.
const COMPARE_BUFFER: usize = 256 * 1024;
/// Bytes per operation on a thread of its own.
const COMPARE_CHUNK: u64 = 4 * 1024 * 1024;
/// How often to compare a file whose `ctime` keeps changing.
const MAX_COMPARISONS: u32 = 3;

impl FileUpload {
    /// Proves that the finished parts are the file, immediately before finalize. Then runs `then`, on a blocking thread.
    /// Fails with [`Error::Changed`] if they differ, or if nothing proves that they are equal; [`Error::WrongSize`];
    /// [`Error::Local`] if the file cannot be read.
    pub(super) async fn check_content_then(
        &self,
        session: &Session,
        then: impl FnOnce() + Clone + Send + 'static,
    ) -> Result<(), Error> {
        let (source, checked) = (Arc::clone(&self.source), lock(&session.checked_identity).clone());
        let at_once = then.clone();
        // Together, because each change of threads takes longer than both.
        let unchanged = self.context.disk.run(move || {
            let (now, may_be_written) = state_of(&source)?;
            let unchanged = !may_be_written && now.has_same_ctime(&checked);
            if unchanged {
                at_once();
            }
            Ok::<_, Error>(unchanged)
        });
        if unchanged.await?? {
            return Ok(());
        }
        self.compare_content(session).await?;
        self.context.disk.run(then).await
    }

    /// Compares the parts with the file if its state does not prove that they are equal.
    ///
    /// A write changes a file's `ctime` even if the modification time is restored (`touch -r`, `cp -p`, VeraCrypt), but
    /// so do `chmod`, `chown` and a new hard link. If it has changed, the parts are compared with the file again.
    ///
    /// A file that is touched all the time passes too. Every part was equal after the last one had been sent, so the parts
    /// are the file as it was at that time.
    async fn compare_content(&self, session: &Session) -> Result<(), Error> {
        let (file, finished) = (&self.file, &session.finished);
        for _ in 0..MAX_COMPARISONS {
            let (now, may_be_written) = self.file_state().await?;
            if !may_be_written && now.has_same_ctime(&lock(&session.checked_identity)) {
                return Ok(());
            }
            // Without ctime, the file system does not show whether the file was touched, and comparing again does not help.
            let unknown =
                may_be_written || (now.ctime.is_none() && lock(&session.checked_identity).ctime.is_none());
            file.phase(Phase::Check);
            file.note(if unknown {
                "the file may have been touched while it was sent: comparing its parts"
            } else {
                "the file was touched while it was sent: comparing its parts"
            });
            let differing = compare(&self.context.disk, &self.source, session.parts, finished).await?;
            // With --no-checksum there are only ETags, which need not be MD5s (KMS). If none of them matches, they prove
            // nothing.
            let without_md5 = finished.values().all(|part| part.md5.is_none());
            if unknown && without_md5 && differing.len() == finished.len() {
                file.note("without checksums nothing proves that the file is unchanged");
                return Ok(());
            }
            if let Some(part) = differing.first() {
                let recorded = finished.get(part).is_some_and(|part| part.md5.is_some());
                let what = if recorded {
                    format!("part {part} has other bytes now, although the modification time is the same")
                } else {
                    format!(
                        "its status changed (ctime), and without checksums nothing proves that part {part} is the same"
                    )
                };
                return Err(Error::Changed { what });
            }
            *lock(&session.checked_identity) = now;
            if unknown {
                break;
            }
        }
        self.file_state().await.map(drop)
    }

    /// The ETag that S3 gives an object of the file's parts. A part whose checksum is not on record, because the disk was
    /// full, is read again.
    /// Fails with [`Error::Local`] if the file cannot be read.
    pub(super) async fn multipart_etag(&self, session: &Session) -> Result<String, Error> {
        etag_of_file(&self.context.disk, &self.source, session.parts, &session.finished).await
    }

    /// Replaces an `error` about damaged bytes if the file has changed while it was read.
    pub(super) async fn explain_damage(&self, error: Error) -> Error {
        match self.file_state().await {
            Ok((now, _)) if now.ctime != self.source.identity().ctime => {
                Error::Changed { what: format!("it was touched, and {error}") }
            }
            Err(changed @ Error::Changed { .. }) => changed,
            _ => error,
        }
    }

    async fn file_state(&self) -> Result<(Identity, bool), Error> {
        let source = Arc::clone(&self.source);
        self.context.disk.run(move || state_of(&source)).await?
    }
}

/// A file's state, and whether a write may not show in it yet.
fn state_of(source: &Source) -> Result<(Identity, bool), Error> {
    source.check_end()?;
    let may_be_written = source.may_be_written();
    Ok((source.check_unchanged()?, may_be_written))
}

/// The ETag that S3 gives an object of the file in these parts. Parts whose checksum is not in `known` are read.
/// Fails with [`Error::Local`] if the file cannot be read.
pub(super) async fn etag_of_file(
    disk: &Disk,
    source: &Arc<Source>,
    parts: Parts,
    known: &BTreeMap<u32, CompletedPart>,
) -> Result<String, Error> {
    let mut md5s = Vec::with_capacity(parts.count as usize);
    for number in parts.numbers() {
        md5s.push(match known.get(&number).and_then(CompletedPart::md5_of_content) {
            Some(md5) => md5,
            None => md5_of_part(disk, source, parts, number).await?,
        });
    }
    Ok(multipart_etag(md5s.into_iter()))
}

/// The MD5 of a part, read from the file.
/// Fails with [`Error::Local`] if the file cannot be read.
pub(super) async fn md5_of_part(
    disk: &Disk,
    source: &Arc<Source>,
    parts: Parts,
    number: u32,
) -> Result<[u8; 16], Error> {
    let sum = md5_of(disk, source, &Checksums::default(), parts.range(number)).await?;
    Etag::from(sum).md5().ok_or_else(|| Error::Internal("a checksum of another form".to_owned()))
}

/// The MD5 of a range of a file. A disk that hangs does not delay other files.
async fn md5_of(
    disk: &Disk,
    source: &Arc<Source>,
    sums: &Checksums,
    range: Range<u64>,
) -> Result<String, Error> {
    let (mut stream, mut at) = (sums.stream(), range.start);
    while at < range.end {
        let (source, end) = (Arc::clone(source), range.end.min(at + COMPARE_CHUNK));
        stream = disk.run(move || read_into(stream, &source, at..end)).await??;
        at = end;
    }
    disk.run(move || stream.finish()).await
}

fn read_into(stream: Stream, source: &Source, range: Range<u64>) -> Result<Stream, Error> {
    let mut at = range.start;
    while at < range.end {
        let length = usize::try_from(range.end - at).unwrap_or(COMPARE_BUFFER);
        let mut buffer = vec![0; COMPARE_BUFFER.min(length)];
        let read = source.read_at(&mut buffer, at)?;
        buffer.truncate(read);
        at += read as u64;
        stream.push(buffer.into());
    }
    Ok(stream)
}

/// Returns the finished parts that are not proven to be equal to the file, in ascending order.
pub(super) async fn compare(
    disk: &Disk,
    source: &Arc<Source>,
    parts: Parts,
    finished: &BTreeMap<u32, CompletedPart>,
) -> Result<Vec<u32>, Error> {
    let sums = Checksums::default();
    let mut differing = Vec::new();
    let mut comparing = JoinSet::new();
    let mut left = finished.iter();
    loop {
        while comparing.len() < MAX_COMPARING
            && let Some((number, part)) = left.next()
        {
            let (source, sums) = (Arc::clone(source), sums.clone());
            let (number, part, range) = (*number, part.clone(), parts.range(*number));
            let disk = disk.clone();
            comparing.spawn(async move {
                let same = part.proves(&md5_of(&disk, &source, &sums, range).await?);
                Ok::<_, Error>((!same).then_some(number))
            });
        }
        match comparing.join_next().await {
            None => {
                differing.sort_unstable();
                return Ok(differing);
            }
            Some(Ok(compared)) => differing.extend(compared?),
            Some(Err(error)) => return Err(Error::Internal(format!("a comparison ended: {error}"))),
        }
    }
}
