//! A semaphore that lends permits for a while and takes them back when they are free again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

/// See the module.
pub(super) struct Elastic {
    semaphore: Semaphore,
    /// Permits to take out of use as soon as they are given back.
    owed: Mutex<usize>,
}

impl Elastic {
    /// With so many permits of its own.
    pub(super) fn new(permits: usize) -> Self {
        Self { semaphore: Semaphore::new(permits), owed: Mutex::new(0) }
    }

    /// Waits for a permit, first come, first served; it is given back when dropped.
    pub(super) async fn acquire(&self) -> Permit<'_> {
        // Never closed, so there always is one.
        Permit { permit: self.semaphore.acquire().await.ok(), of: self }
    }

    /// So many more than there are.
    pub(super) fn add_permits(&self, permits: usize) {
        let mut owed = self.owed();
        let kept = permits.min(*owed);
        *owed -= kept;
        self.semaphore.add_permits(permits - kept);
    }

    /// So many of those that were lent are no more, at the latest when they are given back.
    pub(super) fn remove_permits(&self, permits: usize) {
        let mut owed = self.owed();
        *owed += permits;
        *owed -= self.semaphore.forget_permits(*owed);
    }

    fn owed(&self) -> MutexGuard<'_, usize> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the permits.
pub(super) struct Permit<'a> {
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
