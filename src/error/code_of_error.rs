//! The code and the exit code of each error.

use super::{Code, Error, Kind};
use crate::platform;

impl Error {
    /// The code for reports.
    pub fn code(&self) -> Code {
        match self {
            Self::Usage { .. } => Code::Usage,
            Self::NoToken | Self::TokenCommand { .. } | Self::InvalidToken { .. } => Code::Auth,
            // Too many open files: not the fault of this file.
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
            | Self::LoginFailed(error) => error.code(),
            Self::Incomplete { .. } | Self::Differs { .. } => Code::Integrity,
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
}
