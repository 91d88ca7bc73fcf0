//! Reads input of unknown size up to a limit, so that a huge file cannot fill the memory.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use crate::platform;

/// Opens and reads a file of at most `limit` bytes, a pipe (`<(…)`) or the null device.
/// Fails with errors of the system; [`ErrorKind::FileTooLarge`]; [`ErrorKind::InvalidInput`] for other devices and for
/// a FIFO without a writer, which would block forever.
pub fn read_file(path: &Path, limit: u64) -> io::Result<(Vec<u8>, File)> {
    let odd = |what: &str| io::Error::new(ErrorKind::InvalidInput, what.to_owned());
    let kind = match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() || metadata.is_dir() || platform::is_null_device(&metadata) => {
            None
        }
        Ok(metadata) => Some(platform::kind_of(metadata.file_type())),
        // Opening the file reports the error.
        Err(_) => None,
    };
    if let Some(kind) = kind.filter(|kind| *kind != platform::FIFO) {
        return Err(odd(&format!("it is {kind}, not a regular file")));
    }
    let file = platform::open_nonblocking(path)?;
    let bytes = read(&file, limit)?;
    if kind.is_some() && bytes.is_empty() {
        return Err(odd("it is a FIFO without a writer"));
    }
    Ok((bytes, file))
}

/// Reads to the end, at most `limit` bytes.
/// Fails with errors of the reader, and [`ErrorKind::FileTooLarge`].
pub fn read(reader: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let message = format!("it has more than {limit} bytes");
        return Err(io::Error::new(ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_reach_the_limit_and_not_pass_it() {
        assert_eq!(read(&b"1234"[..], 4).unwrap(), b"1234");
        let error = read(&b"12345"[..], 4).unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (ErrorKind::FileTooLarge, "it has more than 4 bytes")
        );
        assert!(read(std::io::repeat(0), 1 << 20).is_err());
    }
}
