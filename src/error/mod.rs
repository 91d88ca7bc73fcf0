//! The error type: a variant per stage, with its source. The hint, the code and the exit code are derived from it.
//!
//! Errors about an input file do not contain its path; the path is printed in front of them.

mod class;
mod code;
mod failure;
mod hint;

use std::io;
use std::path::PathBuf;

pub use self::class::RetryClass;
pub use self::code::{Code, Signal};
pub use self::failure::{Call, Failure, Transport};
use crate::item::Item;
use crate::platform::{self, FIFO};

/// The type of an item in the drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
    Folder,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::Folder => "folder",
        })
    }
}

/// Everything that can make a file or the whole run fail.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An error that is only reported, never told apart from others. [`Error::new`] and [`Error::with_hint`] make one.
    #[error("{message}")]
    Message { code: Code, message: String, hint: Option<String> },
    #[error("no Copera token was found")]
    NoToken,
    /// Another error before `--login` has saved a token.
    #[error("{0}; no token was saved")]
    LoginFailed(Box<Self>),
    /// An operation on the input file failed.
    #[error("could not {doing}")]
    Local {
        /// "open the file", "read at byte 5242880", …
        doing: String,
        #[source]
        source: io::Error,
    },
    /// A folder could not be found or created, so nothing can be uploaded into it.
    #[error("could not find or create the folder for {path}")]
    Folder {
        /// The local directory.
        path: String,
        /// Shared by everything that should go into the folder.
        #[source]
        error: std::sync::Arc<Self>,
    },
    /// An error shared by several files.
    #[error(transparent)]
    Shared(std::sync::Arc<Self>),
    /// The file changed during the upload.
    #[error("the file changed while it was being uploaded: {what}; nothing was finalized")]
    Changed { what: String },
    /// The file does not end at its reported size, as in `/proc` and `/sys`.
    #[error("is {really} than the {size} bytes that the system reports as its size")]
    WrongSize {
        size: u64,
        /// "longer" or "shorter".
        really: &'static str,
    },
    /// An API call failed after all retries.
    #[error("could not {}: {failure}{}", .call.aim(), after(*.tries))]
    Call { call: Call, failure: Failure, tries: u32 },
    /// A part failed after all retries.
    #[error("part {part}: {failure}{}", after(*.tries))]
    Part { part: u32, failure: Failure, tries: u32 },
    /// Asking storage about an object failed after all retries.
    #[error("could not ask storage about the item: {failure}{}", after(*.tries))]
    Object { failure: Failure, tries: u32 },
    /// The circuit breaker is open: other requests failed after all their retries, and none succeeded since.
    #[error("not tried, because the service is unreachable: {failure}")]
    CircuitOpen {
        /// The failure that opened it.
        failure: Failure,
    },
    /// An empty file was refused. Whether the service accepts empty files is not documented.
    #[error("{0} (the file is empty, and the service may not accept empty files)")]
    Empty(Box<Self>),
    /// Another error, for which the context has a better hint and code.
    #[error("{source}")]
    WithHint { source: Box<Self>, code: Code, hint: &'static str },
    /// Finalize was sent, but it is unknown whether the item exists.
    #[error("unsettled: all bytes are in storage, but it is not known whether the item was created: {what}")]
    Unsettled { what: String },
    /// `--verify`: the object is not the file.
    #[error("the drive does not hold the file: {what}; item {} was created and is wrong", .item.id())]
    Differs { item: Box<Item>, what: String },
    /// `--verify` got no answer.
    #[error("uploaded as item {}, but not verified: {error}", .item.id())]
    Unverified { item: Box<Item>, error: Box<Self> },
    /// Writing results failed. The uploads continued.
    #[error("the results could not be written to stdout")]
    Output(#[source] io::Error),
    #[error("interrupted")]
    Interrupted(Signal),
    /// Another error, for an upload without a record (`--no-resume`, full disk, partly read pipe): the same command starts
    /// over.
    #[error(transparent)]
    Unrecorded(Box<Self>),
    /// Standard input could not be stored.
    #[error("could not keep standard input in {}", .folder.display())]
    Spool {
        folder: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A broken invariant, reported instead of a panic.
    #[error("internal error: {0}")]
    Internal(String),
}

/// Typed errors keep their type. All others come from configuration files and prompts.
impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Self {
        Self::config(error, None)
    }
}

fn after(tries: u32) -> String {
    if tries > 1 { format!(" (after {tries} tries)") } else { String::new() }
}

impl Error {
    /// An error without a hint.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self::Message { code, message: message.into(), hint: None }
    }

    /// An error with a hint: what to do next.
    pub fn with_hint(code: Code, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Message { code, message: message.into(), hint: Some(hint.into()) }
    }

    /// Wrong command line or configuration. The message includes file and line, if any.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }

    /// The same with a hint.
    pub fn usage_hint(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::with_hint(Code::Usage, message, hint)
    }

    /// The path is not a regular file. `kind` is what it is: "a directory", "a FIFO", …
    pub fn not_a_file(kind: &str) -> Self {
        let message = format!("is {kind}, not a regular file");
        match kind == FIFO {
            true => Self::with_hint(
                Code::LocalFile,
                message,
                "to upload its output, use it as standard input: copera-upload - --name NAME <FIFO",
            ),
            false => Self::new(Code::LocalFile, message),
        }
    }

    /// The set of signed URLs is incomplete or invalid.
    pub fn urls(what: &str) -> Self {
        Self::new(Code::Refused, format!("the service's signed URLs cannot be used: {what}"))
    }

    /// Puts the path or option in front of a usage error.
    pub fn about(self, what: &str) -> Self {
        match self {
            Self::Message { code: Code::Usage, message, hint } => {
                Self::Message { code: Code::Usage, message: format!("{what} {message}"), hint }
            }
            error => error,
        }
    }

    /// A usage error that keeps the context of a failure, which may already be a typed error.
    pub fn config(error: anyhow::Error, hint: Option<&str>) -> Self {
        error.downcast().unwrap_or_else(|error| Self::Message {
            code: Code::Usage,
            message: chain(error.as_ref()),
            hint: hint.map(str::to_owned),
        })
    }

    /// A failed operation on the input file.
    pub fn local(doing: impl Into<String>, source: io::Error) -> Self {
        Self::Local { doing: doing.into(), source }
    }

    /// The code for reports.
    pub fn code(&self) -> Code {
        match self {
            Self::Message { code, .. } | Self::WithHint { code, .. } => *code,
            Self::NoToken => Code::Auth,
            // Too many open files: not the fault of this file.
            Self::Local { source, .. } | Self::Spool { source, .. } if platform::is_out_of_files(source) => {
                Code::Refused
            }
            Self::Local { .. } | Self::Spool { .. } | Self::Changed { .. } | Self::WrongSize { .. } => {
                Code::LocalFile
            }
            Self::Folder { error, .. } | Self::Shared(error) => error.code(),
            Self::CircuitOpen { failure } => failure.code_of_part(),
            Self::Call { call, failure, .. } => failure.code_of_call(*call),
            Self::Part { failure, .. } | Self::Object { failure, .. } => failure.code_of_part(),
            Self::Output(_) | Self::Internal(_) => Code::Refused,
            Self::Empty(error) | Self::Unrecorded(error) | Self::LoginFailed(error) => error.code(),
            Self::Differs { .. } => Code::Integrity,
            Self::Unverified { error, .. } => match error.code() {
                // Not about a folder.
                Code::NotFound => Code::Refused,
                code => code,
            },
            Self::Unsettled { .. } => Code::Unsettled,
            Self::Interrupted(_) => Code::Interrupted,
        }
    }

    /// The exit code of a run that fails with this error alone.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Interrupted(signal) => signal.exit_code(),
            Self::Unrecorded(error) | Self::LoginFailed(error) => error.exit_code(),
            Self::Unverified { error, .. } if error.code() == Code::Interrupted => error.exit_code(),
            other => other.code().exit_code(),
        }
    }

    /// Whether the same command may succeed later without any change.
    pub fn transient(&self) -> bool {
        matches!(self.code(), Code::Network | Code::RateLimited | Code::Unsettled | Code::Interrupted)
    }

    /// The error inside of wrappers that only change the hint.
    pub fn without_hint_wrappers(&self) -> &Self {
        match self {
            Self::Unrecorded(error) | Self::WithHint { source: error, .. } => error.without_hint_wrappers(),
            error => error,
        }
    }

    /// The item that exists in spite of the error.
    pub fn item(&self) -> Option<&Item> {
        match self {
            Self::Differs { item, .. } | Self::Unverified { item, .. } => Some(item),
            Self::Unrecorded(error) => error.item(),
            _ => None,
        }
    }

    /// Whether the service does not know the subject of a call (404).
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Call { failure, .. } if failure.status() == Some(404))
    }

    /// Whether the service or storage refused a request because of its content: not a lack of space, a
    /// proxy's page or an answer that makes no sense.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Call { failure, .. } | Self::Part { failure, .. } => {
                self.code() == Code::Refused
                    && failure.status().is_some_and(|status| (400..500).contains(&status))
                    && !failure.is_out_of_space()
            }
            Self::Folder { error, .. } | Self::Shared(error) => error.is_refusal(),
            _ => false,
        }
    }

    /// Whether storage has other bytes than recorded.
    pub fn blames_bytes(&self) -> bool {
        match self {
            Self::Call { failure, .. } | Self::Part { failure, .. } => {
                failure.blames_parts() || matches!(failure, Failure::Checksum { .. })
            }
            _ => false,
        }
    }
}

/// The error and its sources in one line, without repetitions.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !words.is_empty() && !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = cause.source();
    }
    text
}
