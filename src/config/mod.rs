//! The configuration files: which there are, whose they are, and how they are laid over each other. What is
//! in one is `file`'s; what a project's file may not do is `api_url`'s and `token`'s.

pub mod api_url;
mod file;
mod profile;
pub mod token;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::environment::{self, Environment};
use crate::error::Error;
use file::Layer;
pub use profile::{ACCOUNT_KEYS, KEYS, Place, Profile, Set, Source};

/// The files shared with the official CLI.
const SHARED: &str = ".copera.toml";
const SHARED_LOCAL: &str = ".copera.local.toml";

/// All files together, with the profile chosen.
#[derive(Debug)]
pub struct Config {
    /// The chosen profile's name.
    pub profile_name: String,
    /// What chose it; `None`: nothing did.
    pub profile_from: Option<String>,
    /// What it sets; nothing, when no file has it.
    pub profile: Profile,
    /// `[api] base_url`, of no profile.
    pub base_url: Option<Set<String>>,
    /// What to warn of.
    pub warnings: Vec<String>,
}

/// Reads the files that count (`only` one, or the default ones) and chooses the profile: `asked` for by the
/// command line, by `COPERA_PROFILE`, by a file's `default_profile`, else `default`.
pub fn load(only: Option<&Path>, asked: Option<&str>, env: &Environment) -> Result<Config, Error> {
    let mut warnings = Vec::new();
    let mut default_profile: Option<Set<String>> = None;
    let mut base_url = None;
    let mut profiles: BTreeMap<String, Profile> = BTreeMap::new();
    for place in places(only, env) {
        let Some(mut layer) = read(place, &mut warnings)? else { continue };
        warnings.append(&mut layer.warnings);
        default_profile = layer.default_profile.or(default_profile);
        base_url = layer.base_url.or(base_url);
        for (name, higher) in layer.profiles {
            let lower = profiles.remove(&name).unwrap_or_default();
            profiles.insert(name, lower.under(higher));
        }
    }
    let (profile_name, profile_from) = if let Some(name) = asked {
        (name.to_owned(), Some("--profile".to_owned()))
    } else if let Some(name) = environment::text(&env.profile, "COPERA_PROFILE")? {
        (name.to_owned(), Some("COPERA_PROFILE".to_owned()))
    } else if let Some(name) = default_profile {
        (name.value, Some(format!("default_profile in {}", name.place)))
    } else {
        (DEFAULT_PROFILE.to_owned(), None)
    };
    let profile = match profiles.remove(&profile_name) {
        Some(profile) => profile,
        None if profile_name == DEFAULT_PROFILE => Profile::default(),
        None => return Err(no_such_profile(&profile_name, profile_from.as_deref(), &profiles)),
    };
    Ok(Config { profile_name, profile_from, profile, base_url, warnings })
}

const DEFAULT_PROFILE: &str = "default";

fn no_such_profile(name: &str, from: Option<&str>, there: &BTreeMap<String, Profile>) -> Error {
    let from = from.map(|from| format!(", asked for by {from}")).unwrap_or_default();
    let names: Vec<_> = there.keys().map(String::as_str).collect();
    let hint = match names.as_slice() {
        [] => "no configuration file has a profile".to_owned(),
        names => format!("there are: {}", names.join(", ")),
    };
    Error::usage_hint(format!("there is no profile `{name}`{from}"), hint)
}

/// A file that may be there, and the rules it goes by.
struct FilePlace {
    path: PathBuf,
    shown: String,
    /// In the working directory and not asked for as the user's own.
    project: bool,
    /// Named by the user: then it must be there.
    named: bool,
}

impl FilePlace {
    /// Shared files may hold keys that are the official CLI's; by name, as `--config` goes too.
    fn strict(&self) -> bool {
        let name = self.path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        !(name.starts_with(".copera") && name.ends_with(".toml"))
    }
}

/// The files to read, lowest first.
fn places(only: Option<&Path>, env: &Environment) -> Vec<FilePlace> {
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
fn read(place: FilePlace, warnings: &mut Vec<String>) -> Result<Option<Layer>, Error> {
    let cannot = |error: &dyn std::fmt::Display| {
        format!("cannot read the configuration file {}: {error}", place.shown)
    };
    if !place.named {
        match fs::metadata(&place.path) {
            Ok(metadata) if metadata.is_file() => {}
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
    let (text, mode) = read_text(&place.path).map_err(|error| match place.named {
        true => Error::usage(cannot(&error)),
        false => Error::usage_hint(cannot(&error), "make it readable, or name another with --config"),
    })?;
    let source = Arc::new(Source { shown: place.shown.clone(), project: place.project });
    let layer = file::parse(&text, source, place.strict())?;
    if let Some(mode) = mode.filter(|mode| layer.holds_token() && mode & 0o077 != 0) {
        warnings.push(format!(
            "{} holds a token and is open to others (mode {:03o}); chmod 600 closes it",
            place.shown,
            mode & 0o777
        ));
    }
    Ok(Some(layer))
}

/// A file's text, and its mode where files have one.
fn read_text(path: &Path) -> io::Result<(String, Option<u32>)> {
    let mut file = File::open(path)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
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

#[cfg(test)]
mod tests;
