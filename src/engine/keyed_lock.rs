//! A mutex for each key.

use std::collections::HashMap;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::OwnedMutexGuard;

/// One holder at a time for each key.
pub(super) struct KeyedMutex<K>(Mutex<HashMap<K, Arc<tokio::sync::Mutex<()>>>>);

impl<K> Default for KeyedMutex<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> KeyedMutex<K> {
    /// Acquires the lock of a key. Dropping the guard releases it.
    pub(super) async fn lock(&self, key: K) -> OwnedMutexGuard<()> {
        self.turn(key).lock_owned().await
    }

    /// Enqueues for the lock of a key. It is granted in the order of these calls, whoever awaits first.
    pub(super) fn enqueue(&self, key: K) -> Waiting {
        // Tokio's mutex is fair, and the first poll enqueues. Unconstrained, because a task that has used up its budget
        // would have to poll again before it is enqueued.
        let mut waiting = Box::pin(tokio::task::unconstrained(self.turn(key).lock_owned()));
        match waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(turn) => Waiting::Ready(turn),
            Poll::Pending => Waiting::Queued(waiting),
        }
    }

    fn turn(&self, key: K) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Forgets unused keys, so that memory does not grow with the number of files.
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(key).or_default())
    }
}

/// A position in the queue.
pub(super) enum Waiting {
    /// The queue was empty.
    Ready(OwnedMutexGuard<()>),
    /// Others were before it.
    Queued(Pin<Box<dyn Future<Output = OwnedMutexGuard<()>> + Send>>),
}

impl Waiting {
    /// Waits for the lock. Dropping the guard releases it.
    pub(super) async fn turn(self) -> OwnedMutexGuard<()> {
        match self {
            Self::Ready(turn) => turn,
            Self::Queued(waiting) => waiting.await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_key_is_had_by_one_at_a_time_and_forgotten_after() {
        let turns = KeyedMutex::default();
        let first = turns.lock("a").await;
        let other = turns.lock("b").await;
        let mut second = Box::pin(turns.lock("a"));
        let waits = std::future::poll_fn(|cx| std::task::Poll::Ready(second.as_mut().poll(cx).is_pending()));
        assert!(waits.await);
        drop(first);
        let second = second.await;
        drop((other, second));
        let _last = turns.lock("c").await;
        assert_eq!(turns.0.lock().unwrap().len(), 1);
    }
    #[tokio::test]
    async fn turns_are_had_in_the_order_of_the_line_whoever_waits_first() {
        let turns = KeyedMutex::default();
        let (first, second, third) = (turns.enqueue("a"), turns.enqueue("a"), turns.enqueue("a"));
        let order = Mutex::new(Vec::new());
        let wait = async |waiting: Waiting, number| {
            let _turn = waiting.turn().await;
            order.lock().unwrap().push(number);
        };
        tokio::join!(wait(third, 3), wait(second, 2), wait(first, 1));
        assert_eq!(order.into_inner().unwrap(), [1, 2, 3]);
    }
}
