//! When to retry, and for how long.

use std::time::{Duration, Instant};

/// The limit of the first backoff. It doubles with each attempt without progress.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
/// The limit of every backoff: a network that comes back is used within half a minute.
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// Jitter added to a `Retry-After`, as a fraction of it, so that many clients do not return at once.
const RETRY_AFTER_JITTER: f64 = 0.1;

/// How long to keep trying, from `--retry-for` and `--max-retries`.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// Time without progress.
    pub retry_for: Duration,
    /// Attempts without progress.
    pub max_retries: Option<u32>,
}

/// The retry budget of one call or part. Progress resets it, so that a long upload does not fail because of many small
/// faults.
#[derive(Debug)]
pub struct RetryBudget {
    policy: RetryPolicy,
    since: Instant,
    attempts: u32,
}

impl RetryBudget {
    /// A full budget, starting now.
    pub fn new(policy: RetryPolicy) -> Self {
        Self { policy, since: Instant::now(), attempts: 0 }
    }

    /// Fills the budget again, after progress beyond all earlier attempts.
    pub fn reset(&mut self) {
        self.since = Instant::now();
        self.attempts = 0;
    }

    /// Gives back time in which bytes were sent, even if the attempt did not get further than earlier ones.
    pub fn credit(&mut self, moving: Duration) {
        self.since = (self.since + moving).min(Instant::now());
    }

    /// Retries since the last progress.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Time since the last progress.
    pub fn waited(&self) -> Duration {
        self.since.elapsed()
    }

    /// How long to wait before the next attempt. `None` if the budget is used up, or if the server asks for a longer
    /// wait than is left of it.
    pub fn next_backoff(&mut self, retry_after: Option<Duration>) -> Option<Duration> {
        let left = self.policy.retry_for.checked_sub(self.since.elapsed()).filter(|left| !left.is_zero())?;
        if self.policy.max_retries.is_some_and(|max| self.attempts >= max) {
            return None;
        }
        let wait = match retry_after {
            Some(retry_after) if retry_after > left => return None,
            Some(retry_after) => retry_after
                .mul_f64(1.0 + RETRY_AFTER_JITTER * fastrand::f64())
                .max(full_jitter(self.attempts)),
            None => full_jitter(self.attempts),
        };
        self.attempts += 1;
        // The last attempt starts when the budget ends.
        Some(wait.min(left))
    }
}

/// Full jitter, so that parts that failed together do not come back together (AWS Architecture Blog, "Exponential
/// Backoff And Jitter").
fn full_jitter(retries: u32) -> Duration {
    FIRST_BACKOFF.saturating_mul(1 << retries.min(16)).min(MAX_BACKOFF).mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_ends_by_time_by_count_and_by_too_long_a_retry_after() {
        let minute = RetryPolicy { retry_for: Duration::from_secs(60), max_retries: None };
        assert_eq!(
            RetryBudget::new(RetryPolicy { retry_for: Duration::ZERO, ..minute }).next_backoff(None),
            None
        );
        assert_eq!(RetryBudget::new(minute).next_backoff(Some(Duration::from_secs(61))), None);
        assert!(
            RetryBudget::new(minute).next_backoff(Some(Duration::from_secs(2)))
                >= Some(Duration::from_secs(2))
        );

        let mut twice = RetryBudget::new(RetryPolicy { max_retries: Some(2), ..minute });
        assert!(twice.next_backoff(None).is_some() && twice.next_backoff(None).is_some());
        assert_eq!(twice.next_backoff(None), None);
        twice.reset();
        assert!(twice.next_backoff(None).is_some());
    }

    #[test]
    fn time_in_which_bytes_moved_is_given_back() {
        let policy = RetryPolicy { retry_for: Duration::from_millis(20), max_retries: None };
        let mut budget = RetryBudget::new(policy);
        budget.since -= Duration::from_secs(3600);
        budget.credit(Duration::from_secs(3600));
        assert!(budget.next_backoff(None).is_some());
        budget.since -= Duration::from_secs(3600);
        budget.credit(Duration::from_secs(1800));
        assert_eq!(budget.next_backoff(None), None, "it stood still for half an hour");
    }

    proptest::proptest! {
        #[test]
        fn backoff_stays_under_its_cap(retries in 0u32..u32::MAX) {
            proptest::prop_assert!(full_jitter(retries) <= MAX_BACKOFF);
        }
    }
}
