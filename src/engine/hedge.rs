//! Hedging: sends a part on a second connection too.
//! A part sent twice overwrites itself (S3, UploadPart), so this is always safe. But it costs the part's bytes, and on
//! a full path these delay everything else. So a part is hedged only if it has all but stopped while others progressed.
//! If nothing moves at all, one part is hedged from time to time.
//! A part is compared with its *share*: what one part in flight sent on average meanwhile
//! ([`super::concurrency::Permits::share`]). Shares do not depend on the speed of the network, on the number of parts
//! in flight, or on pauses of the whole path.
//! If the system does not tell what the peer has acknowledged, bytes in kernel buffers count as sent. A part that does
//! not move may just be draining its buffer then, and only its total time says something.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::concurrency::{Permit, Permits};
use crate::event::PartProgress;

/// How often to look at an attempt.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// If looks are further apart, the process was stopped (Ctrl-Z), and not the part.
const STOPPED: Duration = Duration::from_secs(1);

/// A part is stuck if it has not moved for this long …
const STILL: Duration = Duration::from_millis(1500);
/// … while others sent this many bytes each, more than buffers on the way could hold of it. With eight parts at 250
/// KB/s that takes 16 s, and no TCP starves one connection for so long …
const PROOF: f64 = 512.0 * 1024.0;
/// … and if it takes this many times longer than the slowest attempt of late.
const SLOWER: f64 = 1.5;
/// If not moving says little (see above; also, a response may be slow), the same is asked of its share. The slowest
/// attempt's share is taken to be at least this many times the part's size: its own bytes, and those that others start
/// while it waits for its response.
const USUAL: f64 = 2.0;
/// The number of recent attempts to remember.
const REMEMBERED: usize = 32;

/// If nothing moves at all, a part that takes this many times longer than the slowest of late tries a new connection
/// (about 0.1 % of S3's requests take 5 s) …
const LATE: f64 = 2.0;
/// … or, before any has finished, one that has not moved for this long …
const NOTHING: Duration = Duration::from_secs(5);
/// … or this long, where a full buffer on a slow network may look the same.
const NOTHING_BLIND: Duration = Duration::from_secs(10);

/// A moving part is slow if it sent less than this fraction (one in …) of its share …
const SLOW: f64 = 10.0;
/// … over this long …
const LATELY: Duration = Duration::from_secs(4);
/// … in which a share was at least this.
const SLOW_PROOF: f64 = 1024.0 * 1024.0;
/// A hedge pays if more than one in this many of the part's bytes are left.
const WORTH: u64 = 5;
/// The last part of all is slow if the rest of it takes this many times longer than the slowest whole part of late.
const SLOW_ALONE: f64 = 3.0;

/// The durations of a run's attempts.
#[derive(Default)]
pub(super) struct Hedging(Mutex<VecDeque<Completed>>);

/// One attempt, from its start to its response.
#[derive(Debug, Clone, Copy)]
struct Completed {
    size: u64,
    share: f64,
    time: Duration,
}

/// The slowest recent attempt, for a part of a certain size.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Slowest {
    share: f64,
    time: Duration,
}

/// The progress of one attempt.
struct Progress {
    begun: (Instant, f64),
    /// When it last moved, and the share at that time.
    moved: (Instant, f64),
    /// (time, bytes sent, share), for [`LATELY`].
    looks: VecDeque<(Instant, u64, f64)>,
}

/// The state of an attempt at one time.
#[derive(Debug, Clone, Copy)]
struct AttemptStats {
    size: u64,
    taken: u64,
    /// Acknowledgements are not known.
    no_tcp_info: bool,
    /// No other part is in flight.
    alone: bool,
    elapsed: Duration,
    still: Duration,
    /// How long no part has moved.
    line_still: Duration,
    /// The share since it started, and since it last moved.
    share: f64,
    share_still: f64,
    /// Bytes sent recently, in what time, and the share meanwhile; `None` before it has lasted long enough.
    lately: Option<(u64, Duration, f64)>,
}

/// Why to hedge an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hedge {
    /// It is stuck: its connection uses nothing of the path, so the hedge needs no permit of its own.
    Stuck,
    /// Nothing moves: one part is enough to find out whether the connections are the reason.
    Probe,
    /// It moves, but far too slowly: hedge if a permit is free.
    Slow,
}

impl AttemptStats {
    fn should_hedge(&self, slowest: Option<Slowest>) -> Option<Hedge> {
        let answer = self.taken >= self.size;
        let took = |times: f64| slowest.map(|slowest| self.elapsed > slowest.time.mul_f64(times));
        if self.still >= STILL && self.share_still >= PROOF {
            let drained = self.share_still >= self.taken as f64 + PROOF;
            let usual = slowest.map_or(0.0, |slowest| slowest.share).max(self.size as f64 * USUAL);
            if !answer && drained && took(SLOWER).unwrap_or(true) || self.share >= usual * SLOWER {
                return Some(Hedge::Stuck);
            }
        }
        let nothing = self.still.min(self.line_still);
        let limit = if self.no_tcp_info { NOTHING_BLIND } else { NOTHING };
        if nothing >= STILL && took(LATE).unwrap_or(!answer && nothing >= limit) {
            return Some(Hedge::Probe);
        }
        if (self.size - self.taken.min(self.size)) * WORTH > self.size && self.is_slow(slowest) {
            return Some(Hedge::Slow);
        }
        None
    }

    fn is_slow(&self, slowest: Option<Slowest>) -> bool {
        // Buffered bytes make it look better, so in total it is at least as slow as it seems.
        let as_a_whole = Some((self.taken, self.elapsed, self.share)).filter(|_| self.elapsed >= LATELY);
        let lately = if self.no_tcp_info { as_a_whole } else { self.lately };
        let Some((taken, lasted, share)) = lately else { return false };
        if self.alone {
            let left = (self.size - self.taken.min(self.size)) as f64 / taken.max(1) as f64;
            let left = lasted.mul_f64(left.min(1e6));
            return slowest.is_some_and(|slowest| left > slowest.time.mul_f64(SLOW_ALONE));
        }
        share >= SLOW_PROOF && taken as f64 * SLOW < share
    }
}

impl Progress {
    fn new(at: Instant, share: f64) -> Self {
        Self { begun: (at, share), moved: (at, share), looks: VecDeque::from([(at, 0, share)]) }
    }

    fn look(&mut self, at: Instant, taken: u64, share: f64) {
        let (last, before) = self.looks.back().map_or((at, 0), |(last, before, _)| (*last, *before));
        let stopped = at.saturating_duration_since(last) > STOPPED;
        if taken != before || stopped {
            self.moved = (at, share);
        }
        if stopped {
            self.looks.clear();
        }
        self.looks.push_back((at, taken, share));
        while self.looks.get(1).is_some_and(|(second, ..)| at.duration_since(*second) >= LATELY) {
            self.looks.pop_front();
        }
    }

    fn lately(&self) -> Option<(u64, Duration, f64)> {
        let ((begin, before, had), (end, taken, share)) = (self.looks.front()?, self.looks.back()?);
        let lasted = end.duration_since(*begin);
        (lasted >= LATELY).then(|| (taken.saturating_sub(*before), lasted, share - had))
    }
}

impl Hedging {
    fn took(&self) -> MutexGuard<'_, VecDeque<Completed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finished(&self, took: Completed) {
        let mut all = self.took();
        if all.len() == REMEMBERED {
            all.pop_front();
        }
        all.push_back(took);
    }

    /// The slowest attempt; smaller parts count in proportion.
    fn slowest(&self, size: u64) -> Option<Slowest> {
        let scaled = |took: &Completed| {
            let times = (size as f64 / took.size.max(1) as f64).max(1.0);
            Slowest { share: took.share * times, time: took.time.mul_f64(times) }
        };
        self.took().iter().map(scaled).reduce(|one, other| Slowest {
            share: one.share.max(other.share),
            time: one.time.max(other.time),
        })
    }

    /// Waits until `first` has sent the part (`Ok`), or until a hedge pays. Then returns its permit, if it needs one.
    pub(super) async fn watch<T, E>(
        &self,
        first: impl Future<Output = Result<T, E>>,
        part: &PartProgress,
        size: u64,
        permits: &Arc<Permits>,
    ) -> Result<Result<T, E>, Option<Permit>> {
        let mut progress = Progress::new(Instant::now(), permits.share());
        let begun = progress.begun;
        tokio::select! {
            done = first => {
                if done.is_ok() {
                    let share = permits.share() - begun.1;
                    self.finished(Completed { size, share, time: begun.0.elapsed() });
                }
                Ok(done)
            }
            place = self.worth_it(&mut progress, part, size, permits) => Err(place),
        }
    }

    /// Returns when a hedge pays.
    async fn worth_it(
        &self,
        progress: &mut Progress,
        part: &PartProgress,
        size: u64,
        permits: &Arc<Permits>,
    ) -> Option<Permit> {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let (now, taken, share) = (Instant::now(), part.acked(), permits.share());
            progress.look(now, taken, share);
            let seen = AttemptStats {
                size,
                taken,
                no_tcp_info: permits.has_no_tcp_info(),
                alone: permits.in_flight() <= 1,
                elapsed: now.duration_since(progress.begun.0),
                still: now.duration_since(progress.moved.0),
                line_still: permits.still_for(now),
                share: share - progress.begun.1,
                share_still: share - progress.moved.1,
                lately: progress.lately(),
            };
            let place = match seen.should_hedge(self.slowest(size)) {
                None => continue,
                Some(Hedge::Stuck) => return None,
                Some(Hedge::Probe) => permits.acquire_probe(),
                Some(Hedge::Slow) => permits.acquire_hedge(size),
            };
            if place.is_some() {
                return place;
            }
        }
    }
}

#[cfg(test)]
#[path = "hedge_tests.rs"]
mod tests;
