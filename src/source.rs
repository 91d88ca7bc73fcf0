//! One local file while it is uploaded: opened once, read at any place, and watched for change.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::platform::{self, Identity};

/// An open input file.
#[derive(Debug)]
pub struct Source {
    file: File,
    path: PathBuf,
    identity: Identity,
}

impl Source {
    /// Opens a regular file and notes what it is like now.
    ///
    /// # Errors
    /// [`Error::Local`] when it cannot be opened, [`Error::NotAFile`] when it is no regular file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |error| Error::local("open the file", error);
        // Asked before opening: opening a FIFO would wait for its writer.
        if !std::fs::metadata(path).map_err(failed)?.is_file() {
            return Err(Error::NotAFile { kind: "something else" });
        }
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(Error::NotAFile { kind: "something else" });
        }
        Ok(Self { identity: platform::identity(&metadata), file, path: path.to_owned() })
    }

    /// Its size when it was opened, in bytes.
    pub fn size(&self) -> u64 {
        self.identity.size
    }

    /// What it was like when it was opened.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Reads what is in memory already, without waiting; `None`: [`Source::read_at`] has to be asked.
    pub fn read_at_if_cached(&self, buffer: &mut [u8], offset: u64) -> Option<usize> {
        platform::read_at_if_cached(&self.file, buffer, offset).filter(|read| *read > 0)
    }

    /// Reads at least one byte of those that the file had when it was opened. Waits for the disk.
    ///
    /// # Errors
    /// [`Error::Local`] when the system cannot read, [`Error::Changed`] when the file has become shorter.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Error> {
        match platform::read_at(&self.file, buffer, offset) {
            Ok(0) if !buffer.is_empty() => {
                Err(Error::Changed { what: format!("it ends at byte {offset} now") })
            }
            Ok(read) => Ok(read),
            Err(error) => Err(Error::local(format!("read at byte {offset}"), error)),
        }
    }

    /// Whether it is still what was opened: the open file's size and time, and the file behind the path. The
    /// inode's change time is left out: a backup program or a `chmod` moves it, and no byte.
    ///
    /// # Errors
    /// [`Error::Changed`] when it is not, [`Error::Local`] when the system cannot say.
    pub fn check_unchanged(&self) -> Result<(), Error> {
        let asked = |error| Error::local("look at the file again", error);
        let open = platform::identity(&self.file.metadata().map_err(asked)?);
        if open.size != self.identity.size {
            return Err(Error::Changed {
                what: format!("it had {} bytes and has {} now", self.identity.size, open.size),
            });
        }
        if open.mtime != self.identity.mtime {
            return Err(Error::Changed { what: "it was written to".to_owned() });
        }
        match std::fs::metadata(&self.path) {
            Ok(metadata) => {
                let named = platform::identity(&metadata);
                if (named.device, named.inode) != (open.device, open.inode) {
                    return Err(Error::Changed { what: "another file took its place".to_owned() });
                }
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::Changed { what: "it was removed".to_owned() })
            }
            Err(error) => Err(asked(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_grows_shrinks_or_is_replaced_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let changed = |act: &dyn Fn()| {
            std::fs::write(&path, "0123456789").unwrap();
            let source = Source::open(&path).unwrap();
            source.check_unchanged().unwrap();
            act();
            matches!(source.check_unchanged(), Err(Error::Changed { .. }))
        };
        assert!(changed(&|| std::fs::write(&path, "0123456789+").unwrap()));
        assert!(changed(&|| std::fs::write(&path, "01").unwrap()));
        assert!(changed(&|| std::fs::remove_file(&path).unwrap()));
        assert!(changed(&|| {
            std::fs::write(folder.path().join("g"), "0123456789").unwrap();
            std::fs::rename(folder.path().join("g"), &path).unwrap();
        }));
    }

    #[test]
    fn reading_past_a_shrunken_end_is_a_change_and_not_silence() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "0123456789").unwrap();
        let source = Source::open(&path).unwrap();
        let mut buffer = [0; 4];
        assert_eq!(source.read_at(&mut buffer, 8).unwrap(), 2);
        assert!(matches!(source.read_at(&mut buffer, 10), Err(Error::Changed { .. })));
    }

    #[test]
    fn a_folder_is_no_source() {
        assert!(matches!(Source::open(Path::new(".")), Err(Error::NotAFile { .. })));
    }
}
