//! One run: from settings through the plan and the engine to results, and to the exit code.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::cli::Cli;
use crate::disk::on_disk;
use crate::drive::Drive;
use crate::engine::Stopper;
use crate::engine::state::{Peers, RunRecord};
use crate::environment::Environment;
use crate::error::{Call, Error, Failure};
use crate::event::{Event, Reporter};
use crate::file_context::GlobalObserver;
use crate::format::plural;
use crate::limits::Limits;
use crate::options::OutputMode;
use crate::outcome::Summary;
use crate::output::{Output, Pages};
use crate::plan::{Input, List, ListError, ListSource, Parent, Parts, Planned, Step};
use crate::settings::{self, Settings};
use crate::setup::{engine_options, open_record, run_key};
use crate::source::Source;
use crate::{engine, limits, login, plan, platform, progress, signals, spool};

/// How long to wait for blocking work after the last result. Reads from a disk that hangs never end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(500);

/// Finished files whose records are removed at a time. Each has a file open.
const MAX_COMMITS: usize = 4;

/// How often the record of a run is synced to the disk.
const SYNC_INTERVAL: Duration = Duration::from_secs(2);

/// Runs the command, prints its results, and returns the exit code.
pub fn run(mut cli: Cli, env: &Environment) -> u8 {
    cli.paths = platform::expand_wildcards(cli.paths);
    let mut display = cli.display.clone();
    if cli.login {
        let reporter = progress::choose(&display);
        return finish(&reporter, login::run(&cli, env, &reporter).map(|()| 0).map_err(Error::from));
    }
    let mut warnings = Vec::new();
    let settings = settings::resolve(cli, env, &mut warnings);
    if let Some(progress) = settings.as_ref().ok().and_then(|settings| settings.progress) {
        display.progress = progress;
    }
    let reporter = progress::choose(&display);
    for message in &warnings {
        reporter.event(&Event::Warning { path: None, message });
    }
    finish(&reporter, settings.and_then(|settings| execute(&settings, &reporter)))
}

/// Prints the error, if any. Returns the exit code.
fn finish(reporter: &Arc<dyn Reporter>, result: Result<u8, Error>) -> u8 {
    let code = result.unwrap_or_else(|error| {
        reporter.event(&Event::Error { path: None, error: &error });
        error.exit_code()
    });
    reporter.clear();
    code
}

fn execute(settings: &Settings, reporter: &Arc<dyn Reporter>) -> Result<u8, Error> {
    for message in &settings.sources {
        reporter.event(&Event::Verbose { message });
    }
    match settings.dry_run {
        true => dry_run(settings, &**reporter),
        false => upload(settings, reporter),
    }
}

/// Prints the plan, one line for each file, in order of path. Nothing is sent.
fn dry_run(settings: &Settings, reporter: &dyn Reporter) -> Result<u8, Error> {
    let (mut summary, mut files, mut bytes) = (Summary::default(), 0, 0);
    let (mut lines, mut folders) = (Vec::new(), HashSet::new());
    // If a path is known, its parents are too.
    let mut add_folders = |place: &Parent| {
        let mut path = place.path();
        while !path.is_empty() && folders.insert(path.clone()) {
            path.truncate(path.rfind('/').unwrap_or(0));
        }
    };
    let list = settings.list.clone().map(ListSource::open).transpose()?;
    let list_error = list.as_ref().map(List::error).unwrap_or_default();
    for step in plan::steps(settings.selection.clone(), list) {
        let Planned { shown, job } = match step {
            Step::File(planned) => planned,
            Step::Folder(folder) => {
                add_folders(&Parent::New(Arc::clone(&folder)));
                folder.warning.iter().for_each(|message| {
                    reporter.event(&Event::Warning { path: Some(&folder.shown), message });
                });
                continue;
            }
            Step::Warning { shown, message } => {
                reporter.event(&Event::Warning { path: Some(&shown), message: &message });
                continue;
            }
        };
        let line = job.and_then(|job| {
            let duplicate = job.duplicate.as_ref().map(|duplicate| duplicate.warning(settings.if_exists));
            job.warnings
                .iter()
                .chain(&duplicate)
                .for_each(|message| reporter.event(&Event::Warning { path: Some(&shown), message }));
            let source = match &job.input {
                Input::File(path) => Source::open(path)?,
                Input::Stdin => spool::standard_input(|_| {})?,
            };
            let mime_type = job.mime_type.map_or_else(|| source.mime_type(&job.name), Ok)?;
            let parts = Parts::plan(source.size(), settings.transfer.part_size)?;
            files += 1;
            bytes += parts.size;
            add_folders(&job.parent);
            plan::dry_run_line(&shown, &job.name, &job.parent, &mime_type, &parts)
        });
        match line {
            Ok(line) => {
                lines.push((shown, line));
                summary.count_planned();
            }
            Err(error) => {
                reporter.event(&Event::Error { path: Some(&shown), error: &error });
                summary.count_failure(&error);
            }
        }
    }
    lines.sort();
    let output = Output::stdout(settings.output, None);
    for (_, line) in &lines {
        output.dry_run_line(line).map_err(Error::Output)?;
    }
    let folders = folders.len() as u64;
    note_list_error(&list_error, &mut summary, reporter);
    if files > 0 || summary.exit_code() == 0 {
        reporter.event(&Event::Planned { files, bytes, folders });
    }
    Ok(summary.exit_code())
}

/// Reports why the list of `--files-from` ended early, if it did.
fn note_list_error(list_error: &ListError, summary: &mut Summary, reporter: &dyn Reporter) {
    if let Some(error) = list_error.get() {
        summary.is_list_cut = true;
        reporter.event(&Event::Error { path: None, error });
    }
}

fn upload(settings: &Settings, reporter: &Arc<dyn Reporter>) -> Result<u8, Error> {
    let list = settings.list.clone().map(ListSource::open).transpose()?;
    let limits = Limits::from_system()?;
    if limits != Limits::MAX {
        let Limits { files, parts, calls } = limits;
        let message = &format!(
            "the system allows few open files: {files} files, {parts} parts and {calls} calls at the same time"
        );
        reporter.event(&Event::Verbose { message });
    }
    if settings.transfer.concurrency.is_some_and(|asked| asked > limits.parts) {
        let message = &format!(
            "only {} at the same time: the system does not allow more open files (ulimit -n)",
            plural(limits.parts as u64, "part")
        );
        reporter.event(&Event::Warning { path: None, message });
    }
    let runtime = limits::runtime()?;
    let code = runtime.block_on(transfer(settings, list, limits, reporter));
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    code
}

async fn transfer(
    settings: &Settings,
    list: Option<List>,
    limits: Limits,
    reporter: &Arc<dyn Reporter>,
) -> Result<u8, Error> {
    let begun = Instant::now();
    let stopper = Stopper::default();
    signals::listen(stopper.clone(), Arc::clone(reporter));
    let key = run_key(settings)?;
    let peers = Peers::join(settings.state_dir.clone(), &key, &stopper, reporter).await?;
    let peers = Arc::new(peers);
    let record = open_record(settings, &key, &**reporter);
    let syncing = record.clone().map(|record| tokio::spawn(sync_regularly(record)));
    let options =
        engine::Options { finished: record.clone(), ..engine_options(settings, limits, &peers, reporter)? };
    let pages = match settings.output {
        // Without it no URL can be printed, so it comes before the upload.
        OutputMode::Url => tokio::select! {
            error = stopper.stopped() => return Err(error),
            pages = pages(&options.drive, &**reporter) => Some(pages?),
        },
        _ => None,
    };
    let output = Output::stdout(settings.output, pages);
    let list_error = list.as_ref().map(List::error).unwrap_or_default();
    let mut outcomes = engine::run(options, plan::steps(settings.selection.clone(), list), stopper.clone());

    let mut summary = Summary::default();
    let mut write_error = None;
    let mut commits = JoinSet::new();
    while let Some((file, outcome, ack)) = outcomes.recv().await {
        summary.add(&outcome);
        // The event comes first, so that the result is last on a terminal.
        reporter.event(&Event::FileDone { file, outcome: &outcome });
        let mut printed = Ok(());
        reporter.suspend(&mut || printed = output.result(&outcome));
        match printed {
            Ok(()) if write_error.is_none() => {
                // The next result need not wait for the disk.
                if commits.len() == MAX_COMMITS {
                    commits.join_next().await;
                }
                commits.spawn_blocking(|| ack.commit());
            }
            // After a failed write nothing is printed, so the record has to stay.
            Ok(()) => {}
            Err(error) => drop(write_error.get_or_insert(Error::Output(error))),
        }
    }
    while commits.join_next().await.is_some() {}
    summary.elapsed = begun.elapsed();
    summary.signal = stopper.signal().filter(|_| summary.interrupted > 0 || stopper.skipped_steps());
    if let Some(syncing) = syncing {
        syncing.abort();
    }
    note_list_error(&list_error, &mut summary, &**reporter);
    let is_complete = summary.exit_code() == 0 && write_error.is_none() && !stopper.skipped_steps();
    match (&settings.state_dir, record) {
        (Some(folder), _) if is_complete => RunRecord::remove(folder, &key),
        (_, Some(record)) => drop(on_disk(move || record.sync()).await),
        _ => {}
    }
    // Each interrupted file has reported the signal already.
    if let Some(signal) = summary.signal.filter(|_| summary.interrupted == 0) {
        reporter.event(&Event::Error { path: None, error: &Error::Interrupted(signal) });
    }
    reporter.event(&Event::Finished { summary: &summary });
    match write_error {
        Some(error) if summary.signal.is_none() => Err(error),
        _ => Ok(summary.exit_code()),
    }
}

/// Syncs the record to the disk from time to time, so that a power failure costs only the last seconds.
async fn sync_regularly(record: Arc<RunRecord>) {
    loop {
        tokio::time::sleep(SYNC_INTERVAL).await;
        let record = Arc::clone(&record);
        // If no thread can be started, the next sync tries again.
        let _ = on_disk(move || record.sync()).await;
    }
}

/// Asks for the address of the workspace's pages.
async fn pages(drive: &Drive, reporter: &dyn Reporter) -> Result<Pages, Error> {
    let slug = drive.slug(&GlobalObserver(reporter)).await?;
    Pages::of_workspace(&slug).ok_or_else(|| {
        let detail = "a workspace without a name in URLs".to_owned();
        Error::Call { call: Call::Workspace, failure: Failure::Malformed { detail }, tries: 1 }
    })
}
