//! What the process was given besides its arguments, gathered once, so that nothing else asks for it and
//! tests need no process of their own.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use crate::error::Error;
use crate::secret::Token;

/// The API's variables and the places where configuration lives.
///
/// No `Debug`: it holds tokens.
#[derive(Clone, Default)]
pub struct Environment {
    /// `COPERA_TOKEN`
    pub token: Option<OsString>,
    /// `COPERA_CLI_AUTH_TOKEN`, the official CLI's.
    pub cli_token: Option<OsString>,
    /// `COPERA_PARENT_ID`
    pub parent: Option<OsString>,
    /// `COPERA_PROFILE`
    pub profile: Option<OsString>,
    /// `COPERA_CONFIG`
    pub config: Option<OsString>,
    /// `COPERA_API_URL`
    pub api_url: Option<OsString>,
    /// `COPERA_SANDBOX`
    pub sandbox: Option<OsString>,
    /// The variables about proxies ([`VARIABLES`](crate::proxy::VARIABLES)) that are set.
    pub proxies: Vec<(&'static str, OsString)>,
    /// The user's home directory.
    pub home: Option<PathBuf>,
    /// The platform's directory for the user's configuration, the program's own name not yet in it.
    pub config_dir: Option<PathBuf>,
    /// The platform's directory for state, the program's own name not yet in it.
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
            // macOS and Windows know no state directory: what belongs to this machine alone is the nearest.
            state_dir: directories.as_ref().map(|d| d.state_dir().unwrap_or(d.data_local_dir()).to_owned()),
            // It can be gone or out of reach; then it has no configuration, and relative paths will say so.
            cwd: std::env::current_dir().ok(),
        }
    }
}

/// A variable that counts: set, and not empty.
pub fn set(value: &Option<OsString>) -> Option<&OsStr> {
    value.as_deref().filter(|value| !value.is_empty())
}

/// The text of a variable that counts, without the white space around it (a line's end in a CI's settings): a blank
/// one counts as not set.
pub fn text<'a>(value: &'a Option<OsString>, name: &str) -> Result<Option<&'a str>, Error> {
    let text = set(value)
        .map(|value| value.to_str().ok_or_else(|| Error::usage(format!("{name} is not valid Unicode"))))
        .transpose()?;
    Ok(text.map(str::trim).filter(|text| !text.is_empty()))
}

/// The token in a variable, if there is one.
pub fn token(value: &Option<OsString>, name: &str) -> Result<Option<Token>, Error> {
    Ok(text(value, name)?.map(Token::new))
}
