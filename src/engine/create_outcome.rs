//! Outcomes of calls that create something and must not be repeated blindly.

use std::time::Duration;

use crate::error::{Call, Failure, RetryClass, Transport};
use crate::item::Item;

/// A call that timed out may still be running. What it creates is looked for again after this time, before the call is
/// repeated.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// The outcome of such a call.
pub(super) enum CreateOutcome {
    /// It was created.
    Created(Item),
    /// The request did not reach the service, or was not processed: nothing was created.
    NotSent(Failure),
    /// The service refused.
    Rejected(Failure),
    /// It may have been created.
    Unknown(Failure),
}

impl CreateOutcome {
    /// The outcome of `call`, from its answer.
    pub(super) fn of(call: Call, answer: Result<Item, Failure>) -> Self {
        match answer {
            Ok(item) => Self::Created(item),
            Err(failure) => match &failure {
                Failure::Transport { kind: Transport::Connect, .. } | Failure::Status { status: 429, .. } => {
                    Self::NotSent(failure)
                }
                Failure::Transport { kind, .. } if kind.is_final() => Self::Rejected(failure),
                // A success without a valid item may still have created one.
                Failure::Malformed { .. } | Failure::WebPage => Self::Unknown(failure),
                _ => match failure.class_of_call(call) {
                    RetryClass::Refused | RetryClass::Gone | RetryClass::Expired => Self::Rejected(failure),
                    RetryClass::Transient => Self::Unknown(failure),
                },
            },
        }
    }
}
