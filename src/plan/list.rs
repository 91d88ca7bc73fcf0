//! `--files-from`: a list of paths, read while the upload runs.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::PathBuf;

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

/// A list that is being read. An iterator over its paths.
pub struct List {
    source: ListSource,
    /// `None` after its end, or after an error.
    reader: Option<BufReader<Box<dyn Read + Send>>>,
    at_start: bool,
}

/// A list that cannot be read any further.
#[derive(Debug)]
pub struct Broken {
    /// Its name, for messages.
    pub list: String,
    /// Why.
    pub error: Error,
}

impl ListSource {
    /// Whether the list is standard input.
    pub fn is_stdin(&self) -> bool {
        self.file.as_os_str() == "-"
    }

    /// The name for messages.
    fn shown(&self) -> String {
        name::decode(self.file.as_os_str()).0
    }

    /// Opens the list.
    ///
    /// # Errors
    /// [`Error::Usage`] if it cannot be read.
    pub fn open(self) -> Result<List, Error> {
        let input: Box<dyn Read + Send> = if self.is_stdin() {
            Box::new(io::stdin())
        } else {
            let opened = File::open(&self.file).and_then(|file| match file.metadata()?.is_dir() {
                // Otherwise only reading it would fail.
                true => Err(io::ErrorKind::IsADirectory.into()),
                false => Ok(file),
            });
            Box::new(opened.map_err(|error| {
                Error::usage(format!("the list of --files-from cannot be read: {}: {error}", self.shown()))
            })?)
        };
        Ok(List { source: self, reader: Some(BufReader::new(input)), at_start: true })
    }
}

impl List {
    /// The next entry without its terminator; `None` at the end.
    fn entry(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let Some(reader) = &mut self.reader else { return Ok(None) };
        let end = if self.source.null { 0 } else { b'\n' };
        let mut entry = Vec::new();
        reader
            .take(PATH_MAX)
            .read_until(end, &mut entry)
            .map_err(|error| Error::usage(format!("the list cannot be read any further: {error}")))?;
        if std::mem::take(&mut self.at_start) {
            if matches!(entry[..], [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) {
                return Err(Error::usage("the list is UTF-16; save it as UTF-8"));
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
            let hint = "a list has one path per line, or with -0 one before each NUL byte";
            return Err(Error::usage_hint("the list has a path of more than 64 KiB", hint));
        }
        self.reader = None;
        Ok(Some(entry))
    }

    fn path(&mut self) -> Result<Option<OsString>, Error> {
        loop {
            let Some(entry) = self.entry()? else { return Ok(None) };
            if !entry.is_empty() {
                let path = platform::os_string(entry);
                return path.map(Some).map_err(|_| Error::usage("the list is not UTF-8; save it as UTF-8"));
            }
        }
    }
}

impl Iterator for List {
    type Item = Result<OsString, Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        let path = self.path();
        if path.is_err() {
            self.reader = None;
        }
        path.map_err(|error| Broken { list: self.source.shown(), error }).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], null: bool) -> Vec<Result<String, String>> {
        let source = ListSource { file: "list".into(), null };
        let reader: Box<dyn Read + Send> = Box::new(io::Cursor::new(text.to_vec()));
        let list = List { source, reader: Some(BufReader::with_capacity(3, reader)), at_start: true };
        let shown = |path: OsString| path.into_string().unwrap();
        list.map(|path| path.map(shown).map_err(|broken| broken.error.to_string())).collect()
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
            let paths: Vec<_> = paths.iter().map(|path| Ok((*path).to_owned())).collect();
            assert_eq!(read(text.as_bytes(), false), paths, "{text:?}");
        }
    }

    #[test]
    fn with_null_only_nul_bytes_separate() {
        let paths = ["a\nb\r\n", "c"].map(|path| Ok(path.to_owned()));
        assert_eq!(read(b"a\nb\r\n\0\0c", true), paths);
        assert_eq!(read(b"a\nb\r\n\0\0c\0", true), paths);
    }

    #[test]
    fn what_is_no_list_of_paths_ends_it_with_the_reason() {
        let long = [&b"a\n"[..], &[b'x'; 70_000], b"\nb\n"].concat();
        for (text, paths, why) in [(&long[..], 1, "more than 64 KiB"), (b"\xff\xfea\0\n\0", 0, "UTF-16")] {
            let mut read = read(text, false);
            let error = read.pop().unwrap().unwrap_err();
            assert!(error.contains(why), "{error}");
            assert_eq!(read.len(), paths);
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
