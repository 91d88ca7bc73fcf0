//! Adapts the number of parts that move to what the network does with it.
//!
//! A state machine:
//!
//! - *Slow start* begins with a few parts and doubles them as long as the rate grows with them.
//! - *Steady* stays with a number. From time to time it tries another, because networks change.
//! - *Probe* compares the rate of another number with that of the present one, and keeps the better.
//! - *Back off* follows a SlowDown of storage: the number halves, and grows back slowly to just below what was too many.
//!
//! Each number is judged by the rate in one [`Window`]. Where the system reports round-trip times, a standing queue
//! means that the path is full: more connections would only add delay for everyone on it, so fewer are tried until the
//! rate suffers or one is left. Packets lost without a queue mean that the path itself loses them; then more connections
//! are what fills it. Elsewhere the rate alone decides, and more have to prove themselves from the start.
//!
//! Fewer cost nothing to try: parts that are in flight already are held, and let go again within a round trip.
//!
//! It does no I/O: it is given the time and the counts, and returns a number. Its promises are tested on simulated
//! paths (`controller_tests.rs`).

use std::time::{Duration, Instant};

use super::window::{Length, MinRtt, Sample, Window, WindowStats, is_noticeable};

/// Parts at the start. One alone would waste seconds on a long path. On a thin one, all but one are held soon.
pub const INITIAL_LIMIT: usize = 4;
/// This many need no proof of a gain, only a path that is known to have no queue. It is the number of MD5 lanes (AVX2).
pub const DEFAULT_LIMIT: usize = 8;
/// The maximum. At 100 Mbit/s with 80 ms and 0.1 % loss, 24 CUBIC connections measured 81 % of the path and 32 measured
/// 86 %. Beyond that, each adds less than it costs others.
pub const MAX_LIMIT: usize = 32;
/// Bytes per second. On a thinner path, one part is enough. On others two, because a connection that was idle starts
/// slowly again (RFC 5681, 4.1), which is noticed if it happens every second …
const THIN: f64 = 1e6;
/// … and on a thicker one four, because the loss of a packet takes the window of one connection seconds to make good.
const THICK: f64 = 4e6;

/// More connections pay if they bring this fraction of what they would on an unlimited path.
const WORTH: f64 = 0.25;
/// The same on a lossy path, where only connections fill it.
const WORTH_LOSSY: f64 = 0.1;
/// Fewer connections are as good if they cost at most this fraction of the rate.
const AS_GOOD: f64 = 0.05;
/// With a queue that stands even so, the path is full of the data of others, and fewer are fair. But if the rate falls
/// by more than this fraction of the connections, they were what limited it, and the queue is not theirs.
const FAIR: f64 = 0.85;
/// How long a path that lost packets without a queue counts as lossy.
const LOSSY_KEPT: Duration = Duration::from_secs(60);
/// The path has changed if the rate differs by more than this fraction.
const CHANGED: f64 = 0.25;
/// Without round-trip times, others may have room if the rate falls below this fraction.
const FALLEN: f64 = 0.85;
/// In slow start without round-trip times, TCP itself is still in slow start if the rate grows by more than this
/// fraction from window to window.
const GROWING: f64 = 0.2;

/// The pause before the next probe. Doubles with each probe in vain …
const PAUSE_LEAST: Duration = Duration::from_secs(4);
/// … up to this.
const PAUSE_MOST: Duration = Duration::from_secs(60);
/// While there is a queue, the pause is longer by this. A queue is a sign of a full path, but no proof: the round trips
/// of a radio vary, too.
const PAUSE_QUEUED: Duration = Duration::from_secs(20);
/// All parts in flight get the same SlowDown, and the reaction takes a moment to show.
const CUT_EVERY: Duration = Duration::from_secs(2);
/// Stalled parts leave at least this many. If the network is gone all of them stall, and few might all be in a long
/// backoff when it comes back.
const STANDING_LEAST: usize = 4;
/// After a SlowDown, one more is tried this often …
const BACK_EVERY: Duration = Duration::from_secs(4);
/// … up to one below the number that was too many, for this long.
const TOO_MUCH_KEPT: Duration = Duration::from_secs(60);

/// The controller.
pub struct Controller {
    limit: usize,
    /// Imposed by the system.
    max_limit: usize,
    phase: Phase,
    window: Option<Window>,
    min_rtt: MinRtt,
    /// Before the next probe.
    pause: Duration,
    /// Fewer are not tried before this, because they cost too much the last time.
    next_fewer: Option<Instant>,
    /// When the path last lost packets.
    lossy: Option<Instant>,
    last_cut: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// With fewer, the rate was `before`; with the present number it was `last` in the window before.
    SlowStart {
        before: Option<(usize, f64)>,
        last: Option<f64>,
    },
    Steady(Steady),
    /// The rate was `rate` with `from`.
    Probe {
        from: usize,
        rate: f64,
    },
    /// `too_many` were too many for storage.
    BackOff {
        too_many: usize,
        until: Instant,
        next: Instant,
    },
}

#[derive(Debug, Clone, Copy)]
struct Steady {
    /// Smoothed; 0 if it is not known yet.
    rate: f64,
    /// The rate when the number was settled.
    usual: f64,
    next_probe: Instant,
    /// Without round-trip times, probes alternate between more and fewer.
    fewer_next: bool,
}

impl Default for Controller {
    fn default() -> Self {
        Self::new(MAX_LIMIT)
    }
}

impl Controller {
    /// Never exceeds `most` or [`MAX_LIMIT`].
    pub fn new(most: usize) -> Self {
        let max_limit = most.clamp(1, MAX_LIMIT);
        Self {
            limit: INITIAL_LIMIT.min(max_limit),
            max_limit,
            phase: Phase::SlowStart { before: None, last: None },
            window: None,
            min_rtt: MinRtt::default(),
            pause: PAUSE_LEAST,
            next_fewer: None,
            lossy: None,
            last_cut: None,
        }
    }

    /// The maximum of this controller.
    pub fn max_limit(&self) -> usize {
        self.max_limit
    }

    /// The number of parts that should move.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Nothing is in flight any more. What follows is measured anew, from the last proven number.
    pub fn on_idle(&mut self, at: Instant) {
        self.window = None;
        if let Phase::Probe { from, rate } = self.phase {
            self.limit = from;
            self.settle(at, rate);
        }
    }

    /// Takes a sample, and may change the limit. Returns a message if that is news; starting and reverting a probe is
    /// not.
    pub fn on_sample(&mut self, look: &Sample) -> Option<String> {
        if let Some(measured) = look.tcp {
            self.min_rtt.add(look.at, measured.min_rtt);
        }
        let min_rtt = self.min_rtt.get();
        let queue = look.tcp.map(|measured| measured.smoothed_rtt.saturating_sub(min_rtt));
        if let Phase::SlowStart { before: None, last: None } = self.phase
            && self.limit == INITIAL_LIMIT
            && look.starved
            && !queue.is_some_and(|queue| is_noticeable(queue, min_rtt))
        {
            // At once, because connections that join others later find a queue, and lose packets in slow start.
            self.set(DEFAULT_LIMIT.min(self.max_limit));
        }
        self.window.get_or_insert_with(|| Window::new(look)).add(look, min_rtt);
        let length = match self.phase {
            Phase::SlowStart { .. } => Length::Short,
            Phase::Probe { .. } => Length::Usual,
            Phase::Steady(_) | Phase::BackOff { .. } => Length::Long,
        };
        let seen = self.window.as_ref()?.stats(look, min_rtt, length)?;
        self.window = None;
        if seen.lossy {
            self.lossy = Some(look.at);
        }
        if !seen.conclusive {
            if seen.queue_standing && (2..=self.limit).contains(&look.moving) {
                // These are all there are, and they are too many.
                self.limit = look.moving;
                self.settle(look.at, seen.rate);
                self.try_fewer(look.at, seen.rate);
            }
            return None;
        }
        match self.phase {
            Phase::SlowStart { before, last } => self.slow_start(look.at, before, last, &seen),
            Phase::Steady(steady) => self.steady(look.at, steady, &seen),
            Phase::Probe { from, rate } => self.judge_probe(look.at, from, rate, &seen),
            Phase::BackOff { too_many, until, next } => {
                self.back_off(look.at, (too_many, until, next), &seen)
            }
        }
    }

    /// Storage asks for less: halves the limit.
    pub fn on_slow_down(&mut self, at: Instant) -> Option<String> {
        let before = self.limit;
        let news = self.cut(at, before / 2, "storage asks for less");
        if news.is_some() {
            let earlier = if let Phase::BackOff { too_many, .. } = self.phase { too_many } else { 0 };
            let (until, next) = (at + TOO_MUCH_KEPT, at + BACK_EVERY);
            self.phase = Phase::BackOff { too_many: before.max(earlier), until, next };
        }
        news
    }

    /// A part stalled until its retry budget was used up: reduces the limit by a quarter.
    pub fn on_stall(&mut self, at: Instant) -> Option<String> {
        let fewer = (self.limit * 3 / 4).max(STANDING_LEAST.min(self.limit));
        let news = self.cut(at, fewer, "a connection stalled");
        if news.is_some() && !matches!(self.phase, Phase::BackOff { .. }) {
            self.settle(at, 0.0);
        }
        news
    }

    /// All parts in flight only wait for their responses, while others wait for permits: doubles the limit.
    pub fn on_unused_path(&mut self) {
        if !matches!(self.phase, Phase::BackOff { .. }) {
            self.set((self.limit * 2).min(self.max_limit));
        }
    }

    /// A part in flight gets next to nothing of a full path: ends a probe of more, or else reduces the limit by one. At
    /// least [`INITIAL_LIMIT`] are left.
    pub fn on_straggler(&mut self, at: Instant) {
        match self.phase {
            Phase::Probe { from, rate } if self.limit > from => {
                self.set(from);
                self.settle(at, rate);
            }
            Phase::BackOff { .. } => {}
            _ if self.limit > INITIAL_LIMIT => {
                self.set(self.limit - 1);
                self.settle(at, 0.0);
            }
            _ => {}
        }
    }

    fn cut(&mut self, at: Instant, limit: usize, why: &str) -> Option<String> {
        let too_soon = self.last_cut.is_some_and(|cut| at.duration_since(cut) < CUT_EVERY);
        if too_soon || limit == self.limit || limit == 0 {
            return None;
        }
        self.last_cut = Some(at);
        self.set(limit);
        Some(self.news(why))
    }

    fn set(&mut self, limit: usize) {
        (self.limit, self.window) = (limit, None);
    }

    fn news(&self, why: &str) -> String {
        let s = if self.limit == 1 { "" } else { "s" };
        format!("{} part{s} in flight: {why}", self.limit)
    }

    /// Stays with the present limit, of which this is the rate.
    fn settle(&mut self, at: Instant, rate: f64) {
        let next_probe = at + self.pause;
        self.phase = Phase::Steady(Steady { rate, usual: rate, next_probe, fewer_next: false });
    }

    /// Doubles, looks again, or ends slow start.
    fn slow_start(
        &mut self,
        at: Instant,
        before: Option<(usize, f64)>,
        last: Option<f64>,
        seen: &WindowStats,
    ) -> Option<String> {
        if seen.queue_standing {
            self.settle(at, seen.rate);
            self.try_fewer(at, seen.rate);
            return None;
        }
        let free =
            seen.receiver_limited || self.limit < DEFAULT_LIMIT && !seen.no_rtt && !seen.queue_noticeable;
        // Without round-trip times, nothing but a comparison proves that the path is not full yet.
        let proven = before.map_or(!seen.no_rtt, |(from, rate)| self.pays(from, rate, seen));
        // TCP has not filled the path yet. More connections help it, but beyond the default they might be too many.
        let grows = last.is_none_or(|last| seen.rate > last * (1.0 + GROWING))
            // Without round-trip times, bytes that only fill buffers on the way look like bytes that arrive.
            || seen.no_rtt && last.is_some_and(|last| seen.rate < last * (1.0 - GROWING));
        let sure = !grows || !seen.no_rtt && self.limit < DEFAULT_LIMIT;
        if free || proven && sure && !seen.queue_noticeable {
            let limit = (self.limit * 2).min(self.max_limit);
            if limit > self.limit {
                self.phase = Phase::SlowStart { before: Some((self.limit, seen.rate)), last: None };
                self.set(limit);
                return None;
            }
        } else if grows {
            self.phase = Phase::SlowStart { before, last: Some(seen.rate) };
            return None;
        }
        self.settle(at, seen.rate);
        if before.is_none() && seen.no_rtt {
            self.try_more(at, seen.rate);
        }
        // Neither a queue nor losses: something else limits the rate, the disk or storage.
        if let Some((fewer, _)) = before
            && !proven
            && !seen.queue_noticeable
            && !seen.lossy
        {
            self.probe(fewer, seen.rate);
        }
        None
    }

    /// Tries more, tries fewer, or stays.
    fn steady(&mut self, at: Instant, mut steady: Steady, seen: &WindowStats) -> Option<String> {
        let jumps = |rate: f64| (seen.rate / rate - 1.0).abs() > CHANGED * 2.0;
        let rate = if steady.rate == 0.0 || jumps(steady.rate) {
            seen.rate
        } else {
            (steady.rate + seen.rate) / 2.0
        };
        if steady.usual == 0.0 {
            steady.usual = rate;
        }
        steady.rate = rate;
        self.phase = Phase::Steady(steady);
        let change = rate / steady.usual - 1.0;
        if change.abs() > CHANGED {
            // The path is not the one on which probes failed.
            (self.pause, self.next_fewer) = (PAUSE_LEAST, None);
            self.settle(at, rate);
            steady.next_probe = at;
        }
        if seen.no_rtt && seen.rate < steady.usual * FALLEN && self.pause == PAUSE_LEAST {
            // Perhaps the connections have lost packets. Then others fill what they leave.
            self.settle(at, rate);
            self.try_more(at, rate);
        } else if seen.queue_standing {
            self.try_fewer(at, rate);
        } else if at >= steady.next_probe && !seen.queue_noticeable
            || at >= steady.next_probe + PAUSE_QUEUED
            // Packets are lost without a queue: there is room for more, unless the last probe failed.
            || seen.lossy && !seen.queue_noticeable && self.pause == PAUSE_LEAST
        {
            let fewer = steady.fewer_next && seen.no_rtt;
            if fewer && self.try_fewer(at, rate) {
                return None;
            }
            self.settle(at, rate);
            self.try_more(at, rate);
        }
        None
    }

    /// Keeps the number that was tried, or goes back.
    fn judge_probe(&mut self, at: Instant, from: usize, rate: f64, seen: &WindowStats) -> Option<String> {
        let more = self.limit > from;
        let fall = (seen.rate / rate - 1.0) / (self.limit as f64 / from as f64 - 1.0);
        let fair = seen.queue_standing && fall <= FAIR;
        let keep = if more {
            self.pays(from, rate, seen) && !seen.queue_standing
        } else {
            seen.rate >= rate * (1.0 - AS_GOOD) || fair
        };
        if !keep {
            self.pause = (self.pause * 2).min(PAUSE_MOST);
            if !more {
                self.next_fewer = Some(at + self.pause);
            }
            self.set(from);
            self.settle(at, rate);
            if let Phase::Steady(steady) = &mut self.phase {
                steady.fewer_next = more;
            }
            return None;
        }
        self.settle(at, seen.rate);
        if more {
            self.pause = PAUSE_LEAST;
            let news = self.news("more connections increase the rate");
            if !seen.queue_noticeable {
                self.try_more(at, seen.rate);
            }
            return Some(news);
        }
        let why = if seen.no_rtt { "as fast as with more" } else { "more connections only add delay" };
        let news = self.news(why);
        if seen.queue_standing {
            self.try_fewer(at, seen.rate);
        }
        Some(news)
    }

    /// After a SlowDown: a few more from time to time, up to just below the number that was too many.
    fn back_off(
        &mut self,
        at: Instant,
        (too_many, until, next): (usize, Instant, Instant),
        seen: &WindowStats,
    ) -> Option<String> {
        if at >= until {
            self.settle(at, seen.rate);
            return None;
        }
        let most = (too_many - 1).max(1);
        if self.limit >= most || at < next || seen.queue_standing {
            return None;
        }
        self.phase = Phase::BackOff { too_many, until, next: at + BACK_EVERY };
        self.set(most.min(self.limit + (too_many / 8).max(1)));
        (self.limit == most).then(|| self.news("storage accepts them again"))
    }

    /// Whether this rate justifies the present limit, if `from` had the other.
    fn pays(&self, from: usize, rate: f64, seen: &WindowStats) -> bool {
        let gain = (seen.rate / rate - 1.0) / (self.limit as f64 / from as f64 - 1.0);
        gain >= if seen.lossy || self.lossy.is_some() { WORTH_LOSSY } else { WORTH }
    }

    fn try_more(&mut self, at: Instant, rate: f64) {
        if self.lossy.is_some_and(|lossy| at.duration_since(lossy) >= LOSSY_KEPT) {
            self.lossy = None;
        }
        let limit = (self.limit * 3 / 2).max(self.limit + 1).min(self.max_limit);
        if limit > self.limit {
            self.probe(limit, rate);
        }
    }

    fn probe(&mut self, limit: usize, rate: f64) {
        self.phase = Phase::Probe { from: self.limit, rate };
        self.set(limit);
    }

    /// Half of few, or a quarter of many: there are many because the path needed them.
    fn try_fewer(&mut self, at: Instant, rate: f64) -> bool {
        let limit = if self.limit > DEFAULT_LIMIT { self.limit * 3 / 4 } else { self.limit / 2 };
        let least = match rate {
            ..THIN => 1,
            THIN..THICK => 2,
            _ => 4,
        };
        let may = limit >= least && limit < self.limit && self.next_fewer.is_none_or(|next| at >= next);
        if may {
            self.probe(limit, rate);
        }
        may
    }
}

#[cfg(test)]
#[path = "controller_tests.rs"]
mod tests;
