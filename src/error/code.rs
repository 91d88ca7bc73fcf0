//! What scripts see of an error: its stable name and the exit code.

/// `error.code` of a report row and of a JSON log line: stable names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The service or storage said no, for good.
    Refused,
    /// The command line or the configuration is at fault.
    Usage,
    /// The target folder is not there.
    NotFound,
    /// No token, or not good enough.
    Auth,
    /// 409, `--if-exists fail`, or another run has this upload.
    Conflict,
    /// 429 to the end.
    RateLimited,
    /// Network or service unavailable to the end.
    Network,
    /// The local file is missing, unreadable, no file, or changed while it was read.
    LocalFile,
    /// Storage holds other bytes than were sent.
    Integrity,
    /// Whether the item was created could not be found out.
    Unsettled,
    /// A signal ended the run.
    Interrupted,
}

impl Code {
    /// The process's exit code for an error of this kind; a signal's own code is [`Error::exit_code`]'s.
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

/// A signal that asks the program to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// The terminal was closed.
    Hangup,
    /// Ctrl-C.
    Interrupt,
    /// A polite kill.
    Terminate,
}

impl Signal {
    /// 128 and the signal's number, as shells count.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Hangup => 129,
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}
