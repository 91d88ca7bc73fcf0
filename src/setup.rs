//! Builds the engine's options from the settings, and opens the records of earlier runs.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::SystemTime;

use crate::drive::{self, Drive};
use crate::engine;
use crate::engine::state::{self, JournalStore, Peers, RunKey, RunRecord};
use crate::error::Error;
use crate::event::{Event, Reporter};
use crate::limits::Limits;
use crate::secret::Redactor;
use crate::settings::Settings;
use crate::storage::Storage;
use crate::tls;

/// Opens the record of the files that earlier runs of the command have finished. A command for a single file has none,
/// because the upload has its own record.
pub fn open_record(settings: &Settings, key: &RunKey, reporter: &dyn Reporter) -> Option<Arc<RunRecord>> {
    let selection = &settings.selection;
    let several = selection.paths.len() > 1 || selection.recursive || settings.list.is_some();
    let folder = settings.state_dir.as_ref().filter(|_| several && settings.transfer.resume())?;
    let warn = |message: &str| reporter.event(&Event::Warning { path: None, message });
    match RunRecord::open(folder, key) {
        Ok(record) => {
            if record.damaged {
                warn(
                    "the record of finished files is damaged or from another version: some files may be uploaded again",
                );
            }
            Some(Arc::new(record))
        }
        Err(error) => {
            warn(&format!(
                "finished files cannot be recorded ({error}); after an interruption they are uploaded again"
            ));
            None
        }
    }
}

/// The key of the command, which is the same for all its runs.
pub fn run_key(settings: &Settings) -> Result<RunKey, Error> {
    let (account, selection) = (&settings.account, &settings.selection);
    Ok(RunKey {
        api: account.api_url.clone(),
        account: state::account(account.token.as_ref().ok_or(Error::NoToken)?),
        parent: selection.destination.parent.clone(),
        to: selection.destination.to.clone(),
        name: selection.destination.name.clone(),
        paths: selection.paths.iter().map(|path| RunKey::path(path)).collect(),
        list: settings.list.as_ref().map(|list| RunKey::path(list.file.as_os_str())),
        directory: settings.list.as_ref().map(|_| RunKey::path(OsStr::new("."))),
        recursive: selection.recursive,
        relative: selection.relative,
        follow_symlinks: selection.follow_symlinks,
        filters: selection.filters.typed().map(|(glob, includes)| (glob.to_owned(), includes)).collect(),
        if_exists: settings.if_exists,
    })
}

/// The engine's options, except for the record of finished files.
/// Fails with [`Error::NoToken`], or if the HTTP clients cannot be set up.
pub fn engine_options(
    settings: &Settings,
    limits: Limits,
    peers: &Arc<Peers>,
    reporter: &Arc<dyn Reporter>,
) -> Result<engine::Options, Error> {
    let account = &settings.account;
    let (transfer, destination) = (&settings.transfer, &settings.selection.destination);
    let token = account.token.clone().ok_or(Error::NoToken)?;
    let policy = transfer.retry_policy();
    let (proxies, timeout) = (account.proxies.clone(), transfer.connect_timeout());
    let connector = tls::connector(proxies, account.cacert.clone(), timeout, reporter)?;
    let drive = Drive::new(
        drive::Options {
            url: account.api_url.clone(),
            token: token.clone(),
            connector: Arc::clone(&connector),
            policy,
            calls: limits.calls,
        },
        Arc::clone(reporter),
    )?;
    Ok(engine::Options {
        drive: Arc::new(drive),
        storage: Storage::new(transfer, connector, Redactor::new(&token), Arc::clone(reporter)),
        journals: journals(settings, &**reporter),
        finished: None,
        resume: transfer.resume(),
        peers: Arc::clone(peers),
        api: account.api_url.clone(),
        account: state::account(&token),
        policy,
        part_size: transfer.part_size,
        concurrency: transfer.concurrency,
        limits,
        limit_rate: transfer.limit_rate,
        if_exists: settings.if_exists,
        verify: transfer.verify(),
        folder_given: destination.parent.is_some() || !destination.to.is_empty(),
        allow_http: account.allow_http,
        reporter: Arc::clone(reporter),
    })
}

/// Opens the store of upload records, and removes expired ones.
fn journals(settings: &Settings, reporter: &dyn Reporter) -> Option<JournalStore> {
    let Some(folder) = settings.state_dir.clone() else {
        if settings.transfer.resume() {
            let message = "no record for resuming can be kept: the home directory is unknown (set HOME); an interruption \
                           will cost the whole upload";
            reporter.event(&Event::Warning { path: None, message });
        }
        return None;
    };
    let journals = JournalStore::new(folder);
    let expired = journals.clone();
    // In the background, so that no upload waits for it. If no thread can be started, the next run does it.
    let _ = std::thread::Builder::new().spawn(move || expired.remove_expired(SystemTime::now()));
    Some(journals)
}
