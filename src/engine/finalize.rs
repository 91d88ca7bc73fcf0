//! Finalizing an upload whose parts are all in storage: creates the item.

use std::sync::Arc;

use super::create::{CreateError, Created, Creation, create};
use super::session::{FileUpload, Session, UploadAbort};
use super::state::Journal;
use crate::disk::on_disk;
use crate::drive::wire::{Finalize, FinishedPart};
use crate::error::{Call, Error, Failure, RetryClass};
use crate::event::Phase;
use crate::item::Item;

struct Finalizing<'a> {
    upload: &'a FileUpload,
    session: &'a Session,
    request: Finalize<'a>,
}

impl Creation for Finalizing<'_> {
    const CALL: Call = Call::Finalize;
    type Found = Item;

    async fn attempt(&self, unclear: bool) -> Result<Result<Item, Failure>, Error> {
        let Self { upload, session, request } = self;
        let last_check = async {
            upload.check_content(session).await?;
            upload.file.phase(Phase::Finalize);
            Ok(())
        };
        let answer = upload.context.options.drive.finalize(request, last_check).await;
        if answer.is_err() && !unclear {
            if session.parts.count == 1 {
                // A single part is not kept.
                upload.record.write(&upload.file, Journal::clear).await;
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
        let sync = session.syncs_record();
        // Before the request, so that the next run looks for the item.
        record.write(file, move |journal| journal.set_finalizing(true, sync)).await;
        let parts = session.finished.iter();
        let request = Finalize {
            upload: &session.upload,
            parts: parts
                .map(|(number, part)| FinishedPart { part_number: *number, e_tag: &part.etag })
                .collect(),
        };
        let finalizing = Finalizing { upload: self, session, request };
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
                self.note_created(session, &item).await;
                Ok(item)
            }
            Ok(Created::Found(item)) => Ok(item),
            Err(CreateError::Error(error)) => Err(error.into()),
            Err(CreateError::Failed { failure, unclear: true, .. }) => {
                let what =
                    format!("an attempt to finalize may have succeeded; the last one failed: {failure}");
                Err(Error::Unsettled { what }.into())
            }
            Err(CreateError::Failed { failure, tries, unclear: false }) => {
                if failure.blames_parts() {
                    // The parts would be refused again, so the next run sends them again.
                    record.write(file, Journal::clear).await;
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
        self.record.write(&self.file, move |journal| journal.set_finalizing(false, sync)).await;
    }

    /// Records the item in the ledger before the upload's record is removed, so that no other upload claims it.
    async fn note_created(&self, session: &Session, item: &Item) {
        let (context, id, upload) = (Arc::clone(&self.context), item.id().to_owned(), session.upload.clone());
        // If no thread can be started, only a rarely needed proof is missing.
        let _ = on_disk(move || context.ledger.record(&id, &upload)).await;
    }
}
