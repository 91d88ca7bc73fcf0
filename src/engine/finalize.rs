//! The last call, which makes the item: asked once, and looked into when its answer is lost.
//!
//! Whether the drive's finalize can be repeated is not known, and a second item is as wrong as none. So after
//! an answer that says nothing (time-out, reset, 5xx) the folder is looked into first, and finalize is sent
//! again only when there is nothing new in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::content::ContentCheck;
use super::context::Context;
use super::create_outcome::CreateOutcome;
use super::journal::Journal;
use super::journal_handle::JournalHandle;
use super::parts::UploadAbort;
use super::reconcile::Reconciler;
use crate::disk::on_disk;
use crate::drive::RetryObserver as _;
use crate::drive::wire::{Finalize, FinishedPart, Upload};
use crate::error::{Call, Error, Failure, RetryClass};
use crate::etag::CompletedPart;
use crate::event::Phase;
use crate::file_context::FileContext;
use crate::item::Item;
use crate::retry::RetryBudget;

/// An upload of which all parts are in storage.
pub(super) struct Finalizer<'a> {
    pub(super) shared: &'a Arc<Context>,
    pub(super) work: &'a FileContext,
    /// The folder's id; `None`: the drive's root.
    pub(super) parent: Option<&'a str>,
    /// The name in the drive.
    pub(super) name: &'a str,
    pub(super) upload: &'a Upload,
    pub(super) size: u64,
    /// The service's clock when the upload began, seconds since 1970.
    pub(super) started: i64,
    pub(super) record: &'a JournalHandle,
    pub(super) sync: bool,
    /// Comes before each finalize: after it nothing can be undone.
    pub(super) content: &'a ContentCheck,
}

impl Finalizer<'_> {
    /// Has the item made, exactly once. `begun`: an earlier run may have done so, though [`Finalizer::settle`] found
    /// nothing.
    pub(super) async fn run(
        &self,
        receipts: &BTreeMap<u32, CompletedPart>,
        begun: bool,
    ) -> Result<Item, UploadAbort> {
        let request = Finalize {
            upload: self.upload,
            parts: receipts
                .iter()
                .map(|(number, receipt)| FinishedPart { part_number: *number, e_tag: &receipt.etag })
                .collect(),
        };
        let mut unclear = begun;
        let policy = self.shared.policy;
        let turn = match self.shared.drive.breaker(Call::Finalize).acquire().await {
            Ok(turn) => turn,
            Err(failure) if begun => return Err(Error::Unsettled { what: failure.to_string() }.into()),
            Err(failure) => return Err(Error::CircuitOpen { failure }.into()),
        };
        self.record.finalizing(self.work, self.sync).await;
        let mut patience = RetryBudget::new(policy);
        loop {
            let others = self.shared.drive.answered();
            let last_check = async {
                self.content.run(self.work, receipts).await?;
                self.work.phase(Phase::Finalize);
                Ok::<_, Error>(())
            };
            let answer = match self.shared.drive.finalize(&request, last_check).await {
                Ok(answer) => answer,
                Err(error) => {
                    if !unclear && receipts.len() == 1 {
                        // Nothing of it can be kept.
                        self.record.write(self.work, Journal::clear).await;
                    } else if !unclear {
                        self.not_finalized().await;
                    }
                    return Err(error.into());
                }
            };
            let limited = matches!(&answer, Err(failure) if failure.status() == Some(429));
            if patience.attempts() == 0 || limited && self.shared.drive.answered() > others {
                // The call itself may take longer than patience lasts; and while others get through, it is only
                // not this one's turn.
                patience.reset();
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
                        // They would be no better the next time: then all are sent anew.
                        self.record.write(self.work, Journal::clear).await;
                    } else {
                        self.not_finalized().await;
                    }
                    return Err(refused(failure, patience.attempts() + 1));
                }
                CreateOutcome::Rejected(failure) => {
                    // The one before may have been the one that counted.
                    return match self.settle(receipts).await? {
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
                self.work.note(&format!(
                    "finalize got no clear answer ({failure}): looking whether the item is there"
                ));
                if let Some(item) = self.settle(receipts).await? {
                    return Ok(item);
                }
            }
            let tries = patience.attempts() + 1;
            let Some(wait) = turn.next_backoff(&mut patience, &failure) else {
                if unclear {
                    let what = format!("finalize got no clear answer ({failure})");
                    return Err(Error::Unsettled { what }.into());
                }
                self.not_finalized().await;
                return Err(Error::Call { call: Call::Finalize, failure, tries }.into());
            };
            self.work.retry(Call::Finalize, tries, &failure, wait);
            tokio::time::sleep(wait).await;
        }
    }

    /// So that the next run does not take this finalize for one that may have worked.
    async fn not_finalized(&self) {
        let sync = self.sync;
        self.record.write(self.work, move |journal| journal.not_finalized(sync)).await;
    }

    /// Before the record goes, so that no other upload takes the item for its own.
    async fn note_made(&self, item: &Item) {
        let (shared, id, upload) = (Arc::clone(self.shared), item.id().to_owned(), self.upload.clone());
        // Should the thread for it not come about, only a proof is missing that is seldom needed.
        let _ = on_disk(move || shared.ledger.note(&id, &upload)).await;
    }

    /// Looks for the item that an unclear finalize may have made of these parts.
    pub(super) async fn settle(
        &self,
        receipts: &BTreeMap<u32, CompletedPart>,
    ) -> Result<Option<Item>, Error> {
        let Self { shared, work, parent, name, upload, size, started, content, .. } = *self;
        Reconciler { shared, work, parent, name, size, started, upload, receipts, content }.run().await
    }
}

fn refused(failure: Failure, tries: u32) -> UploadAbort {
    let gone = failure.class_of_call(Call::Finalize) == RetryClass::Gone;
    let error = Error::Call { call: Call::Finalize, failure, tries };
    if gone { UploadAbort::Gone(error) } else { UploadAbort::Error(error) }
}
