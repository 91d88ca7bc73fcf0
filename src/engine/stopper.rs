//! Stopping a run.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::error::{Error, Signal};

/// Asks the engine to stop.
#[derive(Clone, Default)]
pub struct Stopper {
    pub(super) token: CancellationToken,
    signal: Arc<Mutex<Option<Signal>>>,
    /// Not all steps were looked at.
    pub(super) cut: Arc<AtomicBool>,
}

impl Stopper {
    /// Stop in order: what is finished is kept, what is in flight is dropped.
    pub fn stop(&self, signal: Signal) {
        self.signal.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(signal);
        self.token.cancel();
    }

    /// The signal, if there was one.
    pub fn signal(&self) -> Option<Signal> {
        *self.signal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the stop came before all that there was to do had been looked at.
    pub fn cut_short(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    /// Comes back when a stop is asked for.
    pub async fn stopped(&self) -> Error {
        self.token.cancelled().await;
        Error::Interrupted(self.signal().unwrap_or(Signal::Interrupt))
    }
}
