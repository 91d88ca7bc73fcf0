//! Resuming from the record of an earlier run: what of it still counts.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::content::compare;
use super::journal::{Header, Recorded};
use super::upload::{FileUpload, Session};
use crate::error::Error;
use crate::plan::Parts;
use crate::progress::{Event, Phase};

/// What of an earlier run can be resumed: nothing when the file has another size or the user wants another upload,
/// all parts when the file is the same, and the parts that still have its bytes when that is not certain.
pub(super) async fn resume_session(
    way: &FileUpload<'_>,
    recorded: Recorded,
) -> Result<Option<Session>, Error> {
    let FileUpload { shared, work, job, source, record, .. } = way;
    let Recorded { head, parts: mut finished, finalizing } = recorded;
    let Header { identity, part_size, upload, started, mime_type, .. } = head;
    let size = source.size();
    if identity.size != size {
        work.note(&format!(
            "the file had {} bytes when an earlier upload began: starting over",
            identity.size
        ));
        return Ok(None);
    }
    // An upload that may be an item already is settled first, whatever its parts.
    if !finalizing && shared.part_size.is_some_and(|asked| asked != part_size) {
        work.note(&format!(
            "an earlier upload has parts of {part_size} bytes: starting over with --part-size"
        ));
        return Ok(None);
    }
    if let Some(asked) = job.mime_type.as_ref().filter(|asked| mime_type.as_ref() != Some(asked)) {
        let earlier = mime_type.as_deref().unwrap_or("an unknown MIME type");
        if !finalizing {
            work.note(&format!("an earlier upload has {earlier}: starting over with --mime-type {asked}"));
            return Ok(None);
        }
        // Its item may be there already, and the type of an upload cannot be changed.
        work.warn(&format!(
            "an earlier run was about to finish this upload with {earlier}: that counts, and not --mime-type {asked}"
        ));
    }
    let Ok(parts) = Parts::plan(size, Some(part_size)) else { return Ok(None) };
    finished.retain(|number, _| (1..=parts.count).contains(number));
    way.tell_start(parts);
    let asked = Arc::clone(source);
    let may_be_written = shared.disk.run(move || asked.may_be_written()).await?;
    if may_be_written || !source.identity().proves_unchanged_since(&identity) {
        work.phase(Phase::Check);
        work.note("the file may have changed since an earlier upload began: comparing its parts");
        let before = finished.len();
        for part in compare(source, parts, &finished).await? {
            finished.remove(&part);
        }
        if finished.len() < before {
            work.note(&format!("{} of {before} parts are still the same", finished.len()));
            if finalizing || finished.is_empty() {
                // What an earlier finalize made, if anything, is another file than this one.
                return Ok(None);
            }
        }
        let identity = source.identity().clone();
        record.write(work, |journal| journal.compared(identity)).await;
    }
    let bytes = finished.keys().map(|number| parts.len(*number)).sum();
    work.resumed.store(bytes, Ordering::Relaxed);
    let count = u32::try_from(finished.len()).unwrap_or(u32::MAX);
    work.tell(&Event::Resumed { file: work.file, parts: count, bytes });
    Ok(Some(Session { upload, started, mime_type, parts, finished, finalizing }))
}
