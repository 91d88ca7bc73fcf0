//! A journal that the parts of a file share. It is written on blocking threads, and never fails an upload: if the disk
//! rejects an entry, there is one warning.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use super::journal::Journal;
use super::record::StartedUpload;
use crate::etag::CompletedPart;
use crate::file_context::FileContext;
use crate::mutex::lock;

/// A journal, or none.
#[derive(Clone, Default)]
pub struct JournalHandle(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    journal: Option<Journal>,
    /// The disk rejected an entry. No more parts are added; earlier entries stay valid.
    full: bool,
    /// The user has been warned.
    warned: bool,
}

impl JournalHandle {
    pub fn new(journal: Option<Journal>) -> Self {
        Self(Arc::new(Mutex::new(State { journal, full: false, warned: false })))
    }

    /// Whether there is a journal without an upload.
    pub fn has_no_upload(&self) -> bool {
        lock(&self.0).journal.as_ref().is_some_and(|journal| !journal.is_begun())
    }

    /// Records a new upload.
    pub async fn begin(&self, file: &FileContext, begun: StartedUpload, sync: bool) {
        let written = self.write(file, move |journal| journal.begin(begun, sync)).await;
        if written {
            lock(&self.0).full = false;
            file.unrecorded.store(lock(&self.0).journal.is_none(), Ordering::Relaxed);
        }
    }

    /// Records a finished part, unless the disk is full. `false` if it is not on record.
    pub async fn add_part(&self, file: &FileContext, number: u32, part: &CompletedPart, sync: bool) -> bool {
        let part = part.clone();
        !lock(&self.0).full && self.write(file, move |journal| journal.add_part(number, &part, sync)).await
    }

    /// Applies a function to the journal, if there is one. `false` if it failed, which has been reported.
    pub async fn write<F>(&self, file: &FileContext, act: F) -> bool
    where
        F: FnOnce(&mut Journal) -> std::io::Result<()> + Send + 'static,
    {
        if lock(&self.0).journal.is_none() {
            return true;
        }
        let record = self.clone();
        let written =
            tokio::task::spawn_blocking(move || lock(&record.0).journal.as_mut().map_or(Ok(()), act));
        let error = match written.await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        let (warned, begun) = {
            let mut state = lock(&self.0);
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

    /// Removes the record.
    pub fn remove(&self) {
        if let Some(journal) = lock(&self.0).journal.take() {
            journal.remove();
        }
    }
}
