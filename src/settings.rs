//! Everything the program was told, resolved into one plain struct: flags over environment over TOML over
//! defaults. What comes after this file asks no flag, no variable and no file of configuration again.

mod parent;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::cli::Cli;
use conflate::Merge as _;

use crate::config::{self, Config, Location, api_url, token};
use crate::environment;
use crate::error::Error;
use crate::options::{Destination, IfExists, OutputMode, TransferOptions};
use crate::plan::{Filters, Selection, name};
use crate::proxy::Proxies;
use crate::secret::Token;

pub use crate::environment::Environment;

/// One run's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What is uploaded, and where to.
    pub selection: Selection,
    /// What to do about a file that is there already.
    pub if_exists: IfExists,
    /// How parts are sent.
    pub transfer: TransferOptions,
    /// Which drive, and as whom.
    pub account: Account,
    /// What goes to stdout.
    pub output: OutputMode,
    /// Print the plan and do nothing.
    pub dry_run: bool,
    /// Where records of uploads are kept; `None`: the platform names no place.
    pub state_dir: Option<PathBuf>,
    /// What to warn of before work begins (a readable config file with a token, an ignored key).
    pub warnings: Vec<String>,
    /// For `-v`: which source gave which value; never a secret.
    pub sources: Vec<String>,
}

/// Which drive, and as whom.
#[derive(Debug, Clone)]
pub struct Account {
    /// The API's base URL, path included, without a slash at its end.
    pub api_url: String,
    /// The token; `None` only for a dry run.
    pub token: Option<Token>,
    /// Plain `http://` is allowed for hosts other than this machine.
    pub allow_http: bool,
    /// More certificates to trust, PEM.
    pub cacert: Option<PathBuf>,
    /// The proxies that the environment names.
    pub proxies: Proxies,
}

/// Resolves what was typed, the variables and the files into one struct. Runs a `token_command` if the token
/// comes from one; a dry run needs no token and runs nothing. What there is to warn of is in the settings, or,
/// where there are none, in `warnings`: it may well be why.
pub fn resolve(cli: Cli, env: &Environment, warnings: &mut Vec<String>) -> Result<Settings, Error> {
    let given = name_of(&cli)?;
    check_paths(&cli.paths)?;
    let parent = cli.parent.map(|parent| parent::parse(&parent, "--parent")).transpose()?;
    let asked = not_empty(cli.profile, "--profile")?;
    let only = cli.config.as_deref().or_else(|| environment::set(&env.config).map(Path::new));
    let mut config = config::load(only, asked.as_deref(), env)?;
    warnings.append(&mut config.warnings);
    let mut sources = Sources::default();
    if let Some(from) = &config.profile_from {
        sources.add(&format!("profile `{}`", config.profile_name), from);
    }

    let (api_url, api_place) =
        api_url_of(cli.api_url.as_deref(), cli.allow_http, env, &config, &mut sources)?;
    let proxies = Proxies::resolve(&env.proxies, warnings)?;
    let token = match cli.dry_run {
        true => None,
        false => Some(token_of(env, &config, &api_url, api_place.as_ref(), &mut sources)?),
    };

    let profile = config.profile;
    let parent = match (parent, environment::text(&env.parent, "COPERA_PARENT_ID")?) {
        (None, Some(parent)) => {
            sources.add("parent", "COPERA_PARENT_ID");
            Some(parent::parse(parent, "COPERA_PARENT_ID")?)
        }
        (Some(flag), _) => {
            sources.add("parent", "--parent");
            Some(flag)
        }
        (None, _) => match profile.parent() {
            Some(set) => {
                let from = set.location.to_string();
                sources.add("parent", &from);
                Some(parent::parse(&set.value, &from)?)
            }
            None => None,
        },
    };
    for key in TransferOptions::keys() {
        if cli.given.contains(&key) {
            sources.add(&key, &format!("--{}", key.replace('_', "-")));
        } else if let Some(location) = profile.locations.get(&key) {
            sources.add(&key, &location.to_string());
        }
    }
    let mut transfer = cli.transfer;
    transfer.merge(profile.transfer);

    let name = given.map(|(name, lossy)| {
        if lossy {
            warnings.push(format!("--name is not valid Unicode; it is sent as {name}"));
        }
        name
    });
    Ok(Settings {
        selection: Selection {
            paths: cli.paths,
            recursive: cli.recursive,
            follow_symlinks: cli.follow_symlinks,
            filters: Filters::new(cli.filters),
            destination: Destination { parent, name, mime_type: cli.mime_type },
        },
        if_exists: cli.if_exists,
        transfer,
        account: Account { api_url, token, allow_http: cli.allow_http, cacert: cli.cacert, proxies },
        output: cli.output,
        dry_run: cli.dry_run,
        state_dir: env.state_dir.as_ref().map(|dir| dir.join(env!("CARGO_PKG_NAME"))),
        warnings: std::mem::take(warnings),
        sources: sources.0,
    })
}

/// Where values come from, told by `-v`: never the values, of which one is the token.
#[derive(Default)]
pub(crate) struct Sources(pub(crate) Vec<String>);

impl Sources {
    fn add(&mut self, what: &str, from: &str) {
        self.0.push(format!("{what} from {from}"));
    }
}

pub(crate) fn not_empty(value: Option<String>, option: &str) -> Result<Option<String>, Error> {
    match value {
        Some(value) if value.is_empty() => Err(Error::usage(format!("{option} must not be empty"))),
        value => Ok(value),
    }
}

/// What no PATH can be, whatever is on the disk.
fn check_paths(paths: &[OsString]) -> Result<(), Error> {
    if paths.iter().any(|path| path.is_empty()) {
        return Err(Error::usage_hint("a PATH is empty", "is a variable in the command unset?"));
    }
    if paths.len() > 1 && paths.iter().any(|path| path == "-") {
        return Err(Error::usage_hint(
            "standard input (-) cannot be uploaded together with other paths",
            "upload it by itself; a file that is called `-` is given as ./-",
        ));
    }
    Ok(())
}

/// `--name` as it is sent, and whether it had undecodable bytes.
fn name_of(cli: &Cli) -> Result<Option<(String, bool)>, Error> {
    let Some(given) = &cli.name else { return Ok(None) };
    if cli.paths.len() > 1 {
        return Err(Error::usage_hint(
            format!("--name is for one file, and there are {} paths", cli.paths.len()),
            "without --name every file keeps its own name",
        ));
    }
    let (name, lossy) = name::sent(given);
    name::check(&name).map_err(|why| Error::usage(format!("--name {why}")))?;
    Ok(Some((name, lossy)))
}

/// The API's URL, and its place when it stands in a file: the option, the variable, the profile's, `[api]
/// base_url`, the service. `COPERA_SANDBOX=1` takes the place of the service's own URL and of no other, as
/// in the official CLI.
pub(crate) fn api_url_of(
    flag: Option<&str>,
    allow_http: bool,
    env: &Environment,
    config: &Config,
    sources: &mut Sources,
) -> Result<(String, Option<Location>), Error> {
    let variable = environment::text(&env.api_url, "COPERA_API_URL")?;
    let outer = flag.map(|url| (url, "--api-url")).or(variable.map(|url| (url, "COPERA_API_URL")));
    if let Some((url, from)) = outer {
        sources.add("api_url", from);
        return Ok((api_url::normalize(url, from, allow_http)?, None));
    }
    let mut found = None;
    if let Some(set) = config.profile.api_url().or(config.base_url.clone()) {
        let from = set.location.to_string();
        let url = api_url::normalize(&set.value, &from, allow_http)?;
        found = Some((url, Some(set.location.clone()), from));
    }
    let service = found.as_ref().is_none_or(|(url, ..)| url == api_url::DEFAULT);
    if service && environment::text(&env.sandbox, "COPERA_SANDBOX")? == Some("1") {
        sources.add("api_url", "COPERA_SANDBOX");
        return Ok((api_url::SANDBOX.to_owned(), None));
    }
    Ok(match found {
        Some((url, place, from)) => {
            sources.add("api_url", &from);
            (url, place)
        }
        None => (api_url::DEFAULT.to_owned(), None),
    })
}

/// The token, once it is sure that it may be sent to that URL: no command runs for a URL that is refused.
fn token_of(
    env: &Environment,
    config: &Config,
    url: &str,
    url_place: Option<&Location>,
    sources: &mut Sources,
) -> Result<Token, Error> {
    let origin = token::find(env, config)?.ok_or(Error::NoToken)?;
    if let Some(place) = url_place {
        api_url::check_token_origin(url, place, origin.place())?;
    }
    sources.add("token", &origin.describe());
    origin.obtain(&config.profile_name)
}

#[cfg(test)]
mod tests;
