//! The controller on simulated lines: a bottleneck with a rate, a way, a queue and loss, and one simple TCP for
//! each part in flight. Time is counted, never waited for, and dice are seeded.

use super::*;
use crate::platform::TcpInfo;

const MIB: f64 = 1024.0 * 1024.0;
const PACKET: f64 = 1448.0;
/// A step of the simulation, in seconds.
const STEP: f64 = 0.01;
/// The controller's looks.
const LOOK: f64 = 0.05;

/// One line, and what goes over it.
#[derive(Clone)]
struct Line {
    /// Bytes a second.
    rate: f64,
    /// Round trip without a queue, in seconds.
    way: f64,
    /// The longest queue, in seconds at `rate`.
    buffer: f64,
    /// Of packets.
    loss: f64,
    /// Whether round trips are told.
    told: bool,
    /// The rate is off by up to this share, anew ten times a second.
    noise: f64,
    /// The most that one connection gets (a peer's window, a server's limit).
    each: f64,
    /// Uploads of others, that never end.
    others: usize,
    /// From the last byte of a part to the first of the next, beside the way.
    gap: f64,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            rate: 12.5e6,
            way: 0.08,
            buffer: 0.08,
            loss: 0.0,
            told: true,
            noise: 0.0,
            each: f64::INFINITY,
            others: 0,
            gap: 0.05,
        }
    }
}

/// One connection: slow start, then CUBIC where it acts like Reno (RFC 9438, 4.3): down to 0.7, up by 0.53 of a
/// packet each round trip.
struct Flow {
    window: f64,
    slow_start: bool,
    left: f64,
    starts: f64,
    deaf_until: f64,
    ours: bool,
}

impl Flow {
    fn new(left: f64, starts: f64, ours: bool) -> Self {
        Self { window: 10.0, slow_start: true, left, starts, deaf_until: 0.0, ours }
    }
}

/// A simulated run.
struct Run {
    line: Line,
    controller: Controller,
    fixed: Option<usize>,
    base: Instant,
    dice: fastrand::Rng,
    flows: Vec<Flow>,
    now: f64,
    queue: f64,
    smoothed: f64,
    least: f64,
    taken: f64,
    resent: u64,
    others_taken: f64,
    to_send: f64,
    next_look: f64,
    factor: f64,
    news: Vec<(f64, String)>,
    /// (time, places), a look each.
    places: Vec<(f64, usize)>,
    /// (time, seconds of queue), a look each.
    queues: Vec<(f64, f64)>,
}

impl Run {
    fn new(line: Line) -> Self {
        let others = (0..line.others).map(|_| Flow::new(f64::INFINITY, 0.0, false)).collect();
        Self {
            line,
            controller: Controller::default(),
            fixed: None,
            base: Instant::now(),
            dice: fastrand::Rng::with_seed(7),
            flows: others,
            now: 0.0,
            queue: 0.0,
            smoothed: 0.0,
            least: f64::INFINITY,
            taken: 0.0,
            resent: 0,
            others_taken: 0.0,
            to_send: f64::INFINITY,
            next_look: LOOK,
            factor: 1.0,
            news: Vec::new(),
            places: Vec::new(),
            queues: Vec::new(),
        }
    }

    fn at(&self) -> Instant {
        self.base + Duration::from_secs_f64(self.now)
    }

    fn wanted(&self) -> usize {
        self.fixed.unwrap_or_else(|| self.controller.limit())
    }

    /// Goes on for so many seconds.
    fn seconds(&mut self, seconds: f64) {
        let end = self.now + seconds;
        while self.now < end {
            self.step();
        }
    }

    /// Sends so many bytes in parts of 5 MiB, and says how long it took.
    fn send(line: Line, fixed: Option<usize>, bytes: f64) -> f64 {
        let mut run = Self::new(line);
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
            let starts = self.now + self.line.way;
            self.flows.push(Flow::new(part, starts, true));
        }
        let rate = self.line.rate * self.factor;
        let trip = self.line.way + self.queue / rate;
        self.move_bytes(rate, trip);
        let seen = self.flows.iter().any(|flow| flow.ours && flow.starts <= self.now);
        if seen {
            self.least = self.least.min(trip);
            self.smoothed = if self.smoothed == 0.0 {
                trip
            } else {
                self.smoothed + (trip - self.smoothed) * (STEP / trip).min(0.125)
            };
        }
        if self.now >= self.next_look {
            self.look();
        }
    }

    /// One step of all connections through the bottleneck.
    fn move_bytes(&mut self, rate: f64, trip: f64) {
        let (now, each) = (self.now, self.line.each);
        let offered: Vec<f64> = self
            .flows
            .iter()
            .map(|flow| if flow.starts > now { 0.0 } else { (flow.window * PACKET / trip).min(each) * STEP })
            .collect();
        let sum: f64 = offered.iter().sum();
        self.queue += sum;
        let carried = self.queue.min(rate * STEP);
        self.queue -= carried;
        let most = self.line.rate * self.line.buffer;
        let dropped = ((self.queue - most).max(0.0) / sum.max(1.0)).min(1.0);
        self.queue = self.queue.min(most);
        let moved = if sum > 0.0 { carried.min(sum) / sum } else { 0.0 };
        for (flow, offered) in self.flows.iter_mut().zip(offered) {
            let packets = offered / PACKET;
            let hit = 1.0 - (1.0 - self.line.loss).powf(packets) * (1.0 - dropped).powf(packets);
            if now >= flow.deaf_until && self.dice.f64() < hit {
                (flow.window, flow.slow_start) = ((flow.window * 0.7).max(2.0), false);
                flow.deaf_until = now + trip;
                self.resent += u64::from(flow.ours);
            } else if flow.starts <= now && flow.window * PACKET / trip < each * 2.0 {
                flow.window += if flow.slow_start { packets } else { 0.53 * packets / flow.window };
            }
            let moved = (offered * moved).min(flow.left);
            flow.left -= moved;
            if flow.ours {
                self.taken += moved
            } else {
                self.others_taken += moved
            }
            // The next part goes over the same connection, where TCP keeps its window.
            if flow.left <= 0.0 && self.to_send > 0.0 && flow.ours {
                flow.left = (5.0 * MIB).min(self.to_send);
                self.to_send -= flow.left;
                flow.starts = now + self.line.way + self.line.gap;
            }
        }
        self.flows.retain(|flow| flow.left > 0.0);
        let wanted = self.wanted();
        // Fewer places: a part in flight is not cut, but its connection takes no other. Here it ends at once,
        // and its bytes are sent by others.
        while self.ours() > wanted {
            let last = self.flows.iter().rposition(|flow| flow.ours);
            let gone = self.flows.remove(last.unwrap());
            self.to_send += gone.left;
        }
    }

    fn ours(&self) -> usize {
        self.flows.iter().filter(|flow| flow.ours).count()
    }

    fn look(&mut self) {
        self.next_look += LOOK;
        self.factor = 1.0 + self.line.noise * (self.dice.f64() * 2.0 - 1.0);
        let look = Sample {
            at: self.at(),
            acked: self.taken as u64,
            starved: self.to_send > 0.0,
            moving: self.ours(),
            tcp: (self.line.told && self.smoothed > 0.0).then(|| TcpInfo {
                smoothed_rtt: Duration::from_secs_f64(self.smoothed),
                min_rtt: Duration::from_secs_f64(self.least),
                retransmits: self.resent,
                ..TcpInfo::default()
            }),
        };
        if let Some(news) = self.controller.on_sample(&look) {
            self.news.push((self.now, news));
        }
        self.places.push((self.now, self.controller.limit()));
        self.queues.push((self.now, self.queue / self.line.rate));
    }

    /// Places on average over the last seconds.
    fn mean_places(&self, seconds: f64) -> f64 {
        let of: Vec<f64> = self
            .places
            .iter()
            .filter(|(at, _)| *at > self.now - seconds)
            .map(|(_, places)| *places as f64)
            .collect();
        of.iter().sum::<f64>() / of.len() as f64
    }

    /// Changes of the number over the last seconds.
    fn changes(&self, seconds: f64) -> usize {
        let of: Vec<usize> = self
            .places
            .iter()
            .filter(|(at, _)| *at > self.now - seconds)
            .map(|(_, places)| *places)
            .collect();
        of.windows(2).filter(|pair| pair[0] != pair[1]).count()
    }

    /// Bytes a second that were taken while going on for so many seconds.
    fn rate_over(&mut self, seconds: f64) -> f64 {
        let before = self.taken;
        self.seconds(seconds);
        (self.taken - before) / seconds
    }
}

fn lossy() -> Line {
    Line { loss: 0.001, ..Line::default() }
}

/// 256 KiB/s upwards, behind a second of buffer.
fn thin() -> Line {
    Line { rate: 262_144.0, way: 0.04, buffer: 1.0, ..Line::default() }
}

fn near() -> Line {
    Line { rate: 125e6, way: 0.0005, buffer: 0.004, gap: 0.002, ..Line::default() }
}

#[test]
fn a_fat_line_that_loses_packets_is_filled_with_connections() {
    // What the largest number gives from the first moment on is what is possible.
    for (bytes, share) in [(100.0 * MIB, 0.7), (400.0 * MIB, 0.85)] {
        let possible = Run::send(lossy(), Some(MAX_LIMIT), bytes);
        let took = Run::send(lossy(), None, bytes);
        assert!(took * share <= possible, "{} MiB: {took:.1} s, possible are {possible:.1}", bytes / MIB);
        let few = Run::send(lossy(), Some(4), bytes);
        assert!(took < few / 1.5, "{took:.1} s, and with four connections {few:.1}");
    }
    let mut run = Run::new(lossy());
    run.seconds(10.0);
    let share = run.rate_over(60.0) / run.line.rate;
    assert!(share > 0.9, "{share:.2} of the line");
}

#[test]
fn on_a_thin_line_with_a_long_buffer_few_connections_are_left() {
    let mut run = Run::new(thin());
    run.seconds(30.0);
    // It takes a few seconds to hold those with which it began.
    assert!(run.places.iter().all(|(at, places)| *at < 15.0 || *places <= 2), "{:?}", run.news);
    let share = run.rate_over(120.0) / run.line.rate;
    assert!(share > 0.95, "{share:.2} of the line, of which nothing is to be lost");
    assert!(run.mean_places(120.0) <= 2.0);
    // One connection of CUBIC fills any buffer in time; it is not for us to make that worse.
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
fn others_on_a_thin_line_keep_about_half_of_it() {
    let mut run = Run::new(Line { others: 1, ..thin() });
    run.seconds(30.0);
    let before = run.others_taken;
    let ours = run.rate_over(120.0) / run.line.rate;
    let others = (run.others_taken - before) / 120.0 / run.line.rate;
    assert!(others > 0.38, "{others:.2} of the line for the other upload, {ours:.2} for us");
    assert!(ours > 0.25, "{ours:.2} of the line for us, {others:.2} for the other upload");
}

#[test]
fn of_two_last_parts_on_a_full_thin_line_only_one_moves() {
    let mut run = Run::new(thin());
    run.to_send = 10.0 * MIB;
    run.seconds(15.0);
    assert_eq!(run.controller.limit(), 1, "{:?}", run.news);
}

#[test]
fn where_nobody_tells_of_queues_a_thin_line_does_not_get_more_than_the_usual_number() {
    let mut run = Run::new(Line { told: false, ..thin() });
    run.seconds(60.0);
    assert!(run.mean_places(50.0) <= DEFAULT_LIMIT as f64 * 1.1, "{:.1} places", run.mean_places(50.0));
}

#[test]
fn a_near_line_that_one_connection_fills_gets_no_more_than_the_usual_number() {
    let mut run = Run::new(near());
    run.seconds(60.0);
    assert!(run.mean_places(58.0) <= DEFAULT_LIMIT as f64 * 1.1, "{:.1} places", run.mean_places(58.0));
    assert_eq!(run.controller.limit(), DEFAULT_LIMIT);
}

#[test]
fn a_limit_on_each_connection_is_met_with_more_of_them() {
    let mut run = Run::new(Line { each: 1e6, ..Line::default() });
    run.seconds(5.0);
    assert!(run.controller.limit() >= 12, "{} places of 1 MB/s on a line of 12.5", run.controller.limit());
    let share = run.rate_over(60.0) / run.line.rate;
    assert!(share > 0.85, "{share:.2} of the line");
}

#[test]
fn a_slow_down_halves_once_and_comes_back_slowly_to_just_below() {
    let mut run = Run::new(lossy());
    run.seconds(20.0);
    let before = run.controller.limit();
    let at = run.at();
    assert!(run.controller.on_slow_down(at).is_some());
    assert_eq!(run.controller.limit(), before / 2);
    assert_eq!(run.controller.on_slow_down(at), None, "the parts in flight all hear the same one");
    run.seconds(3.0);
    assert_eq!(run.controller.limit(), before / 2, "not in a hurry");
    run.seconds(40.0);
    assert_eq!(run.controller.limit(), before - 1, "{:?}", run.news);
    run.seconds(60.0);
    assert!(run.controller.limit() > before / 2);
}

#[test]
fn slow_downs_without_end_leave_one_part_in_flight_and_no_fewer() {
    let mut controller = Controller::default();
    let base = Instant::now();
    for second in 0..60 {
        controller.on_slow_down(base + Duration::from_secs(second));
    }
    assert_eq!(controller.limit(), 1);
}

#[test]
fn parts_that_stand_still_cost_places_but_leave_some() {
    let mut run = Run::new(lossy());
    run.seconds(20.0);
    let before = run.controller.limit();
    let at = run.at();
    assert!(run.controller.on_stall(at).is_some());
    assert_eq!(run.controller.limit(), before * 3 / 4);
    for second in 1..60 {
        run.controller.on_stall(at + Duration::from_secs(second));
    }
    assert_eq!(run.controller.limit(), STANDING_LEAST);
}

#[test]
fn a_line_that_gets_thin_gets_fewer_connections() {
    let mut run = Run::new(Line { each: 1e6, buffer: 0.5, ..Line::default() });
    run.seconds(30.0);
    assert!(run.controller.limit() > DEFAULT_LIMIT);
    run.line.rate /= 20.0;
    run.line.buffer *= 4.0;
    run.queue = 0.0;
    run.seconds(60.0);
    assert!(run.controller.limit() <= 4, "{} places: {:?}", run.controller.limit(), run.news);
}

#[test]
fn a_line_that_gets_better_is_found_out() {
    let mut run = Run::new(Line { rate: 4e6, each: 1e6, ..Line::default() });
    run.seconds(60.0);
    run.line.rate = 20e6;
    run.seconds(120.0);
    let share = run.rate_over(30.0) / run.line.rate;
    assert!(share > 0.7, "{share:.2} of the line, {} places: {:?}", run.controller.limit(), run.news);
}

#[test]
fn noise_does_not_make_it_swing() {
    for line in [near(), lossy(), Line::default()] {
        let mut run = Run::new(Line { noise: 0.3, ..line });
        run.seconds(240.0);
        assert!(run.changes(60.0) <= 16, "{} changes in a minute", run.changes(60.0));
        let news = run.news.iter().filter(|(at, _)| *at > 60.0).count();
        assert!(news <= 8, "told of {news} changes in three minutes: {:?}", run.news);
    }
}

#[test]
fn without_demand_nothing_is_tried() {
    let mut controller = Controller::default();
    let base = Instant::now();
    for tenth in 0..600_u32 {
        let at = base + Duration::from_millis(100) * tenth;
        let look = Sample { at, acked: u64::from(tenth) << 16, starved: false, moving: 1, tcp: None };
        assert_eq!(controller.on_sample(&look), None);
    }
    assert_eq!(controller.limit(), INITIAL_LIMIT);
}

#[test]
fn a_rest_ends_a_probe_and_keeps_what_has_proven_itself() {
    let mut run = Run::new(near());
    run.seconds(3.0);
    let before = run.controller.limit();
    while !matches!(run.controller.phase, Phase::Probe { .. }) {
        run.step();
        assert!(run.now < 60.0, "nothing is tried: {:?}", run.controller.phase);
    }
    let at = run.at();
    run.controller.on_idle(at);
    assert_eq!(run.controller.limit(), before);
}

#[test]
fn where_nobody_tells_of_queues_a_full_line_gets_no_more_connections() {
    let line = Line { rate: 6.25e6, way: 0.03, buffer: 0.16, told: false, ..Line::default() };
    let mut run = Run::new(line);
    run.seconds(10.0);
    assert!(run.rate_over(50.0) > 0.95 * run.line.rate);
    assert!(run.mean_places(50.0) <= DEFAULT_LIMIT as f64, "{:.1} places", run.mean_places(50.0));
}

#[test]
fn where_each_connection_is_limited_the_default_is_nearly_as_good_as_the_best_number() {
    for (each, told) in [(262_144.0, true), (262_144.0, false), (1_048_576.0, true)] {
        let line = Line { rate: 125e6, way: 0.001, buffer: 0.01, gap: 0.002, each, told, ..Line::default() };
        let (best, took) =
            (Run::send(line.clone(), Some(24), 120.0 * MIB), Run::send(line, None, 120.0 * MIB));
        assert!(took < best * 1.3, "{took:.1} s, possible are {best:.1}, {:.0} KB/s each", each / 1e3);
    }
}

#[test]
fn a_straggler_ends_a_probe_of_more_or_costs_one_part_and_never_the_least() {
    let mut run = Run::new(lossy());
    run.seconds(20.0);
    let (before, at) = (run.controller.limit(), run.at());
    run.controller.probe(before + 4, 1e6);
    run.controller.on_straggler(at);
    assert_eq!(run.controller.limit(), before);
    for _ in 0..MAX_LIMIT {
        run.controller.on_straggler(at);
    }
    assert_eq!(run.controller.limit(), INITIAL_LIMIT);
}
