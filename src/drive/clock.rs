//! The difference between this machine's clock and the service's.

use std::sync::Mutex;

use crate::mutex::lock;

/// Bounds on the difference, from the `Date` headers of responses.
#[derive(Debug, Default)]
pub(super) struct ServiceClock(Mutex<Option<Bounds>>);

/// The service's clock is ahead of this machine's by at min `min` and less than `max` milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bounds {
    min: i64,
    max: i64,
}

impl ServiceClock {
    /// Notes a response. `date` is its `Date` in seconds, `sent` and `received` are this machine's clock in
    /// milliseconds, all since 1970.
    pub(super) fn observe(&self, date: i64, sent: i64, received: i64) {
        // `Date` has whole seconds, rounded down.
        let date = date.saturating_mul(1000);
        let now = Bounds {
            min: date.saturating_sub(received),
            max: date.saturating_add(1000).saturating_sub(sent),
        };
        let mut known = lock(&self.0);
        let both = known.map(|known| Bounds { min: known.min.max(now.min), max: known.max.min(now.max) });
        // If the bounds contradict each other, a clock was set.
        *known = Some(both.filter(|both| both.min < both.max).unwrap_or(now));
    }

    /// Converts a time of this machine's clock to the service's clock, in milliseconds since 1970. The latest possible time
    /// counts, or the same time if the clocks may agree, because both are usually set by NTP.
    pub(super) fn to_service(&self, local: i64) -> i64 {
        let known = *lock(&self.0);
        let offset = known.map_or(0, |Bounds { min, max }| if min <= 0 && max > 0 { 0 } else { max });
        local.saturating_add(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_may_agree_count_as_equal() {
        let clock = ServiceClock::default();
        assert_eq!(clock.to_service(5), 5);
        // 10.9 s here, and 10 to 11 s there.
        clock.observe(10, 10_900, 10_950);
        assert_eq!(clock.to_service(7), 7);
    }

    #[test]
    fn the_bounds_become_tighter_with_each_response() {
        let clock = ServiceClock::default();
        // It is 3.5 s ahead.
        clock.observe(103, 100_000, 100_010);
        assert_eq!(clock.to_service(0), 4000);
        clock.observe(104, 100_500, 100_510);
        assert_eq!(clock.to_service(0), 4000);
        clock.observe(104, 101_300, 101_310);
        assert_eq!(clock.to_service(0), 3700);
        // It was set back by an hour.
        clock.observe(104 - 3600, 101_400, 101_410);
        assert_eq!(clock.to_service(0), 3600 - 3_600_000);
    }
}
