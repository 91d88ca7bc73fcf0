//! Resuming from the record of an earlier run.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::content::compare;
use super::session::{FileUpload, Session};
use super::state::Recorded;
use crate::error::Error;
use crate::event::{Event, Phase};
use crate::item::Item;
use crate::plan::Parts;

/// What an earlier run left to resume.
pub(super) enum Resumed {
    /// Nothing: the file has changed, or the options require another upload.
    StartOver,
    /// An upload with the parts that still have the file's bytes.
    Session(Box<Session>),
    /// A finished upload and its item: only the response to finalize was lost.
    Done(Box<Session>, Item),
}

impl FileUpload {
    /// Finds what can be resumed: all parts of an unchanged file, or those that still have the file's bytes.
    pub(super) async fn resume(&self, recorded: Recorded) -> Result<Resumed, Error> {
        let FileUpload { context, file, job, source, record, .. } = self;
        let Recorded { started, parts: mut finished, finalizing, item, .. } = recorded;
        let (identity, part_size) = (started.identity.clone(), started.part_size);
        let size = source.size();
        if identity.size != size {
            return Ok(self.start_over(
                finished.len(),
                item.as_ref(),
                &format!("the file had {} bytes when an earlier upload began", identity.size),
            ));
        }
        // An upload that may have been finalized is reconciled first, whatever its parts.
        if !finalizing && context.options.part_size.is_some_and(|given| given != part_size) {
            return Ok(self.start_over(
                finished.len(),
                item.as_ref(),
                &format!("an earlier upload has parts of {part_size} bytes, not of --part-size"),
            ));
        }
        if let Some(given) = job.mime_type.as_ref().filter(|given| started.mime_type != **given) {
            let earlier = &started.mime_type;
            if !finalizing {
                return Ok(self.start_over(
                    finished.len(),
                    item.as_ref(),
                    &format!("an earlier upload has {earlier}, not --mime-type {given}"),
                ));
            }
            // The item may exist already, and the type of an upload cannot be changed.
            file.warn(&format!(
                "an earlier run was about to finish this upload with {earlier}, so --mime-type {given} is ignored"
            ));
        }
        let Ok(parts) = Parts::plan(size, Some(part_size)) else { return Ok(Resumed::StartOver) };
        finished.retain(|number, _| (1..=parts.count).contains(number));
        self.report_start(parts);
        let mut session = Session::new(started, parts, source);
        (session.finished, session.finalizing) = (finished, finalizing);
        let opened = Arc::clone(source);
        let may_be_written = context.disk.run(move || opened.may_be_written()).await?;
        if may_be_written || !source.identity().proves_unchanged_since(&identity) {
            file.phase(Phase::Check);
            file.note("the file may have changed since an earlier upload began: comparing its parts");
            let before = session.finished.len();
            // Without a recorded MD5 the ETag is compared, and may differ for the same bytes (KMS).
            let mut proven_different = false;
            for part in compare(&context.disk, source, parts, &session.finished).await? {
                let recorded = session.finished.remove(&part);
                proven_different |= recorded.is_some_and(|part| part.md5.is_some());
            }
            let same = session.finished.len();
            if same < before {
                file.note(&format!("{same} of {before} parts are unchanged"));
                if let Some(item) = item.clone().filter(|_| !proven_different) {
                    return Ok(Resumed::Done(Box::new(session), item));
                }
                if finalizing && !proven_different {
                    file.note("an earlier run started to finalize: looking for the item");
                    if let Some(item) = self.reconcile(&session).await? {
                        return Ok(Resumed::Done(Box::new(session), item));
                    }
                }
                // An item from an earlier finalize would have other content.
                if finalizing || same == 0 {
                    let why = "the file has changed since an earlier upload began";
                    return Ok(self.start_over(before, item.as_ref(), why));
                }
            }
            let identity = source.identity().clone();
            record.write(|journal| journal.set_identity(identity)).await;
        }
        session.item = item;
        let bytes = session.finished.keys().map(|number| parts.len(*number)).sum();
        file.resumed.store(bytes, Ordering::Relaxed);
        let count = u32::try_from(session.finished.len()).unwrap_or(u32::MAX);
        file.report(&Event::Resumed { file: file.id, parts: count, bytes });
        Ok(Resumed::Session(Box::new(session)))
    }

    /// A warning if there are finished parts or an item, because the earlier run may have reported them.
    fn start_over(&self, finished: usize, item: Option<&Item>, why: &str) -> Resumed {
        let left = item.map(|item| format!("; its item {} remains", item.id())).unwrap_or_default();
        let message = format!("{why}: starting over{left}");
        if finished > 0 || item.is_some() {
            self.file.warn(&message)
        } else {
            self.file.note(&message)
        }
        Resumed::StartOver
    }
}
