//! One local file while it is uploaded: opened once, read at any place, and watched for change.

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::plan::{kind_of, mime};
use crate::platform::{self, Identity};

/// An open input file.
#[derive(Debug)]
pub struct Source {
    file: File,
    /// Where it is to stay; `None`: it has no name that counts.
    path: Option<PathBuf>,
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
        regular(&std::fs::metadata(path).map_err(failed)?)?;
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        regular(&metadata)?;
        let identity = Identity::of(&file).map_err(failed)?;
        Ok(Self { identity, file, path: Some(path.to_owned()) })
    }

    /// Takes an open file whose name, if it has one, is nobody's business.
    ///
    /// # Errors
    /// [`Error::Local`] when the system cannot say what it is like.
    pub fn unnamed(file: File) -> Result<Self, Error> {
        let identity = Identity::of(&file).map_err(|error| Error::local("look at the file", error))?;
        Ok(Self { identity, file, path: None })
    }

    /// Its first bytes, up to `most`. Waits for the disk.
    ///
    /// # Errors
    /// Those of [`Source::read_at`].
    pub fn head(&self, most: usize) -> Result<Vec<u8>, Error> {
        let mut head = vec![0; most.min(usize::try_from(self.size()).unwrap_or(most))];
        let mut filled = 0;
        while filled < head.len() {
            filled += self.read_at(&mut head[filled..], filled as u64)?;
        }
        Ok(head)
    }

    /// What kind of file it is, for a name in the drive. Waits for the disk when no extension says it.
    ///
    /// # Errors
    /// Those of [`Source::read_at`].
    pub fn mime_type(&self, name: &str) -> Result<String, Error> {
        mime::guess(name, self.path.as_deref(), self.size(), |most| self.head(most))
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

    /// Has the system fetch what will be read soon.
    pub fn read_ahead(&self, offset: u64, length: u64) {
        platform::read_ahead(&self.file, offset, length);
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
        let open = Identity::of(&self.file).map_err(asked)?;
        if open.size != self.identity.size {
            return Err(Error::Changed {
                what: format!("it had {} bytes and has {} now", self.identity.size, open.size),
            });
        }
        if open.mtime != self.identity.mtime {
            return Err(Error::Changed { what: "it was written to".to_owned() });
        }
        let Some(path) = &self.path else { return Ok(()) };
        match platform::is_replaced(&self.file, path) {
            Ok(false) => Ok(()),
            Ok(true) => Err(Error::Changed { what: "another file took its place".to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::Changed { what: "it was removed".to_owned() })
            }
            Err(error) => Err(asked(error)),
        }
    }
}

fn regular(metadata: &Metadata) -> Result<(), Error> {
    match metadata.file_type() {
        kind if kind.is_file() => Ok(()),
        kind if kind.is_dir() => Err(Error::NotAFile { kind: "a directory" }),
        kind => Err(Error::NotAFile { kind: kind_of(kind) }),
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
