//! The definition of the command line. The doc comments are the help.
//!
//! The help names environment variables, but clap does not read them: an empty variable counts as unset, and clap
//! could print the value of one.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Parser, ValueEnum, ValueHint};

use crate::options::{Display, IfExists, OutputMode, TransferOptions};
use crate::plan::filter::Filter;
use crate::plan::mime;

const SHORT_END: &str = "Use --help for details, examples, exit codes and environment variables.";

const LONG_END: &str = "\
Examples:
  copera-upload --login
          Ask for a token, check it and save it
  copera-upload report.pdf
          Upload to the root of the drive and print the created item as JSON
  copera-upload --to Reports/2026 -o id *.csv
          Upload several files to a folder and print their IDs, one per line
  copera-upload build.zip --name build-42.zip --limit-rate 2MiB
          Upload under another name, at no more than 2 MiB per second
  copera-upload -r photos --exclude '*.tmp' --if-exists skip
          Upload what has been added to a directory since the last time
  git ls-files -z | copera-upload --files-from - -0 -R --to src
          Upload the listed files with their directories
  pg_dump shop | copera-upload - --name shop.sql
          Upload the output of another program
  copera-upload --dry-run *.mov
          Show what would be uploaded; needs neither network nor token

Sizes, rates and durations:
  8MiB, 8M and 8388608 are the same size; 8MB is 8,000,000. A rate is a size
  per second.
  90s, 1m30s and 90 are the same duration.

Exit codes:
  0  success
  1  failed: refused by the service or storage, or damaged in transit
  2  invalid command line or configuration
  3  folder not found
  4  missing, invalid or insufficient token (401, 403)
  5  conflict (409, --if-exists fail, or another run is uploading this file)
  6  rate limited; run the same command again later to resume
  7  network or service unavailable; run the same command again to resume
  8  local file missing, unreadable, not a regular file, or changed while read
  9  some files failed (if all failed: their common code, else 1)
  129, 130, 143  ended by a signal; run the same command again to resume

Token:
  The first of these that is set:
    COPERA_TOKEN
    COPERA_CLI_AUTH_TOKEN (the official CLI's)
    the profile's `token`, which copera-upload --login saves
    the profile's `token_command`: the first line it prints
  There is no option for the token: other processes can read arguments.

Configuration:
  TOML files, lowest precedence first:
    ~/.copera.toml
    copera-upload/config.toml in the user's configuration directory
    .copera.toml in the working directory
    .copera.local.toml in the working directory
  A profile may set token, token_command, parent, to, api_url, if_exists,
  include, exclude, output, progress and every option under Transfer, for
  example part_size = \"16MiB\". Command-line options and environment
  variables override the files.

Environment:
  COPERA_TOKEN, COPERA_CLI_AUTH_TOKEN   the token
  COPERA_PARENT_ID                      same as --parent
  COPERA_TO                             same as --to
  COPERA_PROFILE                        same as --profile
  COPERA_CONFIG                         same as --config
  COPERA_API_URL                        same as --api-url
  COPERA_SANDBOX=1                      use the dev API unless another is set
  SSL_CERT_FILE, SSL_CERT_DIR           on Linux, trust these certificates
                                        instead of the system's
  HTTPS_PROXY, HTTP_PROXY, ALL_PROXY    proxies to use
  NO_PROXY                              hosts to reach without a proxy
  NO_COLOR                              disable colors
  A variable that is set but empty counts as unset.";

/// Upload files to Copera Drive
///
/// Files are uploaded in parts, several at a time. Failed requests are retried, and running the same command
/// again resumes an interrupted upload. The created drive item is printed to stdout, everything else to stderr.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "copera-upload",
    version,
    // clap would write `[PATH]...`, but only --login and --generate work without a path.
    override_usage = "copera-upload [OPTIONS] <PATH>...\n       copera-upload --login [--profile <NAME>]",
    after_help = SHORT_END,
    after_long_help = LONG_END,
    // The last one wins, so options in a shell alias can be overridden.
    args_override_self = true,
    max_term_width = 100,
    disable_help_flag = true,
    disable_version_flag = true
)]
pub struct Cli {
    /// Files to upload, directories with -r, or - for standard input
    ///
    /// For a file whose name begins with `-`, write ./-name or put the name after `--`. Standard input is first
    /// copied to a temporary file, because the service needs to know the size in advance. On Windows, `*` and `?` in
    /// names are expanded, which shells do on other systems.
    #[arg(value_name = "PATH", required_unless_present_any = ["files_from", "generate", "login", "version"], value_hint = ValueHint::AnyPath)]
    pub paths: Vec<OsString>,

    /// Folder to upload into, by its ID or its address in the browser [env: COPERA_PARENT_ID] [default: root of the drive]
    #[arg(short, long, value_name = "ID|URL", help_heading = "Destination")]
    pub parent: Option<String>,

    /// Folder to upload into, by its path below --parent, for example Reports/2026 [env: COPERA_TO]
    ///
    /// Folders that do not exist are created once there is something to put into them. If several folders have the
    /// same name, the oldest is used, with a warning. `/` is the parent itself.
    #[arg(short, long, value_name = "FOLDER", help_heading = "Destination", value_hint = ValueHint::Other)]
    pub to: Option<String>,

    /// Name in the drive, for a single file; required for standard input [default: the file's name]
    #[arg(short, long, value_name = "NAME", help_heading = "Destination", value_hint = ValueHint::Other)]
    pub name: Option<OsString>,

    /// MIME type [default: guessed from the extension, then from the content]
    #[arg(long, value_name = "TYPE", help_heading = "Destination", value_parser = mime::check)]
    pub mime_type: Option<String>,

    /// Upload directories and their contents
    ///
    /// `photos` becomes the folder `photos` in the target, as with `cp -r`. `photos/`, `photos/.` and `.` put their
    /// contents directly into the target, as with rsync. Existing folders are reused.
    #[arg(short, long, help_heading = "Destination")]
    pub recursive: bool,

    /// Keep the directories of each relative PATH: `2026/may/a.jpg` goes into the folders `2026/may`
    #[arg(short = 'R', long, help_heading = "Destination")]
    pub relative: bool,

    /// Read more paths from a file, one per line, or from standard input (-)
    ///
    /// Each line is a path and nothing else: no options, comments or quoting. Empty lines are skipped. Paths on the
    /// command line come first. The upload begins before the list has ended. A path that does not exist fails
    /// without stopping the rest.
    #[arg(long, value_name = "FILE", help_heading = "Destination", value_hint = ValueHint::FilePath)]
    pub files_from: Option<PathBuf>,

    /// Paths in --files-from end with NUL bytes, as `find -print0` and `git ls-files -z` print them
    #[arg(short = '0', long, help_heading = "Destination", requires = "files_from")]
    pub null: bool,

    /// Upload matching files; repeatable, the last match wins
    ///
    /// Files that match no glob are left out if the first filter is an --include, and uploaded if it is an --exclude.
    /// A glob without `/` matches a name at any depth. A glob with `/` matches the path below the given directory; if
    /// it ends with `/`, it matches only directories. `*` does not match `/`, `**` does. A glob that matches a
    /// directory applies to everything in it, unless a later one matches too. Files given on the command line are
    /// filtered by name.
    #[arg(long, value_name = "GLOB", help_heading = "Destination", value_parser = Filter::include, value_hint = ValueHint::Other)]
    pub(super) include: Vec<Filter>,

    /// Exclude matching files and directories; repeatable, the last match wins
    ///
    /// The globs are those of --include. An excluded directory is not entered.
    #[arg(long, value_name = "GLOB", help_heading = "Destination", value_parser = Filter::exclude, value_hint = ValueHint::Other)]
    pub(super) exclude: Vec<Filter>,

    /// Globs of --include and --exclude in the order in which they were given
    #[arg(skip)]
    pub filters: Vec<Filter>,

    /// Follow symbolic links in directories [default: skip them with a warning]
    #[arg(short = 'L', long, help_heading = "Destination")]
    pub follow_symlinks: bool,

    /// What to do if the folder already has a file of that name
    #[arg(long, value_name = "WHAT", help_heading = "Destination", default_value_t = IfExists::Upload, value_enum)]
    pub if_exists: IfExists,

    /// Options under "Transfer".
    #[command(flatten)]
    pub transfer: TransferOptions,

    /// Keys of the options that were given on the command line, as a profile has them
    #[arg(skip)]
    pub given: Vec<String>,

    /// Configuration profile [env: COPERA_PROFILE] [default: `default_profile`, else `default`]
    #[arg(long, value_name = "NAME", help_heading = "Account")]
    pub profile: Option<String>,

    /// Read only this configuration file [env: COPERA_CONFIG]
    ///
    /// A file named .copera*.toml is shared with the official CLI and may contain keys that this program does not
    /// know. In any other file an unknown key is an error.
    #[arg(long, value_name = "FILE", help_heading = "Account", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,

    /// Base URL of the API [env: COPERA_API_URL] [default: https://api.copera.ai/public/v1]
    ///
    /// /public/v1 is appended to a URL without a path.
    #[arg(long, value_name = "URL", help_heading = "Account", value_hint = ValueHint::Url)]
    pub api_url: Option<String>,

    /// Allow plain http:// to hosts other than this machine
    ///
    /// Meant for test servers on a private network. The token and the files are sent unencrypted.
    #[arg(long, help_heading = "Account")]
    pub allow_http: bool,

    /// Trust the certificates in this PEM file as well
    #[arg(long, value_name = "FILE", help_heading = "Account", value_hint = ValueHint::FilePath)]
    pub cacert: Option<PathBuf>,

    /// Ask for a token, check it and save it in the configuration
    ///
    /// Prompts on the terminal without echo, or reads the first line of a pipe. The token is saved only if the
    /// service accepts it; an unreachable service is retried for 30 s (see --retry-for). The token is stored in the
    /// profile in copera-upload/config.toml in the user's configuration directory, or in the file of --config. The
    /// API URL is stored with it if the profile would otherwise use a different one. The file is made readable only
    /// by its owner.
    #[arg(long, help_heading = "Account", conflicts_with_all = ["paths", "files_from", "dry_run", "generate"])]
    pub login: bool,

    /// What to print to stdout
    #[arg(short, long, value_name = "WHAT", help_heading = "Output", default_value_t = OutputMode::Json, value_enum)]
    pub output: OutputMode,

    /// Options about stderr.
    #[command(flatten)]
    pub display: Display,

    /// Print what would be uploaded, one JSON line per file, and exit
    #[arg(long, help_heading = "Output")]
    pub dry_run: bool,

    /// Print a completion script or the man page
    #[arg(long, value_name = "WHAT", help_heading = "Other", value_enum)]
    pub generate: Option<Generate>,

    /// Print help; --help prints more than -h
    #[arg(short, long, help_heading = "Other", action = ArgAction::Help)]
    help: Option<bool>,

    /// Print the version; with -v also commit, target and features, for bug reports
    #[arg(short = 'V', long, help_heading = "Other")]
    pub version: bool,
}

/// What `--generate` prints.
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
