//! Limits concurrent calls, and pauses all calls when the service asks for it.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::Call;
use crate::mutex::lock;

/// Limits all calls of a client.
pub(super) struct CallLimiter {
    /// First come, first served.
    all: Semaphore,
    kinds: [Semaphore; Call::KINDS],
    /// A 429 is about the account, not about one call, so all calls wait.
    not_before: Mutex<Option<Instant>>,
}

/// The permit of one call.
pub(super) struct Permit<'a> {
    _of_kind: Option<SemaphorePermit<'a>>,
    _of_all: Option<SemaphorePermit<'a>>,
}

impl CallLimiter {
    /// Allows this many concurrent calls, and at most two thirds of them of one kind, so that other calls proceed when one
    /// endpoint does not respond.
    pub(super) fn new(calls: usize) -> Self {
        let of_kind = (calls * 2 / 3).max(1);
        Self {
            all: Semaphore::new(calls),
            kinds: std::array::from_fn(|_| Semaphore::new(of_kind)),
            not_before: Mutex::default(),
        }
    }

    /// Waits for a permit. Release it while a failed call backs off, because other calls may succeed meanwhile.
    pub(super) async fn acquire(&self, call: Call) -> Permit<'_> {
        // The semaphores are never closed, so this never fails. The permit of the kind comes first, so that a call that waits
        // for it holds no other.
        let of_kind = self.kinds[call as usize].acquire().await.ok();
        Permit { _of_kind: of_kind, _of_all: self.all.acquire().await.ok() }
    }

    /// Pauses all calls for this long.
    pub(super) fn pause_for(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut not_before = lock(&self.not_before);
        *not_before = Some(not_before.map_or(until, |at| at.max(until)));
    }

    /// Waits until the pause is over.
    pub(super) async fn wait(&self) {
        loop {
            let until = *lock(&self.not_before);
            let Some(until) = until.filter(|until| *until > Instant::now()) else { return };
            tokio::time::sleep_until(until.into()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLS: usize = 30;
    const OF_A_KIND: usize = 20;

    #[tokio::test]
    async fn calls_of_one_kind_that_hang_leave_permits_to_others() {
        let limiter = CallLimiter::new(CALLS);
        let mut held = Vec::new();
        for _ in 0..OF_A_KIND {
            held.push(limiter.acquire(Call::Start).await);
        }
        let soon = Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, limiter.acquire(Call::Start)).await.is_err());
        for _ in OF_A_KIND..CALLS {
            held.push(limiter.acquire(Call::Finalize).await);
        }
        assert!(tokio::time::timeout(soon, limiter.acquire(Call::Tree)).await.is_err());
        held.pop();
        limiter.acquire(Call::Tree).await;
    }
}
