//! Reading what somebody else wrote, up to a limit: a file of a gigabyte must not become memory.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Reads a file that has at most `limit` bytes.
///
/// # Errors
/// Those of the system, and [`io::ErrorKind::FileTooLarge`].
pub fn read_file(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read(File::open(path)?, limit)
}

/// Reads at most `limit` bytes to the end.
///
/// # Errors
/// Those of the reader, and [`io::ErrorKind::FileTooLarge`].
pub fn read(reader: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let message = format!("it has more than {limit} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
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
            (io::ErrorKind::FileTooLarge, "it has more than 4 bytes")
        );
        assert!(read(std::io::repeat(0), 1 << 20).is_err());
    }
}
