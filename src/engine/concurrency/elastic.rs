//! A semaphore that can lend additional permits and take them back when they are released.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

/// An elastic semaphore.
pub struct Elastic {
    semaphore: Semaphore,
    /// Permits to remove as soon as they are released.
    owed: Mutex<usize>,
}

impl Elastic {
    /// With this many permits of its own.
    pub fn new(permits: usize) -> Self {
        Self { semaphore: Semaphore::new(permits), owed: Mutex::new(0) }
    }

    /// Waits for a permit, first come, first served. Dropping it releases it.
    pub async fn acquire(&self) -> Permit<'_> {
        // The semaphore is never closed, so this never fails.
        Permit { permit: self.semaphore.acquire().await.ok(), of: self }
    }

    /// Lends this many additional permits.
    pub fn add_permits(&self, permits: usize) {
        let mut owed = self.owed();
        let kept = permits.min(*owed);
        *owed -= kept;
        self.semaphore.add_permits(permits - kept);
    }

    /// Takes back this many lent permits, at the latest when they are released.
    pub fn remove_permits(&self, permits: usize) {
        let mut owed = self.owed();
        *owed += permits;
        *owed -= self.semaphore.forget_permits(*owed);
    }

    fn owed(&self) -> MutexGuard<'_, usize> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A permit.
pub struct Permit<'a> {
    permit: Option<SemaphorePermit<'a>>,
    of: &'a Elastic,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut owed = self.of.owed();
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
    async fn lent_permits_are_gone_once_they_are_back() {
        let elastic = Elastic::new(1);
        let own = elastic.acquire().await;
        elastic.add_permits(1);
        let lent = elastic.acquire().await;
        elastic.remove_permits(1);
        drop(lent);
        assert_eq!(elastic.semaphore.available_permits(), 0, "one is in use, and there is one");
        drop(own);
        assert_eq!(elastic.semaphore.available_permits(), 1);
        elastic.add_permits(2);
        elastic.remove_permits(2);
        assert_eq!(elastic.semaphore.available_permits(), 1);
    }
}
