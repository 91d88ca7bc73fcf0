//! `--limit-rate`, over all parts in flight.
//!
//! S3 closes a socket on which it sees no byte for about 20 s. A limited upload must send a little on every connection
//! all the time, instead of pausing some.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::buffers::BUFFER;

use crate::mutex::lock;

/// Bytes are granted in quanta of this fraction of a second's bytes. With 64 connections, each gets one every 3.2 s.
const QUANTA_PER_SECOND: u64 = 20;
/// The smallest quantum: about one packet.
const MIN_QUANTUM: usize = 512;
/// Unused bytes may be sent this much later. This makes up for a short pause of the network without a noticeable burst.
const MAX_CREDIT: Duration = Duration::from_millis(100);

/// Grants bytes at a rate. Clones share the rate. Without a rate, everything is granted at once.
#[derive(Clone, Default)]
pub struct Limiter(Option<Arc<Limit>>);

struct Limit {
    rate: u64,
    free_at: Mutex<Option<Instant>>,
}

impl Limiter {
    /// A limiter of `rate` bytes per second, or none.
    pub fn new(rate: Option<u64>) -> Self {
        Self(rate.filter(|rate| *rate > 0).map(|rate| Arc::new(Limit { rate, free_at: Mutex::new(None) })))
    }

    /// Reserves up to `want` bytes. Returns how many, and when they may be sent (`None`: now).
    pub fn reserve(&self, want: usize) -> (usize, Option<Instant>) {
        match &self.0 {
            None => (want, None),
            Some(limit) => limit.reserve(want, Instant::now()),
        }
    }
}

impl Limit {
    fn reserve(&self, want: usize, now: Instant) -> (usize, Option<Instant>) {
        let quantum =
            usize::try_from(self.rate / QUANTA_PER_SECOND).unwrap_or(BUFFER).clamp(MIN_QUANTUM, BUFFER);
        let bytes = want.min(quantum);
        let mut free_at = lock(&self.free_at);
        let earliest = now.checked_sub(MAX_CREDIT).unwrap_or(now);
        let start = free_at.map_or(now, |at| at.max(earliest));
        *free_at = Some(start + Duration::from_secs_f64(bytes as f64 / self.rate as f64));
        (bytes, Some(start).filter(|start| *start > now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limited_rate_is_kept_in_small_quanta() {
        let limit = Limit { rate: 100_000, free_at: Mutex::new(None) };
        let begin = Instant::now();
        let mut now = begin;
        let mut sent = 0;
        while now < begin + Duration::from_secs(10) {
            let (bytes, wait) = limit.reserve(BUFFER, now);
            assert!(bytes <= 5_000);
            now = wait.unwrap_or(now);
            sent += bytes;
        }
        assert!((950_000..=1_020_000).contains(&sent), "{sent} bytes in 10 s at 100,000 bytes per second");
    }

    #[test]
    fn a_pause_is_not_followed_by_a_burst() {
        let limit = Limit { rate: 1_000_000, free_at: Mutex::new(None) };
        let begin = Instant::now();
        limit.reserve(BUFFER, begin);
        let later = begin + Duration::from_secs(60);
        let mut burst = 0;
        loop {
            let (bytes, wait) = limit.reserve(BUFFER, later);
            if wait.is_some() {
                break;
            }
            burst += bytes;
        }
        assert!(burst <= 200_000, "{burst} bytes at once");
    }

    #[test]
    fn without_a_rate_everything_is_granted_at_once() {
        assert_eq!(Limiter::new(None).reserve(7), (7, None));
    }
}
