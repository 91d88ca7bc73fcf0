//! Stopping a run.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use crate::error::{Error, Signal};
use crate::mutex::lock;

/// Stops the engine.
#[derive(Clone, Default)]
pub struct Stopper {
    pub(super) token: CancellationToken,
    signal: Arc<Mutex<Option<Signal>>>,
    /// Some steps were not started.
    pub(super) skipped: Arc<AtomicBool>,
}

impl Stopper {
    /// Stops the run. Finished parts are kept, parts in flight are aborted.
    pub fn stop(&self, signal: Signal) {
        lock(&self.signal).get_or_insert(signal);
        self.token.cancel();
    }

    /// The signal, if one was received.
    pub fn signal(&self) -> Option<Signal> {
        *lock(&self.signal)
    }

    /// Whether the run stopped before it had started all steps.
    pub fn skipped_steps(&self) -> bool {
        self.skipped.load(Ordering::Relaxed)
    }

    /// Waits for a stop.
    pub async fn stopped(&self) -> Error {
        self.token.cancelled().await;
        Error::Interrupted(self.signal().unwrap_or(Signal::Interrupt))
    }
}
