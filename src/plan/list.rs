//! `--files-from`: a list of paths, read while the upload runs.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use super::name;
use crate::error::Error;
use crate::platform;

/// Limit on the length of a path, far above that of every system. A longer one is not a path.
const PATH_MAX: u64 = 64 * 1024;

/// Where to read the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListSource {
    /// The file; `-` is standard input.
    pub file: PathBuf,
    /// Paths end with NUL bytes instead of newlines.
    pub null: bool,
}

/// A list that is being read. An iterator over its paths, which also ends at an error: see [`List::error`].
pub struct List {
    source: ListSource,
    /// `None` after its end, or after an error.
    reader: Option<BufReader<Box<dyn Read + Send>>>,
    at_start: bool,
    error: ListError,
}

/// Why a list ended early. Shared with the reader of the list, because the error belongs to none of its files.
#[derive(Debug, Clone, Default)]
pub struct ListError(Arc<OnceLock<Error>>);

impl ListError {
    /// The error, once there is one.
    pub fn get(&self) -> Option<&Error> {
        self.0.get()
    }
}

impl ListSource {
    /// Whether the list is standard input.
    pub fn is_stdin(&self) -> bool {
        self.file.as_os_str() == "-"
    }

    /// The name for messages.
    fn shown(&self) -> String {
        if self.is_stdin() {
            return "standard input".to_owned();
        }
        name::decode(self.file.as_os_str()).0
    }

    /// Opens the list.
    /// Fails with [`Error::usage`] if it cannot be read.
    pub fn open(self) -> Result<List, Error> {
        let input: Box<dyn Read + Send> = if self.is_stdin() {
            Box::new(io::stdin())
        } else {
            let opened = File::open(&self.file).and_then(|file| match file.metadata()?.is_dir() {
                // A directory can be opened, but not read.
                true => Err(io::ErrorKind::IsADirectory.into()),
                false => Ok(file),
            });
            Box::new(opened.map_err(|error| {
                Error::usage(format!("the list of --files-from cannot be read: {}: {error}", self.shown()))
            })?)
        };
        Ok(List {
            source: self,
            reader: Some(BufReader::new(input)),
            at_start: true,
            error: ListError::default(),
        })
    }
}

/// Whether a text without a byte order mark begins as ASCII in UTF-16 does. With -0 it would seem to be a list of paths
/// of one letter, among them `.`.
fn is_utf16(text: &[u8]) -> bool {
    let mut pairs = text.chunks_exact(2).take(8);
    pairs.len() >= 4 && pairs.all(|pair| (pair[0] == 0) != (pair[1] == 0))
}

impl List {
    /// Will contain the reason if the list cannot be read to its end.
    pub fn error(&self) -> ListError {
        self.error.clone()
    }

    /// The next entry without its terminator; `None` at the end.
    fn entry(&mut self) -> Result<Option<Vec<u8>>, String> {
        let Some(reader) = &mut self.reader else { return Ok(None) };
        let end = if self.source.null { 0 } else { b'\n' };
        let is_utf16 = self.at_start && is_utf16(reader.fill_buf().map_err(|error| error.to_string())?);
        let mut entry = Vec::new();
        reader.take(PATH_MAX).read_until(end, &mut entry).map_err(|error| error.to_string())?;
        if std::mem::take(&mut self.at_start) {
            if is_utf16 || matches!(entry[..], [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) {
                return Err("the text is UTF-16; save it as UTF-8".to_owned());
            }
            // Windows editors write a byte order mark.
            if entry.starts_with(b"\xef\xbb\xbf") {
                entry.drain(..3);
            }
        }
        if entry.last() == Some(&end) {
            entry.pop();
            if !self.source.null && entry.last() == Some(&b'\r') {
                entry.pop();
            }
            return Ok(Some(entry));
        }
        if entry.len() as u64 >= PATH_MAX {
            let end = if self.source.null { "a NUL byte" } else { "a newline, or with -0 with a NUL byte" };
            return Err(format!("a path is longer than 64 KiB; each path ends with {end}"));
        }
        self.reader = None;
        Ok(Some(entry))
    }

    fn path(&mut self) -> Result<Option<OsString>, String> {
        loop {
            let Some(entry) = self.entry()? else { return Ok(None) };
            // No system has them in paths.
            if entry.contains(&0) {
                return Err("the text has NUL bytes; if they end the paths, add -0".to_owned());
            }
            if !entry.is_empty() {
                let path = platform::os_string(entry);
                return path.map(Some).map_err(|_| "the text is not UTF-8; save it as UTF-8".to_owned());
            }
        }
    }
}

impl Iterator for List {
    type Item = OsString;

    fn next(&mut self) -> Option<Self::Item> {
        self.path().unwrap_or_else(|why| {
            self.reader = None;
            let list = self.source.shown();
            let error =
                Error::usage(format!("the list of --files-from cannot be read to its end: {list}: {why}"));
            // Nothing is read after the first error.
            let _ = self.error.0.set(error);
            None
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], null: bool) -> (Vec<String>, Option<String>) {
        let source = ListSource { file: "list".into(), null };
        let reader: Box<dyn Read + Send> = Box::new(io::Cursor::new(text.to_vec()));
        let (reader, error) = (Some(BufReader::with_capacity(16, reader)), ListError::default());
        let list = List { source, reader, at_start: true, error: error.clone() };
        (list.map(|path| path.into_string().unwrap()).collect(), error.get().map(ToString::to_string))
    }

    #[test]
    fn each_line_is_a_path_and_nothing_else() {
        for (text, paths) in [
            ("", &[][..]),
            ("\n\n\r\n", &[]),
            ("a\nb c\r\n\n#d\n \"e\"\n-\n-r\nlast", &["a", "b c", "#d", " \"e\"", "-", "-r", "last"]),
            ("a\r\r\nb\rc\nd\r", &["a\r", "b\rc", "d\r"]),
            ("\u{feff}a\n\u{feff}b", &["a", "\u{feff}b"]),
        ] {
            let paths: Vec<_> = paths.iter().map(|path| (*path).to_owned()).collect();
            assert_eq!(read(text.as_bytes(), false), (paths, None), "{text:?}");
        }
    }

    #[test]
    fn with_null_only_nul_bytes_separate() {
        for text in [&b"a\nb\r\n\0\0c"[..], b"a\nb\r\n\0\0c\0"] {
            assert_eq!(read(text, true), (vec!["a\nb\r\n".to_owned(), "c".to_owned()], None));
        }
    }

    #[test]
    fn what_is_no_list_of_paths_ends_it_with_the_reason() {
        let long = [&b"a\n"[..], &[b'x'; 70_000], b"\nb\n"].concat();
        for (text, count, why) in [
            (&long[..], 1, "longer than 64 KiB"),
            (b"\xff\xfea\0\n\0", 0, "UTF-16"),
            (b"a\0b\0", 0, "-0"),
            (b"a\0.\0t\0x\0t\0\n\0", 0, "UTF-16"),
        ] {
            let (paths, error) = read(text, false);
            assert!(error.as_ref().is_some_and(|error| error.contains(why)), "{error:?}");
            assert_eq!(paths.len(), count);
        }
    }

    #[test]
    fn a_list_that_is_missing_or_a_directory_is_a_usage_error() {
        for file in ["no/such/list", "."] {
            let error = ListSource { file: file.into(), null: false }.open().err().unwrap();
            assert_eq!(error.exit_code(), 2, "{error}");
            assert!(error.to_string().contains(file), "{error}");
        }
    }
}
