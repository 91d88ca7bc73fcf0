//! The journal as the engine uses it: shared by a file's parts, written off the runtime's threads, and never
//! a reason to fail. A disk that does not take the record costs a warning, once.

use std::sync::{Arc, Mutex, PoisonError};

use super::journal::Journal;
use crate::storage::Receipt;
use crate::work::Work;

/// A journal, or none.
#[derive(Clone, Default)]
pub(super) struct Record(Arc<Mutex<Option<Journal>>>);

impl Record {
    pub(super) fn new(journal: Option<Journal>) -> Self {
        Self(Arc::new(Mutex::new(journal)))
    }

    pub(super) fn exists(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Does something with the journal, if there is one.
    pub(super) async fn write<F>(&self, work: &Work, act: F)
    where
        F: FnOnce(&mut Journal) -> std::io::Result<()> + Send + 'static,
    {
        if !self.exists() {
            return;
        }
        let shared = Arc::clone(&self.0);
        let written = tokio::task::spawn_blocking(move || {
            let mut journal = shared.lock().unwrap_or_else(PoisonError::into_inner);
            journal.as_mut().map_or(Ok(()), act)
        });
        let error = match written.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        // What is in it stays true; it just is not added to.
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            work.warn(&format!("the record for resuming cannot be written ({error}); an interruption will cost what is sent from now on"));
        }
    }

    pub(super) async fn part(&self, work: &Work, number: u32, receipt: &Receipt) {
        let receipt = receipt.clone();
        self.write(work, move |journal| journal.part(number, &receipt)).await;
    }

    /// The upload is over, or can never go on.
    pub(super) fn remove(&self) {
        if let Some(journal) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            journal.remove();
        }
    }
}
