//! One failed attempt at a call or a part.

use std::fmt;
use std::time::Duration;

/// A call of the drive's API.
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
    /// `GET /drive/tree`, to test the token.
    Check,
}

impl Call {
    /// Number of variants.
    pub const KINDS: usize = Self::Check as usize + 1;

    /// Its purpose, to follow "could not …".
    pub fn aim(self) -> &'static str {
        match self {
            Self::Start => "start the upload",
            Self::SignUrls => "get signed URLs",
            Self::Finalize => "finalize the upload",
            Self::Tree => "list the folder",
            Self::Search => "search the drive",
            Self::Item => "get the item",
            Self::Download => "get the download URL",
            Self::Folder => "create the folder",
            Self::Workspace => "get the workspace's name",
            Self::Check => "check the token",
        }
    }
}

/// One failed attempt. `Display` describes it, with secrets redacted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// A response other than success.
    Status {
        status: u16,
        /// S3's XML `Code`, or the API's.
        code: Option<String>,
        /// The service's message, redacted.
        message: Option<String>,
        /// From `Retry-After`, or `retryAfter` in the body.
        retry_after: Option<Duration>,
    },
    /// No response.
    Transport {
        kind: Transport,
        /// The causes, redacted and without the query of URLs.
        detail: String,
    },
    /// A successful response with an unexpected body.
    Malformed { detail: String },
    /// A successful response with a web page, from a captive portal for example.
    WebPage,
    /// The ETag is not the MD5 of the bytes sent.
    Checksum {
        /// MD5 of the bytes sent, in hexadecimal.
        sent: String,
        /// The ETag.
        stored: String,
    },
}

/// The reasons for having no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Could not connect: DNS, refused, unreachable, timeout.
    Connect,
    /// The certificate is not trusted, or the TLS handshake failed.
    Tls,
    /// The certificate has expired or is not valid yet, by this machine's clock.
    CertificateDates,
    /// The proxy requires a user and password, or different ones.
    ProxyAuth,
    /// The proxy refuses this connection.
    ProxyRefused,
    /// The network accepted no byte for the stall timeout.
    Stalled,
    /// The whole part was sent, and storage did not answer in time.
    ResponseTimeout,
    /// The API did not answer in time.
    Timeout,
    /// The connection was lost.
    Disconnected,
    /// The response is not valid HTTP.
    Garbled,
}

impl Transport {
    /// Whether another attempt must not be made. Nothing has been sent yet, and the outcome would be the same;
    /// repeating it would hide a wrong certificate, or lock a proxy account.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Tls | Self::CertificateDates | Self::ProxyAuth | Self::ProxyRefused)
    }
}

impl Failure {
    pub fn transport(kind: Transport, detail: impl Into<String>) -> Self {
        Self::Transport { kind, detail: detail.into() }
    }

    /// Appends context to the details of a transport failure.
    #[must_use]
    pub fn at(mut self, what: &str) -> Self {
        if let Self::Transport { detail, .. } = &mut self {
            *detail = if detail.is_empty() { what.to_owned() } else { format!("{detail}, {what}") };
        }
        self
    }

    /// Whether the proxy did not accept user and password.
    pub fn is_proxy_auth(&self) -> bool {
        matches!(self, Self::Transport { kind: Transport::ProxyAuth, .. } | Self::Status { status: 407, .. })
    }

    /// When the server wants to be asked again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The HTTP status, if there was a response.
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
                    Transport::ProxyAuth => "the proxy requires a valid user name and password",
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
                write!(f, "storage has other bytes than were sent (MD5 {sent}, ETag {stored})")
            }
        }
    }
}
