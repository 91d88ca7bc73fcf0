//! A semaphore that can lend additional permits, and takes them back when they are released.

use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::mutex::lock;

/// Clones share the permits.
#[derive(Clone)]
pub struct LendingSemaphore {
    semaphore: Arc<Semaphore>,
    /// Permits to remove as soon as they are released.
    owed: Arc<Mutex<usize>>,
}

impl LendingSemaphore {
    /// Starts with this many permits.
    pub fn new(permits: usize) -> Self {
        Self { semaphore: Arc::new(Semaphore::new(permits)), owed: Arc::default() }
    }

    /// Waits for a permit, first come, first served. Dropping it releases it.
    pub async fn acquire(&self) -> SemaphorePermit {
        // The semaphore is never closed, so this never fails.
        let permit = Arc::clone(&self.semaphore).acquire_owned().await.ok();
        SemaphorePermit { permit, of: self.clone() }
    }

    /// A permit, if one is free.
    pub fn try_acquire(&self) -> Option<SemaphorePermit> {
        let permit = Arc::clone(&self.semaphore).try_acquire_owned().ok()?;
        Some(SemaphorePermit { permit: Some(permit), of: self.clone() })
    }

    /// The number of free permits.
    pub fn available_permits(&self) -> usize {
        self.semaphore.available_permits()
    }

    /// Lends this many additional permits.
    pub fn add_permits(&self, permits: usize) {
        let mut owed = lock(&self.owed);
        let kept = permits.min(*owed);
        *owed -= kept;
        self.semaphore.add_permits(permits - kept);
    }

    /// Removes this many permits: free ones now, others when they are released.
    pub fn remove_permits(&self, permits: usize) {
        let mut owed = lock(&self.owed);
        *owed += permits;
        *owed -= self.semaphore.forget_permits(*owed);
    }
}

/// A permit of a [`LendingSemaphore`].
pub struct SemaphorePermit {
    permit: Option<OwnedSemaphorePermit>,
    of: LendingSemaphore,
}

impl Drop for SemaphorePermit {
    fn drop(&mut self) {
        let mut owed = lock(&self.of.owed);
        if *owed > 0
            && let Some(permit) = self.permit.take()
        {
            *owed -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lent_permits_are_removed_when_they_are_released() {
        let semaphore = LendingSemaphore::new(1);
        let own = semaphore.acquire().await;
        semaphore.add_permits(1);
        let lent = semaphore.acquire().await;
        semaphore.remove_permits(1);
        drop(lent);
        assert_eq!(semaphore.available_permits(), 0, "one is in use, and there is one");
        drop(own);
        assert_eq!(semaphore.available_permits(), 1);
        semaphore.add_permits(2);
        semaphore.remove_permits(2);
        assert_eq!(semaphore.available_permits(), 1);
    }
}
