//! What a profile may set, each value with the place it stands in, so that errors and `-v` can say where
//! something came from and the trust rules can tell files apart.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::secret::Token;

/// The keys of a profile that are about the account.
pub const ACCOUNT_KEYS: [&str; 4] = ["token", "token_command", "parent", "api_url"];

/// All keys of a profile: the account's, then the transfer options (the long name with `_`).
pub const KEYS: [&str; 13] = [
    "token",
    "token_command",
    "parent",
    "api_url",
    "concurrency",
    "part_size",
    "limit_rate",
    "retry_for",
    "max_retries",
    "connect_timeout",
    "stall_timeout",
    "no_resume",
    "no_checksum",
];

/// One configuration file.
#[derive(Debug)]
pub struct ConfigFile {
    /// As messages name it.
    pub shown: String,
    /// It lies in the working directory, so that anybody may have written it.
    pub project: bool,
}

/// Where a value stands.
#[derive(Debug, Clone)]
pub struct Location {
    /// In which file.
    pub file: Arc<ConfigFile>,
    /// In which line, from 1.
    pub line: usize,
}

impl Location {
    /// Whether both stand in the same file.
    pub fn same_file(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.file, &other.file)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.shown, self.line)
    }
}

/// A value and its place.
#[derive(Debug, Clone)]
pub struct Sourced<T> {
    /// What.
    pub value: T,
    /// Where.
    pub place: Location,
}

/// One profile, of one file or merged over all.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "each field is the key of its name, and Transfer says what it means")]
pub struct Profile {
    pub token: Option<Sourced<Token>>,
    pub token_command: Option<Sourced<String>>,
    pub parent: Option<Sourced<String>>,
    pub api_url: Option<Sourced<String>>,
    pub concurrency: Option<Sourced<usize>>,
    pub part_size: Option<Sourced<u64>>,
    pub limit_rate: Option<Sourced<u64>>,
    pub retry_for: Option<Sourced<Duration>>,
    pub max_retries: Option<Sourced<u32>>,
    pub connect_timeout: Option<Sourced<Duration>>,
    pub stall_timeout: Option<Sourced<Duration>>,
    pub no_resume: Option<Sourced<bool>>,
    pub no_checksum: Option<Sourced<bool>>,
}

impl Profile {
    /// This profile under another of the same name: key by key, the other one's value wins where it has one.
    pub fn merge(self, higher: Self) -> Self {
        Self {
            token: higher.token.or(self.token),
            token_command: higher.token_command.or(self.token_command),
            parent: higher.parent.or(self.parent),
            api_url: higher.api_url.or(self.api_url),
            concurrency: higher.concurrency.or(self.concurrency),
            part_size: higher.part_size.or(self.part_size),
            limit_rate: higher.limit_rate.or(self.limit_rate),
            retry_for: higher.retry_for.or(self.retry_for),
            max_retries: higher.max_retries.or(self.max_retries),
            connect_timeout: higher.connect_timeout.or(self.connect_timeout),
            stall_timeout: higher.stall_timeout.or(self.stall_timeout),
            no_resume: higher.no_resume.or(self.no_resume),
            no_checksum: higher.no_checksum.or(self.no_checksum),
        }
    }
}
