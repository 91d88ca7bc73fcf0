//! Why something failed, whether trying again can help, and when.
//!
//! One place classifies: S3's XML code first (it is more precise than the status: a 403 may be an expired
//! URL, a skewed clock or a wrong signature), then the status, then the transport. What each case rests on is
//! written beside it.

use std::fmt;
use std::time::{Duration, Instant};

use crate::error::{Call, Code};

/// One failed attempt at a call or a part. Its `Display` says what happened, secrets already masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// An answer that is no success.
    Status {
        /// The HTTP status.
        status: u16,
        /// Storage's XML `Code`, or the API's.
        code: Option<String>,
        /// What the service said, masked.
        message: Option<String>,
        /// When it asks to be tried again: `Retry-After`, or a body's `retryAfter`.
        retry_after: Option<Duration>,
    },
    /// No answer.
    Transport {
        /// In which way.
        kind: Transport,
        /// The causes, masked and without a URL's query.
        detail: String,
    },
    /// A success whose body is not what the protocol promises.
    Malformed {
        /// What is wrong with it.
        detail: String,
    },
    /// A success with a web page in it: not the service's.
    WebPage,
    /// Storage's ETag is not the MD5 of the bytes that were sent.
    Checksum {
        /// Of the bytes sent, hexadecimal.
        sent: String,
        /// What storage answered.
        stored: String,
    },
}

/// The ways to get no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// No connection came about: name not found, refused, unreachable, time-out.
    Connect,
    /// The other side's certificate is not trusted, or TLS could not be agreed on.
    Tls,
    /// The other side's certificate has expired or is not valid yet, by this machine's clock.
    CertificateDates,
    /// The proxy wants a user and password, or others.
    ProxyAuth,
    /// The proxy does not let this connection through.
    ProxyRefused,
    /// The network took no byte for the stall time-out.
    Stalled,
    /// Storage has the whole part, as far as can be seen from here, and gave no answer in the time it had.
    ResponseTimeout,
    /// The answer took longer than a call may take.
    Timeout,
    /// The connection ended in the middle.
    Disconnected,
    /// An answer came that cannot be read as HTTP.
    Garbled,
}

impl Transport {
    /// Whether it was decided before anything was sent, and will be decided so again. A program that goes on trying
    /// hides a wrong certificate, and may lock the account of a proxy.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Tls | Self::CertificateDates | Self::ProxyAuth | Self::ProxyRefused)
    }
}

/// Server errors that are none of passing: not built (501), no such version (505), wrongly set up (506), out of
/// space (507), a loop (508), an extension is missing (510), a sign-in is (511, RFC 6585).
fn is_lasting(status: u16) -> bool {
    matches!(status, 501 | 505..=508 | 510 | 511)
}

/// What a failure asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryClass {
    /// Try again after a backoff, and not before the other side wants it.
    Transient,
    /// The signed URL has expired: ask for fresh ones, then again.
    Expired,
    /// The multipart upload is gone: start again.
    Gone,
    /// Trying again cannot help.
    Refused,
}

impl Failure {
    /// A failure of the transport.
    pub fn transport(kind: Transport, detail: impl Into<String>) -> Self {
        Self::Transport { kind, detail: detail.into() }
    }

    /// The same with what it is about added to what happened.
    #[must_use]
    pub fn at(mut self, what: &str) -> Self {
        if let Self::Transport { detail, .. } = &mut self {
            *detail = if detail.is_empty() { what.to_owned() } else { format!("{detail}, {what}") };
        }
        self
    }

    /// Whether a proxy did not take user and password.
    pub fn is_proxy_auth(&self) -> bool {
        matches!(self, Self::Transport { kind: Transport::ProxyAuth, .. } | Self::Status { status: 407, .. })
    }

    /// Whether it was not this request that was refused but whatever is sent there: others need not try.
    pub fn holds_for_all(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status, 407 | 511),
            Self::Transport { kind, .. } => kind.is_final(),
            _ => false,
        }
    }

    /// What to do about a part's PUT that failed so.
    pub fn class_of_part(&self) -> RetryClass {
        let Self::Status { status, code, message, .. } = self else {
            return self.class_of_transport();
        };
        let message = message.as_deref().unwrap_or_default();
        match (code.as_deref().unwrap_or_default(), status) {
            // Amazon's words for a presigned URL past its X-Amz-Expires; ExpiredToken when the credentials
            // that signed it lapsed before. RequestTimeTooSkewed: the X-Amz-Date is too far from S3's clock,
            // which fresh URLs mend.
            ("AccessDenied", 403) if message.contains("expired") => RetryClass::Expired,
            (
                "ExpiredToken"
                | "TokenRefreshRequired"
                | "RequestTimeTooSkewed"
                | "ExpiredRequest"
                | "RequestExpired",
                _,
            ) => RetryClass::Expired,
            // Completed, aborted, or cleaned up by the bucket's lifecycle rule.
            ("NoSuchUpload", _) => RetryClass::Gone,
            // 400, but meant for a socket on which S3 saw no byte for about 20 s. BadDigest and
            // IncompleteBody: the bytes were damaged or cut short on the way.
            (
                "RequestTimeout"
                | "SlowDown"
                | "InternalError"
                | "ServiceUnavailable"
                | "IncompleteBody"
                | "BadDigest"
                | "OperationAborted"
                | "Throttling"
                | "ThrottlingException"
                | "RequestThrottled"
                | "RequestLimitExceeded"
                | "TooManyRequests",
                _,
            ) => RetryClass::Transient,
            (_, 408 | 425 | 429) => RetryClass::Transient,
            (_, status) if is_lasting(*status) => RetryClass::Refused,
            (_, 500..) => RetryClass::Transient,
            _ => RetryClass::Refused,
        }
    }

    /// What to do about an API call that failed so.
    pub fn class_of_call(&self, call: Call) -> RetryClass {
        match self {
            Self::Status { status: 408 | 425 | 429, .. } => RetryClass::Transient,
            Self::Status { status, .. } if is_lasting(*status) => RetryClass::Refused,
            Self::Status { status: 500.., .. } => RetryClass::Transient,
            // These two name an upload: "not found" is the upload, not the folder.
            Self::Status { status: 404 | 410, .. } if matches!(call, Call::SignUrls | Call::Finalize) => {
                RetryClass::Gone
            }
            Self::Status { message: Some(message), code, .. }
                if matches!(call, Call::SignUrls | Call::Finalize)
                    && (message.contains("NoSuchUpload")
                        || message.contains("upload does not exist")
                        || code.as_deref() == Some("NoSuchUpload")) =>
            {
                RetryClass::Gone
            }
            Self::Status { .. } => RetryClass::Refused,
            other => other.class_of_transport(),
        }
    }

    fn class_of_transport(&self) -> RetryClass {
        match self {
            Self::Transport { kind, .. } if kind.is_final() => RetryClass::Refused,
            // A cut-off body looks malformed where a proxy has "mended" its length; but one that is
            // whole and wrong stays so.
            Self::Malformed { .. } | Self::WebPage => RetryClass::Refused,
            // The bytes in storage are wrong; sending the part again overwrites them.
            Self::Checksum { .. } | Self::Transport { .. } => RetryClass::Transient,
            Self::Status { .. } => RetryClass::Refused,
        }
    }

    /// Whether storage or the service asks for less: SlowDown and its like; or something on the way takes parts
    /// faster than it can pass them on, so that their answers are late.
    pub fn asks_for_less(&self) -> bool {
        match self {
            Self::Transport { kind: Transport::ResponseTimeout, .. } => true,
            Self::Status { status: 429 | 503, .. } => true,
            Self::Status { code: Some(code), .. } => {
                matches!(
                    code.as_str(),
                    "SlowDown" | "ThrottlingException" | "RequestThrottled" | "TooManyRequests"
                )
            }
            _ => false,
        }
    }

    /// Whether a finalize was refused for what storage thinks of the parts (S3's codes, passed on).
    pub fn blames_parts(&self) -> bool {
        let Self::Status { code, message, .. } = self else { return false };
        let says = |word: &str| [code, message].into_iter().flatten().any(|text| text.contains(word));
        says("InvalidPart") || says("EntityTooSmall")
    }

    /// Whether the service says that the workspace is full. Which status that gets is not documented: not one that
    /// has a meaning of its own, since a rate limit may be called a quota, too.
    pub fn is_out_of_space(&self) -> bool {
        let Self::Status { status, code, message, .. } = self else { return false };
        if *status == 507 {
            return true;
        }
        if !(400..500).contains(status) || matches!(status, 401 | 404 | 407..=409 | 425 | 429) {
            return false;
        }
        // "workspace" has "space" in it.
        let text =
            [code, message].into_iter().flatten().map(|text| text.to_lowercase().replace("workspace", ""));
        let text = text.collect::<Vec<_>>().join(" ");
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
        let lacking =
            ["full", "left", "limit", "exceed", "enough", "insufficient", "out of", "used up", "exhausted"];
        // "No access to this storage" is about something else.
        says(&["quota"]) || says(&["storage", "space"]) && says(&lacking)
    }

    /// When the other side wants to be asked again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The HTTP status, where there was one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Advice that the failure itself calls for. `of_part`: storage was asked, and not the API.
    pub fn hint(&self, of_part: bool) -> Option<String> {
        let hint = match self {
            Self::Transport { kind: Transport::Tls, .. } => {
                "behind a company proxy, name its CA with --cacert or SSL_CERT_FILE; on a hotel or train network, \
                 sign in to it with a browser first"
            }
            Self::Transport { kind: Transport::CertificateDates, .. } => {
                // To the minute, as a clock on a wall shows it.
                let now = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC");
                return Some(format!(
                    "look at this computer's clock, which says {now}: if that is right, the server's certificate has to be renewed"
                ));
            }
            Self::Transport { kind: Transport::ProxyRefused, .. } => {
                "ask whoever runs the proxy to allow this host, or exempt it with NO_PROXY if it can be reached directly"
            }
            failure if failure.is_proxy_auth() => {
                "give user and password in the variable, as in http://user:password@host:port, with characters such as \
                 @ and : in them percent-encoded (%40, %3A)"
            }
            Self::WebPage | Self::Status { status: 511, .. } => {
                "sign in to the network with a browser first, or check --api-url"
            }
            Self::Status { status: 301..=308, .. } if of_part => {
                "redirects are not followed: sign in to the network with a browser, or report it to the service"
            }
            Self::Status { status: 301..=308, .. } => {
                "redirects are not followed: check the API URL, or sign in to the network with a browser"
            }
            failure if failure.is_out_of_space() => {
                "the workspace is full: free some space, or see its storage settings"
            }
            Self::Status { status: 413, code, .. } if of_part && code.is_none() => {
                "a proxy on the way may not let requests as large as a part through: try --part-size 5MiB, the smallest"
            }
            Self::Status { status: 413, .. } => {
                "the workspace may be out of space: see its storage settings; or a proxy on the way limits the size of requests"
            }
            Self::Status { code: Some(code), .. } if code == "SignatureDoesNotMatch" => {
                "something between here and storage changes the request (a proxy?), or the service signed it wrongly"
            }
            Self::Checksum { .. } => {
                "something on the way changes the bytes; --no-checksum uploads without comparing, if storage is known to use other ETags"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// The report's code for a call that ended so.
    pub fn code_of_call(&self, call: Call) -> Code {
        match self {
            // A full workspace is no fault of the token.
            Self::Status { .. } if self.is_out_of_space() => Code::Refused,
            Self::Status { status: 401 | 403, .. } => Code::Auth,
            Self::Status { status: 404, .. } if matches!(call, Call::Start | Call::Tree | Call::Folder) => {
                Code::NotFound
            }
            Self::Status { status: 409, .. } => Code::Conflict,
            Self::Status { status: 429, .. } => Code::RateLimited,
            other => other.code_of_transport(other.class_of_call(call)),
        }
    }

    /// The report's code for a part that ended so.
    pub fn code_of_part(&self) -> Code {
        match self {
            Self::Status { status: 429, .. } => Code::RateLimited,
            other => other.code_of_transport(other.class_of_part()),
        }
    }

    fn code_of_transport(&self, verdict: RetryClass) -> Code {
        match self {
            Self::Checksum { .. } => Code::Integrity,
            Self::Transport { kind: Transport::ProxyAuth | Transport::ProxyRefused, .. } => Code::Refused,
            Self::Transport { .. } => Code::Network,
            Self::Status { .. } if verdict == RetryClass::Transient => Code::Network,
            Self::Status { .. } | Self::Malformed { .. } | Self::WebPage => Code::Refused,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { status, code, message, .. } => {
                write!(f, "{status}")?;
                let reason = hyper::StatusCode::from_u16(*status).ok().and_then(|s| s.canonical_reason());
                if let Some(word) = code.as_deref().or(reason) {
                    write!(f, " {word}")?;
                }
                if let Some(message) = message.as_deref().filter(|m| !m.is_empty() && Some(*m) != reason) {
                    write!(f, ": {message}")?;
                }
                Ok(())
            }
            Self::Transport { kind, detail } => {
                let what = match kind {
                    Transport::Connect => "no connection",
                    Transport::Tls | Transport::CertificateDates => "no trusted connection",
                    Transport::ProxyAuth => "the proxy wants a valid user name and password",
                    Transport::ProxyRefused => "the proxy refused the connection",
                    Transport::Stalled => "the transfer stalled",
                    Transport::ResponseTimeout => "no answer from storage",
                    Transport::Timeout => "no answer in time",
                    Transport::Disconnected => "the connection was lost",
                    Transport::Garbled => "the answer is not valid HTTP",
                };
                if detail.is_empty() { f.write_str(what) } else { write!(f, "{what}: {detail}") }
            }
            Self::Malformed { detail } => write!(f, "unexpected answer from the service: {detail}"),
            Self::WebPage => f.write_str("the answer is a web page, not the service's"),
            Self::Checksum { sent, stored } => {
                write!(f, "storage holds other bytes than were sent (MD5 {sent}, ETag {stored})")
            }
        }
    }
}

/// The first backoff's ceiling, doubled with each retry in a row.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
/// No backoff is longer, so that a line that comes back is used within half a minute.
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// A server's wish is kept to the second at least, plus a little spread so that many clients do not return
/// in the same instant.
const RETRY_AFTER_JITTER: f64 = 0.1;

/// How long to keep trying: [`RetryBudget`] for one call or part is made from it.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// How long something may get no further than it ever was.
    pub retry_for: Duration,
    /// How many retries in a row.
    pub max_retries: Option<u32>,
}

/// The patience left for one call or one part: it runs from the last time that more was reached than ever
/// before, so that a long upload is not ended by the sum of small faults, and a dead one is.
#[derive(Debug)]
pub struct RetryBudget {
    policy: RetryPolicy,
    since: Instant,
    attempts: u32,
}

impl RetryBudget {
    /// Full patience, from now.
    pub fn new(policy: RetryPolicy) -> Self {
        Self { policy, since: Instant::now(), attempts: 0 }
    }

    /// Something was reached that never was before: patience is whole again.
    pub fn reset(&mut self) {
        self.since = Instant::now();
        self.attempts = 0;
    }

    /// So much of the time since then is not held against it: something moved, if no further than before.
    pub fn credit(&mut self, moving: Duration) {
        self.since = (self.since + moving).min(Instant::now());
    }

    /// Retries since patience was whole.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// How long it has lasted.
    pub fn waited(&self) -> Duration {
        self.since.elapsed()
    }

    /// How long to wait before the next try, or `None` when patience is at its end: then, or if the other
    /// side asks for a longer wait than there is patience for.
    pub fn next_backoff(&mut self, retry_after: Option<Duration>) -> Option<Duration> {
        let left = self.policy.retry_for.checked_sub(self.since.elapsed()).filter(|left| !left.is_zero())?;
        if self.policy.max_retries.is_some_and(|most| self.attempts >= most) {
            return None;
        }
        let wait = match retry_after {
            Some(wish) if wish > left => return None,
            Some(wish) => {
                wish.mul_f64(1.0 + RETRY_AFTER_JITTER * fastrand::f64()).max(full_jitter(self.attempts))
            }
            None => full_jitter(self.attempts),
        };
        self.attempts += 1;
        // Never past the end: the last try comes when patience ends, not after it.
        Some(wait.min(left))
    }
}

/// Full jitter: anything between nothing and the ceiling, so that parts that failed together do not come
/// back together (AWS Architecture Blog, "Exponential Backoff And Jitter").
fn full_jitter(retries: u32) -> Duration {
    let ceiling = BACKOFF_FIRST.saturating_mul(1 << retries.min(16)).min(MAX_BACKOFF);
    ceiling.mul_f64(fastrand::f64())
}

/// A duration in words a person would use: "4m 10s", "1.5s", "80ms".
pub fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        1..=9 => format!("{:.1}s", duration.as_secs_f64()),
        10..=59 => format!("{seconds}s"),
        60..=3599 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600..=86_399 => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
        // A server may ask for any number of seconds.
        315_360_000.. => "more than 10 years".to_owned(),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;
