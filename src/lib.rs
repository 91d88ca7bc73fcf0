//! Puts files into Copera Drive: the whole program, of which `main.rs` is the shell.
//!
//! Data goes one way: `cli` → `settings` → `plan` → `engine` → `output`, with events to `report` on the side.

pub mod checksum;
pub mod circuit_breaker;
pub mod cli;
pub mod config;
pub mod dial;
pub mod disk;
pub mod drive;
pub mod engine;
pub mod environment;
pub mod error;
pub mod file_context;
pub mod generate;
pub mod http;
pub mod limited;
pub mod limits;
pub mod login;
pub mod outcome;
pub mod output;
pub mod plan;
pub mod platform;
pub mod progress;
pub mod proxy;
pub mod retry;
pub mod secret;
pub mod settings;
pub mod signals;
pub mod source;
pub mod spool;
pub mod storage;
pub mod tls;
pub mod units;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::dial::{Connector, Trust};
use crate::drive::Drive;
use crate::engine::journal::{self, JournalStore};
use crate::engine::peers::{Peers, RunKey};
use crate::engine::{Rules, Stopper};
use crate::error::{Call, Error};
use crate::limits::Limits;
use crate::outcome::Summary;
use crate::output::{Output, Pages};
use crate::plan::{Input, Parts, Planned, Step};
use crate::progress::{Event, Reporter};
use crate::retry::{Failure, RetryPolicy};
use crate::secret::Redactor;
use crate::settings::Settings;
use crate::source::Source;
use crate::storage::Storage;

/// Time that is left to finish what cannot be dropped, after an orderly stop.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Does what the settings say, prints results and everything else, and gives the process's exit code.
pub fn run(settings: Settings) -> u8 {
    let reporter = progress::choose(&settings.display);
    for message in &settings.warnings {
        reporter.event(&Event::Warning { path: None, message });
    }
    for message in &settings.sources {
        reporter.event(&Event::Verbose { message });
    }
    let output = Output::stdout(settings.output);
    let done = if settings.dry_run {
        dry_run(&settings, &output, &*reporter)
    } else {
        upload(&settings, &output, &reporter)
    };
    let code = done.unwrap_or_else(|error| {
        reporter.event(&Event::Error { path: None, error: &error });
        error.exit_code()
    });
    reporter.clear();
    code
}

/// Prints the plan: one line a file, and nothing is sent.
fn dry_run(settings: &Settings, output: &Output, reporter: &dyn Reporter) -> Result<u8, Error> {
    let (mut tally, mut files, mut bytes, mut folders) = (Summary::default(), 0, 0, 0);
    for step in plan::steps(settings.selection.clone()) {
        let Planned { shown, job } = match step {
            Step::File(planned) => planned,
            Step::Folder(folder) => {
                folders += 1;
                folder.warning.iter().for_each(|message| {
                    reporter.event(&Event::Warning { path: Some(&folder.shown), message });
                });
                continue;
            }
            Step::Excluded { shown } => {
                reporter.event(&Event::Excluded { path: &shown });
                continue;
            }
            Step::Warning { shown, message } => {
                reporter.event(&Event::Warning { path: Some(&shown), message: &message });
                continue;
            }
        };
        let line = job.and_then(|job| {
            let twin = job.twin.as_ref().map(|twin| twin.warning(settings.if_exists));
            job.warnings
                .iter()
                .chain(&twin)
                .for_each(|message| reporter.event(&Event::Warning { path: Some(&shown), message }));
            let source = match &job.input {
                Input::File(path) => Source::open(path)?,
                Input::Stdin => spool::standard_input(|_| {})?,
            };
            let mime_type = job.mime_type.map_or_else(|| source.mime_type(&job.name), Ok)?;
            let parts = Parts::plan(source.size(), settings.transfer.part_size)?;
            files += 1;
            bytes += parts.size;
            plan::dry_run_line(&shown, &job.name, &mime_type, &parts)
        });
        match line {
            Ok(line) => {
                output.dry_run_line(&line).map_err(Error::Output)?;
                tally.count_planned();
            }
            Err(error) => {
                reporter.event(&Event::Error { path: Some(&shown), error: &error });
                tally.count_failure(&error);
            }
        }
    }
    reporter.event(&Event::Planned { files, bytes, folders });
    Ok(tally.exit_code())
}

fn upload(settings: &Settings, output: &Output, reporter: &Arc<dyn Reporter>) -> Result<u8, Error> {
    let limits = Limits::of_process()?;
    if limits != Limits::USUAL {
        let Limits { files, parts, calls } = limits;
        let message = &format!(
            "the system allows few open files: {files} files, {parts} parts and {calls} calls at the same time"
        );
        reporter.event(&Event::Verbose { message });
    }
    if settings.transfer.concurrency.is_some_and(|asked| asked > limits.parts) {
        let message = &format!(
            "only {} parts are sent at the same time: the system does not allow more open files (ulimit -n)",
            limits.parts
        );
        reporter.event(&Event::Warning { path: None, message });
    }
    let runtime = limits::runtime()?;
    let code = runtime.block_on(transfer(settings, limits, output, reporter));
    // A read from a disk that does not answer cannot be stopped: it is not waited for.
    runtime.shutdown_timeout(LAST_WORDS);
    code
}

async fn transfer(
    settings: &Settings,
    limits: Limits,
    output: &Output,
    reporter: &Arc<dyn Reporter>,
) -> Result<u8, Error> {
    let begun = Instant::now();
    let stopper = Stopper::default();
    let face = Arc::clone(reporter);
    signals::listen(stopper.clone(), Arc::clone(reporter), move |signal| {
        face.clear();
        leave(signal.exit_code());
    });
    let state_dir = settings.state_dir.clone();
    let peers = Peers::join(state_dir, run_key(settings)?, &stopper, &**reporter).await?;
    // Until the last result is told.
    let peers = Arc::new(peers);
    let options = options(settings, limits, &peers, reporter)?;
    if output.wants_pages() {
        // First, so that nothing is uploaded whose address could not be printed.
        output.set_pages(tokio::select! {
            error = stopper.stopped() => return Err(error),
            pages = pages(&options.drive, &**reporter) => pages?,
        });
    }
    let mut outcomes = engine::run(options, plan::steps(settings.selection.clone()), stopper.clone());

    let mut tally = Summary::default();
    let mut unprinted = None;
    while let Some((file, outcome, told)) = outcomes.recv().await {
        tally.add(&outcome);
        // First what came of it for people, then the result: on a terminal the result stands last.
        reporter.event(&Event::FileDone { file, outcome: &outcome });
        let mut printed = Ok(());
        reporter.suspend(&mut || printed = output.result(&outcome));
        match printed {
            Ok(()) if unprinted.is_none() => told.commit().await,
            // After a write that failed nothing is written any more: that is not told either.
            Ok(()) => {}
            Err(error) => drop(unprinted.get_or_insert(Error::Output(error))),
        }
    }
    tally.elapsed = begun.elapsed();
    tally.signal = stopper.signal().filter(|_| tally.interrupted > 0 || stopper.cut_short());
    reporter.event(&Event::Finished { tally: &tally });
    match unprinted {
        Some(error) if tally.signal.is_none() => Err(error),
        _ => Ok(tally.exit_code()),
    }
}

/// Where the workspace's pages are.
async fn pages(drive: &Drive, reporter: &dyn Reporter) -> Result<Pages, Error> {
    let slug = drive.slug(&engine::GlobalObserver(reporter)).await?;
    Pages::of_workspace(&slug).ok_or_else(|| {
        let detail = "a workspace without a name in URLs".to_owned();
        Error::Call { call: Call::Workspace, failure: Failure::Malformed { detail }, tries: 1 }
    })
}

/// What makes this command the same as another.
fn run_key(settings: &Settings) -> Result<RunKey, Error> {
    let (account, selection) = (&settings.account, &settings.selection);
    Ok(RunKey {
        api: account.api_url.clone(),
        account: journal::account(account.token.as_ref().ok_or(Error::NoToken)?),
        parent: selection.destination.parent.clone(),
        name: selection.destination.name.clone(),
        paths: selection.paths.iter().map(RunKey::path).collect(),
        recursive: selection.recursive,
        follow_symlinks: selection.follow_symlinks,
        filters: selection.filters.typed().map(|(glob, includes)| (glob.to_owned(), includes)).collect(),
        if_exists: settings.if_exists,
    })
}

/// The settings as the engine wants them.
fn options(
    settings: &Settings,
    limits: Limits,
    peers: &Arc<Peers>,
    reporter: &Arc<dyn Reporter>,
) -> Result<engine::Options, Error> {
    let account = &settings.account;
    let transfer = &settings.transfer;
    let token = account.token.clone().ok_or(Error::NoToken)?;
    let policy = RetryPolicy { retry_for: transfer.retry_for, max_retries: transfer.max_retries };
    let cacert = account.cacert.clone();
    let told = Arc::clone(reporter);
    let trust: Trust = Box::new(move || tls::config(cacert.as_deref(), &*told));
    let dialer = Arc::new(Connector::new(account.proxies.clone(), transfer.connect_timeout, trust));
    if account.cacert.is_some() {
        // A file that cannot be read is an error, whether it will be needed or not.
        dialer.tls()?;
    }
    let drive = Drive::new(
        drive::Options {
            url: account.api_url.clone(),
            token: token.clone(),
            dialer: Arc::clone(&dialer),
            policy,
            calls: limits.calls,
        },
        Arc::clone(reporter),
    )?;
    Ok(engine::Options {
        drive,
        storage: Storage::new(transfer, dialer, Redactor::new(&token), Arc::clone(reporter)),
        journals: journals(settings, &**reporter),
        resume: transfer.resume,
        state_dir: settings.state_dir.clone(),
        peers: Arc::clone(peers),
        api: account.api_url.clone(),
        account: journal::account(&token),
        policy,
        part_size: transfer.part_size,
        concurrency: transfer.concurrency,
        limits,
        limit_rate: transfer.limit_rate,
        if_exists: settings.if_exists,
        rules: Rules { allow_http: account.allow_http },
        reporter: Arc::clone(reporter),
    })
}

fn journals(settings: &Settings, reporter: &dyn Reporter) -> Option<JournalStore> {
    let Some(folder) = settings.state_dir.clone() else {
        if settings.transfer.resume {
            let message = "no record for resuming can be kept: the home directory is unknown (set HOME); an interruption \
                           will cost the whole upload";
            reporter.event(&Event::Warning { path: None, message });
        }
        return None;
    };
    let journals = JournalStore::new(folder);
    let cleaned = journals.clone();
    // Beside the work: nobody waits for old records. Without a thread for it, the next run does it.
    let _ = std::thread::Builder::new().spawn(move || cleaned.clean(SystemTime::now()));
    Some(journals)
}

/// Ends the process at once: the second Ctrl-C.
#[expect(clippy::exit, reason = "whoever asks twice wants no orderly end")]
pub(crate) fn leave(code: u8) {
    std::process::exit(i32::from(code));
}
