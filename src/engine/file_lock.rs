//! Locks a file's record and its target before the upload, so that no other run on this machine uploads it too.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::context::Context;
use super::directory::Directory;
use super::state::{
    Journal, LockFile, Mode, OpenError, RETRY_LOCK, Recorded, SHORT_WAIT, Target, TargetLock, UploadKey,
    record_paths,
};
use crate::disk::on_disk;
use crate::error::{Error, Kind};
use crate::event::Phase;
use crate::file_context::FileContext;
use crate::options::IfExists;
use crate::plan::{Input, Job};

/// A locked file.
pub(super) struct LockedFile {
    /// Its record, if one is kept.
    pub(super) journal: Option<Journal>,
    /// The content of an earlier run's record.
    pub(super) recorded: Option<Recorded>,
    /// Held until the result has been printed.
    pub(super) locks: Locks,
    /// The canonical path of the file; `-` is standard input.
    pub(super) path: String,
}

/// The locks of a file.
pub(super) struct Locks {
    /// The target in the drive. Without `--if-exists` the lock is shared: other runs may upload other files of that name.
    pub(super) target: TargetLock,
    /// Takes the place of the record if none is kept (`--no-resume`).
    _record: Option<LockFile>,
}

enum Attempt {
    /// Locked, with a warning about an earlier record.
    Locked(LockedFile, Option<String>),
    /// Another run uploads this file to this target.
    RecordBusy(PathBuf),
    /// Another run has locked this target.
    TargetBusy,
    /// Locked, but no record can be kept.
    Unrecorded(LockedFile, std::io::Error),
}

/// Locks a file's record and its target. With `--if-exists skip`, `newer` or `fail`, waits while another run uploads to this
/// target, because its result decides. Otherwise a second upload of the same file to the same target is a conflict, and
/// other files may be uploaded there meanwhile.
///
/// No lock is held while waiting, so two runs cannot deadlock.
pub(super) async fn lock(
    context: &Arc<Context>,
    file: &FileContext,
    job: &Job,
    directory: &Directory,
) -> Result<LockedFile, Error> {
    let target = context.options.peers.target(Kind::File, directory.id.as_deref(), &job.name);
    let waits = context.options.if_exists != IfExists::Upload;
    if !context.options.resume || context.options.journals.is_none() {
        file.unrecorded.store(true, Ordering::Relaxed);
    }
    let mut busy = 0;
    loop {
        let (context, target, input) = (Arc::clone(context), target.clone(), job.input.clone());
        let (parent, name) = (directory.id.clone(), job.name.clone());
        let attempted = on_disk(move || attempt(&context, input, parent, name, &target, busy));
        match attempted.await? {
            Attempt::Locked(locked, warning) => {
                warning.iter().for_each(|warning| file.warn(warning));
                return Ok(locked);
            }
            Attempt::Unrecorded(locked, error) => {
                file.unrecorded.store(true, Ordering::Relaxed);
                file.warn(&format!(
                    "no record for resuming can be kept ({error}); an interruption will cost the whole upload"
                ));
                return Ok(locked);
            }
            Attempt::RecordBusy(record) if !waits && busy == SHORT_WAIT => {
                return Err(Error::Busy { record });
            }
            Attempt::RecordBusy(_) | Attempt::TargetBusy => {
                busy += 1;
                // The other run may be about to exit, so the message comes late.
                if busy == SHORT_WAIT {
                    file.phase(Phase::Wait);
                    file.note("another copera-upload is uploading this file: waiting for it");
                }
                tokio::time::sleep(RETRY_LOCK).await;
            }
        }
    }
}

/// Locks both or neither. Blocks on the disk.
fn attempt(
    context: &Context,
    input: Input,
    parent: Option<String>,
    name: String,
    target: &Target,
    tries: u32,
) -> Attempt {
    let (mut journal, mut recorded, mut record_lock) = (None, None, None);
    let (mut warning, mut unrecorded) = (None, None);
    let (canonical, early) = match input {
        Input::File(path) => record_paths(&path),
        // No absolute path is `-`.
        Input::Stdin => ("-".to_owned(), "-".to_owned()),
    };
    if let Some(journals) = &context.options.journals {
        let (path, api, account) =
            (canonical.clone(), context.options.api.clone(), context.options.account.clone());
        let key = UploadKey { api, account, parent, name, path };
        // If two runs start at the same moment, one with a record and one without, at least one of them sees the other.
        let (record, path) = (journals.path_of(&key), journals.path_of(&key).with_extension("lock"));
        let is_locked =
            |path: &Path| path.exists() && matches!(LockFile::try_acquire(path, Mode::Exclusive), Ok(None));
        if context.options.resume {
            match journals.open_current_or_early(key, early) {
                Ok((opened, earlier, unusable)) => {
                    (journal, recorded, warning) = (Some(opened), earlier, unusable);
                }
                Err(OpenError::Busy(record)) => return Attempt::RecordBusy(record),
                Err(OpenError::Io(error)) => unrecorded = Some(error),
            }
            if is_locked(&path) {
                return Attempt::RecordBusy(path);
            }
        } else {
            match LockFile::try_acquire(&path, Mode::Exclusive) {
                Ok(None) => return Attempt::RecordBusy(path),
                // Without locks, runs do not see each other.
                acquired => record_lock = acquired.ok().flatten(),
            }
            if is_locked(&record) {
                return Attempt::RecordBusy(record);
            }
        }
    }
    let mode = if context.options.if_exists == IfExists::Upload { Mode::Shared } else { Mode::Exclusive };
    let Some(target) = context.options.peers.try_lock_target(target, mode, tries) else {
        return Attempt::TargetBusy;
    };
    let locked =
        LockedFile { journal, recorded, locks: Locks { target, _record: record_lock }, path: canonical };
    match unrecorded {
        Some(error) => Attempt::Unrecorded(locked, error),
        None => Attempt::Locked(locked, warning),
    }
}
