//! What the network does over a stretch of time: its rate, its queue, its losses.

use std::time::{Duration, Instant};

use crate::platform::TcpInfo;

/// An answer of a number needs so many round trips, for the loop that it closes is TCP's …
const ROUND_TRIPS: u32 = 4;
/// … and not less than this, for noise …
const WINDOW_LEAST: Duration = Duration::from_millis(500);
/// … nor more than this.
const WINDOW_MOST: Duration = Duration::from_secs(3);
/// New connections come about, and grow for some round trips, before they are judged.
const WARM: Duration = Duration::from_millis(50);
/// See [`WARM`].
const WARM_TRIPS: u32 = 2;

/// When more than this share has to be sent again, it is our own crowd that makes it so: 32 connections of BBR
/// measured nearly one packet in five dropped on the line of [`super::controller::MAX_LIMIT`].
const LOST_MOST: f64 = 0.01;
/// Bytes in a packet, to reckon with.
const PACKET: f64 = 1448.0;
/// A queue of this and as long as the way itself is one that others notice (ITU-T G.114: 150 ms in all for
/// talk).
const QUEUE: Duration = Duration::from_millis(100);
/// A queue of less than this is the line's own unrest; one of half the way itself is felt.
const UNREST: Duration = Duration::from_millis(10);

/// The shortest round trip is forgotten after twice this, for the way may have become longer.
const LEAST_KEPT: Duration = Duration::from_secs(120);

/// What is seen of the network at one time.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// When.
    pub at: Instant,
    /// Bytes taken by the network so far, over all parts.
    pub acked: u64,
    /// Whether a part had to wait for a place since the last look: without that, places say nothing.
    pub starved: bool,
    /// Of the connections in flight, where the system tells: the mean of their round trips, the shortest of all,
    /// and the packets resent so far.
    pub tcp: Option<TcpInfo>,
}

/// A stretch of time with the same number.
pub struct Window {
    begin: Instant,
    /// Bytes taken when it was opened.
    before: u64,
    /// And when what was new had come about.
    taken: Option<u64>,
    resent: Option<u64>,
    looks: u32,
    short: u32,
    queue: Duration,
    timed: u32,
    smoothed: Duration,
}

/// What a window has shown.
pub struct WindowStats {
    /// There was demand, and something was taken: else it is no answer to the number of places.
    pub conclusive: bool,
    /// Bytes a second.
    pub rate: f64,
    /// There was a queue …
    pub queue: bool,
    /// … that was felt …
    pub queue_noticeable: bool,
    /// … or stood: the line is full.
    pub queue_standing: bool,
    /// Some packets got lost, and not for a queue: the way loses them.
    pub lossy: bool,
    /// Nobody tells of queues.
    pub no_rtt: bool,
}

/// The shortest round trip of late.
#[derive(Default)]
pub struct MinRtt {
    now: Option<Duration>,
    before: Option<Duration>,
    since: Option<Instant>,
}

impl MinRtt {
    /// One more was seen.
    pub fn add(&mut self, at: Instant, least: Duration) {
        if self.since.is_none_or(|since| at.duration_since(since) >= LEAST_KEPT) {
            (self.before, self.now, self.since) = (self.now, None, Some(at));
        }
        self.now = Some(self.now.map_or(least, |now| now.min(least)));
    }

    /// It, or nothing while none was seen.
    pub fn get(&self) -> Duration {
        [self.now, self.before].into_iter().flatten().min().unwrap_or_default()
    }
}

impl Window {
    /// Opened with this look.
    pub fn new(look: &Sample) -> Self {
        Self {
            begin: look.at,
            before: look.acked,
            taken: None,
            resent: None,
            looks: 0,
            short: 0,
            queue: Duration::ZERO,
            timed: 0,
            smoothed: Duration::ZERO,
        }
    }

    /// What it has shown, when it is `settled` times as long as one has to be.
    pub fn stats(&self, look: &Sample, least: Duration, settled: u32) -> Option<WindowStats> {
        let taken = self.taken?;
        let smoothed = self.smoothed.checked_div(self.timed).unwrap_or_default();
        let length = (smoothed * ROUND_TRIPS).clamp(WINDOW_LEAST, WINDOW_MOST) * settled;
        let lasted = look.at.duration_since(self.begin);
        if lasted < length {
            return None;
        }
        let rate = look.acked.saturating_sub(taken) as f64 / lasted.as_secs_f64();
        let resent = look.tcp.zip(self.resent).map_or(0, |(now, then)| now.retransmits.saturating_sub(then));
        let few = resent as f64 * PACKET < (rate * lasted.as_secs_f64()) * LOST_MOST;
        let queue = self.queue.checked_div(self.timed);
        let longer = |than: Duration| queue.is_some_and(|queue| queue > than);
        Some(WindowStats {
            rate,
            conclusive: self.short * 2 >= self.looks && rate > 0.0,
            queue: longer(UNREST),
            queue_noticeable: longer(UNREST.max(least / 2)),
            queue_standing: longer(QUEUE.max(least)),
            lossy: resent > 0 && few && queue.is_some_and(|queue| queue <= least / 2),
            no_rtt: queue.is_none(),
        })
    }

    /// What it has shown so far of demand, and of a queue that is felt, if connections are warm.
    pub fn first(&self, least: Duration) -> Option<(bool, bool)> {
        self.taken?;
        let queue = self.queue.checked_div(self.timed);
        Some((self.short > 0, queue.is_some_and(|queue| queue > UNREST.max(least / 2))))
    }

    /// One more look.
    pub fn add(&mut self, look: &Sample, least: Duration) {
        if self.taken.is_none() {
            if look.acked == self.before {
                // Nothing has come back yet: neither a round trip nor a queue is known.
                self.begin = look.at;
            }
            let smoothed = look.tcp.map_or(Duration::ZERO, |measured| measured.smoothed_rtt);
            if look.at.duration_since(self.begin) < WARM.max(smoothed * WARM_TRIPS) {
                return;
            }
            (self.begin, self.taken) = (look.at, Some(look.acked));
            self.resent = look.tcp.map(|measured| measured.retransmits);
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
