//! `--verify`: proves after finalize that the drive's object is the file.

use std::sync::Arc;

use md5_many::Md5State;

use super::content::{etag_of_file, md5_of_part};
use super::object_attempts::{ObjectAttempts, object_info};
use super::session::{FileUpload, Session};
use super::state::Journal;
use crate::disk::on_disk;
use crate::error::Error;
use crate::etag::CompletedPart;
use crate::event::{Event, Phase};
use crate::item::Item;
use crate::options::Verify;
use crate::outcome::Verified;
use crate::plan::Parts;

/// How often to report progress, in bytes.
const REPORT_INTERVAL: u64 = 1024 * 1024;

impl FileUpload {
    /// Proves that an item's object is the file, if the user wants that. Returns what proved it.
    /// Fails with [`Error::Differs`] if it is not, [`Error::Unverified`] if that is not known.
    pub(super) async fn verify(&self, session: &Session, item: &Item) -> Result<Option<Verified>, Error> {
        let Some(how) = self.context.options.verify else { return Ok(None) };
        self.file.phase(Phase::Verify);
        // After an interruption, the next run only verifies.
        let (created, sync) = (item.clone(), session.syncs_record());
        let _ = self.file.created.set(item.clone());
        self.record.write(move |journal| journal.add_item(&created, sync)).await;
        match self.compare_object(how, session, item.id()).await {
            Ok(Ok(verified)) => Ok(Some(verified)),
            Ok(Err(what)) => {
                // The next run uploads the file again and does not use this item.
                self.record.write(Journal::clear).await;
                self.context.note_used_item(item.id());
                let (context, id) = (Arc::clone(&self.context), item.id().to_owned());
                if let Ok(Err(error)) = on_disk(move || context.ledger.record_wrong(&id)).await {
                    self.file.warn(&format!(
                        "later runs will not know that this item is wrong ({error}): delete that item"
                    ));
                }
                Err(Error::Differs { item: Box::new(item.clone()), what })
            }
            Err(error) => Err(Error::Unverified { item: Box::new(item.clone()), error: Box::new(error) }),
        }
    }

    /// The inner error is the difference.
    async fn compare_object(
        &self,
        how: Verify,
        session: &Session,
        id: &str,
    ) -> Result<Result<Verified, String>, Error> {
        let size = self.source.size();
        let info = object_info(&self.context, &self.file, id).await?;
        if info.size != size {
            return Ok(Err(format!("its object has {} bytes, the file has {size}", info.size)));
        }
        if size == 0 {
            // There is nothing to download.
            return Ok(Ok(if how == Verify::Full { Verified::Download } else { Verified::Etag }));
        }
        if how == Verify::Auto {
            let expected =
                etag_of_file(&self.context.disk, &self.source, session.parts, &session.finished).await?;
            if !info.encrypted && info.etag.is_some_and(|etag| etag.eq_ignore_ascii_case(&expected)) {
                return Ok(Ok(Verified::Etag));
            }
            self.file.note("the ETag of its object proves nothing: downloading the object to compare it");
        }
        let digests = self.download(session.parts, id).await?;
        for (number, digest) in (1..).zip(digests) {
            let sent = match session.finished.get(&number).and_then(CompletedPart::md5_of_content) {
                Some(md5) => md5,
                None => md5_of_part(&self.context.disk, &self.source, session.parts, number).await?,
            };
            if digest != sent {
                let range = session.parts.range(number);
                return Ok(Err(format!("bytes {} to {} of its object differ", range.start, range.end - 1)));
            }
        }
        Ok(Ok(Verified::Download))
    }

    /// Downloads the object and returns the MD5 of each part. Continues after a lost connection.
    pub(super) async fn download(&self, parts: Parts, id: &str) -> Result<Vec<[u8; 16]>, Error> {
        let Self { context, file, .. } = self;
        let mut digests = Digests::new(parts);
        let mut attempts = ObjectAttempts::new(context, file, id);
        loop {
            let url = attempts.url().await?;
            let from = digests.at;
            let mut reported = from;
            let downloading = context.options.storage.download(&url, from, parts.size, |bytes| {
                digests.push(bytes);
                if digests.at - reported >= REPORT_INTERVAL {
                    reported = digests.at;
                    file.report(&Event::PhaseBytes { file: file.id, bytes: reported });
                }
            });
            match downloading.await {
                Ok(()) => return Ok(digests.finished),
                Err(error) => attempts.wait_after(error, digests.at > from).await?,
            }
        }
    }
}

/// The MD5s of the parts of an object that is being downloaded.
struct Digests {
    parts: Parts,
    /// Bytes so far.
    at: u64,
    current: Md5State,
    finished: Vec<[u8; 16]>,
}

impl Digests {
    fn new(parts: Parts) -> Self {
        Self { parts, at: 0, current: Md5State::new(), finished: Vec::new() }
    }

    fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.at < self.parts.size {
            let number = u32::try_from(self.finished.len()).unwrap_or(u32::MAX).saturating_add(1);
            let end = self.parts.range(number).end;
            let room = usize::try_from(end - self.at).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.current.update(now);
            self.at += now.len() as u64;
            if self.at == end {
                self.finished.push(std::mem::replace(&mut self.current, Md5State::new()).finalize());
            }
            bytes = later;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn parts_are_digested_however_the_bytes_are_cut(size in 1_u64..40, part_size in 1_u64..12, cut in 1_usize..9) {
            let parts = Parts { size, part_size, count: u32::try_from(size.div_ceil(part_size)).unwrap() };
            let bytes: Vec<u8> = (0..size).map(|at| at as u8).collect();
            let mut digests = Digests::new(parts);
            bytes.chunks(cut).for_each(|chunk| digests.push(chunk));
            let expected: Vec<_> = bytes
                .chunks(usize::try_from(part_size).unwrap())
                .map(|part| {
                    let mut md5 = Md5State::new();
                    md5.update(part);
                    md5.finalize()
                })
                .collect();
            proptest::prop_assert_eq!((digests.at, digests.finished), (size, expected));
        }
    }
}
