//! The last call, which makes the item: asked once, and looked into when its answer is lost.
//!
//! Whether the drive's finalize can be repeated is not known, and a second item is as wrong as none. So after
//! an answer that says nothing (time-out, reset, 5xx) the folder is looked into first, and finalize is sent
//! again only when there is nothing new in it.

use std::collections::BTreeMap;

use super::Shared;
use super::content::ContentCheck;
use super::journal::Journal;
use super::once::{Answered, LOOK_AGAIN};
use super::parts::Stop;
use super::record::Record;
use crate::api::Caller as _;
use crate::api::wire::{Finalize, FinishedPart, Item, Node, Upload};
use crate::error::{Call, Error};
use crate::report::Phase;
use crate::retry::{Failure, Patience, Verdict};
use crate::storage::Receipt;
use crate::work::Work;

/// An upload of which all parts are in storage.
pub(super) struct Ending<'a> {
    pub(super) shared: &'a Shared,
    pub(super) work: &'a Work,
    /// The folder's id; `None`: the drive's root.
    pub(super) parent: Option<&'a str>,
    /// The name in the drive.
    pub(super) name: &'a str,
    pub(super) upload: &'a Upload,
    pub(super) size: u64,
    /// The service's clock when the upload began, seconds since 1970.
    pub(super) started: i64,
    pub(super) record: &'a Record,
    pub(super) sync: bool,
    /// Comes before each finalize: after it nothing can be undone.
    pub(super) content: &'a ContentCheck,
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
        let policy = self.shared.policy;
        let turn = match self.shared.drive.hope(Call::Finalize).turn(policy).await {
            Ok(turn) => turn,
            Err(failure) if begun => return Err(Error::Unsettled { what: failure.to_string() }.into()),
            Err(failure) => return Err(Error::GivenUp { failure }.into()),
        };
        self.record.finalizing(self.work, self.sync).await;
        let mut patience = Patience::new(policy);
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
            if patience.in_a_row() == 0 || limited && self.shared.drive.answered() > others {
                // The call itself may take longer than patience lasts; and while others get through, it is only
                // not this one's turn.
                patience.renew();
            }
            let answered = Answered::of(Call::Finalize, answer);
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
            let Some(wait) = turn.wait(&mut patience, &failure) else {
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
        let tree = drive.folder(self.work, self.parent).await.map_err(unsettled)?;
        let mut found = self.newest(tree.root.iter().map(|raw| Node::read(raw)));
        if found.is_none() && tree.truncated {
            // The folder is longer than the tree's 500 items.
            let hits = drive.search(self.work, self.name).await.map_err(unsettled)?.hits;
            let here = hits.iter().map(|raw| Node::read(raw)).filter(|node| node.parent() == self.parent);
            found = self.newest(here);
        }
        match found.as_ref().and_then(Node::id) {
            Some(id) => Ok(Some(drive.item(self.work, id).await.map_err(unsettled)?)),
            None => Ok(None),
        }
    }

    /// The newest file of this name and size that was made since the upload began, by the service's clock.
    fn newest(&self, nodes: impl Iterator<Item = Node>) -> Option<Node> {
        // `Date` has whole seconds.
        let since = self.started.saturating_mul(1000);
        nodes
            .filter(|node| !node.is_folder() && node.size() == Some(self.size) && node.is_called(self.name))
            .filter(|node| node.created_ms().is_some_and(|at| at >= since))
            .filter(|node| node.id().is_some_and(|id| !self.shared.is_taken(id)))
            .max_by_key(Node::created_ms)
    }
}

fn refused(failure: Failure, tries: u32) -> Stop {
    let gone = failure.verdict_of_call(Call::Finalize) == Verdict::Gone;
    let error = Error::Call { call: Call::Finalize, failure, tries };
    if gone { Stop::Gone(error) } else { Stop::Error(error) }
}
