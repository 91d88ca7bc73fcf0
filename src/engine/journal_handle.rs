//! The journal as the engine uses it: shared by a file's parts, written off the runtime's threads, and never
//! a reason to fail. A disk that does not take the record costs one warning.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::journal::{Begun, Journal};
use crate::etag::CompletedPart;
use crate::file_context::FileContext;

/// A journal, or none.
#[derive(Clone, Default)]
pub(super) struct JournalHandle(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    journal: Option<Journal>,
    /// The disk did not take an entry: no more parts are added. What is there stays true.
    full: bool,
    /// The user knows.
    warned: bool,
}

impl JournalHandle {
    pub(super) fn new(journal: Option<Journal>) -> Self {
        Self(Arc::new(Mutex::new(State { journal, full: false, warned: false })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is a journal that does not say yet which upload it is about.
    pub(super) fn is_to_begin(&self) -> bool {
        self.state().journal.as_ref().is_some_and(|journal| !journal.is_begun())
    }

    /// An upload was started.
    pub(super) async fn begin(&self, file: &FileContext, begun: Begun, sync: bool) {
        let written = self.write(file, move |journal| journal.begin(begun, sync)).await;
        if written {
            self.state().full = false;
            file.unrecorded.store(self.state().journal.is_none(), Ordering::Relaxed);
        }
    }

    /// A part is in storage. Not tried any more on a disk that is full.
    pub(super) async fn part(&self, file: &FileContext, number: u32, receipt: &CompletedPart, sync: bool) {
        if !self.state().full {
            let receipt = receipt.clone();
            self.write(file, move |journal| journal.part(number, &receipt, sync)).await;
        }
    }

    /// Finalize is about to be sent. This keeps the next run from making a second item.
    pub(super) async fn finalizing(&self, file: &FileContext, sync: bool) {
        self.write(file, move |journal| journal.finalizing(sync)).await;
    }

    /// Does something with the journal, if there is one. `false`: it failed, and the user was told.
    pub(super) async fn write<F>(&self, file: &FileContext, act: F) -> bool
    where
        F: FnOnce(&mut Journal) -> std::io::Result<()> + Send + 'static,
    {
        if self.state().journal.is_none() {
            return true;
        }
        let record = self.clone();
        let written =
            tokio::task::spawn_blocking(move || record.state().journal.as_mut().map_or(Ok(()), act));
        let error = match written.await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        let (warned, begun) = {
            let mut state = self.state();
            state.full = true;
            let begun = state.journal.as_ref().is_some_and(Journal::is_begun);
            (std::mem::replace(&mut state.warned, true), begun)
        };
        file.unrecorded.store(!begun, Ordering::Relaxed);
        if !warned {
            let lost = if begun { "what is sent from now on" } else { "the whole upload" };
            file.warn(&format!(
                "the record for resuming cannot be written ({error}); an interruption will cost {lost}"
            ));
        }
        false
    }

    /// The upload is over, or can never go on.
    pub(super) fn remove(&self) {
        if let Some(journal) = self.state().journal.take() {
            journal.remove();
        }
    }
}
