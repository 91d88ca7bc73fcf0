//! The configuration: the merged files and the chosen profile.

pub mod api_url;
mod files;
pub mod location;
mod parse;
pub mod profile;
pub mod save;
pub mod token;
mod token_command;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::environment::{self, Environment};
use crate::error::Error;
use location::{ConfigFile, Sourced};
use profile::{Profile, Values};

/// The profile that is used if none is chosen.
pub const DEFAULT_PROFILE: &str = "default";

/// The merged files, with a profile chosen.
#[derive(Debug)]
pub struct Config {
    pub profile_name: String,
    /// What chose the profile, or `None` for the default.
    pub profile_from: Option<String>,
    /// Empty if no file has the profile.
    pub profile: Profile,
    /// `[api] base_url`
    pub base_url: Option<Sourced<String>>,
    pub warnings: Vec<String>,
}

/// Reads the configuration files, or only the one of `--config` or `COPERA_CONFIG`. `--profile`, `COPERA_PROFILE` or
/// `default_profile` chooses the profile.
/// Fails with [`Error::usage`] for a file that cannot be read or is invalid, and for a profile that no file has.
pub fn load(file: Option<&Path>, profile: Option<&str>, env: &Environment) -> Result<Config, Error> {
    let files = files::read_all(files::list(file, env).into_iter().map(Arc::new))?;
    let (name, from) = choose_profile(&files, profile, env)?;
    if name != DEFAULT_PROFILE && !files.profiles.contains_key(&name) {
        return Err(no_such_profile(&name, from.as_deref(), &files.profiles));
    }
    Ok(Config::new(files, name, from))
}

/// The configuration that `--login` changes.
#[derive(Debug)]
pub struct LoginConfig {
    /// The configuration in effect. The profile may not exist yet.
    pub config: Config,
    /// The same without the files in the working directory, as in effect elsewhere.
    pub user_config: Config,
    /// The profile that is used elsewhere if none is chosen.
    pub usual_profile: String,
    /// Whether the files have no profile and no `default_profile`.
    pub is_first_profile: bool,
    /// Where to save: the named file, otherwise the user's `config.toml`.
    pub file: Arc<ConfigFile>,
}

/// As [`load`], but neither the profile nor a named file has to exist.
/// Fails as [`load`] does, and if the system has no directory for configuration files.
pub fn load_for_login(
    file: Option<&Path>,
    profile: Option<&str>,
    env: &Environment,
) -> Result<LoginConfig, Error> {
    let mut list = files::list(file, env);
    let target = list.iter().position(|file| file.must_exist || !file.project && file.is_strict());
    let target = target.ok_or_else(|| {
        Error::usage_hint("this system has no directory for configuration files", "name a file with --config")
    })?;
    list.iter_mut().for_each(|file| file.must_exist = false);
    let mut list: Vec<_> = list.into_iter().map(Arc::new).collect();
    let files = files::read_all(list.iter().cloned())?;
    let is_first_profile = files.profiles.is_empty() && files.default_profile.is_none();
    let (name, from) = choose_profile(&files, profile, env)?;
    let user_files = files::read_all(list.iter().filter(|file| !file.project).cloned())?;
    let usual = user_files.default_profile.as_ref().map_or(DEFAULT_PROFILE, |default| &default.value);
    Ok(LoginConfig {
        usual_profile: usual.to_owned(),
        user_config: Config::new(user_files, name.clone(), None),
        config: Config::new(files, name, from),
        is_first_profile,
        file: list.swap_remove(target),
    })
}

impl Config {
    fn new(mut files: Values, profile_name: String, profile_from: Option<String>) -> Self {
        let profile = files.profiles.remove(&profile_name).unwrap_or_default();
        Self { profile_name, profile_from, profile, base_url: files.base_url, warnings: files.warnings }
    }
}

/// The name of the profile, and what chose it.
fn choose_profile(
    files: &Values,
    option: Option<&str>,
    env: &Environment,
) -> Result<(String, Option<String>), Error> {
    Ok(if option == Some("") {
        return Err(Error::usage("--profile must not be empty"));
    } else if let Some(name) = option {
        (name.to_owned(), Some("--profile".to_owned()))
    } else if let Some(name) = environment::text(&env.profile, "COPERA_PROFILE")? {
        (name.to_owned(), Some("COPERA_PROFILE".to_owned()))
    } else if let Some(name) = &files.default_profile {
        (name.value.clone(), Some(format!("default_profile in {}", name.location)))
    } else {
        (DEFAULT_PROFILE.to_owned(), None)
    })
}

fn no_such_profile(name: &str, from: Option<&str>, profiles: &BTreeMap<String, Profile>) -> Error {
    let from = from.map(|from| format!(" (from {from})")).unwrap_or_default();
    let names: Vec<_> = profiles.keys().map(String::as_str).collect();
    let hint = match names.as_slice() {
        [] => "no configuration file has a profile; `copera-upload --login --profile NAME` creates one"
            .to_owned(),
        names => format!("profiles: {}", names.join(", ")),
    };
    Error::usage_hint(format!("there is no profile `{name}`{from}"), hint)
}

#[cfg(test)]
pub(crate) mod tests;
