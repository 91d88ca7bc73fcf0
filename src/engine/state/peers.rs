//! Other runs on this machine. A run joins them by taking its command's lock and opening the log of what they create.
//! Without a state directory, or where its file system has no locks, runs do not see each other.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::activity_log::ActivityLog;
use super::lock_file::{LockFile, Mode};
use crate::checksum::hex;
use crate::disk::on_disk;
use crate::engine::stopper::Stopper;
use crate::error::Error;
use crate::event::{Event, Reporter};
use crate::options::IfExists;

/// How often to try a lock held by others. No system signals a released lock without a blocked thread.
pub const RETRY_LOCK: Duration = Duration::from_millis(100);
/// Attempts to lock a command: one second, because the previous run may be about to exit.
pub const SHORT_WAIT: u32 = 10;

/// What makes two commands the same. All other options may differ.
#[derive(Debug, Clone, Serialize)]
pub struct RunKey {
    /// The API's URL.
    pub api: String,
    /// A hash of the token.
    pub account: String,
    /// The target folder; `None` is the root.
    pub parent: Option<String>,
    /// `--to`.
    pub to: Vec<String>,
    /// `--name`.
    pub name: Option<String>,
    /// Absolute, in their order; `-` is standard input.
    pub paths: Vec<String>,
    /// The file of `--files-from`, absolute; `-` is standard input.
    pub list: Option<String>,
    /// The working directory, if there is a list: its paths may be relative.
    pub directory: Option<String>,
    /// `-r`.
    pub recursive: bool,
    /// `-R`.
    pub relative: bool,
    /// `-L`.
    pub follow_symlinks: bool,
    /// The globs of `--include` and `--exclude` in their order, each with whether it is an include.
    pub filters: Vec<(String, bool)>,
    /// `--if-exists`.
    pub if_exists: IfExists,
}

impl RunKey {
    /// A path for the key: absolute, and in hexadecimal, so that different names stay different. A trailing `/` counts.
    pub fn path(path: &OsStr) -> String {
        if path == "-" {
            return "-".to_owned();
        }
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.into());
        hex(absolute.as_os_str().as_encoded_bytes())
    }

    /// A name for runs of this command, which reveals nothing about it.
    pub(super) fn id(&self) -> String {
        digest(self)[..32].to_owned()
    }
}

/// A name that reveals nothing.
pub(super) fn digest(value: &impl Serialize) -> String {
    // These types can always be serialized.
    hex(&Sha256::digest(serde_json::to_vec(value).unwrap_or_default()))
}

/// This run among the others; `None` if they do not see each other.
#[derive(Default)]
pub struct Peers(pub(super) Option<Joined>);

pub(super) struct Joined {
    pub(super) folder: PathBuf,
    pub(super) api: String,
    pub(super) account: String,
    pub(super) log: ActivityLog,
    /// Held by one run of a command at a time.
    _run_lock: LockFile,
    warned: AtomicBool,
    reporter: Arc<dyn Reporter>,
    /// The user has been told that runs do not see each other.
    warned_unseen: AtomicBool,
}

impl Peers {
    /// Joins the runs that keep their locks in `folder`, and holds the lock of this command until it is dropped. It is
    /// a lock and not a record, so `--no-resume` and standard input do not matter.
    ///
    /// # Errors
    /// [`Error::SameCommand`], and [`Error::Interrupted`] through the stopper.
    pub async fn join(
        folder: Option<PathBuf>,
        key: &RunKey,
        stopper: &Stopper,
        reporter: &Arc<dyn Reporter>,
    ) -> Result<Self, Error> {
        let Some(folder) = folder else { return Ok(Self::default()) };
        let mut joining = Joining::new(folder, key.clone());
        let mut tries = 0..SHORT_WAIT;
        loop {
            let joined;
            (joining, joined) = on_disk(move || {
                let joined = joining.attempt();
                (joining, joined)
            })
            .await?;
            match joined {
                Ok(true) => return Ok(Self(joining.joined(reporter))),
                Ok(false) if tries.next().is_some() => {}
                Ok(false) => return Err(Error::SameCommand),
                Err(error) => {
                    report_unseen(&**reporter, &error);
                    return Ok(Self::default());
                }
            }
            tokio::select! {
                error = stopper.stopped() => return Err(error),
                () = tokio::time::sleep(RETRY_LOCK) => {}
            }
        }
    }
}

/// A run that is about to join the others.
struct Joining {
    folder: PathBuf,
    key: RunKey,
    log: Option<ActivityLog>,
    run_lock: Option<LockFile>,
    /// An earlier run of this command was active when this one started.
    waited: bool,
}

impl Joining {
    fn new(folder: PathBuf, key: RunKey) -> Self {
        Self { folder, key, log: None, run_lock: None, waited: false }
    }

    /// Acquires the locks that it can get. `false` if some are missing.
    fn attempt(&mut self) -> io::Result<bool> {
        let id = self.key.id();
        let path_of = |id: &str| self.folder.join(format!("{id}.run"));
        // The log first: it shows what the previous run creates meanwhile.
        let log = match &self.log {
            Some(log) => log,
            None => {
                // Nobody can hold the lock of a run that has ended. Testing it takes the lock for a moment; a run that
                // starts at that moment waits for it.
                let is_alive = |id: &str| {
                    let path = path_of(id);
                    path.exists() && matches!(LockFile::try_acquire(&path, Mode::Shared), Ok(None))
                };
                let name = format!("{}.activity", &digest(&(&self.key.api, &self.key.account))[..40]);
                match ActivityLog::open(&self.folder.join(name), &id, is_alive)? {
                    Some(log) => self.log.insert(log),
                    None => return Ok(false),
                }
            }
        };
        // A run that still finishes files is not about to exit. Doing the same after it would do it twice.
        if self.waited && log.has_own()? {
            return Ok(false);
        }
        self.run_lock = LockFile::try_acquire(&path_of(&id), Mode::Exclusive)?;
        let has_lock = self.run_lock.is_some();
        // What it created just before it released the lock.
        let is_free = has_lock && !(self.waited && log.has_own()?);
        self.waited |= !has_lock;
        if !is_free {
            self.run_lock = None;
        }
        Ok(is_free)
    }

    fn joined(self, reporter: &Arc<dyn Reporter>) -> Option<Joined> {
        let Self { folder, key: RunKey { api, account, .. }, log, run_lock, .. } = self;
        let (warned, warned_unseen) = (AtomicBool::new(false), AtomicBool::new(false));
        let reporter = Arc::clone(reporter);
        Some(Joined {
            folder,
            api,
            account,
            log: log?,
            _run_lock: run_lock?,
            warned,
            reporter,
            warned_unseen,
        })
    }
}

impl Joined {
    /// Whether to report a wait: the first one.
    pub(super) fn warns(&self) -> bool {
        !self.warned.swap(true, Ordering::Relaxed)
    }

    /// Reports, once, that other runs do not see what this one does.
    pub(super) fn warn_unseen(&self, error: &io::Error) {
        if !self.warned_unseen.swap(true, Ordering::Relaxed) {
            report_unseen(&*self.reporter, error);
        }
    }
}

/// A full disk is worth a warning. A state directory that is read-only, or has no locks, is one that nobody relies on.
fn report_unseen(reporter: &dyn Reporter, error: &io::Error) {
    let message = &format!(
        "runs on this machine cannot see each other ({error}); what two of them upload at once may be there twice"
    );
    reporter.event(&match is_full(error) {
        true => Event::Warning { path: None, message },
        false => Event::Verbose { message },
    });
}

/// Whether the disk, a quota or a limit has no room.
pub(super) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
