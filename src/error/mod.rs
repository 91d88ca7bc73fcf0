//! The one error type: a variant for each stage, with what went wrong and its source; what to do about it
//! (`hint`) and what a script sees of it (`code`, `exit_code`) are derived, never stored.
//!
//! Errors about an input file do not repeat its path: whoever prints one stands it behind the path.

mod class;
mod code;
mod failure;
mod hint;

use std::io;
use std::path::PathBuf;

pub use self::class::RetryClass;
pub use self::code::{Code, Signal};
pub use self::failure::{Call, Failure, Transport};
use crate::platform;

/// What an item of the drive is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A folder.
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

/// Everything that can end a file's upload, or the whole run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line or the configuration.
    #[error("{message}")]
    Usage {
        /// What is wrong, with file and line where there is one.
        message: String,
        /// What to do instead.
        hint: Option<String>,
    },
    /// No token in any of its places.
    #[error("no Copera token was found")]
    NoToken,
    /// `token_command` gave none.
    #[error("the token_command of profile `{profile}` {what}")]
    TokenCommand {
        /// The profile's name.
        profile: String,
        /// "exited with status 1", "timed out after 60s", …
        what: String,
    },
    /// What was given to `--login` is no token, or none that reaches drives.
    #[error("{what}")]
    InvalidToken {
        /// What is wrong with it; never the text itself.
        what: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// One of these, before `--login` had anything to save.
    #[error("{0}; no token was saved")]
    LoginFailed(Box<Self>),
    /// An operation on the input file.
    #[error("could not {doing}")]
    Local {
        /// "open the file", "read at byte 5242880", …
        doing: String,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// A path that is something else than a regular file.
    #[error("is {kind}, not a regular file")]
    NotAFile {
        /// "a directory", "a FIFO", …
        kind: &'static str,
    },
    /// With `-L`, a link to a folder that it is in.
    #[error("is a link to {above}, a directory that it is in: a loop")]
    LinkLoop {
        /// Where it leads.
        above: String,
    },
    /// A folder could not be found or made in the drive, and so nothing can go into it.
    #[error("could not find or make the folder for {path}")]
    Folder {
        /// The directory.
        path: String,
        /// Why; the same for all that should go into it.
        #[source]
        error: std::sync::Arc<Self>,
    },
    /// One that several files have in common.
    #[error(transparent)]
    Shared(std::sync::Arc<Self>),
    /// `--if-exists fail`.
    #[error("a file named `{name}` already exists (id {id})")]
    Exists {
        /// Its name.
        name: String,
        /// Its id.
        id: String,
    },
    /// The folder has more items than the service tells of.
    #[error(
        "cannot tell whether a {kind} named `{name}` already exists: the service does not list the whole folder"
    )]
    Unlisted {
        /// As what.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// A file that no upload can hold.
    #[error("has {size} bytes, and an upload holds at most 10,000 parts of 5 GiB (48.8 TiB)")]
    TooLarge {
        /// Its bytes.
        size: u64,
    },
    /// The file changed while it was read.
    #[error("the file changed while it was being uploaded: {what}; nothing was finalized")]
    Changed {
        /// What about it changed.
        what: String,
    },
    /// A file that does not end at the size that the system reports for it, as below `/proc` and `/sys`.
    #[error("is {really} than the {size} bytes that the system reports as its size")]
    WrongSize {
        /// The reported size in bytes.
        size: u64,
        /// "longer" or "shorter".
        really: &'static str,
    },
    /// The API knows no such path, and no folder was asked for that could be missing.
    #[error(transparent)]
    NoApi(Box<Self>),
    /// Another process runs the same command.
    #[error("another copera-upload is running the same command")]
    SameCommand,
    /// Another process, at work at the same time, has sent this file to this place.
    #[error("another copera-upload that was running at the same time has uploaded this file")]
    SentByOther,
    /// `--if-exists fail`, and another input comes before it.
    #[error("gets the same name in the same folder as {first}: `{name}`")]
    SameTarget {
        /// The name in the drive.
        name: String,
        /// The other input.
        first: String,
    },
    /// Another process works on the same upload.
    #[error("another copera-upload is already uploading this file")]
    Busy {
        /// The record it holds.
        record: PathBuf,
    },
    /// A call of the API, tried to the end.
    #[error("could not {}: {failure}{}", .call.aim(), after(*.tries))]
    Call {
        /// Which.
        call: Call,
        /// The last failure.
        failure: Failure,
        /// How often it was tried.
        tries: u32,
    },
    /// The PUT of a part, tried to the end.
    #[error("part {part}: {failure}{}", after(*.tries))]
    Part {
        /// The part's number, from 1.
        part: u32,
        /// The last failure.
        failure: Failure,
        /// How often it was tried.
        tries: u32,
    },
    /// The GET that asks storage about an object, tried to the end.
    #[error("storage does not tell what the item holds: {failure}{}", after(*.tries))]
    Object {
        /// The last failure.
        failure: Failure,
        /// How often it was tried.
        tries: u32,
    },
    /// Others have waited in vain to the end of their patience, and nothing got through since.
    #[error("not tried, because the service is unreachable: {failure}")]
    CircuitOpen {
        /// Theirs.
        failure: Failure,
    },
    /// The signed URLs make no whole: one is missing, doubled, surplus or no URL.
    #[error("the service's signed URLs cannot be used: {what}")]
    Urls {
        /// What is wrong with them.
        what: String,
    },
    /// The service or storage refused a file without a byte: whether it takes such files is not known.
    #[error("{0} (the file is empty, and the service may not take empty files)")]
    Empty(Box<Self>),
    /// One of these, of an upload into a folder whose id does not look like one.
    #[error(transparent)]
    SuspectParentId(Box<Self>),
    /// The parts do not add up to the file. Nothing was finalized.
    #[error("the finished parts do not make up the file: {what}; nothing was finalized")]
    Incomplete {
        /// What is missing.
        what: String,
    },
    /// Finalize was sent; whether the item exists is not known.
    #[error("unsettled: all bytes are in storage, but it is not known whether the item was created: {what}")]
    Unsettled {
        /// Why not.
        what: String,
    },
    /// Results could not be written; the uploads themselves went on.
    #[error("the results could not be written to stdout")]
    Output(#[source] io::Error),
    /// A signal.
    #[error("interrupted")]
    Interrupted(Signal),
    /// One of these, of an upload that no record is kept of (`--no-resume`, a disk that takes none, a pipe half
    /// read): the same command starts over.
    #[error(transparent)]
    Unrecorded(Box<Self>),
    /// One of these, of one of several files: the same command would upload what is done of them again.
    #[error(transparent)]
    OneOfSeveral(Box<Self>),
    /// Standard input could not be kept until its size is known.
    #[error("could not keep standard input in {}", .folder.display())]
    Spool {
        /// Where.
        folder: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// The system gives the process too little of something to work with.
    #[error("{what}")]
    Resources {
        /// What it does not give.
        what: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// Something inside that should not happen, told instead of panicking.
    #[error("internal error: {0}")]
    Internal(String),
}

fn after(tries: u32) -> String {
    if tries > 1 { format!(" (after {tries} tries)") } else { String::new() }
}

impl Error {
    /// A usage error with nothing to add.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: None }
    }

    /// A usage error with advice.
    pub fn usage_hint(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: Some(hint.into()) }
    }

    /// A failed operation on the input file.
    pub fn local(doing: impl Into<String>, source: io::Error) -> Self {
        Self::Local { doing: doing.into(), source }
    }

    /// Itself, without what is to be said of the same command.
    pub fn without_advice(&self) -> &Self {
        match self {
            Self::Unrecorded(error)
            | Self::OneOfSeveral(error)
            | Self::SuspectParentId(error)
            | Self::NoApi(error) => error.without_advice(),
            error => error,
        }
    }

    /// Whether the service or storage said no to what it was asked.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Call { .. } | Self::Part { .. } => self.code() == Code::Refused,
            Self::Folder { error, .. } | Self::Shared(error) => error.is_refusal(),
            _ => false,
        }
    }

    /// Whether storage has other bytes than were recorded of the parts.
    pub fn blames_bytes(&self) -> bool {
        match self {
            Self::Call { failure, .. } | Self::Part { failure, .. } => {
                failure.blames_parts() || matches!(failure, Failure::Checksum { .. })
            }
            _ => false,
        }
    }

    /// The stable name of the kind of error.
    pub fn code(&self) -> Code {
        match self {
            Self::Usage { .. } => Code::Usage,
            Self::NoToken | Self::TokenCommand { .. } | Self::InvalidToken { .. } => Code::Auth,
            // Too many open files say nothing about this one.
            Self::Local { source, .. } | Self::Spool { source, .. } if platform::is_out_of_files(source) => {
                Code::Refused
            }
            Self::Local { .. }
            | Self::NotAFile { .. }
            | Self::LinkLoop { .. }
            | Self::Spool { .. }
            | Self::Changed { .. }
            | Self::WrongSize { .. } => Code::LocalFile,
            Self::Folder { error, .. } | Self::Shared(error) => error.code(),
            Self::Busy { .. }
            | Self::SameCommand
            | Self::SentByOther
            | Self::SameTarget { .. }
            | Self::Exists { .. }
            | Self::Unlisted { kind: Kind::File, .. } => Code::Conflict,
            Self::CircuitOpen { failure } => failure.code_of_part(),
            Self::Call { call, failure, .. } => failure.code_of_call(*call),
            Self::Part { failure, .. } | Self::Object { failure, .. } => failure.code_of_part(),
            Self::Urls { .. }
            | Self::TooLarge { .. }
            | Self::Unlisted { .. }
            | Self::Output(_)
            | Self::NoApi(_)
            | Self::Resources { .. }
            | Self::Internal(_) => Code::Refused,
            Self::Empty(error)
            | Self::SuspectParentId(error)
            | Self::Unrecorded(error)
            | Self::OneOfSeveral(error)
            | Self::LoginFailed(error) => error.code(),
            Self::Incomplete { .. } => Code::Integrity,
            Self::Unsettled { .. } => Code::Unsettled,
            Self::Interrupted(_) => Code::Interrupted,
        }
    }

    /// The exit code of a run that ended with this error alone.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Interrupted(signal) => signal.exit_code(),
            Self::Unrecorded(error) | Self::OneOfSeveral(error) | Self::LoginFailed(error) => {
                error.exit_code()
            }
            other => other.code().exit_code(),
        }
    }

    /// Whether the same command might do better later without anything else changing.
    pub fn transient(&self) -> bool {
        matches!(self.code(), Code::Network | Code::RateLimited | Code::Unsettled | Code::Interrupted)
    }
}

/// An error and its sources as one line, each cause once.
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
