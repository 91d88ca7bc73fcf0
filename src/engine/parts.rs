//! Sends the parts of one file: a permit for each, retries until it is in storage, and a hedge for one that is stuck.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::RwLock;
use tokio::task::JoinSet;

use super::concurrency::Permit;
use super::journal_handle::JournalHandle;
use super::session::FileUpload;
use super::urls::Urls;
use crate::dial::TransferError;
use crate::error::{Call, Error, Failure, RetryClass, Transport};
use crate::etag::CompletedPart;
use crate::event::{Attempt, Event, PartProgress, Phase};
use crate::file_context::FileContext;
use crate::plan::Parts;
use crate::retry::RetryBudget;
use crate::storage::Put;

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

/// Attempts at a part whose bytes arrive damaged. Sending them for minutes would not help.
const CHECKSUM_TRIES: u32 = 3;
/// Attempts at a part whose URL storage calls expired, although each was new.
const EXPIRED_TRIES: u32 = 8;
/// Pause before another attempt with a new URL. The first is used at once; the pause grows from there.
const EXPIRED_PAUSE: Duration = Duration::from_millis(500);

/// After a late response, the next attempt waits twice as long for one, up to this many times. A proxy that accepts
/// megabytes at once and passes them on slowly has not stalled. With the default stall timeout, the longest wait is 16
/// minutes.
const LATE_DOUBLINGS: u32 = 5;

/// How long a failed upload waits until finished parts are on record. A disk may hang.
const RECORDING_GRACE: Duration = Duration::from_secs(2);

/// Sends the parts of one file.
pub(super) struct PartSender {
    pub(super) upload: Arc<FileUpload>,
    pub(super) parts: Parts,
    pub(super) urls: Urls,
    pub(super) record: JournalHandle,
    /// Held for reading by each part while it is recorded.
    pub(super) recording: RwLock<()>,
}

/// Sends the parts that are not in `finished`, and adds them to it.
pub(super) async fn send(
    sender: &Arc<PartSender>,
    finished: &mut BTreeMap<u32, CompletedPart>,
) -> Result<(), UploadAbort> {
    let missing: Vec<u32> = sender.parts.numbers().filter(|number| !finished.contains_key(number)).collect();
    let Some(first) = missing.first() else { return Ok(()) };
    // Before parts acquire permits, so that none is held while the service signs.
    let (context, count) = (&sender.upload.context, missing.len());
    context.preconnect(count, context.endpoint.get());
    let signed = sender.urls.get(&sender.upload.file, *first).await?;
    context.preconnect(count, context.endpoint.learn(&signed.url));
    sender.upload.file.phase(Phase::Send);
    let mut missing = missing.into_iter().peekable();
    // Tasks, so that parts use all cores. Dropping the set aborts all of them.
    let mut in_flight = JoinSet::new();
    let size = |number: Option<&u32>| number.map_or(0, |number| sender.parts.len(*number));
    let mut next_permit = Box::pin(sender.upload.context.permits.acquire(size(missing.peek())));
    loop {
        tokio::select! {
            permit = &mut next_permit, if missing.peek().is_some() => {
                if let Some(number) = missing.next() {
                    in_flight.spawn(Arc::clone(sender).part(number, permit));
                }
                if missing.peek().is_some() {
                    next_permit = Box::pin(sender.upload.context.permits.acquire(size(missing.peek())));
                }
            }
            Some(done) = in_flight.join_next(), if !in_flight.is_empty() => {
                let done = done.map_err(|error| Error::Internal(format!("a part's task ended: {error}")).into());
                match done.flatten() {
                    Ok((number, completed)) => {
                        finished.insert(number, completed);
                    }
                    Err(abort) => {
                        // Wait until parts in storage are on record. The next run does not send them again, and no line
                        // of this upload is written once another has started.
                        let recorded = tokio::time::timeout(RECORDING_GRACE, sender.recording.write()).await;
                        // No part may continue once the upload has failed or starts again.
                        in_flight.shutdown().await;
                        drop(recorded);
                        return Err(abort);
                    }
                }
            }
            else => return Ok(()),
        }
    }
}

/// Reports that a part was aborted, unless it is done.
struct AbortReport<'a> {
    file: &'a FileContext,
    part: u32,
    done: bool,
}

impl Drop for AbortReport<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.file.tell(&Event::PartAborted { file: self.file.id, part: self.part });
        }
    }
}

impl PartSender {
    async fn part(self: Arc<Self>, part: u32, permit: Permit) -> Result<(u32, CompletedPart), UploadAbort> {
        let (id, size, progress) =
            (self.upload.file.id, self.parts.len(part), Arc::new(PartProgress::default()));
        self.upload.file.tell(&Event::PartStart { file: id, part, size, progress: Arc::clone(&progress) });
        let mut report = AbortReport { file: &self.upload.file, part, done: false };
        let begun = Instant::now();
        let completed = self.until_stored(part, &progress).await?;
        let recording = self.recording.read().await;
        // Writing the record needs no permit.
        drop(permit);
        let source = Arc::clone(&self.upload.source);
        self.upload.context.disk.run(move || source.check_unchanged()).await??;
        self.record.part(&self.upload.file, part, &completed, true).await;
        drop(recording);
        report.done = true;
        self.upload.file.tell(&Event::PartDone { file: id, part, size, elapsed: begun.elapsed() });
        Ok((part, completed))
    }

    /// Retries until the part is in storage, or until another attempt cannot help.
    async fn until_stored(
        &self,
        part: u32,
        progress: &Arc<PartProgress>,
    ) -> Result<CompletedPart, UploadAbort> {
        let (breaker, policy) = (&self.upload.context.storage_breaker, self.upload.context.policy);
        let mut permit = breaker.acquire().await.map_err(|failure| Error::CircuitOpen { failure })?;
        let mut budget = RetryBudget::new(policy);
        let (mut tries, mut damaged, mut expired, mut timeouts, mut fresh) = (0, 0, 0, 0, false);
        loop {
            let signed = self.urls.get(&self.upload.file, part).await?;
            let (furthest, begun) = (progress.high_water(), Instant::now());
            let answer_patience = 1 << timeouts;
            let failure = match self.once(part, &signed.url, progress, fresh, answer_patience).await {
                Ok(completed) => {
                    self.urls.worked();
                    breaker.record_success();
                    return Ok(completed);
                }
                Err(TransferError::Error(error)) => return Err(error.into()),
                Err(TransferError::Failure(failure)) => failure,
            };
            tries += 1;
            if progress.high_water() > furthest {
                budget.reset();
                // A response, or a part that was accepted whole, is no progress of the network.
                if failure.status().is_none() && progress.high_water() < self.parts.len(part) {
                    permit.record_progress();
                }
            } else {
                budget.credit(progress.moved().saturating_duration_since(begun));
            }
            if matches!(failure, Failure::Transport { kind: Transport::ResponseTimeout, .. }) {
                timeouts = (timeouts + 1).min(LATE_DOUBLINGS);
            }
            damaged += u32::from(matches!(failure, Failure::Checksum { .. }));
            // A response shows that the connection works. Without one, a new connection may do better.
            fresh = failure.status().is_none();
            let wait = match failure.class_of_part() {
                // The success of other parts does not help: this part's URL has expired each time.
                RetryClass::Expired if expired >= EXPIRED_TRIES => None,
                RetryClass::Expired => {
                    self.urls.expired(signed.generation).await;
                    expired += 1;
                    Some(EXPIRED_PAUSE * (expired - 1))
                }
                RetryClass::Gone => return Err(UploadAbort::Gone(Error::Part { part, failure, tries })),
                RetryClass::Transient if damaged == 0 => permit.next_backoff(&mut budget, &failure),
                // Damaged bytes show that storage is reachable.
                RetryClass::Transient if damaged < CHECKSUM_TRIES => {
                    budget.next_backoff(failure.retry_after())
                }
                RetryClass::Transient | RetryClass::Refused => None,
            };
            let Some(wait) = wait else {
                if failure.holds_for_all() {
                    breaker.refuse(&failure);
                }
                return Err(Error::Part { part, failure, tries }.into());
            };
            if let Some(news) = self.upload.context.permits.failed(&failure, Instant::now()) {
                self.upload.file.note(&news);
            }
            self.upload.file.retry_part(part, budget.attempts().max(1), &failure, wait);
            tokio::time::sleep(wait).await;
        }
    }

    /// One attempt: on one connection, or on two if the first falls behind. The first success counts; a part that is
    /// sent twice overwrites itself (S3, UploadPart).
    async fn once(
        &self,
        part: u32,
        url: &crate::secret::SignedUrl,
        progress: &PartProgress,
        fresh: bool,
        answer_patience: u32,
    ) -> Result<CompletedPart, TransferError> {
        let range = self.parts.range(part);
        progress.set(Attempt::Hedge, 0);
        let put = |attempt, fresh| {
            self.upload.context.storage.put(Put {
                url,
                source: &self.upload.source,
                range: (range.start, range.end - range.start),
                progress,
                attempt,
                sent: &self.upload.file.sent,
                fresh,
                answer_patience,
            })
        };
        let mut first = std::pin::pin!(put(Attempt::Primary, fresh));
        let (size, context) = (range.end - range.start, &self.upload.context);
        let _place = match context.hedging.watch(&mut first, progress, size, &context.permits).await {
            Ok(done) => return done,
            Err(permit) => permit,
        };
        self.upload
            .file
            .note(&format!("part {part} is behind the others: trying it on a second connection too"));
        let mut second = std::pin::pin!(put(Attempt::Hedge, true));
        tokio::select! {
            done = &mut first => match done {
                Err(TransferError::Failure(_)) => second.await,
                settled => settled,
            },
            done = &mut second => match done {
                Err(TransferError::Failure(_)) => first.await,
                settled => settled,
            },
        }
    }
}
