//! One file's upload, and the upload in storage that it sends parts to.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::context::Context;
use super::directory::Directory;
use super::journal_handle::JournalHandle;
use crate::drive::wire::Upload;
use crate::etag::CompletedPart;
use crate::event::Event;
use crate::file_context::FileContext;
use crate::plan::{Job, Parts};
use crate::source::Source;

/// One file on its way.
pub(super) struct FileUpload<'a> {
    pub(super) shared: &'a Arc<Context>,
    pub(super) work: &'a Arc<FileContext>,
    pub(super) job: &'a Job,
    pub(super) source: Arc<Source>,
    pub(super) directory: Arc<Directory>,
    pub(super) record: JournalHandle,
}

/// An upload under way: begun now, or by an earlier run.
pub(super) struct Session {
    pub(super) upload: Upload,
    /// The service's clock when it began, seconds since 1970.
    pub(super) started: i64,
    /// What it was begun as, if that is known.
    pub(super) mime_type: Option<String>,
    pub(super) parts: Parts,
    pub(super) finished: BTreeMap<u32, CompletedPart>,
    pub(super) finalizing: bool,
}

impl FileUpload<'_> {
    pub(super) fn tell_start(&self, parts: Parts) {
        self.work.tell(&Event::FileStart {
            file: self.work.id,
            path: &self.work.path,
            name: &self.job.name,
            size: parts.size,
            parts: parts.count,
            part_size: parts.part_size,
        });
    }
}
