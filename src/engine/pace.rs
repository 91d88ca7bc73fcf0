//! How one file's parts get on, to know one that falls behind and is worth a second connection.
//!
//! A part sent twice overwrites itself (S3, UploadPart), so this is always safe; it costs bytes, so it is done
//! only where they would else not be carried at all: where a connection stands still and others do not, and where
//! the last parts leave the line half empty. On a way that loses packets a connection's speed is luck: what lost
//! one early stays slow for long, and a new one would be there first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::slots::{Slot, Slots};
use crate::report::Meter;

/// So many of the last parts are remembered.
const REMEMBERED: usize = 32;
/// A part in flight is looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How fast a part gets on is told from this long.
const LATELY: Duration = Duration::from_secs(1);
/// A part on which nothing moves for this long gets a second connection: where others move, and while others finish
/// even when places are rare. Where nothing moves, it is the whole line that stands, and one part sounds it. (About
/// 0.1 % of S3's requests take 5 s.)
const STILL: Duration = Duration::from_secs(5);
/// With places to spare this is enough, when others have finished meanwhile, or when it is so many times what
/// others take from their beginning to their end …
const STILL_SPARE: Duration = Duration::from_secs(1);
/// See [`STILL_SPARE`].
const STILL_TIMES: u32 = 10;
/// … and when this one takes longer than so many tenths of what they take: an answer that is always slow is no
/// sign.
const SLOW_TENTHS: u32 = 15;
/// A new connection pays when it is so many times quicker than the old one's rest.
const QUICKER: f64 = 2.0;
/// It pays for those alone that end so many times later than all parts would that shared the line evenly: with many
/// parts in flight a short dip of the line is none of each (BBR probes the round trip every ten seconds, all
/// connections at once).
const LATER: f64 = 3.0;
/// What it takes to come about and to find its speed.
const SETTING_OFF: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Default)]
pub(super) struct Pace(Mutex<Times>);

#[derive(Default)]
struct Times {
    recent: VecDeque<Duration>,
    last: Option<Instant>,
    /// How much longer each part in flight will take, and for how many bytes.
    to_come: HashMap<u32, (Duration, u64)>,
}

impl Times {
    fn median(&self) -> Option<Duration> {
        let mut recent: Vec<Duration> = self.recent.iter().copied().collect();
        recent.sort_unstable();
        recent.get(recent.len() / 2).copied()
    }
}

/// A part's way so far, as one try sees it.
struct Progress {
    begun: Instant,
    moved: Instant,
    looks: VecDeque<(Instant, u64)>,
}

impl Progress {
    fn new(at: Instant) -> Self {
        Self { begun: at, moved: at, looks: VecDeque::from([(at, 0)]) }
    }

    fn look(&mut self, at: Instant, taken: u64) {
        if self.looks.back().is_some_and(|(_, before)| *before != taken) {
            self.moved = at;
        }
        self.looks.push_back((at, taken));
        while self.looks.get(1).is_some_and(|(second, _)| at.duration_since(*second) >= LATELY) {
            self.looks.pop_front();
        }
    }

    /// How much longer it takes at the speed that it has lately. `None` when that is not known yet, and when only the
    /// answer is missing.
    fn to_come(&self, size: u64) -> Option<Duration> {
        let ((begin, before), (end, taken)) = (self.looks.front()?, self.looks.back()?);
        let lasted = end.duration_since(*begin);
        if lasted < LATELY || *taken >= size {
            return None;
        }
        let moved = taken.saturating_sub(*before) as f64;
        Some(lasted.mul_f64(((size - taken) as f64 / moved).min(1e6)))
    }
}

/// Whether a new connection with so much room on a line of that rate would have the whole part there well before the
/// old one, and that one is well behind the others, which have so many bytes `left` together with it.
fn pays(to_come: Duration, size: u64, left: u64, (room, rate): (f64, f64)) -> bool {
    let anew = SETTING_OFF.as_secs_f64() + size as f64 / room;
    to_come.as_secs_f64() > (anew * QUICKER).max(left as f64 / rate * LATER)
}

impl Pace {
    pub(super) fn finished(&self, took: Duration) {
        let mut times = self.times();
        if times.recent.len() == REMEMBERED {
            times.recent.pop_front();
        }
        times.recent.push_back(took);
        times.last = Some(Instant::now());
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Comes back when a second try is worth it, with the spare place that it uses if it uses one.
    pub(super) async fn fallen_behind(
        &self,
        part: u32,
        meter: &Meter,
        size: u64,
        slots: &Arc<Slots>,
    ) -> Option<Slot> {
        let _flying = Flying { pace: self, part };
        let mut progress = Progress::new(Instant::now());
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = Instant::now();
            progress.look(now, meter.taken());
            let (last, median) = {
                let times = self.times();
                (times.last, times.median())
            };
            let still = now.duration_since(progress.moved);
            if still >= STILL {
                if last.is_some_and(|last| now.duration_since(last) < STILL) {
                    return None;
                }
                if let Some(spare) = slots.take_beside() {
                    return Some(spare);
                }
            }
            let stands = |median: Duration| {
                let others_finished = last.is_some_and(|last| last > progress.moved);
                now.duration_since(progress.begun) > median * SLOW_TENTHS / 10
                    && (others_finished || still > median * STILL_TIMES)
            };
            if still >= STILL_SPARE
                && median.is_some_and(stands)
                && let Some(spare) = slots.take_spare()
            {
                return Some(spare);
            }
            let to_come = progress.to_come(size);
            let left = self.if_last(part, to_come, size.saturating_sub(meter.taken()));
            if let (Some(to_come), Some(left)) = (to_come, left)
                && let Some(spare) = slots.take_room(|line| pays(to_come, size, left, line))
            {
                return Some(spare);
            }
        }
    }

    /// Notes when a part will be there. If it is the last of those on one connection: what is left of all of them.
    fn if_last(&self, part: u32, to_come: Option<Duration>, left: u64) -> Option<u64> {
        let mut times = self.times();
        let Some(to_come) = to_come else {
            times.to_come.remove(&part);
            return None;
        };
        times.to_come.insert(part, (to_come, left));
        let last = times.to_come.values().all(|(other, _)| *other <= to_come);
        last.then(|| times.to_come.values().map(|(_, left)| left).sum())
    }
}

/// A part on one connection; dropped when it is there, or on two.
struct Flying<'a> {
    pace: &'a Pace,
    part: u32,
}

impl Drop for Flying<'_> {
    fn drop(&mut self) {
        self.pace.times().to_come.remove(&self.part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parts_rest_is_reckoned_from_its_speed_of_late() {
        let begun = Instant::now();
        let mut progress = Progress::new(begun);
        assert_eq!(progress.to_come(1000), None);
        for tenth in 1..=30 {
            // 400 in the first second, then 10 a tenth.
            let taken = if tenth <= 10 { tenth * 40 } else { 300 + tenth * 10 };
            progress.look(begun + LOOK_EVERY * tenth, u64::from(taken));
        }
        assert_eq!(progress.to_come(1000), Some(Duration::from_secs(4)));
        assert_eq!(progress.to_come(600), None, "only the answer is missing");
        assert_eq!(progress.moved, begun + LOOK_EVERY * 30);
    }

    #[test]
    fn a_part_that_stands_still_takes_long_and_not_forever() {
        let begun = Instant::now();
        let mut progress = Progress::new(begun);
        (1..=20).for_each(|tenth| progress.look(begun + LOOK_EVERY * tenth, 7));
        assert!(progress.to_come(1000).unwrap() > Duration::from_secs(100_000));
        assert_eq!(progress.moved, begun + LOOK_EVERY);
    }

    #[test]
    fn a_second_connection_pays_when_the_room_on_the_line_brings_the_part_in_half_the_time() {
        let seconds = Duration::from_secs;
        let line = |room| (room, 1000.0);
        assert!(pays(seconds(4), 1000, 0, line(1000.0)));
        assert!(!pays(seconds(3), 1000, 0, line(1000.0)));
        assert!(!pays(seconds(4), 1000, 0, line(500.0)));
        assert!(!pays(seconds(1), 0, 0, line(1000.0)), "milliseconds are not worth it");
        assert!(!pays(seconds(4), 1000, 1500, line(1000.0)), "others are as late");
    }

    #[test]
    fn only_the_last_of_the_parts_in_flight_gets_a_second_connection() {
        let (pace, seconds) = (Pace::default(), |n| Some(Duration::from_secs(n)));
        assert_eq!(pace.if_last(1, seconds(5), 10), Some(10));
        assert_eq!(pace.if_last(2, seconds(4), 20), None);
        assert_eq!(pace.if_last(1, seconds(5), 9), Some(29));
        assert_eq!(pace.if_last(3, None, 30), None);
        drop(Flying { pace: &pace, part: 1 });
        assert_eq!(pace.if_last(2, seconds(4), 20), Some(20));
    }
}
