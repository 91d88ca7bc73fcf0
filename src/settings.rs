//! Resolves the command line, environment variables and configuration files into one plain struct. Nothing after this
//! reads any of them.

mod parent;

use std::ffi::OsString;
use std::path::PathBuf;

use conflate::Merge as _;

use crate::cli::Cli;
use crate::config::api_url::ApiUrl;
use crate::config::{self, token};
use crate::environment::{self, Environment};
use crate::error::Error;
use crate::options::{Destination, IfExists, OutputMode, TransferOptions};
use crate::plan::{Filters, Selection, name};
use crate::proxy::Proxies;
use crate::secret::Token;

/// The settings of a run.
#[derive(Debug, Clone)]
pub struct Settings {
    pub selection: Selection,
    pub if_exists: IfExists,
    pub transfer: TransferOptions,
    pub account: Account,
    pub output: OutputMode,
    pub dry_run: bool,
    /// Where records of uploads are kept, if the platform has a directory for them.
    pub state_dir: Option<PathBuf>,
    /// For `-v`: where each value comes from. Contains no values.
    pub sources: Vec<String>,
}

/// How to reach the drive.
#[derive(Debug, Clone)]
pub struct Account {
    /// The base URL of the API, without a trailing slash.
    pub api_url: String,
    /// `None` for a dry run.
    pub token: Option<Token>,
    /// Whether `http://` is allowed for other machines.
    pub allow_http: bool,
    /// A PEM file with more certificates to trust.
    pub cacert: Option<PathBuf>,
    pub proxies: Proxies,
}

/// Resolves the settings, and runs `token_command` if it provides the token. A dry run needs no token. `warnings` may
/// explain an error.
///
/// # Errors
/// [`Error::Usage`] for invalid options, variables and files, and those of [`token::resolve`].
pub fn resolve(cli: Cli, env: &Environment, warnings: &mut Vec<String>) -> Result<Settings, Error> {
    let name = resolve_name(&cli, warnings)?;
    check_paths(&cli.paths)?;
    let mut parent = None;
    if let Some(text) = &cli.parent {
        parent = Some((parent::parse(text, "--parent")?, "--parent".to_owned()));
    } else if let Some(text) = environment::text(&env.parent, "COPERA_PARENT_ID")? {
        parent = Some((parent::parse(text, "COPERA_PARENT_ID")?, "COPERA_PARENT_ID".to_owned()));
    }
    let mut config = config::load(cli.config.as_deref(), cli.profile.as_deref(), env)?;
    warnings.append(&mut config.warnings);
    if let (None, Some(set)) = (&parent, config.profile.parent()) {
        let from = set.location.to_string();
        parent = Some((parent::parse(&set.value, &from)?, from));
    }

    let mut sources = Vec::new();
    let mut add_source = |what: &str, from: &str| sources.push(format!("{what} from {from}"));
    if let Some(from) = &config.profile_from {
        add_source(&format!("profile `{}`", config.profile_name), from);
    }
    let api_url = ApiUrl::resolve(cli.api_url.as_deref(), cli.allow_http, env, &config)?;
    if let Some(from) = &api_url.from {
        add_source("api_url", from);
    }
    let proxies = Proxies::resolve(&env.proxies, warnings)?;
    let mut token = None;
    if !cli.dry_run {
        let (found, from) = token::resolve(env, &config, &api_url)?;
        add_source("token", &from);
        token = Some(found);
    }
    if let Some((_, from)) = &parent {
        add_source("parent", from);
    }
    for key in TransferOptions::keys() {
        if cli.given.contains(&key) {
            add_source(&key, &format!("--{}", key.replace('_', "-")));
        } else if let Some(location) = config.profile.locations.get(&key) {
            add_source(&key, &location.to_string());
        }
    }
    let mut transfer = cli.transfer;
    transfer.merge(config.profile.transfer);

    let parent = parent.map(|(parent, _)| parent);
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
        account: Account {
            api_url: api_url.url,
            token,
            allow_http: cli.allow_http,
            cacert: cli.cacert,
            proxies,
        },
        output: cli.output,
        dry_run: cli.dry_run,
        state_dir: env.state_dir.as_ref().map(|dir| dir.join(env!("CARGO_PKG_NAME"))),
        sources,
    })
}

/// Checks the paths without looking at the disk.
fn check_paths(paths: &[OsString]) -> Result<(), Error> {
    if paths.iter().any(|path| path.is_empty()) {
        return Err(Error::usage_hint("a PATH is empty", "is a variable in the command unset?"));
    }
    if paths.len() > 1 && paths.iter().any(|path| path == "-") {
        return Err(Error::usage_hint(
            "standard input (-) cannot be uploaded together with other paths",
            "upload it by itself; for a file named `-`, use ./-",
        ));
    }
    Ok(())
}

/// Checks `--name`. Returns it as it is sent.
fn resolve_name(cli: &Cli, warnings: &mut Vec<String>) -> Result<Option<String>, Error> {
    let Some(given) = &cli.name else { return Ok(None) };
    if cli.paths.len() > 1 {
        return Err(Error::usage_hint(
            format!("--name is for one file, and there are {} paths", cli.paths.len()),
            "without --name every file keeps its own name",
        ));
    }
    let (name, lossy) = name::sent(given);
    name::check(&name).map_err(|why| Error::usage(format!("--name {why}")))?;
    if lossy {
        warnings.push(format!("--name is not valid Unicode; it is sent as {name}"));
    }
    Ok(Some(name))
}

#[cfg(test)]
mod tests;
