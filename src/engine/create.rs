//! Calls that must create something exactly once.
//!
//! After an unclear response (timeout, reset, 5xx), the service may or may not have created the item, and repeating the
//! call could create a second one. So the item is looked for first, and the call is only repeated if there is none.

use std::time::Duration;

use crate::circuit_breaker::Permit;
use crate::drive::{Drive, RetryObserver};
use crate::error::{Call, Error, Failure, RetryClass, Transport};
use crate::item::Item;
use crate::retry::{RetryBudget, RetryPolicy};

/// A call that timed out may still be running. If a lookup finds nothing, another one follows after this time.
const LOOKUP_DELAY: Duration = Duration::from_secs(2);

/// Something to create.
pub(super) trait Creation: Sync {
    /// The call that creates it.
    const CALL: Call;
    /// What a lookup returns.
    type Found: Send;

    /// Sends the request once. `unclear`: an earlier attempt may have succeeded.
    /// Fails if nothing was sent and there must not be another attempt.
    fn attempt(&self, unclear: bool) -> impl Future<Output = Result<Result<Item, Failure>, Error>> + Send;

    /// Looks for what this failed attempt or an earlier one may have created.
    fn reconcile(&self, failure: &Failure)
    -> impl Future<Output = Result<Option<Self::Found>, Error>> + Send;

    /// Whether the failure means that another client may have created the same.
    fn may_exist(&self, failure: &Failure) -> bool;
}

/// The result of a creation.
pub(super) enum Created<T> {
    /// Created by this call.
    New(Item),
    /// Created by an attempt without a clear answer, or by another client.
    Found(T),
}

/// Why nothing was created, as far as is known.
pub(super) enum CreateError {
    /// The last attempt failed. `unclear`: an attempt may have succeeded nevertheless.
    Failed { failure: Failure, tries: u32, unclear: bool },
    /// Checking or looking failed.
    Error(Error),
}

impl From<Error> for CreateError {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Creates it, unless it is found. `unclear`: an attempt by an earlier run may have succeeded.
pub(super) async fn create<C: Creation>(
    creation: &C,
    drive: &Drive,
    permit: Permit<'_>,
    policy: RetryPolicy,
    observer: &dyn RetryObserver,
    mut unclear: bool,
) -> Result<Created<C::Found>, CreateError> {
    let mut budget = RetryBudget::new(policy);
    loop {
        let others = drive.successes();
        let failure = match creation.attempt(unclear).await? {
            Ok(item) => return Ok(Created::New(item)),
            Err(failure) => failure,
        };
        let outcome = Outcome::of(C::CALL, &failure);
        // The first attempt may take longer than the budget. And while other calls succeed, a rate-limited one only has to wait.
        let limited = failure.status() == Some(429);
        if budget.attempts() == 0 || limited && drive.successes() > others {
            budget.reset();
        }
        unclear |= outcome == Outcome::Unknown;
        let may_exist = match outcome {
            Outcome::NotSent => false,
            Outcome::Rejected => unclear || creation.may_exist(&failure),
            Outcome::Unknown => true,
        };
        if may_exist && let Some(found) = creation.reconcile(&failure).await? {
            return Ok(Created::Found(found));
        }
        let tries = budget.attempts() + 1;
        let wait = match outcome {
            Outcome::Rejected => None,
            Outcome::NotSent | Outcome::Unknown => permit.next_backoff(&mut budget, &failure),
        };
        let Some(wait) = wait else { return Err(CreateError::Failed { failure, tries, unclear }) };
        observer.retry(C::CALL, tries, &failure, wait);
        tokio::time::sleep(wait).await;
    }
}

/// Looks twice for something that may have been created just now.
pub(super) async fn look_twice<T, F>(look: impl Fn() -> F) -> Result<Option<T>, Error>
where
    F: Future<Output = Result<Option<T>, Error>>,
{
    if let Some(found) = look().await? {
        return Ok(Some(found));
    }
    tokio::time::sleep(LOOKUP_DELAY).await;
    look().await
}

/// What a failed attempt may have created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Nothing: the request did not reach the service, or was not processed.
    NotSent,
    /// Nothing: the service refused.
    Rejected,
    /// It may have been created.
    Unknown,
}

impl Outcome {
    fn of(call: Call, failure: &Failure) -> Self {
        match failure {
            Failure::Transport { kind: Transport::Connect, .. } | Failure::Status { status: 429, .. } => {
                Self::NotSent
            }
            Failure::Transport { kind, .. } if kind.is_final() => Self::Rejected,
            // A success without a valid item may still have created one.
            Failure::Malformed { .. } | Failure::WebPage => Self::Unknown,
            _ => match failure.class_of_call(call) {
                RetryClass::Refused | RetryClass::Gone | RetryClass::Expired => Self::Rejected,
                RetryClass::Transient => Self::Unknown,
            },
        }
    }
}
