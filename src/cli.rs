//! The command line: what can be typed and what it says of itself. Parsing only parses; variables, files and
//! rules that need more than one option are [`settings::resolve`](crate::settings::resolve)'s.
//!
//! Variables are named in the help but not read by clap: one that is set and empty counts as not set, and no
//! value of one may ever be shown.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, ValueEnum, ValueHint};

use crate::plan::filter::Filter;
use crate::plan::mime;
use crate::settings::{ColorMode, IfExists, LogFormat, OutputMode, ProgressMode};
use crate::units::{
    parse_concurrency, parse_duration, parse_part_size, parse_rate, parse_retries, parse_timeout,
};

const SHORT_END: &str = "--help says more, with examples, exit codes and variables.";

const LONG_END: &str = "\
Examples:
  copera-upload --login
          Ask for a token, check it, and save it for all that follows
  copera-upload report.pdf
          Upload into the drive's root and print the created item as JSON
  copera-upload -p 665f1c2ab3d4e5f60718293a -o id *.csv
          Upload several files into a folder and print their ids, one a line
  copera-upload build.zip --name build-42.zip --limit-rate 2MiB
          Upload under another name, and leave some of the line to others
  copera-upload -r photos --exclude '*.tmp' --if-exists skip
          Upload a directory; run again, only what is missing is sent
  pg_dump shop | copera-upload - --name shop.sql
          Upload what another program writes
  copera-upload --dry-run *.mov
          Show what would be sent; no network and no token are needed

Sizes, rates and durations:
  8MiB, 8M, 8388608 are the same size, 8MB is 8,000,000. A rate is a size for
  each second.
  90s, 1m30s, 90 are the same duration.

Exit codes:
  0  done
  1  failed otherwise (refused by the service or storage, damaged on the way)
  2  the command line or the configuration is at fault
  3  folder not found
  4  no token, or one that is not good enough (401, 403)
  5  conflict (409, --if-exists fail, or another run is at work on this upload)
  6  rate limited to the end
  7  network or service unavailable to the end: the same command goes on from there
  8  a local file is missing, unreadable, not regular, or changed while read
  9  some files done, some failed (all failed: their common code, else 1)
  129, 130, 143  ended by a signal: the same command goes on from there

Token:
  The first of these that is there:
    COPERA_TOKEN
    COPERA_CLI_AUTH_TOKEN (the official CLI's)
    the profile's `token`: copera-upload --login saves it there
    the profile's `token_command`: the first line that it prints
  There is no option for it: arguments are visible to every process.

Configuration:
  TOML, lowest to highest:
    ~/.copera.toml
    copera-upload/config.toml in the user's configuration directory
    .copera.toml in the working directory
    .copera.local.toml in the working directory
  A profile may set token, token_command, parent, api_url and every option
  under Transfer: part_size = \"16MiB\". Options and variables come first.

Environment:
  COPERA_TOKEN, COPERA_CLI_AUTH_TOKEN   the token
  COPERA_PARENT_ID                      as --parent
  COPERA_PROFILE                        as --profile
  COPERA_CONFIG                         as --config
  COPERA_API_URL                        as --api-url
  COPERA_SANDBOX=1                      the dev API, unless another one is set
  SSL_CERT_FILE, SSL_CERT_DIR           on Linux, trust these certificates
                                        instead of the system's
  HTTPS_PROXY, HTTP_PROXY, ALL_PROXY,   the way through a proxy, and the hosts
  NO_PROXY                              that are reached without it
  NO_COLOR                              no colours
  A variable that is set but empty counts as not set.";

/// Put files into Copera Drive
///
/// Files go up in parts, several at a time. What fails on the way is tried again, and an upload that was
/// interrupted goes on where it was when the same command is given again. The created drive item is printed
/// to stdout, everything else to stderr.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "copera-upload",
    version,
    // Not clap's own `[PATH]...`: without --login and --generate there must be one.
    override_usage = "copera-upload [OPTIONS] <PATH>...\n       copera-upload --login [--profile <NAME>]",
    after_help = SHORT_END,
    after_long_help = LONG_END,
    // The last one given counts, so that an alias with options can be overridden.
    args_override_self = true,
    max_term_width = 100,
    disable_help_flag = true,
    disable_version_flag = true
)]
pub struct Cli {
    /// Files to upload, directories with -r, or - for standard input
    ///
    /// A file whose name begins with `-` is given as ./-name, or after `--`. Standard input is kept in the
    /// temporary directory until it is uploaded, since the service wants the size first.
    #[arg(value_name = "PATH", required_unless_present_any = ["generate", "login"], value_hint = ValueHint::AnyPath)]
    pub paths: Vec<OsString>,

    /// Folder to upload into, by its id [env: COPERA_PARENT_ID] [default: the drive's root]
    #[arg(short, long, value_name = "ID", help_heading = "Destination")]
    pub parent: Option<String>,

    /// Name in the drive, for one file; standard input needs one [default: the file's own name]
    #[arg(short, long, value_name = "NAME", help_heading = "Destination", value_hint = ValueHint::Other)]
    pub name: Option<OsString>,

    /// MIME type [default: by extension, then by content]
    #[arg(long, value_name = "TYPE", help_heading = "Destination", value_parser = mime::check)]
    pub mime_type: Option<String>,

    /// Upload directories with all that is in them
    ///
    /// `photos` becomes the folder `photos` in the target, as `cp -r` does it; `photos/`, `photos/.` and `.` put
    /// what is in them straight into the target, as rsync does it. Folders that are there already are used.
    #[arg(short, long, help_heading = "Destination")]
    pub recursive: bool,

    /// Of directories, send only what matches; may be given again, the last match wins
    ///
    /// A glob without `/` matches a name at any depth, one with `/` the path below the given directory. `*` does
    /// not cross a `/`, `**` does. Folders are made as they are needed.
    #[arg(long, value_name = "GLOB", help_heading = "Destination", value_parser = Filter::include, value_hint = ValueHint::Other)]
    include: Vec<Filter>,

    /// Of directories, leave out what matches; may be given again, the last match wins
    ///
    /// Globs are as for --include. A directory that is left out is not looked into.
    #[arg(long, value_name = "GLOB", help_heading = "Destination", value_parser = Filter::exclude, value_hint = ValueHint::Other)]
    exclude: Vec<Filter>,

    /// Both of them, in the order in which they were given
    #[arg(skip)]
    pub filters: Vec<Filter>,

    /// Follow links in directories [default: they are skipped with a warning]
    #[arg(short = 'L', long, help_heading = "Destination")]
    pub follow_symlinks: bool,

    /// When the folder has a file of that name already
    #[arg(long, value_name = "WHAT", help_heading = "Destination", default_value_t = IfExists::Upload, value_enum)]
    pub if_exists: IfExists,

    /// Parts in flight, 1 to 64 [default: 1 to 32, as the line gives]
    #[arg(short = 'j', long, value_name = "N", help_heading = "Transfer", value_parser = parse_concurrency)]
    pub concurrency: Option<usize>,

    /// Bytes a part, 5MiB to 5GiB [default: planned from the file's size]
    #[arg(long, value_name = "SIZE", help_heading = "Transfer", value_parser = parse_part_size)]
    pub part_size: Option<u64>,

    /// Bytes a second over all parts, such as 2MiB [default: no limit]
    #[arg(long, value_name = "RATE", help_heading = "Transfer", value_parser = parse_rate)]
    pub limit_rate: Option<u64>,

    /// How long to keep trying what gets no further; 0: not at all [default: 5m]
    ///
    /// Counted for each part and call on its own, from the last time that it got further than it ever was: a
    /// transfer is never ended for being slow.
    #[arg(long, value_name = "DURATION", help_heading = "Transfer", value_parser = parse_duration)]
    pub retry_for: Option<Duration>,

    /// The same as a count of retries in a row; whichever comes first [default: no limit]
    #[arg(long, value_name = "N", help_heading = "Transfer", value_parser = parse_retries)]
    pub max_retries: Option<u32>,

    /// How long a connection may take to come about [default: 10s]
    #[arg(long, value_name = "DURATION", help_heading = "Transfer", value_parser = parse_timeout)]
    pub connect_timeout: Option<Duration>,

    /// How long the network may take no byte, or storage give no answer [default: 30s]
    #[arg(long, value_name = "DURATION", help_heading = "Transfer", value_parser = parse_timeout)]
    pub stall_timeout: Option<Duration>,

    /// Neither continue an earlier upload nor keep records for a later one
    #[arg(long, help_heading = "Transfer")]
    pub no_resume: bool,

    /// Do not compare each part's MD5 with what storage returns
    #[arg(long, help_heading = "Transfer")]
    pub no_checksum: bool,

    /// Profile of the configuration [env: COPERA_PROFILE] [default: `default_profile`, else `default`]
    #[arg(long, value_name = "NAME", help_heading = "Account")]
    pub profile: Option<String>,

    /// Read this configuration file and no other [env: COPERA_CONFIG]
    ///
    /// Its name says by which rules: a .copera*.toml is shared with the official CLI and may hold keys that are
    /// not ours; in any other an unknown key is an error.
    #[arg(long, value_name = "FILE", help_heading = "Account", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,

    /// Base URL of the API [env: COPERA_API_URL] [default: https://api.copera.ai/public/v1]
    ///
    /// A URL without a path gets /public/v1.
    #[arg(long, value_name = "URL", help_heading = "Account", value_hint = ValueHint::Url)]
    pub api_url: Option<String>,

    /// Accept plain http:// for hosts other than this machine
    ///
    /// For test servers on a private network: the token and the files can be read by whoever sees the packets.
    #[arg(long, help_heading = "Account")]
    pub allow_http: bool,

    /// Trust these certificates too (PEM)
    #[arg(long, value_name = "FILE", help_heading = "Account", value_hint = ValueHint::FilePath)]
    pub cacert: Option<PathBuf>,

    /// Ask for a token, check it, and save it in the configuration
    ///
    /// Asks on the terminal without showing it, or reads the first line of a pipe. Nothing is saved unless the
    /// service takes the token; a service that cannot be reached is tried for 30 s (--retry-for). It goes into the
    /// profile of copera-upload/config.toml in the user's configuration directory, or of --config, together with
    /// the API's URL if that profile would be used with another one. Only the user may read the file then.
    #[arg(long, help_heading = "Account", conflicts_with_all = ["paths", "dry_run", "generate"])]
    pub login: bool,

    /// What goes to stdout
    #[arg(short, long, value_name = "WHAT", help_heading = "Output", default_value_t = OutputMode::Json, value_enum)]
    pub output: OutputMode,

    /// Only errors on stderr
    #[arg(short, long, help_heading = "Output", conflicts_with = "verbose")]
    pub quiet: bool,

    /// More on stderr: what is done, and with -vv every request, secrets masked
    #[arg(short, long, help_heading = "Output", action = ArgAction::Count)]
    pub verbose: u8,

    /// How progress is shown
    #[arg(long, value_name = "HOW", help_heading = "Output", default_value_t = ProgressMode::Auto, value_enum)]
    pub progress: ProgressMode,

    /// The form of the lines on stderr
    #[arg(long, value_name = "FORM", help_heading = "Output", default_value_t = LogFormat::Human, value_enum)]
    pub log_format: LogFormat,

    /// Colours
    #[arg(long, value_name = "WHEN", help_heading = "Output", default_value_t = ColorMode::Auto, value_enum)]
    pub color: ColorMode,

    /// Print the plan, one JSON line a file, and do nothing
    #[arg(long, help_heading = "Output")]
    pub dry_run: bool,

    /// Print a completion script or the man page
    #[arg(long, value_name = "WHAT", help_heading = "Other", value_enum)]
    pub generate: Option<Generate>,

    /// Print help (with --help more of it)
    #[arg(short, long, help_heading = "Other", action = ArgAction::Help)]
    help: Option<bool>,

    /// Print the version
    #[arg(short = 'V', long, help_heading = "Other", action = ArgAction::Version)]
    version: Option<bool>,
}

impl Cli {
    /// Parses the process's arguments; ends the process where they are wrong, or ask for help.
    pub fn of_process() -> Self {
        Self::read(Self::command().get_matches()).unwrap_or_else(|error| error.exit())
    }

    /// Parses these, the program's name first.
    ///
    /// # Errors
    /// Clap's.
    pub fn of<A: Into<OsString> + Clone>(args: impl IntoIterator<Item = A>) -> Result<Self, clap::Error> {
        Self::read(Self::command().try_get_matches_from(args)?)
    }

    fn read(matches: ArgMatches) -> Result<Self, clap::Error> {
        let mut cli = Self::from_arg_matches(&matches)?;
        let places = |id: &str| matches.indices_of(id).into_iter().flatten().collect::<Vec<_>>();
        let mut filters: Vec<_> =
            places("include").into_iter().zip(std::mem::take(&mut cli.include)).collect();
        filters.extend(places("exclude").into_iter().zip(std::mem::take(&mut cli.exclude)));
        filters.sort_by_key(|(place, _)| *place);
        cli.filters = filters.into_iter().map(|(_, filter)| filter).collect();
        Ok(cli)
    }
}

/// What can be made out of the definition of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Generate {
    /// Completions for bash
    CompleteBash,
    /// Completions for zsh
    CompleteZsh,
    /// Completions for fish
    CompleteFish,
    /// Completions for PowerShell
    CompletePowershell,
    /// Completions for elvish
    CompleteElvish,
    /// The man page
    Man,
}

#[cfg(test)]
#[path = "cli_tests.rs"]
mod tests;
