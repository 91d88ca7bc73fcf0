//! Standard input as a source: the service wants the size before the first byte, so all of it is kept in a
//! file until it is uploaded. The file has no name, or goes with its last handle: whatever ends the program,
//! nothing is left.

use std::fs::File;
use std::io::{self, Read, Seek, Write};

use crate::error::Error;
use crate::platform;
use crate::source::Source;

/// Bytes moved at once.
const BUFFER: usize = 256 * 1024;

/// Reads standard input to its end and tells how far it is after each piece. A file that standard input was
/// redirected from is taken as it is.
///
/// # Errors
/// [`Error::Local`] when standard input cannot be read, [`Error::Spool`] when there is no room for it.
pub fn standard_input(told: impl FnMut(u64)) -> Result<Source, Error> {
    let failed = |error| Error::local("read standard input", error);
    if let Some(mut file) = platform::stdin_as_file().filter(|file| file.metadata().is_ok_and(|m| m.is_file()))
        // Some of it may have been read by who had it before: only from its beginning it is the file.
        && file.stream_position().map_err(failed)? == 0
    {
        match Source::unnamed(file) {
            // A file of /proc, say: its size is known once it is read, as a pipe's.
            Err(Error::WrongSize { .. }) => {}
            source => return source,
        }
    }
    let folder = std::env::temp_dir();
    let full = |source| Error::Spool { folder: folder.clone(), source };
    let mut file = platform::open_in_time(|| tempfile::tempfile_in(&folder)).map_err(full)?;
    copy(&mut io::stdin().lock(), &mut file, told).map_err(|broken| match broken {
        Broken::Reading(error) => failed(error),
        Broken::Writing(error) => full(error),
    })?;
    Source::own(file)
}

enum Broken {
    Reading(io::Error),
    Writing(io::Error),
}

fn copy(from: &mut impl Read, to: &mut File, mut told: impl FnMut(u64)) -> Result<(), Broken> {
    let mut buffer = vec![0; BUFFER];
    let mut copied = 0;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return to.flush().map_err(Broken::Writing),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Broken::Reading(error)),
        };
        to.write_all(&buffer[..read]).map_err(Broken::Writing)?;
        copied += read as u64;
        told(copied);
    }
}
