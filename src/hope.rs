//! Whether the other side is still believed to be there: what many calls, or many parts, have in common.
//!
//! Patience is each call's own. Without this a service that is gone would be waited for by one file after the other,
//! each for the whole of its patience: thousands of files, a day.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::retry::{Failure, Patience, Policy};

/// After patience ended once, and nothing got through since, so many more are tried, each once.
const LAST_TRIES: u32 = 16;

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
    tries: u32,
}

impl Hope {
    /// Successes so far.
    pub fn fulfilled(&self) -> u64 {
        self.fulfilled.load(Ordering::Relaxed)
    }

    /// One got through.
    pub fn fulfil(&self) {
        self.fulfilled.fetch_add(1, Ordering::Relaxed);
        *self.lost() = None;
    }

    /// Patience for the next one: one try, when another has waited in vain.
    pub fn patience(&self, policy: Policy) -> Patience {
        let lost = self.lost().is_some();
        Patience::new(if lost { Policy { retry_for: Duration::ZERO, ..policy } } else { policy })
    }

    /// Why the next one need not be tried at all.
    pub fn gone(&self) -> Option<Failure> {
        self.lost().as_ref().filter(|lost| lost.tries >= LAST_TRIES).map(|lost| lost.failure.clone())
    }

    /// One has come to its end with this failure, that may pass; when it began there were so many successes. If it
    /// `waited` and there has been none since, the others need not wait too.
    pub fn give_up(&self, failure: &Failure, fulfilled: u64, waited: bool) {
        if self.fulfilled() > fulfilled {
            return;
        }
        let mut lost = self.lost();
        match &mut *lost {
            Some(lost) => lost.tries += 1,
            None if waited => *lost = Some(Lost { failure: failure.clone(), tries: 0 }),
            None => {}
        }
    }

    fn lost(&self) -> MutexGuard<'_, Option<Lost>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retry::Transport;

    const POLICY: Policy = Policy { retry_for: Duration::from_secs(60), max_retries: None };

    fn dead() -> Failure {
        Failure::transport(Transport::Connect, "refused")
    }

    #[test]
    fn when_one_has_waited_in_vain_the_next_are_tried_once_and_the_rest_not_at_all() {
        let hope = Hope::default();
        assert!(hope.patience(POLICY).wait(None).is_some());
        hope.give_up(&dead(), 0, true);
        for _ in 0..LAST_TRIES {
            assert!(hope.patience(POLICY).wait(None).is_none() && hope.gone().is_none());
            hope.give_up(&dead(), 0, false);
        }
        assert_eq!(hope.gone(), Some(dead()));
    }

    #[test]
    fn one_success_and_all_is_hoped_for_again() {
        let hope = Hope::default();
        hope.give_up(&dead(), 0, true);
        hope.fulfil();
        assert!(hope.patience(POLICY).wait(None).is_some());
        // It began before that success.
        hope.give_up(&dead(), 0, true);
        assert!(hope.patience(POLICY).wait(None).is_some());
    }

    #[test]
    fn a_failure_without_a_wait_says_nothing_of_the_others() {
        let hope = Hope::default();
        (0..100).for_each(|_| hope.give_up(&dead(), 0, false));
        assert!(hope.patience(POLICY).wait(None).is_some() && hope.gone().is_none());
    }
}
