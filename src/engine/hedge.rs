//! Detects parts that lag behind. A hedge sends such a part on a second connection too; a straggler is restarted.
//!
//! A part that is sent twice overwrites itself (S3, UploadPart), so this is always safe. But the additional bytes delay
//! everything else on a full path. So a part is hedged only if it has nearly stopped while others made progress. While
//! no part makes progress, one is hedged from time to time.
//!
//! On long paths, the end of a file waits for the few connections that lost packets at their start. A part on such a
//! connection is a straggler. It is restarted on another connection while it has sent little. All restarts together may
//! cost 1 % of the file's bytes.
//!
//! A part is compared with its *share*: what one part in flight sent on average in the same time
//! ([`super::concurrency::Permits::share`]). Shares do not depend on the speed of the network, the number of parts in
//! flight, or pauses of the whole path.
//!
//! If the system does not report what the peer has acknowledged, bytes in kernel buffers count as sent. A part without
//! progress may then be draining its buffer, so only its total time counts.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::concurrency::{Permit, Permits};
use crate::event::PartProgress;
use crate::mutex::lock;

/// How often to check an attempt.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// If checks are further apart, the process was suspended (Ctrl-Z), and the part is not to blame.
const MAX_CHECK_GAP: Duration = Duration::from_secs(1);
/// The number of recent attempts to remember.
const MAX_REMEMBERED: usize = 32;

// A part is stuck if it has not moved for `MIN_IDLE`, while others sent `MIN_SHARE` each, and if it takes `STUCK_FACTOR`
// times longer than the slowest recent attempt.
const MIN_IDLE: Duration = Duration::from_millis(1500);
/// More bytes than buffers on the path could hold. With eight parts at 250 KB/s this takes 16 s, and TCP does not starve a
/// connection for that long.
const MIN_SHARE: f64 = 512.0 * 1024.0;
const STUCK_FACTOR: f64 = 1.5;
/// If the idle time proves little (a full buffer, a slow response), shares are compared instead of times. The share of the
/// slowest attempt counts as at least this many times the part's size: its own bytes, and those of parts that start while
/// it waits for its response.
const MIN_SHARE_FACTOR: f64 = 2.0;

// While all parts are idle, one part is hedged if it takes `ALL_IDLE_FACTOR` times longer than the slowest recent attempt
// (about 0.1 % of S3's requests take 5 s). Before any attempt has finished, the part has to be idle for `ALL_IDLE`, or for
// `ALL_IDLE_NO_TCP_INFO` if it may be draining its buffer.
const ALL_IDLE_FACTOR: f64 = 2.0;
const ALL_IDLE: Duration = Duration::from_secs(5);
const ALL_IDLE_NO_TCP_INFO: Duration = Duration::from_secs(10);

// A straggler is a part that during `STRAGGLER_RECENT` sent less than its share divided by `STRAGGLER_DIVISOR`, and whose
// rest takes more than `STRAGGLER_DIVISOR` times as long as a whole part of the others. A connection that lost packets at
// its start needs seconds to recover, while a new one reaches full speed after some ten round trips.
const STRAGGLER_RECENT: Duration = Duration::from_secs(1);
const STRAGGLER_DIVISOR: f64 = 3.0;
/// Smaller parts end soon anyway.
const STRAGGLER_MIN_SIZE: u64 = 4 * 1024 * 1024;
/// Bytes of a part that may be in flight or in a send buffer.
const IN_BUFFERS: u64 = 256 * 1024;
/// A smaller share, in bytes, says nothing. Without acknowledgements it is [`SLOW_MIN_SHARE`].
const STRAGGLER_MIN_SHARE: f64 = 128.0 * 1024.0;

// A part that makes progress is slow if during `RECENT` it sent less than its share divided by `SLOW_DIVISOR`, and the share was at
// least `SLOW_MIN_SHARE`.
const RECENT: Duration = Duration::from_secs(4);
const SLOW_DIVISOR: f64 = 10.0;
const SLOW_MIN_SHARE: f64 = 1024.0 * 1024.0;
/// A slow part is hedged if more than the part's size divided by this is left.
const MIN_LEFT_DIVISOR: u64 = 5;
/// The last part in flight is slow if its rest takes this many times longer than the slowest recent part.
const SLOW_ALONE_FACTOR: f64 = 3.0;

/// The durations of recent attempts, and the rules that compare an attempt with them.
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
    /// When it last made progress, and the share at that time.
    moved: (Instant, f64),
    /// (time, bytes sent, share), for [`RECENT`].
    checks: VecDeque<(Instant, u64, f64)>,
}

/// The state of an attempt at one time.
#[derive(Debug, Clone, Copy)]
struct AttemptStats {
    size: u64,
    acked: u64,
    /// The system does not report acknowledgements.
    no_tcp_info: bool,
    /// No other part is in flight.
    alone: bool,
    elapsed: Duration,
    idle: Duration,
    /// How long all parts have been idle.
    all_idle: Duration,
    /// The share since it started, and since it last made progress.
    share: f64,
    share_idle: f64,
    /// Bytes sent recently, in what time, and the share in that time. `None` while it is younger.
    recent: Option<(u64, Duration, f64)>,
    /// Over [`STRAGGLER_RECENT`] only.
    last_second: Option<(u64, Duration, f64)>,
}

/// How an attempt lags behind the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lag {
    /// It makes no progress. Its connection does not use the path, so the hedge needs no permit of its own.
    Stuck,
    /// All parts are idle. One hedge is enough to find out whether the connections are the reason.
    AllIdle,
    /// It makes progress, but far too slowly. It is hedged if a permit is free.
    Slow,
    /// It started slowly and would be the last to end. It is restarted, which costs the few bytes that it has sent.
    Straggler,
}

/// How watching an attempt ended.
pub(super) enum WatchEnd<T> {
    /// The attempt is done.
    Done(T),
    /// A hedge should start; with its permit, if it needs one.
    Hedge(Option<Permit>),
    /// The attempt should be restarted on another connection.
    Restart,
}

impl AttemptStats {
    fn lag(&self, slowest: Option<Slowest>) -> Option<Lag> {
        let all_sent = self.acked >= self.size;
        let takes = |times: f64| slowest.map(|slowest| self.elapsed > slowest.time.mul_f64(times));
        if self.idle >= MIN_IDLE && self.share_idle >= MIN_SHARE {
            let drained = self.share_idle >= self.acked as f64 + MIN_SHARE;
            let usual = slowest.map_or(0.0, |slowest| slowest.share).max(self.size as f64 * MIN_SHARE_FACTOR);
            if !all_sent && drained && takes(STUCK_FACTOR).unwrap_or(true)
                || self.share >= usual * STUCK_FACTOR
            {
                return Some(Lag::Stuck);
            }
        }
        let all_idle = self.idle.min(self.all_idle);
        let limit = if self.no_tcp_info { ALL_IDLE_NO_TCP_INFO } else { ALL_IDLE };
        if all_idle >= MIN_IDLE && takes(ALL_IDLE_FACTOR).unwrap_or(!all_sent && all_idle >= limit) {
            return Some(Lag::AllIdle);
        }
        if (self.size - self.acked.min(self.size)) * MIN_LEFT_DIVISOR > self.size && self.is_slow(slowest) {
            return Some(Lag::Slow);
        }
        (!all_sent && self.is_straggler()).then_some(Lag::Straggler)
    }

    fn is_straggler(&self) -> bool {
        let Some((sent, _, share)) = self.last_second else { return false };
        // Without acknowledgements, what is in a full send buffer does not count: a new connection seems to send nothing, and
        // others send in steps.
        let (min_share, min_elapsed) = if self.no_tcp_info {
            (SLOW_MIN_SHARE, STRAGGLER_RECENT * 2)
        } else {
            (STRAGGLER_MIN_SHARE, STRAGGLER_RECENT)
        };
        let (sent, left) = (sent as f64, (self.size - self.acked) as f64);
        !self.alone
            && self.size >= STRAGGLER_MIN_SIZE
            && share >= min_share
            && self.elapsed >= min_elapsed
            && sent * STRAGGLER_DIVISOR < share
            && left * share > self.size as f64 * sent * STRAGGLER_DIVISOR
    }

    fn is_slow(&self, slowest: Option<Slowest>) -> bool {
        // Buffered bytes count as sent, so in total it is at least as slow as it seems.
        let total = Some((self.acked, self.elapsed, self.share)).filter(|_| self.elapsed >= RECENT);
        let recent = if self.no_tcp_info { total } else { self.recent };
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
    fn record(&self, attempt: Completed) {
        let mut all = lock(&self.0);
        if all.len() == MAX_REMEMBERED {
            all.pop_front();
        }
        all.push_back(attempt);
    }

    /// The slowest attempt, with times of smaller parts scaled to this size.
    fn slowest(&self, size: u64) -> Option<Slowest> {
        let scaled = |took: &Completed| {
            let times = (size as f64 / took.size.max(1) as f64).max(1.0);
            Slowest { share: took.share * times, time: took.time.mul_f64(times) }
        };
        lock(&self.0).iter().map(scaled).reduce(|one, other| Slowest {
            share: one.share.max(other.share),
            time: one.time.max(other.time),
        })
    }

    /// Waits until the attempt `first` is done, or until a hedge or a restart is worthwhile.
    pub(super) async fn watch<T, E>(
        &self,
        first: impl Future<Output = Result<T, E>>,
        part: &PartProgress,
        (size, file_size): (u64, u64),
        permits: &Arc<Permits>,
    ) -> WatchEnd<Result<T, E>> {
        let mut progress = Progress::new(Instant::now(), permits.share());
        let (begun, held) = (progress.begun, part.held());
        tokio::select! {
            done = first => {
                // The duration of a part that was held says nothing about the network.
                if done.is_ok() && part.held() == held {
                    let share = permits.share() - begun.1;
                    self.record(Completed { size, share, time: begun.0.elapsed() });
                }
                WatchEnd::Done(done)
            }
            other = self.until_lagging(&mut progress, part, (size, file_size), permits) => other,
        }
    }

    /// Returns when the part lags and a hedge or a restart is worthwhile.
    async fn until_lagging<T>(
        &self,
        progress: &mut Progress,
        part: &PartProgress,
        (size, file_size): (u64, u64),
        permits: &Arc<Permits>,
    ) -> WatchEnd<T> {
        let mut held = part.held();
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            let (now, acked, share) = (Instant::now(), part.acked(), permits.share());
            if std::mem::replace(&mut held, part.held()) != held {
                *progress = Progress::new(now, share);
            }
            progress.check(now, acked, share);
            let stats = AttemptStats {
                size,
                acked,
                no_tcp_info: permits.has_no_tcp_info(),
                alone: permits.in_flight() <= 1,
                elapsed: now.duration_since(progress.begun.0),
                idle: now.duration_since(progress.moved.0),
                all_idle: permits.idle_for(now),
                share: share - progress.begun.1,
                share_idle: share - progress.moved.1,
                recent: progress.recent(RECENT),
                last_second: progress.recent(STRAGGLER_RECENT),
            };
            let permit = match stats.lag(self.slowest(size)) {
                None => continue,
                Some(Lag::Straggler) => {
                    if permits.may_resend(acked + IN_BUFFERS, file_size) {
                        return WatchEnd::Restart;
                    }
                    None
                }
                Some(Lag::Stuck) => return WatchEnd::Hedge(None),
                Some(Lag::AllIdle) => permits.acquire_idle_hedge(),
                Some(Lag::Slow) => permits.acquire_hedge(size),
            };
            if permit.is_some() {
                return WatchEnd::Hedge(permit);
            }
        }
    }
}

#[cfg(test)]
#[path = "hedge_tests.rs"]
mod tests;
