//! Locks a file's record and its target before the upload, so that no other run on this machine uploads it too.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::context::Context;
use super::directory::Directory;
use super::state::{
    Journal, LockFile, Mode, RETRY_LOCK, Recorded, SHORT_WAIT, Target, TargetLock, UploadKey, record_paths,
    source_id,
};
use crate::error::{Error, Kind};
use crate::event::Phase;
use crate::file_context::FileContext;
use crate::options::IfExists;
use crate::plan::{Input, Job};
use crate::source::Source;

/// A locked file.
pub(super) struct LockedFile {
    /// Opened after it was locked; `None` for standard input.
    pub(super) source: Option<Source>,
    /// The ID of its state.
    pub(super) source_id: Option<u64>,
    /// Its record, if one is kept.
    pub(super) journal: Option<Journal>,
    /// The content of an earlier run's record.
    pub(super) recorded: Option<Recorded>,
    /// Held until the result has been printed.
    pub(super) locks: Locks,
}

/// The locks of a file.
pub(super) struct Locks {
    /// The target in the drive. Without `--if-exists` the lock is shared: other runs may upload other files of that name.
    pub(super) target: TargetLock,
    /// Locks the record if it is not used (`--no-resume`).
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

/// Locks a file's record and its target, and opens the file. With `--if-exists skip`, `newer` or `fail`, waits while another run uploads to this
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
        let disk = context.disk.clone();
        let attempted = disk.run(move || attempt(&context, input, parent, name, &target, busy));
        match attempted.await?? {
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

/// Locks both or neither. If both are locked, opens the file. Blocks on the disk.
fn attempt(
    context: &Context,
    input: Input,
    parent: Option<String>,
    name: String,
    target: &Target,
    tries: u32,
) -> Result<Attempt, Error> {
    let (mut journal, mut recorded, mut record_lock) = (None, None, None);
    let (mut warning, mut unrecorded) = (None, None);
    let (canonical, early) = match &input {
        Input::File(path) => record_paths(path),
        // No absolute path is `-`.
        Input::Stdin => ("-".to_owned(), "-".to_owned()),
    };
    if let Some(journals) = &context.options.journals {
        let (path, api, account) =
            (canonical.clone(), context.options.api.clone(), context.options.account.clone());
        let key = UploadKey { api, account, parent, name, path };
        if context.options.resume {
            match journals.open_current_or_early(&key, early) {
                Ok(Some((opened, earlier, unusable))) => {
                    (journal, recorded, warning) = (Some(opened), earlier, unusable);
                }
                Ok(None) => return Ok(Attempt::RecordBusy(journals.path_of(&key))),
                Err(error) => unrecorded = Some(error),
            }
        } else {
            match LockFile::try_acquire(&journals.path_of(&key), Mode::Exclusive) {
                Ok(None) => return Ok(Attempt::RecordBusy(journals.path_of(&key))),
                // Without locks, runs do not see each other.
                acquired => record_lock = acquired.ok().flatten(),
            }
        }
    }
    let mode = if context.options.if_exists == IfExists::Upload { Mode::Shared } else { Mode::Exclusive };
    let Some(target) = context.options.peers.try_lock_target(target, mode, tries) else {
        return Ok(Attempt::TargetBusy);
    };
    let source = match &input {
        Input::File(path) => Some(Source::open(path)?),
        Input::Stdin => None,
    };
    let source_id = source.as_ref().map(|source| source_id(&canonical, source.identity()));
    let locks = Locks { target, _record: record_lock };
    let locked = LockedFile { source, source_id, journal, recorded, locks };
    Ok(match unrecorded {
        Some(error) => Attempt::Unrecorded(locked, error),
        None => Attempt::Locked(locked, warning),
    })
}
