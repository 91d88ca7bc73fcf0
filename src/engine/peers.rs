//! Other runs on this machine: what they are uploading is left alone or waited for, and what they have created is seen.
//!
//! This is based on files in the state directory: a lock for this command, held for the whole run; a lock for each
//! folder that is being created and each file that is being uploaded, held for as long as that takes; and a log of what
//! was created (`ActivityLog`). Without a state directory, or where its file system has no locks, runs do not see
//! each other.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::activity::{ActivityLog, Position};
use super::lock_file::{LockFile, Mode};
use super::stopper::Stopper;
use crate::checksum::hex;
use crate::disk::on_disk;
use crate::error::{Error, Kind};
use crate::event::{Event, Reporter};
use crate::options::IfExists;

/// How often to try a lock held by others. No system signals a released lock without a blocked thread.
pub(super) const RETRY_LOCK: Duration = Duration::from_millis(100);
/// Attempts to lock a command: one second, because the previous run may be about to exit.
pub(super) const SHORT_WAIT: u32 = 10;
/// A wait for a folder from another run that is worth a warning.
const LONG_WAIT: Duration = Duration::from_secs(3);

/// What makes two commands the same. All other options may differ.
#[derive(Debug, Serialize)]
pub struct RunKey {
    /// The API's URL.
    pub api: String,
    /// A hash of the token.
    pub account: String,
    /// The target folder; `None` is the root.
    pub parent: Option<String>,
    /// `--name`.
    pub name: Option<String>,
    /// Absolute, in their order; `-` is standard input.
    pub paths: Vec<String>,
    /// `-r`.
    pub recursive: bool,
    /// `-L`.
    pub follow_symlinks: bool,
    /// The globs of `--include` and `--exclude` in their order, each with whether it is an include.
    pub filters: Vec<(String, bool)>,
    /// `--if-exists`.
    pub if_exists: IfExists,
}

impl RunKey {
    /// A path for the key: absolute, and in hexadecimal, so that different names stay different. A trailing `/` counts.
    pub fn path(path: &OsString) -> String {
        if path == "-" {
            return "-".to_owned();
        }
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.into());
        hex(absolute.as_os_str().as_encoded_bytes())
    }

    /// A name for runs of this command, which reveals nothing about it.
    fn id(&self) -> String {
        digest(self)[..32].to_owned()
    }
}

fn digest(value: &impl Serialize) -> String {
    // These types can always be serialized.
    hex(&Sha256::digest(serde_json::to_vec(value).unwrap_or_default()))
}

/// This run among the others.
#[derive(Debug, Default)]
pub struct Peers(Option<Joined>);

#[derive(Debug)]
struct Joined {
    folder: PathBuf,
    api: String,
    account: String,
    log: ActivityLog,
    /// Held by one run of a command at a time.
    _run: LockFile,
    warned: AtomicBool,
}

/// A name in a folder of the drive. Equal for all runs on this machine.
#[derive(Debug, Clone)]
pub(super) struct Target {
    digest: String,
    number: u64,
}

/// The lock of a target, held until it is dropped. Other runs learn then whether an item may have been created.
#[derive(Debug)]
pub(super) struct TargetLock {
    peers: Arc<Peers>,
    target: Target,
    lock: Option<LockFile>,
    /// Another run held it a moment ago, or was killed while it held it.
    contended: bool,
    /// What others had created when it was locked.
    pub(super) seen: Snapshot,
    result: Made,
}

/// The state of a locked target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    Nothing,
    /// Unknown, or not known yet.
    Perhaps,
    /// An item was created from this file.
    Item(u64),
}

/// What was known about other runs' items at some moment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Snapshot {
    position: Position,
    at: Option<Instant>,
}

impl Peers {
    /// Joins the runs that keep their locks in `folder`, and holds the lock of this command until it is dropped. It is
    /// a lock and not a record, so `--no-resume` and standard input do not matter.
    /// # Errors
    /// [`Error::SameCommand`], and [`Error::Interrupted`] through the stopper.
    pub async fn join(
        folder: Option<PathBuf>,
        key: RunKey,
        stopper: &Stopper,
        reporter: &dyn Reporter,
    ) -> Result<Self, Error> {
        let Some(folder) = folder else { return Ok(Self::default()) };
        let mut joining = Joining::new(folder, key);
        let mut tries = 0..SHORT_WAIT;
        loop {
            let attempt;
            (joining, attempt) = on_disk(move || {
                let attempt = joining.attempt();
                (joining, attempt)
            })
            .await?;
            match attempt {
                Ok(true) => return Ok(Self(joining.joined())),
                Ok(false) if tries.next().is_some() => {}
                Ok(false) => return Err(Error::SameCommand),
                Err(error) => {
                    let message = format!("other runs on this machine are not seen: {error}");
                    reporter.event(&Event::Verbose { message: &message });
                    return Ok(Self::default());
                }
            }
            tokio::select! {
                error = stopper.stopped() => return Err(error),
                () = tokio::time::sleep(RETRY_LOCK) => {}
            }
        }
    }

    /// The target for a name in a folder.
    pub(super) fn target(&self, kind: Kind, parent: Option<&str>, name: &str) -> Target {
        let (api, account) = self.0.as_ref().map_or(("", ""), |joined| (&joined.api, &joined.account));
        let digest = digest(&(kind.to_string(), api, account, parent, name));
        let number = u64::from_str_radix(&digest[..16], 16).unwrap_or_default();
        Target { digest, number }
    }

    /// Locks a target, unless another run has locked it. Blocks on the disk. `waited`: another run held it before.
    pub(super) fn try_lock_target(
        self: &Arc<Self>,
        target: &Target,
        mode: Mode,
        waited: bool,
    ) -> Option<TargetLock> {
        let lock = match &self.0 {
            Some(joined) => {
                let path = joined.folder.join(format!("{}.lock", &target.digest[..40]));
                match LockFile::try_acquire(&path, mode) {
                    Ok(lock) => Some(lock?),
                    // A disk that accepts no more files is no reason to fail.
                    Err(_) => None,
                }
            }
            None => None,
        };
        Some(TargetLock {
            peers: Arc::clone(self),
            target: target.clone(),
            contended: waited || lock.as_ref().is_some_and(LockFile::was_found),
            lock,
            seen: self.look(),
            result: Made::Nothing,
        })
    }

    /// Locks a folder that is to be created, and waits for other runs that do the same.
    pub(super) async fn lock_folder(
        self: &Arc<Self>,
        target: &Target,
        shown: &str,
        reporter: &dyn Reporter,
    ) -> Result<TargetLock, Error> {
        let begun = Instant::now();
        let mut waited = false;
        loop {
            let (peers, wanted) = (Arc::clone(self), target.clone());
            let taken = on_disk(move || peers.try_lock_target(&wanted, Mode::Exclusive, waited)).await?;
            if let Some(taken) = taken {
                return Ok(taken);
            }
            waited = true;
            if begun.elapsed() > LONG_WAIT && self.0.as_ref().is_some_and(Joined::warns) {
                let message = "another copera-upload is creating this folder: waiting for it";
                reporter.event(&Event::Warning { path: Some(shown), message });
            }
            tokio::time::sleep(RETRY_LOCK).await;
        }
    }

    /// What other runs have created so far. Blocks on the disk.
    pub(super) fn look(&self) -> Snapshot {
        let position = self.0.as_ref().and_then(|joined| joined.log.read_on().ok()).unwrap_or_default();
        Snapshot { position, at: Some(Instant::now()) }
    }

    fn has_changed(&self, target: &Target, since: Snapshot) -> bool {
        self.0.as_ref().is_some_and(|joined| joined.log.has_changed(target.number, since.position))
    }
}

impl TargetLock {
    /// Whether a snapshot may have become outdated before the target was locked. While it is locked, only this run
    /// changes it.
    pub(super) fn is_stale(&self, seen: Snapshot) -> bool {
        self.contended && seen.at < self.seen.at || self.peers.has_changed(&self.target, seen)
    }

    /// Whether another active run has sent this file to this target.
    pub(super) fn was_sent(&self, source: u64) -> bool {
        let joined = self.peers.0.as_ref();
        joined.is_some_and(|joined| joined.log.has_sent(self.target.number, source))
    }

    /// An item may be created from now on.
    pub(super) fn begin(&mut self) {
        self.result = Made::Perhaps;
    }

    /// An item was created, from this file if there is one.
    pub(super) fn end(&mut self, source: Option<u64>) {
        self.result = Made::Item(source.unwrap_or(0));
    }
}

impl Drop for TargetLock {
    fn drop(&mut self) {
        let source = match self.result {
            Made::Nothing => return,
            Made::Perhaps => None,
            Made::Item(source) => Some(source),
        };
        // Before the lock is released. On a full disk others may not see it; the lock's file left behind tells that
        // something is missing.
        let Some(joined) = &self.peers.0 else { return };
        if joined.log.note(self.target.number, source).is_err()
            && let Some(lock) = &mut self.lock
        {
            joined.log.remove_at_end(lock.leave_behind());
        }
    }
}

/// A number for the state of a file. Another path or a change gives another number.
pub(super) fn source_number(path: &Path, identity: &crate::platform::Identity) -> u64 {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let digest = digest(&(hex(absolute.as_os_str().as_encoded_bytes()), identity));
    u64::from_str_radix(&digest[..16], 16).unwrap_or_default()
}

/// A run that is about to join the others.
struct Joining {
    folder: PathBuf,
    key: RunKey,
    log: Option<ActivityLog>,
    run: Option<LockFile>,
    /// An earlier run of this command was active when this one started.
    waited: bool,
}

impl Joining {
    fn new(folder: PathBuf, key: RunKey) -> Self {
        Self { folder, key, log: None, run: None, waited: false }
    }

    /// Acquires the locks that it can get. `false` if some are missing.
    fn attempt(&mut self) -> io::Result<bool> {
        let id = self.key.id();
        let lock_of = |id: &str| self.folder.join(format!("{id}.run"));
        // The log first: it shows what the previous run creates meanwhile.
        let log = match &self.log {
            Some(log) => log,
            None => {
                // Nobody can hold the lock of a run that has ended. Testing it takes the lock for a moment; a run that
                // starts at that moment waits for it.
                let is_alive = |id: &str| {
                    let lock = lock_of(id);
                    lock.exists() && matches!(LockFile::try_acquire(&lock, Mode::Shared), Ok(None))
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
        self.run = LockFile::try_acquire(&lock_of(&id), Mode::Exclusive)?;
        let has_lock = self.run.is_some();
        // What it created just before it released the lock.
        let is_free = has_lock && !(self.waited && log.has_own()?);
        self.waited |= !has_lock;
        if !is_free {
            self.run = None;
        }
        Ok(is_free)
    }

    fn joined(self) -> Option<Joined> {
        let Self { folder, key: RunKey { api, account, .. }, log, run, .. } = self;
        Some(Joined { folder, api, account, log: log?, _run: run?, warned: AtomicBool::new(false) })
    }
}

impl Joined {
    /// Whether to report a wait: the first one.
    fn warns(&self) -> bool {
        !self.warned.swap(true, Ordering::Relaxed)
    }
}
