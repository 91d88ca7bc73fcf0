//! A circuit breaker for each kind of request, shared by all files.
//!
//! Each request has its own retry budget. If a service is down, every file would use up its whole budget, which takes days
//! with thousands of files. So when one budget is used up and nothing has succeeded in that time, the breaker lets a few
//! probes through, each a single attempt, and then opens.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::error::Failure;
use crate::mutex::lock;
use crate::retry::RetryBudget;

/// Probes after a budget was used up.
const PROBES: u32 = 16;
/// Limit on the time between probes. Without it, all probes together take as long as the budget did.
const MAX_PROBE_INTERVAL: Duration = Duration::from_secs(2);
/// If each probe takes long because nothing responds, this many suffice, once they have taken twice as long as the budget
/// and at least `MIN_PROBE_TIME`.
const MIN_PROBES: u32 = 3;
const MIN_PROBE_TIME: Duration = Duration::from_secs(10);
/// If nothing has succeeded for so long, the next success shows that the network is back. Among requests that succeed all
/// the time, the failure of one has another reason.
const OUTAGE: Duration = Duration::from_secs(5);
/// How often requests that wait for the result of the probes check it.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Closed, probing, or open.
#[derive(Debug, Default)]
pub struct CircuitBreaker {
    /// Count of successes.
    successes: AtomicU64,
    last_success: Mutex<Option<Instant>>,
    recovered: Notify,
    tripped: Mutex<Option<Tripped>>,
}

#[derive(Debug)]
struct Tripped {
    failure: Failure,
    since: Instant,
    /// How long the used-up budget lasted.
    waited: Duration,
    /// Counts of probes.
    probes_started: u32,
    probes_ended: u32,
    next_probe: Instant,
    /// No probes are left.
    is_open: bool,
}

impl Tripped {
    fn new(failure: &Failure, waited: Duration) -> Self {
        let now = Instant::now();
        Self {
            failure: failure.clone(),
            since: now,
            waited,
            probes_started: 0,
            probes_ended: 0,
            next_probe: now,
            is_open: false,
        }
    }

    /// Counts a failed probe.
    fn count(&mut self) {
        self.probes_ended += 1;
        let long_enough = self.since.elapsed() >= MIN_PROBE_TIME.max(self.waited.saturating_mul(2));
        self.is_open |= self.probes_ended >= PROBES || self.probes_ended >= MIN_PROBES && long_enough;
    }
}

/// Permission to make attempts.
#[derive(Debug)]
pub struct Permit<'a> {
    breaker: &'a CircuitBreaker,
    /// Successes when it was acquired, or at the last progress. Failures count only if nothing has succeeded since.
    successes: u64,
    /// It allows a single attempt.
    is_probe: bool,
}

impl CircuitBreaker {
    /// Waits until an attempt is allowed.
    /// The error is the failure that opened the breaker.
    pub async fn acquire(&self) -> Result<Permit<'_>, Failure> {
        loop {
            let wait = {
                let mut tripped = lock(&self.tripped);
                let is_probe = match &mut *tripped {
                    None => Some(false),
                    Some(tripped) if tripped.is_open => return Err(tripped.failure.clone()),
                    Some(tripped)
                        if tripped.probes_started < PROBES && Instant::now() >= tripped.next_probe =>
                    {
                        tripped.probes_started += 1;
                        tripped.next_probe =
                            Instant::now() + (tripped.waited / PROBES).min(MAX_PROBE_INTERVAL);
                        Some(true)
                    }
                    Some(_) => None,
                };
                if let Some(is_probe) = is_probe {
                    return Ok(Permit { breaker: self, successes: self.successes(), is_probe });
                }
                let next = tripped.as_ref().map_or(Duration::ZERO, |tripped| {
                    tripped.next_probe.saturating_duration_since(Instant::now())
                });
                next.clamp(Duration::from_millis(1), POLL_INTERVAL)
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// The failure that opened the breaker, if it is open.
    pub fn is_open(&self) -> Option<Failure> {
        lock(&self.tripped).as_ref().filter(|tripped| tripped.is_open).map(|tripped| tripped.failure.clone())
    }

    /// Opens at once, after a failure that [holds for all requests](Failure::holds_for_all).
    pub fn refuse(&self, failure: &Failure) {
        *lock(&self.tripped) = Some(Tripped { is_open: true, ..Tripped::new(failure, Duration::ZERO) });
    }

    /// Closes the breaker.
    pub fn record_success(&self) {
        let mut tripped = lock(&self.tripped);
        self.successes.fetch_add(1, Ordering::Relaxed);
        *tripped = None;
        let before = lock(&self.last_success).replace(Instant::now());
        if before.is_none_or(|before| before.elapsed() >= OUTAGE) {
            self.recovered.notify_waiters();
        }
    }

    fn successes(&self) -> u64 {
        self.successes.load(Ordering::Relaxed)
    }
}

impl Permit<'_> {
    /// There was progress: this is no longer a probe.
    pub fn record_progress(&mut self) {
        self.release();
        self.successes = self.breaker.successes();
    }

    /// Sleeps before the next attempt. After an outage, the first success of another request ends the wait, unless the
    /// server has asked for it.
    pub async fn back_off(&self, wait: Duration, failure: &Failure) {
        let was_asked = failure.asks_for_less() || failure.retry_after().is_some();
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = self.breaker.recovered.notified(), if !was_asked => {}
        }
    }

    /// How long to wait before the next attempt. `None` if there must not be one: the budget is used up, or this was a
    /// probe and nothing has succeeded. A used-up budget starts the probes, if nothing has succeeded meanwhile.
    pub fn next_backoff(&self, budget: &mut RetryBudget, failure: &Failure) -> Option<Duration> {
        let wait = if self.is_spent() { None } else { budget.next_backoff(failure.retry_after()) };
        if wait.is_none() {
            self.trip(failure, budget.waited());
        }
        wait
    }

    fn is_spent(&self) -> bool {
        self.is_probe && lock(&self.breaker.tripped).is_some() && self.is_current()
    }

    fn trip(&self, failure: &Failure, waited: Duration) {
        let mut tripped = lock(&self.breaker.tripped);
        if self.is_current() {
            tripped.get_or_insert_with(|| Tripped::new(failure, waited));
        }
    }

    /// Whether nothing has succeeded since.
    fn is_current(&self) -> bool {
        self.breaker.successes() == self.successes
    }

    fn release(&mut self) {
        let mut tripped = lock(&self.breaker.tripped);
        if std::mem::replace(&mut self.is_probe, false)
            && self.is_current()
            && let Some(tripped) = &mut *tripped
        {
            tripped.count();
        }
    }
}

impl Drop for Permit<'_> {
    /// A probe that is dropped counts too, because others wait for its result.
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Transport;
    use crate::retry::RetryPolicy;

    const WAITED: Duration = Duration::from_millis(16);

    fn dead() -> Failure {
        Failure::transport(Transport::Connect, "refused")
    }

    #[tokio::test]
    async fn the_end_of_an_outage_ends_the_backoff_of_those_without_a_response() {
        let breaker = CircuitBreaker::default();
        let busy = Failure::Status { status: 503, code: None, message: None, retry_after: None };
        let minute = Duration::from_secs(60);
        let (dead, moment) = (dead(), Duration::from_millis(20));
        let permit = breaker.acquire().await.unwrap();
        let mut waits = std::pin::pin!(permit.back_off(minute, &dead));
        let mut asked_to_wait = std::pin::pin!(permit.back_off(minute, &busy));
        assert!(tokio::time::timeout(moment, &mut waits).await.is_err());
        assert!(tokio::time::timeout(moment, &mut asked_to_wait).await.is_err());
        breaker.record_success();
        waits.await;
        assert!(tokio::time::timeout(moment, asked_to_wait).await.is_err());
        // Other requests succeed all the time, so this is no outage.
        let mut waits = std::pin::pin!(permit.back_off(minute, &dead));
        assert!(tokio::time::timeout(moment, &mut waits).await.is_err());
        breaker.record_success();
        assert!(tokio::time::timeout(moment, waits).await.is_err());
    }

    #[tokio::test]
    async fn a_used_up_budget_lets_some_probes_through_and_then_opens() {
        let breaker = CircuitBreaker::default();
        let first = breaker.acquire().await.unwrap();
        let beside = breaker.acquire().await.unwrap();
        first.trip(&dead(), WAITED);
        beside.trip(&dead(), WAITED);
        assert!(!beside.is_spent(), "it began with a full budget");
        drop((first, beside));
        for _ in 0..PROBES {
            assert!(breaker.is_open().is_none());
            assert!(breaker.acquire().await.unwrap().is_spent());
        }
        assert_eq!(breaker.acquire().await.unwrap_err(), dead());
        assert_eq!(breaker.is_open(), Some(dead()));
    }

    #[tokio::test]
    async fn a_budget_used_up_by_count_or_of_zero_trips_it_too() {
        for (retry_for, max_retries) in [(300, Some(0)), (300, Some(1)), (0, None)] {
            let breaker = CircuitBreaker::default();
            let policy = RetryPolicy { retry_for: Duration::from_secs(retry_for), max_retries };
            let (permit, mut budget) = (breaker.acquire().await.unwrap(), RetryBudget::new(policy));
            while permit.next_backoff(&mut budget, &dead()).is_some() {}
            drop(permit);
            for _ in 0..PROBES {
                assert!(breaker.is_open().is_none());
                let (permit, mut budget) = (breaker.acquire().await.unwrap(), RetryBudget::new(policy));
                assert_eq!(permit.next_backoff(&mut budget, &dead()), None);
            }
            assert_eq!(breaker.is_open(), Some(dead()));
        }
    }

    #[tokio::test]
    async fn a_few_slow_probes_are_enough() {
        let breaker = CircuitBreaker::default();
        breaker.acquire().await.unwrap().trip(&dead(), WAITED);
        let long_ago = Instant::now().checked_sub(MIN_PROBE_TIME);
        lock(&breaker.tripped).as_mut().unwrap().since = long_ago.unwrap();
        for _ in 0..MIN_PROBES {
            assert!(breaker.is_open().is_none());
            drop(breaker.acquire().await.unwrap());
        }
        assert!(breaker.is_open().is_some());
    }

    #[tokio::test]
    async fn a_failure_that_holds_for_all_opens_it_until_a_success() {
        let breaker = CircuitBreaker::default();
        breaker.refuse(&dead());
        assert_eq!(breaker.acquire().await.unwrap_err(), dead());
        breaker.record_success();
        assert!(breaker.acquire().await.is_ok());
    }

    #[tokio::test]
    async fn a_success_closes_it_also_for_probes() {
        let breaker = CircuitBreaker::default();
        let first = breaker.acquire().await.unwrap();
        first.trip(&dead(), WAITED);
        let last = breaker.acquire().await.unwrap();
        assert!(last.is_spent());
        breaker.record_success();
        assert!(!last.is_spent() && !breaker.acquire().await.unwrap().is_spent());
        // It began before that success.
        first.trip(&dead(), WAITED);
        assert!(breaker.is_open().is_none() && !breaker.acquire().await.unwrap().is_spent());
    }

    #[tokio::test]
    async fn a_probe_does_not_count_for_a_later_outage() {
        let breaker = CircuitBreaker::default();
        breaker.acquire().await.unwrap().trip(&dead(), WAITED);
        let old = breaker.acquire().await.unwrap();
        breaker.record_success();
        breaker.acquire().await.unwrap().trip(&dead(), WAITED);
        assert!(!old.is_spent());
        drop(old);
        for _ in 0..PROBES {
            assert!(breaker.acquire().await.unwrap().is_spent());
        }
        assert!(breaker.is_open().is_some());
    }

    #[tokio::test]
    async fn progress_ends_a_probe() {
        let breaker = CircuitBreaker::default();
        breaker.acquire().await.unwrap().trip(&dead(), WAITED);
        let mut last = breaker.acquire().await.unwrap();
        last.record_progress();
        assert!(!last.is_spent());
    }
}
