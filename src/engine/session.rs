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

/// The upload of one file.
pub(super) struct FileUpload {
    pub(super) context: Arc<Context>,
    pub(super) file: Arc<FileContext>,
    pub(super) job: Job,
    pub(super) source: Arc<Source>,
    /// The target folder.
    pub(super) directory: Arc<Directory>,
    pub(super) record: JournalHandle,
}

/// A multipart upload, started by this run or an earlier one.
pub(super) struct Session {
    pub(super) upload: Upload,
    /// The service's clock when it was started, in seconds since 1970.
    pub(super) started: i64,
    /// The type it was started with, if known.
    pub(super) mime_type: Option<String>,
    pub(super) parts: Parts,
    pub(super) finished: BTreeMap<u32, CompletedPart>,
    /// An earlier run may have finalized it.
    pub(super) finalizing: bool,
}

impl FileUpload {
    /// The ID of the target folder; `None` is the drive's root.
    pub(super) fn parent(&self) -> Option<&str> {
        self.directory.id.as_deref()
    }

    pub(super) fn tell_start(&self, parts: Parts) {
        self.file.tell(&Event::FileStart {
            file: self.file.id,
            path: &self.file.path,
            name: &self.job.name,
            size: parts.size,
            parts: parts.count,
            part_size: parts.part_size,
        });
    }
}
