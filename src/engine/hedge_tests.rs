//! Hedging on simulated paths, and the edges of its rules.

use super::super::concurrency::Throughput;
use super::*;
use crate::storage::NetworkSample;

const MIB: u64 = 1024 * 1024;
const PART: u64 = 5 * MIB;
const TICK: Duration = Duration::from_millis(50);

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// A path that parts share, perhaps unevenly.
struct Shared {
    /// Bytes per second.
    rate: f64,
    /// The relative rate of each connection. With 0 it makes no progress.
    weights: Vec<f64>,
    /// Bytes of each part in the send buffer, if the system does not report them.
    buffer: Option<u64>,
    /// From a part's last byte to its response, in seconds.
    response: f64,
    /// The path is down in this time.
    pause: std::ops::Range<f64>,
    parts: usize,
}

impl Default for Shared {
    fn default() -> Self {
        Self { rate: 6.25e6, weights: vec![1.0; 8], buffer: None, response: 0.05, pause: 0.0..0.0, parts: 40 }
    }
}

/// Time in seconds, connection and reason of each hedge.
type Hedges = Vec<(f64, usize, Lag)>;

/// A part in flight.
struct InFlight {
    sent: f64,
    acked: u64,
    full: Option<f64>,
    progress: Progress,
    hedged: bool,
}

impl Shared {
    /// Sends all parts that can end. Returns the hedges.
    fn send(&self) -> Hedges {
        let (hedging, mut throughput, base) = (Hedging::default(), Throughput::default(), Instant::now());
        let mut in_flight_parts: Vec<Option<InFlight>> = self.weights.iter().map(|_| None).collect();
        let (mut left, mut acked_all, mut now, mut hedges) = (self.parts, 0, 0.0, Vec::new());
        loop {
            let at = base + seconds(now);
            for slot in &mut in_flight_parts {
                if slot.is_none() && left > 0 {
                    left -= 1;
                    let progress = Progress::new(at, throughput.share());
                    *slot = Some(InFlight { sent: 0.0, acked: 0, full: None, progress, hedged: false });
                }
            }
            let sends = |part: &Option<InFlight>| part.as_ref().is_some_and(|one| one.full.is_none());
            let total: f64 = self
                .weights
                .iter()
                .zip(&in_flight_parts)
                .filter(|(_, one)| sends(one))
                .map(|(weight, _)| weight)
                .sum();
            for (weight, slot) in self.weights.iter().zip(&mut in_flight_parts) {
                let Some(one) = slot else { continue };
                if one.full.is_none() && total > 0.0 && !self.pause.contains(&now) {
                    one.sent += (self.rate * TICK.as_secs_f64() * weight / total).min(PART as f64 - one.sent);
                }
                if one.sent >= PART as f64 {
                    one.full.get_or_insert(now);
                }
                let acked = (one.sent as u64 + self.buffer.unwrap_or(0)).min(PART);
                acked_all += acked - one.acked;
                one.acked = acked;
                if one.full.is_some_and(|full| now >= full + self.response) {
                    let (begun, share) = one.progress.begun;
                    let time = at.duration_since(begun);
                    hedging.record(Completed { size: PART, share: throughput.share() - share, time });
                    *slot = None;
                }
            }
            let in_flight = in_flight_parts.iter().flatten().count();
            throughput.add(at, &NetworkSample { acked: acked_all, ..NetworkSample::default() }, in_flight);
            let share = throughput.share();
            for (index, one) in
                in_flight_parts.iter_mut().enumerate().filter_map(|(i, one)| Some((i, one.as_mut()?)))
            {
                one.progress.check(at, one.acked, share);
                let stats = AttemptStats {
                    size: PART,
                    acked: one.acked,
                    no_tcp_info: self.buffer.is_some(),
                    alone: in_flight == 1,
                    elapsed: at.duration_since(one.progress.begun.0),
                    idle: at.duration_since(one.progress.moved.0),
                    all_idle: throughput.idle_for(at),
                    share: share - one.progress.begun.1,
                    share_idle: share - one.progress.moved.1,
                    recent: one.progress.recent(RECENT),
                    last_second: one.progress.recent(STRAGGLER_RECENT),
                };
                if let (Some(hedge), false) = (stats.lag(hedging.slowest(PART)), one.hedged)
                    && hedge != Lag::Straggler
                {
                    hedges.push((now, index, hedge));
                    one.hedged = true;
                }
            }
            now += TICK.as_secs_f64();
            let over = in_flight_parts
                .iter()
                .zip(&self.weights)
                .all(|(one, weight)| one.is_none() || *weight == 0.0);
            if now > 2000.0 || (left == 0 && over && now > 60.0) {
                return hedges;
            }
        }
    }
}

/// Weights as of connections on a real path. The last is a quarter of the first.
fn uneven(parts: usize) -> Vec<f64> {
    (0..parts).map(|part| 1.0 - 0.75 * part as f64 / parts as f64).collect()
}

#[test]
fn on_a_working_path_there_are_no_hedges() {
    for rate in [16e3, 250e3, 6.25e6, 37.5e6, 1e9] {
        for buffer in [None, Some(0), Some(300 * 1024), Some(2 * MIB), Some(PART)] {
            // No system has a buffer of minutes.
            if buffer.is_some_and(|buffer| buffer as f64 / (rate / 8.0) > 9.0) {
                continue;
            }
            for response in [0.05, 4.0] {
                for weights in [vec![1.0], vec![1.0; 8], uneven(8), uneven(16)] {
                    let parts = if rate < 1e6 { 20 } else { 80 };
                    let path = Shared { rate, buffer, response, weights, parts, ..Shared::default() };
                    let hedges = path.send();
                    assert!(
                        hedges.is_empty(),
                        "{rate} B/s, buffer {buffer:?}, response {response} s: {hedges:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_pause_of_the_whole_path_causes_no_hedges() {
    for buffer in [None, Some(MIB)] {
        let hedges = Shared { pause: 3.0..7.5, buffer, ..Shared::default() }.send();
        assert!(hedges.is_empty(), "{hedges:?}");
    }
}

#[test]
fn a_stuck_part_is_hedged_long_before_the_others_are_done() {
    // 50 parts of 5 MiB at 50 Mbit/s take 42 s.
    for (buffer, within) in [(None, 11.0), (Some(128 * 1024), 11.0), (Some(PART), 25.0)] {
        let mut weights = vec![1.0; 8];
        weights[3] = 0.0;
        let hedges = Shared { weights, buffer, parts: 50, ..Shared::default() }.send();
        assert_eq!(hedges.len(), 1, "{hedges:?}");
        let (at, slot, hedge) = hedges[0];
        // With buffers that hold whole parts, all parts seem idle while they drain.
        assert!(slot == 3 && hedge != Lag::Slow, "{hedge:?} at {at} s, buffer {buffer:?}");
        assert!(at < within, "{at} s");
    }
}

#[test]
fn a_very_slow_part_is_hedged_and_a_slower_one_is_not() {
    let mut weights = vec![1.0; 8];
    weights[2] = 0.02;
    let hedges = Shared { weights: weights.clone(), ..Shared::default() }.send();
    assert_eq!(hedges.iter().map(|(_, slot, hedge)| (*slot, *hedge)).collect::<Vec<_>>(), [(2, Lag::Slow)]);
    weights[2] = 0.2;
    let hedges = Shared { weights, parts: 80, ..Shared::default() }.send();
    assert!(hedges.is_empty(), "{hedges:?}");
}

fn stats() -> AttemptStats {
    AttemptStats {
        size: PART,
        acked: MIB,
        no_tcp_info: false,
        alone: false,
        elapsed: seconds(30.0),
        idle: Duration::ZERO,
        all_idle: Duration::ZERO,
        share: 4.0 * MIB as f64,
        share_idle: 0.0,
        recent: None,
        last_second: None,
    }
}

#[test]
fn a_straggler_would_be_last_by_far() {
    let last_second =
        |sent, share| AttemptStats { last_second: Some((sent, seconds(1.0), share)), ..stats() };
    assert_eq!(last_second(100_000, 1e6).lag(None), Some(Lag::Straggler));
    assert_eq!(last_second(400_000, 1e6).lag(None), None, "connections are never quite equal");
    assert_eq!(last_second(10_000, 100e3).lag(None), None, "the share is too small");
    let buffered = |sent, share| AttemptStats { no_tcp_info: true, ..last_second(sent, share) };
    assert_eq!(buffered(0, 1e6).lag(None), None, "the send buffer takes more at its next step");
    assert_eq!(buffered(100_000, 2e6).lag(None), Some(Lag::Straggler));
    let new = AttemptStats { elapsed: seconds(1.0), ..buffered(0, 2e6) };
    assert_eq!(new.lag(None), None, "its send buffer has not been full for long");
    assert_eq!(AttemptStats { alone: true, ..last_second(100_000, 1e6) }.lag(None), None);
    let nearly_done = AttemptStats { acked: PART - MIB, ..last_second(100_000, 1e6) };
    assert_eq!(nearly_done.lag(None), None, "the rest takes less than a whole part elsewhere");
    let waits = AttemptStats { acked: PART, ..last_second(0, 1e6) };
    assert_eq!(waits.lag(None), None, "it is in storage, and waits for the response");
}

#[test]
fn a_stuck_part_is_told_from_a_slow_path() {
    let idle = AttemptStats { idle: seconds(20.0), ..stats() };
    assert_eq!(idle.lag(None), None, "others got nothing either");
    let others_move = AttemptStats { share_idle: MIB as f64 + MIN_SHARE, ..idle };
    assert_eq!(others_move.lag(None), Some(Lag::Stuck));
    let in_a_proxy = AttemptStats { acked: 4 * MIB, ..others_move };
    assert_eq!(in_a_proxy.lag(None), None, "the acknowledged bytes may be in a proxy");
    let brief = AttemptStats { idle: seconds(1.0), ..others_move };
    assert_eq!(brief.lag(None), None, "two lost packets in a row take as long");
    let slowest = |time| Some(Slowest { share: 8e6, time: seconds(time) });
    assert_eq!(others_move.lag(slowest(25.0)), None, "others took as long");
    assert_eq!(others_move.lag(slowest(15.0)), Some(Lag::Stuck));
}

#[test]
fn a_part_that_was_sent_whole_is_compared_by_its_total_time() {
    // Its buffer drains, or its response is slow.
    let waits = AttemptStats { acked: PART, idle: seconds(9.0), share_idle: 9e6, ..stats() };
    for no_tcp_info in [true, false] {
        let waits = AttemptStats { no_tcp_info, ..waits };
        assert_eq!(waits.lag(None), None);
        let slowest = Some(Slowest { share: 20e6, time: seconds(20.0) });
        assert_eq!(AttemptStats { share: 29e6, ..waits }.lag(slowest), None);
        assert_eq!(AttemptStats { share: 31e6, ..waits }.lag(slowest), Some(Lag::Stuck));
    }
}

#[test]
fn while_all_parts_are_idle_one_is_hedged() {
    let idle = AttemptStats { idle: seconds(6.0), all_idle: seconds(5.0), alone: true, ..stats() };
    assert_eq!(idle.lag(None), Some(Lag::AllIdle));
    assert_eq!(AttemptStats { all_idle: seconds(1.0), ..idle }.lag(None), None, "others make progress");
    assert_eq!(AttemptStats { no_tcp_info: true, ..idle }.lag(None), None, "a full buffer may be draining");
    assert_eq!(AttemptStats { acked: PART, ..idle }.lag(None), None, "responses may take that long");
    let slowest = |time| Some(Slowest { share: 8e6, time: seconds(time) });
    for stats in [idle, AttemptStats { no_tcp_info: true, acked: PART, ..idle }] {
        assert_eq!(stats.lag(slowest(16.0)), None);
        assert_eq!(stats.lag(slowest(14.0)), Some(Lag::AllIdle));
    }
}

#[test]
fn time_in_which_the_process_was_stopped_is_not_idle() {
    let begun = Instant::now();
    let mut progress = Progress::new(begun, 0.0);
    (1..=20).for_each(|check| progress.check(begun + CHECK_INTERVAL * check, 7, f64::from(check)));
    assert_eq!(progress.moved, (begun + CHECK_INTERVAL, 1.0));
    let continued = begun + Duration::from_secs(60);
    progress.check(continued, 7, 21.0);
    assert_eq!(progress.moved, (continued, 21.0));
    assert_eq!(progress.recent(RECENT), None);
}

#[test]
fn the_slowest_attempt_is_scaled_to_a_larger_part_and_not_to_a_smaller_one() {
    let hedging = Hedging::default();
    assert_eq!(hedging.slowest(PART), None);
    for share in [3.0, 2.0] {
        hedging.record(Completed { size: MIB, share, time: seconds(share) });
    }
    assert_eq!(hedging.slowest(4 * MIB), Some(Slowest { share: 12.0, time: seconds(12.0) }));
    assert_eq!(hedging.slowest(1000), Some(Slowest { share: 3.0, time: seconds(3.0) }));
    (0..MAX_REMEMBERED).for_each(|_| hedging.record(Completed { size: MIB, share: 1.0, time: seconds(1.0) }));
    assert_eq!(hedging.slowest(MIB), Some(Slowest { share: 1.0, time: seconds(1.0) }));
}
