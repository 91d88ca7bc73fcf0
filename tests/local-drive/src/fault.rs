//! Faults by script: which request goes wrong, and how.
//!
//! A fault is matched when a request arrives, in the order in which the faults were set; the first that applies is
//! used. The dice are seeded, so a chaos run with one request at a time can be repeated.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// What a request is about.
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
    /// `PUT` of a part to the storage.
    PutPart,
    /// Reading an object from the storage.
    GetObject,
    /// Any other request, to either server.
    Other,
    /// In a fault: every API call. Never in a record.
    AnyApi,
    /// In a fault: every request, also to the storage. Never in a record.
    Any,
}

impl Op {
    /// Whether this is a call of the drive's API.
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

/// A request that goes wrong.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Which requests.
    pub on: Op,
    /// Only this part.
    pub part: Option<u32>,
    /// Let the first n that match pass.
    pub skip: u64,
    /// How often; `None`: for ever.
    pub times: Option<u64>,
    /// 0.0 to 1.0, thrown for each request that matches.
    pub probability: f64,
    /// What happens.
    pub action: Action,
}

impl Fault {
    /// A fault for every such request, for ever.
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

    /// Lets the first `skip` pass.
    #[must_use]
    pub fn skip(mut self, skip: u64) -> Self {
        self.skip = skip;
        self
    }

    /// At most so often.
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

/// How a request goes wrong. "Work" is what the request asks for: storing the part, creating the item. On
/// [`Op::GetObject`] "the body" is the answer's: the object's bytes, as they are sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// This answer, without the work. The body may be JSON, HTML or nothing.
    Status {
        /// HTTP status.
        code: u16,
        /// Header names and values.
        headers: Vec<(String, String)>,
        /// The body as it is.
        body: String,
    },
    /// An error as Amazon sends it, in XML, without the work.
    S3Error {
        /// HTTP status.
        status: u16,
        /// `SlowDown`, `InternalError`, …
        code: String,
        /// For people.
        message: String,
    },
    /// The work and the answer, but later. An API call goes on when the client has gone away meanwhile, as a
    /// service does.
    Delay(Duration),
    /// A TCP reset instead of anything else.
    Reset,
    /// A TCP reset once so many bytes of the body were read, or at its end.
    ResetAfter(u64),
    /// The work, then the connection is closed without an answer.
    CloseAfterWork,
    /// The work, then a TCP reset.
    ResetAfterWork,
    /// The work, then this answer instead of its own: a proxy's 502.
    AnswerAfterWork {
        /// HTTP status.
        code: u16,
        /// Header names and values.
        headers: Vec<(String, String)>,
        /// The body as it is.
        body: String,
    },
    /// Reads so many bytes of the body (or all), then nothing more, until the fault is cleared (then it goes on) or
    /// the client goes away.
    Stall {
        /// Bytes to read first.
        after: u64,
    },
    /// Takes everything and does the work, then answers nothing until the fault is cleared or the client goes away.
    HangAfterBody,
    /// Reads the body at this rate.
    SlowRead {
        /// Bytes a second.
        bytes_per_second: u64,
    },
    /// Stores the right bytes and answers with another MD5. An object is read with an ETag that has the form of an
    /// object sent in one piece.
    WrongEtag,
    /// Flips a bit before storing; the ETag is that of what was stored. An object is read with a bit flipped and the
    /// ETag of what is stored.
    CorruptStored,
    /// The work, then an answer whose Content-Length is larger than its body, and the connection is closed.
    TruncateAnswer,
    /// The work, then an answer whose body has no end.
    EndlessBody,
    /// 307 to another address, without the work.
    Redirect {
        /// The `Location`.
        to: String,
    },
    /// The work, and an answer as a bucket encrypted with KMS gives it: the ETag is no MD5.
    Kms,
    /// S3's 403 for a URL past its time, without the work.
    ExpiredUrl,
    /// S3's 404 for an upload that is gone (the API's 404 on its calls), without the work.
    NoSuchUpload,
}

impl Action {
    /// An answer without headers.
    pub fn status(code: u16, body: impl Into<String>) -> Self {
        Self::Status { code, headers: Vec::new(), body: body.into() }
    }

    /// S3's 503 that asks to slow down.
    pub fn slow_down() -> Self {
        Self::S3Error {
            status: 503,
            code: "SlowDown".into(),
            message: "Please reduce your request rate.".into(),
        }
    }

    /// S3's own failure.
    pub fn internal_error() -> Self {
        let message = "We encountered an internal error. Please try again.".into();
        Self::S3Error { status: 500, code: "InternalError".into(), message }
    }

    /// The API's 429.
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

/// Names a fault that was set.
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
    dice: fastrand::Rng,
}

/// The faults that are set.
pub(crate) struct Faults {
    inner: Mutex<Inner>,
    /// Counts the clearings, so that stalled requests wake.
    cleared: watch::Sender<u64>,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        let inner = Inner { rules: Vec::new(), next: 1, dice: fastrand::Rng::with_seed(seed) };
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

    /// The fault that this request gets, if any. Counts it as used.
    pub(crate) fn draw(&self, op: Op, part: Option<u32>) -> Option<(FaultId, Action)> {
        let mut guard = self.lock();
        let Inner { rules, dice, .. } = &mut *guard;
        for rule in rules {
            let wanted =
                rule.fault.on.covers(op) && rule.fault.part.is_none_or(|wanted| part == Some(wanted));
            if !wanted {
                continue;
            }
            rule.seen += 1;
            let spent = rule.fault.times.is_some_and(|times| rule.used >= times);
            if rule.seen <= rule.fault.skip || spent || dice.f64() >= rule.fault.probability {
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
    fn skip_times_and_part_decide_which_requests_fail() {
        let faults = Faults::new(1);
        faults.set(Fault::new(Op::PutPart, Action::Reset).part(2).skip(1).times(2));
        let hits = |part| faults.draw(Op::PutPart, Some(part)).is_some();
        assert_eq!([hits(2), hits(1), hits(2), hits(2), hits(2)], [false, false, true, true, false]);
    }

    #[test]
    fn any_api_leaves_the_storage_alone() {
        let faults = Faults::new(1);
        faults.set(Fault::new(Op::AnyApi, Action::Reset));
        assert!(faults.draw(Op::PutPart, Some(1)).is_none());
        assert!(faults.draw(Op::Tree, None).is_some());
    }

    #[test]
    fn same_seed_throws_the_same_dice() {
        let throws = |seed| {
            let faults = Faults::new(seed);
            faults.set(Fault::new(Op::Any, Action::Reset).probability(0.5));
            (0..64).map(|_| faults.draw(Op::Tree, None).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(throws(7), throws(7));
        assert_ne!(throws(7), throws(8));
    }
}
