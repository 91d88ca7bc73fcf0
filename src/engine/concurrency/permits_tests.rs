//! Permits under a controller, on a limited rate and with parts that are stuck.

use super::super::controller::{INITIAL_LIMIT, MAX_LIMIT};
use super::*;
use crate::platform::TcpInfo;

fn slow_down() -> Failure {
    Failure::Status { status: 503, code: Some("SlowDown".into()), message: None, retry_after: None }
}

/// Permits at the default limit, on a path without a queue.
fn at_default_limit() -> Arc<Permits> {
    let permits = Permits::new(None, None, MAX_LIMIT);
    let trip = Duration::from_millis(10);
    let tcp = Some(TcpInfo { smoothed_rtt: trip, min_rtt: trip, ..TcpInfo::default() });
    permits.starved.store(true, Ordering::Relaxed);
    permits.on_sample(NetworkSample { acked: 0, tcp, ..NetworkSample::default() }, Instant::now());
    permits
}

#[tokio::test]
async fn permits_are_lent_while_reads_hang() {
    let permits = Permits::new(Some(2), None, 64);
    let stuck = [permits.acquire(1).await, permits.acquire(1).await];
    permits.lend(2);
    let others = [permits.acquire(1).await, permits.acquire(1).await];
    permits.take_back(2);
    drop(others);
    assert!(permits.try_acquire().is_none(), "two are in flight again");
    drop(stuck);
    assert_eq!(permits.semaphore.available_permits(), 2);
}

#[tokio::test]
async fn a_slow_down_halves_the_permits_and_aborts_no_part() {
    let permits = at_default_limit();
    let mut held = Vec::new();
    for _ in 0..DEFAULT_LIMIT {
        held.push(permits.acquire(1).await);
    }
    let now = Instant::now();
    assert!(permits.on_failure(&slow_down(), now).is_some());
    assert!(permits.on_failure(&slow_down(), now).is_none(), "a SlowDown for all parts counts once");
    assert!(permits.try_acquire().is_none());
    held.clear();
    assert_eq!(permits.semaphore.available_permits(), DEFAULT_LIMIT / 2);
}

#[tokio::test]
async fn free_permits_are_removed_at_once_and_others_when_they_are_released() {
    let permits = at_default_limit();
    let mut held = Vec::new();
    for _ in 0..DEFAULT_LIMIT / 2 + 1 {
        held.push(permits.acquire(1).await);
    }
    assert!(permits.on_failure(&slow_down(), Instant::now()).is_some());
    assert!(permits.try_acquire().is_none());
    permits.update(|controller| {
        *controller = Controller::default();
        None
    });
    held.clear();
    assert_eq!(permits.semaphore.available_permits(), INITIAL_LIMIT);
}

#[tokio::test]
async fn a_number_given_by_the_user_is_kept() {
    let permits = Permits::new(Some(3), None, MAX_LIMIT);
    assert_eq!(permits.on_failure(&slow_down(), Instant::now()), None);
    for tenth in 0..600 {
        let at = Instant::now() + SAMPLE_INTERVAL * tenth;
        assert_eq!(
            permits.on_sample(
                NetworkSample { acked: u64::from(tenth) << 20, tcp: None, ..NetworkSample::default() },
                at
            ),
            None
        );
    }
    assert_eq!(permits.semaphore.available_permits(), 3);
}

#[tokio::test]
async fn a_part_that_waits_for_its_response_holds_no_permit_but_only_as_many_as_the_limit_wait() {
    let permits = Permits::new(None, None, MAX_LIMIT);
    let mut held = Vec::new();
    for _ in 0..INITIAL_LIMIT {
        held.push(permits.acquire(1).await);
    }
    assert!(permits.try_acquire().is_none());
    held.iter_mut().for_each(Permit::all_handed);
    assert!(held.iter().all(Permit::is_released));
    for _ in 0..INITIAL_LIMIT {
        held.push(permits.acquire(1).await);
    }
    held.iter_mut().for_each(Permit::all_handed);
    assert!(permits.try_acquire().is_none());
    held.clear();
    assert_eq!(permits.semaphore.available_permits(), INITIAL_LIMIT);

    let fixed = Permits::new(Some(1), None, MAX_LIMIT);
    let mut only = fixed.acquire(1).await;
    only.all_handed();
    assert!(fixed.try_acquire().is_none(), "the number given by the user counts connections");
}

#[tokio::test]
async fn free_permits_are_given_only_while_no_part_waits() {
    let permits = Permits::new(Some(1), None, MAX_LIMIT);
    let held = permits.try_acquire();
    assert!(held.is_some() && permits.try_acquire().is_none());
    drop(held);
    assert!(permits.try_acquire().is_some());
}

#[tokio::test]
async fn while_no_part_makes_progress_only_one_is_hedged() {
    let (free, fixed) = (Permits::new(None, None, 1), Permits::new(Some(1), None, MAX_LIMIT));
    let _held = (free.acquire(1).await, fixed.acquire(1).await);
    assert!(free.try_acquire().is_none() && free.acquire_idle_hedge().is_some());
    assert!(free.acquire_idle_hedge().is_none());
    assert!(fixed.acquire_idle_hedge().is_none());
}

#[tokio::test]
async fn hedges_of_slow_parts_are_limited_after_the_first() {
    let permits = Permits::new(Some(4), None, MAX_LIMIT);
    assert!(permits.acquire_hedge(10).is_some(), "the first is free");
    permits.on_sample(NetworkSample { acked: 1999, tcp: None, ..NetworkSample::default() }, Instant::now());
    assert!(permits.acquire_hedge(10).is_none());
    permits.on_sample(NetworkSample { acked: 2000, tcp: None, ..NetworkSample::default() }, Instant::now());
    assert!(permits.acquire_hedge(10).is_some());
    assert!(permits.acquire_hedge(10).is_none());
}

#[tokio::test]
async fn with_more_than_one_part_a_standing_queue_is_twice_as_long() {
    let millis = Duration::from_millis;
    for (parts, limit, smoothed_rtt, is_queue) in [
        (1, 1, 250, true),
        (1, 1, 140, false),
        (1, 8, 250, true),
        (3, 2, 250, false),
        (3, 2, 260, true),
        (3, 3, 250, false),
        (3, 3, 260, true),
    ] {
        let permits = Permits::new(Some(3), None, MAX_LIMIT);
        let mut held = Vec::new();
        for _ in 0..parts {
            held.push(permits.acquire(1).await);
        }
        lock(&permits.state).limit = limit;
        let (smoothed_rtt, min_rtt) = (millis(smoothed_rtt), millis(50));
        let tcp = Some(TcpInfo { smoothed_rtt, min_rtt, ..TcpInfo::default() });
        permits.on_sample(NetworkSample { tcp, ..NetworkSample::default() }, Instant::now());
        assert_eq!(permits.standing_queue().is_some(), is_queue, "{parts} parts, limit {limit}");
    }
}

#[tokio::test]
async fn capacity_is_free_when_a_part_on_a_long_path_has_sent_all_and_none_takes_its_place() {
    let freed = |permits: &Permits, rtt| {
        let rtt = Duration::from_millis(rtt);
        let tcp = Some(TcpInfo { smoothed_rtt: rtt, min_rtt: rtt, ..TcpInfo::default() });
        permits.on_sample(NetworkSample { tcp, ..NetworkSample::default() }, Instant::now());
        permits.has_freed_capacity()
    };
    for (rtt, is_long) in [(50, true), (2, false)] {
        let permits = Permits::new(Some(2), None, MAX_LIMIT);
        let (mut first, second) = (permits.acquire(1).await, permits.acquire(1).await);
        let mut third = Box::pin(permits.acquire(1));
        assert!(at_once(third.as_mut()).is_none() && !freed(&permits, rtt));
        drop(second);
        assert!(!freed(&permits, rtt), "the third takes its place");
        let third = at_once(third);
        assert!(!freed(&permits, rtt));
        first.all_handed();
        assert_eq!(freed(&permits, rtt), is_long);
        assert!(!freed(&permits, rtt), "only once");
        drop((first, third));
    }
}

#[tokio::test]
async fn the_system_limits_the_parts_in_flight() {
    let permits = Permits::new(Some(64), None, 3);
    assert_eq!((permits.semaphore.available_permits(), permits.expected()), (3, 3));
    let permits = Permits::new(None, None, 3);
    let limits = (0..400).map(|look| {
        permits.starved.store(true, Ordering::Relaxed);
        permits.on_sample(
            NetworkSample { acked: look << 24, tcp: None, ..NetworkSample::default() },
            Instant::now() + SAMPLE_INTERVAL * look as u32,
        );
        permits.semaphore.available_permits()
    });
    assert_eq!(limits.max(), Some(3));
    assert_eq!(permits.expected(), 3);
}

#[tokio::test]
async fn a_limited_rate_limits_the_bytes_in_flight() {
    let permits = Permits::new(None, Some(1024 * 1024), MAX_LIMIT);
    let large = 5 * 1024 * 1024;
    let held = (permits.acquire(large).await, permits.acquire(large).await);
    assert!(at_once(permits.acquire(1)).is_none(), "the bytes of ten seconds are in flight");
    drop(held);
    let mut small = Vec::new();
    for _ in 0..INITIAL_LIMIT {
        small.push(permits.acquire(1000).await);
    }
}

/// The output of a future that is ready.
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
        permits.on_sample(NetworkSample::default(), from + SAMPLE_INTERVAL * sample);
    }
}

#[tokio::test]
async fn more_parts_start_while_all_in_flight_wait_for_their_responses() {
    let permits = Permits::new(None, None, MAX_LIMIT);
    let mut held = Vec::new();
    for _ in 0..INITIAL_LIMIT {
        held.push(permits.acquire(1).await);
    }
    let mut next = std::pin::pin!(permits.acquire(1));
    assert!(at_once(next.as_mut()).is_none());
    still(&permits, Instant::now());
    let before = permits.sending_limit();
    held.iter_mut().for_each(Permit::all_handed);
    let later = Instant::now() + Duration::from_secs(10);
    still(&permits, later);
    assert!(permits.sending_limit() > before, "{} and {before}", permits.sending_limit());
    // Attempts that have failed do not wait for a response, and an outage needs no more parts.
    let before = permits.sending_limit();
    held.iter_mut().for_each(Permit::attempt_failed);
    still(&permits, later + Duration::from_secs(10));
    assert_eq!(permits.sending_limit(), before);
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
