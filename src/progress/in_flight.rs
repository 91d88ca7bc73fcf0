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

/// The row of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PartRow {
    /// The label of its file.
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

#[derive(Debug)]
struct Part {
    file: FileId,
    number: u32,
    row: PartRow,
    progress: Arc<PartProgress>,
    begun: Instant,
    /// Bytes counted into the rate.
    counted: u64,
    /// When the bytes of the current attempt last changed.
    moved: Instant,
    retry: Option<PendingRetry>,
}

impl Part {
    fn high_water(&self) -> u64 {
        self.progress.high_water().min(self.row.size)
    }

    fn note(&self, now: Instant) -> Option<String> {
        if let Some(retry) = &self.retry {
            return Some(retry.text(now));
        }
        let still = now.saturating_duration_since(self.moved);
        let (what, after) = match self.row.acked >= self.row.size {
            true => ("waiting for storage", SLOW_RESPONSE),
            false => ("no byte accepted", STALLED),
        };
        (still >= after).then(|| format!("{what} for {}s", still.as_secs()))
    }
}

/// A place on the screen.
#[derive(Debug, Default)]
struct Slot {
    part: Option<Part>,
    /// The row of the last part, and how long to show it.
    finished: Option<(PartRow, Instant)>,
}

/// All parts in flight.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    slots: Vec<Slot>,
}

impl InFlight {
    fn parts(&self) -> impl Iterator<Item = &Part> {
        self.slots.iter().filter_map(|slot| slot.part.as_ref())
    }

    fn parts_mut(&mut self) -> impl Iterator<Item = &mut Part> {
        self.slots.iter_mut().filter_map(|slot| slot.part.as_mut())
    }

    /// Adds a part to the first free slot.
    pub(super) fn start(
        &mut self,
        file: FileId,
        number: u32,
        row: PartRow,
        progress: Arc<PartProgress>,
        now: Instant,
    ) {
        let part = Part { file, number, row, progress, begun: now, counted: 0, moved: now, retry: None };
        match self.slots.iter_mut().find(|slot| slot.part.is_none()) {
            Some(slot) => slot.part = Some(part),
            None => self.slots.push(Slot { part: Some(part), finished: None }),
        }
    }

    /// Removes a finished part. Returns the bytes that no sample has counted.
    pub(super) fn done(&mut self, file: FileId, number: u32, size: u64, now: Instant) -> u64 {
        let is_it = |part: &mut Part| part.file == file && part.number == number;
        for slot in &mut self.slots {
            if let Some(part) = slot.part.take_if(is_it) {
                if now.saturating_duration_since(part.begun) >= MIN_AGE {
                    let row = PartRow { acked: size, done: true, note: None, ..part.row };
                    slot.finished = Some((row, now + LINGER));
                }
                return size.saturating_sub(part.counted);
            }
        }
        size
    }

    /// Removes all parts of a file.
    pub(super) fn stop_all(&mut self, file: FileId) {
        for slot in &mut self.slots {
            slot.part.take_if(|part| part.file == file);
        }
    }

    /// A part will be retried.
    pub(super) fn retry(&mut self, file: FileId, number: u32, retry: PendingRetry) {
        if let Some(part) = self.parts_mut().find(|part| part.file == file && part.number == number) {
            part.row.acked = part.progress.acked().min(part.row.size);
            part.moved = retry.until;
            part.retry = Some(retry);
        }
    }

    /// Samples all parts. Returns the bytes sent for the first time since the last sample.
    pub(super) fn sample(&mut self, now: Instant) -> u64 {
        let mut fresh = 0;
        for part in self.parts_mut() {
            let high = part.high_water();
            fresh += high.saturating_sub(part.counted);
            part.counted = part.counted.max(high);
            let acked = part.progress.acked().min(part.row.size);
            if acked != part.row.acked {
                part.row.acked = acked;
                part.moved = now;
                // Bytes are accepted again. A count of 0 is only the start of a new attempt.
                if acked > 0 {
                    part.retry.take_if(|retry| retry.until <= now);
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
        self.parts().filter(|part| part.retry.as_ref().is_some_and(|retry| retry.until > now)).count()
    }

    /// How long no bytes of any part were accepted.
    pub(super) fn idle_for(&self, now: Instant) -> Option<Duration> {
        self.parts()
            .map(|part| now.saturating_duration_since(part.moved))
            .min()
            .filter(|still| *still >= STALLED)
    }

    /// The rows to show.
    pub(super) fn rows(&self, now: Instant) -> Vec<PartRow> {
        let row = |slot: &Slot| {
            let is_shown =
                |part: &&Part| now.saturating_duration_since(part.begun) >= MIN_AGE || part.retry.is_some();
            match slot.part.as_ref().filter(is_shown) {
                Some(part) => Some(PartRow { note: part.note(now), ..part.row.clone() }),
                None => slot.finished.clone().filter(|(_, until)| now < *until).map(|(row, _)| row),
            }
        };
        self.slots.iter().filter_map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Attempt;

    const MS: Duration = Duration::from_millis(1);

    impl InFlight {
        fn add(&mut self, file: FileId, number: u32, progress: Arc<PartProgress>, now: Instant) {
            let part = Some(number);
            let row = PartRow { file: "a".into(), part, size: 100, acked: 0, done: false, note: None };
            self.start(file, number, row, progress, now);
        }
    }

    #[test]
    fn a_part_keeps_its_place_and_its_line_is_taken_over_without_a_gap() {
        let start = Instant::now();
        let mut in_flight = InFlight::default();
        for number in 1..=3 {
            in_flight.add(0, number, Arc::default(), start);
        }
        assert!(in_flight.rows(start + 99 * MS).is_empty());
        let numbers = |in_flight: &InFlight, at| {
            in_flight.rows(at).iter().filter_map(|row| row.part).collect::<Vec<_>>()
        };
        assert_eq!(numbers(&in_flight, start + 100 * MS), [1, 2, 3]);
        in_flight.done(0, 2, 100, start + 200 * MS);
        in_flight.add(0, 4, Arc::default(), start + 210 * MS);
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
            in_flight.add(u64::from(number), 1, Arc::default(), at);
            assert_eq!(in_flight.rows(at + 49 * MS), []);
            assert_eq!(in_flight.done(u64::from(number), 1, 100, at + 50 * MS), 100);
        }
        assert_eq!(in_flight.slots.len(), 1);
    }

    #[test]
    fn a_retry_is_told_as_long_as_it_lasts_and_bytes_count_once() {
        let start = Instant::now();
        let mut in_flight = InFlight::default();
        let progress = Arc::new(PartProgress::default());
        in_flight.add(0, 7, Arc::clone(&progress), start);
        progress.set(Attempt::Primary, 60);
        assert_eq!(in_flight.sample(start + 200 * MS), 60);
        let retry = PendingRetry { retry: 2, cause: "503 SlowDown".into(), until: start + 4200 * MS };
        in_flight.retry(0, 7, retry);
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
