//! The state of a run, computed from events. It draws nothing, and gets the time as an argument.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::in_flight::{InFlight, PartRow, PendingRetry};
use super::rate::Rate;
use crate::event::{Event, FileId, Phase};
use crate::format::safe;
use crate::outcome::Outcome;

/// A failed call without further events counts as recovered after this time, the timeout of API calls.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// A file in progress.
#[derive(Debug)]
pub(super) struct File {
    pub(super) phase: Phase,
    pub(super) since: Instant,
    /// Bytes of standard input read in this phase, or downloaded and compared (`--verify`).
    pub(super) bytes: u64,
    /// A call that is being retried.
    pub(super) retry: Option<PendingRetry>,
    /// `None` until it is known what to send, for example while the parts of an earlier run are compared.
    pub(super) upload: Option<UploadProgress>,
}

/// How far the upload of a file is.
#[derive(Debug)]
pub(super) struct UploadProgress {
    /// Its name on the terminal, without control characters.
    pub(super) label: Arc<str>,
    pub(super) size: u64,
    pub(super) parts: u32,
    done_parts: u32,
    done_bytes: u64,
}

/// The state of a run.
#[derive(Debug, Default)]
pub(super) struct State {
    files: BTreeMap<FileId, File>,
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
    pub(super) folders_created: u64,
    /// The label of the file that finished last.
    pub(super) last: Option<Arc<str>>,
    /// When the first event arrived.
    pub(super) begun: Option<Instant>,
    /// A call that belongs to no file and is being retried.
    pub(super) retry: Option<(String, PendingRetry)>,
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
                let upload = Some(UploadProgress { label, size, parts, done_parts: 0, done_bytes: 0 });
                let new = File { phase: Phase::Start, since: now, bytes: 0, retry: None, upload };
                // A file that is started twice (planned again after a restart) is still one file.
                match self.files.insert(file, new).and_then(|old| old.upload) {
                    Some(old) => self.seen.1 = (self.seen.1 + size).saturating_sub(old.size),
                    None => self.seen = (self.seen.0 + 1, self.seen.1 + size),
                }
                self.retry = None;
            }
            Event::Phase { file, phase } => {
                let file = self.files.entry(file).or_insert(File {
                    phase,
                    since: now,
                    bytes: 0,
                    retry: None,
                    upload: None,
                });
                if file.phase != phase {
                    (file.phase, file.since, file.bytes, file.retry) = (phase, now, 0, None);
                }
            }
            Event::PhaseBytes { file, bytes } => {
                if let Some(file) = self.files.get_mut(&file) {
                    file.bytes = bytes;
                }
            }
            Event::Resumed { file, parts, bytes } => self.count(file, parts, bytes),
            Event::Restarted { file } => {
                self.in_flight.stop_all(file);
                if let Some(upload) = self.upload_mut(file) {
                    (upload.done_parts, upload.done_bytes) = (0, 0);
                }
            }
            Event::PartStart { file, part, size, ref progress } => {
                // None if a dropped task reports late.
                if let Some(upload) = self.upload(file) {
                    let (label, number) = (Arc::clone(&upload.label), (upload.parts > 1).then_some(part));
                    let shown =
                        PartRow { file: label, part: number, size, acked: 0, done: false, note: None };
                    self.in_flight.start(file, part, shown, progress.clone(), now);
                    self.rate.push(now, self.sent);
                    self.clear_retry(file);
                }
            }
            Event::PartDone { file, part, size, .. } if self.upload(file).is_some() => {
                self.sent += self.in_flight.done(file, part, size, now);
                self.count(file, 1, size);
                self.clear_retry(file);
            }
            Event::Retry { file, part, what, retry, cause, wait } => {
                let retry = PendingRetry { retry, cause: safe(cause).into_owned(), until: now + wait };
                match (file, part) {
                    (Some(file), Some(part)) => self.in_flight.retry(file, part, retry),
                    (Some(file), None) => {
                        if let Some(file) = self.files.get_mut(&file) {
                            file.retry = Some(retry);
                        }
                    }
                    (None, _) => self.retry = Some((safe(what).into_owned(), retry)),
                }
            }
            Event::FileDone { file, outcome } => self.end(file, outcome),
            Event::Finished { .. } => self.finished = true,
            _ => {}
        }
    }

    /// The upload of a file, if it is in progress.
    pub(super) fn upload(&self, id: FileId) -> Option<&UploadProgress> {
        self.files.get(&id)?.upload.as_ref()
    }

    fn upload_mut(&mut self, id: FileId) -> Option<&mut UploadProgress> {
        self.files.get_mut(&id)?.upload.as_mut()
    }

    fn count(&mut self, file: FileId, parts: u32, bytes: u64) {
        if let Some(upload) = self.upload_mut(file) {
            upload.done_parts += parts;
            upload.done_bytes = (upload.done_bytes + bytes).min(upload.size);
        }
    }

    /// A part is being sent, so the call for its URLs has succeeded.
    fn clear_retry(&mut self, file: FileId) {
        if let Some(file) = self.files.get_mut(&file) {
            file.retry = None;
        }
    }

    fn end(&mut self, id: FileId, outcome: &Outcome) {
        if outcome.is_folder {
            return;
        }
        let in_flight = self.in_flight.bytes_of(id);
        self.in_flight.stop_all(id);
        let (label, size, sent) = match self.files.remove(&id).and_then(|file| file.upload) {
            Some(UploadProgress { label, size, done_bytes, .. }) => {
                (label, size, (done_bytes + in_flight).min(size))
            }
            // Finished before it started: skipped or unreadable.
            None => {
                self.seen = (self.seen.0 + 1, self.seen.1 + outcome.bytes);
                (Arc::from(safe(&outcome.path)), outcome.bytes, 0)
            }
        };
        self.ended += 1;
        let done = if outcome.result.is_ok() { size } else { sent };
        self.stored += done;
        self.lost += size.saturating_sub(done);
        self.last = Some(label);
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
        let is_over = |retry: &mut PendingRetry| now > retry.until + CALL_TIMEOUT;
        self.retry.take_if(|(_, retry)| is_over(retry));
        for file in self.files.values_mut() {
            file.retry.take_if(is_over);
        }
    }

    /// Bytes done: in storage, or sent by the furthest attempt.
    pub(super) fn done(&self) -> u64 {
        let active: u64 = self.started().map(|upload| upload.done_bytes).sum();
        (self.stored + active + self.in_flight.bytes()).min(self.total())
    }

    /// Bytes in total, as far as known.
    pub(super) fn total(&self) -> u64 {
        let known = self.known.map_or(0, |(_, bytes, _)| bytes);
        known.max(self.seen.1).saturating_sub(self.lost)
    }

    /// How long the run has taken.
    pub(super) fn elapsed(&self, now: Instant) -> Duration {
        self.begun.map_or(Duration::ZERO, |begun| now.saturating_duration_since(begun))
    }

    /// The percentage, rounded down. 100 only if every part of every file is in storage.
    pub(super) fn percent(&self) -> u8 {
        let whole = self.complete()
            && self.in_flight.count() == 0
            && self.ended + self.started().count() as u64 >= self.files().0
            && self.started().all(|upload| upload.done_parts >= upload.parts);
        let (done, total) = (self.done(), self.total());
        if whole && done >= total { 100 } else { percent(done, total) }
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

    /// Uploads in progress, in order of their files.
    pub(super) fn started(&self) -> impl Iterator<Item = &UploadProgress> {
        self.files.values().filter_map(|file| file.upload.as_ref())
    }

    /// Files in progress. Of those that wait for a folder, only the first: the others wait for the same.
    pub(super) fn waits(&self) -> impl Iterator<Item = &File> {
        let mut folders = 0;
        self.files.values().filter(move |file| {
            folders += u32::from(file.phase == Phase::Folder);
            file.phase != Phase::Folder || folders == 1
        })
    }

    /// Bytes of standard input read so far.
    pub(super) fn spooled(&self) -> u64 {
        self.files.values().filter(|file| file.phase == Phase::Spool).map(|file| file.bytes).sum()
    }
}

/// The percentage of something unfinished, rounded down.
pub(super) fn percent(done: u64, total: u64) -> u8 {
    let percent = u128::from(done) * 100 / u128::from(total.max(1));
    u8::try_from(percent.min(99)).unwrap_or(99)
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
