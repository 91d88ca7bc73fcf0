//! A local file during its upload: opened once, read at any offset, checked for changes.

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::Error;
use crate::plan::mime;
use crate::platform::{self, Identity};

/// The longest interval between two file timestamps that differ: kernel timers at 100 Hz tick every 10 ms, Windows'
/// clock every 15.6 ms.
const TICK: Duration = Duration::from_millis(20);
/// The same where timestamps have whole seconds. FAT stores every other second.
const TICK_OF_SECONDS: Duration = Duration::from_secs(2);

/// An open input file.
#[derive(Debug)]
pub struct Source {
    file: File,
    /// The path at which the file has to stay, or `None` if its name does not matter.
    path: Option<PathBuf>,
    /// No other program can access it.
    own: bool,
    identity: Identity,
}

impl Source {
    /// Opens a regular file and remembers its state.
    /// Fails with [`Error::Local`] if it cannot be opened, [`Error::not_a_file`] if it is not a regular file,
    /// [`Error::WrongSize`] if it has bytes beyond its reported size.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |error| Error::local("open the file", error);
        let literal = platform::literal_path(path);
        // Checked before opening, because opening a FIFO blocks until it has a writer.
        regular(&std::fs::metadata(&literal).map_err(failed)?)?;
        let file = platform::open_with_retry(|| File::open(&literal)).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        regular(&metadata)?;
        let identity = Identity::of(&file).map_err(failed)?;
        let source = Self { identity, file, path: Some(literal.into_owned()), own: false };
        source.check_end()?;
        Ok(source)
    }

    /// Takes an open file whose name does not matter. `own`: no other program has access to it.
    /// Fails with [`Error::Local`] if its state cannot be read, [`Error::WrongSize`] if it has bytes beyond its
    /// reported size.
    pub fn unnamed(file: File, own: bool) -> Result<Self, Error> {
        let identity =
            Identity::of(&file).map_err(|error| Error::local("read the state of the file", error))?;
        let source = Self { identity, file, path: None, own };
        source.check_end()?;
        Ok(source)
    }

    /// How long to wait before the first read, so that every later write changes the file's times. A write in the same clock
    /// tick as the last change does not (Git calls such a file "racily clean").
    pub fn until_writes_show(&self) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let last = self.identity.ctime.unwrap_or(self.identity.mtime);
        until_next_tick(last, i128::try_from(now.as_nanos()).unwrap_or(i128::MAX))
    }

    /// Reads up to `most` bytes from the start. Blocks on the disk.
    pub fn head(&self, most: usize) -> Result<Vec<u8>, Error> {
        let mut head = vec![0; most.min(usize::try_from(self.size()).unwrap_or(most))];
        let mut filled = 0;
        while filled < head.len() {
            filled += self.read_at(&mut head[filled..], filled as u64)?;
        }
        Ok(head)
    }

    /// Guesses the MIME type for a name in the drive. Blocks on the disk if no extension is known.
    pub fn mime_type(&self, name: &str) -> Result<String, Error> {
        mime::guess(name, self.path.as_deref(), self.size(), |most| self.head(most))
    }

    /// As [`Source::mime_type`], without blocking. `None` if the disk would have to be read.
    pub fn mime_type_if_cached(&self, name: &str) -> Option<String> {
        let head = |most| {
            let mut head = vec![0; most];
            let read = self.read_at_if_cached(&mut head, 0)?;
            head.truncate(read);
            (read == most || read as u64 == self.size()).then_some(head)
        };
        mime::guess(name, self.path.as_deref(), self.size(), |most| head(most).ok_or(())).ok()
    }

    /// Whether another program may have written to it without a change of its times so far.
    pub fn may_be_written(&self) -> bool {
        !self.own && platform::may_be_written(&self.file)
    }

    /// Size in bytes when it was opened.
    pub fn size(&self) -> u64 {
        self.identity.size
    }

    /// Its state when it was opened.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Reads from the page cache, without blocking. If it returns `None`, use [`Source::read_at`].
    pub fn read_at_if_cached(&self, buffer: &mut [u8], offset: u64) -> Option<usize> {
        platform::read_at_if_cached(&self.file, buffer, offset).filter(|read| *read > 0)
    }

    /// Asks the system to prefetch a range.
    pub fn read_ahead(&self, offset: u64, length: u64) {
        platform::read_ahead(&self.file, offset, length);
    }

    /// Reads at least one of the bytes that the file had when it was opened. Blocks on the disk.
    /// Fails with [`Error::Local`] if the read fails, [`Error::Changed`] if the file has become shorter,
    /// [`Error::WrongSize`] if its reported size was wrong from the start.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Error> {
        match platform::read_at(&self.file, buffer, offset) {
            Ok(0) if !buffer.is_empty() => Err(match self.check_unchanged() {
                Ok(_) => Error::WrongSize { size: self.size(), really: "shorter" },
                Err(_) => Error::Changed { what: format!("it ends at byte {offset} now") },
            }),
            Ok(read) => Ok(read),
            Err(error) => Err(Error::local(format!("read at byte {offset}"), error)),
        }
    }

    /// Checks that the file ends where the system says. Files in `/proc` and on some FUSE file systems report 0 bytes
    /// and have more; other files may grow.
    /// Fails with [`Error::Changed`] if it has grown, [`Error::WrongSize`] if its size was wrong from the start,
    /// [`Error::Local`] if the read fails.
    pub fn check_end(&self) -> Result<(), Error> {
        let size = self.size();
        // Some files in /proc return nothing if only one byte is read.
        match platform::read_at(&self.file, &mut [0; 4096], size) {
            Ok(0) => Ok(()),
            Ok(_) => {
                self.check_unchanged()?;
                Err(Error::WrongSize { size, really: "longer" })
            }
            Err(error) => Err(Error::local(format!("read at byte {size}"), error)),
        }
    }

    /// Checks that it is still the file that was opened: size, modification time, and the file at its path. Returns its
    /// current state. The caller compares the `ctime`: a write changes it even if the modification time was restored, but
    /// so does `chmod` or a new hard link.
    /// Fails with [`Error::Changed`] if it differs, [`Error::Local`] if its state cannot be read.
    pub fn check_unchanged(&self) -> Result<Identity, Error> {
        let asked = |error| Error::local("read the state of the file again", error);
        let open = Identity::of(&self.file).map_err(asked)?;
        if open.size != self.identity.size {
            return Err(Error::Changed {
                what: format!("it had {} bytes and has {} now", self.identity.size, open.size),
            });
        }
        if open.mtime != self.identity.mtime {
            return Err(Error::Changed { what: "it was written to".to_owned() });
        }
        let Some(path) = &self.path else { return Ok(open) };
        match open.is_replaced_at(path) {
            Ok(false) => Ok(open),
            Ok(true) => Err(Error::Changed { what: "another file took its place".to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::Changed { what: "it was removed or renamed".to_owned() })
            }
            Err(error) => Err(asked(error)),
        }
    }
}

/// Time until the clock moves past `last`. Both are nanoseconds since 1970.
fn until_next_tick(last: i128, now: i128) -> Duration {
    let tick = if last % 1_000_000_000 == 0 { TICK_OF_SECONDS } else { TICK };
    // A timestamp in the future comes from another machine's clock, or from before this clock was set. The next tick may be
    // a whole tick away.
    let age = u64::try_from(now.saturating_sub(last).max(0)).unwrap_or(u64::MAX);
    tick.saturating_sub(Duration::from_nanos(age))
}

fn regular(metadata: &Metadata) -> Result<(), Error> {
    match metadata.file_type() {
        kind if kind.is_file() => Ok(()),
        kind if kind.is_dir() => Err(Error::not_a_file("a directory")),
        kind => Err(Error::not_a_file(platform::kind_of(kind))),
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
    fn reading_beyond_the_end_of_a_shortened_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "0123456789").unwrap();
        let source = Source::open(&path).unwrap();
        let mut buffer = [0; 4];
        assert_eq!(source.read_at(&mut buffer, 8).unwrap(), 2);
        std::fs::write(&path, "01234567").unwrap();
        assert!(matches!(source.read_at(&mut buffer, 8), Err(Error::Changed { .. })));
    }

    #[test]
    fn bytes_beyond_the_size_are_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "").unwrap();
        let source = Source::open(&path).unwrap();
        source.check_end().unwrap();
        std::fs::write(&path, "more").unwrap();
        assert!(matches!(source.check_end(), Err(Error::Changed { .. })));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_whose_reported_size_is_wrong_is_refused() {
        let longer = Source::open(Path::new("/proc/self/status"));
        assert!(matches!(longer, Err(Error::WrongSize { size: 0, really: "longer" })), "{longer:?}");
        let Ok(shorter) = Source::open(Path::new("/sys/kernel/mm/transparent_hugepage/enabled")) else {
            return;
        };
        let read = shorter.head(4096);
        assert!(matches!(read, Err(Error::WrongSize { size: 4096, really: "shorter" })), "{read:?}");
    }

    #[test]
    fn a_file_is_not_read_in_the_tick_of_its_last_change() {
        let (second, millisecond) = (1_000_000_000, 1_000_000);
        let last = 1_700_000_000 * second + 1;
        let wait = |last, now| until_next_tick(last, now).as_millis();
        assert_eq!(wait(last, last), 20);
        assert_eq!(wait(last, last + 15 * millisecond), 5);
        assert_eq!(wait(last, last + 20 * millisecond), 0);
        assert_eq!(wait(last, last + second * second), 0);
        assert_eq!(wait(last, last - second), 20, "a clock that runs behind");
        let whole = last - 1;
        assert_eq!((wait(whole, whole + second), wait(whole, whole + 2 * second)), (1000, 0));
    }

    #[test]
    fn a_folder_is_refused() {
        let directory = Source::open(Path::new(".")).unwrap_err();
        assert_eq!(directory.to_string(), "is a directory, not a regular file");
    }
}
