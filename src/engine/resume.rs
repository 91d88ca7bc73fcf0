//! Resuming from the record of an earlier run.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::content::{ContentCheck, compare};
use super::journal::{Header, Recorded};
use super::reconcile::Reconciler;
use super::session::{FileUpload, Session};
use crate::error::Error;
use crate::event::{Event, Phase};
use crate::item::Item;
use crate::plan::Parts;

/// What an earlier run left to resume.
pub(super) enum Resumed {
    /// The file has another size or content, or the user wants another upload.
    StartOver,
    /// The parts that still have the file's bytes.
    Session(Session),
    /// Its item: finalize succeeded, only the answer was lost.
    Done(Item),
}

impl FileUpload {
    /// Finds what can be resumed: all parts of an unchanged file, or those that still have the file's bytes.
    pub(super) async fn resume(&self, recorded: Recorded) -> Result<Resumed, Error> {
        let FileUpload { context, file, job, source, record, .. } = self;
        let Recorded { head, parts: mut finished, finalizing } = recorded;
        let Header { identity, part_size, upload, started, mime_type, .. } = head;
        let size = source.size();
        if identity.size != size {
            file.note(&format!(
                "the file had {} bytes when an earlier upload began: starting over",
                identity.size
            ));
            return Ok(Resumed::StartOver);
        }
        // An upload that may have been finalized is reconciled first, whatever its parts.
        if !finalizing && context.part_size.is_some_and(|asked| asked != part_size) {
            file.note(&format!(
                "an earlier upload has parts of {part_size} bytes: starting over with --part-size"
            ));
            return Ok(Resumed::StartOver);
        }
        if let Some(asked) = job.mime_type.as_ref().filter(|asked| mime_type.as_ref() != Some(asked)) {
            let earlier = mime_type.as_deref().unwrap_or("an unknown MIME type");
            if !finalizing {
                file.note(&format!(
                    "an earlier upload has {earlier}: starting over with --mime-type {asked}"
                ));
                return Ok(Resumed::StartOver);
            }
            // The item may exist already, and the type of an upload cannot be changed.
            file.warn(&format!(
                "an earlier run was about to finish this upload with {earlier}: that counts, and not --mime-type {asked}"
            ));
        }
        let Ok(parts) = Parts::plan(size, Some(part_size)) else { return Ok(Resumed::StartOver) };
        finished.retain(|number, _| (1..=parts.count).contains(number));
        self.tell_start(parts);
        let session = |finished| Session {
            upload: upload.clone(),
            started,
            mime_type: mime_type.clone(),
            parts,
            finished,
            finalizing,
        };
        let asked = Arc::clone(source);
        let may_be_written = context.disk.run(move || asked.may_be_written()).await?;
        if may_be_written || !source.identity().proves_unchanged_since(&identity) {
            file.phase(Phase::Check);
            file.note("the file may have changed since an earlier upload began: comparing its parts");
            let before = finished.len();
            // Without a recorded MD5 the ETag decides. A different one need not mean different bytes (KMS).
            let mut proven_different = false;
            for part in compare(source, parts, &finished).await? {
                let recorded = finished.remove(&part);
                proven_different |= recorded.is_some_and(|part| part.md5.is_some());
            }
            if finished.len() < before {
                file.note(&format!("{} of {before} parts are proven to be the same", finished.len()));
                if finalizing && !proven_different {
                    file.note("an earlier run was at finalize: looking whether the item is there");
                    let content = ContentCheck::new(Arc::clone(source), parts, context.disk.clone());
                    let session = &session(finished.clone());
                    let reconciler = Reconciler { upload: self, session, content: &content };
                    if let Some(item) = reconciler.run().await? {
                        return Ok(Resumed::Done(item));
                    }
                }
                // An item from an earlier finalize would have other content.
                if finalizing || finished.is_empty() {
                    return Ok(Resumed::StartOver);
                }
            }
            let identity = source.identity().clone();
            record.write(file, |journal| journal.compared(identity)).await;
        }
        let bytes = finished.keys().map(|number| parts.len(*number)).sum();
        file.resumed.store(bytes, Ordering::Relaxed);
        let count = u32::try_from(finished.len()).unwrap_or(u32::MAX);
        file.tell(&Event::Resumed { file: file.id, parts: count, bytes });
        Ok(Resumed::Session(session(finished)))
    }
}
