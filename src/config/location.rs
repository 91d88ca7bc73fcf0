//! Configuration files and locations in them. Errors and `-v` name a location, and the rules for untrusted files depend
//! on it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// A configuration file. It may not exist.
#[derive(Debug)]
pub struct ConfigFile {
    pub path: PathBuf,
    /// Its name in messages.
    pub shown: String,
    /// Whether it is in the working directory, and therefore not trusted.
    pub project: bool,
    /// Whether a missing file is an error, because the user named it.
    pub must_exist: bool,
}

impl ConfigFile {
    /// Whether unknown keys are errors. `.copera*.toml` files are shared with the official CLI and may have its keys.
    pub fn is_strict(&self) -> bool {
        let name = self.path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        !(name.starts_with(".copera") && name.ends_with(".toml"))
    }
}

/// Where a value is set.
#[derive(Debug, Clone)]
pub struct Location {
    pub file: Arc<ConfigFile>,
    /// From 1.
    pub line: usize,
}

impl Location {
    /// Whether both are in the same file.
    pub fn same_file(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.file, &other.file)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.shown, self.line)
    }
}

/// A value and where it is set.
#[derive(Debug, Clone)]
pub struct Sourced<T> {
    pub value: T,
    pub location: Location,
}
