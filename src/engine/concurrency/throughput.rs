//! The progress of all parts together: when bytes last moved, how many one part sent on average, and whether the path
//! could carry more.

use std::time::{Duration, Instant};

use super::window::is_noticeable;
use crate::storage::NetworkSample;

/// If samples are further apart, the process was stopped (Ctrl-Z, debugger), and not the network.
const MAX_SAMPLE_GAP: Duration = Duration::from_secs(1);

/// The path has headroom if the rate is below this fraction of the best one.
const FULL: f64 = 0.85;
/// The best rate fades by this fraction each second, because paths change.
const FADING: f64 = 0.02;

/// A queue that vanishes this soon after losses was our own. One of others only becomes shorter.
const EMPTIED_WITHIN: Duration = Duration::from_secs(3);

/// Sampled every [`super::permits::SAMPLE_INTERVAL`] while parts are in flight.
#[derive(Default)]
pub struct Throughput {
    /// The last sample: its time, and bytes accepted by then.
    last: Option<(Instant, u64)>,
    /// When bytes were last accepted.
    moved: Option<Instant>,
    share: f64,
    /// The current second: its start, and bytes accepted by then.
    second: Option<(Instant, u64)>,
    /// Bytes per second in the last whole second.
    rate: f64,
    /// The best recent rate.
    best: f64,
    /// Packets sent again by the start of the current second.
    retransmits: u64,
    /// When there was last a noticeable queue as long as the path's own round trip.
    filled: Option<Instant>,
    /// Packets were lost in the last whole second, about when that queue stood.
    overflowed: bool,
}

impl Throughput {
    /// Adds a sample, and the number of parts in flight.
    pub fn add(&mut self, at: Instant, sample: &NetworkSample, in_flight: usize) {
        let acked = sample.acked;
        let (before, gap) = self
            .last
            .map_or((acked, Duration::ZERO), |(last, before)| (before, at.saturating_duration_since(last)));
        if acked > before || gap > MAX_SAMPLE_GAP || self.moved.is_none() {
            self.moved = Some(at);
        }
        self.share += acked.saturating_sub(before) as f64 / in_flight.max(1) as f64;
        self.last = Some((at, acked));
        if gap > MAX_SAMPLE_GAP {
            (self.second, self.filled, self.overflowed) = (None, None, false);
        }
        if sample.tcp.is_some_and(|tcp| tcp.queue() >= tcp.min_rtt && is_noticeable(tcp.queue(), tcp.min_rtt))
        {
            self.filled = Some(at);
        }
        let retransmits = sample.tcp.map_or(self.retransmits, |tcp| tcp.retransmits);
        let (begin, then) = *self.second.get_or_insert_with(|| {
            self.retransmits = retransmits;
            (at, acked)
        });
        let elapsed = at.saturating_duration_since(begin).as_secs_f64();
        if elapsed >= 1.0 {
            self.rate = acked.saturating_sub(then) as f64 / elapsed;
            self.best = (self.best * (1.0 - FADING)).max(self.rate);
            let soon = |filled| at.saturating_duration_since(filled) <= EMPTIED_WITHIN;
            self.overflowed = retransmits > self.retransmits && self.filled.is_some_and(soon);
            self.retransmits = retransmits;
            self.second = Some((at, acked));
        }
    }

    /// Whether the path could carry more than is being sent: it did so recently, or its queue has just overflowed, after which
    /// CUBIC sends less for seconds (RFC 9438, 4.6). It has no queue now, and neither the disk nor a limit slows the parts
    /// down.
    pub fn has_headroom(&self, sample: &NetworkSample) -> bool {
        let queued = sample.tcp.is_some_and(|tcp| is_noticeable(tcp.queue(), tcp.min_rtt));
        !queued && !sample.locally_limited && (self.overflowed || self.rate < self.best * FULL)
    }

    /// How long no byte has been accepted.
    pub fn idle_for(&self, now: Instant) -> Duration {
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
    use crate::platform::TcpInfo;

    const TENTH: Duration = Duration::from_millis(100);

    fn sample(acked: u64) -> NetworkSample {
        NetworkSample { acked, ..NetworkSample::default() }
    }

    #[test]
    fn the_share_is_what_one_part_in_flight_sends_on_average() {
        let (mut throughput, begun) = (Throughput::default(), Instant::now());
        throughput.add(begun, &sample(1000), 4);
        assert_eq!(throughput.share(), 0.0, "bytes before the first sample belong to no share");
        throughput.add(begun + TENTH, &sample(1400), 4);
        throughput.add(begun + TENTH * 2, &sample(1500), 1);
        assert_eq!(throughput.share(), 200.0);
    }

    #[test]
    fn idle_time_starts_at_the_last_byte() {
        let (mut throughput, begun) = (Throughput::default(), Instant::now());
        assert_eq!(throughput.idle_for(begun), Duration::ZERO);
        (0..=20).for_each(|tenth| throughput.add(begun + TENTH * tenth, &sample(u64::from(tenth.min(5))), 1));
        assert_eq!(throughput.idle_for(begun + TENTH * 20), TENTH * 15);
    }

    #[test]
    fn time_in_which_the_process_was_stopped_is_not_idle() {
        let (mut throughput, begun) = (Throughput::default(), Instant::now());
        throughput.add(begun, &sample(0), 1);
        let continued = begun + Duration::from_secs(60);
        throughput.add(continued, &sample(0), 1);
        assert_eq!(throughput.idle_for(continued), Duration::ZERO);
    }

    #[test]
    fn a_path_that_carries_less_than_before_has_headroom_unless_we_are_limited_locally() {
        let (mut throughput, begun, mut acked) = (Throughput::default(), Instant::now(), 0);
        let mut send = |throughput: &mut Throughput, tenths: std::ops::Range<u32>, bytes: u64| {
            for tenth in tenths {
                acked += bytes;
                throughput.add(begun + TENTH * tenth, &sample(acked), 4);
            }
            sample(acked)
        };
        let full = send(&mut throughput, 0..50, 1000);
        assert!(!throughput.has_headroom(&full));
        let sample = send(&mut throughput, 50..80, 500);
        assert!(throughput.has_headroom(&sample));
        assert!(!throughput.has_headroom(&NetworkSample { locally_limited: true, ..sample }));
        // A pause between files does not lower the rate.
        let after_pause = send(&mut throughput, 600..601, 0);
        assert_eq!(throughput.has_headroom(&after_pause), throughput.has_headroom(&sample));
        // The best rate fades.
        let sample = send(&mut throughput, 601..1300, 500);
        assert!(!throughput.has_headroom(&sample));
    }

    #[test]
    fn a_path_has_headroom_after_losses_that_emptied_its_queue() {
        let (mut throughput, begun) = (Throughput::default(), Instant::now());
        let min_rtt = Duration::from_millis(20);
        let mut after = |seconds: u32, retransmits: u64, smoothed_rtt: Duration| {
            let tcp = TcpInfo { smoothed_rtt, min_rtt, retransmits, ..TcpInfo::default() };
            let sample = NetworkSample {
                acked: u64::from(seconds) * 1000,
                tcp: Some(tcp),
                ..NetworkSample::default()
            };
            throughput.add(begun + TENTH * 10 * seconds, &sample, 4);
            throughput.has_headroom(&sample)
        };
        assert!(!after(0, 0, min_rtt));
        assert!(!after(1, 1, min_rtt), "a loss without a queue");
        assert!(!after(2, 3, min_rtt * 3), "the queue is still there");
        assert!(after(3, 4, min_rtt));
        assert!(!after(4, 4, min_rtt), "the queue is gone for another reason");
        assert!(!after(6, 5, min_rtt), "the queue is gone for too long");
        assert!(!after(7, 5, min_rtt * 3));
        assert!(after(8, 6, min_rtt));
        assert!(!after(60, 7, min_rtt), "there was a pause between files");
    }
}
