//! Finds, reads and merges the configuration files.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;

use super::location::ConfigFile;
use super::parse::parse;
use super::profile::Values;
use crate::environment::{self, Environment};
use crate::error::Error;
use crate::limited;
use crate::platform;

/// The files shared with the official CLI.
const SHARED: &str = ".copera.toml";
const SHARED_LOCAL: &str = ".copera.local.toml";

/// Limit on the size of a file. A file in the working directory may come from an untrusted repository.
const MAX_SIZE: u64 = 1024 * 1024;

/// Reads and merges files, given from the lowest precedence to the highest.
pub(super) fn read_all(files: impl IntoIterator<Item = Arc<ConfigFile>>) -> Result<Values, Error> {
    let mut merged = Values::default();
    for file in files {
        if let Some(values) = read(&file, &mut merged.warnings)? {
            merged.override_with(values);
        }
    }
    Ok(merged)
}

/// The files to read, from the lowest precedence to the highest. `named` is the one of `--config`.
pub(super) fn list(named: Option<&Path>, env: &Environment) -> Vec<ConfigFile> {
    let cwd = env.cwd.as_deref();
    // In the home directory, the files in the working directory belong to the user.
    let at_home = matches!((&env.home, cwd), (Some(home), Some(cwd)) if same_directory(home, cwd));
    if let Some(named) = named.or_else(|| environment::set(&env.config).map(Path::new)) {
        let path = cwd.map_or_else(|| named.to_owned(), |cwd| cwd.join(named));
        let shared = [SHARED, SHARED_LOCAL].iter().any(|name| path.file_name() == Some(name.as_ref()));
        // Naming a repository's file does not make it trusted: the command may come from the repository too.
        let in_cwd = matches!((path.parent(), cwd), (Some(dir), Some(cwd)) if same_directory(dir, cwd));
        let (shown, project) = (named.display().to_string(), shared && in_cwd && !at_home);
        return vec![ConfigFile { path, shown, project, must_exist: true }];
    }
    let mut files = Vec::new();
    let mut add = |path: PathBuf, shown: String, project| {
        files.push(ConfigFile { path, shown, project, must_exist: false });
    };
    if let Some(home) = &env.home {
        add(home.join(SHARED), format!("~/{SHARED}"), false);
    }
    if let Some(dir) = &env.config_dir {
        let path = dir.join("copera-upload").join("config.toml");
        let shown = path.display().to_string();
        add(path, shown, false);
    }
    if let Some(cwd) = cwd {
        if !at_home {
            add(cwd.join(SHARED), SHARED.to_owned(), true);
        }
        add(cwd.join(SHARED_LOCAL), SHARED_LOCAL.to_owned(), !at_home);
    }
    files
}

fn same_directory(a: &Path, b: &Path) -> bool {
    match (fs::canonicalize(a), fs::canonicalize(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}

/// Reads a file, or returns `None` if there is none.
///
/// An existing file that cannot be read is an error even if it was not named: without it, files could go to another folder
/// or server. If it is not even known whether it exists (a service without access to its user's home directory), this is a
/// warning.
fn read(file: &Arc<ConfigFile>, warnings: &mut Vec<String>) -> Result<Option<Values>, Error> {
    let cannot = || format!("cannot read the configuration file {}", file.shown);
    if !file.must_exist {
        match fs::metadata(&file.path) {
            Ok(metadata) if metadata.is_file() => {}
            // A link to /dev/null is the usual way to disable a configuration file.
            Ok(metadata) if platform::is_null_device(&metadata) => return Ok(None),
            Ok(_) => return Err(Error::usage(format!("{}: it is not a regular file", cannot()))),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => {
                warnings.push(format!("{}: {error}", cannot()));
                return Ok(None);
            }
        }
    }
    let read = read_text(&file.path);
    let hint = match &read {
        _ if file.must_exist => None,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            Some("make it readable, or name another with --config")
        }
        _ => Some("--config names another file"),
    };
    let (text, mode) = read.with_context(cannot).map_err(|error| Error::config(error, hint))?;
    let values = parse(&text, file)?;
    if let Some(mode) = mode.filter(|mode| values.holds_token() && mode & 0o077 != 0) {
        warnings.push(format!(
            "{} holds a token and is accessible to other users (mode {:03o}); run chmod 600 on it",
            file.shown,
            mode & 0o777
        ));
    }
    Ok(Some(values))
}

/// The text of a file, including a byte order mark, and its mode on Unix.
pub(super) fn read_text(path: &Path) -> io::Result<(String, Option<u32>)> {
    let (bytes, file) = limited::read_file(path, MAX_SIZE)?;
    let invalid = |what: &str| io::Error::new(ErrorKind::InvalidData, what.to_owned());
    // Notepad and PowerShell 5 may write UTF-16. Without a byte order mark, zero bytes show it.
    if matches!(bytes[..], [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) || bytes.contains(&0) {
        return Err(invalid("it is UTF-16; save it as UTF-8"));
    }
    let text = String::from_utf8(bytes).map_err(|_| invalid("it is not UTF-8; save it as UTF-8"))?;
    Ok((text, mode(&file.metadata()?)))
}

#[cfg(unix)]
fn mode(metadata: &fs::Metadata) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;
    metadata.is_file().then(|| metadata.permissions().mode())
}

#[cfg(not(unix))]
fn mode(_: &fs::Metadata) -> Option<u32> {
    None
}
