//! What scripts see of an error: its name and its exit code.

/// `error.code` in report rows and JSON log lines. The names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The service or storage refused the request.
    Refused,
    /// Wrong command line or configuration.
    Usage,
    /// The target folder does not exist.
    NotFound,
    /// Missing, invalid or insufficient token.
    Auth,
    /// 409, `--if-exists fail`, or another run has this upload.
    Conflict,
    /// Still rate limited when the retries ended.
    RateLimited,
    /// Network or service still unavailable when the retries ended.
    Network,
    /// The local file is missing, unreadable, not a regular file, or changed during the upload.
    LocalFile,
    /// Storage has other bytes than were sent.
    Integrity,
    /// It is unknown whether the item was created.
    Unsettled,
    /// Stopped by a signal.
    Interrupted,
}

impl Code {
    /// The exit code. For signals, see [`Error::exit_code`](super::Error::exit_code).
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Refused | Self::Integrity => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Auth => 4,
            Self::Conflict => 5,
            Self::RateLimited => 6,
            Self::Network | Self::Unsettled => 7,
            Self::LocalFile => 8,
            Self::Interrupted => 130,
        }
    }
}

/// A signal that stops the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// The terminal was closed.
    Hangup,
    /// Ctrl-C.
    Interrupt,
    /// `kill` without options.
    Terminate,
}

impl Signal {
    /// 128 plus the signal's number, as in shells.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Hangup => 129,
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}
