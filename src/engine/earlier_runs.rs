//! Skips files that earlier runs of the same command have finished.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::content::etag_of_file;
use super::context::Context;
use super::session::{FileUpload, Proof};
use super::state::{FileKey, FinishedFile, absolute_text, canonical_text};
use crate::disk::on_disk;
use crate::error::Error;
use crate::event::Phase;
use crate::file_context::FileContext;
use crate::item::Item;
use crate::plan::{Input, Job, Parts};
use crate::source::Source;

/// Returns the item of a file that an earlier run of this command has finished, if the file is unchanged and the item
/// still exists.
pub(super) async fn find(
    context: &Arc<Context>,
    file: &Arc<FileContext>,
    job: &Job,
) -> Result<Option<Item>, Error> {
    let (Some(finished), Input::File(path)) = (&context.finished, &job.input) else { return Ok(None) };
    if finished.record.is_empty() {
        return Ok(None);
    }
    let key = key_of(job, path);
    loop {
        let (record, wanted) = (Arc::clone(&finished.record), key.clone());
        let Some(entry) = on_disk(move || record.take(&wanted)).await? else { return Ok(None) };
        let Some(item) = Item::new(entry.item.clone()) else { continue };
        let opened = path.clone();
        let source = Arc::new(context.disk.run(move || Source::open(&opened)).await??);
        if !is_unchanged(context, file, &source, &entry).await? {
            file.note("the file has changed since an earlier run uploaded it: uploading it again");
            continue;
        }
        if !finished.is_there(&context.options.drive, file, &entry, item.id()).await? {
            file.note(&format!("item {} of an earlier run is gone: uploading the file again", item.id()));
            continue;
        }
        file.note(&format!("already uploaded by an earlier run (item {})", item.id()));
        file.size.store(source.size(), Ordering::Relaxed);
        file.resumed.store(source.size(), Ordering::Relaxed);
        remove_upload_record(context, job, path, entry.parent).await;
        return Ok(Some(item));
    }
}

async fn is_unchanged(
    context: &Context,
    file: &FileContext,
    source: &Arc<Source>,
    entry: &FinishedFile,
) -> Result<bool, Error> {
    if source.identity().proves_unchanged_since(&entry.identity) {
        return Ok(true);
    }
    let (Some(etag), true) = (&entry.etag, source.size() == entry.identity.size) else { return Ok(false) };
    let Ok(parts) = Parts::plan(source.size(), Some(entry.part_size)) else { return Ok(false) };
    file.phase(Phase::Check);
    file.note("the file may have changed since an earlier run uploaded it: comparing its content");
    Ok(etag_of_file(&context.disk, source, parts, &BTreeMap::new()).await? == *etag)
}

/// Removes the record of the file's upload. A kill between the two steps of [`Ack::commit`](super::upload::Ack::commit)
/// leaves it, and a later upload of the file would take the same item from it.
async fn remove_upload_record(context: &Arc<Context>, job: &Job, path: &Path, parent: Option<String>) {
    let (context, name, path) = (Arc::clone(context), job.name.clone(), path.to_owned());
    // If no thread can be started, the record stays until it is found again.
    let _ = on_disk(move || {
        let key = context.upload_key(parent, &name, canonical_text(&path));
        if let Some(journals) = &context.options.journals
            && journals.path_of(&key).exists()
            && let Ok(Some((journal, ..))) = journals.open(&key)
        {
            journal.remove();
        }
    })
    .await;
}

/// Adds a finished file to the record of the run. Blocks on the disk.
pub(super) type NoteFinished = Box<dyn FnOnce() + Send>;

/// What records the file as finished, once its result has been printed. `None` if no record is kept.
pub(super) fn note_finished(upload: &FileUpload, item: &Item, proof: Proof) -> Option<NoteFinished> {
    let (Some(files), Input::File(path)) = (&upload.context.finished, &upload.job.input) else { return None };
    let Proof { identity, part_size, etag } = proof;
    let (key, parent) = (key_of(&upload.job, path), upload.directory.id.clone());
    let finished = FinishedFile { key, identity, part_size, etag, parent, item: item.compact() };
    let (files, file) = (Arc::clone(files), Arc::clone(&upload.file));
    Some(Box::new(move || files.add(&file, &finished)))
}

fn key_of(job: &Job, path: &Path) -> FileKey {
    let mut target = vec![job.name.clone()];
    target.extend(job.parent.folders().map(|folder| folder.name.clone()));
    target.reverse();
    FileKey { path: absolute_text(path), target }
}
