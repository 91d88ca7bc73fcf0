//! One file's way through the stages: open, go on from a record or start, send the parts, finalize.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinSet;

use super::finalize::Ending;
use super::journal::{Binding, Head, Journal, OpenError, Recorded, path_text};
use super::parts::{Pace, Sender, Stop, send};
use super::record::Record;
use super::urls::Urls;
use super::{Shared, on_disk};
use crate::api::wire::{Item, Start};
use crate::checksum::Checksums;
use crate::error::Error;
use crate::plan::{Job, Parts};
use crate::report::{Event, Phase};
use crate::source::Source;
use crate::storage::Receipt;
use crate::work::Work;

/// Parts of an earlier run that are compared with the file side by side: as many as MD5 has lanes.
const COMPARED_AT_ONCE: usize = 8;
/// A record in use is asked for again for a second: the run before may just be on its way out.
const BUSY_TRIES: u32 = 10;
/// See [`BUSY_TRIES`].
const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// Bytes read at once when comparing.
const COMPARE_BUFFER: usize = 256 * 1024;

/// An upload under way: begun now, or by an earlier run.
struct Session {
    head: Begun,
    parts: Parts,
    finished: BTreeMap<u32, Receipt>,
    finalizing: bool,
}

/// What of a record's head the stages need.
struct Begun {
    upload: crate::api::wire::Upload,
    started: i64,
}

/// What an upload that ended well leaves to do once its result is told.
///
/// Until then its record stays: after a kill in between, the next run of the same command tells of the item
/// that is there, instead of making a second one.
#[derive(Default)]
pub struct Told {
    record: Record,
    _turn: Option<OwnedMutexGuard<()>>,
}

impl Told {
    /// The result is told: the record goes, and the next upload to the same place may begin.
    pub async fn forget_upload(self) {
        // Should the thread for it not come about, the record stays, and does no harm.
        let _ = on_disk(move || self.record.remove()).await;
    }
}

/// Uploads one file.
pub(super) async fn upload(shared: &Arc<Shared>, work: &Arc<Work>, job: &Job) -> Result<(Item, Told), Error> {
    let path = job.path.clone();
    let source = Arc::new(on_disk(move || Source::open(&path)).await??);
    // Two files of one command for one place in the drive go one after the other: each may have to look
    // for its own item there.
    let turn = shared.turns.take((job.parent.clone(), job.name.clone())).await;
    let (journal, recorded) = open_record(shared, work, job).await?;
    let record = Record::new(journal);

    let mut earlier = match recorded {
        Some(recorded) => go_on(shared, work, job, &source, &record, recorded).await?,
        None => None,
    };
    let mut restarted = false;
    loop {
        let session = match earlier.take() {
            Some(session) => session,
            None => begin(shared, work, job, &source, &record).await?,
        };
        match finish(shared, work, job, &source, &record, session).await {
            Ok(item) => return Ok((item, Told { record, _turn: Some(turn) })),
            Err(Stop::Gone(error)) if !restarted => {
                restarted = true;
                work.warn(&format!("the upload is gone on the server ({error}): starting it again"));
                work.tell(&Event::Restarted { file: work.file });
                work.resumed.store(0, Ordering::Relaxed);
                record.write(work, Journal::clear).await;
            }
            Err(Stop::Gone(error) | Stop::Error(error)) => return Err(error),
        }
    }
}

async fn open_record(
    shared: &Shared,
    work: &Work,
    job: &Job,
) -> Result<(Option<Journal>, Option<Recorded>), Error> {
    let Some(journals) = &shared.journals else {
        work.unrecorded.store(true, Ordering::Relaxed);
        return Ok((None, None));
    };
    let binding = Binding {
        api: shared.api.clone(),
        account: shared.account.clone(),
        parent: job.parent.clone(),
        name: job.name.clone(),
        path: path_text(&job.path),
    };
    let open = || {
        let (journals, binding) = (journals.clone(), binding.clone());
        on_disk(move || journals.open(binding))
    };
    let mut opened = open().await?;
    for _ in 0..BUSY_TRIES {
        if !matches!(opened, Err(OpenError::Busy(_))) {
            break;
        }
        tokio::time::sleep(BUSY_PAUSE).await;
        opened = open().await?;
    }
    match opened {
        Ok((journal, recorded, warning)) => {
            if let Some(warning) = warning {
                work.warn(&warning);
            }
            Ok((Some(journal), recorded))
        }
        Err(OpenError::Busy(record)) => Err(Error::Busy { record }),
        Err(OpenError::Io(error)) => {
            work.unrecorded.store(true, Ordering::Relaxed);
            work.warn(&format!(
                "no record for resuming can be kept ({error}); an interruption will cost the whole upload"
            ));
            Ok((None, None))
        }
    }
}

/// What of an earlier run can be gone on with: nothing when the file is another one now, all when it is the
/// same, and what its bytes still say when that is not certain.
async fn go_on(
    shared: &Arc<Shared>,
    work: &Arc<Work>,
    job: &Job,
    source: &Arc<Source>,
    record: &Record,
    recorded: Recorded,
) -> Result<Option<Session>, Error> {
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
    tell_start(work, job, parts);
    if identity != *source.identity() {
        work.phase(Phase::Check);
        work.note("the file was touched since an earlier upload began: comparing its parts");
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
    Ok(Some(Session { head: Begun { upload, started }, parts, finished, finalizing }))
}

fn tell_start(work: &Work, job: &Job, parts: Parts) {
    work.tell(&Event::FileStart {
        file: work.file,
        path: &work.path,
        name: &job.name,
        size: parts.size,
        parts: parts.count,
        part_size: parts.part_size,
    });
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
                let same = receipt.md5.as_deref() == Some(stream.finish().as_str());
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

async fn begin(
    shared: &Arc<Shared>,
    work: &Arc<Work>,
    job: &Job,
    source: &Arc<Source>,
    record: &Record,
) -> Result<Session, Error> {
    let size = source.size();
    let parts = Parts::plan(size, shared.part_size)?;
    tell_start(work, job, parts);
    work.phase(Phase::Start);
    let start = Start {
        file_name: &job.name,
        file_size: size,
        mime_type: &job.mime_type,
        parent_id: job.parent.as_deref(),
    };
    let started = shared.drive.start(work, &start).await?;
    let head = Begun { upload: started.upload, started: started.at };
    if parts.count > 1 {
        begin_record(work, source, record, parts, &head, true).await;
    }
    Ok(Session { head, parts, finished: BTreeMap::new(), finalizing: false })
}

async fn begin_record(work: &Work, source: &Source, record: &Record, parts: Parts, head: &Begun, sync: bool) {
    let (identity, upload, started) = (source.identity().clone(), head.upload.clone(), head.started);
    record.write(work, move |journal| journal.begin(identity, parts.part_size, upload, started, sync)).await;
}

/// Sends what is missing and has the item made.
async fn finish(
    shared: &Arc<Shared>,
    work: &Arc<Work>,
    job: &Job,
    source: &Arc<Source>,
    record: &Record,
    session: Session,
) -> Result<Item, Stop> {
    let Session { head, parts, mut finished, finalizing } = session;
    // A file of one part is only on record while it is finalized, so that a small file costs no disk's sync:
    // against a kill the record is as good without one.
    let single = parts.count == 1;
    let sender = Arc::new(Sender {
        shared: Arc::clone(shared),
        work: Arc::clone(work),
        source: Arc::clone(source),
        parts,
        urls: Urls::new(Arc::clone(&shared.drive), head.upload.clone(), parts.count, shared.rules),
        record: if single { Record::default() } else { record.clone() },
        pace: Pace::default(),
    });
    let ending = Ending {
        shared,
        work,
        job,
        upload: &head.upload,
        size: source.size(),
        started: head.started,
        record,
        sync: !single,
    };
    if finalizing {
        work.note("an earlier run was at finalize: looking whether the item is there");
        if let Some(item) = ending.settle().await? {
            shared.note_taken(item.id());
            return Ok(item);
        }
    }
    match send(&sender, &mut finished).await {
        // Gone may mean done: to begin again could make a second item.
        Err(Stop::Gone(error)) if finalizing => {
            return Err(Error::Unsettled { what: crate::error::chain(&error) }.into());
        }
        sent => sent?,
    }

    // S3 builds a shorter object without a word when parts are missing.
    if let Some(missing) = parts.numbers().find(|number| !finished.contains_key(number)) {
        return Err(
            Error::Incomplete { what: format!("part {missing} of {} is missing", parts.count) }.into()
        );
    }
    let sum: u64 = finished.keys().map(|number| parts.len(*number)).sum();
    if sum != source.size() || finished.len() != parts.count as usize {
        return Err(Error::Incomplete { what: format!("{sum} bytes of {}", source.size()) }.into());
    }
    let looked_at = Arc::clone(source);
    on_disk(move || looked_at.check_unchanged()).await??;

    if single && !finalizing {
        begin_record(work, source, record, parts, &head, false).await;
        if let Some((number, receipt)) = finished.iter().next() {
            let (number, receipt) = (*number, receipt.clone());
            record.write(work, move |journal| journal.part(number, &receipt, false)).await;
        }
    }
    let item = ending.run(&finished, finalizing).await?;
    shared.note_taken(item.id());
    Ok(item)
}
