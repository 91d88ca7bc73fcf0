//! A mutex for each key.

use std::collections::HashMap;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use tokio::sync::OwnedMutexGuard;

use crate::mutex::lock;

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
        self.mutex(key).lock_owned().await
    }

    /// Enqueues for the lock of a key. Locks are granted in the order of these calls, whichever is awaited first.
    pub(super) fn enqueue(&self, key: K) -> Queued {
        // Tokio's mutex is fair, and the first poll enqueues. Without `unconstrained`, a task that has used up its budget would
        // not be enqueued by that poll.
        let mut waiting = Box::pin(tokio::task::unconstrained(self.mutex(key).lock_owned()));
        match waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(guard) => Box::pin(std::future::ready(guard)),
            Poll::Pending => waiting,
        }
    }

    fn mutex(&self, key: K) -> Arc<tokio::sync::Mutex<()>> {
        let mut mutexes = lock(&self.0);
        // Forgets unused keys, so that memory does not grow with the number of files.
        mutexes.retain(|_, mutex| Arc::strong_count(mutex) > 1);
        Arc::clone(mutexes.entry(key).or_default())
    }
}

/// A position in the queue of a key. Await it for the lock.
pub(super) type Queued = Pin<Box<dyn Future<Output = OwnedMutexGuard<()>> + Send>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_has_one_holder_at_a_time_and_is_forgotten_after() {
        let locks = KeyedMutex::default();
        let first = locks.lock("a").await;
        let other = locks.lock("b").await;
        let mut second = Box::pin(locks.lock("a"));
        let waits = std::future::poll_fn(|cx| std::task::Poll::Ready(second.as_mut().poll(cx).is_pending()));
        assert!(waits.await);
        drop(first);
        let second = second.await;
        drop((other, second));
        let _last = locks.lock("c").await;
        assert_eq!(locks.0.lock().unwrap().len(), 1);
    }
    #[tokio::test]
    async fn locks_are_granted_in_the_order_of_the_queue() {
        let locks = KeyedMutex::default();
        let (first, second, third) = (locks.enqueue("a"), locks.enqueue("a"), locks.enqueue("a"));
        let order = Mutex::new(Vec::new());
        let wait = async |waiting: Queued, number| {
            let _guard = waiting.await;
            order.lock().unwrap().push(number);
        };
        tokio::join!(wait(third, 3), wait(second, 2), wait(first, 1));
        assert_eq!(order.into_inner().unwrap(), [1, 2, 3]);
    }
}
