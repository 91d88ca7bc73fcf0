//! Measures the network over a window of time: rate, queue, losses.

use std::time::{Duration, Instant};

use crate::platform::TcpInfo;

/// How long to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// In slow start, where a doubled rate shows clearly and each window costs time. Without round-trip times,
    /// it ends after [`SMOOTH_BYTES`] of each part and eight times the shortest connect time, at the latest like
    /// [`Self::Usual`].
    Short,
    /// For a probe. A new limit shows after a few round trips, because TCP has to react, and noise has to average out.
    Usual,
    /// In the steady state, where nothing is urgent.
    Long,
}

impl Length {
    fn of(self, rtt: Option<Duration>) -> Duration {
        let millis = Duration::from_millis;
        match (self, rtt) {
            (Self::Short, Some(rtt)) => (rtt * 2).clamp(millis(100), millis(1000)),
            (Self::Long, rtt) => Self::Usual.of(rtt) * 2,
            (_, Some(rtt)) => (rtt * 4).clamp(millis(500), millis(3000)),
            (_, None) => NO_RTT_WINDOW,
        }
    }
}

/// Without round-trip times, bytes count when others follow them into a full send buffer. It takes more only when a third of
/// it is free (Linux): with 256 KiB at 256 KiB/s, that takes 0.33 s.
const NO_RTT_WINDOW: Duration = Duration::from_secs(1);
/// In slow start, a window may be shorter if it has this many bytes of each part: three such steps.
const SMOOTH_BYTES: u64 = 256 * 1024;
/// New connections need this long and this many round trips to reach their speed. Only then does a window begin.
const WARM_UP: Duration = Duration::from_millis(50);
/// See [`WARM_UP`].
const WARM_UP_ROUND_TRIPS: u32 = 2;
/// Without round-trip times, what is in the send buffers of parts that are held from now on counts as sent a second later,
/// or when a third of it is sent if that takes longer.
const DRAIN_TIME: Duration = Duration::from_millis(1500);

/// If more than this fraction of the packets is resent, our own connections cause the losses: 32 BBR connections lost
/// nearly 20 % of their packets on the path of [`super::controller::MAX_LIMIT`].
const MAX_RESENT: f64 = 0.01;
/// Bytes per packet, for estimates.
const PACKET: f64 = 1448.0;
/// A queue stands if it is longer than this and than the path's own round trip. Other users of the path notice it
/// (ITU-T G.114: speech tolerates 150 ms in total).
const STANDING_QUEUE: Duration = Duration::from_millis(100);
/// A queue is noticeable if it is longer than this and than a fifth of the path's own round trip. Less is noise.
const NOTICEABLE_QUEUE: Duration = Duration::from_millis(10);

/// A minimum round-trip time is forgotten after one to two times this, because the path may have changed.
const MIN_RTT_LIFETIME: Duration = Duration::from_secs(120);

/// One sample of the network.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    pub at: Instant,
    /// Bytes accepted by the network so far, over all parts.
    pub acked: u64,
    /// A part had to wait for a permit since the last sample. Otherwise the limit has no effect.
    pub starved: bool,
    /// Parts that may send and are in flight.
    pub moving: usize,
    /// Of the connections in flight, if the system reports it: the mean of their round-trip times, the minimum, and the
    /// sums of their counters.
    pub tcp: Option<TcpInfo>,
    /// If it does not: the shortest time in which a connection was established since the last sample.
    pub connect_time: Option<Duration>,
}

/// A window of time with a constant limit.
pub struct Window {
    /// The limit is lower than in the previous window.
    lowered: bool,
    begin: Instant,
    /// Bytes accepted when it was opened.
    acked_when_opened: u64,
    /// Bytes accepted at the end of the warm-up.
    acked_at_begin: Option<u64>,
    tcp_at_begin: Option<TcpInfo>,
    samples: u32,
    starved_samples: u32,
    rtt_samples: u32,
    queue_sum: Duration,
    rtt_sum: Duration,
}

/// The result of a window.
pub struct WindowStats {
    /// Parts waited for permits, and bytes were accepted. Otherwise the result says nothing about the limit.
    pub conclusive: bool,
    /// Bytes per second.
    pub rate: f64,
    /// There was a queue.
    pub queue_noticeable: bool,
    /// There was a queue that stood: the path is full.
    pub queue_standing: bool,
    /// Packets were lost without a queue: the path is lossy.
    pub lossy: bool,
    /// Connections waited for their receivers, not for the network.
    pub receiver_limited: bool,
    /// Round-trip times are not available.
    pub no_rtt: bool,
}

/// The recent minimum round-trip time, of TCP or of connections that were established.
#[derive(Default)]
pub struct MinRtt {
    current: Option<Duration>,
    previous: Option<Duration>,
    since: Option<Instant>,
}

impl MinRtt {
    /// Adds a round-trip time.
    pub fn add(&mut self, at: Instant, rtt: Duration) {
        if self.since.is_none_or(|since| at.duration_since(since) >= MIN_RTT_LIFETIME) {
            (self.previous, self.current, self.since) = (self.current, None, Some(at));
        }
        self.current = Some(self.current.map_or(rtt, |min| min.min(rtt)));
    }

    /// The minimum, or zero while there is none.
    pub fn get(&self) -> Duration {
        [self.current, self.previous].into_iter().flatten().min().unwrap_or_default()
    }
}

/// Whether a queue of this length is noticeable on a path with this minimum round-trip time.
pub fn is_noticeable(queue: Duration, min_rtt: Duration) -> bool {
    queue > NOTICEABLE_QUEUE.max(min_rtt / 5)
}

/// Whether a queue of this length stands on a path with this minimum round-trip time.
pub fn is_standing(queue: Duration, min_rtt: Duration) -> bool {
    queue > STANDING_QUEUE.max(min_rtt)
}

impl Window {
    /// Opens a window with this sample. `lowered`: the limit is lower than before.
    pub fn new(sample: &Sample, lowered: bool) -> Self {
        Self {
            lowered,
            begin: sample.at,
            acked_when_opened: sample.acked,
            acked_at_begin: None,
            tcp_at_begin: None,
            samples: 0,
            starved_samples: 0,
            rtt_samples: 0,
            queue_sum: Duration::ZERO,
            rtt_sum: Duration::ZERO,
        }
    }

    /// The result, once the window is long enough.
    pub fn stats(&self, sample: &Sample, min_rtt: Duration, length: Length) -> Option<WindowStats> {
        let acked_at_begin = self.acked_at_begin?;
        let elapsed = sample.at.duration_since(self.begin);
        let bytes = sample.acked.saturating_sub(acked_at_begin);
        let mut rtt = self.rtt_sum.checked_div(self.rtt_samples);
        // The minimum is unknown behind a proxy.
        if length == Length::Short && !min_rtt.is_zero() && bytes >= SMOOTH_BYTES * sample.moving as u64 {
            rtt = rtt.or(Some(min_rtt * 4));
        }
        if elapsed < length.of(rtt) {
            return None;
        }
        let rate = bytes as f64 / elapsed.as_secs_f64();
        let tcp = sample.tcp.zip(self.tcp_at_begin);
        let resent = tcp.map_or(0, |(now, then)| now.retransmits.saturating_sub(then.retransmits));
        let few_resent = resent as f64 * PACKET < (rate * elapsed.as_secs_f64()) * MAX_RESENT;
        // If the receiver is slow, round trips take longer without a queue.
        let receiver_limited = tcp.is_some_and(|(now, then)| {
            let limited = now.receiver_limited.saturating_sub(then.receiver_limited);
            limited * 2 > now.busy.saturating_sub(then.busy)
        });
        let queue = self.queue_sum.checked_div(self.rtt_samples);
        let queue_if = |is: &dyn Fn(Duration) -> bool| !receiver_limited && queue.is_some_and(is);
        Some(WindowStats {
            rate,
            conclusive: self.starved_samples * 2 >= self.samples && rate > 0.0,
            queue_noticeable: queue_if(&|queue| is_noticeable(queue, min_rtt)),
            queue_standing: queue_if(&|queue| is_standing(queue, min_rtt)),
            lossy: resent > 0 && few_resent && queue_if(&|queue| !is_noticeable(queue, min_rtt)),
            receiver_limited,
            no_rtt: queue.is_none(),
        })
    }

    /// Adds a sample.
    pub fn add(&mut self, sample: &Sample, min_rtt: Duration) {
        if self.acked_at_begin.is_none() {
            if sample.acked == self.acked_when_opened {
                // Nothing was acknowledged so far, so neither the round-trip time nor the queue is known.
                self.begin = sample.at;
            }
            let warm_up = match sample.tcp {
                Some(tcp) => WARM_UP.max(tcp.smoothed_rtt * WARM_UP_ROUND_TRIPS),
                None if self.lowered => DRAIN_TIME,
                None => WARM_UP.max(min_rtt * WARM_UP_ROUND_TRIPS),
            };
            if sample.at.duration_since(self.begin) < warm_up {
                return;
            }
            (self.begin, self.acked_at_begin) = (sample.at, Some(sample.acked));
            self.tcp_at_begin = sample.tcp;
        }
        self.samples += 1;
        self.starved_samples += u32::from(sample.starved);
        if let Some(tcp) = sample.tcp {
            self.rtt_samples += 1;
            self.queue_sum += tcp.smoothed_rtt.saturating_sub(min_rtt);
            self.rtt_sum += tcp.smoothed_rtt;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_rtt_buffers_of_held_parts_do_not_count_at_a_lower_limit() {
        let rate = |lowered| {
            let begun = Instant::now();
            // 10 kB/s, and 100 kB in buffers that count after a second.
            let sample = |tenth: u32| Sample {
                at: begun + Duration::from_millis(100) * tenth,
                acked: u64::from(tenth) * 1000 + if tenth < 11 { 0 } else { 100_000 },
                starved: true,
                moving: 4,
                tcp: None,
                connect_time: None,
            };
            let mut window = Window::new(&sample(0), lowered);
            let stats = |tenth| {
                window.add(&sample(tenth), Duration::ZERO);
                window.stats(&sample(tenth), Duration::ZERO, Length::Usual)
            };
            (1..).find_map(stats).unwrap().rate.round()
        };
        assert_eq!(rate(true), 10e3);
        assert_eq!(rate(false), 110e3);
    }
}
