//! The rate of the last seconds.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Window of the rate: long enough to be steady, short enough to follow changes.
const WINDOW: Duration = Duration::from_secs(10);
/// Interval of samples, and of changes of the displayed rate.
const SPACING: Duration = Duration::from_millis(500);
/// Time left is not estimated from less than this.
const ENOUGH: Duration = Duration::from_secs(3);

/// A sliding window over a count that never decreases.
#[derive(Debug, Default)]
pub(super) struct Rate(VecDeque<(Instant, u64)>);

impl Rate {
    /// Adds a sample.
    pub(super) fn push(&mut self, now: Instant, count: u64) {
        if self.0.back().is_some_and(|(last, _)| now.saturating_duration_since(*last) < SPACING) {
            return;
        }
        self.0.push_back((now, count));
        while self.0.get(1).is_some_and(|(second, _)| now.saturating_duration_since(*second) >= WINDOW) {
            self.0.pop_front();
        }
    }

    fn span(&self) -> Option<(Duration, u64)> {
        let ((from, first), (to, last)) = (self.0.front()?, self.0.back()?);
        Some((to.saturating_duration_since(*from), last.saturating_sub(*first)))
    }

    /// Units per second in the window.
    pub(super) fn per_second(&self) -> Option<f64> {
        let (span, moved) = self.span()?;
        (span >= SPACING).then(|| moved as f64 / span.as_secs_f64())
    }

    /// How long the rest will take at this rate, if that can be estimated.
    pub(super) fn time_for(&self, left: u64) -> Option<Duration> {
        let (span, _) = self.span()?;
        let rate = self.per_second().filter(|rate| *rate >= 1.0 && span >= ENOUGH)?;
        // More than a year is not an estimate.
        Duration::try_from_secs_f64(left as f64 / rate).ok().filter(|left| left.as_secs() < 365 * 86_400)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_ten_seconds() {
        let start = Instant::now();
        let mut rate = Rate::default();
        assert_eq!(rate.per_second(), None);
        for second in 0..=20u64 {
            rate.push(start + Duration::from_secs(second), second * 100);
        }
        assert_eq!(rate.per_second(), Some(100.0));
        // No bytes are sent: after the window there is neither a rate nor a time left.
        for second in 21..=31u64 {
            rate.push(start + Duration::from_secs(second), 2000);
        }
        assert_eq!((rate.per_second(), rate.time_for(100)), (Some(0.0), None));
        assert!(rate.0.len() <= 12);
    }

    #[test]
    fn time_left_waits_until_it_means_something() {
        let start = Instant::now();
        let mut rate = Rate::default();
        rate.push(start, 0);
        rate.push(start + Duration::from_millis(100), 5000); // too close: not a sample
        assert_eq!(rate.per_second(), None);
        rate.push(start + Duration::from_secs(1), 1000);
        assert_eq!((rate.per_second(), rate.time_for(2000)), (Some(1000.0), None));
        rate.push(start + Duration::from_secs(3), 3000);
        assert_eq!(rate.time_for(2000), Some(Duration::from_secs(2)));
        assert_eq!(rate.time_for(u64::MAX), None);
    }
}
