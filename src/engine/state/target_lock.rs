//! Locks on names in the drive's folders: other runs on this machine do not create the same item or folder meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::activity_log::Position;
use super::lock_file::{LockFile, Mode};
use super::peers::{Joined, Peers, RETRY_LOCK, SHORT_WAIT, digest, is_full};
use crate::disk::on_disk;
use crate::error::{Error, Kind};
use crate::event::{Event, Reporter};

/// A wait for another run that creates a folder is worth a warning after this time.
const LONG_WAIT: Duration = Duration::from_secs(3);

/// A name in a folder of the drive. Equal for all runs on this machine.
#[derive(Debug, Clone)]
pub struct Target {
    digest: String,
    number: u64,
}

/// The lock of a target, held until it is dropped. It then tells other runs whether an item may have been created.
pub struct TargetLock {
    peers: Arc<Peers>,
    target: Target,
    /// `None` without a state directory, or if the disk accepts no more files.
    _lock: Option<LockFile>,
    /// Another run held it a moment ago, or was killed while it held it.
    contended: bool,
    /// What others had created when it was locked.
    pub seen: Snapshot,
    result: TargetResult,
}

/// The state of a locked target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TargetResult {
    Nothing,
    /// Unknown, or not known yet.
    Perhaps,
    /// An item was created from this file.
    Item(u64),
}

/// What was known about other runs' items at some moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Snapshot {
    position: Position,
    at: Option<Instant>,
}

impl Peers {
    /// The target for a name in a folder.
    pub fn target(&self, kind: Kind, parent: Option<&str>, name: &str) -> Target {
        let (api, account) = self.0.as_ref().map_or(("", ""), |joined| (&joined.api, &joined.account));
        let digest = digest(&(kind.to_string(), api, account, parent, name));
        let number = u64::from_str_radix(&digest[..16], 16).unwrap_or_default();
        Target { digest, number }
    }

    /// Locks a target, unless another run has locked it. Blocks on the disk. `tries`: how often it was not locked before.
    pub fn try_lock_target(self: &Arc<Self>, target: &Target, mode: Mode, tries: u32) -> Option<TargetLock> {
        let lock = match &self.0 {
            Some(joined) => {
                let path = joined.folder.join(format!("{}.lock", &target.digest[..40]));
                match LockFile::try_acquire(&path, mode) {
                    Ok(lock) => Some(lock?),
                    // The next upload that finishes removes its files, which makes room for this one.
                    Err(error) if is_full(&error) && tries + 1 < SHORT_WAIT => return None,
                    // A disk that accepts no more files is no reason to fail.
                    Err(error) => {
                        joined.warn_unseen(&error);
                        None
                    }
                }
            }
            None => None,
        };
        Some(TargetLock {
            peers: Arc::clone(self),
            target: target.clone(),
            contended: tries > 0 || lock.as_ref().is_some_and(LockFile::was_found),
            _lock: lock,
            seen: self.snapshot(),
            result: TargetResult::Nothing,
        })
    }

    /// Locks a folder that is to be created, and waits for other runs that do the same.
    pub async fn lock_folder(
        self: &Arc<Self>,
        target: &Target,
        shown: &str,
        reporter: &dyn Reporter,
    ) -> Result<TargetLock, Error> {
        let begun = Instant::now();
        let mut tries = 0;
        loop {
            let (peers, wanted) = (Arc::clone(self), target.clone());
            let lock = on_disk(move || peers.try_lock_target(&wanted, Mode::Exclusive, tries)).await?;
            if let Some(lock) = lock {
                return Ok(lock);
            }
            tries += 1;
            if begun.elapsed() > LONG_WAIT && self.0.as_ref().is_some_and(Joined::warns) {
                let message = "another copera-upload is creating this folder: waiting for it";
                reporter.event(&Event::Warning { path: Some(shown), message });
            }
            tokio::time::sleep(RETRY_LOCK).await;
        }
    }

    /// What other runs have created so far. Blocks on the disk.
    pub fn snapshot(&self) -> Snapshot {
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
    pub fn is_stale(&self, seen: Snapshot) -> bool {
        self.contended && seen.at < self.seen.at || self.peers.has_changed(&self.target, seen)
    }

    /// Whether another active run has sent this file to this target.
    pub fn was_sent(&self, source: u64) -> bool {
        let joined = self.peers.0.as_ref();
        joined.is_some_and(|joined| joined.log.has_sent(self.target.number, source))
    }

    /// An item may be created from now on.
    pub fn begin(&mut self) {
        self.result = TargetResult::Perhaps;
    }

    /// An item was created, from this file if there is one.
    pub fn end(&mut self, source: Option<u64>) {
        self.result = TargetResult::Item(source.unwrap_or(0));
    }
}

impl Drop for TargetLock {
    fn drop(&mut self) {
        let source = match self.result {
            TargetResult::Nothing => return,
            TargetResult::Perhaps => None,
            TargetResult::Item(source) => Some(source),
        };
        // Before the lock is released.
        if let Some(joined) = &self.peers.0
            && let Err(error) = joined.log.note(self.target.number, source)
        {
            joined.warn_unseen(&error);
        }
    }
}

/// A number for the state of a file. Another canonical path or a change gives another number.
pub fn source_number(path: &str, identity: &crate::platform::Identity) -> u64 {
    let digest = digest(&(path, identity));
    u64::from_str_radix(&digest[..16], 16).unwrap_or_default()
}
