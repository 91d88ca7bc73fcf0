//! Permits for parts in flight, over all files: as many as `--concurrency` says, or as the [`Controller`] decides.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::controller::{Controller, DEFAULT_LIMIT, INITIAL_LIMIT};
use super::lending_semaphore::{LendingSemaphore, SemaphorePermit};
use super::rate_budget::RateBudget;
use super::resend_budget::ResendBudget;
use super::throughput::Throughput;
use super::window::{Sample, is_standing};
use crate::error::{Failure, Transport};
use crate::mutex::lock;
use crate::storage::NetworkSample;

/// How often the network is sampled while parts are in flight.
pub const SAMPLE_INTERVAL: Duration = Duration::from_millis(50);

/// If all parts in flight have waited for their responses for this long, more parts may be in flight.
const UNUSED_AFTER: Duration = Duration::from_millis(500);

/// On a shorter path, CUBIC uses free capacity soon enough.
const LONG_RTT: Duration = Duration::from_millis(10);

/// Hands out permits. Their number is fixed if the user gave one.
pub struct Permits {
    semaphore: LendingSemaphore,
    rate_budget: RateBudget,
    state: Mutex<State>,
    /// Imposed by the system on parts with and without a permit.
    max_in_flight: usize,
    waiting: AtomicUsize,
    /// A part had to wait since the last sample.
    starved: AtomicBool,
    in_flight: AtomicUsize,
    /// A part has begun.
    pub begun: Notify,
}

#[derive(Default)]
struct State {
    limit: usize,
    /// Permits lent for parts whose reads hang.
    lent: usize,
    /// Parts of which the connection has all bytes.
    handed: usize,
    /// Those of them that have released their permit.
    without_permit: usize,
    /// Since when all parts in flight have waited for their responses, while others wait for permits.
    unused: Option<Instant>,
    /// `None` if the number is fixed.
    controller: Option<Controller>,
    throughput: Throughput,
    /// Bytes accepted by the network so far.
    acked: u64,
    /// See [`Permits::has_no_tcp_info`].
    no_tcp_info: bool,
    /// See [`Throughput::has_headroom`].
    headroom: bool,
    /// See [`Permits::standing_queue`].
    standing_queue: Option<Instant>,
    /// Parts with bytes left to send, at the last sample.
    sending: usize,
    /// See [`Permits::has_freed_capacity`].
    freed_capacity: bool,
    resend_budget: ResendBudget,
}

/// A part's permit. Dropping it releases it.
pub struct Permit {
    permit: Option<SemaphorePermit>,
    rate_budget: Option<OwnedSemaphorePermit>,
    /// The connection has all bytes of the part.
    handed: bool,
    /// The part waits for its response without a permit.
    without_permit: bool,
    permits: Arc<Permits>,
}

impl Permits {
    /// `fixed` permits, or as many as suit the network and `limit_rate` (bytes per second), but at most `max_in_flight`.
    pub fn new(fixed: Option<usize>, limit_rate: Option<u64>, max_in_flight: usize) -> Arc<Self> {
        let fixed = fixed.map(|fixed| fixed.min(max_in_flight));
        let controller = fixed.is_none().then(|| Controller::new(max_in_flight));
        let limit = fixed.or(controller.as_ref().map(Controller::limit)).unwrap_or(1);
        Arc::new(Self {
            semaphore: LendingSemaphore::new(limit),
            rate_budget: RateBudget::new(limit_rate.filter(|_| fixed.is_none())),
            state: Mutex::new(State { limit, controller, no_tcp_info: true, ..State::default() }),
            max_in_flight,
            waiting: AtomicUsize::new(0),
            starved: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            begun: Notify::new(),
        })
    }

    /// Waits for a permit for a part of this size in bytes, first come, first served.
    pub async fn acquire(self: &Arc<Self>, size: u64) -> Permit {
        let _waiting = count_while_held(&self.waiting);
        let rate_budget = self.rate_budget.acquire(size).await;
        if self.semaphore.available_permits() == 0 {
            self.starved.store(true, Ordering::Relaxed);
        }
        self.permit(Some(self.semaphore.acquire().await), rate_budget)
    }

    /// A permit, if one is free and no part waits for one.
    pub fn try_acquire(self: &Arc<Self>) -> Option<Permit> {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            return None;
        }
        Some(self.permit(Some(self.semaphore.try_acquire()?), None))
    }

    /// A permit for a hedge while no part makes progress. Most likely the network or storage is down, so one connection is
    /// enough to find out. The limit does not apply, unless the user set it: parts that wait for permits would get no
    /// further either.
    pub fn acquire_idle_hedge(self: &Arc<Self>) -> Option<Permit> {
        let now = Instant::now();
        let mut state = lock(&self.state);
        if !state.resend_budget.allows_idle_hedge(now) {
            return None;
        }
        let adaptive = state.controller.is_some();
        let permit = self.try_acquire().or_else(|| adaptive.then(|| self.permit(None, None)))?;
        state.resend_budget.note_idle_hedge(now);
        Some(permit)
    }

    /// A free permit to hedge a slow part of this size, unless too many bytes were sent again already.
    pub fn acquire_hedge(self: &Arc<Self>, size: u64) -> Option<Permit> {
        let mut state = lock(&self.state);
        if !state.resend_budget.allows_hedge(size, state.acked) {
            return None;
        }
        let permit = self.try_acquire()?;
        state.resend_budget.add(size);
        Some(permit)
    }

    /// Whether this many bytes of a file of this size may be sent again. If so, they are counted.
    pub fn may_resend(&self, bytes: u64, file_size: u64) -> bool {
        let mut state = lock(&self.state);
        let allowed = state.resend_budget.allows(bytes, file_size.max(state.acked));
        if allowed {
            state.resend_budget.add(bytes);
        }
        allowed
    }

    /// See [`Throughput::share`].
    pub fn share(&self) -> f64 {
        lock(&self.state).throughput.share()
    }

    /// See [`Throughput::idle_for`].
    pub fn idle_for(&self, now: Instant) -> Duration {
        lock(&self.state).throughput.idle_for(now)
    }

    /// Whether the system does not report what the peer has acknowledged, so that bytes in kernel buffers count as sent.
    pub fn has_no_tcp_info(&self) -> bool {
        lock(&self.state).no_tcp_info
    }

    /// How many parts may send at a time. Others in flight are held. With a fixed number of permits none is.
    pub fn sending_limit(&self) -> usize {
        let state = lock(&self.state);
        state.controller.as_ref().map_or(usize::MAX, |controller| controller.limit() + state.lent)
    }

    /// See [`Throughput::has_headroom`].
    pub fn has_headroom(&self) -> bool {
        lock(&self.state).headroom
    }

    /// Whether fewer parts send than at the last sample although no part waits, on a long path.
    pub fn has_freed_capacity(&self) -> bool {
        lock(&self.state).freed_capacity
    }

    /// Since when a queue has stood although a single part sends, or one of twice that length with any number.
    pub fn standing_queue(&self) -> Option<Instant> {
        lock(&self.state).standing_queue
    }

    /// How many parts will soon be in flight, unless the path turns out to be slow.
    pub fn expected(&self) -> usize {
        let state = lock(&self.state);
        match &state.controller {
            Some(controller) => controller.max_limit().min(DEFAULT_LIMIT),
            None => state.limit,
        }
    }

    /// Parts in flight, including those that wait for their responses without a permit.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    fn permit(
        self: &Arc<Self>,
        permit: Option<SemaphorePermit>,
        rate_budget: Option<OwnedSemaphorePermit>,
    ) -> Permit {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.begun.notify_one();
        Permit { permit, rate_budget, handed: false, without_permit: false, permits: Arc::clone(self) }
    }

    /// Lends additional permits for parts that hold theirs while a read hangs.
    pub fn lend(&self, permits: usize) {
        lock(&self.state).lent += permits;
        self.semaphore.add_permits(permits);
    }

    /// Takes back lent permits, at the latest when they are released.
    pub fn take_back(&self, permits: usize) {
        lock(&self.state).lent -= permits;
        self.semaphore.remove_permits(permits);
    }

    /// A part failed. May reduce the limit, and then returns a message.
    pub fn on_failure(&self, failure: &Failure, at: Instant) -> Option<String> {
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

    /// Takes a sample. May change the limit, and then may return a message.
    pub fn on_sample(&self, sample: NetworkSample, at: Instant) -> Option<String> {
        let moving = {
            let mut state = lock(&self.state);
            let moving = self.in_flight().saturating_sub(state.without_permit);
            state.throughput.add(at, &sample, moving);
            (state.acked, state.no_tcp_info) = (sample.acked, sample.tcp.is_none());
            state.headroom = state.throughput.has_headroom(&sample);
            let single = moving.min(state.limit) <= 1;
            let stands = sample.tcp.is_some_and(|tcp| {
                is_standing(if single { tcp.queue() } else { tcp.queue() / 2 }, tcp.min_rtt)
            });
            state.standing_queue = stands.then(|| state.standing_queue.unwrap_or(at));
            moving
        };
        let waiting = self.waiting.load(Ordering::Relaxed) > 0;
        let unused = self.is_path_unused(at, waiting);
        // Parts that are held wait, too.
        let starved = self.starved.swap(false, Ordering::Relaxed) || waiting || moving > self.sending_limit();
        self.note_freed_capacity(starved, &sample);
        self.update(|controller| {
            if unused {
                controller.on_unused_path();
            }
            let moving = moving.min(controller.limit());
            let NetworkSample { acked, tcp, connect_time, .. } = sample;
            controller.on_sample(&Sample { at, acked, starved, moving, tcp, connect_time })
        })
    }

    fn note_freed_capacity(&self, starved: bool, sample: &NetworkSample) {
        let mut state = lock(&self.state);
        let sending = self.in_flight().saturating_sub(state.handed);
        let is_long = sample.tcp.is_some_and(|tcp| tcp.min_rtt >= LONG_RTT);
        state.freed_capacity = is_long && !starved && sending < state.sending;
        state.sending = sending;
    }

    /// Whether all parts in flight have waited for their responses for a while, while others wait for permits.
    fn is_path_unused(&self, at: Instant, waiting: bool) -> bool {
        let mut state = lock(&self.state);
        if !waiting || state.handed < self.in_flight() {
            state.unused = None;
            return false;
        }
        let since = *state.unused.get_or_insert(at);
        let unused = at.duration_since(since) >= UNUSED_AFTER;
        state.unused = state.unused.filter(|_| !unused);
        unused
    }

    /// Lets the controller decide, and applies its limit.
    pub fn update(&self, decide: impl FnOnce(&mut Controller) -> Option<String>) -> Option<String> {
        let mut state = lock(&self.state);
        let controller = state.controller.as_mut()?;
        let message = decide(controller);
        let after = controller.limit();
        let before = std::mem::replace(&mut state.limit, after);
        self.semaphore.add_permits(after.saturating_sub(before));
        self.semaphore.remove_permits(before.saturating_sub(after));
        message
    }
}

/// Counts one more until it is dropped, also if the wait is aborted.
fn count_while_held(count: &AtomicUsize) -> impl Drop + '_ {
    struct Counted<'a>(&'a AtomicUsize);
    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
    count.fetch_add(1, Ordering::Relaxed);
    Counted(count)
}

impl Permit {
    /// The connection has all bytes of the part. While it waits for the response it does not use the path, so the next
    /// part may begin. With a large limit, the others use the path meanwhile, and it is better to wait for this
    /// connection: it is fast by now, and a new one would start slowly. A number given by the user counts connections, so
    /// it applies here too.
    ///
    /// At most `limit` parts wait without a permit: a proxy that accepts everything at once would otherwise get all parts
    /// of the file, and could pass few of them on in time.
    pub fn all_handed(&mut self) {
        let mut state = lock(&self.permits.state);
        state.handed += usize::from(!self.handed);
        self.handed = true;
        let is_small = state.limit <= INITIAL_LIMIT && state.controller.is_some();
        let is_allowed = state.without_permit < state.limit
            && state.limit + state.without_permit < self.permits.max_in_flight;
        if is_small && is_allowed && !self.without_permit {
            self.without_permit = true;
            state.without_permit += 1;
            self.permit = None;
        }
    }

    /// The attempt has failed. No bytes of the part are on their way any more.
    pub fn attempt_failed(&mut self) {
        lock(&self.permits.state).handed -= usize::from(self.handed);
        self.handed = false;
    }

    /// The part gets next to nothing. Its permit is released, and it will be sent again. If there is a queue, the limit falls.
    pub fn note_straggler(&mut self) {
        self.permits.update(|controller| {
            controller.on_straggler(Instant::now());
            None
        });
        self.release();
    }

    /// Releases the permit. The part cannot be sent again without another one.
    pub fn release(&mut self) {
        (self.permit, self.rate_budget) = (None, None);
    }

    /// Whether the permit was released.
    pub fn is_released(&self) -> bool {
        self.permit.is_none()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.permits.in_flight.fetch_sub(1, Ordering::Relaxed);
        let mut state = lock(&self.permits.state);
        state.handed -= usize::from(self.handed);
        state.without_permit -= usize::from(self.without_permit);
    }
}

#[cfg(test)]
#[path = "permits_tests.rs"]
mod tests;
