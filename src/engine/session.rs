//! One file's upload, and the multipart upload that it begins or resumes and finishes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::context::Context;
use super::directory::Directory;
use super::finished_files::ids_in;
use super::state::{JournalHandle, StartedUpload};
use crate::circuit_breaker::CircuitBreaker;
use crate::drive::wire::Start;
use crate::error::{Call, Code, Error, RetryClass, chain};
use crate::etag::{CompletedPart, multipart_etag};
use crate::event::{Event, Phase};
use crate::file_context::FileContext;
use crate::item::Item;
use crate::mutex::lock;
use crate::outcome::Verified;
use crate::plan::{Job, Parts};
use crate::platform::Identity;
use crate::source::Source;

/// The upload of one file.
pub(super) struct FileUpload {
    pub(super) context: Arc<Context>,
    pub(super) file: Arc<FileContext>,
    pub(super) job: Arc<Job>,
    pub(super) source: Arc<Source>,
    /// The target folder.
    pub(super) directory: Arc<Directory>,
    pub(super) record: JournalHandle,
}

/// A multipart upload, started by this run or an earlier one.
pub(super) struct Session {
    pub(super) started: StartedUpload,
    pub(super) parts: Parts,
    pub(super) finished: BTreeMap<u32, CompletedPart>,
    /// An earlier run may have finalized it.
    pub(super) finalizing: bool,
    /// An earlier run has finalized it, and this item is only to be verified.
    pub(super) item: Option<Item>,
    /// The last state of the file in which it is known to have the bytes of the finished parts.
    pub(super) checked_identity: Mutex<Identity>,
}

/// Why an upload ended without an item.
#[derive(Debug)]
pub(super) enum UploadAbort {
    /// The multipart upload no longer exists. It can be started again.
    Gone(Error),
    /// Any other error.
    Error(Error),
}

impl From<Error> for UploadAbort {
    fn from(error: Error) -> Self {
        match &error {
            // The service does not know the upload that it was asked to sign URLs for.
            Error::Call { call: Call::SignUrls, failure, .. }
                if failure.class_of_call(Call::SignUrls) == RetryClass::Gone =>
            {
                Self::Gone(error)
            }
            _ => Self::Error(error),
        }
    }
}

/// What is known about the content of an item.
pub(super) struct Proof {
    /// The file when its content was last known to be that of the parts.
    pub(super) identity: Identity,
    pub(super) part_size: u64,
    pub(super) etag: Option<String>,
}

impl Proof {
    /// For an item that was found without the checksums of its parts.
    pub(super) fn of_source(source: &Source) -> Self {
        Self { identity: source.identity().clone(), part_size: 0, etag: None }
    }

    pub(super) fn of_session(session: &Session) -> Self {
        let etag = etag_of_parts(session.parts, &session.finished);
        Self { identity: lock(&session.checked_identity).clone(), part_size: session.parts.part_size, etag }
    }
}

/// A finished upload.
pub(super) struct Uploaded {
    pub(super) item: Item,
    pub(super) proof: Proof,
    pub(super) verified: Option<Verified>,
    /// It was checked, after the item was created and verified, that the file has not changed.
    pub(super) checked: bool,
}

/// The item of an upload.
struct Finalized {
    item: Item,
    /// This run has just finalized it, and checked the file afterwards.
    now: bool,
}

/// The ETag of an object made of these parts, if all their checksums are known.
pub(super) fn etag_of_parts(parts: Parts, finished: &BTreeMap<u32, CompletedPart>) -> Option<String> {
    let md5 = |number| finished.get(&number).and_then(CompletedPart::md5_of_content);
    let md5s: Vec<[u8; 16]> = parts.numbers().map(md5).collect::<Option<_>>()?;
    Some(multipart_etag(md5s.into_iter()))
}

impl Session {
    /// A session without finished parts. All parts are read or compared after `source` was opened.
    pub(super) fn new(started: StartedUpload, parts: Parts, source: &Source) -> Self {
        let (finished, checked_identity) = (BTreeMap::new(), Mutex::new(source.identity().clone()));
        Self { started, parts, finished, finalizing: false, item: None, checked_identity }
    }

    /// Whether the record is synced to disk. A file of one part is on record only while it is finalized. Without a sync
    /// this costs little, and still survives a kill.
    pub(super) fn syncs_record(&self) -> bool {
        self.parts.count > 1
    }

    /// Checks that all parts are there. S3 would create a shorter object without an error.
    fn check_complete(&self) -> Result<(), Error> {
        let (parts, finished) = (self.parts, &self.finished);
        let incomplete = |what: &str| {
            let message =
                format!("the finished parts do not make up the file: {what}; nothing was finalized");
            Error::new(Code::Integrity, message)
        };
        if let Some(missing) = parts.numbers().find(|number| !finished.contains_key(number)) {
            return Err(incomplete(&format!("part {missing} of {} is missing", parts.count)));
        }
        let sum: u64 = finished.keys().map(|number| parts.len(*number)).sum();
        if sum != parts.size || finished.len() != parts.count as usize {
            return Err(incomplete(&format!("{sum} bytes of {}", parts.size)));
        }
        Ok(())
    }
}

impl FileUpload {
    /// The ID of the target folder; `None` is the drive's root.
    pub(super) fn parent(&self) -> Option<&str> {
        self.directory.id.as_deref()
    }

    pub(super) fn report_start(&self, parts: Parts) {
        self.file.report(&Event::FileStart {
            file: self.file.id,
            path: &self.file.path,
            name: &self.job.name,
            size: parts.size,
            parts: parts.count,
            part_size: parts.part_size,
        });
    }

    /// Starts a multipart upload.
    pub(super) async fn start(&self) -> Result<Session, Error> {
        // An upload that cannot be sent or finalized is not started.
        let breakers = [&self.context.storage_breaker, self.context.options.drive.breaker(Call::Finalize)];
        if let Some(failure) = breakers.into_iter().find_map(CircuitBreaker::is_open) {
            return Err(Error::CircuitOpen { failure });
        }
        let size = self.source.size();
        let parts = Parts::plan(size, self.context.options.part_size)?;
        let mime_type = match &self.job.mime_type {
            Some(given) => given.clone(),
            None => match self.source.mime_type_if_cached(&self.job.name) {
                Some(guessed) => guessed,
                None => {
                    let (source, name) = (Arc::clone(&self.source), self.job.name.clone());
                    self.context.disk.run(move || source.mime_type(&name)).await??
                }
            },
        };
        self.report_start(parts);
        self.file.phase(Phase::Start);
        let start = Start {
            file_name: &self.job.name,
            file_size: size,
            mime_type: &mime_type,
            parent_id: self.directory.id.as_deref(),
        };
        self.context.preconnect(parts.count as usize, self.context.endpoint.get());
        let started = self.context.options.drive.start(&*self.file, &start).await;
        let started = started.inspect_err(|error| self.directory.note_missing(error))?;
        let identity = self.source.identity().clone();
        let part_size = parts.part_size;
        let started =
            StartedUpload { upload: started.upload, identity, part_size, started_at: started.at, mime_type };
        let session = Session::new(started.clone(), parts, &self.source);
        if session.syncs_record() {
            self.record.write(move |journal| journal.begin(&started, &BTreeMap::new(), false, true)).await;
        }
        Ok(session)
    }

    /// Sends the missing parts, finalizes and verifies.
    pub(super) async fn finish(self: &Arc<Self>, mut session: Session) -> Result<Uploaded, UploadAbort> {
        let is_earlier = session.item.is_some();
        let Finalized { item, now } = self.create_item(&mut session).await?;
        let checked = now && self.context.options.verify.is_none();
        let verified = match self.verify(&session, &item).await {
            // It may have been deleted since an earlier run created it.
            Err(Error::Unverified { item, error }) if is_earlier && error.is_missing() => {
                // A missing object does not prove that the item is gone.
                if let Some(error) = self.missing_error(item.id()).await {
                    return Err(UploadAbort::Gone(error));
                }
                return Err(Error::Unverified { item, error }.into());
            }
            verified => verified?,
        };
        Ok(Uploaded { item, proof: Proof::of_session(&session), verified, checked })
    }

    /// The service's error for an item that is neither in the folder nor known to it. `None` if the item exists, or if this
    /// cannot be found out.
    async fn missing_error(&self, id: &str) -> Option<Error> {
        let Self { context, file, .. } = self;
        let drive = &context.options.drive;
        if ids_in(drive, file, self.parent()).await.ok()?.contains(id) {
            return None;
        }
        drive.item(&**file, id).await.err().filter(Error::is_missing)
    }

    async fn create_item(self: &Arc<Self>, session: &mut Session) -> Result<Finalized, UploadAbort> {
        let file = &self.file;
        if let Some(item) = session.item.take() {
            // `--verify` asks for its object anyway.
            if self.context.options.verify.is_none()
                && let Some(error) = self.missing_error(item.id()).await
            {
                return Err(UploadAbort::Gone(error));
            }
            return Ok(Finalized { item, now: false });
        }
        if session.finalizing {
            file.note("an earlier run started to finalize: looking for the item");
            if let Some(item) = self.reconcile(session).await? {
                return Ok(Finalized { item, now: false });
            }
        }
        match self.send_parts(session).await {
            // The upload may be gone because it was finalized. Another one could create a second item.
            Err(UploadAbort::Gone(error)) if session.finalizing => {
                return Err(Error::Unsettled { what: chain(&error) }.into());
            }
            sent => sent?,
        }
        session.check_complete()?;
        Ok(Finalized { item: self.finalize(session).await?, now: true })
    }
}
