//! Decides how many parts may send at a time: the limit.
//!
//! A state machine:
//!
//! - *Slow start* begins with a small limit and doubles it as long as the rate grows too.
//! - *Steady* keeps the limit. It starts a probe from time to time, because networks change.
//! - *Probe* tries another limit, compares the rates, and keeps the better one.
//! - *Back off* follows a SlowDown response from storage. It halves the limit, then raises it slowly to just below the
//!   one that was too high.
//!
//! The controller measures the rate of each limit in one [`Window`]. If the system reports round-trip times, a queue
//! means that the path is full. More connections would only delay everyone on it, so the controller lowers the limit
//! until the rate drops, or two connections are left, or one on a slow path. Packet loss without a queue means that the
//! path is lossy, and that more connections increase the rate. Without round-trip times, the rate counts, and each increase
//! has to improve it. It is taken back at once if the new connections meet a queue.
//!
//! Probing a lower limit is cheap: parts in flight above it are held, and resume within a round trip.
//!
//! The controller does no I/O. It takes times and counts, and returns a limit. `controller_tests.rs` tests it on
//! simulated networks.

use std::time::{Duration, Instant};

use super::window::{Length, MinRtt, Sample, Window, WindowStats, is_noticeable};

/// The limit at the start. A single part would waste seconds on a long path. On a slow path, all but one are soon held.
pub const INITIAL_LIMIT: usize = 4;
/// Slow start reaches this limit without a measured gain if the path is known to have no queue. It is the number of MD5
/// lanes with AVX2.
pub const DEFAULT_LIMIT: usize = 8;
/// The highest limit. On a path of 100 Mbit/s with 80 ms and 0.1 % loss, 24 CUBIC connections used 81 % and 32 used
/// 86 %. More connections gain less than they cost others on the path.
pub const MAX_LIMIT: usize = 32;
/// In bytes per second. Below this rate, one connection is enough. From here on, the limit stays at 2 or more: a
/// connection that was idle starts slowly again (RFC 5681, 4.1), which costs much if it happens every second.
const THIN_RATE: f64 = 1e6;
/// From this rate on, the limit falls by a quarter at a time instead of half, and less often: after a packet loss, a few
/// connections need seconds to recover their windows.
const THICK_RATE: f64 = 4e6;

/// A higher limit is worthwhile if the rate grows by at least this fraction of the growth of the limit.
const MIN_GAIN: f64 = 0.25;
/// The same on a lossy path, which only more connections can fill, and on a short one without round-trip times: if
/// connections are limited by themselves, buffers make the rate of fewer seem too high.
const LOW_MIN_GAIN: f64 = 0.1;
/// Without round-trip times: a larger gain in slow start is not due to the limit. TCP itself is still in slow start.
const MAX_GAIN: f64 = 1.25;
/// Without round-trip times: on a shorter path, TCP's slow start is over within one window.
const SHORT_RTT: Duration = Duration::from_millis(10);
/// A lower limit is as good if the rate drops by at most this fraction.
const MAX_RATE_LOSS: f64 = 0.05;
/// If there is a queue even at the lower limit, others fill the path, and it is fair to keep the lower limit. But if the
/// rate drops by more than this fraction of the drop of the limit, the queue is not on this path's bottleneck.
const MAX_FAIR_FALL: f64 = 0.85;
/// How long a path counts as lossy after a loss without a queue.
const LOSSY_TIME: Duration = Duration::from_secs(60);
/// The path has changed if the rate differs by more than this fraction.
const CHANGE: f64 = 0.25;
/// Without round-trip times, more connections may help if the rate drops below this fraction.
const FALLEN_TO: f64 = 0.85;
/// In slow start without round-trip times, TCP itself is still in slow start if the rate grows by more than this
/// fraction from window to window.
const GROWTH: f64 = 0.2;

/// Time before the next probe. Doubles after each failed probe, up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_secs(4);
/// See [`MIN_PAUSE`].
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// Added to the pause while there is a queue. A queue suggests a full path but does not prove it, because round-trip
/// times also vary on radio links.
const QUEUE_PAUSE: Duration = Duration::from_secs(20);
/// Time between two reductions. All parts in flight get the same SlowDown, and a reduction takes a moment to show.
const CUT_INTERVAL: Duration = Duration::from_secs(2);
/// Stalls never reduce the limit below this. If the network is down, all parts stall. With fewer of them, all might be
/// in a long backoff when it is up again.
const MIN_AFTER_STALL: usize = 4;
/// How often the limit is raised after a SlowDown.
const REGROW_INTERVAL: Duration = Duration::from_secs(4);
/// How long the limit stays below the one that was too high.
const REGROW_TIME: Duration = Duration::from_secs(60);

/// Computes the limit from samples and failures.
pub struct Controller {
    limit: usize,
    /// Imposed by the system.
    max_limit: usize,
    phase: Phase,
    window: Option<Window>,
    /// The limit is lower than in the previous window.
    lowered: bool,
    /// A connection was established at this limit, see [`Controller::on_connect`].
    connected: bool,
    min_rtt: MinRtt,
    /// The only known round-trip times are those in which connections were established.
    has_connect_times: bool,
    /// Time before the next probe.
    pause: Duration,
    /// No probe of a lower limit before this time, because the last one cost too much.
    next_fewer: Option<Instant>,
    /// When the path last lost packets without a queue.
    lossy: Option<Instant>,
    last_cut: Option<Instant>,
    /// In the last sample there was a noticeable queue.
    queue_noticeable: bool,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// `before`: the previous limit and its rate. `last`: the rate in the previous window at the present limit.
    SlowStart {
        before: Option<(usize, f64)>,
        last: Option<f64>,
    },
    Steady(Steady),
    /// The previous limit and its rate, and the limit to try. Without round-trip times, a single new connection comes first.
    Probe {
        from: usize,
        rate: f64,
        to: usize,
    },
    /// At the limit `too_many`, storage asked for less.
    BackOff {
        too_many: usize,
        until: Instant,
        next: Instant,
    },
}

#[derive(Debug, Clone, Copy)]
struct Steady {
    /// Smoothed; 0 if not measured yet.
    rate: f64,
    /// The rate at the start of this phase.
    initial: f64,
    next_probe: Instant,
    /// Without round-trip times, probes alternate between higher and lower limits.
    fewer_next: bool,
}

impl Default for Controller {
    fn default() -> Self {
        Self::new(MAX_LIMIT)
    }
}

impl Controller {
    /// The limit never exceeds `max_limit` or [`MAX_LIMIT`].
    pub fn new(max_limit: usize) -> Self {
        let max_limit = max_limit.clamp(1, MAX_LIMIT);
        Self {
            limit: INITIAL_LIMIT.min(max_limit),
            max_limit,
            phase: Phase::SlowStart { before: None, last: None },
            window: None,
            lowered: false,
            connected: false,
            min_rtt: MinRtt::default(),
            has_connect_times: false,
            pause: MIN_PAUSE,
            next_fewer: None,
            lossy: None,
            last_cut: None,
            queue_noticeable: false,
        }
    }

    /// The highest limit of this controller.
    pub fn max_limit(&self) -> usize {
        self.max_limit
    }

    /// The number of parts that may send now.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Nothing is in flight any more: measures anew, from the limit before an unfinished probe.
    pub fn on_idle(&mut self, at: Instant) {
        (self.window, self.lowered) = (None, false);
        if let Phase::Probe { from, rate, .. } = self.phase {
            self.limit = from;
            self.enter_steady(at, rate);
        }
    }

    /// Takes a sample, and may change the limit. Returns a message about a change, but none when it starts or reverts a
    /// probe.
    pub fn on_sample(&mut self, sample: &Sample) -> Option<String> {
        if let Some(tcp) = sample.tcp {
            self.min_rtt.add(sample.at, tcp.min_rtt);
        } else if let Some(time) = sample.connect_time {
            self.on_connect(sample.at, time);
        }
        let min_rtt = self.min_rtt.get();
        self.queue_noticeable =
            sample.tcp.is_some_and(|tcp| is_noticeable(tcp.smoothed_rtt.saturating_sub(min_rtt), min_rtt));
        if let Phase::SlowStart { before: None, last: None } = self.phase
            && self.limit == INITIAL_LIMIT
            && self.max_limit > INITIAL_LIMIT
            && sample.starved
            && !self.queue_noticeable
        {
            // Connections that start later would find a queue, and lose packets in slow start.
            self.set(DEFAULT_LIMIT.min(self.max_limit));
        }
        self.window.get_or_insert_with(|| Window::new(sample, self.lowered)).add(sample, min_rtt);
        let length = match self.phase {
            Phase::SlowStart { .. } => Length::Short,
            Phase::Probe { .. } => Length::Usual,
            Phase::Steady(_) | Phase::BackOff { .. } => Length::Long,
        };
        let stats = self.window.as_ref()?.stats(sample, min_rtt, length)?;
        (self.window, self.lowered) = (None, false);
        if stats.lossy {
            self.lossy = Some(sample.at);
        }
        if !stats.conclusive {
            if stats.queue_noticeable && stats.rate < THIN_RATE && (2..=self.limit).contains(&sample.moving) {
                // No more parts are left than these, and they are too many.
                self.set(sample.moving);
                self.enter_steady(sample.at, stats.rate);
                self.try_fewer(sample.at, stats.rate);
            }
            return None;
        }
        match self.phase {
            Phase::SlowStart { before, last } => self.slow_start(sample.at, before, last, &stats),
            Phase::Steady(steady) => self.steady(sample.at, steady, &stats),
            Phase::Probe { to, .. } if self.limit < to => {
                self.set(to);
                None
            }
            Phase::Probe { from, rate, .. } => self.end_probe(sample.at, from, rate, &stats),
            Phase::BackOff { too_many, until, next } => {
                self.regrow(sample.at, (too_many, until, next), &stats)
            }
        }
    }

    /// A connection was established in this time, and TCP's round-trip times are not known. If there is a queue, connections
    /// for a higher limit have to wait in it. Then takes the limit back. Only the first of them counts: of many, one has
    /// probably lost a packet.
    fn on_connect(&mut self, at: Instant, time: Duration) {
        self.has_connect_times = true;
        self.min_rtt.add(at, time);
        let min_rtt = self.min_rtt.get();
        if !std::mem::replace(&mut self.connected, true)
            && let Phase::Probe { from, rate, .. } | Phase::SlowStart { before: Some((from, rate)), .. } =
                self.phase
            && self.limit > from
        {
            if is_noticeable(time.saturating_sub(min_rtt), min_rtt) {
                self.fail_probe(at, from, rate);
            } else if let Phase::Probe { to, .. } = self.phase
                && self.limit < to
            {
                self.set(to);
            }
        }
    }

    /// Storage asks for less: halves the limit.
    pub fn on_slow_down(&mut self, at: Instant) -> Option<String> {
        let before = self.limit;
        let message = self.reduce(at, before / 2, "storage is overloaded");
        if message.is_some() {
            let earlier = if let Phase::BackOff { too_many, .. } = self.phase { too_many } else { 0 };
            let (until, next) = (at + REGROW_TIME, at + REGROW_INTERVAL);
            self.phase = Phase::BackOff { too_many: before.max(earlier), until, next };
        }
        message
    }

    /// A connection stalled: reduces the limit by a quarter.
    pub fn on_stall(&mut self, at: Instant) -> Option<String> {
        let fewer = (self.limit * 3 / 4).max(MIN_AFTER_STALL.min(self.limit));
        let message = self.reduce(at, fewer, "a connection stalled");
        if message.is_some() && !matches!(self.phase, Phase::BackOff { .. }) {
            self.enter_steady(at, 0.0);
        }
        message
    }

    /// All parts in flight wait for their responses, while others wait for permits: doubles the limit.
    pub fn on_unused_path(&mut self) {
        if !matches!(self.phase, Phase::BackOff { .. }) {
            self.set((self.limit * 2).min(self.max_limit));
        }
    }

    /// A part in flight gets next to nothing. If there is a queue: ends a probe of a higher limit, takes back the last
    /// doubling, or reduces the limit by one, but not below [`INITIAL_LIMIT`].
    pub fn on_straggler(&mut self, at: Instant) {
        if !self.queue_noticeable {
            // It is slow because it lost packets. Fewer parts would use even less of the path.
            return;
        }
        match self.phase {
            Phase::Probe { from, rate, .. } | Phase::SlowStart { before: Some((from, rate)), .. }
                if self.limit > from =>
            {
                self.set(from);
                self.enter_steady(at, rate);
            }
            Phase::BackOff { .. } => {}
            _ if self.limit > INITIAL_LIMIT => {
                self.set(self.limit - 1);
                self.enter_steady(at, 0.0);
            }
            _ => {}
        }
    }

    fn reduce(&mut self, at: Instant, limit: usize, why: &str) -> Option<String> {
        let too_soon = self.last_cut.is_some_and(|last| at.duration_since(last) < CUT_INTERVAL);
        if too_soon || limit == self.limit || limit == 0 {
            return None;
        }
        self.last_cut = Some(at);
        self.set(limit);
        Some(self.message(why))
    }

    fn set(&mut self, limit: usize) {
        (self.lowered, self.limit, self.window) = (limit < self.limit, limit, None);
        self.connected = false;
    }

    fn message(&self, why: &str) -> String {
        let s = if self.limit == 1 { "" } else { "s" };
        format!("{} part{s} in flight: {why}", self.limit)
    }

    /// Keeps the present limit. `rate` is its rate.
    fn enter_steady(&mut self, at: Instant, rate: f64) {
        let next_probe = at + self.pause;
        self.phase = Phase::Steady(Steady { rate, initial: rate, next_probe, fewer_next: false });
    }

    /// Doubles the limit, measures again, or ends slow start.
    fn slow_start(
        &mut self,
        at: Instant,
        before: Option<(usize, f64)>,
        last: Option<f64>,
        stats: &WindowStats,
    ) -> Option<String> {
        if stats.queue_standing {
            self.enter_steady(at, stats.rate);
            self.try_fewer(at, stats.rate);
            return None;
        }
        let free =
            stats.receiver_limited || self.limit < DEFAULT_LIMIT && !stats.no_rtt && !stats.queue_noticeable;
        let gain = before.map(|(from, rate)| self.gain(from, rate, stats));
        // Without round-trip times, only a comparison proves that a long path is not full yet. On a short path, the new
        // connections soon tell.
        let short = self.is_short();
        let proven = gain.map_or(short || !stats.no_rtt, |gain| self.is_worthwhile(gain, stats));
        // TCP has not filled the path yet. More connections help, but above the default limit they may be too many.
        let grows = last.is_none_or(|last| stats.rate > last * (1.0 + GROWTH))
            // Without round-trip times, bytes that only fill buffers on the path look like arrived bytes.
            || stats.no_rtt && last.is_some_and(|last| stats.rate < last * (1.0 - GROWTH));
        let sure = !grows
            || if stats.no_rtt {
                gain.map_or(short, |gain| gain <= MAX_GAIN)
            } else {
                self.limit < DEFAULT_LIMIT
            };
        // If neither receivers nor losses limit the connections, others may fill the path. Their queue stood when the
        // minimum round-trip time was measured, so it goes unnoticed. More connections would only take from them.
        let may_grow = proven && (self.limit < DEFAULT_LIMIT || stats.no_rtt || stats.lossy);
        if free || may_grow && sure && !stats.queue_noticeable {
            let limit = (self.limit * 2).min(self.max_limit);
            if limit > self.limit {
                self.phase = Phase::SlowStart { before: Some((self.limit, stats.rate)), last: None };
                self.set(limit);
                return None;
            }
        } else if grows {
            self.phase = Phase::SlowStart { before, last: Some(stats.rate) };
            return None;
        }
        self.enter_steady(at, stats.rate);
        if before.is_none() && stats.no_rtt {
            self.try_more(at, stats.rate);
        }
        // Neither a queue nor losses: the disk or storage limits the rate.
        if let Some((fewer, _)) = before
            && !proven
            && !stats.queue_noticeable
            && !stats.lossy
        {
            self.probe(fewer, stats.rate);
        }
        None
    }

    /// Starts a probe of a higher or lower limit, or keeps the limit.
    fn steady(&mut self, at: Instant, mut steady: Steady, stats: &WindowStats) -> Option<String> {
        let jumps = |rate: f64| (stats.rate / rate - 1.0).abs() > CHANGE * 2.0;
        let rate = if steady.rate == 0.0 || jumps(steady.rate) {
            stats.rate
        } else {
            (steady.rate + stats.rate) / 2.0
        };
        if steady.initial == 0.0 {
            steady.initial = rate;
        }
        steady.rate = rate;
        self.phase = Phase::Steady(steady);
        let change = rate / steady.initial - 1.0;
        if change.abs() > CHANGE {
            // On the changed path, probes may succeed that failed before.
            (self.pause, self.next_fewer) = (MIN_PAUSE, None);
            self.enter_steady(at, rate);
            steady.next_probe = at;
        }
        if stats.no_rtt && stats.rate < steady.initial * FALLEN_TO && self.pause == MIN_PAUSE {
            // The connections may have lost packets. Others would then use the capacity that they leave.
            self.enter_steady(at, rate);
            self.try_more(at, rate);
        } else if stats.queue_standing
            || stats.queue_noticeable
                && self.lossy.is_none()
                && (rate < THICK_RATE || at >= steady.next_probe)
        {
            self.try_fewer(at, rate);
        } else if at >= steady.next_probe && !stats.queue_noticeable
            || at >= steady.next_probe + QUEUE_PAUSE
            // Losses without a queue mean unused capacity, unless the last probe failed.
            || stats.lossy && !stats.queue_noticeable && self.pause == MIN_PAUSE
        {
            let fewer = steady.fewer_next && stats.no_rtt;
            if fewer && self.try_fewer(at, rate) {
                return None;
            }
            self.enter_steady(at, rate);
            self.try_more(at, rate);
        }
        None
    }

    /// Keeps the probed limit, or returns to the previous one.
    fn end_probe(&mut self, at: Instant, from: usize, rate: f64, stats: &WindowStats) -> Option<String> {
        let more = self.limit > from;
        let gain = self.gain(from, rate, stats);
        let fair = stats.queue_noticeable && gain <= MAX_FAIR_FALL;
        let keep = if more {
            self.is_worthwhile(gain, stats) && !stats.queue_standing
        } else {
            stats.rate >= rate * (1.0 - MAX_RATE_LOSS) || fair
        };
        if !keep {
            self.fail_probe(at, from, rate);
            return None;
        }
        self.enter_steady(at, stats.rate);
        if more {
            self.pause = MIN_PAUSE;
            let message = self.message("more connections increase the rate");
            if !stats.queue_noticeable {
                self.try_more(at, stats.rate);
            }
            return Some(message);
        }
        let why = if stats.no_rtt { "as fast as with more" } else { "more connections only add delay" };
        let message = self.message(why);
        if stats.queue_standing || stats.queue_noticeable && stats.rate < THICK_RATE {
            self.try_fewer(at, stats.rate);
        }
        Some(message)
    }

    /// Returns to the limit `from`, which had this rate.
    fn fail_probe(&mut self, at: Instant, from: usize, rate: f64) {
        let more = self.limit > from;
        self.pause = (self.pause * 2).min(MAX_PAUSE);
        if !more {
            self.next_fewer = Some(at + self.pause);
        }
        self.set(from);
        self.enter_steady(at, rate);
        if let Phase::Steady(steady) = &mut self.phase {
            steady.fewer_next = more;
        }
    }

    /// After a SlowDown, raises the limit step by step to just below the one that was too high.
    fn regrow(
        &mut self,
        at: Instant,
        (too_many, until, next): (usize, Instant, Instant),
        stats: &WindowStats,
    ) -> Option<String> {
        if at >= until {
            self.enter_steady(at, stats.rate);
            return None;
        }
        let max = (too_many - 1).max(1);
        if self.limit >= max || at < next || stats.queue_standing {
            return None;
        }
        self.phase = Phase::BackOff { too_many, until, next: at + REGROW_INTERVAL };
        self.set(max.min(self.limit + (too_many / 8).max(1)));
        (self.limit == max).then(|| self.message("storage accepts them again"))
    }

    fn is_short(&self) -> bool {
        self.has_connect_times && self.min_rtt.get() <= SHORT_RTT
    }

    /// The growth of the rate as a fraction of that of the limit, compared with the limit `from` and its `rate`.
    fn gain(&self, from: usize, rate: f64, stats: &WindowStats) -> f64 {
        (stats.rate / rate - 1.0) / (self.limit as f64 / from as f64 - 1.0)
    }

    /// Whether this gain justifies the present limit.
    fn is_worthwhile(&self, gain: f64, stats: &WindowStats) -> bool {
        let low = stats.lossy || self.lossy.is_some() || self.is_short();
        gain >= if low { LOW_MIN_GAIN } else { MIN_GAIN }
    }

    fn try_more(&mut self, at: Instant, rate: f64) {
        if self.lossy.is_some_and(|lossy| at.duration_since(lossy) >= LOSSY_TIME) {
            self.lossy = None;
        }
        let limit = (self.limit * 3 / 2).max(self.limit + 1).min(self.max_limit);
        if limit > self.limit {
            self.probe(limit, rate);
        }
    }

    fn probe(&mut self, limit: usize, rate: f64) {
        self.phase = Phase::Probe { from: self.limit, rate, to: limit };
        self.set(if self.has_connect_times { limit.min(self.limit + 1) } else { limit });
    }

    /// Probes half of the limit, or three quarters of it at a high rate.
    fn try_fewer(&mut self, at: Instant, rate: f64) -> bool {
        let limit = if rate >= THICK_RATE { self.limit * 3 / 4 } else { self.limit / 2 };
        let min = if rate < THIN_RATE { 1 } else { 2 };
        let allowed = limit >= min && limit < self.limit && self.next_fewer.is_none_or(|next| at >= next);
        if allowed {
            self.probe(limit, rate);
        }
        allowed
    }
}

#[cfg(test)]
#[path = "controller_tests.rs"]
mod tests;
