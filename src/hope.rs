//! Whether the other side is still believed to be there: what many calls, or many parts, have in common.
//!
//! Patience is each call's own. Without this a service that is gone would be waited for by one file after the other,
//! each for the whole of its patience: thousands of files, a day. So once one has waited in vain, and nothing got
//! through meanwhile, some more are tried, each once and with a pause in between, and then no more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::retry::{Failure, Patience, Policy};

/// After patience ended in vain so many more are tried.
const LAST_TRIES: u32 = 16;
/// They come as far apart as makes them last as long as patience did, and not further than this.
const BETWEEN_MOST: Duration = Duration::from_secs(2);
/// Whoever waits for what comes of the last tries looks this often.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Debug, Default)]
pub struct Hope {
    /// How often there was a success.
    fulfilled: AtomicU64,
    lost: Mutex<Option<Lost>>,
}

#[derive(Debug)]
struct Lost {
    failure: Failure,
    /// Of the last tries.
    begun: u32,
    ended: u32,
    next: Instant,
}

/// Leave to try.
#[derive(Debug)]
pub struct Turn<'a> {
    hope: &'a Hope,
    /// Successes when it began, or last got further: what was lost since has to do with it, and nothing else.
    fulfilled: u64,
    /// It is one of the last.
    last: bool,
}

impl Hope {
    /// Waits until it is worth a try.
    ///
    /// # Errors
    /// The failure for which it is not.
    pub async fn turn(&self, policy: Policy) -> Result<Turn<'_>, Failure> {
        loop {
            let wait = {
                let mut lost = self.lost();
                let last = match &mut *lost {
                    None => Some(false),
                    Some(lost) if lost.ended >= LAST_TRIES => return Err(lost.failure.clone()),
                    Some(lost) if lost.begun < LAST_TRIES && Instant::now() >= lost.next => {
                        lost.begun += 1;
                        lost.next = Instant::now() + (policy.retry_for / LAST_TRIES).min(BETWEEN_MOST);
                        Some(true)
                    }
                    Some(_) => None,
                };
                if let Some(last) = last {
                    return Ok(Turn { hope: self, fulfilled: self.fulfilled(), last });
                }
                let next = lost
                    .as_ref()
                    .map_or(Duration::ZERO, |lost| lost.next.saturating_duration_since(Instant::now()));
                next.clamp(Duration::from_millis(1), LOOK_EVERY)
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Why it is worth no more tries, if it is not.
    pub fn gone(&self) -> Option<Failure> {
        self.lost().as_ref().filter(|lost| lost.ended >= LAST_TRIES).map(|lost| lost.failure.clone())
    }

    /// One got through.
    pub fn fulfil(&self) {
        let mut lost = self.lost();
        self.fulfilled.fetch_add(1, Ordering::Relaxed);
        *lost = None;
    }

    fn fulfilled(&self) -> u64 {
        self.fulfilled.load(Ordering::Relaxed)
    }

    fn lost(&self) -> MutexGuard<'_, Option<Lost>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// It got further than ever: that is hope enough for itself.
    pub fn renew(&mut self) {
        self.end();
        self.fulfilled = self.hope.fulfilled();
    }

    /// How long to wait before the next try, after this failure; `None`: it must not be tried again, because its
    /// patience is at its end, or it was one of the last tries and still nothing gets through. Whoever has waited in
    /// vain to the end, while nothing got through, has done so for the others too.
    pub fn wait(&self, patience: &mut Patience, failure: &Failure) -> Option<Duration> {
        let wait = if self.is_over() { None } else { patience.wait(failure.retry_after()) };
        if wait.is_none() && patience.is_over() {
            self.give_up(failure);
        }
        wait
    }

    fn is_over(&self) -> bool {
        self.last && self.hope.lost().is_some() && self.is_of_now()
    }

    fn give_up(&self, failure: &Failure) {
        let mut lost = self.hope.lost();
        if self.is_of_now() {
            lost.get_or_insert_with(|| Lost {
                failure: failure.clone(),
                begun: 0,
                ended: 0,
                next: Instant::now(),
            });
        }
    }

    /// Whether nothing got through since.
    fn is_of_now(&self) -> bool {
        self.hope.fulfilled() == self.fulfilled
    }

    fn end(&mut self) {
        let mut lost = self.hope.lost();
        if std::mem::replace(&mut self.last, false)
            && self.is_of_now()
            && let Some(lost) = &mut *lost
        {
            lost.ended += 1;
        }
    }
}

impl Drop for Turn<'_> {
    /// Also of one that was cut off: others wait for the last tries to end.
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retry::Transport;

    const POLICY: Policy = Policy { retry_for: Duration::from_millis(16), max_retries: None };

    fn dead() -> Failure {
        Failure::transport(Transport::Connect, "refused")
    }

    #[tokio::test]
    async fn when_one_has_waited_in_vain_some_are_tried_once_and_the_rest_not_at_all() {
        let hope = Hope::default();
        let first = hope.turn(POLICY).await.unwrap();
        let beside = hope.turn(POLICY).await.unwrap();
        first.give_up(&dead());
        beside.give_up(&dead());
        assert!(!beside.is_over(), "it began with full patience");
        drop((first, beside));
        for _ in 0..LAST_TRIES {
            assert!(hope.gone().is_none());
            assert!(hope.turn(POLICY).await.unwrap().is_over());
        }
        assert_eq!(hope.turn(POLICY).await.unwrap_err(), dead());
        assert_eq!(hope.gone(), Some(dead()));
    }

    #[tokio::test]
    async fn one_success_and_all_is_hoped_for_again_also_by_the_last() {
        let hope = Hope::default();
        let first = hope.turn(POLICY).await.unwrap();
        first.give_up(&dead());
        let last = hope.turn(POLICY).await.unwrap();
        assert!(last.is_over());
        hope.fulfil();
        assert!(!last.is_over() && !hope.turn(POLICY).await.unwrap().is_over());
        // It began before that success.
        first.give_up(&dead());
        assert!(hope.gone().is_none() && !hope.turn(POLICY).await.unwrap().is_over());
    }

    #[tokio::test]
    async fn a_last_try_has_nothing_to_do_with_what_is_lost_later() {
        let hope = Hope::default();
        hope.turn(POLICY).await.unwrap().give_up(&dead());
        let old = hope.turn(POLICY).await.unwrap();
        hope.fulfil();
        hope.turn(POLICY).await.unwrap().give_up(&dead());
        assert!(!old.is_over());
        drop(old);
        for _ in 0..LAST_TRIES {
            assert!(hope.turn(POLICY).await.unwrap().is_over());
        }
        assert!(hope.gone().is_some());
    }

    #[tokio::test]
    async fn one_that_gets_further_is_tried_on() {
        let hope = Hope::default();
        hope.turn(POLICY).await.unwrap().give_up(&dead());
        let mut last = hope.turn(POLICY).await.unwrap();
        last.renew();
        assert!(!last.is_over());
    }
}
