//! Runs file operations on blocking threads. Operations that hang, on a dead network mount for example, are counted, and
//! others run in their place.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use crate::error::Error;

/// An operation that takes longer counts as stuck. A disk that spins up may take as long, which does no harm: others only
/// start earlier.
const STUCK_AFTER: Duration = Duration::from_secs(5);

/// Limit on blocking threads. It has to cover all operations that can hang at a time: those of parts and files in progress,
/// and the `MAX_STUCK` that may replace them. Threads start on demand.
pub const THREADS: usize = 512;

/// Limit on concurrent operations that are not stuck. More are not faster, and each thread costs memory.
const MAX_RUNNING: usize = 16;

/// Limit on stuck operations that are replaced by others.
const MAX_STUCK: usize = 128;

/// Runs operations and counts those that are stuck.
#[derive(Debug, Clone)]
pub struct Disk {
    permits: Arc<Semaphore>,
    stuck: watch::Sender<usize>,
}

impl Default for Disk {
    fn default() -> Self {
        Self { permits: Arc::new(Semaphore::new(MAX_RUNNING)), stuck: watch::Sender::default() }
    }
}

impl Disk {
    /// Runs `work` on a blocking thread.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        self.run_for(STUCK_AFTER, work).await
    }

    async fn run_for<T: Send + 'static>(
        &self,
        stuck_after: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        // The semaphore is never closed, so this never fails.
        let permit = self.permits.acquire().await.ok();
        let mut working = tokio::task::spawn_blocking(work);
        let done = match tokio::time::timeout(stuck_after, &mut working).await {
            Ok(done) => done,
            Err(_) => {
                drop(permit);
                self.stuck.send_modify(|stuck| *stuck += 1);
                let _counted = Counted(&self.stuck);
                working.await
            }
        };
        done.map_err(|error| Error::Internal(format!("an operation on a file ended: {error}")))
    }

    /// The number of stuck operations, to watch.
    pub fn stuck(&self) -> Stuck {
        Stuck(self.stuck.subscribe())
    }
}

/// Decrements the count when the operation ends or is dropped.
struct Counted<'a>(&'a watch::Sender<usize>);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|stuck| *stuck -= 1);
    }
}

/// Watches the number of stuck operations.
pub struct Stuck(watch::Receiver<usize>);

impl Stuck {
    /// The current number, up to the limit.
    pub fn now(&mut self) -> usize {
        (*self.0.borrow_and_update()).min(MAX_STUCK)
    }

    /// Returns when the number is no longer what [`Stuck::now`] returned.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

/// Runs `work` on a blocking thread, for operations that do not touch the input file, such as those on records and standard input.
pub async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    /// Few files start or end at the same moment, and each thread costs memory.
    static PERMITS: Semaphore = Semaphore::const_new(8);
    let _permit = PERMITS.acquire().await;
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::Internal(format!("an operation on a file ended: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(10);

    #[tokio::test]
    async fn an_operation_that_hangs_is_stuck_until_it_ends_or_is_dropped() {
        let disk = Disk::default();
        let mut stuck = disk.stuck();
        let (release, hang) = std::sync::mpsc::channel::<()>();
        let hanging = disk.clone();
        let hanging = tokio::spawn(async move { hanging.run_for(SOON, move || hang.recv().is_ok()).await });
        let given_up = disk.clone();
        let (end, never) = std::sync::mpsc::channel::<()>();
        let given_up =
            tokio::spawn(async move { given_up.run_for(SOON, move || never.recv().is_ok()).await });
        while stuck.now() < 2 {
            stuck.changed().await;
        }
        given_up.abort();
        stuck.changed().await;
        assert_eq!(stuck.now(), 1);
        release.send(()).unwrap();
        assert!(hanging.await.unwrap().unwrap());
        assert_eq!(stuck.now(), 0);
        // Otherwise the runtime would wait for it.
        drop(end);
    }

    #[tokio::test]
    async fn an_operation_that_ends_soon_is_never_stuck() {
        let disk = Disk::default();
        assert_eq!(disk.run(|| 7).await.unwrap(), 7);
        assert!(!disk.stuck().0.has_changed().unwrap());
    }
}
