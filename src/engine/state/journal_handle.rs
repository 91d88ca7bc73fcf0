//! A journal that the parts of a file share. It never fails an upload: if the disk rejects an entry, there is one warning.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use super::journal::Journal;
use crate::disk::on_disk;
use crate::etag::CompletedPart;
use crate::file_context::FileContext;
use crate::mutex::lock;

/// A journal, or none.
#[derive(Clone)]
pub struct JournalHandle {
    file: Arc<FileContext>,
    state: Arc<Mutex<State>>,
}

struct State {
    journal: Option<Journal>,
    /// The disk rejected an entry. No more parts are added; earlier entries stay valid.
    full: bool,
    /// The user has been warned.
    warned: bool,
}

impl JournalHandle {
    pub fn new(file: &Arc<FileContext>, journal: Option<Journal>) -> Self {
        let state = State { journal, full: false, warned: false };
        Self { file: Arc::clone(file), state: Arc::new(Mutex::new(state)) }
    }

    /// Whether there is a journal without an upload.
    pub fn has_no_upload(&self) -> bool {
        lock(&self.state).journal.as_ref().is_some_and(|journal| !journal.is_begun())
    }

    /// Records a finished part, unless the disk is full. `false` if it is not on record.
    pub async fn add_part(&self, number: u32, part: &CompletedPart) -> bool {
        let part = part.clone();
        !lock(&self.state).full && self.write(move |journal| journal.add_part(number, &part, true)).await
    }

    /// As [`JournalHandle::write_now`], on a blocking thread.
    pub async fn write<F>(&self, act: F) -> bool
    where
        F: FnOnce(&mut Journal) -> io::Result<()> + Send + 'static,
    {
        let record = self.clone();
        lock(&self.state).journal.is_none() || on_disk(move || record.write_now(act)).await.unwrap_or(false)
    }

    /// Applies a function to the journal, if there is one. `false` if it failed, which has been reported. Blocks on the
    /// disk.
    pub fn write_now(&self, act: impl FnOnce(&mut Journal) -> io::Result<()>) -> bool {
        let (error, has_upload, warned) = {
            let mut state = lock(&self.state);
            let Some(journal) = &mut state.journal else { return true };
            let had_upload = journal.is_begun();
            let written = act(journal);
            let has_upload = journal.is_begun();
            if written.is_err() || has_upload && !had_upload {
                state.full = written.is_err();
                self.file.unrecorded.store(!has_upload, Ordering::Relaxed);
            }
            match written {
                Ok(()) => return true,
                Err(error) => (error, has_upload, std::mem::replace(&mut state.warned, true)),
            }
        };
        if !warned {
            let lost = if has_upload { "what is sent from now on" } else { "the whole upload" };
            self.file.warn(&format!(
                "the record for resuming cannot be written ({error}); an interruption will cost {lost}"
            ));
        }
        false
    }

    /// Removes the record. Blocks on the disk.
    pub fn remove(&self) {
        if let Some(journal) = lock(&self.state).journal.take() {
            journal.remove();
        }
    }
}
