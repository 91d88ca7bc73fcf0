//! Locks on names in folders of the drive, so that two runs on this machine do not create the same item or folder.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::lock_file::{LockFile, Mode};
use super::peers::{Joined, MAX_SHORT_TRIES, Peers, RETRY_LOCK, digest, is_disk_full};
use crate::disk::on_disk;
use crate::error::{Error, Kind};
use crate::event::{Event, Reporter};

/// A wait for another run that creates a folder is reported after this time.
const LONG_WAIT: Duration = Duration::from_secs(3);

/// A hash of a name in a folder of the drive. Equal for all runs on this machine.
#[derive(Debug, Clone, Copy)]
pub struct Target(u64);

/// The lock on a target, held until it is dropped. Dropping it logs whether an item may have been created.
pub struct TargetLock {
    peers: Arc<Peers>,
    target: Target,
    /// `None` without a state directory, or if the disk accepts no more files.
    _lock: Option<LockFile>,
    /// Another run held the lock a moment ago, or was killed while it held it.
    contended: bool,
    /// Taken when the target was locked.
    pub snapshot: Snapshot,
    result: TargetResult,
}

/// The state of a locked target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TargetResult {
    Nothing,
    /// An item may have been created.
    Perhaps,
    /// An item was created from this file.
    Item(u64),
}

/// How much of the activity log had been read at some moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Snapshot {
    /// The number of the last read.
    reads: u64,
    at: Option<Instant>,
}

impl Peers {
    /// The target for a name in a folder.
    pub fn target(&self, kind: Kind, parent: Option<&str>, name: &str) -> Target {
        let (api, account) = self.0.as_ref().map_or(("", ""), |joined| (&joined.api, &joined.account));
        Target(short_digest(&(kind.to_string(), api, account, parent, name)))
    }

    /// Locks a target, unless another run has locked it. Blocks on the disk. `tries`: how often it was not locked before.
    pub fn try_lock_target(self: &Arc<Self>, target: Target, mode: Mode, tries: u32) -> Option<TargetLock> {
        let lock = match &self.0 {
            Some(joined) => {
                let path = joined.folder.join(format!("{:016x}.lock", target.0));
                match LockFile::try_acquire(&path, mode) {
                    Ok(lock) => Some(lock?),
                    // When another upload ends, it removes files, which makes room for this one.
                    Err(error) if is_disk_full(&error) && tries + 1 < MAX_SHORT_TRIES => return None,
                    // The upload continues without the lock.
                    Err(error) => {
                        joined.warn_uncoordinated(&error);
                        None
                    }
                }
            }
            None => None,
        };
        Some(TargetLock {
            peers: Arc::clone(self),
            target,
            contended: tries > 0 || lock.as_ref().is_some_and(|lock| lock.existed),
            _lock: lock,
            snapshot: self.snapshot(),
            result: TargetResult::Nothing,
        })
    }

    /// Locks the name of a folder that is to be created. Waits for other runs that hold the lock.
    pub async fn lock_folder(
        self: &Arc<Self>,
        target: Target,
        shown: &str,
        reporter: &dyn Reporter,
    ) -> Result<TargetLock, Error> {
        let begun = Instant::now();
        let mut tries = 0;
        loop {
            let peers = Arc::clone(self);
            let locked = on_disk(move || peers.try_lock_target(target, Mode::Exclusive, tries));
            if let Some(lock) = locked.await? {
                return Ok(lock);
            }
            tries += 1;
            if begun.elapsed() > LONG_WAIT && self.0.as_ref().is_some_and(Joined::warn_once) {
                let message = "another copera-upload is creating this folder: waiting for it";
                reporter.event(&Event::Warning { path: Some(shown), message });
            }
            tokio::time::sleep(RETRY_LOCK).await;
        }
    }

    /// Reads what other runs have created so far. Blocks on the disk.
    pub fn snapshot(&self) -> Snapshot {
        let reads = self.0.as_ref().and_then(|joined| joined.log.read_new().ok()).unwrap_or_default();
        Snapshot { reads, at: Some(Instant::now()) }
    }
}

impl TargetLock {
    /// Whether other runs may have created this target after the snapshot and before it was locked.
    pub fn is_stale(&self, snapshot: Snapshot) -> bool {
        let joined = self.peers.0.as_ref();
        self.contended && snapshot.at < self.snapshot.at
            || joined.is_some_and(|joined| joined.log.has_changed(self.target.0, snapshot.reads))
    }

    /// Whether another active run has sent this file to this target.
    pub fn was_sent_by_other(&self, source: u64) -> bool {
        let joined = self.peers.0.as_ref();
        joined.is_some_and(|joined| joined.log.has_sent(self.target.0, source))
    }

    /// Notes that an item may be created from now on.
    pub fn note_may_create(&mut self) {
        self.result = TargetResult::Perhaps;
    }

    /// Notes that an item was created, from this file if there is one.
    pub fn note_created(&mut self, source: Option<u64>) {
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
            && let Err(error) = joined.log.append(self.target.0, source)
        {
            joined.warn_uncoordinated(&error);
        }
    }
}

/// An ID of a file's state. It changes with the canonical path and with the content.
pub fn source_id(path: &str, identity: &crate::platform::Identity) -> u64 {
    short_digest(&(path, identity))
}

fn short_digest(value: &impl Serialize) -> u64 {
    u64::from_str_radix(&digest(value)[..16], 16).unwrap_or_default()
}
