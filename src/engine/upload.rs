//! One file from its plan to its item: find the folder, lock, open, resume or start, send the parts, finalize.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::OwnedMutexGuard;

use super::context::Context;
use super::earlier_runs::{self, NoteFinished};
use super::file_lock::{self, LockedFile, Locks};
use super::if_exists;
use super::keyed_mutex::Queued;
use super::resume::Resumed;
use super::session::{FileUpload, Proof, UploadAbort, Uploaded};
use super::state::{Journal, JournalHandle, Recorded};
use crate::disk::on_disk;
use crate::error::{Code, Error};
use crate::event::{Event, Phase};
use crate::file_context::FileContext;
use crate::options::IfExists;
use crate::outcome::{Done, Origin};
use crate::plan::{Input, Job, Parent, Parts};
use crate::source::Source;
use crate::spool;

/// Cleans up once the result has been printed.
///
/// The record stays until then. If the program is killed before, the next run of the same command reports the existing
/// item and does not create a second one.
#[derive(Default)]
pub struct Ack {
    locks: Option<Locks>,
    record: Option<JournalHandle>,
    /// Adds the file to the record of the run.
    note_finished: Option<NoteFinished>,
    /// Held until other files of this run may look for their item at this target.
    _target_guard: Option<OwnedMutexGuard<()>>,
}

impl Ack {
    /// Removes the record and releases the locks, after the result has been printed. Blocks on the disk.
    pub fn commit(self) {
        // Before the upload's own record is removed.
        if let Some(note) = self.note_finished {
            note();
        }
        // Other runs learn of the item while the record still keeps them away.
        drop(self.locks);
        self.record.iter().for_each(JournalHandle::remove);
    }
}

/// Uploads one file. `queued` is its position among this run's files with the same target. They are uploaded one after
/// the other, because each may have to look for its own item there.
pub(super) async fn upload(
    context: &Arc<Context>,
    file: &Arc<FileContext>,
    job: &Arc<Job>,
    queued: Queued,
) -> Result<(Done, Ack), Error> {
    if context.options.if_exists == IfExists::Fail
        && let Some(duplicate) = &job.duplicate
    {
        return Err(Error::with_hint(
            Code::Conflict,
            format!("gets the same name in the same folder as {}: `{}`", duplicate.first, job.name),
            "rename one of them, or upload them into different folders",
        ));
    }
    let guard = Some(queued.await);
    if let Some(item) = earlier_runs::find(context, file, job).await? {
        context.note_used_item(item.id());
        let ack = Ack { _target_guard: guard, ..Ack::default() };
        return Ok((Done { item, origin: Origin::Earlier, verified: None }, ack));
    }
    if context.options.if_exists != IfExists::Upload || matches!(job.parent, Parent::New(_)) {
        file.phase(Phase::Folder);
    }
    let directory = match context.folders.known(&job.parent).await {
        Some(known) => known,
        None => {
            if let Input::File(path) = job.input.clone() {
                // No folder is created for a file that cannot be read.
                context.disk.run(move || Source::open(&path)).await??;
            }
            context.folders.find(&job.parent).await?
        }
    };
    directory.check_exists()?;
    let LockedFile { source, source_id, journal, recorded, mut locks } =
        file_lock::lock(context, file, job, &directory).await?;
    let record = JournalHandle::new(file, journal);
    // Reconciling finds an item that an earlier run may have created; `--if-exists` must not.
    let may_own_item = recorded.as_ref().is_some_and(|recorded| recorded.finalizing);
    if source.is_none() {
        // A wrong token, a missing folder or a taken name is reported before a pipe is read for hours.
        context.folders.check(&**file, &directory).await?;
        if !may_own_item {
            if_exists::find(context, file, job, &directory, &locks.target, None).await?;
        }
    }
    let source = match source {
        Some(source) => source,
        None => read_standard_input(file).await?,
    };
    tokio::time::sleep(source.until_writes_show()).await;
    let source = Arc::new(source);
    file.size.store(source.size(), Ordering::Relaxed);
    if !may_own_item {
        // A file sent by another run belongs to that run until it ends.
        if context.options.if_exists == IfExists::Upload
            && source_id.is_some_and(|id| locks.target.was_sent_by_other(id))
        {
            return Err(Error::with_hint(
                Code::Conflict,
                "another copera-upload that was running at the same time has uploaded this file",
                "--if-exists skip accepts that item; once the other run has finished, the same command creates another",
            ));
        }
        let found = if_exists::find(context, file, job, &directory, &locks.target, Some(&source)).await?;
        if let Some(item) = found {
            // The item stands for this file and no other.
            context.note_used_item(item.id());
            return Ok((
                Done { item, origin: Origin::Existing, verified: None },
                Ack { record: Some(record), locks: Some(locks), note_finished: None, _target_guard: guard },
            ));
        }
    }
    // Few large files run at a time, so that the first are finished before the last are started.
    let _large = match Parts::plan(source.size(), context.options.part_size)?.count {
        1 => None,
        _ => Some(context.large_files.acquire().await),
    };
    locks.target.note_may_create();
    let upload = Arc::new(FileUpload {
        context: Arc::clone(context),
        file: Arc::clone(file),
        job: Arc::clone(job),
        source,
        directory,
        record: record.clone(),
    });
    let Uploaded { item, proof, verified, checked } = upload.run(recorded).await?;
    context.note_used_item(item.id());
    if !checked {
        // If no thread can be started, only the warning is missing.
        let _ = context.disk.run(upload.warn_if_changed()).await;
    }
    locks.target.note_created(source_id);
    let note_finished = earlier_runs::note_finished(&upload, &item, proof);
    let ack = Ack { record: Some(record), locks: Some(locks), note_finished, _target_guard: guard };
    Ok((Done { item, origin: Origin::Uploaded, verified }, ack))
}

async fn read_standard_input(file: &Arc<FileContext>) -> Result<Source, Error> {
    file.phase(Phase::Spool);
    let observer = Arc::clone(file);
    // A pipe that was partly read cannot be resumed, whatever is on record.
    let unrecorded = file.unrecorded.swap(true, Ordering::Relaxed);
    let read = on_disk(move || {
        spool::standard_input(|bytes| observer.report(&Event::PhaseBytes { file: observer.id, bytes }))
    });
    let source = read.await??;
    file.unrecorded.store(unrecorded, Ordering::Relaxed);
    if source.size() == 0 {
        file.warn("standard input was empty: the file will be empty");
    }
    Ok(source)
}

impl FileUpload {
    /// Resumes or starts the upload.
    async fn run(self: &Arc<Self>, recorded: Option<Recorded>) -> Result<Uploaded, Error> {
        let mut earlier = match recorded {
            None => None,
            Some(recorded) => match self.resume(recorded).await? {
                Resumed::StartOver => None,
                Resumed::Session(session) => Some(session),
                Resumed::Done(session, item) => {
                    let verified = self.verify(&session, &item).await?;
                    let proof = Proof::of_source(&self.source);
                    return Ok(Uploaded { item, proof, verified, checked: false });
                }
            },
        };
        let mut restarted = false;
        loop {
            let session = match earlier.take() {
                Some(session) => *session,
                None => self.start().await?,
            };
            match self.finish(session).await {
                Ok(done) => return Ok(done),
                Err(UploadAbort::Error(error)) if error.blames_bytes() => {
                    return Err(self.explain_damage(error).await);
                }
                Err(UploadAbort::Gone(error)) if !restarted => {
                    restarted = true;
                    let file = &self.file;
                    file.warn(&format!("the upload is gone on the server ({error}): starting it again"));
                    file.report(&Event::Restarted { file: file.id });
                    file.resumed.store(0, Ordering::Relaxed);
                    file.recorded.store(0, Ordering::Relaxed);
                    self.record.write(Journal::clear).await;
                }
                Err(UploadAbort::Gone(error) | UploadAbort::Error(error)) => return Err(error),
            }
        }
    }
}
