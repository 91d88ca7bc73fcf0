//! Detects parts that have stalled.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::body::BodyState;
use super::connect::{Probe, Wire};
use super::part::Put;
use crate::error::{Failure, Transport};
use crate::format::human_duration;

/// How often to look at a part in flight.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Watches one attempt: updates its progress, and ends it when it stalls.
pub(super) struct StallDetector<'a> {
    put: &'a Put<'a>,
    flow: &'a BodyState,
    probe: Probe,
    before: Wire,
    pub(super) taken: u64,
    /// The highest count seen on the socket.
    seen: u64,
    moved: Instant,
    patience: Duration,
}

impl<'a> StallDetector<'a> {
    pub(super) fn new(put: &'a Put<'a>, flow: &'a BodyState, probe: Probe, patience: Duration) -> Self {
        let before = probe.wire();
        Self { put, flow, probe, before, taken: 0, seen: before.taken, moved: Instant::now(), patience }
    }

    /// Waits for `work`, and watches meanwhile.
    pub(super) async fn over<F: Future>(&mut self, work: F) -> Result<F::Output, Failure> {
        let mut work = std::pin::pin!(work);
        let mut looks = tokio::time::interval(POLL_INTERVAL);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                done = &mut work => {
                    self.look();
                    self.moved = Instant::now();
                    return Ok(done);
                }
                () = self.flow.all_handed.notified() => (self.put.on_handed)(),
                _ = looks.tick() => self.look(),
            }
            let (taken, size, still) = (self.taken, self.put.range.1, self.moved.elapsed());
            let answer_patience = self.patience.saturating_mul(self.put.answer_patience);
            if taken < size && still >= self.patience {
                let still = human_duration(self.patience);
                let detail = format!("no byte taken after {taken} of {size} for {still}");
                return Err(Failure::transport(Transport::Stalled, detail));
            }
            if still >= answer_patience {
                let detail = format!("none {} after it took the whole part", human_duration(answer_patience));
                return Err(Failure::transport(Transport::ResponseTimeout, detail));
            }
        }
    }

    fn look(&mut self) {
        let wire = self.probe.wire();
        let handed = self.flow.handed();
        // Headers and TLS records are included (under 1 %), so never count more than was handed over.
        let taken = wire.taken.saturating_sub(self.before.taken).min(handed);
        // If nothing waits in the kernel and the body waits for the disk or the limiter, the network has not stalled.
        // Movement is judged by the socket's own count: the capped one stops short of the last bytes of a large part.
        let ours = wire.waiting == 0 && self.flow.waits_for_us();
        if wire.taken > self.seen || ours {
            self.seen = self.seen.max(wire.taken);
            self.moved = Instant::now();
        }
        if self.flow.is_held() {
            self.put.progress.note_held();
        }
        self.count(taken);
    }

    fn count(&mut self, taken: u64) {
        if taken > self.taken {
            self.put.sent.fetch_add(taken - self.taken, Ordering::Relaxed);
            self.taken = taken;
            self.put.progress.set(self.put.attempt, taken);
        }
    }

    pub(super) fn all_taken(&mut self) {
        self.count(self.put.range.1);
    }
}
