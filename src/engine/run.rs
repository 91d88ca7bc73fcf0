//! Runs files in parallel and returns their outcomes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::concurrency::SAMPLE_INTERVAL;
use super::context::{Context, Options};
use super::keyed_mutex::Queued;
use super::stopper::Stopper;
use super::upload::Ack;
use crate::error::{Call, Code, Error};
use crate::event::{Event, FileId, Reporter};
use crate::file_context::FileContext;
use crate::item::is_id;
use crate::options::IfExists;
use crate::outcome::{Done, Outcome};
use crate::plan::{Folder, Parent, Planned, Step};

/// Steps planned in advance, so that the user sees the total early. About 300 bytes each.
const PLANNED_AHEAD: usize = 4096;

/// The outcome of a file. The receiver calls [`Ack::commit`] once it has printed the outcome.
pub type FileResult = (FileId, Outcome, Ack);

/// Runs the steps, several in parallel, and sends the outcome of each file as soon as it is known (of a folder, only a
/// failure). The channel closes after the last one. After a stop, files that have not started are interrupted, and no
/// further steps are requested.
pub fn run(
    options: Options,
    steps: impl Iterator<Item = Step> + Send + 'static,
    stopper: Stopper,
) -> mpsc::Receiver<FileResult> {
    let max_files = options.limits.files;
    let context = Arc::new(Context::new(options));
    let (results, receiver) = mpsc::channel(max_files);
    let planned = plan(steps, stopper.clone(), Arc::clone(&context.options.reporter));
    tokio::spawn(async move {
        let controller = tokio::spawn(run_controller(Arc::clone(&context)));
        let replacing = tokio::spawn(replace_hanging(Arc::clone(&context)));
        run_steps(context, planned, max_files, stopper, results).await;
        controller.abort();
        replacing.abort();
    });
    receiver
}

/// Plans steps in advance, on a blocking thread.
fn plan(
    steps: impl Iterator<Item = Step> + Send + 'static,
    stopper: Stopper,
    reporter: Arc<dyn Reporter>,
) -> mpsc::Receiver<(FileId, Step)> {
    let (ahead, planned) = mpsc::channel(PLANNED_AHEAD);
    tokio::task::spawn_blocking(move || {
        let (mut files, mut bytes) = (0, 0);
        let mut steps = (0..).zip(steps);
        loop {
            if stopper.token.is_cancelled() {
                return stopper.skipped.store(true, Ordering::Relaxed);
            }
            let Some((id, step)) = steps.next() else { break };
            if let Step::File(planned) = &step {
                files += 1;
                bytes += planned.job.as_ref().ok().and_then(|job| job.size).unwrap_or(0);
                reporter.event(&Event::Discovered { files, bytes, complete: false });
            }
            if ahead.blocking_send((id, step)).is_err() {
                return;
            }
        }
        reporter.event(&Event::Discovered { files, bytes, complete: true });
    });
    planned
}

async fn run_steps(
    context: Arc<Context>,
    mut planned: mpsc::Receiver<(FileId, Step)>,
    max_files: usize,
    stopper: Stopper,
    results: mpsc::Sender<FileResult>,
) {
    let mut running = JoinSet::new();
    // For the outcome of a task that panicked.
    let mut paths = HashMap::new();
    let mut more = true;
    let mut stuck = context.stuck.subscribe();
    loop {
        let room = running.len() < max_files + *stuck.borrow_and_update();
        let result = tokio::select! {
            Ok(()) = stuck.changed(), if more && !room => continue,
            // Planning may wait forever for a list or a directory.
            _ = stopper.stopped(), if more && planned.is_empty() && !planned.is_closed() => {
                stopper.skipped.store(true, Ordering::Relaxed);
                more = false;
                continue;
            }
            step = planned.recv(), if more && room => {
                let Some((id, step)) = step else {
                    more = false;
                    continue;
                };
                let path = match &step {
                    Step::File(Planned { shown, .. }) => shown.clone(),
                    Step::Folder(folder) => folder.shown.clone(),
                    Step::Warning { shown, message } => {
                        context.options.reporter.event(&Event::Warning { path: Some(shown), message });
                        continue;
                    }
                };
                let (context, stopper) = (Arc::clone(&context), stopper.clone());
                // Enqueued here, because tasks do not start in the order of the files.
                let queued = match &step {
                    Step::File(Planned { job: Ok(job), .. }) => Some(context.target_locks.enqueue(job.target())),
                    _ => None,
                };
                let task = running.spawn(async move { run_step(&context, id, step, queued, &stopper).await });
                paths.insert(task.id(), (id, path));
                continue;
            }
            Some(ended) = running.join_next_with_id() => match ended {
                Ok((id, result)) => {
                    paths.remove(&id);
                    result
                }
                Err(error) => paths.remove(&error.id()).map(|(id, path)| {
                    let file = FileContext::new(id, path, 0, Arc::clone(&context.options.reporter));
                    let failed = Err(Error::Internal(format!("its task ended: {error}")));
                    (id, outcome(&file, failed, Instant::now()), Ack::default())
                }),
            },
            else => return,
        };
        if let Some(result) = result {
            // The receiver may be gone. The uploads continue nevertheless.
            let _ = results.send(result).await;
        }
    }
}

async fn run_step(
    context: &Arc<Context>,
    id: FileId,
    step: Step,
    queued: Option<Queued>,
    stopper: &Stopper,
) -> Option<FileResult> {
    let (outcome, ack) = match step {
        Step::File(planned) => run_file(context, id, planned, queued, stopper).await,
        Step::Folder(folder) => (run_folder(context, id, folder, stopper).await?, Ack::default()),
        Step::Warning { .. } => return None,
    };
    Some((id, outcome, ack))
}

async fn run_file(
    context: &Arc<Context>,
    id: FileId,
    planned: Planned,
    queued: Option<Queued>,
    stopper: &Stopper,
) -> (Outcome, Ack) {
    let started = Instant::now();
    let size = planned.job.as_ref().ok().and_then(|job| job.size).unwrap_or(0);
    let file = Arc::new(FileContext::new(id, planned.shown, size, Arc::clone(&context.options.reporter)));
    let suspect = planned.job.as_ref().is_ok_and(|job| job.parent.existing_id().is_some_and(|id| !is_id(id)));
    let result = match (planned.job, queued) {
        (Ok(job), Some(queued)) => {
            let job = Arc::new(job);
            job.warnings.iter().for_each(|warning| file.warn(warning));
            if let Some(duplicate) =
                job.duplicate.as_ref().filter(|_| context.options.if_exists != IfExists::Fail)
            {
                file.warn(&duplicate.warning(context.options.if_exists));
            }
            tokio::select! {
                biased;
                error = stopper.stopped() => Err(match file.created.get() {
                    Some(item) => Error::Unverified { item: Box::new(item.clone()), error: Box::new(error) },
                    None => error,
                }),
                result = super::upload::upload(context, &file, &job, queued) => result,
            }
        }
        (Ok(_), None) => Err(Error::Internal("a file without a position in its queue".to_owned())),
        (Err(error), _) => Err(error),
    };
    match result {
        Ok((done, ack)) => (outcome(&file, Ok(done), started), ack),
        Err(error) => {
            let empty = file.size.load(Ordering::Relaxed) == 0;
            let error = match error {
                _ if !error.is_refusal() => explain_not_found(context, error),
                _ if suspect => Error::WithHint {
                    code: error.code(),
                    hint: "--parent takes the ID of a folder, which has 24 characters, or its address in the browser; --to takes a path",
                    source: Box::new(error),
                },
                // Calls about folders do not depend on the file.
                Error::Part { .. }
                | Error::Call { call: Call::Start | Call::SignUrls | Call::Finalize, .. }
                    if empty =>
                {
                    Error::Empty(Box::new(error))
                }
                _ => error,
            };
            (outcome(&file, Err(context.mark_unrecorded(&file, error)), started), Ack::default())
        }
    }
}

/// Finds or creates a folder. Returns an outcome only if that fails.
async fn run_folder(
    context: &Arc<Context>,
    id: FileId,
    folder: Arc<Folder>,
    stopper: &Stopper,
) -> Option<Outcome> {
    let started = Instant::now();
    let file = FileContext::new(id, folder.shown.clone(), 0, Arc::clone(&context.options.reporter));
    let parent = Parent::New(folder);
    let error = tokio::select! {
        biased;
        _ = stopper.stopped() => {
            stopper.skipped.store(true, Ordering::Relaxed);
            return None;
        }
        found = context.folders.find(&parent) => found.err()?,
    };
    // A parent with a step of its own reports its failure itself.
    let Error::Folder { path: failed, .. } = &error else { return None };
    let above = parent.folders().skip(1).take_while(|folder| !folder.has_step);
    let is_own = *failed == file.path || above.into_iter().any(|folder| folder.shown == *failed);
    let error = explain_not_found(context, error);
    is_own.then(|| Outcome {
        is_folder: true,
        ..outcome(&file, Err(context.mark_unrecorded(&file, error)), started)
    })
}

/// Without `--parent` and `--to`, a 404 means that the API is not there, because the root always exists.
fn explain_not_found(context: &Context, error: Error) -> Error {
    if !context.options.folder_given && error.code() == Code::NotFound {
        let hint = "no folder was given, so the API itself was not found: check --api-url";
        Error::WithHint { source: Box::new(error), code: Code::Refused, hint }
    } else {
        error
    }
}

fn outcome(file: &FileContext, result: Result<Done, Error>, started: Instant) -> Outcome {
    Outcome {
        path: file.path.clone(),
        is_folder: false,
        result,
        bytes: file.size.load(Ordering::Relaxed),
        sent_bytes: file.sent.load(Ordering::Relaxed),
        resumed_bytes: file.resumed.load(Ordering::Relaxed),
        kept_bytes: file.resumed.load(Ordering::Relaxed) + file.recorded.load(Ordering::Relaxed),
        retries: file.retries(),
        elapsed: started.elapsed(),
    }
}

/// Lends permits to other files and parts while file operations hang.
async fn replace_hanging(context: Arc<Context>) {
    let (mut reads, mut others) = (context.options.storage.stuck_reads(), context.disk.stuck());
    let (mut lent_for_reads, mut lent) = (0_usize, 0_usize);
    loop {
        let reads_now = reads.now();
        let now = reads_now + others.now();
        context.permits.lend(reads_now.saturating_sub(lent_for_reads));
        context.permits.take_back(lent_for_reads.saturating_sub(reads_now));
        context.large_files.add_permits(now.saturating_sub(lent));
        context.large_files.remove_permits(lent.saturating_sub(now));
        context.stuck.send_replace(now);
        (lent_for_reads, lent) = (reads_now, now);
        tokio::select! {
            () = reads.changed() => {}
            () = others.changed() => {}
        }
    }
}

/// A queue that stands for this long with BBR is other traffic's. A new connection may take its own queue for the path's
/// round trip until BBR measures that again, every ten seconds.
const BBR_TRIAL: Duration = Duration::from_secs(25);

/// Samples the network while parts are in flight, and sets how many parts may be in flight and send.
async fn run_controller(context: Arc<Context>) {
    let permits = &context.permits;
    loop {
        if permits.in_flight() == 0 {
            permits.begun.notified().await;
            // The measurement starts with the first byte.
            permits.on_sample(context.options.storage.sample(), Instant::now());
        }
        tokio::time::sleep(SAMPLE_INTERVAL).await;
        if permits.in_flight() == 0 {
            permits.update(|controller| {
                controller.on_idle(Instant::now());
                None
            });
        } else if let Some(message) = permits.on_sample(context.options.storage.sample(), Instant::now()) {
            context.options.reporter.event(&Event::Verbose { message: &message });
        }
        context.options.storage.set_sending_limit(permits.sending_limit());
        context.options.storage.set_headroom(permits.has_headroom());
        // CUBIC leaves a lossy path half empty, and fills any buffer. BBR does neither.
        let standing_queue = permits.standing_queue();
        if standing_queue.is_some() || permits.has_headroom() {
            context.options.storage.use_bbr();
        }
        if permits.has_freed_capacity() {
            context.options.storage.restart_bbr();
        }
        // If the queue stays, others fill it, and BBR would take more than its share from them.
        if standing_queue.is_some_and(|since| since.elapsed() >= BBR_TRIAL) {
            context.options.storage.end_bbr(BBR_TRIAL);
        }
    }
}
