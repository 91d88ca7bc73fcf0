//! What a failure means: whether another attempt can help, and its code in reports.
//!
//! S3's XML code comes first, because it is more precise than the status: a 403 may be an expired URL, a skewed clock
//! or a wrong signature. Then comes the status, then the transport. Comments say what each case rests on.

use super::code::Code;
use super::failure::{Call, Failure, Transport};

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

    /// Whether it was not this request that was refused but whatever is sent there: others need not try.
    pub fn holds_for_all(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status, 407 | 511),
            Self::Transport { kind, .. } => kind.is_final(),
            _ => false,
        }
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

#[cfg(test)]
#[path = "class_tests.rs"]
mod tests;
