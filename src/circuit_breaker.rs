//! Whether the other side is still believed to be there: what many calls, or many parts, have in common.
//!
//! Patience is each call's own. Without this a service that is gone would be waited for by one file after the other,
//! each for the whole of its patience: thousands of files, a day. So once one has tried in vain for as long or as
//! often as it may, and nothing got through meanwhile, some more are tried, each once and with a pause in between,
//! and then no more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Failure;
use crate::retry::RetryBudget;

/// After patience ended in vain so many more are tried.
const PROBES: u32 = 16;
/// They come as far apart as makes them last as long as patience did, and not further than this.
const MAX_PROBE_INTERVAL: Duration = Duration::from_secs(2);
/// Where each takes long (nobody answers), so many are enough, once they have lasted twice as long as patience did,
/// and this long.
const LEAST_TRIES: u32 = 3;
/// See [`LEAST_TRIES`].
const LEAST_TIME: Duration = Duration::from_secs(10);
/// Whoever waits for what comes of the last tries looks this often.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Debug, Default)]
pub struct CircuitBreaker {
    /// How often there was a success.
    successes: AtomicU64,
    open: Mutex<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    failure: Failure,
    since: Instant,
    /// How long it was tried in vain before.
    waited: Duration,
    /// Of the last tries.
    probes_started: u32,
    probes_ended: u32,
    next_probe: Instant,
    /// No try is left.
    over: bool,
}

impl Open {
    /// One of the last tries has ended in vain.
    fn count(&mut self) {
        self.probes_ended += 1;
        let long_enough = self.since.elapsed() >= LEAST_TIME.max(self.waited.saturating_mul(2));
        self.over |= self.probes_ended >= PROBES || self.probes_ended >= LEAST_TRIES && long_enough;
    }
}

/// Leave to try.
#[derive(Debug)]
pub struct Permit<'a> {
    breaker: &'a CircuitBreaker,
    /// Successes when it began, or last got further: what was lost since has to do with it, and nothing else.
    successes: u64,
    /// It is one of the last.
    is_probe: bool,
}

impl CircuitBreaker {
    /// Waits until it is worth a try.
    ///
    /// # Errors
    /// The failure for which it is not.
    pub async fn acquire(&self) -> Result<Permit<'_>, Failure> {
        loop {
            let wait = {
                let mut lost = self.open();
                let last = match &mut *lost {
                    None => Some(false),
                    Some(lost) if lost.over => return Err(lost.failure.clone()),
                    Some(lost) if lost.probes_started < PROBES && Instant::now() >= lost.next_probe => {
                        lost.probes_started += 1;
                        lost.next_probe = Instant::now() + (lost.waited / PROBES).min(MAX_PROBE_INTERVAL);
                        Some(true)
                    }
                    Some(_) => None,
                };
                if let Some(last) = last {
                    return Ok(Permit { breaker: self, successes: self.successes(), is_probe: last });
                }
                let next = lost
                    .as_ref()
                    .map_or(Duration::ZERO, |lost| lost.next_probe.saturating_duration_since(Instant::now()));
                next.clamp(Duration::from_millis(1), POLL_INTERVAL)
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Why it is worth no more tries, if it is not.
    pub fn is_open(&self) -> Option<Failure> {
        self.open().as_ref().filter(|lost| lost.over).map(|lost| lost.failure.clone())
    }

    /// It was refused what the others would be refused too ([`Failure::holds_for_all`]): no more tries.
    pub fn refuse(&self, failure: &Failure) {
        let now = Instant::now();
        let failure = failure.clone();
        let waited = Duration::ZERO;
        *self.open() = Some(Open {
            failure,
            since: now,
            waited,
            probes_started: 0,
            probes_ended: 0,
            next_probe: now,
            over: true,
        });
    }

    /// One got through.
    pub fn record_success(&self) {
        let mut lost = self.open();
        self.successes.fetch_add(1, Ordering::Relaxed);
        *lost = None;
    }

    fn successes(&self) -> u64 {
        self.successes.load(Ordering::Relaxed)
    }

    fn open(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit<'_> {
    /// It got further than ever: that is hope enough for itself.
    pub fn record_progress(&mut self) {
        self.release();
        self.successes = self.breaker.successes();
    }

    /// How long to wait before the next try, after this failure; `None`: it must not be tried again, because its
    /// patience is at its end, or it was one of the last tries and still nothing gets through. Whoever has tried in
    /// vain to the end, by time or by count, while nothing got through, has done so for the others too.
    pub fn next_backoff(&self, patience: &mut RetryBudget, failure: &Failure) -> Option<Duration> {
        let wait = if self.is_spent() { None } else { patience.next_backoff(failure.retry_after()) };
        if wait.is_none() {
            self.trip(failure, patience.waited());
        }
        wait
    }

    fn is_spent(&self) -> bool {
        self.is_probe && self.breaker.open().is_some() && self.is_current()
    }

    fn trip(&self, failure: &Failure, waited: Duration) {
        let mut lost = self.breaker.open();
        if self.is_current() {
            let (now, failure) = (Instant::now(), failure.clone());
            lost.get_or_insert(Open {
                failure,
                since: now,
                waited,
                probes_started: 0,
                probes_ended: 0,
                next_probe: now,
                over: false,
            });
        }
    }

    /// Whether nothing got through since.
    fn is_current(&self) -> bool {
        self.breaker.successes() == self.successes
    }

    fn release(&mut self) {
        let mut lost = self.breaker.open();
        if std::mem::replace(&mut self.is_probe, false)
            && self.is_current()
            && let Some(lost) = &mut *lost
        {
            lost.count();
        }
    }
}

impl Drop for Permit<'_> {
    /// Also of one that was cut off: others wait for the last tries to end.
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
    async fn when_one_has_waited_in_vain_some_are_tried_once_and_the_rest_not_at_all() {
        let hope = CircuitBreaker::default();
        let first = hope.acquire().await.unwrap();
        let beside = hope.acquire().await.unwrap();
        first.trip(&dead(), WAITED);
        beside.trip(&dead(), WAITED);
        assert!(!beside.is_spent(), "it began with full patience");
        drop((first, beside));
        for _ in 0..PROBES {
            assert!(hope.is_open().is_none());
            assert!(hope.acquire().await.unwrap().is_spent());
        }
        assert_eq!(hope.acquire().await.unwrap_err(), dead());
        assert_eq!(hope.is_open(), Some(dead()));
    }

    #[tokio::test]
    async fn patience_that_ends_by_count_or_that_there_is_none_of_counts_as_in_vain() {
        for (retry_for, max_retries) in [(300, Some(0)), (300, Some(1)), (0, None)] {
            let hope = CircuitBreaker::default();
            let policy = RetryPolicy { retry_for: Duration::from_secs(retry_for), max_retries };
            let (turn, mut patience) = (hope.acquire().await.unwrap(), RetryBudget::new(policy));
            while turn.next_backoff(&mut patience, &dead()).is_some() {}
            drop(turn);
            for _ in 0..PROBES {
                assert!(hope.is_open().is_none());
                let (turn, mut patience) = (hope.acquire().await.unwrap(), RetryBudget::new(policy));
                assert_eq!(turn.next_backoff(&mut patience, &dead()), None);
            }
            assert_eq!(hope.is_open(), Some(dead()));
        }
    }

    #[tokio::test]
    async fn where_nobody_answers_a_few_last_tries_are_enough() {
        let hope = CircuitBreaker::default();
        hope.acquire().await.unwrap().trip(&dead(), WAITED);
        let long_ago = Instant::now().checked_sub(LEAST_TIME);
        hope.open().as_mut().unwrap().since = long_ago.unwrap();
        for _ in 0..LEAST_TRIES {
            assert!(hope.is_open().is_none());
            drop(hope.acquire().await.unwrap());
        }
        assert!(hope.is_open().is_some());
    }

    #[tokio::test]
    async fn what_is_refused_to_all_is_tried_no_more_until_one_gets_through() {
        let hope = CircuitBreaker::default();
        hope.refuse(&dead());
        assert_eq!(hope.acquire().await.unwrap_err(), dead());
        hope.record_success();
        assert!(hope.acquire().await.is_ok());
    }

    #[tokio::test]
    async fn one_success_and_all_is_hoped_for_again_also_by_the_last() {
        let hope = CircuitBreaker::default();
        let first = hope.acquire().await.unwrap();
        first.trip(&dead(), WAITED);
        let last = hope.acquire().await.unwrap();
        assert!(last.is_spent());
        hope.record_success();
        assert!(!last.is_spent() && !hope.acquire().await.unwrap().is_spent());
        // It began before that success.
        first.trip(&dead(), WAITED);
        assert!(hope.is_open().is_none() && !hope.acquire().await.unwrap().is_spent());
    }

    #[tokio::test]
    async fn a_last_try_has_nothing_to_do_with_what_is_lost_later() {
        let hope = CircuitBreaker::default();
        hope.acquire().await.unwrap().trip(&dead(), WAITED);
        let old = hope.acquire().await.unwrap();
        hope.record_success();
        hope.acquire().await.unwrap().trip(&dead(), WAITED);
        assert!(!old.is_spent());
        drop(old);
        for _ in 0..PROBES {
            assert!(hope.acquire().await.unwrap().is_spent());
        }
        assert!(hope.is_open().is_some());
    }

    #[tokio::test]
    async fn one_that_gets_further_is_tried_on() {
        let hope = CircuitBreaker::default();
        hope.acquire().await.unwrap().trip(&dead(), WAITED);
        let mut last = hope.acquire().await.unwrap();
        last.record_progress();
        assert!(!last.is_spent());
    }
}
