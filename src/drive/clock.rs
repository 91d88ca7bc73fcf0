//! The difference between this machine's clock and the service's.

use std::sync::{Mutex, PoisonError};

/// What the responses' `Date` headers say about the service's clock.
#[derive(Debug, Default)]
pub(super) struct ServiceClock(Mutex<Option<Bounds>>);

/// The service's clock is ahead of this machine's by at least `least` and less than `most` milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bounds {
    least: i64,
    most: i64,
}

impl ServiceClock {
    /// Notes a response. `date` is its `Date` in seconds, `sent` and `received` are this machine's clock in
    /// milliseconds, all since 1970.
    pub(super) fn observe(&self, date: i64, sent: i64, received: i64) {
        // `Date` has whole seconds, rounded down.
        let date = date.saturating_mul(1000);
        let now = Bounds {
            least: date.saturating_sub(received),
            most: date.saturating_add(1000).saturating_sub(sent),
        };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let both =
            known.map(|known| Bounds { least: known.least.max(now.least), most: known.most.min(now.most) });
        // If they contradict each other, a clock was set meanwhile.
        *known = Some(both.filter(|both| both.least < both.most).unwrap_or(now));
    }

    /// A time of this machine as the service's clock shows it, in milliseconds since 1970: the latest possible one. If
    /// the clocks may agree, they do: both are usually set by NTP.
    pub(super) fn of_local(&self, local: i64) -> i64 {
        let known = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let offset = known.map_or(0, |Bounds { least, most }| if least <= 0 && most > 0 { 0 } else { most });
        local.saturating_add(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_may_agree_do() {
        let clock = ServiceClock::default();
        assert_eq!(clock.of_local(5), 5);
        // 10.9 s here, and 10 to 11 s there.
        clock.observe(10, 10_900, 10_950);
        assert_eq!(clock.of_local(7), 7);
    }

    #[test]
    fn another_clock_is_known_the_better_the_more_it_answers() {
        let clock = ServiceClock::default();
        // It is 3.5 s ahead.
        clock.observe(103, 100_000, 100_010);
        assert_eq!(clock.of_local(0), 4000);
        clock.observe(104, 100_500, 100_510);
        assert_eq!(clock.of_local(0), 4000);
        clock.observe(104, 101_300, 101_310);
        assert_eq!(clock.of_local(0), 3700);
        // It was set back by an hour.
        clock.observe(104 - 3600, 101_400, 101_410);
        assert_eq!(clock.of_local(0), 3600 - 3_600_000);
    }
}
