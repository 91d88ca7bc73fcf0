//! Who may call the API, and when: so many at once, and nobody while it asks for a pause.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Calls under way at once. With 24 a thousand small files, three calls each at 40 ms, take some 5 s; more would
/// only find the rate limit sooner, which is not published (429 for the drive's neighbours comes at 30 to 50 a
/// minute).
const CALLS_AT_ONCE: usize = 24;

/// What all calls go through.
pub(super) struct Gate {
    /// First come, first served.
    places: Semaphore,
    /// A 429 is about the account, not about one call: all wait until then.
    not_before: Mutex<Option<Instant>>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { places: Semaphore::new(CALLS_AT_ONCE), not_before: Mutex::default() }
    }
}

impl Gate {
    /// Waits for a place. A call keeps its place until it is settled, so that none is overtaken for ever while the
    /// service takes only a few.
    pub(super) async fn place(&self) -> Option<SemaphorePermit<'_>> {
        // Never closed, so there always is one.
        self.places.acquire().await.ok()
    }

    /// Nobody calls for so long.
    pub(super) fn close(&self, pause: Duration) {
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
