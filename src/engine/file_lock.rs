//! Locks a file's record and its target before the upload, so that no other run on this machine uploads it too.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::context::{Context, Options};
use super::directory::Directory;
use super::state::{
    Journal, LockFile, MAX_SHORT_TRIES, Mode, RETRY_LOCK, Recorded, TargetLock, canonical_text, source_id,
};
use crate::error::{Code, Error, Kind};
use crate::event::Phase;
use crate::file_context::FileContext;
use crate::options::IfExists;
use crate::plan::{Input, Job};
use crate::source::Source;

/// A locked file.
pub(super) struct LockedFile {
    /// Opened after it was locked; `None` for standard input.
    pub(super) source: Option<Source>,
    /// Identifies its path and state, see [`source_id`].
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
    /// Keeps other runs away from the record with `--no-resume`.
    _record: Option<LockFile>,
}

enum Attempt {
    Locked(Box<LockedFile>),
    /// Another run uploads this file to this target.
    RecordBusy,
    /// Another run has locked this target.
    TargetBusy,
}

/// Locks a file's record and its target, and opens the file. With `--if-exists skip`, `newer` or `fail`, waits while
/// another run uploads to this target, because its result decides. Otherwise a second upload of the same file to the same
/// target is a conflict, and other files may be uploaded there meanwhile.
///
/// No lock is held while waiting, so two runs cannot deadlock.
pub(super) async fn lock(
    context: &Arc<Context>,
    file: &Arc<FileContext>,
    job: &Arc<Job>,
    directory: &Arc<Directory>,
) -> Result<LockedFile, Error> {
    let waits = context.options.if_exists != IfExists::Upload;
    if !context.options.resume || context.options.journals.is_none() {
        file.unrecorded.store(true, Ordering::Relaxed);
    }
    let (mut tries, mut record_busy) = (0, 0);
    loop {
        let (shared, observer) = (Arc::clone(context), Arc::clone(file));
        let (job, directory) = (Arc::clone(job), Arc::clone(directory));
        let attempted = context.disk.run(move || attempt(&shared, &observer, &job, &directory, tries));
        match attempted.await?? {
            Attempt::Locked(locked) => return Ok(*locked),
            Attempt::RecordBusy if !waits && record_busy >= MAX_SHORT_TRIES => {
                return Err(Error::with_hint(
                    Code::Conflict,
                    "another copera-upload is already uploading this file",
                    "--if-exists skip waits for it and accepts its item; once the other run has finished, the same command creates another",
                ));
            }
            Attempt::RecordBusy => record_busy += 1,
            Attempt::TargetBusy => {}
        }
        tries += 1;
        // The other run may be about to exit, so the message comes late.
        if tries == MAX_SHORT_TRIES {
            file.phase(Phase::Wait);
            file.note("another copera-upload is uploading this file: waiting for it");
        }
        tokio::time::sleep(RETRY_LOCK).await;
    }
}

/// Locks both or neither. If both are locked, opens the file. Blocks on the disk. `tries`: how often this was not possible
/// before.
fn attempt(
    context: &Context,
    file: &FileContext,
    job: &Job,
    directory: &Directory,
    tries: u32,
) -> Result<Attempt, Error> {
    let Options { journals, resume, peers, if_exists, .. } = &context.options;
    let path = match &job.input {
        Input::File(path) => canonical_text(path),
        // No absolute path is `-`.
        Input::Stdin => "-".to_owned(),
    };
    let (mut journal, mut recorded, mut record_lock, mut unrecorded) = (None, None, None, None);
    if let Some(journals) = journals {
        let key = context.upload_key(directory.id.clone(), &job.name, path.clone());
        let record = journals.path_of(&key);
        if *resume {
            match journals.open(&key) {
                Ok(None) => return Ok(Attempt::RecordBusy),
                Ok(Some((opened, earlier, warning))) => {
                    warning.iter().for_each(|warning| file.warn(warning));
                    (journal, recorded) = (Some(opened), earlier);
                }
                Err(error) => unrecorded = Some(error),
            }
        } else {
            match LockFile::try_acquire(&record, Mode::Exclusive) {
                Ok(None) => return Ok(Attempt::RecordBusy),
                // Without locks, runs do not see each other.
                acquired => record_lock = acquired.ok().flatten(),
            }
        }
    }
    let mode = if *if_exists == IfExists::Upload { Mode::Shared } else { Mode::Exclusive };
    let target = peers.target(Kind::File, directory.id.as_deref(), &job.name);
    let Some(target) = peers.try_lock_target(target, mode, tries) else { return Ok(Attempt::TargetBusy) };
    if let Some(error) = unrecorded {
        file.unrecorded.store(true, Ordering::Relaxed);
        file.warn(&format!(
            "no record for resuming can be kept ({error}); an interruption will cost the whole upload"
        ));
    }
    let source = match &job.input {
        Input::File(path) => Some(Source::open(path)?),
        Input::Stdin => None,
    };
    let source_id = source.as_ref().map(|source| source_id(&path, source.identity()));
    let locks = Locks { target, _record: record_lock };
    Ok(Attempt::Locked(Box::new(LockedFile { source, source_id, journal, recorded, locks })))
}
