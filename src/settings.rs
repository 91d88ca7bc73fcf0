//! Resolves the command line, environment variables and configuration files into one plain struct. Nothing after this
//! reads any of them.

mod folder;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use conflate::Merge as _;

use crate::cli::Cli;
use crate::config::api_url::ApiUrl;
use crate::config::location::Sourced;
use crate::config::profile::OVERRIDABLE;
use crate::config::{self, Config, token};
use crate::environment::{self, Environment};
use crate::error::Error;
use crate::options::{Destination, IfExists, OutputMode, ProgressMode, TransferOptions};
use crate::plan::{self, Filters, ListSource, Selection, name};
use crate::proxy::Proxies;
use crate::secret::Token;

/// The settings of a run.
#[derive(Debug, Clone)]
pub struct Settings {
    pub selection: Selection,
    /// `--files-from`
    pub list: Option<ListSource>,
    pub if_exists: IfExists,
    pub transfer: TransferOptions,
    pub account: Account,
    pub output: OutputMode,
    /// `progress` of the profile, unless the command line overrides it.
    pub progress: Option<ProgressMode>,
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
/// Fails with [`Error::usage`] for invalid options, variables and files, and those of [`token::resolve`].
pub fn resolve(cli: Cli, env: &Environment, warnings: &mut Vec<String>) -> Result<Settings, Error> {
    check_paths(&cli)?;
    let name = resolve_name(&cli, warnings)?;
    let mut config = config::load(cli.config.as_deref(), cli.profile.as_deref(), env)?;
    warnings.append(&mut config.warnings);
    let options = &config.profile.options;
    let variable = ("COPERA_PARENT_ID", &env.parent);
    let parent =
        find_folder("parent", &cli.parent, variable, &config, &options.parent, folder::parse_parent)?;
    let to = find_folder("to", &cli.to, ("COPERA_TO", &env.to), &config, &options.to, folder::parse_to)?;

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
    if let Some((_, from)) = &to {
        add_source("to", from);
    }
    let profile = &config.profile;
    let overridden = |key: &str| cli.given.iter().any(|given| given == key);
    let if_exists = profile.options.if_exists.filter(|_| !overridden("if_exists")).unwrap_or(cli.if_exists);
    let output = profile.options.output.filter(|_| !overridden("output")).unwrap_or(cli.output);
    let progress = profile.options.progress.filter(|_| !overridden("progress"));
    let filters = Filters::new(profile.filters(), cli.filters);
    for key in ["include", "exclude"] {
        // The globs of both are used.
        if let Some(location) = profile.locations.get(key) {
            add_source(key, &location.to_string());
        }
        if overridden(key) {
            add_source(key, &format!("--{key}"));
        }
    }
    for key in OVERRIDABLE.into_iter().map(str::to_owned).chain(TransferOptions::keys()) {
        if cli.given.contains(&key) {
            add_source(&key, &format!("--{}", key.replace('_', "-")));
        } else if let Some(location) = config.profile.locations.get(&key) {
            add_source(&key, &location.to_string());
        }
    }
    let verify_given = overridden("verify");
    let mut transfer = cli.transfer;
    if transfer.verify().is_some() && !transfer.checksum() {
        return Err(Error::usage("--verify needs checksums and cannot be combined with --no-checksum"));
    }
    transfer.merge(config.profile.transfer);
    if transfer.verify().is_some() && !transfer.checksum() {
        // At least one of them is from the configuration.
        let (ignored, why) = match verify_given {
            true => ("no_checksum", "--verify needs the checksums"),
            false => ("verify", "without checksums (no_checksum) there is nothing to compare"),
        };
        let location = config.profile.locations.get(ignored).map(|at| format!("{at}: ")).unwrap_or_default();
        warnings.push(format!("{location}{ignored} is ignored: {why}"));
        match verify_given {
            true => transfer.no_checksum = None,
            false => transfer.verify = None,
        }
    }

    let parent = parent.map(|(parent, _)| parent);
    let to = to.map(|(to, _)| to).unwrap_or_default();
    Ok(Settings {
        selection: Selection {
            paths: cli.paths,
            recursive: cli.recursive,
            relative: cli.relative,
            follow_symlinks: cli.follow_symlinks,
            filters,
            destination: Destination { parent, to, name, mime_type: cli.mime_type },
        },
        list: cli.files_from.map(|file| ListSource { file, null: cli.null }),
        if_exists,
        transfer,
        account: Account {
            api_url: api_url.url,
            token,
            allow_http: cli.allow_http,
            cacert: cli.cacert,
            proxies,
        },
        output,
        progress,
        dry_run: cli.dry_run,
        state_dir: env.state_dir.as_ref().map(|dir| dir.join(env!("CARGO_PKG_NAME"))),
        sources,
    })
}

/// The folder from an option, a variable or a `key` of the profile, and where it is given.
fn find_folder<T>(
    key: &str,
    option: &Option<String>,
    (variable, value): (&str, &Option<OsString>),
    config: &Config,
    configured: &Option<String>,
    parse: fn(&str, &str) -> Result<T, Error>,
) -> Result<Option<(T, String)>, Error> {
    if let Some(text) = option {
        let from = format!("--{key}");
        return Ok(Some((parse(text, &from)?, from)));
    }
    if let Some(text) = environment::text(value, variable)? {
        return Ok(Some((parse(text, variable)?, variable.to_owned())));
    }
    let Some(Sourced { value, location }) = config.profile.sourced(key, configured) else { return Ok(None) };
    let folder = parse(&value, &format!("{location}: profiles.{}.{key}", config.profile_name))?;
    Ok(Some((folder, location.to_string())))
}

/// Checks the paths without access to the disk.
fn check_paths(cli: &Cli) -> Result<(), Error> {
    let paths = &cli.paths;
    if paths.iter().any(|path| path.is_empty()) {
        return Err(Error::usage_hint("a PATH is empty", "is a variable in the command unset?"));
    }
    if cli.relative {
        for path in paths.iter().filter(|path| *path != "-") {
            plan::check_relative(Path::new(path)).map_err(|error| error.about(&name::decode(path).0))?;
        }
    }
    let has_stdin = paths.iter().any(|path| path == "-");
    match &cli.files_from {
        Some(list) if has_stdin && list.as_os_str() == "-" => Err(Error::usage(
            "standard input cannot be both uploaded (-) and read as a list (--files-from -)",
        )),
        list if has_stdin && (list.is_some() || paths.len() > 1) => Err(Error::usage_hint(
            "standard input (-) cannot be uploaded together with other paths",
            "upload it by itself; for a file named `-`, use ./-",
        )),
        _ => Ok(()),
    }
}

/// Checks `--name`. Returns it as it is sent.
fn resolve_name(cli: &Cli, warnings: &mut Vec<String>) -> Result<Option<String>, Error> {
    let Some(given) = &cli.name else { return Ok(None) };
    if cli.files_from.is_some() {
        return Err(Error::usage("--name is for one file, and --files-from is for several"));
    }
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
