//! Measures the network over a window of time: rate, queue, losses.

use std::time::{Duration, Instant};

use crate::platform::TcpInfo;

/// How long to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// In slow start, where a doubling shows clearly and each window costs time. Without round-trip times, the same as
    /// [`Self::Usual`].
    Short,
    /// A change of the limit shows after a few round trips, because TCP has to react, but noise takes a moment to level
    /// out.
    Usual,
    /// In the steady state, where nothing is urgent.
    Long,
}

impl Length {
    fn of(self, round_trip: Option<Duration>) -> Duration {
        let millis = Duration::from_millis;
        match (self, round_trip) {
            (Self::Short, Some(round_trip)) => (round_trip * 2).clamp(millis(100), millis(1000)),
            (Self::Long, round_trip) => Self::Usual.of(round_trip) * 2,
            (_, round_trip) => (round_trip.unwrap_or_default() * 4).clamp(millis(500), millis(3000)),
        }
    }
}

/// New connections are set up and grow for some round trips before they are measured.
const WARM: Duration = Duration::from_millis(50);
/// See [`WARM`].
const WARM_TRIPS: u32 = 2;

/// If more than this fraction of the packets is resent, our own connections cause it: 32 BBR connections measured
/// nearly 20 % dropped packets on the path of [`super::controller::MAX_LIMIT`].
const LOST_MOST: f64 = 0.01;
/// Bytes per packet, for estimates.
const PACKET: f64 = 1448.0;
/// Others notice a queue that is this long and as long as the path itself (ITU-T G.114: 150 ms in total for speech).
const QUEUE: Duration = Duration::from_millis(100);
/// A shorter queue is noise. One of a fifth of the path's own round trip is noticeable.
const UNREST: Duration = Duration::from_millis(10);

/// The minimum round-trip time is forgotten after this or twice this, because the path may have changed.
const LEAST_KEPT: Duration = Duration::from_secs(120);

/// One sample of the network.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    pub at: Instant,
    /// Bytes accepted by the network so far, over all parts.
    pub acked: u64,
    /// A part had to wait for a permit since the last sample. Otherwise the number of permits says nothing.
    pub starved: bool,
    /// Parts that move.
    pub moving: usize,
    /// Of the connections in flight, if the system tells: the mean of their round-trip times, the minimum, and the sums
    /// of what they have counted so far.
    pub tcp: Option<TcpInfo>,
}

/// A window of time with a constant limit.
pub struct Window {
    begin: Instant,
    /// Bytes accepted when it was opened.
    before: u64,
    /// The same when new connections had warmed up.
    taken: Option<u64>,
    tcp: Option<TcpInfo>,
    looks: u32,
    short: u32,
    queue: Duration,
    timed: u32,
    smoothed: Duration,
}

/// What a window has measured.
pub struct WindowStats {
    /// Parts waited for permits, and bytes were accepted. Otherwise it says nothing about the limit.
    pub conclusive: bool,
    /// Bytes per second.
    pub rate: f64,
    /// There was a queue …
    pub queue_noticeable: bool,
    /// … or that stood: the path is full.
    pub queue_standing: bool,
    /// Packets were lost, but not because of a queue: the path loses them.
    pub lossy: bool,
    /// Connections waited for their receivers, not for the network.
    pub receiver_limited: bool,
    /// Round-trip times are not available.
    pub no_rtt: bool,
}

/// The minimum round-trip time of late.
#[derive(Default)]
pub struct MinRtt {
    now: Option<Duration>,
    before: Option<Duration>,
    since: Option<Instant>,
}

impl MinRtt {
    /// Adds a round-trip time.
    pub fn add(&mut self, at: Instant, least: Duration) {
        if self.since.is_none_or(|since| at.duration_since(since) >= LEAST_KEPT) {
            (self.before, self.now, self.since) = (self.now, None, Some(at));
        }
        self.now = Some(self.now.map_or(least, |now| now.min(least)));
    }

    /// The minimum, or zero while there is none.
    pub fn get(&self) -> Duration {
        [self.now, self.before].into_iter().flatten().min().unwrap_or_default()
    }
}

/// Whether a queue of this length is noticeable on a path with this minimum round-trip time.
pub fn is_noticeable(queue: Duration, min_rtt: Duration) -> bool {
    queue > UNREST.max(min_rtt / 5)
}

/// Whether others on the path notice this queue.
pub fn is_queue_standing(tcp: &TcpInfo) -> bool {
    tcp.smoothed_rtt.saturating_sub(tcp.min_rtt) > QUEUE.max(tcp.min_rtt)
}

impl Window {
    /// Opens a window with this sample.
    pub fn new(look: &Sample) -> Self {
        Self {
            begin: look.at,
            before: look.acked,
            taken: None,
            tcp: None,
            looks: 0,
            short: 0,
            queue: Duration::ZERO,
            timed: 0,
            smoothed: Duration::ZERO,
        }
    }

    /// The result, once the window is long enough.
    pub fn stats(&self, look: &Sample, least: Duration, length: Length) -> Option<WindowStats> {
        let taken = self.taken?;
        let smoothed = self.smoothed.checked_div(self.timed);
        let lasted = look.at.duration_since(self.begin);
        if lasted < length.of(smoothed) {
            return None;
        }
        let rate = look.acked.saturating_sub(taken) as f64 / lasted.as_secs_f64();
        let tcp = look.tcp.zip(self.tcp);
        let resent = tcp.map_or(0, |(now, then)| now.retransmits.saturating_sub(then.retransmits));
        let few = resent as f64 * PACKET < (rate * lasted.as_secs_f64()) * LOST_MOST;
        // Round trips of a connection that waits for its receiver are late, but not in a queue.
        let receiver_limited = tcp.is_some_and(|(now, then)| {
            let limited = now.receiver_limited.saturating_sub(then.receiver_limited);
            limited * 2 > now.busy.saturating_sub(then.busy)
        });
        let queue = self.queue.checked_div(self.timed);
        let longer = |than: Duration| !receiver_limited && queue.is_some_and(|queue| queue > than);
        Some(WindowStats {
            rate,
            conclusive: self.short * 2 >= self.looks && rate > 0.0,
            queue_noticeable: !receiver_limited && queue.is_some_and(|queue| is_noticeable(queue, least)),
            queue_standing: longer(QUEUE.max(least)),
            lossy: resent > 0 && few && !receiver_limited && queue.is_some_and(|queue| queue <= least / 2),
            receiver_limited,
            no_rtt: queue.is_none(),
        })
    }

    /// Adds a sample.
    pub fn add(&mut self, look: &Sample, least: Duration) {
        if self.taken.is_none() {
            if look.acked == self.before {
                // No response so far: neither the round-trip time nor a queue is known.
                self.begin = look.at;
            }
            let smoothed = look.tcp.map_or(Duration::ZERO, |measured| measured.smoothed_rtt);
            if look.at.duration_since(self.begin) < WARM.max(smoothed * WARM_TRIPS) {
                return;
            }
            (self.begin, self.taken) = (look.at, Some(look.acked));
            self.tcp = look.tcp;
        }
        self.looks += 1;
        self.short += u32::from(look.starved);
        if let Some(measured) = look.tcp {
            self.timed += 1;
            self.queue += measured.smoothed_rtt.saturating_sub(least);
            self.smoothed += measured.smoothed_rtt;
        }
    }
}
