//! Adapts the number of parts in flight to what the network does with it.
//!
//! It starts with one part and goes to a default of a few if that builds no queue. From there it doubles as long as the
//! rate grows with it (slow start), then stays (steady), and tries a few more from time to time (probe), because
//! networks change. Where the system reports round-trip times, a standing queue means that the path is full: more
//! connections would only add delay for everyone on it, so fewer are tried until the rate suffers or one is left.
//! Packets lost without a queue mean that the path itself loses them; then more connections are what fills it.
//!
//! It does no I/O: it is given the time and the counts, and returns a number. Its promises are tested on simulated
//! paths (`controller_tests.rs`).

use std::time::{Duration, Instant};

use super::window::{MinRtt, Sample, Window, WindowStats};

/// Parts in flight at the start. They are not cut off later, and one part takes 20 s at 256 KiB/s.
pub const INITIAL_LIMIT: usize = 1;
/// This many need no proof of a gain, only a path without a queue. It is the number of MD5 lanes (AVX2), and small
/// files, which spend their time waiting for responses, need as many.
pub const DEFAULT_LIMIT: usize = 8;
/// The maximum. At 100 Mbit/s with 80 ms and 0.1 % loss, 24 CUBIC connections measured 81 % of the path and 32 measured
/// 86 %. Beyond that, each adds less than it costs others.
pub const MAX_LIMIT: usize = 32;

/// Windows are this much longer in the steady state.
const SETTLED: u32 = 2;

/// More connections pay if they bring this fraction of what they would on an unlimited path.
const WORTH: f64 = 0.25;
/// The same on a lossy path, where only connections fill it.
const WORTH_LOSSY: f64 = 0.1;
/// Fewer connections are as good if they cost at most this fraction of the rate.
const AS_GOOD: f64 = 0.15;
/// The same with a standing queue. If they cost more, the queue is not ours.
const AS_GOOD_QUEUED: f64 = 0.85;
/// How long a path that lost packets without a queue counts as lossy.
const LOSSY_KEPT: Duration = Duration::from_secs(60);
/// The path has changed if the rate differs by more than this fraction.
const CHANGED: f64 = 0.25;
/// In slow start, a full path is measured for this many windows, until the initial burst is over.
const FULL_LOOKED_AT: u32 = 4;
/// The best rate decays by this factor with each window, so that it describes the present path.
const FADE: f64 = 0.98;

/// The pause before the next probe. Doubles with each probe in vain …
const PAUSE_LEAST: Duration = Duration::from_secs(4);
/// … up to this.
const PAUSE_MOST: Duration = Duration::from_secs(60);
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
    climbing: bool,
    /// Windows in slow start in which the path was full already.
    full: u32,
    trial: Option<Probe>,
    window: Option<Window>,
    /// The smoothed rate at the present limit.
    rate: f64,
    /// The rate when the limit was settled.
    usual: f64,
    best: f64,
    /// The pause before the next probe.
    pause: Duration,
    next_try: Option<Instant>,
    /// With a queue, or without round-trip times, probes alternate between more and fewer.
    fewer_next: bool,
    /// Fewer are not tried before this, because they cost too much the last time.
    next_fewer: Option<Instant>,
    least: MinRtt,
    cut: Option<Instant>,
    /// A number that was too many for storage, and when it last said so.
    too_much: Option<(usize, Instant)>,
    changed: Option<Instant>,
    /// When the path last lost packets.
    lossy: Option<Instant>,
}

/// A probe: the number tried, and the rate before.
struct Probe {
    from: usize,
    rate: f64,
    /// Started because of a queue.
    queued: bool,
}

impl Default for Controller {
    fn default() -> Self {
        Self {
            limit: INITIAL_LIMIT,
            max_limit: MAX_LIMIT,
            climbing: true,
            full: 0,
            trial: None,
            window: None,
            rate: 0.0,
            usual: 0.0,
            best: 0.0,
            pause: PAUSE_LEAST,
            next_try: None,
            fewer_next: false,
            next_fewer: None,
            least: MinRtt::default(),
            cut: None,
            too_much: None,
            changed: None,
            lossy: None,
        }
    }
}

impl Controller {
    /// Never exceeds `most` or [`MAX_LIMIT`].
    pub fn new(most: usize) -> Self {
        Self { max_limit: most.clamp(1, MAX_LIMIT), ..Self::default() }
    }

    /// The maximum of this controller.
    pub fn max_limit(&self) -> usize {
        self.max_limit
    }

    /// The number of parts that should be in flight.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Nothing is in flight any more. What follows is measured anew, from the last proven number.
    pub fn on_idle(&mut self) {
        self.window = None;
        if let Some(trial) = self.trial.take() {
            self.limit = trial.from;
        }
    }

    /// Takes a sample, and may change the limit. Returns a message if that is news; starting and reverting a probe is
    /// not.
    pub fn on_sample(&mut self, look: &Sample) -> Option<String> {
        if let Some(measured) = look.tcp {
            self.least.add(look.at, measured.min_rtt);
        }
        let least = self.least.get();
        self.window.get_or_insert_with(|| Window::new(look)).add(look, least);
        if self.climbing && self.limit < DEFAULT_LIMIT.min(self.max_limit) {
            return self.first_step(look.at);
        }
        let settled = if self.climbing { 1 } else { SETTLED };
        let seen = self.window.as_ref()?.stats(look, least, settled)?;
        self.window = None;
        if seen.lossy {
            self.lossy = Some(look.at);
        }
        if !seen.conclusive {
            return None;
        }
        match self.trial.take() {
            Some(trial) => self.evaluate_probe(look.at, &trial, &seen),
            None => self.stay_or_try(look.at, &seen),
        }
    }

    /// Storage asks for less: halves the limit.
    pub fn on_slow_down(&mut self, at: Instant) -> Option<String> {
        let before = self.limit;
        let news = self.cut(at, before / 2, "storage asks for less");
        if news.is_some() {
            let before = self.too_much.map_or(before, |(more, _)| more.max(before));
            self.too_much = Some((before, at));
        }
        news
    }

    /// A part stalled until its retry budget was used up: reduces the limit by a quarter.
    pub fn on_stall(&mut self, at: Instant) -> Option<String> {
        let fewer = (self.limit * 3 / 4).max(STANDING_LEAST.min(self.limit));
        self.cut(at, fewer, "a connection stalled")
    }

    fn cut(&mut self, at: Instant, places: usize, why: &str) -> Option<String> {
        let too_soon = self.cut.is_some_and(|cut| at.duration_since(cut) < CUT_EVERY);
        if too_soon || places == self.limit || places == 0 {
            return None;
        }
        self.cut = Some(at);
        self.settle(at, self.rate);
        self.set(at, places);
        Some(self.news(why))
    }

    fn set(&mut self, at: Instant, places: usize) {
        (self.limit, self.window, self.changed) = (places, None, Some(at));
    }

    fn news(&self, why: &str) -> String {
        let s = if self.limit == 1 { "" } else { "s" };
        format!("{} part{s} in flight: {why}", self.limit)
    }

    /// Settles on the present limit with this rate.
    fn settle(&mut self, at: Instant, rate: f64) {
        (self.climbing, self.trial, self.rate, self.usual) = (false, None, rate, rate);
        self.next_try = Some(at + self.pause);
    }

    /// The first step goes to the default without a measurement, if parts wait and there is no noticeable queue.
    fn first_step(&mut self, at: Instant) -> Option<String> {
        let (short, felt) = self.window.as_ref()?.first(self.least.get())?;
        if felt {
            self.climbing = false;
        } else if short {
            self.set(at, DEFAULT_LIMIT.min(self.max_limit));
        }
        None
    }

    fn evaluate_probe(&mut self, at: Instant, trial: &Probe, seen: &WindowStats) -> Option<String> {
        let share = (seen.rate / trial.rate - 1.0) / (self.limit as f64 / trial.from as f64 - 1.0);
        let (up, climbing) = (self.limit > trial.from, self.climbing);
        let good = match up {
            true => share >= if seen.lossy { WORTH_LOSSY } else { WORTH } && !seen.queue_standing,
            false if trial.queued => share <= AS_GOOD_QUEUED,
            false => share <= AS_GOOD,
        };
        if !good && climbing && up && (seen.queue || seen.lossy) && !seen.queue_standing {
            // Slow start has filled the path. That says nothing about the steady rate.
            self.rate = seen.rate;
            self.best = self.best.max(seen.rate);
            return None;
        }
        if !good {
            // A rate that more connections did not reach is no longer available.
            self.best = trial.rate;
            self.settle(at, trial.rate);
            self.pause = (self.pause * 2).min(PAUSE_MOST);
            if !up {
                self.next_fewer = Some(at + self.pause);
            }
            self.set(at, trial.from);
            return climbing.then(|| self.news("more connections do not increase the rate"));
        }
        if up {
            self.pause = PAUSE_LEAST;
            self.best = self.best.max(seen.rate);
            let news = self.news("more connections increase the rate");
            self.rate = seen.rate;
            self.more(at, if climbing { 2.0 } else { 1.5 }, seen.rate);
            return Some(news);
        }
        self.best = seen.rate;
        self.settle(at, seen.rate);
        let why = if trial.queued {
            "more connections only add delay"
        } else {
            "more connections do not increase the rate"
        };
        let news = self.news(why);
        if seen.queue_standing {
            self.fewer(at, seen.rate, true);
        }
        Some(news)
    }

    /// Steady: try more, try fewer, or stay?
    fn stay_or_try(&mut self, at: Instant, seen: &WindowStats) -> Option<String> {
        self.rate = if self.rate > 0.0 { (self.rate + seen.rate) / 2.0 } else { seen.rate };
        self.best = self.rate.max(self.best * FADE);
        let less = self.rate < self.best * (1.0 - CHANGED);
        let more = self.rate > self.usual * (1.0 + CHANGED);
        if less || more {
            // The path is not the one on which probes failed.
            self.pause = PAUSE_LEAST;
            self.next_fewer = None;
        }
        if seen.queue_standing {
            self.settle(at, self.rate);
            self.fewer(at, seen.rate, true);
            return None;
        }
        if let Some((places, since)) = self.too_much {
            if at.duration_since(since) < TOO_MUCH_KEPT {
                return self.back(at, places);
            }
            self.too_much = None;
        }
        // On a lossy path, a queue that does not stand feeds it between two losses. And at the end of a file, the
        // slowest of many connections has less left than the slowest of few.
        let lossy = self.lossy.is_some_and(|lossy| at.duration_since(lossy) < LOSSY_KEPT);
        if self.climbing {
            self.full += u32::from(seen.queue_noticeable && !lossy);
            if self.full > FULL_LOOKED_AT {
                self.settle(at, seen.rate);
            } else if !seen.queue_noticeable {
                self.more(at, 2.0, seen.rate);
            }
            return None;
        }
        // Packets are lost without a queue: there is room for more, unless the last probe failed.
        let idle = seen.lossy && !seen.queue && self.pause == PAUSE_LEAST;
        if !less && !more && !idle && self.next_try.is_some_and(|next| at < next) {
            return None;
        }
        if lossy && (seen.queue_noticeable || self.limit == self.max_limit) {
            self.settle(at, self.rate);
            return None;
        }
        let fewer = (seen.queue || seen.no_rtt && self.limit <= DEFAULT_LIMIT) && self.fewer_next;
        if seen.queue_noticeable || fewer && !less {
            self.fewer_next = false;
            self.fewer(at, seen.rate, false);
        } else {
            self.fewer_next = true;
            self.more(at, 1.5, seen.rate);
        }
        None
    }

    /// After a SlowDown: a few more from time to time, up to just below the number that was too many.
    fn back(&mut self, at: Instant, too_much: usize) -> Option<String> {
        let most = (too_much - 1).max(1);
        if self.limit >= most || self.changed.is_some_and(|changed| at.duration_since(changed) < BACK_EVERY) {
            return None;
        }
        self.set(at, most.min(self.limit + (too_much / 8).max(1)));
        (self.limit == most).then(|| self.news("storage accepts them again"))
    }

    fn more(&mut self, at: Instant, times: f64, rate: f64) {
        let places = ((self.limit as f64 * times) as usize).max(self.limit + 1).min(self.max_limit);
        if places > self.limit {
            self.start_probe(at, places, rate, false);
        } else {
            self.settle(at, rate);
        }
    }

    /// Half of few, or a quarter of many: there are many because the path needed them.
    fn fewer(&mut self, at: Instant, rate: f64, queued: bool) {
        let places = if self.limit > DEFAULT_LIMIT { self.limit * 3 / 4 } else { self.limit / 2 };
        if places > 0 && self.next_fewer.is_none_or(|next| at >= next) {
            self.start_probe(at, places, rate, queued);
        }
    }

    fn start_probe(&mut self, at: Instant, places: usize, rate: f64, queued: bool) {
        self.trial = Some(Probe { from: self.limit, rate, queued });
        self.set(at, places);
    }
}

#[cfg(test)]
#[path = "controller_tests.rs"]
mod tests;
