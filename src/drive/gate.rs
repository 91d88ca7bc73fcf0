//! Who may call the API, and when: so many at once, and nobody while it asks for a pause.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::Call;

/// What all calls go through.
pub(super) struct Gate {
    /// First come, first served.
    places: Semaphore,
    kinds: [Semaphore; Call::KINDS],
    /// A 429 is about the account, not about one call: all wait until then.
    not_before: Mutex<Option<Instant>>,
}

/// A call's permit.
pub(super) struct Permit<'a> {
    _of_kind: Option<SemaphorePermit<'a>>,
    _of_all: Option<SemaphorePermit<'a>>,
}

impl Gate {
    /// For so many calls at once. Of one kind only two thirds, so that the others go on where one endpoint does not
    /// answer.
    pub(super) fn new(calls: usize) -> Self {
        let of_kind = (calls * 2 / 3).max(1);
        Self {
            places: Semaphore::new(calls),
            kinds: std::array::from_fn(|_| Semaphore::new(of_kind)),
            not_before: Mutex::default(),
        }
    }

    /// Waits for a permit. Not to be kept while a failed call backs off: those that would succeed wait for it.
    pub(super) async fn acquire(&self, call: Call) -> Permit<'_> {
        // Never closed, so there always is one. What waits for its kind takes none from the others.
        let of_kind = self.kinds[call as usize].acquire().await.ok();
        Permit { _of_kind: of_kind, _of_all: self.places.acquire().await.ok() }
    }

    /// Nobody calls for so long.
    pub(super) fn pause_for(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut not_before = self.not_before.lock().unwrap_or_else(PoisonError::into_inner);
        *not_before = Some(not_before.map_or(until, |at| at.max(until)));
    }

    /// Waits while the service wants nobody to call.
    pub(super) async fn wait(&self) {
        loop {
            let until = *self.not_before.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(until) = until.filter(|until| *until > Instant::now()) else { return };
            tokio::time::sleep_until(until.into()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLS: usize = 24;
    const OF_A_KIND: usize = 16;

    #[tokio::test]
    async fn calls_of_one_kind_that_hang_leave_places_to_the_others() {
        let gate = Gate::new(CALLS);
        let mut held = Vec::new();
        for _ in 0..OF_A_KIND {
            held.push(gate.acquire(Call::Start).await);
        }
        let soon = Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, gate.acquire(Call::Start)).await.is_err());
        for _ in OF_A_KIND..CALLS {
            held.push(gate.acquire(Call::Finalize).await);
        }
        assert!(tokio::time::timeout(soon, gate.acquire(Call::Tree)).await.is_err());
        held.pop();
        gate.acquire(Call::Tree).await;
    }
}
