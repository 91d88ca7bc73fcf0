//! Calls that make something, and so must not be repeated blindly: what an answer, or none, says about
//! whether it was made.

use std::time::Duration;

use crate::error::{Call, Failure, RetryClass, Transport};
use crate::item::Item;

/// A call that timed out may still be at work: what it makes is looked for once more after this long, before
/// the call is sent again.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// What one such call came to.
pub(super) enum CreateOutcome {
    /// What it made.
    Created(Item),
    /// It never reached the service, or the service did not look at it: nothing has happened.
    NotSent(Failure),
    /// The service said no.
    Rejected(Failure),
    /// It may have happened.
    Unknown(Failure),
}

impl CreateOutcome {
    /// Reads an answer to `call`.
    pub(super) fn of(call: Call, answer: Result<Item, Failure>) -> Self {
        match answer {
            Ok(item) => Self::Created(item),
            Err(failure) => match &failure {
                Failure::Transport { kind: Transport::Connect, .. } | Failure::Status { status: 429, .. } => {
                    Self::NotSent(failure)
                }
                Failure::Transport { kind, .. } if kind.is_final() => Self::Rejected(failure),
                // A success without an item in it may be one all the same.
                Failure::Malformed { .. } | Failure::WebPage => Self::Unknown(failure),
                _ => match failure.class_of_call(call) {
                    RetryClass::Refused | RetryClass::Gone | RetryClass::Expired => Self::Rejected(failure),
                    RetryClass::Transient => Self::Unknown(failure),
                },
            },
        }
    }
}
