//! Limits the bytes in flight with `--limit-rate`.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Parts in flight share the rate. Many of them would all finish late, and an interruption would cost them all. So no
/// more bytes are in flight than the rate sends in this many seconds.
const LIMITED_SECONDS: u64 = 10;

/// Without a rate, there is no limit.
pub struct RateBudget(Option<Kib>);

/// One permit for each KiB that may be in flight.
struct Kib {
    semaphore: Arc<Semaphore>,
    total: u32,
}

impl RateBudget {
    /// A budget for this rate in bytes per second.
    pub fn new(limit_rate: Option<u64>) -> Self {
        Self(limit_rate.map(|rate| {
            let kib = rate.saturating_mul(LIMITED_SECONDS) / 1024;
            let total = u32::try_from(kib).unwrap_or(u32::MAX).max(1);
            Kib { semaphore: Arc::new(Semaphore::new(total as usize)), total }
        }))
    }

    /// Waits until a part of this size in bytes may be in flight. A part that exceeds the budget waits for all of it.
    pub async fn acquire(&self, size: u64) -> Option<OwnedSemaphorePermit> {
        let Kib { semaphore, total } = self.0.as_ref()?;
        let kib = u32::try_from(size / 1024).unwrap_or(u32::MAX).clamp(1, *total);
        // The semaphore is never closed, so this never fails.
        Arc::clone(semaphore).acquire_many_owned(kib).await.ok()
    }
}
