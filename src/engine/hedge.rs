//! Parts that lag: hedging sends them on a second connection too, and a straggler is begun again.
//!
//! A part sent twice overwrites itself (S3, UploadPart), so this is always safe. But it costs the part's bytes, and on
//! a full path these delay everything else. So a part is hedged only if it has all but stopped while others progressed.
//! If nothing moves at all, one part is hedged from time to time.
//!
//! On long paths, the end of a file waits for the few connections that lost packets at their start. A part on such a
//! connection, a straggler, is begun again on another while it has sent little; all of them together may cost 1 % of the
//! file's bytes.
//!
//! A part is compared with its *share*: what one part in flight sent on average meanwhile
//! ([`super::concurrency::Permits::share`]). Shares do not depend on the speed of the network, on the number of parts
//! in flight, or on pauses of the whole path.
//!
//! If the system does not tell what the peer has acknowledged, bytes in kernel buffers count as sent. A part that does
//! not move may just be draining its buffer then, and only its total time says something.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::concurrency::{Permit, Permits};
use crate::event::PartProgress;

/// How often to check an attempt.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// If checks are further apart, the process was suspended (Ctrl-Z), and the part is not to blame.
const MAX_CHECK_GAP: Duration = Duration::from_secs(1);
/// The number of recent attempts to remember.
const MAX_REMEMBERED: usize = 32;

// A part is stuck if it has not moved for `MIN_IDLE`, while others sent `MIN_SHARE` each, and if it takes `STUCK_FACTOR`
// times longer than the slowest recent attempt.
const MIN_IDLE: Duration = Duration::from_millis(1500);
/// More bytes than buffers on the way could hold. With eight parts at 250 KB/s that takes 16 s, and no TCP starves one
/// connection for so long.
const MIN_SHARE: f64 = 512.0 * 1024.0;
const STUCK_FACTOR: f64 = 1.5;
/// If idle time proves little (a full buffer, a slow response), shares are compared instead of times. The slowest
/// attempt's share counts as at least this many times the part's size: its own bytes, and those that others start while
/// it waits for its response.
const MIN_SHARE_FACTOR: f64 = 2.0;

// If nothing moves at all, one part tries a new connection: one that takes `PROBE_FACTOR` times longer than the slowest
// recent attempt (about 0.1 % of S3's requests take 5 s). Before any attempt has finished, the part has to be idle for
// `PROBE_IDLE`, or `PROBE_IDLE_NO_TCP_INFO` where a full buffer on a slow network checks the same.
const PROBE_FACTOR: f64 = 2.0;
const PROBE_IDLE: Duration = Duration::from_secs(5);
const PROBE_IDLE_NO_TCP_INFO: Duration = Duration::from_secs(10);

// A straggler is a part that during `STRAGGLER_RECENT` sent less than its share divided by `STRAGGLER_DIVISOR`, and needs
// more than `STRAGGLER_DIVISOR` times as long for the rest of it as others need for a whole part. TCP needs seconds for
// what a connection loses at its start, and a new one is at full speed after some ten round trips.
const STRAGGLER_RECENT: Duration = Duration::from_secs(1);
const STRAGGLER_DIVISOR: f64 = 3.0;
/// A smaller part ends soon anyway.
const STRAGGLER_MIN_SIZE: u64 = 4 * 1024 * 1024;
/// Bytes of a part on their way, or in a send buffer of unknown content.
const IN_BUFFERS: u64 = 256 * 1024;
/// Bytes of the share, below which it says nothing.
const STRAGGLER_MIN_SHARE: f64 = 128.0 * 1024.0;

// A moving part is slow if during `RECENT` it sent less than its share divided by `SLOW_DIVISOR`, and the share was at
// least `SLOW_MIN_SHARE`.
const RECENT: Duration = Duration::from_secs(4);
const SLOW_DIVISOR: f64 = 10.0;
const SLOW_MIN_SHARE: f64 = 1024.0 * 1024.0;
/// A hedge pays if more than this fraction (one in …) of the part's bytes are left.
const WORTH_DIVISOR: u64 = 5;
/// The last part in flight is slow if the rest of it takes this many times longer than the slowest recent whole part.
const SLOW_ALONE_FACTOR: f64 = 3.0;

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
    /// (time, bytes sent, share), for [`RECENT`].
    checks: VecDeque<(Instant, u64, f64)>,
}

/// The state of an attempt at one time.
#[derive(Debug, Clone, Copy)]
struct AttemptStats {
    size: u64,
    acked: u64,
    /// Acknowledgements are not known.
    no_tcp_info: bool,
    /// No other part is in flight.
    alone: bool,
    elapsed: Duration,
    idle: Duration,
    /// How long no part has moved.
    all_idle: Duration,
    /// The share since it started, and since it last moved.
    share: f64,
    share_idle: f64,
    /// Bytes sent recently, in what time, and the share meanwhile; `None` before it has lasted long enough.
    recent: Option<(u64, Duration, f64)>,
    /// Over [`STRAGGLER_RECENT`] only.
    last_second: Option<(u64, Duration, f64)>,
}

/// How an attempt is behind the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lag {
    /// It is stuck: its connection uses nothing of the path, so the hedge needs no permit of its own.
    Stuck,
    /// Nothing moves: one part is enough to find out whether the connections are the reason.
    Probe,
    /// It moves, but far too slowly: hedge if a permit is free.
    Slow,
    /// It began slowly, and would be the last to end: begin it again, which costs the few bytes that it has sent.
    Straggler,
}

/// What became of a watched attempt.
pub(super) enum Watched<T> {
    Done(T),
    /// A hedge pays; with its permit, if it needs one.
    Hedge(Option<Permit>),
    /// The attempt should be given up, and made again on another connection.
    Restart,
}

impl AttemptStats {
    fn lag(&self, slowest: Option<Slowest>) -> Option<Lag> {
        let answer = self.acked >= self.size;
        let took = |times: f64| slowest.map(|slowest| self.elapsed > slowest.time.mul_f64(times));
        if self.idle >= MIN_IDLE && self.share_idle >= MIN_SHARE {
            let drained = self.share_idle >= self.acked as f64 + MIN_SHARE;
            let usual = slowest.map_or(0.0, |slowest| slowest.share).max(self.size as f64 * MIN_SHARE_FACTOR);
            if !answer && drained && took(STUCK_FACTOR).unwrap_or(true) || self.share >= usual * STUCK_FACTOR
            {
                return Some(Lag::Stuck);
            }
        }
        let nothing = self.idle.min(self.all_idle);
        let limit = if self.no_tcp_info { PROBE_IDLE_NO_TCP_INFO } else { PROBE_IDLE };
        if nothing >= MIN_IDLE && took(PROBE_FACTOR).unwrap_or(!answer && nothing >= limit) {
            return Some(Lag::Probe);
        }
        if (self.size - self.acked.min(self.size)) * WORTH_DIVISOR > self.size && self.is_slow(slowest) {
            return Some(Lag::Slow);
        }
        (!answer && self.is_straggler()).then_some(Lag::Straggler)
    }

    fn is_straggler(&self) -> bool {
        let Some((sent, _, share)) = self.last_second else { return false };
        let (sent, left) = (sent as f64, (self.size - self.acked) as f64);
        !self.alone
            && self.size >= STRAGGLER_MIN_SIZE
            && share >= STRAGGLER_MIN_SHARE
            && sent * STRAGGLER_DIVISOR < share
            && left * share > self.size as f64 * sent * STRAGGLER_DIVISOR
    }

    fn is_slow(&self, slowest: Option<Slowest>) -> bool {
        // Buffered bytes make it look better, so in total it is at least as slow as it seems.
        let as_a_whole = Some((self.acked, self.elapsed, self.share)).filter(|_| self.elapsed >= RECENT);
        let recent = if self.no_tcp_info { as_a_whole } else { self.recent };
        let Some((acked, lasted, share)) = recent else { return false };
        if self.alone {
            let left = (self.size - self.acked.min(self.size)) as f64 / acked.max(1) as f64;
            let left = lasted.mul_f64(left.min(1e6));
            return slowest.is_some_and(|slowest| left > slowest.time.mul_f64(SLOW_ALONE_FACTOR));
        }
        share >= SLOW_MIN_SHARE && acked as f64 * SLOW_DIVISOR < share
    }
}

impl Progress {
    fn new(at: Instant, share: f64) -> Self {
        Self { begun: (at, share), moved: (at, share), checks: VecDeque::from([(at, 0, share)]) }
    }

    fn check(&mut self, at: Instant, acked: u64, share: f64) {
        let (last, before) = self.checks.back().map_or((at, 0), |(last, before, _)| (*last, *before));
        let stopped = at.saturating_duration_since(last) > MAX_CHECK_GAP;
        if acked != before || stopped {
            self.moved = (at, share);
        }
        if stopped {
            self.checks.clear();
        }
        self.checks.push_back((at, acked, share));
        while self.checks.get(1).is_some_and(|(second, ..)| at.duration_since(*second) >= RECENT) {
            self.checks.pop_front();
        }
    }

    /// Over the last `window`.
    fn recent(&self, window: Duration) -> Option<(u64, Duration, f64)> {
        let (end, acked, share) = self.checks.back()?;
        let (begin, before, had) =
            self.checks.iter().rev().find(|(begin, ..)| end.duration_since(*begin) >= window)?;
        Some((acked.saturating_sub(*before), end.duration_since(*begin), share - had))
    }
}

impl Hedging {
    fn attempts(&self) -> MutexGuard<'_, VecDeque<Completed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, attempt: Completed) {
        let mut all = self.attempts();
        if all.len() == MAX_REMEMBERED {
            all.pop_front();
        }
        all.push_back(attempt);
    }

    /// The slowest attempt; smaller parts count in proportion.
    fn slowest(&self, size: u64) -> Option<Slowest> {
        let scaled = |took: &Completed| {
            let times = (size as f64 / took.size.max(1) as f64).max(1.0);
            Slowest { share: took.share * times, time: took.time.mul_f64(times) }
        };
        self.attempts().iter().map(scaled).reduce(|one, other| Slowest {
            share: one.share.max(other.share),
            time: one.time.max(other.time),
        })
    }

    /// Waits until `first` has sent the part of this size, or until something else pays.
    pub(super) async fn watch<T, E>(
        &self,
        first: impl Future<Output = Result<T, E>>,
        part: &PartProgress,
        (size, file_size): (u64, u64),
        permits: &Arc<Permits>,
    ) -> Watched<Result<T, E>> {
        let mut progress = Progress::new(Instant::now(), permits.share());
        let (begun, held) = (progress.begun, part.held());
        tokio::select! {
            done = first => {
                // The time of a part that was held back says nothing about the network.
                if done.is_ok() && part.held() == held {
                    let share = permits.share() - begun.1;
                    self.record(Completed { size, share, time: begun.0.elapsed() });
                }
                Watched::Done(done)
            }
            other = self.until_lagging(&mut progress, part, (size, file_size), permits) => other,
        }
    }

    /// Returns when the part lags, and a hedge or a restart pays.
    async fn until_lagging<T>(
        &self,
        progress: &mut Progress,
        part: &PartProgress,
        (size, file_size): (u64, u64),
        permits: &Arc<Permits>,
    ) -> Watched<T> {
        let mut held = part.held();
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            let (now, acked, share) = (Instant::now(), part.acked(), permits.share());
            if std::mem::replace(&mut held, part.held()) != held {
                *progress = Progress::new(now, share);
            }
            progress.check(now, acked, share);
            let seen = AttemptStats {
                size,
                acked,
                no_tcp_info: permits.has_no_tcp_info(),
                alone: permits.in_flight() <= 1,
                elapsed: now.duration_since(progress.begun.0),
                idle: now.duration_since(progress.moved.0),
                all_idle: permits.still_for(now),
                share: share - progress.begun.1,
                share_idle: share - progress.moved.1,
                recent: progress.recent(RECENT),
                last_second: progress.recent(STRAGGLER_RECENT),
            };
            let permit = match seen.lag(self.slowest(size)) {
                None => continue,
                Some(Lag::Straggler) => {
                    if permits.may_resend(acked + IN_BUFFERS, file_size) {
                        return Watched::Restart;
                    }
                    None
                }
                Some(Lag::Stuck) => return Watched::Hedge(None),
                Some(Lag::Probe) => permits.acquire_probe(),
                Some(Lag::Slow) => permits.acquire_hedge(size),
            };
            if permit.is_some() {
                return Watched::Hedge(permit);
            }
        }
    }
}

#[cfg(test)]
#[path = "hedge_tests.rs"]
mod tests;
