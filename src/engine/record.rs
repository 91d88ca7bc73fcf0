//! The journal as the engine uses it: shared by a file's parts, written off the runtime's threads, and never
//! a reason to fail. A disk that does not take the record costs a warning, once.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::journal::Journal;
use crate::storage::Receipt;
use crate::work::Work;

/// A journal, or none.
#[derive(Clone, Default)]
pub(super) struct Record(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    journal: Option<Journal>,
    /// The disk did not take a line: nothing is added any more, and what is there goes when the upload is over.
    full: bool,
}

impl Record {
    pub(super) fn new(journal: Option<Journal>) -> Self {
        Self(Arc::new(Mutex::new(State { journal, full: false })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn takes_more(&self) -> bool {
        let state = self.state();
        state.journal.is_some() && !state.full
    }

    /// Does something with the journal, if there is one.
    pub(super) async fn write<F>(&self, work: &Work, act: F)
    where
        F: FnOnce(&mut Journal) -> std::io::Result<()> + Send + 'static,
    {
        if !self.takes_more() {
            return;
        }
        let record = self.clone();
        let written = tokio::task::spawn_blocking(move || {
            let mut state = record.state();
            if state.full { Ok(()) } else { state.journal.as_mut().map_or(Ok(()), act) }
        });
        let error = match written.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        // What is in it stays true; it just is not added to.
        if !std::mem::replace(&mut self.state().full, true) {
            work.unrecorded.store(true, Ordering::Relaxed);
            work.warn(&format!("the record for resuming cannot be written ({error}); an interruption will cost what is sent from now on"));
        }
    }

    pub(super) async fn part(&self, work: &Work, number: u32, receipt: &Receipt) {
        let receipt = receipt.clone();
        self.write(work, move |journal| journal.part(number, &receipt, true)).await;
    }

    /// Finalize is about to be sent. Tried also on a disk that took no more: it is what keeps the next run
    /// from making a second item.
    pub(super) async fn finalizing(&self, work: &Work, sync: bool) {
        self.state().full = false;
        self.write(work, move |journal| journal.finalizing(sync)).await;
    }

    /// The upload is over, or can never go on.
    pub(super) fn remove(&self) {
        if let Some(journal) = self.state().journal.take() {
            journal.remove();
        }
    }
}
