//! How many parts are in flight, over all files: places that are given out and taken back, as many as the
//! user said or the [`Controller`] thinks best.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::Shared;
use super::controller::{Controller, USUAL};
use super::line::Line;
use super::window::Look;
use crate::report::Event;
use crate::retry::{Failure, Transport};
use crate::storage::Seen;

/// The network is looked at this often while parts are in flight.
pub const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A line on which nothing moves is tried by a second connection this often.
const PROBE_EVERY: Duration = Duration::from_secs(30);
/// Parts that are merely slow are sent twice up to one in so many bytes that were taken, beyond the first.
const HEDGED_MOST: u64 = 100;

/// A limited rate is shared by the parts in flight: of many, all are done late, and an interruption costs them all.
/// So no more are in flight than take so many seconds.
const LIMITED_SECONDS: u64 = 10;

/// The places. Fixed when the user named a number.
pub struct Slots {
    semaphore: Arc<Semaphore>,
    /// With a limited rate, KiB that may be in flight.
    room: Option<(Arc<Semaphore>, u32)>,
    state: Mutex<State>,
    waiting: AtomicUsize,
    /// Somebody had to wait since this was last looked at.
    short: AtomicBool,
    flying: AtomicUsize,
    begun: Notify,
}

struct State {
    places: usize,
    /// Places to take out of use as soon as they are given back.
    owed: usize,
    /// `None`: the number is fixed.
    controller: Option<Controller>,
    line: Line,
    /// Bytes taken by the network so far.
    taken: u64,
    /// The system does not tell what the peer has acknowledged.
    blind: bool,
    /// Bytes of the parts that were given a second connection for being slow.
    hedged: u64,
    /// When a second connection was last given though nothing moved.
    probed: Option<Instant>,
}

/// A part's place. Given back when dropped.
pub struct Slot {
    permit: Option<OwnedSemaphorePermit>,
    _room: Option<OwnedSemaphorePermit>,
    slots: Arc<Slots>,
}

impl Slots {
    /// `fixed` places, or as many as is good for the line and for the rate that it is limited to, bytes a second; in
    /// any case no more than `most`.
    pub fn new(fixed: Option<usize>, limit_rate: Option<u64>, most: usize) -> Arc<Self> {
        let fixed = fixed.map(|fixed| fixed.min(most));
        let controller = fixed.is_none().then(|| Controller::new(most));
        let room = limit_rate.filter(|_| fixed.is_none()).map(|rate| {
            let room = u32::try_from(rate.saturating_mul(LIMITED_SECONDS) / 1024).unwrap_or(u32::MAX).max(1);
            (Arc::new(Semaphore::new(room as usize)), room)
        });
        let places = fixed.or(controller.as_ref().map(Controller::places)).unwrap_or(1);
        Arc::new(Self {
            semaphore: Arc::new(Semaphore::new(places)),
            room,
            state: Mutex::new(State {
                places,
                owed: 0,
                controller,
                line: Line::default(),
                taken: 0,
                blind: true,
                hedged: 0,
                probed: None,
            }),
            waiting: AtomicUsize::new(0),
            short: AtomicBool::new(false),
            flying: AtomicUsize::new(0),
            begun: Notify::new(),
        })
    }

    /// Waits for a place for a part of so many bytes, first come, first served.
    pub async fn take(self: &Arc<Self>, size: u64) -> Slot {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _counted = scopeguard(&self.waiting);
        let room = match &self.room {
            Some((room, most)) => {
                let wanted = u32::try_from(size / 1024).unwrap_or(u32::MAX).clamp(1, *most);
                Arc::clone(room).acquire_many_owned(wanted).await.ok()
            }
            None => None,
        };
        if self.semaphore.available_permits() == 0 {
            self.short.store(true, Ordering::Relaxed);
        }
        // Never closed, so there is always a permit; without one the place just is not counted.
        let permit = Arc::clone(&self.semaphore).acquire_owned().await.ok();
        self.slot(permit, room)
    }

    /// A place if one is free and nobody waits: for work that is only worth it then.
    pub fn take_spare(self: &Arc<Self>) -> Option<Slot> {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let permit = Arc::clone(&self.semaphore).try_acquire_owned().ok()?;
        Some(self.slot(Some(permit), None))
    }

    /// A place for a second connection of a part when nothing moves at all: most likely it is the line that stands,
    /// or storage, so one connection is enough to find out. A number named by the user holds here too. Those who
    /// wait for a place could do nothing with it.
    pub fn take_probe(self: &Arc<Self>) -> Option<Slot> {
        let now = Instant::now();
        let mut state = self.state();
        if state.probed.is_some_and(|probed| now.duration_since(probed) < PROBE_EVERY) {
            return None;
        }
        let free = state.controller.is_some();
        let place = self.take_spare().or_else(|| free.then(|| self.slot(None, None)))?;
        state.probed = Some(now);
        Some(place)
    }

    /// A spare place for a second connection of a part of so many bytes that is slow, if not too much was sent twice
    /// already.
    pub fn take_hedge(self: &Arc<Self>, size: u64) -> Option<Slot> {
        let mut state = self.state();
        if state.hedged > 0 && (state.hedged + size) * HEDGED_MOST > state.taken {
            return None;
        }
        let place = self.take_spare()?;
        state.hedged += size;
        Some(place)
    }

    /// See [`Line::share`].
    pub fn share(&self) -> f64 {
        self.state().line.share()
    }

    /// See [`Line::still_for`].
    pub fn still_for(&self, now: Instant) -> Duration {
        self.state().line.still_for(now)
    }

    /// Whether what the kernel has buffered counts as taken, because the system does not tell what is acknowledged.
    pub fn is_blind(&self) -> bool {
        self.state().blind
    }

    /// How many parts will soon be in flight, if nothing speaks against it.
    pub fn at_first(&self) -> usize {
        let state = self.state();
        match &state.controller {
            Some(controller) => controller.most().min(USUAL),
            None => state.places,
        }
    }

    /// How many places are in use.
    pub fn flying(&self) -> usize {
        self.flying.load(Ordering::Relaxed)
    }

    fn slot(
        self: &Arc<Self>,
        permit: Option<OwnedSemaphorePermit>,
        room: Option<OwnedSemaphorePermit>,
    ) -> Slot {
        self.flying.fetch_add(1, Ordering::Relaxed);
        self.begun.notify_one();
        Slot { permit, _room: room, slots: Arc::clone(self) }
    }

    /// So many more places, for parts that hold theirs and are stuck at a disk that does not answer.
    pub(super) fn lend(&self, places: usize) {
        let mut state = self.state();
        let kept = places.min(state.owed);
        state.owed -= kept;
        self.semaphore.add_permits(places - kept);
    }

    /// So many of those that were lent are no more, at the latest when they are given back.
    pub(super) fn take_back(&self, places: usize) {
        let mut state = self.state();
        state.owed += places;
        state.owed -= self.semaphore.forget_permits(state.owed);
    }

    /// A part failed so: perhaps that is a reason for fewer. Says so then.
    pub fn failed(&self, failure: &Failure, at: Instant) -> Option<String> {
        self.ask(|controller| {
            if failure.asks_for_less() {
                controller.slow_down(at)
            } else if matches!(failure, Failure::Transport { kind: Transport::Stalled, .. }) {
                controller.stalled(at)
            } else {
                None
            }
        })
    }

    /// The network is so: perhaps that is a reason for another number. Says so then.
    fn look(&self, seen: Seen, at: Instant) -> Option<String> {
        {
            let mut state = self.state();
            state.line.sample(at, seen.taken, self.flying());
            (state.taken, state.blind) = (seen.taken, seen.measured.is_none());
        }
        let short = self.short.swap(false, Ordering::Relaxed) || self.waiting.load(Ordering::Relaxed) > 0;
        self.ask(|controller| {
            controller.look(&Look { at, taken: seen.taken, short, measured: seen.measured })
        })
    }

    /// Has the controller judge, and follows it.
    fn ask(&self, judge: impl FnOnce(&mut Controller) -> Option<String>) -> Option<String> {
        let mut state = self.state();
        let state = &mut *state;
        let controller = state.controller.as_mut()?;
        let news = judge(controller);
        let (before, after) = (state.places, controller.places());
        state.places = after;
        state.owed += before.saturating_sub(after);
        let more = after.saturating_sub(before);
        let kept = more.min(state.owed);
        state.owed -= kept;
        self.semaphore.add_permits(more - kept);
        // Those that nobody holds go at once.
        state.owed -= self.semaphore.forget_permits(state.owed);
        news
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the number of places at what the line gives, looking only while parts are in flight.
pub(super) async fn steer(shared: Arc<Shared>) {
    let slots = &shared.slots;
    loop {
        if slots.flying() == 0 {
            slots.begun.notified().await;
            // What comes is measured from its first byte.
            slots.look(shared.storage.traffic(), Instant::now());
        }
        tokio::time::sleep(LOOK_EVERY).await;
        if slots.flying() == 0 {
            slots.ask(|controller| {
                controller.rest();
                None
            });
        } else if let Some(message) = slots.look(shared.storage.traffic(), Instant::now()) {
            shared.reporter.event(&Event::Note { message: &message });
        }
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
        self.slots.flying.fetch_sub(1, Ordering::Relaxed);
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
    use super::super::controller::MOST;
    use super::*;

    fn slow_down() -> Failure {
        Failure::Status { status: 503, code: Some("SlowDown".into()), message: None, retry_after: None }
    }

    /// Slots on a line that nobody knows anything of, which has gone to the usual number.
    fn usual() -> Arc<Slots> {
        let slots = Slots::new(None, None, MOST);
        for look in 0..4 {
            slots.short.store(true, Ordering::Relaxed);
            slots.look(Seen { taken: look, measured: None }, Instant::now() + LOOK_EVERY * look as u32);
        }
        slots
    }

    #[tokio::test]
    async fn parts_that_are_stuck_at_a_disk_leave_their_number_of_places_to_others() {
        let slots = Slots::new(Some(2), None, 64);
        let stuck = [slots.take(1).await, slots.take(1).await];
        slots.lend(2);
        let others = [slots.take(1).await, slots.take(1).await];
        slots.take_back(2);
        drop(others);
        assert!(slots.take_spare().is_none(), "two are in flight again");
        drop(stuck);
        assert_eq!(slots.semaphore.available_permits(), 2);
    }

    #[tokio::test]
    async fn places_shrink_when_storage_asks_and_parts_in_flight_are_not_cut() {
        let slots = usual();
        let mut held = Vec::new();
        for _ in 0..USUAL {
            held.push(slots.take(1).await);
        }
        let now = Instant::now();
        assert!(slots.failed(&slow_down(), now).is_some());
        assert!(slots.failed(&slow_down(), now).is_none(), "one SlowDown, heard by all parts, counts once");
        assert!(slots.take_spare().is_none());
        held.clear();
        assert_eq!(slots.semaphore.available_permits(), USUAL / 2);
    }

    #[tokio::test]
    async fn places_that_nobody_holds_go_at_once_and_those_that_come_back_are_not_counted_twice() {
        let slots = usual();
        let mut held = Vec::new();
        for _ in 0..USUAL / 2 + 1 {
            held.push(slots.take(1).await);
        }
        assert!(slots.failed(&slow_down(), Instant::now()).is_some());
        assert!(slots.take_spare().is_none());
        slots.ask(|controller| {
            *controller = Controller::default();
            None
        });
        held.clear();
        assert_eq!(slots.semaphore.available_permits(), 1);
    }

    #[tokio::test]
    async fn a_number_named_by_the_user_is_kept() {
        let slots = Slots::new(Some(3), None, MOST);
        assert_eq!(slots.failed(&slow_down(), Instant::now()), None);
        for tenth in 0..600 {
            let at = Instant::now() + LOOK_EVERY * tenth;
            assert_eq!(slots.look(Seen { taken: u64::from(tenth) << 20, measured: None }, at), None);
        }
        assert_eq!(slots.semaphore.available_permits(), 3);
    }

    #[tokio::test]
    async fn spare_places_are_given_only_when_nobody_waits() {
        let slots = Slots::new(Some(1), None, MOST);
        let held = slots.take_spare();
        assert!(held.is_some() && slots.take_spare().is_none());
        drop(held);
        assert!(slots.take_spare().is_some());
    }

    #[tokio::test]
    async fn a_line_that_stands_is_tried_by_one_second_connection_and_not_by_each_part() {
        let (free, fixed) = (Slots::new(None, None, MOST), Slots::new(Some(1), None, MOST));
        let _held = (free.take(1).await, fixed.take(1).await);
        assert!(free.take_spare().is_none() && free.take_probe().is_some());
        assert!(free.take_probe().is_none());
        assert!(fixed.take_probe().is_none());
    }

    #[tokio::test]
    async fn slow_parts_are_sent_twice_once_and_then_only_as_far_as_it_does_not_count() {
        let slots = Slots::new(Some(4), None, MOST);
        assert!(slots.take_hedge(10).is_some(), "one, to begin with");
        slots.look(Seen { taken: 1999, measured: None }, Instant::now());
        assert!(slots.take_hedge(10).is_none());
        slots.look(Seen { taken: 2000, measured: None }, Instant::now());
        assert!(slots.take_hedge(10).is_some());
        assert!(slots.take_hedge(10).is_none());
    }

    #[tokio::test]
    async fn no_more_are_in_flight_than_the_system_has_room_for() {
        let slots = Slots::new(Some(64), None, 3);
        assert_eq!((slots.semaphore.available_permits(), slots.at_first()), (3, 3));
        let slots = Slots::new(None, None, 3);
        let places = (0..400).map(|look| {
            slots.short.store(true, Ordering::Relaxed);
            slots.look(Seen { taken: look << 24, measured: None }, Instant::now() + LOOK_EVERY * look as u32);
            slots.semaphore.available_permits()
        });
        assert_eq!(places.max(), Some(3));
        assert_eq!(slots.at_first(), 3);
    }

    #[tokio::test]
    async fn a_limited_rate_has_few_large_parts_in_flight_and_many_small_ones() {
        let slots = Slots::new(None, Some(1024 * 1024), MOST);
        slots.ask(|controller| {
            (0..4).for_each(|look| {
                let at = Instant::now() + LOOK_EVERY * look;
                controller.look(&Look { at, taken: u64::from(look), short: true, measured: None });
            });
            None
        });
        let large = 5 * 1024 * 1024;
        let held = (slots.take(large).await, slots.take(large).await);
        assert!(at_once(slots.take(1)).is_none(), "ten seconds' worth is in flight");
        drop(held);
        let mut small = Vec::new();
        for _ in 0..USUAL {
            small.push(slots.take(1000).await);
        }
    }

    /// What a future gives at once.
    fn at_once<F: Future>(future: F) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::pin!(future).poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}
