//! The command line. Parsing only parses: [`settings`](crate::settings) adds variables and files, and checks what
//! involves several options.

pub mod args;
pub mod generate;
pub mod version;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};

use anstream::ColorChoice;
use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _};

pub use args::Cli;

use crate::options::{ColorMode, TransferOptions};

impl Cli {
    /// Parses the arguments of the process. For `--help` and for errors, prints and exits.
    pub fn parse_or_exit() -> Self {
        Self::parse_args(std::env::args_os()).unwrap_or_else(|error| exit(error))
    }

    /// Parses arguments. The first one is the name of the program.
    /// Fails with errors of clap, and the help or version that was asked for.
    pub fn parse_args<A: Into<OsString> + Clone>(
        args: impl IntoIterator<Item = A>,
    ) -> Result<Self, clap::Error> {
        let mut matches = Self::command().try_get_matches_from(args)?;
        let mut given: Vec<String> = ["if_exists", "output", "progress", "include", "exclude"]
            .into_iter()
            .filter(|key| matches.value_source(key) == Some(ValueSource::CommandLine))
            .map(str::to_owned)
            .collect();
        for key in TransferOptions::keys() {
            match matches.value_source(&key) {
                Some(ValueSource::CommandLine) => given.push(key),
                // clap sets a flag that is not given to false, but a profile may set it.
                _ => drop(matches.try_clear_id(&key)),
            }
        }
        let (include_at, exclude_at) = (positions(&matches, "include"), positions(&matches, "exclude"));
        let mut cli = Self::from_arg_matches_mut(&mut matches)?;
        let mut filters: Vec<_> = include_at
            .into_iter()
            .zip(std::mem::take(&mut cli.include))
            .chain(exclude_at.into_iter().zip(std::mem::take(&mut cli.exclude)))
            .collect();
        filters.sort_by_key(|(position, _)| *position);
        cli.filters = filters.into_iter().map(|(_, filter)| filter).collect();
        cli.given = given;
        Ok(cli)
    }
}

/// The positions of an option's values among the arguments.
fn positions(matches: &ArgMatches, id: &str) -> Vec<usize> {
    matches.indices_of(id).into_iter().flatten().collect()
}

/// Prints an error of clap, or the help that was asked for, and exits.
fn exit(mut error: clap::Error) -> ! {
    if error.use_stderr()
        && let Some(name) = file_parsed_as_options(&error, std::env::args_os().skip(1))
    {
        let tip = format!("for the file `{name}`, use `./{name}`, or put `--` before it");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    let is_terminal =
        if error.use_stderr() { io::stderr().is_terminal() } else { io::stdout().is_terminal() };
    // clap asks anstream whether to use colors.
    let choice =
        if ColorMode::Auto.is_enabled(is_terminal) { ColorChoice::Always } else { ColorChoice::Never };
    choice.write_global();
    error.exit()
}

/// The argument that is a file name but was parsed as options, such as `-odd.txt` as `-o dd.txt`. Either such a file
/// exists, or the invalid value is the end of the argument and looks like a file name.
fn file_parsed_as_options(error: &clap::Error, args: impl Iterator<Item = OsString>) -> Option<String> {
    let invalid = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => value.as_str(),
        _ => "",
    };
    args.take_while(|arg| arg != "--").filter_map(|arg| arg.into_string().ok()).find(|arg| {
        let Some(letters) = arg.strip_prefix('-').filter(|letters| letters.len() > 1) else { return false };
        let is_name = !letters.starts_with('-') && invalid.contains('.') && letters.ends_with(invalid);
        is_name || std::fs::symlink_metadata(arg).is_ok()
    })
}

#[cfg(test)]
mod tests;
