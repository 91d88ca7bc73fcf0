//! Parts in flight. Each part keeps its row until it ends, so that rows do not jump.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::event::{FileId, PartProgress};

/// A younger part has no row, so that small files do not flicker.
const MIN_AGE: Duration = Duration::from_millis(100);
/// How long a finished part keeps its row, so that the next one can take it over in place.
const LINGER: Duration = Duration::from_millis(300);
/// After this time, the row of a part whose bytes have all been accepted says that it waits for the response.
const SLOW_RESPONSE: Duration = Duration::from_secs(1);
/// If no bytes of a part were accepted for this long, its row says so.
const STALLED: Duration = Duration::from_secs(5);

/// A failed attempt.
#[derive(Debug, Clone)]
pub(super) struct PendingRetry {
    /// Retries so far.
    pub(super) retry: u32,
    pub(super) cause: String,
    /// When the next attempt starts.
    pub(super) until: Instant,
}

impl PendingRetry {
    /// `retry 2 in 4s: 503 SlowDown`, or without "in 4s" once it has started.
    pub(super) fn text(&self, now: Instant) -> String {
        let wait = self.until.saturating_duration_since(now);
        // Rounded up, so that the last second is not "0s".
        match wait.as_millis().div_ceil(1000) {
            0 => format!("retry {}: {}", self.retry, self.cause),
            seconds => format!("retry {} in {seconds}s: {}", self.retry, self.cause),
        }
    }
}

/// How a row names its part: the file, and the part's number if it has several.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Label {
    file: Arc<str>,
    part: Option<u32>,
}

#[derive(Debug)]
struct Part {
    file: FileId,
    label: Label,
    number: u32,
    size: u64,
    progress: Arc<PartProgress>,
    begun: Instant,
    /// Bytes counted into the rate.
    counted: u64,
    /// Bytes of the current attempt when they last changed.
    acked: u64,
    moved: Instant,
    pending_retry: Option<PendingRetry>,
}

impl Part {
    fn high_water(&self) -> u64 {
        self.progress.high_water().min(self.size)
    }
}

#[derive(Debug, Default)]
struct Row {
    part: Option<Part>,
    /// The last part of this row, its size, and how long to show it.
    finished: Option<(Label, u64, Instant)>,
}

/// The row of a part.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PartRow {
    pub(super) file: Arc<str>,
    /// Its number, if the file has several.
    pub(super) part: Option<u32>,
    pub(super) size: u64,
    /// Bytes of the current attempt.
    pub(super) acked: u64,
    /// It is in storage.
    pub(super) done: bool,
    /// Why it makes no progress.
    pub(super) note: Option<String>,
}

/// All parts in flight.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    rows: Vec<Row>,
}

impl InFlight {
    fn parts(&self) -> impl Iterator<Item = &Part> {
        self.rows.iter().filter_map(|row| row.part.as_ref())
    }

    fn row_of(&mut self, file: FileId, number: u32) -> Option<&mut Row> {
        self.rows
            .iter_mut()
            .find(|row| row.part.as_ref().is_some_and(|p| p.file == file && p.number == number))
    }

    /// Adds a part to the first free row.
    pub(super) fn start(
        &mut self,
        file: FileId,
        name: (&Arc<str>, u32),
        number: u32,
        size: u64,
        progress: Arc<PartProgress>,
        now: Instant,
    ) {
        let label = Label { file: Arc::clone(name.0), part: (name.1 > 1).then_some(number) };
        self.stop(file, number);
        let counted = progress.high_water().min(size);
        let acked = progress.acked();
        let part = Part {
            file,
            label,
            number,
            size,
            progress,
            begun: now,
            counted,
            acked,
            moved: now,
            pending_retry: None,
        };
        match self.rows.iter_mut().find(|row| row.part.is_none()) {
            Some(row) => row.part = Some(part),
            None => self.rows.push(Row { part: Some(part), finished: None }),
        }
    }

    /// Removes a finished part. Returns the bytes that no sample has counted.
    pub(super) fn done(&mut self, file: FileId, number: u32, size: u64, now: Instant) -> u64 {
        let Some(row) = self.row_of(file, number) else { return size };
        let Some(part) = row.part.take() else { return size };
        if now.saturating_duration_since(part.begun) >= MIN_AGE {
            row.finished = Some((part.label.clone(), size, now + LINGER));
        }
        size.saturating_sub(part.counted)
    }

    /// Removes an aborted part.
    pub(super) fn stop(&mut self, file: FileId, number: u32) {
        if let Some(row) = self.row_of(file, number) {
            row.part = None;
        }
    }

    /// Removes all parts of a file.
    pub(super) fn stop_all(&mut self, file: FileId) {
        for row in &mut self.rows {
            if row.part.as_ref().is_some_and(|p| p.file == file) {
                row.part = None;
            }
        }
    }

    /// A part will be retried.
    pub(super) fn pending_retry(&mut self, file: FileId, number: u32, pending_retry: PendingRetry) {
        if let Some(part) = self.row_of(file, number).and_then(|row| row.part.as_mut()) {
            part.acked = part.progress.acked();
            part.moved = pending_retry.until;
            part.pending_retry = Some(pending_retry);
        }
    }

    /// Samples all parts. Returns the bytes sent for the first time since the last sample.
    pub(super) fn sample(&mut self, now: Instant) -> u64 {
        let mut fresh = 0;
        for part in self.rows.iter_mut().filter_map(|row| row.part.as_mut()) {
            let high = part.high_water();
            fresh += high.saturating_sub(part.counted);
            part.counted = part.counted.max(high);
            let acked = part.progress.acked();
            if acked != part.acked {
                part.acked = acked;
                part.moved = now;
                // Bytes are accepted again. A count of 0 is only the start of a new attempt.
                if acked > 0
                    && part.pending_retry.as_ref().is_some_and(|pending_retry| pending_retry.until <= now)
                {
                    part.pending_retry = None;
                }
            }
        }
        fresh
    }

    /// Bytes of a file's parts in flight, by their furthest attempts.
    pub(super) fn bytes_of(&self, file: FileId) -> u64 {
        self.parts().filter(|p| p.file == file).map(Part::high_water).sum()
    }

    /// Bytes of all parts in flight, by their furthest attempts.
    pub(super) fn bytes(&self) -> u64 {
        self.parts().map(Part::high_water).sum()
    }

    /// Number of parts.
    pub(super) fn count(&self) -> usize {
        self.parts().count()
    }

    /// Parts that wait for a retry.
    pub(super) fn waiting(&self, now: Instant) -> usize {
        self.parts()
            .filter(|p| p.pending_retry.as_ref().is_some_and(|pending_retry| pending_retry.until > now))
            .count()
    }

    /// How long no bytes of any part were accepted.
    pub(super) fn idle_for(&self, now: Instant) -> Option<Duration> {
        self.parts().map(|p| now.saturating_duration_since(p.moved)).min().filter(|still| *still >= STALLED)
    }

    /// The rows to show.
    pub(super) fn rows(&self, now: Instant) -> Vec<PartRow> {
        let mut rows = Vec::new();
        for row in &self.rows {
            let grown = |part: &&Part| {
                now.saturating_duration_since(part.begun) >= MIN_AGE || part.pending_retry.is_some()
            };
            if let Some(part) = row.part.as_ref().filter(grown) {
                rows.push(PartRow {
                    file: Arc::clone(&part.label.file),
                    part: part.label.part,
                    size: part.size,
                    acked: part.progress.acked().min(part.size),
                    done: false,
                    note: note(part, now),
                });
            } else if let Some((label, size, _)) = row.finished.as_ref().filter(|finished| now < finished.2) {
                let (Label { file, part }, size) = (label.clone(), *size);
                rows.push(PartRow { file, part, size, acked: size, done: true, note: None });
            }
        }
        rows
    }
}

fn note(part: &Part, now: Instant) -> Option<String> {
    if let Some(pending_retry) = &part.pending_retry {
        return Some(pending_retry.text(now));
    }
    let still = now.saturating_duration_since(part.moved);
    let (what, after) = match part.acked >= part.size {
        true => ("waiting for storage", SLOW_RESPONSE),
        false => ("no byte accepted", STALLED),
    };
    if still < after {
        return None;
    }
    Some(format!("{what} for {}s", still.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Attempt;

    const MS: Duration = Duration::from_millis(1);

    fn name() -> Arc<str> {
        "a".into()
    }

    #[test]
    fn a_part_keeps_its_place_and_its_line_is_taken_over_without_a_gap() {
        let start = Instant::now();
        let mut in_flight = InFlight::default();
        for number in 1..=3 {
            in_flight.start(0, (&name(), 9), number, 100, Arc::default(), start);
        }
        assert!(in_flight.rows(start + 99 * MS).is_empty());
        let numbers = |in_flight: &InFlight, at| {
            in_flight.rows(at).iter().filter_map(|row| row.part).collect::<Vec<_>>()
        };
        assert_eq!(numbers(&in_flight, start + 100 * MS), [1, 2, 3]);
        in_flight.done(0, 2, 100, start + 200 * MS);
        in_flight.start(0, (&name(), 9), 4, 100, Arc::default(), start + 210 * MS);
        assert_eq!(numbers(&in_flight, start + 250 * MS), [1, 2, 3]);
        assert_eq!(numbers(&in_flight, start + 310 * MS), [1, 4, 3]);
        in_flight.done(0, 4, 100, start + 1000 * MS);
        assert_eq!(numbers(&in_flight, start + 1300 * MS), [1, 3]);
        in_flight.stop_all(0);
        assert_eq!(in_flight.count(), 0);
    }

    #[test]
    fn small_parts_that_are_done_at_once_are_never_seen() {
        let start = Instant::now();
        let mut in_flight = InFlight::default();
        for number in 0..1000 {
            let at = start + 50 * number * MS;
            in_flight.start(u64::from(number), (&name(), 9), 1, 100, Arc::default(), at);
            assert_eq!(in_flight.rows(at + 49 * MS), []);
            assert_eq!(in_flight.done(u64::from(number), 1, 100, at + 50 * MS), 100);
        }
        assert_eq!(in_flight.rows.len(), 1);
    }

    #[test]
    fn a_retry_is_told_as_long_as_it_lasts_and_bytes_count_once() {
        let start = Instant::now();
        let mut in_flight = InFlight::default();
        let progress = Arc::new(PartProgress::default());
        in_flight.start(0, (&name(), 9), 7, 100, Arc::clone(&progress), start);
        progress.set(Attempt::Primary, 60);
        assert_eq!(in_flight.sample(start + 200 * MS), 60);
        let pending_retry = PendingRetry { retry: 2, cause: "503 SlowDown".into(), until: start + 4200 * MS };
        in_flight.pending_retry(0, 7, pending_retry);
        let shown = |in_flight: &InFlight, at| in_flight.rows(at)[0].note.clone();
        assert_eq!(shown(&in_flight, start + 300 * MS).unwrap(), "retry 2 in 4s: 503 SlowDown");
        assert_eq!(in_flight.waiting(start + 300 * MS), 1);
        progress.set(Attempt::Primary, 0);
        assert_eq!(in_flight.sample(start + 4300 * MS), 0);
        assert_eq!(shown(&in_flight, start + 4300 * MS).unwrap(), "retry 2: 503 SlowDown");
        progress.set(Attempt::Primary, 30);
        assert_eq!(in_flight.sample(start + 4400 * MS), 0);
        assert_eq!(shown(&in_flight, start + 4400 * MS), None);
        assert_eq!((in_flight.bytes(), in_flight.rows(start + 4400 * MS)[0].acked), (60, 30));
        assert_eq!(shown(&in_flight, start + 12_400 * MS).unwrap(), "no byte accepted for 8s");
        progress.set(Attempt::Primary, 500);
        assert_eq!((in_flight.sample(start + 12_500 * MS), in_flight.bytes()), (40, 100));
        assert_eq!(shown(&in_flight, start + 20_500 * MS).unwrap(), "waiting for storage for 8s");
        assert_eq!(in_flight.done(0, 7, 100, start + 20_600 * MS), 0);
    }
}
