//! Parts in flight. Each keeps its slot until it ends, so that its row stays in place.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::event::{FileId, PartProgress};

/// A younger part has no row: ten thousand small files must not flicker.
const YOUNG: Duration = Duration::from_millis(100);
/// How long a finished part keeps its row, so that the next one can take it over in place.
const LINGER: Duration = Duration::from_millis(300);
/// A part whose bytes have all been accepted waits for the response; this is shown after this time.
const SLOW_ANSWER: Duration = Duration::from_secs(1);
/// A part that has not moved for this long says so.
const STALLED: Duration = Duration::from_secs(5);

/// A failed attempt.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    /// Retries so far.
    pub(super) retry: u32,
    pub(super) cause: String,
    /// When the next attempt starts.
    pub(super) until: Instant,
}

impl Trouble {
    /// `retry 2 in 4s: 503 SlowDown`, or without "in 4s" once it has started.
    pub(super) fn words(&self, now: Instant) -> String {
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
    taken: u64,
    moved: Instant,
    trouble: Option<Trouble>,
}

impl Part {
    fn high(&self) -> u64 {
        self.progress.high_water().min(self.size)
    }
}

#[derive(Debug, Default)]
struct Slot {
    part: Option<Part>,
    /// The last part of this row, its size, and how long to show it.
    ghost: Option<(Label, u64, Instant)>,
}

/// The row of a part.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PartRow {
    pub(super) file: Arc<str>,
    /// Its number, if the file has several.
    pub(super) part: Option<u32>,
    pub(super) size: u64,
    /// Bytes of the current attempt.
    pub(super) taken: u64,
    /// It is in storage.
    pub(super) done: bool,
    /// Why it does not progress.
    pub(super) note: Option<String>,
}

/// All parts in flight.
#[derive(Debug, Default)]
pub(super) struct Flight {
    slots: Vec<Slot>,
}

impl Flight {
    fn parts(&self) -> impl Iterator<Item = &Part> {
        self.slots.iter().filter_map(|slot| slot.part.as_ref())
    }

    fn slot_of(&mut self, file: FileId, number: u32) -> Option<&mut Slot> {
        self.slots
            .iter_mut()
            .find(|slot| slot.part.as_ref().is_some_and(|p| p.file == file && p.number == number))
    }

    /// Adds a part to the first free slot.
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
        let taken = progress.acked();
        let part = Part {
            file,
            label,
            number,
            size,
            progress,
            begun: now,
            counted,
            taken,
            moved: now,
            trouble: None,
        };
        match self.slots.iter_mut().find(|slot| slot.part.is_none()) {
            Some(slot) => slot.part = Some(part),
            None => self.slots.push(Slot { part: Some(part), ghost: None }),
        }
    }

    /// Removes a finished part. Returns the bytes that no sample has counted.
    pub(super) fn done(&mut self, file: FileId, number: u32, size: u64, now: Instant) -> u64 {
        let Some(slot) = self.slot_of(file, number) else { return size };
        let Some(part) = slot.part.take() else { return size };
        if now.saturating_duration_since(part.begun) >= YOUNG {
            slot.ghost = Some((part.label.clone(), size, now + LINGER));
        }
        size.saturating_sub(part.counted)
    }

    /// Removes an aborted part.
    pub(super) fn stop(&mut self, file: FileId, number: u32) {
        if let Some(slot) = self.slot_of(file, number) {
            slot.part = None;
        }
    }

    /// Removes all parts of a file.
    pub(super) fn stop_all(&mut self, file: FileId) {
        for slot in &mut self.slots {
            if slot.part.as_ref().is_some_and(|p| p.file == file) {
                slot.part = None;
            }
        }
    }

    /// A part will be retried.
    pub(super) fn trouble(&mut self, file: FileId, number: u32, trouble: Trouble) {
        if let Some(part) = self.slot_of(file, number).and_then(|slot| slot.part.as_mut()) {
            part.taken = part.progress.acked();
            part.moved = trouble.until;
            part.trouble = Some(trouble);
        }
    }

    /// Samples all parts. Returns the bytes sent for the first time since the last sample.
    pub(super) fn sample(&mut self, now: Instant) -> u64 {
        let mut fresh = 0;
        for part in self.slots.iter_mut().filter_map(|slot| slot.part.as_mut()) {
            let high = part.high();
            fresh += high.saturating_sub(part.counted);
            part.counted = part.counted.max(high);
            let taken = part.progress.acked();
            if taken != part.taken {
                part.taken = taken;
                part.moved = now;
                // Bytes are accepted again. A count of 0 is only the start of a new attempt.
                if taken > 0 && part.trouble.as_ref().is_some_and(|trouble| trouble.until <= now) {
                    part.trouble = None;
                }
            }
        }
        fresh
    }

    /// Bytes of a file's parts in flight, by their furthest attempts.
    pub(super) fn bytes_of(&self, file: FileId) -> u64 {
        self.parts().filter(|p| p.file == file).map(Part::high).sum()
    }

    /// Bytes of all parts in flight, by their furthest attempts.
    pub(super) fn bytes(&self) -> u64 {
        self.parts().map(Part::high).sum()
    }

    /// Number of parts.
    pub(super) fn count(&self) -> usize {
        self.parts().count()
    }

    /// Parts that wait for a retry.
    pub(super) fn waiting(&self, now: Instant) -> usize {
        self.parts().filter(|p| p.trouble.as_ref().is_some_and(|trouble| trouble.until > now)).count()
    }

    /// How long no part has moved.
    pub(super) fn still_for(&self, now: Instant) -> Option<Duration> {
        self.parts().map(|p| now.saturating_duration_since(p.moved)).min().filter(|still| *still >= STALLED)
    }

    /// The rows, by slot.
    pub(super) fn rows(&self, now: Instant) -> Vec<PartRow> {
        let mut rows = Vec::new();
        for slot in &self.slots {
            let grown =
                |part: &&Part| now.saturating_duration_since(part.begun) >= YOUNG || part.trouble.is_some();
            if let Some(part) = slot.part.as_ref().filter(grown) {
                rows.push(PartRow {
                    file: Arc::clone(&part.label.file),
                    part: part.label.part,
                    size: part.size,
                    taken: part.progress.acked().min(part.size),
                    done: false,
                    note: note(part, now),
                });
            } else if let Some((label, size, _)) = slot.ghost.as_ref().filter(|ghost| now < ghost.2) {
                let (Label { file, part }, size) = (label.clone(), *size);
                rows.push(PartRow { file, part, size, taken: size, done: true, note: None });
            }
        }
        rows
    }
}

fn note(part: &Part, now: Instant) -> Option<String> {
    if let Some(trouble) = &part.trouble {
        return Some(trouble.words(now));
    }
    let still = now.saturating_duration_since(part.moved);
    let (what, after) = match part.taken >= part.size {
        true => ("waiting for storage", SLOW_ANSWER),
        false => ("no byte taken", STALLED),
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
        let mut flight = Flight::default();
        for number in 1..=3 {
            flight.start(0, (&name(), 9), number, 100, Arc::default(), start);
        }
        assert!(flight.rows(start + 99 * MS).is_empty());
        let numbers =
            |flight: &Flight, at| flight.rows(at).iter().filter_map(|row| row.part).collect::<Vec<_>>();
        assert_eq!(numbers(&flight, start + 100 * MS), [1, 2, 3]);
        flight.done(0, 2, 100, start + 200 * MS);
        flight.start(0, (&name(), 9), 4, 100, Arc::default(), start + 210 * MS);
        assert_eq!(numbers(&flight, start + 250 * MS), [1, 2, 3]);
        assert_eq!(numbers(&flight, start + 310 * MS), [1, 4, 3]);
        flight.done(0, 4, 100, start + 1000 * MS);
        assert_eq!(numbers(&flight, start + 1300 * MS), [1, 3]);
        flight.stop_all(0);
        assert_eq!(flight.count(), 0);
    }

    #[test]
    fn small_parts_that_are_done_at_once_are_never_seen() {
        let start = Instant::now();
        let mut flight = Flight::default();
        for number in 0..1000 {
            let at = start + 50 * number * MS;
            flight.start(u64::from(number), (&name(), 9), 1, 100, Arc::default(), at);
            assert_eq!(flight.rows(at + 49 * MS), []);
            assert_eq!(flight.done(u64::from(number), 1, 100, at + 50 * MS), 100);
        }
        assert_eq!(flight.slots.len(), 1);
    }

    #[test]
    fn a_retry_is_told_as_long_as_it_lasts_and_bytes_count_once() {
        let start = Instant::now();
        let mut flight = Flight::default();
        let progress = Arc::new(PartProgress::default());
        flight.start(0, (&name(), 9), 7, 100, Arc::clone(&progress), start);
        progress.set(Attempt::Primary, 60);
        assert_eq!(flight.sample(start + 200 * MS), 60);
        let trouble = Trouble { retry: 2, cause: "503 SlowDown".into(), until: start + 4200 * MS };
        flight.trouble(0, 7, trouble);
        let shown = |flight: &Flight, at| flight.rows(at)[0].note.clone();
        assert_eq!(shown(&flight, start + 300 * MS).unwrap(), "retry 2 in 4s: 503 SlowDown");
        assert_eq!(flight.waiting(start + 300 * MS), 1);
        progress.set(Attempt::Primary, 0);
        assert_eq!(flight.sample(start + 4300 * MS), 0);
        assert_eq!(shown(&flight, start + 4300 * MS).unwrap(), "retry 2: 503 SlowDown");
        progress.set(Attempt::Primary, 30);
        assert_eq!(flight.sample(start + 4400 * MS), 0);
        assert_eq!(shown(&flight, start + 4400 * MS), None);
        assert_eq!((flight.bytes(), flight.rows(start + 4400 * MS)[0].taken), (60, 30));
        assert_eq!(shown(&flight, start + 12_400 * MS).unwrap(), "no byte taken for 8s");
        progress.set(Attempt::Primary, 500);
        assert_eq!((flight.sample(start + 12_500 * MS), flight.bytes()), (40, 100));
        assert_eq!(shown(&flight, start + 20_500 * MS).unwrap(), "waiting for storage for 8s");
        assert_eq!(flight.done(0, 7, 100, start + 20_600 * MS), 0);
    }
}
