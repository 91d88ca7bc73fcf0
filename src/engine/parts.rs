//! Sends the parts of one file. Each part waits for a permit, is retried until it is in storage, and is hedged if it lags.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::RwLock;
use tokio::task::JoinSet;

use super::concurrency::Permit;
use super::hedge::WatchEnd;
use super::session::{FileUpload, Session, UploadAbort};
use super::urls::Urls;
use crate::dial::TransferError;
use crate::error::{Error, Failure, RetryClass, Transport};
use crate::etag::CompletedPart;
use crate::event::{Attempt, Event, PartProgress, Phase};
use crate::mutex::lock;
use crate::plan::Parts;
use crate::retry::RetryBudget;
use crate::secret::SignedUrl;
use crate::storage::Put;

/// Attempts at a part whose bytes arrive damaged. More would hardly help.
const MAX_DAMAGED: u32 = 3;
/// Attempts at a part whose URL storage calls expired, each with a new URL.
const MAX_EXPIRED: u32 = 8;
/// Pause before another attempt with a new URL. The first new URL is used at once; then the pause grows by this.
const EXPIRED_PAUSE: Duration = Duration::from_millis(500);

/// After a response timeout, the next attempt waits twice as long, up to this many times: some proxies accept megabytes at
/// once and forward them slowly. With the default stall timeout, the longest wait is 16 minutes.
const MAX_TIMEOUT_DOUBLINGS: u32 = 5;

/// How long a failed upload waits until finished parts are on record. The disk may hang.
const RECORDING_GRACE: Duration = Duration::from_secs(2);

/// Shared by the tasks of one file's parts.
struct PartSender {
    upload: Arc<FileUpload>,
    parts: Parts,
    urls: Urls,
    /// Held for reading by each part while it is recorded.
    recording: RwLock<()>,
}

impl FileUpload {
    /// Sends the session's missing parts.
    pub(super) async fn send_parts(self: &Arc<Self>, session: &mut Session) -> Result<(), UploadAbort> {
        let (context, file, parts) = (&self.context, &self.file, session.parts);
        let missing: Vec<u32> =
            parts.numbers().filter(|number| !session.finished.contains_key(number)).collect();
        let Some(first) = missing.first() else { return Ok(()) };
        let urls = Urls::new(
            Arc::clone(&context.options.drive),
            session.started.upload.clone(),
            parts.count,
            context.options.allow_http,
        );
        let sender =
            Arc::new(PartSender { upload: Arc::clone(self), parts, urls, recording: RwLock::default() });
        // Before parts acquire permits, so that none is held while the service signs.
        context.preconnect(missing.len(), context.endpoint.get());
        let signed = sender.urls.get(file, *first).await?;
        context.preconnect(missing.len(), context.endpoint.learn(&signed.url));
        file.phase(Phase::Send);
        let mut missing = missing.into_iter().peekable();
        // Tasks, so that parts use all cores. Dropping the set aborts all of them.
        let mut in_flight = JoinSet::new();
        let acquire =
            |part: Option<&u32>| Box::pin(context.permits.acquire(part.map_or(0, |part| parts.len(*part))));
        let mut next_permit = acquire(missing.peek());
        loop {
            tokio::select! {
                permit = &mut next_permit, if missing.peek().is_some() => {
                    if let Some(part) = missing.next() {
                        in_flight.spawn(Arc::clone(&sender).send(part, permit));
                    }
                    if missing.peek().is_some() {
                        next_permit = acquire(missing.peek());
                    }
                }
                Some(done) = in_flight.join_next(), if !in_flight.is_empty() => {
                    let done = done.map_err(|error| Error::Internal(format!("a part's task ended: {error}")).into());
                    match done.flatten() {
                        Ok((number, completed)) => {
                            session.finished.insert(number, completed);
                        }
                        Err(abort) => {
                            // Wait until finished parts are on record, so that the next run does not send them again and
                            // no line of this upload is written after another has started.
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
}

/// Parameters of an attempt, see [`Put`].
struct AttemptOptions<'a> {
    url: &'a SignedUrl,
    new_connection: bool,
    response_timeout_factor: u32,
    permit: &'a Mutex<Permit>,
}

impl PartSender {
    async fn send(self: Arc<Self>, part: u32, permit: Permit) -> Result<(u32, CompletedPart), UploadAbort> {
        let FileUpload { context, file, source, record, .. } = &*self.upload;
        let (id, size, progress) = (file.id, self.parts.len(part), Arc::new(PartProgress::default()));
        file.report(&Event::PartStart { file: id, part, size, progress: Arc::clone(&progress) });
        let begun = Instant::now();
        let permit = Mutex::new(permit);
        let completed = self.send_with_retries(part, &progress, &permit).await?;
        let recording = self.recording.read().await;
        // Recording needs no permit.
        drop(permit);
        // A single part is checked and recorded when the file is finalized.
        if self.parts.count > 1 {
            let source = Arc::clone(source);
            context.disk.run(move || source.check_unchanged()).await??;
            // Counted first, so that bytes on record always count, even if this task is aborted.
            file.recorded.fetch_add(size, Ordering::Relaxed);
            if !record.add_part(part, &completed).await {
                file.recorded.fetch_sub(size, Ordering::Relaxed);
            }
        }
        drop(recording);
        file.report(&Event::PartDone { file: id, part, size, elapsed: begun.elapsed() });
        Ok((part, completed))
    }

    /// Sends the part until it is in storage, or until another attempt would be pointless.
    async fn send_with_retries(
        &self,
        part: u32,
        progress: &Arc<PartProgress>,
        permit: &Mutex<Permit>,
    ) -> Result<CompletedPart, UploadAbort> {
        let FileUpload { context, file, .. } = &*self.upload;
        let breaker = &context.storage_breaker;
        let mut breaker_permit = breaker.acquire().await.map_err(|failure| Error::CircuitOpen { failure })?;
        let mut budget = RetryBudget::new(context.options.policy);
        let (mut tries, mut damaged, mut expired, mut timeouts, mut new_connection) = (0, 0, 0, 0, false);
        loop {
            if lock(permit).is_released() {
                self.acquire_again(part, permit).await;
            }
            let signed = self.urls.get(file, part).await?;
            let (furthest, begun) = (progress.high_water(), Instant::now());
            let response_timeout_factor = 1 << timeouts;
            let options =
                AttemptOptions { url: &signed.url, new_connection, response_timeout_factor, permit };
            let failure = match self.attempt(part, progress, &options).await {
                Ok(completed) => {
                    self.urls.record_success();
                    breaker.record_success();
                    return Ok(completed);
                }
                Err(TransferError::Error(error)) => return Err(error.into()),
                Err(TransferError::Failure(failure)) => failure,
            };
            lock(permit).attempt_failed();
            tries += 1;
            if progress.high_water() > furthest {
                budget.reset();
                // With a response, or all bytes accepted, the network is not what failed.
                if failure.status().is_none() && progress.high_water() < self.parts.len(part) {
                    breaker_permit.record_progress();
                }
            } else {
                budget.credit(progress.moved().saturating_duration_since(begun));
            }
            if matches!(failure, Failure::Transport { kind: Transport::ResponseTimeout, .. }) {
                timeouts = (timeouts + 1).min(MAX_TIMEOUT_DOUBLINGS);
            }
            damaged += u32::from(matches!(failure, Failure::Checksum { .. }));
            // A response shows that the connection works. Without one, a new connection may do better.
            new_connection = failure.status().is_none();
            let wait = match failure.class_of_part() {
                // This part's URL has expired each time, whatever other parts do.
                RetryClass::Expired if expired >= MAX_EXPIRED => None,
                RetryClass::Expired => {
                    self.urls.report_expired(signed.generation).await;
                    expired += 1;
                    Some(EXPIRED_PAUSE * (expired - 1))
                }
                RetryClass::Gone => return Err(UploadAbort::Gone(Error::Part { part, failure, tries })),
                RetryClass::Transient if damaged == 0 => breaker_permit.next_backoff(&mut budget, &failure),
                // Storage is reachable, so the breaker is not asked.
                RetryClass::Transient if damaged < MAX_DAMAGED => budget.next_backoff(failure.retry_after()),
                RetryClass::Transient | RetryClass::Refused => None,
            };
            let Some(wait) = wait else {
                if failure.holds_for_all() {
                    breaker.refuse(&failure);
                }
                return Err(Error::Part { part, failure, tries }.into());
            };
            if let Some(message) = context.permits.on_failure(&failure, Instant::now()) {
                file.note(&message);
            }
            file.retry_part(part, budget.attempts().max(1), &failure, wait);
            breaker_permit.back_off(wait, &failure).await;
        }
    }

    /// Waits for another permit. The part releases what it still holds first: it could otherwise wait for itself.
    async fn acquire_again(&self, part: u32, permit: &Mutex<Permit>) {
        lock(permit).release();
        let again = self.upload.context.permits.acquire(self.parts.len(part)).await;
        *lock(permit) = again;
    }

    /// One attempt: on one connection, or also on a second one if the first lags. The first success counts; a part that is
    /// sent twice overwrites itself (S3, UploadPart).
    async fn attempt(
        &self,
        part: u32,
        progress: &PartProgress,
        &AttemptOptions { url, new_connection, response_timeout_factor, permit }: &AttemptOptions<'_>,
    ) -> Result<CompletedPart, TransferError> {
        let FileUpload { context, file, source, .. } = &*self.upload;
        let (range, size) = (self.parts.range(part), self.parts.len(part));
        progress.set(Attempt::Hedge, 0);
        let on_handed = || lock(permit).all_handed();
        let put = |attempt, new_connection| {
            context.options.storage.put(Put {
                url,
                source,
                range: (range.start, size),
                progress,
                attempt,
                sent: &file.sent,
                on_handed: &on_handed,
                new_connection,
                response_timeout_factor,
            })
        };
        let sizes = (size, file.size.load(Ordering::Relaxed));
        let mut primary = Box::pin(put(Attempt::Primary, new_connection));
        let _permit = loop {
            match context.hedging.watch(&mut primary, progress, sizes, &context.permits).await {
                WatchEnd::Done(done) => return done,
                WatchEnd::Hedge(permit) => break permit,
                WatchEnd::Restart => {
                    file.note(&format!("part {part} is slower than the others: restarting it"));
                    drop(primary);
                    lock(permit).note_straggler();
                    self.acquire_again(part, permit).await;
                    primary = Box::pin(put(Attempt::Primary, false));
                }
            }
        };
        file.note(&format!("part {part} is lagging: sending it on a second connection too"));
        let mut hedge = std::pin::pin!(put(Attempt::Hedge, true));
        tokio::select! {
            done = &mut primary => match done {
                Err(TransferError::Failure(_)) => hedge.await,
                done => done,
            },
            done = &mut hedge => match done {
                Err(TransferError::Failure(_)) => primary.await,
                done => done,
            },
        }
    }
}
