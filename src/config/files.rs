//! The configuration files: which there are, whose they are, how one is read, and how they are laid over each
//! other.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file::{self, Layer};
use super::profile::{ConfigFile, Profile, Sourced};
use crate::environment::Environment;
use crate::error::Error;
use crate::limited;
use crate::platform;

/// The files shared with the official CLI.
const SHARED: &str = ".copera.toml";
const SHARED_LOCAL: &str = ".copera.local.toml";

/// More than any configuration has: one in the working directory may come with anybody's repository.
const MAX_SIZE: u64 = 1024 * 1024;

/// What all files say together, before a profile is chosen.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// `default_profile`
    pub default_profile: Option<Sourced<String>>,
    /// `[api] base_url`
    pub base_url: Option<Sourced<String>>,
    /// `[profiles.NAME]`
    pub profiles: BTreeMap<String, Profile>,
    /// What to warn of.
    pub warnings: Vec<String>,
}

impl Files {
    /// Reads these, lowest first.
    pub(super) fn read(places: Vec<FilePlace>) -> Result<Self, Error> {
        let mut files = Self::default();
        for place in places {
            let Some(mut layer) = read(&place, &mut files.warnings)? else { continue };
            files.warnings.append(&mut layer.warnings);
            files.default_profile = layer.default_profile.or(files.default_profile);
            files.base_url = layer.base_url.or(files.base_url);
            for (name, higher) in layer.profiles {
                let lower = files.profiles.insert(name.clone(), higher);
                if let (Some(lower), Some(profile)) = (lower, files.profiles.get_mut(&name)) {
                    profile.merge(lower);
                }
            }
        }
        Ok(files)
    }
}

/// A file that may be there, and the rules it goes by.
#[derive(Debug)]
pub struct FilePlace {
    /// Where it is.
    pub path: PathBuf,
    /// As messages name it.
    pub shown: String,
    /// In the working directory and not asked for as the user's own.
    pub project: bool,
    /// Named by the user: then it must be there.
    pub(super) named: bool,
}

impl FilePlace {
    /// Shared files may hold keys that are the official CLI's; by name, as `--config` goes too.
    pub(super) fn strict(&self) -> bool {
        let name = self.path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        !(name.starts_with(".copera") && name.ends_with(".toml"))
    }

    /// Whether it is the user's own and ours alone.
    pub(super) fn is_own_config(&self) -> bool {
        !self.project && self.strict()
    }

    /// As what its values are from.
    pub(super) fn source(&self) -> Arc<ConfigFile> {
        Arc::new(ConfigFile { shown: self.shown.clone(), project: self.project })
    }
}

/// The files to read, lowest first.
pub(super) fn places(only: Option<&Path>, env: &Environment) -> Vec<FilePlace> {
    let cwd = env.cwd.as_deref();
    // At home, the working directory's files are the user's own.
    let at_home = matches!((&env.home, cwd), (Some(home), Some(cwd)) if same_directory(home, cwd));
    if let Some(path) = only {
        let path_in_cwd = cwd.map_or_else(|| path.to_owned(), |cwd| cwd.join(path));
        let shared = [SHARED, SHARED_LOCAL].iter().any(|name| path_in_cwd.file_name() == Some(name.as_ref()));
        // Being named does not make a repository's file the user's own: the command may be copied from there.
        let in_cwd =
            matches!((path_in_cwd.parent(), cwd), (Some(dir), Some(cwd)) if same_directory(dir, cwd));
        let shown = path.display().to_string();
        return vec![FilePlace {
            path: path_in_cwd,
            shown,
            project: shared && in_cwd && !at_home,
            named: true,
        }];
    }
    let mut places = Vec::new();
    let mut add = |path: PathBuf, shown: String, project| {
        places.push(FilePlace { path, shown, project, named: false });
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
    places
}

fn same_directory(a: &Path, b: &Path) -> bool {
    match (fs::canonicalize(a), fs::canonicalize(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}

/// Reads one file; `None` when there is none.
///
/// One that is there and cannot be read is an error, though it was not named: going on without it could put
/// files into another folder, or send them to another server, than it says. One of which it cannot even be
/// known whether it is there (a service that was given no access to the home directory of its user) gets a
/// warning.
fn read(place: &FilePlace, warnings: &mut Vec<String>) -> Result<Option<Layer>, Error> {
    let cannot = |error: &dyn std::fmt::Display| {
        format!("cannot read the configuration file {}: {error}", place.shown)
    };
    if !place.named {
        match fs::metadata(&place.path) {
            Ok(metadata) if metadata.is_file() => {}
            // The usual way to switch a configuration off.
            Ok(metadata) if platform::is_null_device(&metadata) => return Ok(None),
            Ok(_) => return Err(Error::usage(cannot(&"it is no regular file"))),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => {
                warnings.push(cannot(&error));
                return Ok(None);
            }
        }
    }
    let (text, mode) = read_text(&place.path).map_err(|error| match error.kind() {
        _ if place.named => Error::usage(cannot(&error)),
        ErrorKind::PermissionDenied => {
            Error::usage_hint(cannot(&error), "make it readable, or name another with --config")
        }
        _ => Error::usage_hint(cannot(&error), "--config names another file"),
    })?;
    let layer = file::parse(&text, place.source(), place.strict())?;
    if let Some(mode) = mode.filter(|mode| layer.holds_token() && mode & 0o077 != 0) {
        warnings.push(format!(
            "{} holds a token and is open to others (mode {:03o}); chmod 600 closes it",
            place.shown,
            mode & 0o777
        ));
    }
    Ok(Some(layer))
}

/// A file's text, a byte order mark included, and its mode where files have one.
pub(super) fn read_text(path: &Path) -> io::Result<(String, Option<u32>)> {
    let (bytes, file) = limited::read_file(path, MAX_SIZE)?;
    let invalid = |what: &str| io::Error::new(ErrorKind::InvalidData, what.to_owned());
    // Notepad and PowerShell 5 may write UTF-16. Without its mark it shows by the zeros in it.
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
