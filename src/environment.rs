//! The environment of the process, read once. Nothing else reads these variables and directories, so tests can set them.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use crate::error::Error;

/// Environment variables of this program, and directories.
///
/// No `Debug`, because it holds tokens.
#[derive(Clone, Default)]
pub struct Environment {
    /// `COPERA_TOKEN`
    pub token: Option<OsString>,
    /// `COPERA_CLI_AUTH_TOKEN`, of the official CLI.
    pub cli_token: Option<OsString>,
    /// `COPERA_PARENT_ID`
    pub parent: Option<OsString>,
    /// `COPERA_TO`
    pub to: Option<OsString>,
    /// `COPERA_PROFILE`
    pub profile: Option<OsString>,
    /// `COPERA_CONFIG`
    pub config: Option<OsString>,
    /// `COPERA_API_URL`
    pub api_url: Option<OsString>,
    /// `COPERA_SANDBOX`
    pub sandbox: Option<OsString>,
    /// Those of [`proxy::VARIABLES`](crate::proxy::VARIABLES) that are set.
    pub proxies: Vec<(&'static str, OsString)>,
    /// The user's home directory.
    pub home: Option<PathBuf>,
    /// The user's configuration directory on this platform.
    pub config_dir: Option<PathBuf>,
    /// The user's state directory on this platform.
    pub state_dir: Option<PathBuf>,
    /// The working directory.
    pub cwd: Option<PathBuf>,
}

impl Environment {
    /// The environment of this process.
    pub fn from_process() -> Self {
        let directories = directories::BaseDirs::new();
        let variable = |name: &str| std::env::var_os(name);
        Self {
            token: variable("COPERA_TOKEN"),
            cli_token: variable("COPERA_CLI_AUTH_TOKEN"),
            parent: variable("COPERA_PARENT_ID"),
            to: variable("COPERA_TO"),
            profile: variable("COPERA_PROFILE"),
            config: variable("COPERA_CONFIG"),
            api_url: variable("COPERA_API_URL"),
            sandbox: variable("COPERA_SANDBOX"),
            proxies: crate::proxy::VARIABLES
                .into_iter()
                .filter_map(|name| Some((name, variable(name)?)))
                .collect(),
            home: directories.as_ref().map(|d| d.home_dir().to_owned()),
            config_dir: directories.as_ref().map(|d| d.config_dir().to_owned()),
            // macOS and Windows have no state directory. The one for data of this machine is closest.
            state_dir: directories.as_ref().map(|d| d.state_dir().unwrap_or(d.data_local_dir()).to_owned()),
            // It may be deleted or inaccessible. Then relative paths fail later, with a message.
            cwd: std::env::current_dir().ok(),
        }
    }
}

/// The value of a variable that is set and not empty.
pub fn set(value: &Option<OsString>) -> Option<&OsStr> {
    value.as_deref().filter(|value| !value.is_empty())
}

/// The text of a variable without surrounding white space, such as a newline from a CI setting. A blank variable counts
/// as unset.
/// Fails with [`Error::usage`] if it is not valid Unicode.
pub fn text<'a>(value: &'a Option<OsString>, name: &str) -> Result<Option<&'a str>, Error> {
    let text = set(value)
        .map(|value| value.to_str().ok_or_else(|| Error::usage(format!("{name} is not valid Unicode"))))
        .transpose()?;
    Ok(text.map(str::trim).filter(|text| !text.is_empty()))
}
