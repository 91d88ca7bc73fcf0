//! Plain types for options that several layers share.

use std::time::Duration;

use clap::ArgAction;

use crate::retry::RetryPolicy;
use crate::units::{
    parse_concurrency, parse_duration, parse_part_size, parse_rate, parse_retries, parse_timeout, toml,
};

/// Where files go.
#[derive(Debug, Clone, Default)]
pub struct Destination {
    /// The ID of the folder, or `None` for the root of the drive. The service checks IDs.
    pub parent: Option<String>,
    /// The names of folders below it, from the top down.
    pub to: Vec<String>,
    /// The name in the drive, for a single file.
    pub name: Option<String>,
    /// The MIME type, or `None` to guess it.
    pub mime_type: Option<String>,
}

/// What to do if the folder already has a file of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
pub enum IfExists {
    /// Upload anyway, which creates a second item of that name
    Upload,
    /// Skip if a file with the same name and size exists, otherwise upload
    Skip,
    /// Skip if the newest file of that name has the same size and was created after the file was modified, otherwise upload
    Newer,
    /// Fail with exit code 5
    Fail,
}

/// Options under "Transfer". The command line and a profile share this definition: the keys of a profile are the long
/// names, with `_` for `-`.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, serde::Deserialize, conflate::Merge)]
#[command(next_help_heading = "Transfer")]
#[merge(strategy = conflate::option::overwrite_none)]
#[serde(default)]
pub struct TransferOptions {
    /// Concurrent part uploads, 1 to 64 [default: adaptive, up to 32]
    #[arg(short = 'j', long, value_name = "N", value_parser = parse_concurrency)]
    #[serde(deserialize_with = "toml::concurrency")]
    pub concurrency: Option<usize>,

    /// Size of a part, 5MiB to 5GiB [default: chosen from the file's size]
    #[arg(long, value_name = "SIZE", value_parser = parse_part_size)]
    #[serde(deserialize_with = "toml::part_size")]
    pub part_size: Option<u64>,

    /// Total upload rate in bytes per second, for example 2MiB [default: unlimited]
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    #[serde(deserialize_with = "toml::rate")]
    pub limit_rate: Option<u64>,

    /// Give up after this long without progress; 0 disables retries [default: 5m]
    ///
    /// Counted separately for each part and API call, and reset whenever it makes progress. Slow transfers are
    /// never aborted.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    #[serde(deserialize_with = "toml::duration")]
    pub retry_for: Option<Duration>,

    /// Give up after this many consecutive retries without progress [default: no limit]
    #[arg(long, value_name = "N", value_parser = parse_retries)]
    #[serde(deserialize_with = "toml::retries")]
    pub max_retries: Option<u32>,

    /// Connection timeout [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout)]
    #[serde(deserialize_with = "toml::timeout")]
    pub connect_timeout: Option<Duration>,

    /// Abort and retry a transfer that has stalled for this long [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout)]
    #[serde(deserialize_with = "toml::timeout")]
    pub stall_timeout: Option<Duration>,

    /// Do not resume an earlier upload or keep records for a later one
    #[arg(long, action = ArgAction::SetTrue)]
    #[serde(deserialize_with = "toml::flag")]
    pub no_resume: Option<bool>,

    /// Do not compare the MD5 of each part with the ETag that storage returns
    #[arg(long, action = ArgAction::SetTrue)]
    #[serde(deserialize_with = "toml::flag")]
    pub no_checksum: Option<bool>,

    /// Prove after each upload that the drive's object is the file
    ///
    /// Off unless given; without a value: auto. A difference is an error with exit code 1. Without an answer the exit code is 7, and
    /// running the same command again only verifies.
    #[arg(
        long,
        value_name = "HOW",
        value_enum,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "auto"
    )]
    #[serde(deserialize_with = "toml::choice_or_flag")]
    pub verify: Option<Verify>,
}

/// How to verify what was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Verify {
    /// Compare the object's size and multipart ETag; if the ETag proves nothing, download and compare
    Auto,
    /// Download the object and compare it
    Full,
    /// Do not verify, whatever a configuration file says
    Off,
}

impl From<bool> for Verify {
    fn from(on: bool) -> Self {
        if on { Self::Auto } else { Self::Off }
    }
}

impl TransferOptions {
    /// The keys of a profile, in the order of the help.
    pub fn keys() -> impl Iterator<Item = String> {
        let command = <Self as clap::Args>::augment_args(clap::Command::new(""));
        let keys: Vec<_> = command.get_arguments().map(|option| option.get_id().to_string()).collect();
        keys.into_iter()
    }

    /// How long to keep trying.
    pub fn retry_policy(&self) -> RetryPolicy {
        RetryPolicy {
            retry_for: self.retry_for.unwrap_or(Duration::from_secs(300)),
            max_retries: self.max_retries,
        }
    }

    /// How long a connection may take to be established.
    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout.unwrap_or(Duration::from_secs(10))
    }

    /// How long the network may accept no byte, or storage may not answer.
    pub fn stall_timeout(&self) -> Duration {
        self.stall_timeout.unwrap_or(Duration::from_secs(30))
    }

    /// Whether to resume earlier uploads and to keep records for later ones.
    pub fn resume(&self) -> bool {
        self.no_resume != Some(true)
    }

    /// How to verify what was stored, if at all.
    pub fn verify(&self) -> Option<Verify> {
        self.verify.filter(|verify| *verify != Verify::Off)
    }

    /// Whether to compare each part's MD5 with its ETag.
    pub fn checksum(&self) -> bool {
        self.no_checksum != Some(true)
    }
}

/// What goes to stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum OutputMode {
    /// The created drive item, exactly as the service returned it
    Json,
    /// The ID of the item, one per line
    Id,
    /// The URL of the item's page, one per line
    Url,
    /// One JSON line per input file, including failed ones
    Report,
    /// Nothing
    None,
}

/// Options about stderr.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Output")]
pub struct Display {
    /// Print only errors to stderr
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Print more to stderr: decisions, and with -vv every request, with secrets masked
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,

    /// How to show progress
    #[arg(long, value_name = "HOW", default_value_t = ProgressMode::Auto, value_enum)]
    pub progress: ProgressMode,

    /// Format of the lines on stderr
    #[arg(long, value_name = "FORM", default_value_t = LogFormat::Human, value_enum)]
    pub log_format: LogFormat,

    /// When to use colors
    #[arg(long, value_name = "WHEN", default_value_t = ColorMode::Auto, value_enum)]
    pub color: ColorMode,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ProgressMode {
    /// Bars on a terminal, otherwise a line every 10 s
    Auto,
    /// Bars
    Bar,
    /// A line every 10 s
    Plain,
    /// Nothing
    None,
}

/// When to use colors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorMode {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always, even when stderr is a file
    Always,
    /// Never
    Never,
}

/// The format of the lines on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Text for people
    Human,
    /// One JSON object per line
    Json,
}

impl ColorMode {
    /// Whether to use colors on a stream. Auto obeys NO_COLOR, CLICOLOR, CLICOLOR_FORCE and TERM
    /// (<https://bixense.com/clicolors>) as anstream does, but `CLICOLOR_FORCE=0` forces nothing.
    pub fn is_enabled(self, is_terminal: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                let clicolor = anstyle_query::clicolor();
                let forced = anstyle_query::clicolor_force()
                    && std::env::var_os("CLICOLOR_FORCE").is_some_and(|v| v != "0");
                let can =
                    anstyle_query::term_supports_color() || clicolor == Some(true) || anstyle_query::is_ci();
                !anstyle_query::no_color() && (forced || clicolor != Some(false) && is_terminal && can)
            }
        }
    }
}
