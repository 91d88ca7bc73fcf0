//! Whether the other side is still believed to be there: what many calls, or many parts, have in common.
//!
//! Patience is each call's own. Without this a service that is gone would be waited for by one file after the other,
//! each for the whole of its patience: thousands of files, a day. So once one has tried in vain for as long or as
//! often as it may, and nothing got through meanwhile, some more are tried, each once and with a pause in between,
//! and then no more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::retry::{Failure, Patience};

/// After patience ended in vain so many more are tried.
const LAST_TRIES: u32 = 16;
/// They come as far apart as makes them last as long as patience did, and not further than this.
const BETWEEN_MOST: Duration = Duration::from_secs(2);
/// Where each takes long (nobody answers), so many are enough, once they have lasted twice as long as patience did,
/// and this long.
const LEAST_TRIES: u32 = 3;
/// See [`LEAST_TRIES`].
const LEAST_TIME: Duration = Duration::from_secs(10);
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
    since: Instant,
    /// How long it was tried in vain before.
    waited: Duration,
    /// Of the last tries.
    begun: u32,
    ended: u32,
    next: Instant,
    /// No try is left.
    over: bool,
}

impl Lost {
    /// One of the last tries has ended in vain.
    fn count(&mut self) {
        self.ended += 1;
        let long_enough = self.since.elapsed() >= LEAST_TIME.max(self.waited.saturating_mul(2));
        self.over |= self.ended >= LAST_TRIES || self.ended >= LEAST_TRIES && long_enough;
    }
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
    pub async fn turn(&self) -> Result<Turn<'_>, Failure> {
        loop {
            let wait = {
                let mut lost = self.lost();
                let last = match &mut *lost {
                    None => Some(false),
                    Some(lost) if lost.over => return Err(lost.failure.clone()),
                    Some(lost) if lost.begun < LAST_TRIES && Instant::now() >= lost.next => {
                        lost.begun += 1;
                        lost.next = Instant::now() + (lost.waited / LAST_TRIES).min(BETWEEN_MOST);
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
        self.lost().as_ref().filter(|lost| lost.over).map(|lost| lost.failure.clone())
    }

    /// It was refused what the others would be refused too ([`Failure::holds_for_all`]): no more tries.
    pub fn refuse(&self, failure: &Failure) {
        let now = Instant::now();
        let failure = failure.clone();
        let waited = Duration::ZERO;
        *self.lost() = Some(Lost { failure, since: now, waited, begun: 0, ended: 0, next: now, over: true });
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
    /// patience is at its end, or it was one of the last tries and still nothing gets through. Whoever has tried in
    /// vain to the end, by time or by count, while nothing got through, has done so for the others too.
    pub fn wait(&self, patience: &mut Patience, failure: &Failure) -> Option<Duration> {
        let wait = if self.is_over() { None } else { patience.wait(failure.retry_after()) };
        if wait.is_none() {
            self.give_up(failure, patience.waited());
        }
        wait
    }

    fn is_over(&self) -> bool {
        self.last && self.hope.lost().is_some() && self.is_of_now()
    }

    fn give_up(&self, failure: &Failure, waited: Duration) {
        let mut lost = self.hope.lost();
        if self.is_of_now() {
            let (now, failure) = (Instant::now(), failure.clone());
            lost.get_or_insert(Lost {
                failure,
                since: now,
                waited,
                begun: 0,
                ended: 0,
                next: now,
                over: false,
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
            lost.count();
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
    use crate::retry::{Policy, Transport};

    const WAITED: Duration = Duration::from_millis(16);

    fn dead() -> Failure {
        Failure::transport(Transport::Connect, "refused")
    }

    #[tokio::test]
    async fn when_one_has_waited_in_vain_some_are_tried_once_and_the_rest_not_at_all() {
        let hope = Hope::default();
        let first = hope.turn().await.unwrap();
        let beside = hope.turn().await.unwrap();
        first.give_up(&dead(), WAITED);
        beside.give_up(&dead(), WAITED);
        assert!(!beside.is_over(), "it began with full patience");
        drop((first, beside));
        for _ in 0..LAST_TRIES {
            assert!(hope.gone().is_none());
            assert!(hope.turn().await.unwrap().is_over());
        }
        assert_eq!(hope.turn().await.unwrap_err(), dead());
        assert_eq!(hope.gone(), Some(dead()));
    }

    #[tokio::test]
    async fn patience_that_ends_by_count_or_that_there_is_none_of_counts_as_in_vain() {
        for (retry_for, max_retries) in [(300, Some(0)), (300, Some(1)), (0, None)] {
            let hope = Hope::default();
            let policy = Policy { retry_for: Duration::from_secs(retry_for), max_retries };
            let (turn, mut patience) = (hope.turn().await.unwrap(), Patience::new(policy));
            while turn.wait(&mut patience, &dead()).is_some() {}
            drop(turn);
            for _ in 0..LAST_TRIES {
                assert!(hope.gone().is_none());
                let (turn, mut patience) = (hope.turn().await.unwrap(), Patience::new(policy));
                assert_eq!(turn.wait(&mut patience, &dead()), None);
            }
            assert_eq!(hope.gone(), Some(dead()));
        }
    }

    #[tokio::test]
    async fn where_nobody_answers_a_few_last_tries_are_enough() {
        let hope = Hope::default();
        hope.turn().await.unwrap().give_up(&dead(), WAITED);
        let long_ago = Instant::now().checked_sub(LEAST_TIME);
        hope.lost().as_mut().unwrap().since = long_ago.unwrap();
        for _ in 0..LEAST_TRIES {
            assert!(hope.gone().is_none());
            drop(hope.turn().await.unwrap());
        }
        assert!(hope.gone().is_some());
    }

    #[tokio::test]
    async fn what_is_refused_to_all_is_tried_no_more_until_one_gets_through() {
        let hope = Hope::default();
        hope.refuse(&dead());
        assert_eq!(hope.turn().await.unwrap_err(), dead());
        hope.fulfil();
        assert!(hope.turn().await.is_ok());
    }

    #[tokio::test]
    async fn one_success_and_all_is_hoped_for_again_also_by_the_last() {
        let hope = Hope::default();
        let first = hope.turn().await.unwrap();
        first.give_up(&dead(), WAITED);
        let last = hope.turn().await.unwrap();
        assert!(last.is_over());
        hope.fulfil();
        assert!(!last.is_over() && !hope.turn().await.unwrap().is_over());
        // It began before that success.
        first.give_up(&dead(), WAITED);
        assert!(hope.gone().is_none() && !hope.turn().await.unwrap().is_over());
    }

    #[tokio::test]
    async fn a_last_try_has_nothing_to_do_with_what_is_lost_later() {
        let hope = Hope::default();
        hope.turn().await.unwrap().give_up(&dead(), WAITED);
        let old = hope.turn().await.unwrap();
        hope.fulfil();
        hope.turn().await.unwrap().give_up(&dead(), WAITED);
        assert!(!old.is_over());
        drop(old);
        for _ in 0..LAST_TRIES {
            assert!(hope.turn().await.unwrap().is_over());
        }
        assert!(hope.gone().is_some());
    }

    #[tokio::test]
    async fn one_that_gets_further_is_tried_on() {
        let hope = Hope::default();
        hope.turn().await.unwrap().give_up(&dead(), WAITED);
        let mut last = hope.turn().await.unwrap();
        last.renew();
        assert!(!last.is_over());
    }
}
