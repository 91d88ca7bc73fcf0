//! Finalizing an upload whose parts are all in storage: creates the item.

use std::sync::Arc;

use super::create::{CreateError, Created, Creation, create};
use super::session::{FileUpload, Session, UploadAbort};
use super::state::Journal;
use crate::drive::wire::{Finalize, FinishedPart};
use crate::error::{Call, Error, Failure, RetryClass};
use crate::event::Phase;
use crate::item::Item;

struct Finalizing<'a> {
    upload: &'a FileUpload,
    session: &'a Session,
    request: Finalize<'a>,
    /// Records that finalize may create an item. Blocks on the disk.
    note_finalizing: Arc<dyn Fn() + Send + Sync>,
}

impl Creation for Finalizing<'_> {
    const CALL: Call = Call::Finalize;
    type Found = Item;

    async fn attempt(&self, unclear: bool) -> Result<Result<Item, Failure>, Error> {
        let Self { upload, session, request, note_finalizing } = self;
        let last_check = async {
            let note_finalizing = Arc::clone(note_finalizing);
            // Before the request, so that the next run looks for the item.
            upload.check_content_then(session, move || note_finalizing()).await?;
            upload.file.phase(Phase::Finalize);
            Ok(())
        };
        let answer = upload.context.options.drive.finalize(request, last_check).await;
        if answer.is_err() && !unclear {
            if session.parts.count == 1 {
                // A single part is not kept.
                upload.record.write(Journal::clear).await;
            } else {
                upload.note_not_finalized(session).await;
            }
        }
        answer
    }

    async fn reconcile(&self, failure: &Failure) -> Result<Option<Item>, Error> {
        let note = format!("finalize may have succeeded ({failure}): looking for the item");
        self.upload.file.note(&note);
        self.upload.reconcile(self.session).await
    }

    /// The session is this upload's alone.
    fn may_exist(&self, _: &Failure) -> bool {
        false
    }
}

impl FileUpload {
    /// Creates the item, exactly once. If an earlier run may have done so, [`FileUpload::reconcile`] comes first.
    pub(super) async fn finalize(&self, session: &Session) -> Result<Item, UploadAbort> {
        let Self { context, file, record, .. } = self;
        let permit = match context.options.drive.breaker(Call::Finalize).acquire().await {
            Ok(permit) => permit,
            Err(failure) if session.finalizing => {
                return Err(Error::Unsettled { what: failure.to_string() }.into());
            }
            Err(failure) => return Err(Error::CircuitOpen { failure }.into()),
        };
        let (record_now, sync) = (record.clone(), session.syncs_record());
        // A file of one part has no record until now. Others lack one only if the disk was full.
        let unrecorded = record.has_no_upload().then(|| (session.started.clone(), session.finished.clone()));
        let note_finalizing = move || {
            record_now.write_now(|journal| match &unrecorded {
                Some((started, parts)) if !journal.is_begun() => journal.begin(started, parts, true, sync),
                _ => journal.set_finalizing(true, sync),
            });
        };
        let parts = session.finished.iter();
        let request = Finalize {
            upload: &session.started.upload,
            parts: parts
                .map(|(number, part)| FinishedPart { part_number: *number, e_tag: &part.etag })
                .collect(),
        };
        let finalizing =
            Finalizing { upload: self, session, request, note_finalizing: Arc::new(note_finalizing) };
        let created = create(
            &finalizing,
            &context.options.drive,
            permit,
            context.options.policy,
            &**file,
            session.finalizing,
        )
        .await;
        match created {
            Ok(Created::New(item)) => {
                self.after_finalize(session, Some(&item)).await;
                Ok(item)
            }
            Ok(Created::Found(item)) => {
                self.after_finalize(session, None).await;
                Ok(item)
            }
            Err(CreateError::Error(error)) => Err(error.into()),
            Err(CreateError::Failed { failure, unclear: true, .. }) => {
                let what =
                    format!("an attempt to finalize may have succeeded; the last one failed: {failure}");
                Err(Error::Unsettled { what }.into())
            }
            Err(CreateError::Failed { failure, tries, unclear: false }) => {
                if failure.blames_parts() {
                    // The parts would be refused again, so the next run sends them again.
                    record.write(Journal::clear).await;
                } else {
                    self.note_not_finalized(session).await;
                }
                let gone = failure.class_of_call(Call::Finalize) == RetryClass::Gone;
                let error = Error::Call { call: Call::Finalize, failure, tries };
                Err(if gone { UploadAbort::Gone(error) } else { UploadAbort::Error(error) })
            }
        }
    }

    /// Records that finalize did not succeed, so that the next run does not look for an item.
    async fn note_not_finalized(&self, session: &Session) {
        let sync = session.syncs_record();
        self.record.write(move |journal| journal.set_finalizing(false, sync)).await;
    }

    /// Records an item that this upload has created in the ledger, before the upload's record is removed, so that no other
    /// upload claims it. Warns if the file has changed meanwhile.
    async fn after_finalize(&self, session: &Session, created: Option<&Item>) {
        let (context, warn_if_changed) = (Arc::clone(&self.context), self.warn_if_changed());
        let (id, upload) = (created.map(|item| item.id().to_owned()), session.started.upload.clone());
        let work = move || {
            if let Some(id) = id {
                context.ledger.record(&id, &upload);
            }
            // Otherwise it follows the verification.
            if context.options.verify.is_none() {
                warn_if_changed();
            }
        };
        // If no thread can be started, only a rarely needed proof and the warning are missing.
        let _ = self.context.disk.run(work).await;
    }

    /// A check that warns if the file has changed since it was read. It blocks on the disk.
    pub(super) fn warn_if_changed(&self) -> impl FnOnce() + Send + 'static {
        let (file, source) = (Arc::clone(&self.file), Arc::clone(&self.source));
        move || {
            if let Err(Error::Changed { what }) = source.check_unchanged() {
                file.warn(&format!(
                    "the file may have changed after it was read ({what}): the item has the content that was read"
                ));
            }
        }
    }
}
