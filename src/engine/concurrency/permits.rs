//! Permits for parts in flight, over all files: as many as the user said, or as the [`Controller`] decides.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::controller::{Controller, DEFAULT_LIMIT, INITIAL_LIMIT};
use super::throughput::Throughput;
use super::window::{Sample, is_queue_standing};
use crate::error::{Failure, Transport};
use crate::storage::NetworkSample;

/// How often the network is sampled while parts are in flight.
pub const SAMPLE_INTERVAL: Duration = Duration::from_millis(50);

/// How often a hedge is allowed although no part makes progress.
const PROBE_EVERY: Duration = Duration::from_secs(30);
/// Parts that are merely slow may be sent twice for one byte in this many, beyond the first part.
const HEDGED_MOST: u64 = 100;

/// If all parts in flight have waited for their responses for so long, more may be.
const UNUSED: Duration = Duration::from_millis(500);

/// With `--limit-rate`, parts in flight share the rate. With many of them, all finish late and an interruption costs
/// them all. So no more are in flight than take this many seconds.
const LIMITED_SECONDS: u64 = 10;

/// The permits. Their number is fixed if the user gave one.
pub struct Permits {
    semaphore: Arc<Semaphore>,
    /// With a limited rate: KiB that may be in flight.
    room: Option<(Arc<Semaphore>, u32)>,
    state: Mutex<State>,
    /// Imposed by the system on parts with and without a permit.
    most: usize,
    waiting: AtomicUsize,
    /// A part had to wait since the last sample.
    short: AtomicBool,
    in_flight: AtomicUsize,
    pub begun: Notify,
}

struct State {
    limit: usize,
    /// Permits to remove when they are released.
    owed: usize,
    /// Permits lent for parts that are stuck at a disk.
    lent: usize,
    /// Parts of which the connection has all bytes …
    handed: usize,
    /// … and of them, those that hold no permit.
    answering: usize,
    /// Since when all parts in flight have been handed over, while others wait.
    unused: Option<Instant>,
    /// `None` if the number is fixed.
    controller: Option<Controller>,
    throughput: Throughput,
    /// Bytes accepted by the network so far.
    taken: u64,
    /// The system does not tell what the peer has acknowledged.
    no_tcp_info: bool,
    /// See [`Throughput::has_headroom`].
    headroom: bool,
    /// See [`Permits::is_queue_of_one`].
    queue_of_one: bool,
    /// Bytes sent again for parts that were slow.
    resent: u64,
    /// When a hedge was last allowed although nothing moved.
    probed: Option<Instant>,
}

/// A part's permit. Dropping it releases it.
pub struct Permit {
    permit: Option<OwnedSemaphorePermit>,
    room: Option<OwnedSemaphorePermit>,
    /// The connection has all bytes of the part.
    handed: bool,
    /// The part waits for its response without a permit.
    answering: bool,
    slots: Arc<Permits>,
}

impl Permits {
    /// `fixed` permits, or as many as suit the network and `limit_rate` (bytes per second); never more than `most`.
    pub fn new(fixed: Option<usize>, limit_rate: Option<u64>, most: usize) -> Arc<Self> {
        let fixed = fixed.map(|fixed| fixed.min(most));
        let controller = fixed.is_none().then(|| Controller::new(most));
        let room = limit_rate.filter(|_| fixed.is_none()).map(|rate| {
            let room = u32::try_from(rate.saturating_mul(LIMITED_SECONDS) / 1024).unwrap_or(u32::MAX).max(1);
            (Arc::new(Semaphore::new(room as usize)), room)
        });
        let places = fixed.or(controller.as_ref().map(Controller::limit)).unwrap_or(1);
        Arc::new(Self {
            semaphore: Arc::new(Semaphore::new(places)),
            room,
            state: Mutex::new(State {
                limit: places,
                owed: 0,
                lent: 0,
                handed: 0,
                answering: 0,
                unused: None,
                controller,
                throughput: Throughput::default(),
                taken: 0,
                no_tcp_info: true,
                headroom: false,
                queue_of_one: false,
                resent: 0,
                probed: None,
            }),
            most,
            waiting: AtomicUsize::new(0),
            short: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            begun: Notify::new(),
        })
    }

    /// Waits for a permit for a part of this size in bytes, first come, first served.
    pub async fn acquire(self: &Arc<Self>, size: u64) -> Permit {
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
        // The semaphore is never closed. Without a permit, the part would just not be counted.
        let permit = Arc::clone(&self.semaphore).acquire_owned().await.ok();
        self.permit(permit, room)
    }

    /// A permit, if one is free and nobody waits.
    pub fn try_acquire(self: &Arc<Self>) -> Option<Permit> {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let permit = Arc::clone(&self.semaphore).try_acquire_owned().ok()?;
        Some(self.permit(Some(permit), None))
    }

    /// A permit for a hedge when nothing moves at all. Most likely the network or storage stands still, so one
    /// connection is enough to find out. A number given by the user holds here too. Parts that wait for a permit could
    /// do nothing with it.
    pub fn acquire_probe(self: &Arc<Self>) -> Option<Permit> {
        let now = Instant::now();
        let mut state = self.state();
        if state.probed.is_some_and(|probed| now.duration_since(probed) < PROBE_EVERY) {
            return None;
        }
        let free = state.controller.is_some();
        let place = self.try_acquire().or_else(|| free.then(|| self.permit(None, None)))?;
        state.probed = Some(now);
        Some(place)
    }

    /// A free permit to hedge a slow part of this size, unless too many bytes were sent twice already.
    pub fn acquire_hedge(self: &Arc<Self>, size: u64) -> Option<Permit> {
        let mut state = self.state();
        if state.resent > 0 && (state.resent + size) * HEDGED_MOST > state.taken {
            return None;
        }
        let place = self.try_acquire()?;
        state.resent += size;
        Some(place)
    }

    /// Whether this many bytes of a file of this size may be sent again. If so, they are counted.
    pub fn may_resend(&self, bytes: u64, file_size: u64) -> bool {
        let mut state = self.state();
        let may = (state.resent + bytes) * HEDGED_MOST <= file_size.max(state.taken);
        state.resent += if may { bytes } else { 0 };
        may
    }

    /// See [`Throughput::share`].
    pub fn share(&self) -> f64 {
        self.state().throughput.share()
    }

    /// See [`Throughput::still_for`].
    pub fn still_for(&self, now: Instant) -> Duration {
        self.state().throughput.still_for(now)
    }

    /// Whether bytes in kernel buffers count as sent, because the system does not tell what was acknowledged.
    pub fn has_no_tcp_info(&self) -> bool {
        self.state().no_tcp_info
    }

    /// How many parts may move; others in flight are held. A fixed number holds none.
    pub fn moving(&self) -> usize {
        let state = self.state();
        state.controller.as_ref().map_or(usize::MAX, |controller| controller.limit() + state.lent)
    }

    /// Whether the path could carry more than is being sent. With a fixed number too.
    pub fn has_headroom(&self) -> bool {
        self.state().headroom
    }

    /// Whether one part alone fills the path and a queue in front of it.
    pub fn is_queue_of_one(&self) -> bool {
        self.state().queue_of_one
    }

    /// How many parts will soon be in flight, if nothing speaks against it.
    pub fn initial(&self) -> usize {
        let state = self.state();
        match &state.controller {
            Some(controller) => controller.max_limit().min(DEFAULT_LIMIT),
            None => state.limit,
        }
    }

    /// Parts in flight, including those that only wait for their responses.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    fn permit(
        self: &Arc<Self>,
        permit: Option<OwnedSemaphorePermit>,
        room: Option<OwnedSemaphorePermit>,
    ) -> Permit {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.begun.notify_one();
        Permit { permit, room, handed: false, answering: false, slots: Arc::clone(self) }
    }

    /// Lends additional permits for parts that hold theirs while the disk hangs.
    pub fn lend(&self, places: usize) {
        let mut state = self.state();
        state.lent += places;
        let kept = places.min(state.owed);
        state.owed -= kept;
        self.semaphore.add_permits(places - kept);
    }

    /// Takes back lent permits, at the latest when they are released.
    pub fn take_back(&self, places: usize) {
        let mut state = self.state();
        state.lent -= places.min(state.lent);
        state.owed += places;
        state.owed -= self.semaphore.forget_permits(state.owed);
    }

    /// A part failed. May reduce the limit, and returns a message then.
    pub fn failed(&self, failure: &Failure, at: Instant) -> Option<String> {
        self.update(|controller| {
            if failure.asks_for_less() {
                controller.on_slow_down(at)
            } else if matches!(failure, Failure::Transport { kind: Transport::Stalled, .. }) {
                controller.on_stall(at)
            } else {
                None
            }
        })
    }

    /// Takes a sample. May change the limit, and returns a message if that is news.
    pub fn sample(&self, seen: NetworkSample, at: Instant) -> Option<String> {
        let moving = {
            let mut state = self.state();
            let moving = self.in_flight().saturating_sub(state.answering);
            state.throughput.sample(at, seen.taken, moving);
            (state.taken, state.no_tcp_info) = (seen.taken, seen.measured.is_none());
            state.headroom = state.throughput.has_headroom(&seen);
            state.queue_of_one = state.limit == 1 && seen.measured.is_some_and(|tcp| is_queue_standing(&tcp));
            moving
        };
        let waiting = self.waiting.load(Ordering::Relaxed) > 0;
        let unused = self.is_unused(at, waiting);
        // Parts that are held wait, too.
        let starved = self.short.swap(false, Ordering::Relaxed) || waiting || moving > self.moving();
        self.update(|controller| {
            if unused {
                controller.on_unused_path();
            }
            let moving = moving.min(controller.limit());
            controller.on_sample(&Sample { at, acked: seen.taken, starved, moving, tcp: seen.measured })
        })
    }

    /// Whether all parts in flight have waited for their responses for a while, while others wait for permits.
    fn is_unused(&self, at: Instant, waiting: bool) -> bool {
        let mut state = self.state();
        if !waiting || state.handed < self.in_flight() {
            state.unused = None;
            return false;
        }
        let since = *state.unused.get_or_insert(at);
        let unused = at.duration_since(since) >= UNUSED;
        state.unused = state.unused.filter(|_| !unused);
        unused
    }

    /// Lets the controller decide, and applies its limit.
    pub fn update(&self, judge: impl FnOnce(&mut Controller) -> Option<String>) -> Option<String> {
        let mut state = self.state();
        let state = &mut *state;
        let controller = state.controller.as_mut()?;
        let news = judge(controller);
        let (before, after) = (state.limit, controller.limit());
        state.limit = after;
        state.owed += before.saturating_sub(after);
        let more = after.saturating_sub(before);
        let kept = more.min(state.owed);
        state.owed -= kept;
        self.semaphore.add_permits(more - kept);
        // Free permits are removed at once.
        state.owed -= self.semaphore.forget_permits(state.owed);
        news
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Decrements the count when dropped, also if the wait is aborted.
fn scopeguard(count: &AtomicUsize) -> impl Drop + '_ {
    struct Down<'a>(&'a AtomicUsize);
    impl Drop for Down<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
    Down(count)
}

impl Permit {
    /// The connection has all bytes of the part. While it waits for the response it uses nothing of the path, so the
    /// next part may begin. If many move, the others use the path meanwhile, and it is better to wait: the connection is
    /// fast by then, and another would start slowly. A number given by the user counts connections, so there it holds.
    ///
    /// Not more parts than the limit wait like this: a proxy that takes everything at once would otherwise get all parts
    /// of the file, and could pass few of them on in time.
    pub fn all_handed(&mut self) {
        let mut state = self.slots.state();
        state.handed += usize::from(!self.handed);
        self.handed = true;
        let few = state.limit <= INITIAL_LIMIT && state.controller.is_some();
        let room = state.answering < state.limit && state.limit + state.answering < self.slots.most;
        if few && room && !self.answering {
            self.answering = true;
            state.answering += 1;
            state.release(self.permit.take());
        }
    }

    /// The attempt has ended without success. Nothing of the part is on its way any more.
    pub fn attempt_failed(&mut self) {
        let mut state = self.slots.state();
        state.handed -= usize::from(self.handed);
        self.handed = false;
    }

    /// The part gets next to nothing of a full path. It will be sent again, and one part less moves.
    pub fn note_straggler(&mut self) {
        self.slots.update(|controller| {
            controller.on_straggler(Instant::now());
            None
        });
        self.release();
    }

    /// Releases what the part holds. It cannot be sent again without another permit.
    pub fn release(&mut self) {
        self.room = None;
        let mut state = self.slots.state();
        state.release(self.permit.take());
    }

    /// Whether the permit was released. The part cannot be sent again without another one.
    pub fn is_released(&self) -> bool {
        self.permit.is_none()
    }
}

impl State {
    fn release(&mut self, permit: Option<OwnedSemaphorePermit>) {
        if self.owed > 0
            && let Some(permit) = permit
        {
            self.owed -= 1;
            permit.forget();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.slots.in_flight.fetch_sub(1, Ordering::Relaxed);
        let mut state = self.slots.state();
        state.handed -= usize::from(self.handed);
        state.answering -= usize::from(self.answering);
        state.release(self.permit.take());
    }
}

#[cfg(test)]
#[path = "permits_tests.rs"]
mod tests;
