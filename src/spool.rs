//! Standard input as a file. The service needs the size first, so standard input is written to a temporary file. The file
//! has no name, or is deleted with its last handle, so that nothing is left however the program ends.

use std::io::{self, Read, Seek, Write};

use crate::error::Error;
use crate::platform;
use crate::source::Source;

/// Bytes per read and write.
const BUFFER: usize = 256 * 1024;

/// Reads standard input to its end and reports the total after each read. If standard input is redirected from a file,
/// that file is used directly.
/// Fails with [`Error::Local`] if standard input cannot be read, [`Error::Spool`] if there is no space for it.
pub fn standard_input(mut report: impl FnMut(u64)) -> Result<Source, Error> {
    let failed = |error| Error::local("read standard input", error);
    if let Some(mut file) = platform::stdin_as_file().filter(|file| file.metadata().is_ok_and(|m| m.is_file()))
        // Another program may have read some of it with the same handle. The whole file is only there at the start.
        && file.stream_position().map_err(failed)? == 0
    {
        match Source::unnamed(file, false) {
            // The size of a file in `/proc`, for example, is only known after reading it, as with a pipe.
            Err(Error::WrongSize { .. }) => {}
            source => return source,
        }
    }
    let folder = std::env::temp_dir();
    let full = |source| Error::Spool { folder: folder.clone(), source };
    let mut file = platform::open_with_retry(|| tempfile::tempfile_in(&folder)).map_err(full)?;
    let (mut stdin, mut buffer, mut copied) = (io::stdin().lock(), vec![0; BUFFER], 0);
    loop {
        match stdin.read(&mut buffer) {
            Ok(0) => return Source::unnamed(file, true),
            Ok(read) => {
                file.write_all(&buffer[..read]).map_err(full)?;
                copied += read as u64;
                report(copied);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
}
