//! What a failure means: whether another attempt can help, and its code in reports.
//!
//! S3's XML code comes first, because it is more precise than the status: a 403 may be an expired URL, a skewed clock
//! or a wrong signature. Then comes the status, then the transport. Comments say what each case rests on.

use super::code::Code;
use super::failure::{Call, Failure, Transport};

/// 5xx statuses that another attempt cannot change: not implemented (501), version not supported (505), misconfigured
/// (506), out of space (507), loop (508), extension missing (510), sign-in required (511, RFC 6585).
fn is_lasting(status: u16) -> bool {
    matches!(status, 501 | 505..=508 | 510 | 511)
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryClass {
    /// Try again after a backoff, respecting `Retry-After`.
    Transient,
    /// The signed URL has expired: get new URLs, then try again.
    Expired,
    /// The multipart upload no longer exists: start over.
    Gone,
    /// Another attempt cannot help.
    Refused,
}

impl Failure {
    /// The class of a failed PUT.
    pub fn class_of_part(&self) -> RetryClass {
        let Self::Status { status, code, message, .. } = self else {
            return self.class_of_transport();
        };
        let message = message.as_deref().unwrap_or_default();
        match (code.as_deref().unwrap_or_default(), status) {
            // S3's text for a presigned URL past its X-Amz-Expires. ExpiredToken: the credentials that signed it have
            // expired. RequestTimeTooSkewed: X-Amz-Date is too far from S3's clock; new URLs fix that.
            ("AccessDenied", 403) if message.contains("expired") => RetryClass::Expired,
            (
                "ExpiredToken"
                | "TokenRefreshRequired"
                | "RequestTimeTooSkewed"
                | "ExpiredRequest"
                | "RequestExpired",
                _,
            ) => RetryClass::Expired,
            // Completed, aborted, or removed by a lifecycle rule.
            ("NoSuchUpload", _) => RetryClass::Gone,
            // A 400, but for a socket on which S3 saw no byte for about 20 s. BadDigest and IncompleteBody: the bytes
            // were damaged or cut off in transit.
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

    /// The class of a failed API call.
    pub fn class_of_call(&self, call: Call) -> RetryClass {
        match self {
            Self::Status { status: 408 | 425 | 429, .. } => RetryClass::Transient,
            Self::Status { status, .. } if is_lasting(*status) => RetryClass::Refused,
            Self::Status { status: 500.., .. } => RetryClass::Transient,
            // These two calls name an upload, so "not found" means the upload and not the folder.
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
            // A truncated body can look malformed too, but a complete one that is wrong stays wrong.
            Self::Malformed { .. } | Self::WebPage => RetryClass::Refused,
            // Sending the part again overwrites the wrong bytes.
            Self::Checksum { .. } | Self::Transport { .. } => RetryClass::Transient,
            Self::Status { .. } => RetryClass::Refused,
        }
    }

    /// Whether the other side asks for less load: SlowDown and the like, or an answer that is late because something on
    /// the way accepts parts faster than it passes them on.
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

    /// Whether finalize was refused because of the parts (S3's codes, passed on by the service).
    pub fn blames_parts(&self) -> bool {
        let Self::Status { code, message, .. } = self else { return false };
        let says = |word: &str| [code, message].into_iter().flatten().any(|text| text.contains(word));
        says("InvalidPart") || says("EntityTooSmall")
    }

    /// Whether the workspace is out of space. The status for that is not documented. Statuses with a meaning of their
    /// own do not count: a rate limit may be called a quota too.
    pub fn is_out_of_space(&self) -> bool {
        let Self::Status { status, code, message, .. } = self else { return false };
        if *status == 507 {
            return true;
        }
        if !(400..500).contains(status) || matches!(status, 401 | 404 | 407..=409 | 425 | 429) {
            return false;
        }
        // "workspace" contains "space".
        let text =
            [code, message].into_iter().flatten().map(|text| text.to_lowercase().replace("workspace", ""));
        let text = text.collect::<Vec<_>>().join(" ");
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
        let lacking =
            ["full", "left", "limit", "exceed", "enough", "insufficient", "out of", "used up", "exhausted"];
        // "No access to this storage" is not about space.
        says(&["quota"]) || says(&["storage", "space"]) && says(&lacking)
    }

    /// Whether every other request would be refused as well.
    pub fn holds_for_all(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status, 407 | 511),
            Self::Transport { kind, .. } => kind.is_final(),
            _ => false,
        }
    }

    /// The code of a failed API call.
    pub fn code_of_call(&self, call: Call) -> Code {
        match self {
            // A full workspace is not a problem of the token.
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

    /// The code of a failed part.
    pub fn code_of_part(&self) -> Code {
        match self {
            Self::Status { status: 429, .. } => Code::RateLimited,
            other => other.code_of_transport(other.class_of_part()),
        }
    }

    fn code_of_transport(&self, class: RetryClass) -> Code {
        match self {
            Self::Checksum { .. } => Code::Integrity,
            Self::Transport { kind: Transport::ProxyAuth | Transport::ProxyRefused, .. } => Code::Refused,
            Self::Transport { .. } => Code::Network,
            Self::Status { .. } if class == RetryClass::Transient => Code::Network,
            Self::Status { .. } | Self::Malformed { .. } | Self::WebPage => Code::Refused,
        }
    }
}

#[cfg(test)]
#[path = "class_tests.rs"]
mod tests;
