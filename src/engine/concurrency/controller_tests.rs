//! The controller on simulated paths: a bottleneck with a rate, a round-trip time, a queue and losses, and a simple TCP
//! for each part in flight. Time is simulated, and random numbers are seeded.

use super::*;
use crate::platform::TcpInfo;

const MIB: f64 = 1024.0 * 1024.0;
const PACKET: f64 = 1448.0;
/// A step of the simulation, in seconds.
const STEP: f64 = 0.01;
/// The time between samples, in seconds.
const SAMPLE_STEP: f64 = 0.05;

/// A network path, and what else uses it.
#[derive(Clone)]
struct NetworkPath {
    /// Bytes per second.
    rate: f64,
    /// Round trip without a queue, in seconds.
    rtt: f64,
    /// The longest queue, in seconds at `rate`.
    buffer: f64,
    /// The fraction of packets lost.
    loss: f64,
    /// Whether the system reports round-trip times.
    has_rtt: bool,
    /// The rate varies randomly by up to this fraction.
    noise: f64,
    /// Limit on one connection (the peer's window, the server's limit), in bytes per second.
    each: f64,
    /// Connections of other users, which never end.
    others: usize,
    /// From the last byte of a part to the first byte of the next, beside the round trip.
    gap: f64,
}

impl Default for NetworkPath {
    fn default() -> Self {
        Self {
            rate: 12.5e6,
            rtt: 0.08,
            buffer: 0.08,
            loss: 0.0,
            has_rtt: true,
            noise: 0.0,
            each: f64::INFINITY,
            others: 0,
            gap: 0.05,
        }
    }
}

/// One connection: slow start, then CUBIC in its Reno-friendly region (RFC 9438, 4.3): down to 0.7, up by 0.53 of a packet
/// each round trip.
struct Connection {
    window: f64,
    slow_start: bool,
    left: f64,
    starts: f64,
    no_loss_until: f64,
    ours: bool,
}

impl Connection {
    fn new(left: f64, starts: f64, ours: bool) -> Self {
        Self { window: 10.0, slow_start: true, left, starts, no_loss_until: 0.0, ours }
    }
}

/// A simulated run.
struct Run {
    path: NetworkPath,
    controller: Controller,
    fixed: Option<usize>,
    base: Instant,
    dice: fastrand::Rng,
    flows: Vec<Connection>,
    now: f64,
    queue: f64,
    smoothed_rtt: f64,
    min_rtt: f64,
    /// Of the last new connection, in seconds.
    connect_time: Option<f64>,
    acked: f64,
    resent: u64,
    busy: Duration,
    receiver_limited: Duration,
    others_acked: f64,
    to_send: f64,
    next_sample: f64,
    factor: f64,
    messages: Vec<(f64, String)>,
    /// (time, limit) of each sample.
    limits: Vec<(f64, usize)>,
    /// (time, seconds of queue) of each sample.
    queues: Vec<(f64, f64)>,
}

impl Run {
    fn new(path: NetworkPath) -> Self {
        let others = (0..path.others).map(|_| Connection::new(f64::INFINITY, 0.0, false)).collect();
        Self {
            path,
            controller: Controller::default(),
            fixed: None,
            base: Instant::now(),
            dice: fastrand::Rng::with_seed(7),
            flows: others,
            now: 0.0,
            queue: 0.0,
            smoothed_rtt: 0.0,
            min_rtt: f64::INFINITY,
            connect_time: None,
            acked: 0.0,
            resent: 0,
            busy: Duration::ZERO,
            receiver_limited: Duration::ZERO,
            others_acked: 0.0,
            to_send: f64::INFINITY,
            next_sample: SAMPLE_STEP,
            factor: 1.0,
            messages: Vec::new(),
            limits: Vec::new(),
            queues: Vec::new(),
        }
    }

    fn at(&self) -> Instant {
        self.base + Duration::from_secs_f64(self.now)
    }

    fn wanted(&self) -> usize {
        self.fixed.unwrap_or_else(|| self.controller.limit())
    }

    /// Simulates this many seconds.
    fn seconds(&mut self, seconds: f64) {
        let end = self.now + seconds;
        while self.now < end {
            self.step();
        }
    }

    /// Sends this many bytes in parts of 5 MiB. Returns the time that takes.
    fn send(path: NetworkPath, fixed: Option<usize>, bytes: f64) -> f64 {
        let mut run = Self::new(path);
        (run.fixed, run.to_send) = (fixed, bytes);
        while run.to_send > 0.0 || run.ours() > 0 {
            run.step();
        }
        run.now
    }

    fn step(&mut self) {
        self.now += STEP;
        while self.ours() < self.wanted() && self.to_send > 0.0 {
            let part = (5.0 * MIB).min(self.to_send);
            self.to_send -= part;
            let connect_time = self.path.rtt + self.queue / self.path.rate;
            self.connect_time = Some(connect_time);
            let starts = self.now + connect_time;
            self.flows.push(Connection::new(part, starts, true));
        }
        let rate = self.path.rate * self.factor;
        let rtt_now = self.path.rtt + self.queue / rate;
        self.move_bytes(rate, rtt_now);
        let has_sample = self.flows.iter().any(|flow| flow.ours && flow.starts <= self.now);
        if has_sample {
            self.min_rtt = self.min_rtt.min(rtt_now);
            self.smoothed_rtt = if self.smoothed_rtt == 0.0 {
                rtt_now
            } else {
                self.smoothed_rtt + (rtt_now - self.smoothed_rtt) * (STEP / rtt_now).min(0.125)
            };
        }
        if self.now >= self.next_sample {
            self.sample();
        }
    }

    /// One step of all connections through the bottleneck.
    fn move_bytes(&mut self, rate: f64, rtt_now: f64) {
        let (now, each) = (self.now, self.path.each);
        let offered: Vec<f64> = self
            .flows
            .iter()
            .map(
                |flow| {
                    if flow.starts > now { 0.0 } else { (flow.window * PACKET / rtt_now).min(each) * STEP }
                },
            )
            .collect();
        let sum: f64 = offered.iter().sum();
        self.queue += sum;
        let carried = self.queue.min(rate * STEP);
        self.queue -= carried;
        let most = self.path.rate * self.path.buffer;
        let dropped = ((self.queue - most).max(0.0) / sum.max(1.0)).min(1.0);
        self.queue = self.queue.min(most);
        let moved = if sum > 0.0 { carried.min(sum) / sum } else { 0.0 };
        for (flow, offered) in self.flows.iter_mut().zip(offered) {
            let packets = offered / PACKET;
            let hit = 1.0 - (1.0 - self.path.loss).powf(packets) * (1.0 - dropped).powf(packets);
            if now >= flow.no_loss_until && self.dice.f64() < hit {
                (flow.window, flow.slow_start) = ((flow.window * 0.7).max(2.0), false);
                flow.no_loss_until = now + rtt_now;
                self.resent += u64::from(flow.ours);
            } else if flow.starts <= now && flow.window * PACKET / rtt_now < each * 2.0 {
                flow.window += if flow.slow_start { packets } else { 0.53 * packets / flow.window };
            }
            let moved = (offered * moved).min(flow.left);
            flow.left -= moved;
            if flow.ours {
                self.acked += moved
            } else {
                self.others_acked += moved
            }
            // The next part goes over the same connection, where TCP keeps its window.
            if flow.left <= 0.0 && self.to_send > 0.0 && flow.ours {
                flow.left = (5.0 * MIB).min(self.to_send);
                self.to_send -= flow.left;
                flow.starts = now + self.path.rtt + self.path.gap;
            }
        }
        self.flows.retain(|flow| flow.left > 0.0);
        let wanted = self.wanted();
        // With a lower limit, the real program holds parts. Here their connections end, and others send their bytes.
        while self.ours() > wanted {
            let last = self.flows.iter().rposition(|flow| flow.ours);
            let gone = self.flows.remove(last.unwrap());
            self.to_send += gone.left;
        }
    }

    fn ours(&self) -> usize {
        self.flows.iter().filter(|flow| flow.ours).count()
    }

    fn sample(&mut self) {
        self.next_sample += SAMPLE_STEP;
        let (rtt, each) = (self.path.rtt + self.queue / self.path.rate, self.path.each);
        for flow in self.flows.iter().filter(|flow| flow.ours && flow.starts <= self.now) {
            let limited = flow.window * PACKET / rtt >= each;
            self.busy += Duration::from_secs_f64(SAMPLE_STEP);
            self.receiver_limited += Duration::from_secs_f64(if limited { SAMPLE_STEP } else { 0.0 });
        }
        self.factor = 1.0 + self.path.noise * (self.dice.f64() * 2.0 - 1.0);
        let sample = Sample {
            at: self.at(),
            acked: self.acked as u64,
            starved: self.to_send > 0.0,
            moving: self.ours(),
            tcp: (self.path.has_rtt && self.smoothed_rtt > 0.0).then(|| TcpInfo {
                smoothed_rtt: Duration::from_secs_f64(self.smoothed_rtt),
                min_rtt: Duration::from_secs_f64(self.min_rtt),
                retransmits: self.resent,
                busy: self.busy,
                receiver_limited: self.receiver_limited,
            }),
            connect_time: self.connect_time.take().map(Duration::from_secs_f64),
        };
        if let Some(messages) = self.controller.on_sample(&sample) {
            self.messages.push((self.now, messages));
        }
        self.limits.push((self.now, self.controller.limit()));
        self.queues.push((self.now, self.queue / self.path.rate));
    }

    /// The mean limit in the last seconds.
    fn mean_limit(&self, seconds: f64) -> f64 {
        let of: Vec<f64> = self
            .limits
            .iter()
            .filter(|(at, _)| *at > self.now - seconds)
            .map(|(_, limits)| *limits as f64)
            .collect();
        of.iter().sum::<f64>() / of.len() as f64
    }

    /// Changes of the limit in the last seconds.
    fn changes(&self, seconds: f64) -> usize {
        let of: Vec<usize> = self
            .limits
            .iter()
            .filter(|(at, _)| *at > self.now - seconds)
            .map(|(_, limits)| *limits)
            .collect();
        of.windows(2).filter(|pair| pair[0] != pair[1]).count()
    }

    /// Simulates this many seconds. Returns the rate in bytes per second.
    fn rate_over(&mut self, seconds: f64) -> f64 {
        let before = self.acked;
        self.seconds(seconds);
        (self.acked - before) / seconds
    }
}

fn lossy() -> NetworkPath {
    NetworkPath { loss: 0.001, ..NetworkPath::default() }
}

/// 256 KiB/s and a buffer of one second.
fn thin() -> NetworkPath {
    NetworkPath { rate: 262_144.0, rtt: 0.04, buffer: 1.0, ..NetworkPath::default() }
}

fn near() -> NetworkPath {
    NetworkPath { rate: 125e6, rtt: 0.0005, buffer: 0.004, gap: 0.002, ..NetworkPath::default() }
}

#[test]
fn a_fast_lossy_path_is_filled_with_connections() {
    // The best result is that of the highest limit from the start.
    for (bytes, share) in [(100.0 * MIB, 0.7), (400.0 * MIB, 0.85)] {
        let possible = Run::send(lossy(), Some(MAX_LIMIT), bytes);
        let took = Run::send(lossy(), None, bytes);
        assert!(took * share <= possible, "{} MiB: {took:.1} s instead of {possible:.1}", bytes / MIB);
        let few = Run::send(lossy(), Some(4), bytes);
        assert!(took < few / 1.5, "{took:.1} s, with four connections {few:.1}");
    }
    let mut run = Run::new(lossy());
    run.seconds(10.0);
    let share = run.rate_over(60.0) / run.path.rate;
    assert!(share > 0.9, "{share:.2} of the path");
}

#[test]
fn a_slow_path_with_a_long_buffer_gets_few_connections() {
    let mut run = Run::new(thin());
    run.seconds(30.0);
    // It takes a few seconds to hold the first parts.
    assert!(run.limits.iter().all(|(at, limits)| *at < 15.0 || *limits <= 2), "{:?}", run.messages);
    let share = run.rate_over(120.0) / run.path.rate;
    assert!(share > 0.95, "{share:.2} of the path");
    assert!(run.mean_limit(120.0) <= 2.0);
    // Even one CUBIC connection fills any buffer in time. More would make it worse.
    let queue =
        |run: &Run| run.queues.iter().filter(|(at, _)| *at > 30.0).map(|(_, queue)| queue).sum::<f64>();
    let mut many = Run::new(thin());
    many.fixed = Some(DEFAULT_LIMIT);
    many.seconds(150.0);
    assert!(
        queue(&run) < 0.9 * queue(&many),
        "{:.0}, with {DEFAULT_LIMIT} connections {:.0}",
        queue(&run),
        queue(&many)
    );
}

#[test]
fn others_on_a_slow_path_keep_about_half_of_it() {
    let mut run = Run::new(NetworkPath { others: 1, ..thin() });
    run.seconds(30.0);
    let before = run.others_acked;
    let ours = run.rate_over(120.0) / run.path.rate;
    let others = (run.others_acked - before) / 120.0 / run.path.rate;
    assert!(others > 0.38, "{others:.2} of the path for the other upload, {ours:.2} for us");
    assert!(ours > 0.25, "{ours:.2} of the path for us, {others:.2} for the other upload");
}

#[test]
fn a_full_path_with_a_short_queue_gets_few_connections() {
    for (rate, rtt, buffer) in [(6.25e6, 0.03, 0.05), (12.5e6, 0.02, 0.04)] {
        let mut run = Run::new(NetworkPath { rate, rtt, buffer, gap: 0.0, ..NetworkPath::default() });
        run.seconds(60.0);
        let share = run.rate_over(60.0) / rate;
        assert!(share > 0.95, "{share:.2} of {rate}");
        assert!(run.mean_limit(60.0) <= 4.0, "{rate}: a mean of {:.1}", run.mean_limit(60.0));
    }
}

#[test]
fn of_two_last_parts_on_a_slow_path_only_one_sends() {
    let mut run = Run::new(thin());
    run.to_send = 10.0 * MIB;
    run.seconds(15.0);
    assert_eq!(run.controller.limit(), 1, "{:?}", run.messages);
}

#[test]
fn without_rtt_a_slow_path_gets_no_more_than_the_default_limit() {
    let mut run = Run::new(NetworkPath { has_rtt: false, ..thin() });
    run.seconds(60.0);
    assert!(run.mean_limit(50.0) <= DEFAULT_LIMIT as f64 * 1.1, "a mean of {:.1}", run.mean_limit(50.0));
}

#[test]
fn a_short_path_that_one_connection_fills_gets_no_more_than_the_default_limit() {
    let mut run = Run::new(near());
    run.seconds(60.0);
    assert!(run.mean_limit(58.0) <= DEFAULT_LIMIT as f64 * 1.1, "a mean of {:.1}", run.mean_limit(58.0));
    assert_eq!(run.controller.limit(), DEFAULT_LIMIT);
}

#[test]
fn if_each_connection_is_limited_more_are_used() {
    let mut run = Run::new(NetworkPath { each: 1e6, ..NetworkPath::default() });
    run.seconds(5.0);
    assert!(run.controller.limit() >= 12, "{} parts of 1 MB/s on a path of 12.5", run.controller.limit());
    let share = run.rate_over(60.0) / run.path.rate;
    assert!(share > 0.85, "{share:.2} of the path");
}

#[test]
fn a_slow_down_halves_the_limit_which_grows_back_to_just_below() {
    let mut run = Run::new(lossy());
    run.seconds(20.0);
    let before = run.controller.limit();
    let at = run.at();
    assert!(run.controller.on_slow_down(at).is_some());
    assert_eq!(run.controller.limit(), before / 2);
    assert_eq!(run.controller.on_slow_down(at), None, "all parts in flight get the same one");
    run.seconds(3.0);
    assert_eq!(run.controller.limit(), before / 2, "it grows slowly");
    run.seconds(40.0);
    assert_eq!(run.controller.limit(), before - 1, "{:?}", run.messages);
    run.seconds(60.0);
    assert!(run.controller.limit() > before / 2);
}

#[test]
fn endless_slow_downs_leave_one_part_in_flight() {
    let mut controller = Controller::default();
    let base = Instant::now();
    for second in 0..60 {
        controller.on_slow_down(base + Duration::from_secs(second));
    }
    assert_eq!(controller.limit(), 1);
}

#[test]
fn stalls_reduce_the_limit_but_not_below_a_minimum() {
    let mut run = Run::new(lossy());
    run.seconds(20.0);
    let before = run.controller.limit();
    let at = run.at();
    assert!(run.controller.on_stall(at).is_some());
    assert_eq!(run.controller.limit(), before * 3 / 4);
    for second in 1..60 {
        run.controller.on_stall(at + Duration::from_secs(second));
    }
    assert_eq!(run.controller.limit(), MIN_AFTER_STALL);
}

#[test]
fn a_path_that_becomes_slow_gets_fewer_connections() {
    let mut run = Run::new(NetworkPath { each: 1e6, buffer: 0.5, ..NetworkPath::default() });
    run.seconds(30.0);
    assert!(run.controller.limit() > DEFAULT_LIMIT);
    run.path.rate /= 20.0;
    run.path.buffer *= 4.0;
    run.queue = 0.0;
    run.seconds(60.0);
    assert!(run.controller.limit() <= 4, "a limit of {}: {:?}", run.controller.limit(), run.messages);
}

#[test]
fn a_path_that_becomes_faster_is_noticed() {
    let mut run = Run::new(NetworkPath { rate: 4e6, each: 1e6, ..NetworkPath::default() });
    run.seconds(60.0);
    run.path.rate = 20e6;
    run.seconds(120.0);
    let share = run.rate_over(30.0) / run.path.rate;
    assert!(share > 0.7, "{share:.2} of the path, a limit of {}: {:?}", run.controller.limit(), run.messages);
}

#[test]
fn noise_does_not_change_the_limit_often() {
    for path in [near(), lossy(), NetworkPath::default()] {
        let mut run = Run::new(NetworkPath { noise: 0.3, ..path });
        run.seconds(240.0);
        assert!(run.changes(60.0) <= 16, "{} changes in a minute", run.changes(60.0));
        let messages = run.messages.iter().filter(|(at, _)| *at > 60.0).count();
        assert!(messages <= 8, "{messages} messages in three minutes: {:?}", run.messages);
    }
}

#[test]
fn without_waiting_parts_there_are_no_probes() {
    let mut controller = Controller::default();
    let base = Instant::now();
    for tenth in 0..600_u32 {
        let at = base + Duration::from_millis(100) * tenth;
        let acked = u64::from(tenth) << 16;
        let sample = Sample { at, acked, starved: false, moving: 1, tcp: None, connect_time: None };
        assert_eq!(controller.on_sample(&sample), None);
    }
    assert_eq!(controller.limit(), INITIAL_LIMIT);
}

#[test]
fn an_idle_period_ends_a_probe_and_restores_the_limit() {
    let mut run = Run::new(near());
    let before = loop {
        run.step();
        assert!(run.now < 60.0, "no probe: {:?}", run.controller.phase);
        if let Phase::Probe { from, .. } = run.controller.phase {
            break from;
        }
    };
    run.controller.on_idle(run.at());
    assert_eq!(run.controller.limit(), before);
}

#[test]
fn without_rtt_a_full_path_gets_no_more_connections() {
    let path =
        NetworkPath { rate: 6.25e6, rtt: 0.03, buffer: 0.16, has_rtt: false, ..NetworkPath::default() };
    let mut run = Run::new(path);
    run.seconds(10.0);
    assert!(run.rate_over(50.0) > 0.95 * run.path.rate);
    assert!(run.mean_limit(50.0) <= DEFAULT_LIMIT as f64, "a mean of {:.1}", run.mean_limit(50.0));
}

#[test]
fn without_rtt_a_single_new_connection_looks_for_a_queue_before_others_are_opened() {
    let (normal, queued, resent) = (0.022, 0.1, 1.02);
    // The times of new connections, and the limit after each.
    let runs: [&[(f64, usize)]; 3] = [
        &[(normal, 12), (normal, 12), (resent, 12)],
        &[(queued, DEFAULT_LIMIT)],
        &[(normal, 12), (queued, DEFAULT_LIMIT)],
    ];
    for expected in runs {
        let mut run = Run::new(NetworkPath { rtt: 0.02, has_rtt: false, ..NetworkPath::default() });
        while !matches!(run.controller.phase, Phase::Probe { .. }) {
            run.step();
        }
        assert_eq!(run.controller.limit(), DEFAULT_LIMIT + 1);
        for (connect_time, limit) in expected {
            run.connect_time = Some(*connect_time);
            run.sample();
            assert_eq!(run.controller.limit(), *limit, "{expected:?}");
        }
    }
}

#[test]
fn without_rtt_slow_start_ends_if_new_connections_meet_a_queue() {
    let path = NetworkPath { rate: 2.5e6, rtt: 0.008, buffer: 0.2, has_rtt: false, ..NetworkPath::default() };
    let mut run = Run::new(path);
    run.seconds(10.0);
    let many = run.limits.iter().filter(|(_, limit)| *limit > DEFAULT_LIMIT + 1).count();
    assert!(many as f64 * SAMPLE_STEP <= 0.2, "{:?}", run.limits);
}

#[test]
fn if_each_connection_is_limited_the_default_is_nearly_as_good_as_the_best_limit() {
    let rates = [0.25, 1.0, 2.0].map(|mib| mib * MIB);
    for (each, has_rtt) in rates.into_iter().flat_map(|each| [(each, true), (each, false)]) {
        let path = NetworkPath {
            rate: 125e6,
            rtt: 0.001,
            buffer: 0.01,
            gap: 0.002,
            each,
            has_rtt,
            ..NetworkPath::default()
        };
        let (best, took) =
            (Run::send(path.clone(), Some(24), 120.0 * MIB), Run::send(path, None, 120.0 * MIB));
        assert!(took < best * 1.3, "{took:.1} s instead of {best:.1}, {:.0} KB/s each", each / 1e3);
    }
}

#[test]
fn on_a_full_path_a_straggler_ends_a_probe_or_reduces_the_limit_by_one() {
    let mut run = Run::new(lossy());
    run.seconds(20.0);
    let (before, at) = (run.controller.limit(), run.at());
    run.controller.queue_noticeable = false;
    run.controller.on_straggler(at);
    assert_eq!(run.controller.limit(), before, "fewer parts would use even less of the path");
    run.controller.queue_noticeable = true;
    run.controller.probe(before + 4, 1e6);
    run.controller.on_straggler(at);
    assert_eq!(run.controller.limit(), before);
    for _ in 0..MAX_LIMIT {
        run.controller.on_straggler(at);
    }
    assert_eq!(run.controller.limit(), INITIAL_LIMIT);
}
