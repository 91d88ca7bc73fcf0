//! Coordination with other runs on this machine. A run joins them: it locks its command and opens the log of what all runs
//! create. Without a state directory, or on a file system without locks, runs are not coordinated.

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
use crate::error::{Code, Error};
use crate::event::{Event, Reporter};
use crate::options::IfExists;

/// How often to try a lock that another run holds. Waiting for it would block a thread.
pub const RETRY_LOCK: Duration = Duration::from_millis(100);
/// Attempts at a lock during one second. The run that holds it may be about to exit.
pub const MAX_SHORT_TRIES: u32 = 10;

/// Identifies a command. Two runs with the same key are runs of the same command; all other options may differ.
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

    /// An ID of the command, which reveals nothing about it.
    pub(super) fn id(&self) -> String {
        digest(self)[..32].to_owned()
    }
}

/// A hash for file names, which reveals nothing.
pub(super) fn digest(value: &impl Serialize) -> String {
    // These types can always be serialized.
    hex(&Sha256::digest(serde_json::to_vec(value).unwrap_or_default()))
}

/// This run's view of the others; `None` if runs are not coordinated.
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
    /// The user has been told that runs are not coordinated.
    warned_uncoordinated: AtomicBool,
}

impl Peers {
    /// Joins the runs that keep their locks in `folder`, and holds the lock of this command until it is dropped. Applies
    /// with `--no-resume` and for standard input too.
    /// Fails if another run of the same command does not end, and with [`Error::Interrupted`] through the stopper.
    pub async fn join(
        folder: Option<PathBuf>,
        key: &RunKey,
        stopper: &Stopper,
        reporter: &Arc<dyn Reporter>,
    ) -> Result<Self, Error> {
        let Some(folder) = folder else { return Ok(Self::default()) };
        let mut joining = Joining::new(folder, key.clone());
        let mut tries = 0..MAX_SHORT_TRIES;
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
                Ok(false) => {
                    return Err(Error::with_hint(
                        Code::Conflict,
                        "another copera-upload is running the same command",
                        "wait for it to end; then run the command again if something is left to do",
                    ));
                }
                Err(error) => {
                    report_uncoordinated(&**reporter, &error);
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

    /// Tries to acquire the missing locks. `false` if there still are any.
    fn attempt(&mut self) -> io::Result<bool> {
        let id = self.key.id();
        let path_of = |id: &str| self.folder.join(format!("{id}.run"));
        // The log is opened first, because it shows what the previous run creates meanwhile.
        let log = match &self.log {
            Some(log) => log,
            None => {
                // A run that has ended holds no lock. The test takes the lock for a moment; a run that starts at that moment
                // waits for it.
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
        // The previous run still finishes files, so it is not about to exit. This run would upload them again.
        if self.waited && log.has_own_entries()? {
            return Ok(false);
        }
        self.run_lock = LockFile::try_acquire(&path_of(&id), Mode::Exclusive)?;
        let has_lock = self.run_lock.is_some();
        // The previous run may have created items just before it released the lock.
        let is_free = has_lock && !(self.waited && log.has_own_entries()?);
        self.waited |= !has_lock;
        if !is_free {
            self.run_lock = None;
        }
        Ok(is_free)
    }

    fn joined(self, reporter: &Arc<dyn Reporter>) -> Option<Joined> {
        let Self { folder, key: RunKey { api, account, .. }, log, run_lock, .. } = self;
        let (warned, warned_uncoordinated) = (AtomicBool::new(false), AtomicBool::new(false));
        let reporter = Arc::clone(reporter);
        Some(Joined {
            folder,
            api,
            account,
            log: log?,
            _run_lock: run_lock?,
            warned,
            reporter,
            warned_uncoordinated,
        })
    }
}

impl Joined {
    /// Whether to report a wait. Only the first one is reported.
    pub(super) fn warn_once(&self) -> bool {
        !self.warned.swap(true, Ordering::Relaxed)
    }

    /// Reports once that other runs do not see what this one creates.
    pub(super) fn warn_uncoordinated(&self, error: &io::Error) {
        if !self.warned_uncoordinated.swap(true, Ordering::Relaxed) {
            report_uncoordinated(&*self.reporter, error);
        }
    }
}

/// A full disk causes a warning. A state directory that is read-only or without locks does not, because it is permanent.
fn report_uncoordinated(reporter: &dyn Reporter, error: &io::Error) {
    let message = &format!(
        "runs on this machine cannot see each other ({error}); a file that two of them upload at once may be there twice"
    );
    reporter.event(&match is_disk_full(error) {
        true => Event::Warning { path: None, message },
        false => Event::Verbose { message },
    });
}

/// Whether the disk, a quota or a limit has no room.
pub(super) fn is_disk_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
