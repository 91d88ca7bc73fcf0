//! Calls that make something, and so must not be repeated blindly: what an answer, or none, says about
//! whether it was made.

use std::time::Duration;

use crate::api::wire::Item;
use crate::error::Call;
use crate::retry::{Failure, Transport, Verdict};

/// A call that timed out may still be at work: what it makes is looked for once more after this long, before
/// the call is sent again.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// What one such call came to.
pub(super) enum Answered {
    /// What it made.
    Item(Item),
    /// It never reached the service, or the service did not look at it: nothing has happened.
    NotDone(Failure),
    /// The service said no.
    Refused(Failure),
    /// It may have happened.
    Unclear(Failure),
}

impl Answered {
    /// Reads an answer to `call`.
    pub(super) fn of(call: Call, answer: Result<Item, Failure>) -> Self {
        match answer {
            Ok(item) => Self::Item(item),
            Err(failure) => match &failure {
                Failure::Transport { kind: Transport::Connect, .. } | Failure::Status { status: 429, .. } => {
                    Self::NotDone(failure)
                }
                Failure::Transport { kind, .. } if kind.is_final() => Self::Refused(failure),
                // A success without an item in it may be one all the same.
                Failure::Malformed { .. } | Failure::WebPage => Self::Unclear(failure),
                _ => match failure.verdict_of_call(call) {
                    Verdict::Refused | Verdict::Gone | Verdict::Expired => Self::Refused(failure),
                    Verdict::Transient => Self::Unclear(failure),
                },
            },
        }
    }
}
