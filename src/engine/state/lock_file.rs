//! A lock between runs on this machine: a file that exists while the lock is held, or a record with content.
//!
//! The system releases the lock when the process ends, for whatever reason. A file that is left shows that its last holder
//! was killed.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::platform;

/// How many may hold a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Any number, while no one holds it exclusively.
    Shared,
    /// One.
    Exclusive,
}

/// A lock, held until it is dropped. On Windows only the holder can read a file that is locked exclusively.
#[derive(Debug)]
pub struct LockFile {
    pub(super) file: File,
    path: PathBuf,
    mode: Mode,
    /// The file existed: another run held the lock a moment ago, or was killed while it held it.
    pub existed: bool,
    removed: bool,
}

impl LockFile {
    /// Acquires the lock. `None` if another holder prevents it.
    /// Fails with errors of the file system; [`io::ErrorKind::Unsupported`] if it has no locks.
    pub fn try_acquire(path: &Path, mode: Mode) -> io::Result<Option<Self>> {
        Self::acquire(path, mode, false)
    }

    /// Opens a file that only one process at a time may use. `None` if another one does. On a file system without locks
    /// (some network file systems), it is opened nevertheless.
    /// Fails with errors of the file system. They name the file, but have no `raw_os_error`.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        Self::acquire(path, Mode::Exclusive, true)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    }

    fn acquire(path: &Path, mode: Mode, may_lack_locks: bool) -> io::Result<Option<Self>> {
        loop {
            let (file, existed) = match platform::open_or_create_private(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    platform::create_private_dir(path.parent().unwrap_or(Path::new("")))?;
                    platform::open_or_create_private(path)?
                }
                opened => opened?,
            };
            let locked = match mode {
                Mode::Shared => file.try_lock_shared(),
                Mode::Exclusive => file.try_lock(),
            };
            match locked {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error))
                    if may_lack_locks && error.kind() == io::ErrorKind::Unsupported => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // The previous holder may have removed the file just before it released the lock.
            match platform::is_replaced(&file, path) {
                Ok(false) => {
                    let path = path.to_owned();
                    return Ok(Some(Self { file, path, mode, existed, removed: false }));
                }
                Ok(true) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Marks the file for all processes that have it open. Unlike a write, this needs no disk space.
    pub fn mark(&self) {
        let _ = self.file.set_modified(UNIX_EPOCH);
    }

    /// Whether a holder has marked the file.
    pub fn is_marked(&self) -> bool {
        self.file.metadata().and_then(|metadata| metadata.modified()).is_ok_and(|at| at == UNIX_EPOCH)
    }

    /// Removes the file, whatever its content, and then releases the lock.
    pub fn remove(mut self) {
        self.removed = std::fs::remove_file(&self.path).is_ok();
    }

    /// Turns a shared lock into an exclusive one. If there are other holders, the lock is lost.
    pub fn try_upgrade(&mut self) -> bool {
        if self.mode == Mode::Exclusive {
            return true;
        }
        // On Windows not even the holder can lock a locked file, so it is unlocked first. Wine reports an error for an
        // unlock that succeeded, so only the next lock shows the result.
        let _ = self.file.unlock();
        if self.file.try_lock().is_err() {
            return false;
        }
        self.mode = Mode::Exclusive;
        // Another process may have held the lock in between and removed the file.
        platform::is_replaced(&self.file, &self.path).is_ok_and(|replaced| !replaced)
    }
}

impl Drop for LockFile {
    /// The last holder removes the file while no other process can acquire the lock, unless it has content.
    fn drop(&mut self) {
        if !self.removed
            && self.try_upgrade()
            && self.file.metadata().is_ok_and(|metadata| metadata.len() == 0)
        {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acquire(path: &Path, mode: Mode) -> Option<LockFile> {
        LockFile::try_acquire(path, mode).unwrap()
    }

    #[test]
    fn a_lock_is_exclusive_or_shared_and_the_last_holder_removes_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("not made yet/lock");
        let alone = acquire(&path, Mode::Exclusive).unwrap();
        assert!(!alone.existed);
        assert!(acquire(&path, Mode::Exclusive).is_none() && acquire(&path, Mode::Shared).is_none());
        drop(alone);
        assert!(!path.exists());

        let first = acquire(&path, Mode::Shared).unwrap();
        let second = acquire(&path, Mode::Shared).unwrap();
        assert!(second.existed && acquire(&path, Mode::Exclusive).is_none());
        assert!(!second.is_marked());
        first.mark();
        assert!(second.is_marked());
        drop(first);
        assert!(path.exists() && acquire(&path, Mode::Exclusive).is_none());
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_left_by_a_killed_run_can_be_locked_and_is_removed_unless_it_has_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        for (content, stays) in [("", false), ("a record", true)] {
            std::fs::write(&path, content).unwrap();
            let lock = acquire(&path, Mode::Exclusive).unwrap();
            assert!(lock.existed);
            drop(lock);
            assert_eq!(path.exists(), stays);
        }
    }
}
