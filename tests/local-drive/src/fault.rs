//! Scripted faults: which requests fail, and how.
//!
//! A request gets the first fault that matches it, in the order in which they were set. Probabilities use a seeded
//! random generator, so a run with one request at a time is reproducible.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// The operation of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// `POST /drive/files/upload/multipart/start`
    Start,
    /// `POST /drive/files/upload/multipart/presigned-urls`
    Urls,
    /// `POST /drive/files/upload/multipart/finalize`
    Finalize,
    /// `POST /drive/folders`
    Folders,
    /// `GET /drive/tree`
    Tree,
    /// `GET /drive/search`
    Search,
    /// `GET /drive/files/{id}`
    File,
    /// `GET /drive/files/{id}/download`
    Download,
    /// `GET /workspace/info`
    Workspace,
    /// `PUT` of a part, on the storage.
    PutPart,
    /// `GET` or `HEAD` of an object, on the storage.
    GetObject,
    /// Any other request, on either server.
    Other,
    /// Every API call. Only in faults, never in a record.
    AnyApi,
    /// Every request, on both servers. Only in faults, never in a record.
    Any,
}

impl Op {
    /// Whether this is an API call.
    pub fn is_api(self) -> bool {
        !matches!(self, Self::PutPart | Self::GetObject | Self::Other | Self::Any)
    }

    pub(crate) fn covers(self, other: Self) -> bool {
        match self {
            Self::Any => true,
            Self::AnyApi => other.is_api(),
            _ => self == other,
        }
    }
}

/// Makes requests fail.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Which requests fail.
    pub on: Op,
    /// Only for this part.
    pub part: Option<u32>,
    /// How many matching requests succeed first.
    pub skip: u64,
    /// How often it applies. `None`: no limit.
    pub times: Option<u64>,
    /// Probability for each matching request, 0.0 to 1.0.
    pub probability: f64,
    /// What happens.
    pub action: Action,
}

impl Fault {
    /// A fault for every request of this kind.
    pub fn new(on: Op, action: Action) -> Self {
        Self { on, part: None, skip: 0, times: None, probability: 1.0, action }
    }

    /// Only for the first request.
    pub fn once(on: Op, action: Action) -> Self {
        Self::new(on, action).times(1)
    }

    /// Only for one part.
    #[must_use]
    pub fn part(mut self, part: u32) -> Self {
        self.part = Some(part);
        self
    }

    /// Lets the first `skip` requests succeed.
    #[must_use]
    pub fn skip(mut self, skip: u64) -> Self {
        self.skip = skip;
        self
    }

    /// Applies at most this often.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// Only with this probability.
    #[must_use]
    pub fn probability(mut self, probability: f64) -> Self {
        self.probability = probability;
        self
    }
}

/// How a request fails. "Work" is what the request asks for, such as storing the part or creating the item. On
/// [`Op::GetObject`], "the body" is the response body; otherwise it is the request body.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Responds with this, without the work.
    Status {
        /// HTTP status.
        code: u16,
        /// Header names and values.
        headers: Vec<(String, String)>,
        /// Response body.
        body: String,
    },
    /// Responds with an S3 error in XML, without the work.
    S3Error {
        /// HTTP status.
        status: u16,
        /// `SlowDown`, `InternalError`, …
        code: String,
        /// Text of the error.
        message: String,
    },
    /// Delays the work and the response. An API call is completed even if the client disconnects, as on a real
    /// service.
    Delay(Duration),
    /// Sends a TCP reset immediately.
    Reset,
    /// Sends a TCP reset after this many bytes of the body, or at its end.
    ResetAfter(u64),
    /// Does the work, then closes the connection without a response.
    CloseAfterWork,
    /// Does the work, then sends a TCP reset.
    ResetAfterWork,
    /// Does the work, then responds with this, like the 502 of a proxy.
    StatusAfterWork {
        /// HTTP status.
        code: u16,
        /// Header names and values.
        headers: Vec<(String, String)>,
        /// Response body.
        body: String,
    },
    /// Stops reading after this many bytes of the body, or at its end, until the fault is cleared or the client
    /// disconnects.
    Stall {
        /// Bytes to read before.
        after: u64,
    },
    /// Reads the body and does the work, then holds back the response until the fault is cleared or the client
    /// disconnects.
    HangAfterBody,
    /// Reads the body at this rate.
    SlowRead {
        /// Bytes per second.
        bytes_per_second: u64,
    },
    /// Stores the right bytes, but responds with a wrong MD5. On GET, the ETag is wrong and has the form of an
    /// object without parts.
    WrongEtag,
    /// Flips a bit before storing, so that the ETag is that of the corrupt bytes. On GET, flips a bit of the response
    /// body and keeps the ETag.
    CorruptStored,
    /// Does the work, then responds with a Content-Length larger than the body and closes the connection.
    TruncateResponse,
    /// Does the work, then responds with an endless body.
    EndlessBody,
    /// Responds with 307 to another URL, without the work.
    Redirect {
        /// `Location` header.
        to: String,
    },
    /// Does the work and responds like a bucket with KMS encryption: the ETag is not an MD5.
    Kms,
    /// Responds with S3's 403 for an expired URL, without the work.
    ExpiredUrl,
    /// Responds with S3's 404 for a missing upload, or the API's 404, without the work.
    NoSuchUpload,
}

impl Action {
    /// A response without headers.
    pub fn status(code: u16, body: impl Into<String>) -> Self {
        Self::Status { code, headers: Vec::new(), body: body.into() }
    }

    /// S3's 503 `SlowDown`.
    pub fn slow_down() -> Self {
        Self::S3Error {
            status: 503,
            code: "SlowDown".into(),
            message: "Please reduce your request rate.".into(),
        }
    }

    /// S3's 500 `InternalError`.
    pub fn internal_error() -> Self {
        let message = "We encountered an internal error. Please try again.".into();
        Self::S3Error { status: 500, code: "InternalError".into(), message }
    }

    /// The API's 429 with `Retry-After`.
    pub fn rate_limited(seconds: u64) -> Self {
        let body = format!(
            r#"{{"statusCode":429,"error":"Too Many Requests","message":"Rate limit exceeded","retryAfter":{seconds}}}"#
        );
        Self::Status {
            code: 429,
            headers: vec![
                ("content-type".into(), "application/json".into()),
                ("retry-after".into(), seconds.to_string()),
            ],
            body,
        }
    }
}

/// Identifies a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FaultId(u64);

struct Rule {
    id: FaultId,
    fault: Fault,
    seen: u64,
    used: u64,
}

struct Inner {
    rules: Vec<Rule>,
    next: u64,
    rng: fastrand::Rng,
}

/// All faults of a drive.
pub(crate) struct Faults {
    inner: Mutex<Inner>,
    /// Wakes stalled requests. Counts how often faults were cleared.
    cleared: watch::Sender<u64>,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        let inner = Inner { rules: Vec::new(), next: 1, rng: fastrand::Rng::with_seed(seed) };
        Self { inner: Mutex::new(inner), cleared: watch::Sender::new(0) }
    }

    pub(crate) fn set(&self, fault: Fault) -> FaultId {
        let mut inner = self.lock();
        let id = FaultId(inner.next);
        inner.next += 1;
        inner.rules.push(Rule { id, fault, seen: 0, used: 0 });
        id
    }

    pub(crate) fn clear(&self, id: Option<FaultId>) {
        self.lock().rules.retain(|rule| id.is_some_and(|id| rule.id != id));
        self.cleared.send_modify(|count| *count += 1);
    }

    /// Chooses the fault for a request and counts its use.
    pub(crate) fn draw(&self, op: Op, part: Option<u32>) -> Option<(FaultId, Action)> {
        let mut guard = self.lock();
        let Inner { rules, rng, .. } = &mut *guard;
        for rule in rules {
            let matches =
                rule.fault.on.covers(op) && rule.fault.part.is_none_or(|wanted| part == Some(wanted));
            if !matches {
                continue;
            }
            rule.seen += 1;
            let spent = rule.fault.times.is_some_and(|times| rule.used >= times);
            if rule.seen <= rule.fault.skip || spent || rng.f64() >= rule.fault.probability {
                continue;
            }
            rule.used += 1;
            return Some((rule.id, rule.fault.action.clone()));
        }
        None
    }

    /// How often a fault was used.
    pub(crate) fn used(&self, id: FaultId) -> u64 {
        self.lock().rules.iter().find(|rule| rule.id == id).map_or(0, |rule| rule.used)
    }

    /// Waits until this fault is cleared.
    pub(crate) async fn until_cleared(&self, id: FaultId) {
        let mut cleared = self.cleared.subscribe();
        while self.lock().rules.iter().any(|rule| rule.id == id) {
            if cleared.changed().await.is_err() {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skip_times_and_part_select_requests() {
        let faults = Faults::new(1);
        faults.set(Fault::new(Op::PutPart, Action::Reset).part(2).skip(1).times(2));
        let hits = |part| faults.draw(Op::PutPart, Some(part)).is_some();
        assert_eq!([hits(2), hits(1), hits(2), hits(2), hits(2)], [false, false, true, true, false]);
    }

    #[test]
    fn any_api_does_not_match_storage_requests() {
        let faults = Faults::new(1);
        faults.set(Fault::new(Op::AnyApi, Action::Reset));
        assert!(faults.draw(Op::PutPart, Some(1)).is_none());
        assert!(faults.draw(Op::Tree, None).is_some());
    }

    #[test]
    fn equal_seeds_choose_equal_requests() {
        let draws = |seed| {
            let faults = Faults::new(seed);
            faults.set(Fault::new(Op::Any, Action::Reset).probability(0.5));
            (0..64).map(|_| faults.draw(Op::Tree, None).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(draws(7), draws(7));
        assert_ne!(draws(7), draws(8));
    }
}
