//! One failed attempt at a call or a part, and its text.

use std::fmt;
use std::time::Duration;

/// Which call of the drive's API an error is about; its words stand in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// `POST …/multipart/start`
    Start,
    /// `POST …/multipart/presigned-urls`
    SignUrls,
    /// `POST …/multipart/finalize`
    Finalize,
    /// `GET /drive/tree`
    Tree,
    /// `GET /drive/search`
    Search,
    /// `GET /drive/files/{id}`
    Item,
    /// `GET /drive/files/{id}/download`
    Download,
    /// `POST /drive/folders`
    Folder,
    /// `GET /workspace/info`
    Workspace,
    /// `GET /drive/tree`, for what its answer says of the token.
    Check,
}

impl Call {
    /// How many there are.
    pub const KINDS: usize = Self::Check as usize + 1;

    /// What the call is for, to stand behind "could not …".
    pub fn aim(self) -> &'static str {
        match self {
            Self::Start => "start the upload",
            Self::SignUrls => "get signed URLs",
            Self::Finalize => "finalize the upload",
            Self::Tree => "list the folder",
            Self::Search => "search the drive",
            Self::Item => "get the item",
            Self::Download => "get the download URL",
            Self::Folder => "make the folder",
            Self::Workspace => "get the workspace's name",
            Self::Check => "check the token",
        }
    }
}

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
