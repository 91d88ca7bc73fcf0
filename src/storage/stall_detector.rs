//! Detects parts that have stalled.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::body::BodyState;
use super::part::Put;
use super::socket::Probe;
use crate::error::{Failure, Transport};
use crate::format::human_duration;

/// How often to check a part in flight.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// Watches one attempt: updates its progress, and ends it when it stalls.
pub(super) struct StallDetector<'a> {
    put: &'a Put<'a>,
    body: &'a BodyState,
    probe: Probe,
    /// The socket's count at the start of the attempt.
    acked_before: u64,
    /// The highest count of the socket.
    acked_max: u64,
    /// Bytes of the part that were accepted.
    pub(super) acked: u64,
    moved: Instant,
    timeout: Duration,
}

impl<'a> StallDetector<'a> {
    pub(super) fn new(put: &'a Put<'a>, body: &'a BodyState, probe: Probe, timeout: Duration) -> Self {
        let acked_before = probe.sent_bytes().acked;
        Self {
            put,
            body,
            probe,
            acked_before,
            acked_max: acked_before,
            acked: 0,
            moved: Instant::now(),
            timeout,
        }
    }

    /// Runs `work` until it is done or the attempt stalls.
    pub(super) async fn watch<F: Future>(&mut self, work: F) -> Result<F::Output, Failure> {
        let mut work = std::pin::pin!(work);
        let mut ticks = tokio::time::interval(CHECK_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                done = &mut work => {
                    self.check();
                    self.moved = Instant::now();
                    return Ok(done);
                }
                () = self.body.all_handed.notified() => (self.put.on_handed)(),
                _ = ticks.tick() => self.check(),
            }
            let (acked, size, idle) = (self.acked, self.put.range.1, self.moved.elapsed());
            let response_timeout = self.timeout.saturating_mul(self.put.response_timeout_factor);
            if acked < size && idle >= self.timeout {
                let timeout = human_duration(self.timeout);
                let detail = format!("no byte sent for {timeout}, after {acked} of {size}");
                return Err(Failure::transport(Transport::Stalled, detail));
            }
            if idle >= response_timeout {
                let timeout = human_duration(response_timeout);
                let detail = format!("none within {timeout} of sending the whole part");
                return Err(Failure::transport(Transport::ResponseTimeout, detail));
            }
        }
    }

    fn check(&mut self) {
        let sent = self.probe.sent_bytes();
        // If the kernel has sent everything and the body waits for the disk or the limiter, the network has not stalled.
        let locally_limited = sent.unacked == 0 && self.body.is_locally_limited();
        // Compares the socket's own count. The part's count is capped, and stops short of the last bytes of a large part.
        if sent.acked > self.acked_max || locally_limited {
            self.acked_max = self.acked_max.max(sent.acked);
            self.moved = Instant::now();
        }
        if self.body.is_held() {
            self.put.progress.note_held();
        }
        // The socket's count includes headers and TLS records (under 1 %), so it is capped by what was handed over.
        self.set_acked(sent.acked.saturating_sub(self.acked_before).min(self.body.handed()));
    }

    fn set_acked(&mut self, acked: u64) {
        if acked > self.acked {
            self.put.sent.fetch_add(acked - self.acked, Ordering::Relaxed);
            self.acked = acked;
            self.put.progress.set(self.put.attempt, acked);
        }
    }

    /// Counts the whole part as accepted.
    pub(super) fn set_complete(&mut self) {
        self.set_acked(self.put.range.1);
    }
}
