//! The progress of all parts together: when bytes last moved, and how many one part sent on average.

use std::time::{Duration, Instant};

use super::window::is_noticeable;
use crate::storage::NetworkSample;

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
    /// Bytes per second of the last whole second, and the most of late.
    rate: f64,
    best: f64,
}

/// The path has headroom if the rate has fallen below this fraction of the best …
const FULL: f64 = 0.85;
/// … which fades by this fraction each second, because paths change.
const FADING: f64 = 0.02;

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
        let (begin, then) = self.second.filter(|_| since <= STOPPED).unwrap_or((at, taken));
        let lasted = at.saturating_duration_since(begin).as_secs_f64();
        if lasted >= 1.0 {
            self.rate = taken.saturating_sub(then) as f64 / lasted;
            self.best = (self.best * (1.0 - FADING)).max(self.rate);
        }
        self.second = Some(if lasted >= 1.0 { (at, taken) } else { (begin, then) });
    }

    /// Whether the path could carry more: it has carried more of late, no queue stands in front of it, and it is not the
    /// disk or a limit that holds the parts back.
    pub fn has_headroom(&self, seen: &NetworkSample) -> bool {
        let queued = seen
            .measured
            .is_some_and(|tcp| is_noticeable(tcp.smoothed_rtt.saturating_sub(tcp.min_rtt), tcp.min_rtt));
        !queued && !seen.waits_for_us && self.rate < self.best * FULL
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

    fn sample(taken: u64) -> NetworkSample {
        NetworkSample { taken, ..NetworkSample::default() }
    }

    #[test]
    fn a_path_that_carries_less_than_of_late_has_headroom_unless_we_hold_back() {
        let (mut line, begun, mut taken) = (Throughput::default(), Instant::now(), 0);
        let mut go_on = |line: &mut Throughput, tenths: std::ops::Range<u32>, bytes: u64| {
            for tenth in tenths {
                taken += bytes;
                line.sample(begun + TENTH * tenth, taken, 4);
            }
            sample(taken)
        };
        let full = go_on(&mut line, 0..50, 1000);
        assert!(!line.has_headroom(&full));
        let seen = go_on(&mut line, 50..80, 500);
        assert!(line.has_headroom(&seen));
        assert!(!line.has_headroom(&NetworkSample { waits_for_us: true, ..seen }));
        // A pause between files is no lack of rate.
        let after_pause = go_on(&mut line, 600..601, 0);
        assert_eq!(line.has_headroom(&after_pause), line.has_headroom(&seen));
        // What was possible is forgotten in time.
        let seen = go_on(&mut line, 601..1300, 500);
        assert!(!line.has_headroom(&seen));
    }
}
