//! The transfer engine: takes jobs, gives outcomes, and tells a [`Reporter`] what happens. It knows nothing of
//! command lines, terminals or files of configuration.

mod finalize;
pub mod journal;
mod parts;
mod record;
mod slots;
mod turns;
mod upload;
mod urls;

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::journal::Journals;
use self::slots::Slots;
use self::turns::Turns;
pub use self::upload::Told;
pub use self::urls::Rules;
use crate::api::Drive;
use crate::error::{Code, Error, Signal};
use crate::outcome::{Done, Outcome};
use crate::plan::{Job, Planned};
use crate::report::{Event, FileId, Reporter};
use crate::retry::Policy;
use crate::storage::Storage;
use crate::work::Work;

/// Files under way at once. Small ones spend most of their time waiting for answers of the API; how many
/// parts are in flight is limited by itself.
const FILES_AT_ONCE: usize = 16;

/// What the engine works with.
pub struct Options {
    /// The API.
    pub drive: Drive,
    /// Storage.
    pub storage: Storage,
    /// Where records are kept; `None`: nowhere.
    pub journals: Option<Journals>,
    /// The API's URL, to bind records to.
    pub api: String,
    /// The account's hash, to bind records to.
    pub account: String,
    /// How long to keep trying.
    pub policy: Policy,
    /// Bytes a part, if the user said so.
    pub part_size: Option<u64>,
    /// Parts in flight, if the user said so.
    pub concurrency: Option<usize>,
    /// What signed URLs may look like.
    pub rules: Rules,
    /// Told what happens.
    pub reporter: Arc<dyn Reporter>,
}

/// Asks the engine to stop.
#[derive(Clone, Default)]
pub struct Stopper {
    token: CancellationToken,
    signal: Arc<Mutex<Option<Signal>>>,
}

impl Stopper {
    /// Stop in order: what is finished is kept, what is in flight is dropped.
    pub fn stop(&self, signal: Signal) {
        self.signal.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(signal);
        self.token.cancel();
    }

    /// The signal, if there was one.
    pub fn signal(&self) -> Option<Signal> {
        *self.signal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn stopped(&self) -> Error {
        self.token.cancelled().await;
        Error::Interrupted(self.signal().unwrap_or(Signal::Interrupt))
    }
}

/// What all files share.
struct Shared {
    drive: Arc<Drive>,
    storage: Storage,
    slots: Arc<Slots>,
    journals: Option<Journals>,
    api: String,
    account: String,
    policy: Policy,
    part_size: Option<u64>,
    rules: Rules,
    /// One upload at a time for each name in each folder.
    turns: Turns<(Option<String>, String)>,
    /// Items that this run has made: none of them is the answer to another file's lost finalize.
    taken: Mutex<HashSet<String>>,
    reporter: Arc<dyn Reporter>,
}

impl Shared {
    fn is_taken(&self, id: &str) -> bool {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    fn note_taken(&self, id: &str) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
    }
}

/// Uploads the jobs, several side by side, and sends each outcome as soon as it is known; the channel ends when
/// all are. Whoever has told of one says so ([`Told::forget_upload`]). After a stop, files not yet begun are
/// interrupted before they begin.
pub fn run(
    options: Options,
    jobs: impl Iterator<Item = Planned> + Send + 'static,
    stopper: Stopper,
) -> mpsc::Receiver<(FileId, Outcome, Told)> {
    let shared = Arc::new(Shared {
        drive: Arc::new(options.drive),
        storage: options.storage,
        slots: Slots::new(options.concurrency),
        journals: options.journals,
        api: options.api,
        account: options.account,
        policy: options.policy,
        part_size: options.part_size,
        rules: options.rules,
        turns: Turns::default(),
        taken: Mutex::default(),
        reporter: options.reporter,
    });
    let (results, receiver) = mpsc::channel(FILES_AT_ONCE);
    tokio::spawn(async move {
        let mut under_way = JoinSet::new();
        for (file, planned) in (0..).zip(jobs) {
            while under_way.len() >= FILES_AT_ONCE {
                under_way.join_next().await;
            }
            let (shared, stopper, results) = (Arc::clone(&shared), stopper.clone(), results.clone());
            under_way.spawn(async move {
                let (outcome, told) = one(&shared, file, planned, &stopper).await;
                // Whoever listened may be gone; the upload was worth it all the same.
                let _ = results.send((file, outcome, told)).await;
            });
        }
        while under_way.join_next().await.is_some() {}
    });
    receiver
}

async fn one(shared: &Arc<Shared>, file: FileId, planned: Planned, stopper: &Stopper) -> (Outcome, Told) {
    let begun = Instant::now();
    let work = Arc::new(Work::new(file, planned.shown, Arc::clone(&shared.reporter)));
    let bytes = planned.job.as_ref().map_or(0, |job| job.size);
    let result = match planned.job {
        Ok(job) => {
            job.warnings.iter().for_each(|warning| work.warn(warning));
            tokio::select! {
                biased;
                error = stopper.stopped() => Err(error),
                result = go(shared, &work, &job) => result,
            }
        }
        Err(error) => Err(error),
    };
    let (result, told) = match result {
        Ok((done, told)) => (Ok(done), told),
        Err(error) if work.unrecorded.load(Ordering::Relaxed) => {
            (Err(Error::Unrecorded(Box::new(error))), Told::default())
        }
        Err(error) => (Err(error), Told::default()),
    };
    let outcome = Outcome {
        path: work.path.clone(),
        result,
        bytes,
        sent_bytes: work.sent.load(Ordering::Relaxed),
        resumed_bytes: work.resumed.load(Ordering::Relaxed),
        retries: work.retries(),
        elapsed: begun.elapsed(),
    };
    (outcome, told)
}

/// Asks the disk on a thread that may wait for it: a network mount that hangs holds up neither other files nor
/// Ctrl-C.
async fn on_disk<T: Send + 'static>(ask: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(ask)
        .await
        .map_err(|error| Error::Internal(format!("an operation on a file ended: {error}")))
}

async fn go(shared: &Arc<Shared>, work: &Arc<Work>, job: &Job) -> Result<(Done, Told), Error> {
    match upload::upload(shared, work, job).await {
        Ok((item, told)) => Ok((Done { item, skipped: false }, told)),
        Err(error) if job.size == 0 && error.code() == Code::Refused => Err(Error::Empty(Box::new(error))),
        Err(error) => Err(error),
    }
}

/// Tells how many files and bytes there are, where that is known from the start.
pub fn tell_known(reporter: &dyn Reporter, planned: &[Planned]) {
    let bytes = planned.iter().filter_map(|one| one.job.as_ref().ok()).map(|job| job.size).sum();
    reporter.event(&Event::Known { files: planned.len() as u64, bytes, complete: true });
}
