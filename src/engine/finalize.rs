//! The last call, which makes the item: asked once, and looked into when its answer is lost.
//!
//! Whether the drive's finalize can be repeated is not known, and a second item is as wrong as none. So after
//! an answer that says nothing (time-out, reset, 5xx) the folder is looked into first, and finalize is sent
//! again only when there is nothing new in it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Shared;
use super::journal::Journal;
use super::parts::Stop;
use super::record::Record;
use crate::api::wire::{Finalize, FinishedPart, Item, Node, Upload};
use crate::error::{Call, Error};
use crate::plan::Job;
use crate::report::Phase;
use crate::retry::{Failure, Patience, Transport, Verdict};
use crate::storage::Receipt;
use crate::work::Work;

/// A finalize that timed out may still be at work: the folder is looked into once more after this long
/// before anything is sent again.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// An upload of which all parts are in storage.
pub(super) struct Ending<'a> {
    pub(super) shared: &'a Shared,
    pub(super) work: &'a Work,
    pub(super) job: &'a Job,
    pub(super) upload: &'a Upload,
    pub(super) size: u64,
    /// The service's clock when the upload began, seconds since 1970.
    pub(super) started: i64,
    pub(super) record: &'a Record,
    pub(super) sync: bool,
}

/// What one finalize came to.
enum Answered {
    /// The item.
    Item(Item),
    /// It never reached the service, or the service did not look at it: nothing has happened.
    NotDone(Failure),
    /// The service said no.
    Refused(Failure),
    /// It may have happened.
    Unclear(Failure),
}

impl Ending<'_> {
    /// Has the item made, exactly once. `begun`: an earlier run may have done so, though [`Ending::settle`] found
    /// nothing.
    pub(super) async fn run(&self, receipts: &BTreeMap<u32, Receipt>, begun: bool) -> Result<Item, Stop> {
        let request = Finalize {
            upload: self.upload,
            parts: receipts
                .iter()
                .map(|(number, receipt)| FinishedPart { part_number: *number, e_tag: &receipt.etag })
                .collect(),
        };
        let mut unclear = begun;
        self.record.finalizing(self.work, self.sync).await;
        let mut patience = Patience::new(self.shared.policy);
        loop {
            self.work.phase(Phase::Finalize);
            let answered = self.ask(&request).await;
            if patience.in_a_row() == 0 {
                // The call itself may take longer than patience lasts.
                patience.renew();
            }
            let (failure, sent) = match answered {
                Answered::Item(item) => return Ok(item),
                Answered::NotDone(failure) => (failure, false),
                Answered::Refused(failure) if !unclear => {
                    if failure.blames_parts() {
                        // They would be no better the next time: then all are sent anew.
                        self.record.write(self.work, Journal::clear).await;
                    } else {
                        self.not_finalized().await;
                    }
                    return Err(refused(failure, patience.in_a_row() + 1));
                }
                Answered::Refused(failure) => {
                    // The one before may have been the one that counted.
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
                Answered::Unclear(failure) => (failure, true),
            };
            if sent {
                unclear = true;
                self.work.note(&format!(
                    "finalize got no clear answer ({failure}): looking whether the item is there"
                ));
                if let Some(item) = self.settle().await? {
                    return Ok(item);
                }
            }
            let tries = patience.in_a_row() + 1;
            let Some(wait) = patience.wait(failure.retry_after()) else {
                if unclear {
                    let what = format!("finalize got no clear answer ({failure})");
                    return Err(Error::Unsettled { what }.into());
                }
                self.not_finalized().await;
                return Err(Error::Call { call: Call::Finalize, failure, tries }.into());
            };
            self.work.retry(Call::Finalize.aim(), None, tries, &failure, wait);
            tokio::time::sleep(wait).await;
        }
    }

    /// So that the next run does not take this finalize for one that may have worked.
    async fn not_finalized(&self) {
        let sync = self.sync;
        self.record.write(self.work, move |journal| journal.not_finalized(sync)).await;
    }

    async fn ask(&self, request: &Finalize<'_>) -> Answered {
        match self.shared.drive.finalize(request).await {
            Ok(item) => Answered::Item(item),
            Err(failure) => match &failure {
                Failure::Transport { kind: Transport::Connect, .. } | Failure::Status { status: 429, .. } => {
                    Answered::NotDone(failure)
                }
                Failure::Transport { kind: Transport::Tls, .. } => Answered::Refused(failure),
                // A success without an item in it may be one all the same.
                Failure::Malformed { .. } => Answered::Unclear(failure),
                _ => match failure.verdict_of_call(Call::Finalize) {
                    Verdict::Refused | Verdict::Gone | Verdict::Expired => Answered::Refused(failure),
                    Verdict::Transient => Answered::Unclear(failure),
                },
            },
        }
    }

    /// Looks for the item that an unclear finalize may have made.
    pub(super) async fn settle(&self) -> Result<Option<Item>, Error> {
        self.work.phase(Phase::Settle);
        if let Some(item) = self.look().await? {
            return Ok(Some(item));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        self.look().await
    }

    async fn look(&self) -> Result<Option<Item>, Error> {
        let unsettled = |error: Error| Error::Unsettled { what: crate::error::chain(&error) };
        let drive = &self.shared.drive;
        let parent = self.job.parent.as_deref();
        let tree = drive.folder(self.work, parent).await.map_err(unsettled)?;
        let mut found = self.newest(tree.root.iter());
        let hits;
        if found.is_none() && tree.truncated {
            // The folder is longer than the tree's 500 items.
            hits = drive.search(self.work, &self.job.name).await.map_err(unsettled)?.hits;
            found = self.newest(hits.iter().filter(|node| node.parent() == parent));
        }
        match found {
            Some(id) => Ok(Some(drive.item(self.work, id).await.map_err(unsettled)?)),
            None => Ok(None),
        }
    }

    /// The newest file of this name and size that was made since the upload began, by the service's clock.
    fn newest<'n>(&self, nodes: impl Iterator<Item = &'n Node>) -> Option<&'n str> {
        use unicode_normalization::UnicodeNormalization;
        // `Date` has whole seconds.
        let since = self.started.saturating_mul(1000);
        nodes
            .filter(|node| node.kind.as_deref() != Some("folder") && node.size() == Some(self.size))
            .filter(|node| node.name.as_deref().is_some_and(|name| name.nfc().eq(self.job.name.nfc())))
            .filter(|node| node.created_ms().is_some_and(|at| at >= since))
            .filter(|node| node.id().is_some_and(|id| !self.shared.is_taken(id)))
            .max_by_key(|node| node.created_ms())
            .and_then(Node::id)
    }
}

fn refused(failure: Failure, tries: u32) -> Stop {
    let gone = failure.verdict_of_call(Call::Finalize) == Verdict::Gone;
    let error = Error::Call { call: Call::Finalize, failure, tries };
    if gone { Stop::Gone(error) } else { Stop::Error(error) }
}
