//! How many parts should be in flight: a judgement on what the network did with the last number, and no more.
//!
//! It starts with one and goes to a usual few where that makes no queue. Then it doubles while the line takes
//! more with more connections, stays where they bring no more, and tries a few more from time to time, because
//! lines change. Where the system tells of round trips, a line whose queue stands is full: then more connections
//! only add delay, for everyone on it, and fewer are tried until one is left or the rate suffers. And packets
//! that get lost without a queue say that the way loses them: there connections are what fills the line.
//!
//! Pure: it is told the time and what was taken, and answers with a number. So what it promises is tested on
//! simulated lines (`controller_tests.rs`) and not hoped for.

use std::time::{Duration, Instant};

use super::window::{MinRtt, Sample, Window, WindowStats};

/// Where it begins: parts in flight are not cut, and on a line of 256 KiB/s one takes 20 s.
pub const INITIAL_LIMIT: usize = 1;
/// So many need no proof of gain, only a line without a queue: the lanes that MD5 is reckoned in (AVX2), and
/// what small files want, whose time goes by in answers.
pub const DEFAULT_LIMIT: usize = 8;
/// The most. On 100 Mbit/s with 80 ms and 0.1 % loss, 24 connections of CUBIC measured 81 % of the line and 32
/// measured 86 %; beyond, each adds less than it costs others.
pub const MAX_LIMIT: usize = 32;

/// What is settled is looked at in longer windows.
const SETTLED: u32 = 2;

/// More connections are worth it when they bring this share of what they would bring on a line without end.
const WORTH: f64 = 0.25;
/// On a way that loses packets this is enough: there connections are all that fills the line.
const WORTH_LOSSY: f64 = 0.1;
/// Fewer are as good when they cost no more than this share of theirs.
const AS_GOOD: f64 = 0.15;
/// With a standing queue fewer are better up to this share: above it, it is not our queue that is long.
const AS_GOOD_QUEUED: f64 = 0.85;
/// A way that was seen to lose packets without a queue is believed to do so for this long.
const LOSSY_KEPT: Duration = Duration::from_secs(60);
/// The line has changed when the rate is off what it was by more than this share.
const CHANGED: f64 = 0.25;
/// A climb that meets a full line waits for so many windows for slow start's burst to end.
const FULL_LOOKED_AT: u32 = 4;
/// The best rate counts less with each window, so that it is of this line and not of last hour's.
const FADE: f64 = 0.98;

/// The first pause before more (or fewer) are tried again, doubled with each time in vain …
const PAUSE_LEAST: Duration = Duration::from_secs(4);
/// … up to this.
const PAUSE_MOST: Duration = Duration::from_secs(60);
/// The parts in flight all hear the same SlowDown, and what they did about it takes a moment to be felt.
const CUT_EVERY: Duration = Duration::from_secs(2);
/// Parts that stand still leave so many. When the network is gone all of them stand, and of few, all may be in a
/// long backoff in the moment that it is back.
const STANDING_LEAST: usize = 4;
/// Then one more is tried this often …
const BACK_EVERY: Duration = Duration::from_secs(4);
/// … up to one below the number that was too much, for as long as this is remembered.
const TOO_MUCH_KEPT: Duration = Duration::from_secs(60);

/// See the module.
pub struct Controller {
    limit: usize,
    /// What the system has room for.
    max_limit: usize,
    climbing: bool,
    /// Windows of the climb in which the line was full already.
    full: u32,
    trial: Option<Probe>,
    window: Option<Window>,
    /// What the number gives, smoothed.
    rate: f64,
    /// What it gave when it was settled on.
    usual: f64,
    best: f64,
    /// Before the next trial of more.
    pause: Duration,
    next_try: Option<Instant>,
    /// Where there is a queue, or nobody tells of queues, fewer are tried in turn with more.
    fewer_next: bool,
    /// Not before this, because it cost too much the last time.
    next_fewer: Option<Instant>,
    least: MinRtt,
    cut: Option<Instant>,
    /// A number that storage did not like, and when it last said so.
    too_much: Option<(usize, Instant)>,
    changed: Option<Instant>,
    /// When the way was last seen to lose packets.
    lossy: Option<Instant>,
}

/// A number that is being tried, and what the one before it gave.
struct Probe {
    from: usize,
    rate: f64,
    /// Because of a queue.
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
    /// One that never wants more than `most`, nor than [`MAX_LIMIT`].
    pub fn new(most: usize) -> Self {
        Self { max_limit: most.clamp(1, MAX_LIMIT), ..Self::default() }
    }

    /// See [`Controller::new`].
    pub fn max_limit(&self) -> usize {
        self.max_limit
    }

    /// How many parts should be in flight now.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Nothing is in flight any more: what comes next is measured anew, from the number that has proven itself.
    pub fn on_idle(&mut self) {
        self.window = None;
        if let Some(trial) = self.trial.take() {
            self.limit = trial.from;
        }
    }

    /// One look, and perhaps another number. Says why, where that is news; trying and going back is none.
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

    /// Storage asks for less: half the number.
    pub fn on_slow_down(&mut self, at: Instant) -> Option<String> {
        let before = self.limit;
        let news = self.cut(at, before / 2, "storage asks for less");
        if news.is_some() {
            let before = self.too_much.map_or(before, |(more, _)| more.max(before));
            self.too_much = Some((before, at));
        }
        news
    }

    /// A part stood still to the end of patience: a quarter less.
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

    /// This number for now, which gives so much.
    fn settle(&mut self, at: Instant, rate: f64) {
        (self.climbing, self.trial, self.rate, self.usual) = (false, None, rate, rate);
        self.next_try = Some(at + self.pause);
    }

    /// To the usual number it goes without a judgement, where there is demand and no queue that is felt.
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
            // Slow start has filled the line. That says nothing of what comes after it.
            self.rate = seen.rate;
            self.best = self.best.max(seen.rate);
            return None;
        }
        if !good {
            // What more did not bring back is not to be had any more.
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

    /// With the number as it is and proven: more, fewer, or go on?
    fn stay_or_try(&mut self, at: Instant, seen: &WindowStats) -> Option<String> {
        self.rate = if self.rate > 0.0 { (self.rate + seen.rate) / 2.0 } else { seen.rate };
        self.best = self.rate.max(self.best * FADE);
        let less = self.rate < self.best * (1.0 - CHANGED);
        let more = self.rate > self.usual * (1.0 + CHANGED);
        if less || more {
            // Another line than the one on which trials were in vain.
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
        // On a way that loses packets, a queue that does not stand is what feeds it between two losses, and at the
        // end of a file the slowest of many connections has less to do than the slowest of few.
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
        // Packets get lost and there is no queue: the line has room for more, if the last more was not in vain.
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

    /// After a SlowDown: one more (of many, a few) from time to time, up to just below what was too much.
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

    /// Half of few, a quarter of many: those are many because the line needed them.
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
