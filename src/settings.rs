//! Everything the program was told, resolved into one plain struct: flags over environment over TOML over
//! defaults. What comes after this file asks no flag, no variable and no file of configuration again.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::secret::Token;

/// One run's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The PATHs as given.
    pub paths: Vec<OsString>,
    /// Where files go and what they are called.
    pub destination: Destination,
    /// How parts travel.
    pub transfer: Transfer,
    /// Which drive, and as whom.
    pub account: Account,
    /// What goes to stdout.
    pub output: OutputMode,
    /// What goes to stderr.
    pub display: Display,
    /// Print the plan and do nothing.
    pub dry_run: bool,
    /// What to warn of before work begins (a readable config file with a token, an ignored key).
    pub warnings: Vec<String>,
    /// For `-v`: which source gave which value; never a secret.
    pub sources: Vec<String>,
}

/// Where files go.
#[derive(Debug, Clone, Default)]
pub struct Destination {
    /// The folder's id; `None` is the drive's root. Any non-empty id is passed on: the service judges it.
    pub parent: Option<String>,
    /// The name in the drive, for one file.
    pub name: Option<String>,
    /// The MIME type, instead of a guess.
    pub mime_type: Option<String>,
}

/// How parts travel.
#[derive(Debug, Clone)]
pub struct Transfer {
    /// Parts in flight, 1–64; `None`: the program decides.
    pub concurrency: Option<usize>,
    /// Bytes a part; `None`: planned from the file's size.
    pub part_size: Option<u64>,
    /// Bytes a second over all parts.
    pub limit_rate: Option<u64>,
    /// How long a part or call may get no further than it ever was.
    pub retry_for: Duration,
    /// The same as a count of retries in a row.
    pub max_retries: Option<u32>,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long the network may take no byte, or storage give no answer.
    pub stall_timeout: Duration,
    /// Continue earlier uploads and keep records for later ones.
    pub resume: bool,
    /// Compare each part's MD5 with its ETag.
    pub checksum: bool,
}

impl Default for Transfer {
    fn default() -> Self {
        Self {
            concurrency: None,
            part_size: None,
            limit_rate: None,
            retry_for: Duration::from_secs(300),
            max_retries: None,
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            resume: true,
            checksum: true,
        }
    }
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
}

/// What goes to stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum OutputMode {
    /// The created drive item, exactly as the service answered
    Json,
    /// Its id, one a line
    Id,
    /// Nothing
    None,
}

/// What goes to stderr, and how.
#[derive(Debug, Clone)]
pub struct Display {
    /// Errors only.
    pub quiet: bool,
    /// 0: what matters; 1 (`-v`): what is done; 2 and more: every request.
    pub verbose: u8,
    /// How progress is shown.
    pub progress: ProgressMode,
    /// Colours on a terminal.
    pub color: ColorMode,
    /// Words for people or JSON for machines.
    pub log_format: LogFormat,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ProgressMode {
    /// Bars on a terminal, else a line every 10 s
    Auto,
    /// Bars
    Bar,
    /// A line every 10 s
    Plain,
    /// Nothing
    None,
}

/// Colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorMode {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Even into a file
    Always,
    /// Never
    Never,
}

/// The form of stderr's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people
    Human,
    /// One JSON object a line
    Json,
}
