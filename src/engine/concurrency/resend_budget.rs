//! Limits on bytes that are sent twice: by hedges, and by parts that are restarted.

use std::time::{Duration, Instant};

/// How often a hedge is allowed while no part makes progress.
const IDLE_HEDGE_INTERVAL: Duration = Duration::from_secs(30);
/// One byte in this many may be sent again for slow parts, beyond the first hedge.
const RESENT_DIVISOR: u64 = 100;

/// What was sent again so far.
#[derive(Default)]
pub struct ResendBudget {
    bytes: u64,
    /// When a hedge was last allowed while no part made progress.
    last_idle_hedge: Option<Instant>,
}

impl ResendBudget {
    /// Whether a slow part of this size may be hedged. `acked`: bytes accepted by the network so far.
    pub fn allows_hedge(&self, size: u64, acked: u64) -> bool {
        self.bytes == 0 || self.allows(size, acked)
    }

    /// Whether this many of `total` bytes may be sent again.
    pub fn allows(&self, bytes: u64, total: u64) -> bool {
        (self.bytes + bytes) * RESENT_DIVISOR <= total
    }

    /// Counts bytes that are sent again.
    pub fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// Whether a part may be hedged although no part makes progress.
    pub fn allows_idle_hedge(&self, now: Instant) -> bool {
        self.last_idle_hedge.is_none_or(|last| now.duration_since(last) >= IDLE_HEDGE_INTERVAL)
    }

    /// Notes such a hedge.
    pub fn note_idle_hedge(&mut self, now: Instant) {
        self.last_idle_hedge = Some(now);
    }
}
