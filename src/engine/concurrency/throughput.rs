//! The progress of all parts together: when bytes last moved, and how many one part sent on average.

use std::time::{Duration, Instant};

use super::window::is_noticeable;
use crate::platform::TcpInfo;

/// If samples are further apart, the process was stopped (Ctrl-Z, debugger), and not the network.
const STOPPED: Duration = Duration::from_secs(1);

/// Sampled every [`super::permits::SAMPLE_INTERVAL`] while parts are in flight.
#[derive(Default)]
pub struct Throughput {
    /// The last sample, and the bytes accepted by then.
    last: Option<(Instant, u64)>,
    moved: Option<Instant>,
    share: f64,
    /// The current second: its start, and bytes accepted by then.
    second: Option<(Instant, u64)>,
    /// Bytes per second of the last whole second, and the most of all.
    rate: f64,
    best: f64,
}

/// The path has room if the rate has fallen below this fraction of the best.
const FULL: f64 = 0.85;

impl Throughput {
    /// Adds a sample: bytes accepted so far, and parts in flight.
    pub fn sample(&mut self, at: Instant, taken: u64, in_flight: usize) {
        let (before, since) = self
            .last
            .map_or((taken, Duration::ZERO), |(last, before)| (before, at.saturating_duration_since(last)));
        if taken > before || since > STOPPED || self.moved.is_none() {
            self.moved = Some(at);
        }
        self.share += taken.saturating_sub(before) as f64 / in_flight.max(1) as f64;
        self.last = Some((at, taken));
        let (begin, then) = *self.second.get_or_insert((at, taken));
        let lasted = at.saturating_duration_since(begin).as_secs_f64();
        if lasted >= 1.0 {
            self.rate = taken.saturating_sub(then) as f64 / lasted;
            self.best = self.best.max(self.rate);
            self.second = Some((at, taken));
        }
    }

    /// Whether the path has room for more: no queue stands in front of it and it had carried more.
    pub fn has_room(&self, measured: Option<TcpInfo>) -> bool {
        let queue = measured
            .is_some_and(|tcp| is_noticeable(tcp.smoothed_rtt.saturating_sub(tcp.min_rtt), tcp.min_rtt));
        !queue && self.rate < self.best * FULL
    }

    /// How long no byte has been accepted.
    pub fn still_for(&self, now: Instant) -> Duration {
        self.moved.map_or(Duration::ZERO, |moved| now.saturating_duration_since(moved))
    }

    /// Bytes that one part in flight sent on average since the first sample. Compared with this, a part's own bytes
    /// tell whether it keeps up with the others, on slow and fast networks alike.
    pub fn share(&self) -> f64 {
        self.share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENTH: Duration = Duration::from_millis(100);

    #[test]
    fn the_share_is_what_one_part_in_flight_is_carried() {
        let (mut line, begun) = (Throughput::default(), Instant::now());
        line.sample(begun, 1000, 4);
        assert_eq!(line.share(), 0.0, "what was taken before is nobody's share");
        line.sample(begun + TENTH, 1400, 4);
        line.sample(begun + TENTH * 2, 1500, 1);
        assert_eq!(line.share(), 200.0);
    }

    #[test]
    fn a_line_stands_still_from_its_last_byte_on() {
        let (mut line, begun) = (Throughput::default(), Instant::now());
        assert_eq!(line.still_for(begun), Duration::ZERO);
        (0..=20).for_each(|tenth| line.sample(begun + TENTH * tenth, u64::from(tenth.min(5)), 1));
        assert_eq!(line.still_for(begun + TENTH * 20), TENTH * 15);
    }

    #[test]
    fn a_stopped_program_is_no_line_that_stands_still() {
        let (mut line, begun) = (Throughput::default(), Instant::now());
        line.sample(begun, 0, 1);
        let continued = begun + Duration::from_secs(60);
        line.sample(continued, 0, 1);
        assert_eq!(line.still_for(continued), Duration::ZERO);
    }
}
