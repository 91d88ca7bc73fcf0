//! Finalizing: creates the item, exactly once.
//! It is not known whether the service's finalize can be repeated, and a second item is as wrong as none. After an
//! unclear answer (timeout, reset, 5xx) the item is looked for first. Only if there is none is finalize sent again.

use std::sync::Arc;

use super::content::ContentCheck;
use super::create_outcome::CreateOutcome;
use super::journal::Journal;
use super::parts::UploadAbort;
use super::reconcile::Reconciler;
use super::session::{FileUpload, Session};
use crate::disk::on_disk;
use crate::drive::RetryObserver as _;
use crate::drive::wire::{Finalize, FinishedPart};
use crate::error::{Call, Error, Failure, RetryClass};
use crate::event::Phase;
use crate::item::Item;
use crate::retry::RetryBudget;

/// Finalizes an upload whose parts are all in storage.
pub(super) struct Finalizer<'a> {
    pub(super) upload: &'a FileUpload,
    pub(super) session: &'a Session,
    /// Runs before each attempt: nothing can be undone after it.
    pub(super) content: &'a ContentCheck,
}

impl Finalizer<'_> {
    /// Creates the item, exactly once. If an earlier run may have done so, [`Finalizer::settle`] comes first.
    pub(super) async fn run(&self) -> Result<Item, UploadAbort> {
        let (finished, may_exist) = (&self.session.finished, self.session.finalizing);
        let request = Finalize {
            upload: &self.session.upload,
            parts: finished
                .iter()
                .map(|(number, receipt)| FinishedPart { part_number: *number, e_tag: &receipt.etag })
                .collect(),
        };
        let mut unclear = may_exist;
        let policy = self.upload.context.policy;
        let permit = match self.upload.context.drive.breaker(Call::Finalize).acquire().await {
            Ok(permit) => permit,
            Err(failure) if may_exist => return Err(Error::Unsettled { what: failure.to_string() }.into()),
            Err(failure) => return Err(Error::CircuitOpen { failure }.into()),
        };
        self.upload.record.finalizing(&self.upload.file, self.syncs()).await;
        let mut budget = RetryBudget::new(policy);
        loop {
            let others = self.upload.context.drive.answered();
            let last_check = async {
                self.content.run(&self.upload.file, finished).await?;
                self.upload.file.phase(Phase::Finalize);
                Ok::<_, Error>(())
            };
            let answer = match self.upload.context.drive.finalize(&request, last_check).await {
                Ok(answer) => answer,
                Err(error) => {
                    if !unclear && finished.len() == 1 {
                        // Nothing of it can be kept.
                        self.upload.record.write(&self.upload.file, Journal::clear).await;
                    } else if !unclear {
                        self.not_finalized().await;
                    }
                    return Err(error.into());
                }
            };
            let limited = matches!(&answer, Err(failure) if failure.status() == Some(429));
            if budget.attempts() == 0 || limited && self.upload.context.drive.answered() > others {
                // The call itself may take longer than the budget. And while others succeed, this one only has to wait.
                budget.reset();
            }
            let answered = CreateOutcome::of(Call::Finalize, answer);
            let (failure, sent) = match answered {
                CreateOutcome::Created(item) => {
                    self.note_made(&item).await;
                    return Ok(item);
                }
                CreateOutcome::NotSent(failure) => (failure, false),
                CreateOutcome::Rejected(failure) if !unclear => {
                    if failure.blames_parts() {
                        // The parts would be refused again, so the next run sends them anew.
                        self.upload.record.write(&self.upload.file, Journal::clear).await;
                    } else {
                        self.not_finalized().await;
                    }
                    return Err(refused(failure, budget.attempts() + 1));
                }
                CreateOutcome::Rejected(failure) => {
                    // An earlier attempt may have succeeded.
                    return match self.settle().await? {
                        Some(item) => Ok(item),
                        None => Err(Error::Unsettled {
                            what: format!(
                                "an answer was lost, and when asked again the service said {failure}"
                            ),
                        }
                        .into()),
                    };
                }
                CreateOutcome::Unknown(failure) => (failure, true),
            };
            if sent {
                unclear = true;
                self.upload.file.note(&format!(
                    "finalize got no clear answer ({failure}): looking whether the item is there"
                ));
                if let Some(item) = self.settle().await? {
                    return Ok(item);
                }
            }
            let tries = budget.attempts() + 1;
            let Some(wait) = permit.next_backoff(&mut budget, &failure) else {
                if unclear {
                    let what = format!("finalize got no clear answer ({failure})");
                    return Err(Error::Unsettled { what }.into());
                }
                self.not_finalized().await;
                return Err(Error::Call { call: Call::Finalize, failure, tries }.into());
            };
            self.upload.file.retry(Call::Finalize, tries, &failure, wait);
            tokio::time::sleep(wait).await;
        }
    }

    /// Records that this finalize did not succeed, so that the next run does not look for an item.
    async fn not_finalized(&self) {
        let sync = self.syncs();
        self.upload.record.write(&self.upload.file, move |journal| journal.not_finalized(sync)).await;
    }

    /// Comes before the record is removed, so that no other upload claims the item.
    async fn note_made(&self, item: &Item) {
        let (context, id, upload) =
            (Arc::clone(&self.upload.context), item.id().to_owned(), self.session.upload.clone());
        // If no thread can be started, only a rarely needed proof is missing.
        let _ = on_disk(move || context.ledger.note(&id, &upload)).await;
    }

    /// Looks for the item that an earlier attempt may have created.
    pub(super) async fn settle(&self) -> Result<Option<Item>, Error> {
        let Self { upload, session, content } = *self;
        Reconciler { upload, session, content }.run().await
    }

    /// A file of one part is on record only while it is finalized. Without a sync to disk the record of a small file
    /// costs little, and still survives a kill.
    fn syncs(&self) -> bool {
        self.session.parts.count > 1
    }
}

fn refused(failure: Failure, tries: u32) -> UploadAbort {
    let gone = failure.class_of_call(Call::Finalize) == RetryClass::Gone;
    let error = Error::Call { call: Call::Finalize, failure, tries };
    if gone { UploadAbort::Gone(error) } else { UploadAbort::Error(error) }
}
