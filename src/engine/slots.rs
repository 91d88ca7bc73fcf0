//! How many parts are in flight, over all files: places that are given out and taken back.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Parts in flight when nothing is said. Amazon's guidance is one connection for each 85–90 MB/s wanted; a
/// line with loss or delay wants several flows to fill.
const PLACES: usize = 8;
/// Storage that asks for less gets less at most this often: the parts in flight all hear the same SlowDown.
const SHRINK_EVERY: Duration = Duration::from_secs(2);
/// Finished parts in a row, as a multiple of the places, after which one more place is tried again.
const GROW_AFTER: usize = 4;

/// The places. Fixed when the user named a number, else fewer while storage asks for less.
pub struct Slots {
    semaphore: Arc<Semaphore>,
    adaptive: bool,
    state: Mutex<State>,
    waiting: AtomicUsize,
}

struct State {
    places: usize,
    /// Places to take out of use as soon as they are given back.
    owed: usize,
    good: usize,
    shrunk: Option<Instant>,
}

/// A part's place. Given back when dropped.
pub struct Slot {
    permit: Option<OwnedSemaphorePermit>,
    slots: Arc<Slots>,
}

impl Slots {
    /// `fixed` places, or as many as is good.
    pub fn new(fixed: Option<usize>) -> Arc<Self> {
        let places = fixed.unwrap_or(PLACES);
        Arc::new(Self {
            semaphore: Arc::new(Semaphore::new(places)),
            adaptive: fixed.is_none(),
            state: Mutex::new(State { places, owed: 0, good: 0, shrunk: None }),
            waiting: AtomicUsize::new(0),
        })
    }

    /// Waits for a place, first come, first served.
    pub async fn take(self: &Arc<Self>) -> Slot {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _counted = scopeguard(&self.waiting);
        // Never closed, so there is always a permit; without one the place just is not counted.
        let permit = Arc::clone(&self.semaphore).acquire_owned().await.ok();
        Slot { permit, slots: Arc::clone(self) }
    }

    /// A place if one is free and nobody waits: for work that is only worth it then.
    pub fn take_spare(self: &Arc<Self>) -> Option<Slot> {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let permit = Arc::clone(&self.semaphore).try_acquire_owned().ok()?;
        Some(Slot { permit: Some(permit), slots: Arc::clone(self) })
    }

    /// Storage asks for less: half the places. Returns the new number if it changed.
    pub fn shrink(&self, now: Instant) -> Option<usize> {
        let mut state = self.state();
        let too_soon = state.shrunk.is_some_and(|at| now.duration_since(at) < SHRINK_EVERY);
        if !self.adaptive || too_soon || state.places == 1 {
            return None;
        }
        let places = state.places / 2;
        state.owed += state.places - places;
        state.places = places;
        state.shrunk = Some(now);
        state.good = 0;
        Some(places)
    }

    /// A part got through: after enough of them, one place more, up to the usual number.
    pub fn good(&self) -> Option<usize> {
        let mut state = self.state();
        if !self.adaptive || state.places >= PLACES {
            return None;
        }
        state.good += 1;
        if state.good < GROW_AFTER * state.places {
            return None;
        }
        state.good = 0;
        state.places += 1;
        if state.owed > 0 {
            state.owed -= 1;
        } else {
            self.semaphore.add_permits(1);
        }
        Some(state.places)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts down again when dropped, also when the wait is given up.
fn scopeguard(count: &AtomicUsize) -> impl Drop + '_ {
    struct Down<'a>(&'a AtomicUsize);
    impl Drop for Down<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
    Down(count)
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.slots.state();
        if state.owed > 0
            && let Some(permit) = self.permit.take()
        {
            state.owed -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_shrink_when_storage_asks_and_grow_back_slowly() {
        let slots = Slots::new(None);
        let mut held = Vec::new();
        for _ in 0..PLACES {
            held.push(slots.take().await);
        }
        let now = Instant::now();
        assert_eq!(slots.shrink(now), Some(PLACES / 2));
        assert_eq!(slots.shrink(now), None, "one SlowDown, heard by all parts, counts once");
        held.clear();
        assert_eq!(slots.semaphore.available_permits(), PLACES / 2);
        for _ in 1..GROW_AFTER * (PLACES / 2) {
            assert_eq!(slots.good(), None);
        }
        assert_eq!(slots.good(), Some(PLACES / 2 + 1));
        assert_eq!(slots.semaphore.available_permits(), PLACES / 2 + 1);
    }

    #[tokio::test]
    async fn a_number_named_by_the_user_is_kept() {
        let slots = Slots::new(Some(3));
        assert_eq!(slots.shrink(Instant::now()), None);
        assert_eq!(slots.good(), None);
        assert_eq!(slots.semaphore.available_permits(), 3);
    }

    #[tokio::test]
    async fn spare_places_are_given_only_when_nobody_waits() {
        let slots = Slots::new(Some(1));
        let held = slots.take_spare();
        assert!(held.is_some() && slots.take_spare().is_none());
        drop(held);
        assert!(slots.take_spare().is_some());
    }
}
