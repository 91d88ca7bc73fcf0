//! The configuration: the files together, and the profile chosen among them. Which files there are is `files`'s,
//! what is in one is `file`'s; what a project's file may not do is `api_url`'s and `token`'s; `save` puts a token
//! into one.

pub mod api_url;
mod file;
mod files;
pub(crate) mod profile;
pub mod save;
pub mod token;

use std::collections::BTreeMap;
use std::path::Path;

use crate::environment::{self, Environment};
use crate::error::Error;
pub use files::FilePlace;
use files::Files;
pub use profile::{Location, Profile, Sourced};

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
    pub base_url: Option<Sourced<String>>,
    /// What to warn of.
    pub warnings: Vec<String>,
}

/// Reads the files that count (`only` one, or the default ones) and chooses the profile: `asked` for by the
/// command line, by `COPERA_PROFILE`, by a file's `default_profile`, else `default`.
///
/// # Errors
/// [`Error::Usage`] for a file that cannot be read or used, and for a profile that no file has.
pub fn load(only: Option<&Path>, asked: Option<&str>, env: &Environment) -> Result<Config, Error> {
    let files = Files::read(files::places(only, env))?;
    let (name, from) = profile_name(&files, asked, env)?;
    if name != DEFAULT_PROFILE && !files.profiles.contains_key(&name) {
        return Err(no_such_profile(&name, from.as_deref(), &files.profiles));
    }
    Ok(choose(files, name, from))
}

/// What `--login` has to know.
#[derive(Debug)]
pub struct ForLogin {
    /// What counts now. The profile need not be there yet, nor a file that was named.
    pub config: Config,
    /// The same profile as the user's own files have it: what holds in every directory.
    pub own: Config,
    /// The profile of a later run that names none, in a directory without files of its own.
    pub usual: String,
    /// No file has a profile, or names one as the default.
    pub is_first: bool,
    /// The file to save into: the one that was named, else the user's own.
    pub file: FilePlace,
}

/// As [`load`], for a token that is to be saved.
///
/// # Errors
/// As [`load`]'s; and when the system names no place for configuration.
pub fn load_for_login(
    only: Option<&Path>,
    asked: Option<&str>,
    env: &Environment,
) -> Result<ForLogin, Error> {
    let places = || {
        let mut places = files::places(only, env);
        places.iter_mut().for_each(|place| place.named = false);
        places
    };
    let own_file = |place: &FilePlace| only.is_some() || place.is_own_config();
    let file = places().into_iter().find(own_file).ok_or_else(|| {
        Error::usage_hint("this system names no place for configuration files", "name one with --config")
    })?;
    let files = Files::read(places())?;
    let is_first = files.profiles.is_empty() && files.default_profile.is_none();
    let (name, from) = profile_name(&files, asked, env)?;
    let own = Files::read(places().into_iter().filter(|place| !place.project).collect())?;
    let usual = own.default_profile.as_ref().map_or(DEFAULT_PROFILE, |set| &set.value).to_owned();
    let own = choose(own, name.clone(), None);
    Ok(ForLogin { config: choose(files, name, from), own, usual, is_first, file })
}

/// The profile of those who name none.
pub const DEFAULT_PROFILE: &str = "default";

/// The profile's name, and what chose it.
fn profile_name(
    files: &Files,
    asked: Option<&str>,
    env: &Environment,
) -> Result<(String, Option<String>), Error> {
    Ok(if let Some(name) = asked {
        (name.to_owned(), Some("--profile".to_owned()))
    } else if let Some(name) = environment::text(&env.profile, "COPERA_PROFILE")? {
        (name.to_owned(), Some("COPERA_PROFILE".to_owned()))
    } else if let Some(name) = &files.default_profile {
        (name.value.clone(), Some(format!("default_profile in {}", name.location)))
    } else {
        (DEFAULT_PROFILE.to_owned(), None)
    })
}

fn choose(mut files: Files, profile_name: String, profile_from: Option<String>) -> Config {
    let profile = files.profiles.remove(&profile_name).unwrap_or_default();
    Config { profile_name, profile_from, profile, base_url: files.base_url, warnings: files.warnings }
}

fn no_such_profile(name: &str, from: Option<&str>, there: &BTreeMap<String, Profile>) -> Error {
    let from = from.map(|from| format!(", asked for by {from}")).unwrap_or_default();
    let names: Vec<_> = there.keys().map(String::as_str).collect();
    let hint = match names.as_slice() {
        [] => {
            "no configuration file has a profile; `copera-upload --login --profile NAME` makes one".to_owned()
        }
        names => format!("there are: {}", names.join(", ")),
    };
    Error::usage_hint(format!("there is no profile `{name}`{from}"), hint)
}

#[cfg(test)]
mod tests;
