//! Permits under a controller, on a limited rate and with parts that are stuck.

use super::super::controller::MAX_LIMIT;
use super::*;
use crate::platform::TcpInfo;

fn slow_down() -> Failure {
    Failure::Status { status: 503, code: Some("SlowDown".into()), message: None, retry_after: None }
}

/// Permits on a path without a queue, which have gone to the usual number.
fn usual() -> Arc<Permits> {
    let slots = Permits::new(None, None, MAX_LIMIT);
    let trip = Duration::from_millis(10);
    let measured = Some(TcpInfo { smoothed_rtt: trip, min_rtt: trip, ..TcpInfo::default() });
    slots.short.store(true, Ordering::Relaxed);
    slots.sample(NetworkSample { taken: 0, measured, ..NetworkSample::default() }, Instant::now());
    slots
}

#[tokio::test]
async fn parts_that_are_stuck_at_a_disk_leave_their_number_of_places_to_others() {
    let slots = Permits::new(Some(2), None, 64);
    let stuck = [slots.acquire(1).await, slots.acquire(1).await];
    slots.lend(2);
    let others = [slots.acquire(1).await, slots.acquire(1).await];
    slots.take_back(2);
    drop(others);
    assert!(slots.try_acquire().is_none(), "two are in flight again");
    drop(stuck);
    assert_eq!(slots.semaphore.available_permits(), 2);
}

#[tokio::test]
async fn places_shrink_when_storage_asks_and_parts_in_flight_are_not_cut() {
    let slots = usual();
    let mut held = Vec::new();
    for _ in 0..DEFAULT_LIMIT {
        held.push(slots.acquire(1).await);
    }
    let now = Instant::now();
    assert!(slots.failed(&slow_down(), now).is_some());
    assert!(slots.failed(&slow_down(), now).is_none(), "one SlowDown, heard by all parts, counts once");
    assert!(slots.try_acquire().is_none());
    held.clear();
    assert_eq!(slots.semaphore.available_permits(), DEFAULT_LIMIT / 2);
}

#[tokio::test]
async fn places_that_nobody_holds_go_at_once_and_those_that_come_back_are_not_counted_twice() {
    let slots = usual();
    let mut held = Vec::new();
    for _ in 0..DEFAULT_LIMIT / 2 + 1 {
        held.push(slots.acquire(1).await);
    }
    assert!(slots.failed(&slow_down(), Instant::now()).is_some());
    assert!(slots.try_acquire().is_none());
    slots.update(|controller| {
        *controller = Controller::default();
        None
    });
    held.clear();
    assert_eq!(slots.semaphore.available_permits(), INITIAL_LIMIT);
}

#[tokio::test]
async fn a_number_named_by_the_user_is_kept() {
    let slots = Permits::new(Some(3), None, MAX_LIMIT);
    assert_eq!(slots.failed(&slow_down(), Instant::now()), None);
    for tenth in 0..600 {
        let at = Instant::now() + SAMPLE_INTERVAL * tenth;
        assert_eq!(
            slots.sample(
                NetworkSample { taken: u64::from(tenth) << 20, measured: None, ..NetworkSample::default() },
                at
            ),
            None
        );
    }
    assert_eq!(slots.semaphore.available_permits(), 3);
}

#[tokio::test]
async fn a_part_that_waits_for_its_response_holds_no_permit_but_only_as_many_as_the_limit_wait() {
    let slots = Permits::new(None, None, MAX_LIMIT);
    let mut held = Vec::new();
    for _ in 0..INITIAL_LIMIT {
        held.push(slots.acquire(1).await);
    }
    assert!(slots.try_acquire().is_none());
    held.iter_mut().for_each(Permit::all_handed);
    assert!(held.iter().all(Permit::is_released));
    for _ in 0..INITIAL_LIMIT {
        held.push(slots.acquire(1).await);
    }
    held.iter_mut().for_each(Permit::all_handed);
    assert!(slots.try_acquire().is_none());
    held.clear();
    assert_eq!(slots.semaphore.available_permits(), INITIAL_LIMIT);

    let fixed = Permits::new(Some(1), None, MAX_LIMIT);
    let mut only = fixed.acquire(1).await;
    only.all_handed();
    assert!(fixed.try_acquire().is_none(), "the user named a number of connections");
}

#[tokio::test]
async fn spare_places_are_given_only_when_nobody_waits() {
    let slots = Permits::new(Some(1), None, MAX_LIMIT);
    let held = slots.try_acquire();
    assert!(held.is_some() && slots.try_acquire().is_none());
    drop(held);
    assert!(slots.try_acquire().is_some());
}

#[tokio::test]
async fn a_line_that_stands_is_tried_by_one_second_connection_and_not_by_each_part() {
    let (free, fixed) = (Permits::new(None, None, 1), Permits::new(Some(1), None, MAX_LIMIT));
    let _held = (free.acquire(1).await, fixed.acquire(1).await);
    assert!(free.try_acquire().is_none() && free.acquire_probe().is_some());
    assert!(free.acquire_probe().is_none());
    assert!(fixed.acquire_probe().is_none());
}

#[tokio::test]
async fn slow_parts_are_sent_twice_once_and_then_only_as_far_as_it_does_not_count() {
    let slots = Permits::new(Some(4), None, MAX_LIMIT);
    assert!(slots.acquire_hedge(10).is_some(), "one, to begin with");
    slots.sample(NetworkSample { taken: 1999, measured: None, ..NetworkSample::default() }, Instant::now());
    assert!(slots.acquire_hedge(10).is_none());
    slots.sample(NetworkSample { taken: 2000, measured: None, ..NetworkSample::default() }, Instant::now());
    assert!(slots.acquire_hedge(10).is_some());
    assert!(slots.acquire_hedge(10).is_none());
}

#[test]
fn only_one_part_can_be_the_only_one_in_a_queue() {
    let millis = Duration::from_millis;
    for (fixed, smoothed_rtt, is_queue) in [(1, 250, true), (1, 140, false), (2, 250, false)] {
        let slots = Permits::new(Some(fixed), None, MAX_LIMIT);
        let (smoothed_rtt, min_rtt) = (millis(smoothed_rtt), millis(50));
        let measured = Some(TcpInfo { smoothed_rtt, min_rtt, ..TcpInfo::default() });
        slots.sample(NetworkSample { measured, ..NetworkSample::default() }, Instant::now());
        assert_eq!(slots.is_queue_of_one(), is_queue);
    }
}

#[tokio::test]
async fn no_more_are_in_flight_than_the_system_has_room_for() {
    let slots = Permits::new(Some(64), None, 3);
    assert_eq!((slots.semaphore.available_permits(), slots.initial()), (3, 3));
    let slots = Permits::new(None, None, 3);
    let places = (0..400).map(|look| {
        slots.short.store(true, Ordering::Relaxed);
        slots.sample(
            NetworkSample { taken: look << 24, measured: None, ..NetworkSample::default() },
            Instant::now() + SAMPLE_INTERVAL * look as u32,
        );
        slots.semaphore.available_permits()
    });
    assert_eq!(places.max(), Some(3));
    assert_eq!(slots.initial(), 3);
}

#[tokio::test]
async fn a_limited_rate_has_few_large_parts_in_flight_and_many_small_ones() {
    let slots = Permits::new(None, Some(1024 * 1024), MAX_LIMIT);
    let large = 5 * 1024 * 1024;
    let held = (slots.acquire(large).await, slots.acquire(large).await);
    assert!(at_once(slots.acquire(1)).is_none(), "ten seconds' worth is in flight");
    drop(held);
    let mut small = Vec::new();
    for _ in 0..INITIAL_LIMIT {
        small.push(slots.acquire(1000).await);
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

/// Samples of a path on which nothing moves, for a second.
fn still(permits: &Permits, from: Instant) {
    for sample in 0..=20 {
        permits.sample(NetworkSample::default(), from + SAMPLE_INTERVAL * sample);
    }
}

#[tokio::test]
async fn parts_that_all_wait_for_their_responses_leave_the_path_to_others() {
    let permits = Permits::new(None, None, MAX_LIMIT);
    let mut held = Vec::new();
    for _ in 0..INITIAL_LIMIT {
        held.push(permits.acquire(1).await);
    }
    let mut next = std::pin::pin!(permits.acquire(1));
    assert!(at_once(next.as_mut()).is_none());
    still(&permits, Instant::now());
    let before = permits.moving();
    held.iter_mut().for_each(Permit::all_handed);
    let later = Instant::now() + Duration::from_secs(10);
    still(&permits, later);
    assert!(permits.moving() > before, "{} and {before}", permits.moving());
    // Attempts that have failed do not wait for a response, and an outage needs no more parts.
    let before = permits.moving();
    held.iter_mut().for_each(Permit::attempt_failed);
    still(&permits, later + Duration::from_secs(10));
    assert_eq!(permits.moving(), before);
}

#[tokio::test]
async fn a_part_that_needs_another_permit_does_not_wait_for_itself() {
    let permits = Permits::new(None, Some(1024), MAX_LIMIT);
    let size = 1024 * 1024;
    let mut held = permits.acquire(size).await;
    assert!(at_once(permits.acquire(size)).is_none(), "all of the rate is taken");
    held.release();
    assert!(held.is_released() && at_once(permits.acquire(size)).is_some());
}
