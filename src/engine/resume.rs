//! Going on from a record of an earlier run: what of it still counts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::task::JoinSet;

use super::journal::{Head, Recorded};
use super::upload::{Session, Way};
use crate::checksum::Checksums;
use crate::error::Error;
use crate::plan::Parts;
use crate::report::{Event, Phase};
use crate::source::Source;
use crate::storage::Receipt;

/// Parts of an earlier run that are compared with the file side by side: as many as MD5 has lanes.
const COMPARED_AT_ONCE: usize = 8;
/// Bytes read at once when comparing.
const COMPARE_BUFFER: usize = 256 * 1024;

/// What of an earlier run can be gone on with: nothing when the file is another one now, all when it is the
/// same, and what its bytes still say when that is not certain.
pub(super) async fn go_on(way: &Way<'_>, recorded: Recorded) -> Result<Option<Session>, Error> {
    let Way { shared, work, source, record, .. } = way;
    let Recorded { head, parts: mut finished, finalizing } = recorded;
    let Head { identity, part_size, upload, started, .. } = head;
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
    let Ok(parts) = Parts::plan(size, Some(part_size)) else { return Ok(None) };
    finished.retain(|number, _| (1..=parts.count).contains(number));
    way.tell_start(parts);
    if !source.identity().proves_unchanged_since(&identity) {
        work.phase(Phase::Check);
        work.note("the file may have changed since an earlier upload began: comparing its parts");
        let before = finished.len();
        finished = compare(source, parts, finished).await?;
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
    Ok(Some(Session { upload, started, parts, finished, finalizing }))
}

/// Keeps the parts whose bytes still have the recorded MD5.
async fn compare(
    source: &Arc<Source>,
    parts: Parts,
    finished: BTreeMap<u32, Receipt>,
) -> Result<BTreeMap<u32, Receipt>, Error> {
    let sums = Checksums::default();
    let mut kept = BTreeMap::new();
    let mut comparing = JoinSet::new();
    let mut left = finished.into_iter();
    loop {
        while comparing.len() < COMPARED_AT_ONCE
            && let Some((number, receipt)) = left.next()
        {
            let (source, sums, range) = (Arc::clone(source), sums.clone(), parts.range(number));
            comparing.spawn_blocking(move || {
                let stream = sums.stream();
                let mut at = range.start;
                while at < range.end {
                    let mut buffer = vec![
                        0;
                        COMPARE_BUFFER
                            .min(usize::try_from(range.end - at).unwrap_or(COMPARE_BUFFER))
                    ];
                    let read = source.read_at(&mut buffer, at)?;
                    buffer.truncate(read);
                    at += read as u64;
                    stream.push(buffer.into());
                }
                let same = receipt.md5 == Some(stream.finish().into());
                Ok::<_, Error>(same.then_some((number, receipt)))
            });
        }
        match comparing.join_next().await {
            None => return Ok(kept),
            Some(Ok(compared)) => kept.extend(compared?),
            Some(Err(error)) => return Err(Error::Internal(format!("a comparison ended: {error}"))),
        }
    }
}
