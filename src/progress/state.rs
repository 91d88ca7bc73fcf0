//! The state of a run, computed from events. It draws nothing, and gets the time as an argument.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::in_flight::{InFlight, PendingRetry};
use super::rate::Rate;
use crate::error::Error;
use crate::event::{Event, FileId, Phase};
use crate::format::safe;
use crate::outcome::{Outcome, Status};

/// A failed call without further events counts as recovered after this time, the timeout of API calls.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// A file in progress.
#[derive(Debug)]
pub(super) struct File {
    /// Its name on the terminal, without control characters.
    pub(super) label: Arc<str>,
    pub(super) size: u64,
    pub(super) parts: u32,
    pub(super) phase: Phase,
    pub(super) since: Instant,
    /// A call that is being retried.
    pub(super) pending_retry: Option<PendingRetry>,
    done_parts: u32,
    done_bytes: u64,
    /// Bytes downloaded and compared (`--verify`).
    pub(super) compared: u64,
}

/// A file that has not started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    pub(super) phase: Phase,
    pub(super) since: Instant,
    /// Bytes of standard input read so far.
    pub(super) spooled: u64,
}

/// A file that is finished.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    pub(super) label: Arc<str>,
    pub(super) status: Status,
    pub(super) bytes: u64,
    pub(super) resumed: u64,
    pub(super) elapsed: Duration,
    pub(super) verified: bool,
}

impl Ended {
    fn new(label: Arc<str>, outcome: &Outcome) -> Self {
        let (bytes, resumed) = (outcome.bytes, outcome.resumed_bytes);
        let verified = outcome.result.as_ref().is_ok_and(|done| done.verified.is_some());
        Self { label, status: outcome.status(), bytes, resumed, elapsed: outcome.elapsed, verified }
    }
}

/// The state of a run.
#[derive(Debug, Default)]
pub(super) struct State {
    files: BTreeMap<FileId, File>,
    /// Phases of files that have not started: the parts of an earlier run are compared before it is known what to send.
    early: BTreeMap<FileId, Waiting>,
    pub(super) in_flight: InFlight,
    rate: Rate,
    /// The rate of files.
    file_rate: Rate,
    /// Bytes sent for the first time in this run. Never decreases.
    sent: u64,
    /// Files, bytes, whether these are all.
    known: Option<(u64, u64, bool)>,
    /// Files and bytes of events.
    seen: (u64, u64),
    ended: u64,
    /// Bytes of finished files that are in storage.
    stored: u64,
    /// Bytes of failed files that will not be sent.
    lost: u64,
    /// Bytes of uploaded files that an earlier run sent.
    pub(super) resumed: u64,
    /// Bytes in the finished parts of files that failed, for the next run to resume.
    pub(super) kept: u64,
    pub(super) folders_created: u64,
    pub(super) interrupted: u64,
    pub(super) unsettled: u64,
    /// The file that finished last.
    pub(super) last: Option<Ended>,
    /// When the first event arrived.
    pub(super) begun: Option<Instant>,
    /// A call that belongs to no file and is being retried.
    pub(super) pending_retry: Option<(String, PendingRetry)>,
    pub(super) finished: bool,
}

impl State {
    /// Includes an event.
    pub(super) fn apply(&mut self, event: &Event<'_>, now: Instant) {
        self.begun.get_or_insert(now);
        match *event {
            Event::FolderCreated => self.folders_created += 1,
            Event::Discovered { files, bytes, complete } => self.known = Some((files, bytes, complete)),
            Event::FileStart { file, path, name, size, parts, .. } => {
                // The name says more than "-".
                let label = Arc::from(safe(if path == "-" { name } else { path }));
                let new = File {
                    label,
                    size,
                    parts,
                    phase: Phase::Start,
                    since: now,
                    pending_retry: None,
                    done_parts: 0,
                    done_bytes: 0,
                    compared: 0,
                };
                // A file that is started twice (planned again after a restart) is still one file.
                match self.files.insert(file, new) {
                    Some(old) => self.seen.1 = (self.seen.1 + size).saturating_sub(old.size),
                    None => self.seen = (self.seen.0 + 1, self.seen.1 + size),
                }
                self.early.remove(&file);
                self.pending_retry = None;
            }
            Event::Phase { file, phase } => match self.files.get_mut(&file) {
                Some(file) if file.phase != phase => {
                    (file.phase, file.since, file.pending_retry) = (phase, now, None);
                }
                Some(_) => {}
                None => {
                    self.early.insert(file, Waiting { phase, since: now, spooled: 0 });
                }
            },
            Event::Spooled { file, bytes } => {
                if let Some(early) = self.early.get_mut(&file) {
                    early.spooled = bytes;
                }
            }
            Event::Compared { file, bytes } => {
                if let Some(file) = self.files.get_mut(&file) {
                    file.compared = bytes;
                }
            }
            Event::Resumed { file, parts, bytes } => self.count(file, parts, bytes),
            Event::Restarted { file } => {
                self.in_flight.stop_all(file);
                if let Some(file) = self.files.get_mut(&file) {
                    (file.done_parts, file.done_bytes) = (0, 0);
                }
            }
            Event::PartStart { file, part, size, ref progress } => {
                // None if a dropped task reports late.
                if let Some(started) = self.files.get(&file) {
                    let name = (&started.label, started.parts);
                    self.in_flight.start(file, name, part, size, progress.clone(), now);
                    self.rate.push(now, self.sent);
                    self.clear_retry(file);
                }
            }
            Event::PartDone { file, .. } if !self.files.contains_key(&file) => {}
            Event::PartDone { file, part, size, .. } => {
                self.sent += self.in_flight.done(file, part, size, now);
                self.count(file, 1, size);
                self.clear_retry(file);
            }
            Event::PartAborted { file, part } => self.in_flight.stop(file, part),
            Event::Retry { file, part, what, retry, cause, wait } => {
                let pending_retry =
                    PendingRetry { retry, cause: safe(cause).into_owned(), until: now + wait };
                match (file, part) {
                    (Some(file), Some(part)) => self.in_flight.pending_retry(file, part, pending_retry),
                    (Some(file), None) => {
                        if let Some(file) = self.files.get_mut(&file) {
                            file.pending_retry = Some(pending_retry);
                        }
                    }
                    (None, _) => self.pending_retry = Some((safe(what).into_owned(), pending_retry)),
                }
            }
            Event::FileDone { file, outcome } => self.end(file, outcome),
            Event::Finished { .. } => self.finished = true,
            Event::Warning { .. }
            | Event::Excluded { .. }
            | Event::Login { .. }
            | Event::Verbose { .. }
            | Event::Planned { .. }
            | Event::Request { .. }
            | Event::Error { .. } => {}
        }
    }

    fn count(&mut self, file: FileId, parts: u32, bytes: u64) {
        if let Some(file) = self.files.get_mut(&file) {
            file.done_parts += parts;
            file.done_bytes = (file.done_bytes + bytes).min(file.size);
        }
    }

    /// A part is being sent, so the call for its URLs has succeeded.
    fn clear_retry(&mut self, file: FileId) {
        if let Some(file) = self.files.get_mut(&file) {
            file.pending_retry = None;
        }
    }

    fn end(&mut self, id: FileId, outcome: &Outcome) {
        if outcome.is_folder {
            return;
        }
        let sent = self.sent_of(id);
        self.in_flight.stop_all(id);
        self.early.remove(&id);
        let file = self.files.remove(&id);
        if let Err(error) = &outcome.result
            && error.transient()
            && !matches!(error, Error::Unrecorded(_))
            && error.item().is_none()
        {
            self.kept += outcome.kept_bytes;
        }
        let (label, size) = match file {
            Some(file) => (file.label, file.size),
            // Finished before it started: skipped or unreadable.
            None => {
                self.seen = (self.seen.0 + 1, self.seen.1 + outcome.bytes);
                (Arc::from(safe(&outcome.path)), outcome.bytes)
            }
        };
        self.ended += 1;
        match outcome.status() {
            Status::Uploaded => {
                self.stored += size;
                self.resumed += outcome.resumed_bytes;
            }
            Status::Skipped => self.stored += size,
            status => {
                self.stored += sent;
                self.lost += size.saturating_sub(sent);
                self.interrupted += u64::from(status == Status::Interrupted);
                self.unsettled += u64::from(status == Status::Unsettled);
            }
        }
        self.last = Some(Ended::new(label, outcome));
    }

    /// Samples the parts in flight. Ten times per second is enough.
    pub(super) fn sample(&mut self, now: Instant) {
        self.sent += self.in_flight.sample(now);
        if self.in_flight.count() > 0 {
            self.rate.push(now, self.sent);
        }
        if self.begun.is_some() && self.files().0 > 1 {
            self.file_rate.push(now, self.ended);
        }
        let over = |pending_retry: &PendingRetry| now > pending_retry.until + CALL_TIMEOUT;
        self.pending_retry.take_if(|(_, pending_retry)| over(pending_retry));
        for file in self.files.values_mut() {
            file.pending_retry.take_if(|pending_retry| over(pending_retry));
        }
    }

    fn sent_of(&self, id: FileId) -> u64 {
        self.files.get(&id).map_or(0, |file| (file.done_bytes + self.in_flight.bytes_of(id)).min(file.size))
    }

    /// Bytes done: in storage, or sent by the furthest attempt.
    pub(super) fn done(&self) -> u64 {
        let active: u64 = self.files.values().map(|file| file.done_bytes).sum();
        (self.stored + active + self.in_flight.bytes()).min(self.total())
    }

    /// Bytes in total, as far as known.
    pub(super) fn total(&self) -> u64 {
        let known = self.known.map_or(0, |(_, bytes, _)| bytes);
        known.max(self.seen.1).saturating_sub(self.lost)
    }

    /// The percentage, rounded down. 100 only if every part of every file is in storage.
    pub(super) fn percent(&self) -> u8 {
        let whole = self.complete()
            && self.in_flight.count() == 0
            && self.ended + self.files.len() as u64 >= self.files().0
            && self.files.values().all(|file| file.done_parts >= file.parts);
        let (done, total) = (self.done(), self.total());
        if whole && done >= total {
            return 100;
        }
        let percent = u128::from(done) * 100 / u128::from(total.max(1));
        u8::try_from(percent.min(99)).unwrap_or(99)
    }

    /// Bytes per second recently, without resumed and repeated bytes.
    pub(super) fn rate(&self) -> Option<f64> {
        self.rate.per_second()
    }

    /// The estimated time left.
    pub(super) fn time_left(&self) -> Option<Duration> {
        if !self.complete() {
            return None;
        }
        let bytes = self.rate.time_for(self.total() - self.done())?;
        // Small files take the time of their calls, not of their bytes.
        let (files, ended) = self.files();
        let calls = self.file_rate.time_for(files.saturating_sub(ended));
        Some(calls.map_or(bytes, |calls| bytes.max(calls)))
    }

    /// Known files, and finished files.
    pub(super) fn files(&self) -> (u64, u64) {
        (self.known.map_or(0, |(files, ..)| files).max(self.seen.0), self.ended)
    }

    /// Whether all files are known.
    pub(super) fn complete(&self) -> bool {
        self.known.is_none_or(|(.., complete)| complete)
    }

    /// Whether the run has a single file.
    pub(super) fn single(&self) -> bool {
        self.complete() && self.files().0 <= 1
    }

    /// Files in progress, in the order they started.
    pub(super) fn active(&self) -> impl Iterator<Item = &File> {
        self.files.values()
    }

    /// Files that have not started. Of those that wait for a folder, only the first: the others wait for the same.
    pub(super) fn early(&self) -> impl Iterator<Item = Waiting> {
        let mut folders = 0;
        self.early.values().copied().filter(move |waiting| {
            folders += u32::from(waiting.phase == Phase::Folder);
            waiting.phase != Phase::Folder || folders == 1
        })
    }

    /// Bytes of standard input read for files that have not started.
    pub(super) fn spooled(&self) -> u64 {
        self.early.values().map(|early| early.spooled).sum()
    }

    /// A file in progress.
    pub(super) fn file(&self, id: FileId) -> Option<&File> {
        self.files.get(&id)
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
