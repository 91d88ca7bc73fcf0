//! Hints: what the user can do about an error.

use std::time::Duration;

use super::{Call, Code, Error, Failure, Transport};
use crate::format::human_duration;
use crate::platform;

/// A longer `Retry-After` is not shown.
const MAX_SHOWN_WAIT: Duration = Duration::from_secs(365 * 86_400);

impl Error {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        self.hint_with("run the same command again to resume")
    }

    /// Builds the hint. `again` describes what running the same command would do.
    fn hint_with(&self, again: &str) -> Option<String> {
        let hint = match self {
            Self::Message { hint, .. } => return hint.clone(),
            Self::NoToken => {
                "set COPERA_TOKEN (or COPERA_CLI_AUTH_TOKEN), or have `copera-upload --login` save a `token` in \
                 your profile, or put a `token_command` there; a personal access token (cp_pat_…) with the \
                 scope ACCESS_DRIVE is needed"
            }
            Self::LoginFailed(error) => match &**error {
                Self::Interrupted(_) => return None,
                Self::Call { failure, .. }
                    if error.code() == Code::Refused && failure.hint(false).is_none() =>
                {
                    "another server may answer there: check --api-url; -vv shows the requests"
                }
                error => return error.hint_with("give the token again when the service can be reached"),
            },
            Self::Changed { .. } => "run the same command again once the file no longer changes",
            Self::WrongSize { .. } => {
                "its size is only known once it is read: pipe it in with `cat FILE | copera-upload - --name NAME`"
            }
            Self::Unsettled { .. } => {
                "look into the folder: if the file is there, it is done. The same command checks again before it sends anything twice; with --verify it also compares the content of an encrypted item, with --no-resume it uploads again"
            }
            Self::Unrecorded(error) => match &**error {
                Self::Unsettled { .. } => {
                    "look into the folder first: the same command uploads again, because no record of this upload is kept"
                }
                Self::Unverified { .. } => {
                    "check that item yourself: the same command uploads the file again, because no record of this upload is kept"
                }
                error => {
                    return error.hint_with("run the same command again; it starts over, because no record of this upload is kept");
                }
            },
            Self::Differs { .. } => "delete that item; the same command uploads the file again",
            Self::Unverified { error, .. } => {
                let again = "run the same command again; it only verifies";
                return error.hint_with(again).or_else(|| Some(again.to_owned()));
            }
            Self::Interrupted(_) => again,
            Self::Call { failure, .. }
            | Self::Part { failure, .. }
            | Self::Object { failure, .. }
            | Self::CircuitOpen { failure } => {
                return self.hint_of(failure, again);
            }
            Self::WithHint { hint, .. } => hint,
            Self::Empty(error) => return error.hint_with(again),
            Self::Folder { error, .. } | Self::Shared(error) => return error.hint_with(again),
            Self::Local { source, .. } | Self::Spool { source, .. } if platform::is_out_of_files(source) => {
                "raise the limit of open files: ulimit -n 1024"
            }
            Self::Local { source, .. } if platform::is_locked(source) => {
                "another program has locked the file: close it, then run the same command again"
            }
            Self::Spool { .. } => {
                "the service needs the size first, so standard input is kept on disk until it is uploaded; set TMPDIR to a directory with more space"
            }
            Self::Local { .. } | Self::Output(_) | Self::Internal(_) => return None,
        };
        Some(hint.to_owned())
    }

    fn hint_of(&self, failure: &Failure, again: &str) -> Option<String> {
        if let Some(hint) = failure.hint(!matches!(self, Self::Call { .. })) {
            return Some(hint);
        }
        let is_shown = |wait: &Duration| !wait.is_zero() && *wait < MAX_SHOWN_WAIT;
        let wait = failure.retry_after().filter(is_shown).map(human_duration);
        let hint = match self.code() {
            Code::Auth if failure.status() == Some(401) => {
                "the token is missing, wrong or expired: make a new one with the scope ACCESS_DRIVE, and set COPERA_TOKEN \
                 or save it with `copera-upload --login`"
            }
            Code::Auth => {
                "the token needs the scope ACCESS_DRIVE and access to the folder; integration keys (cp_key_…) \
                 do not reach drives"
            }
            Code::NotFound => {
                "check --parent (an ID or an address) and --to (a path): no such folder can be seen with this token"
            }
            Code::Refused
                if failure.status() == Some(404)
                    && matches!(self, Self::Call { call: Call::Workspace, .. }) =>
            {
                "another server may answer there: check --api-url"
            }
            Code::Refused
                if failure.blames_parts() && matches!(self, Self::Call { call: Call::Finalize, .. }) =>
            {
                "run the same command again; it sends the parts again"
            }
            Code::RateLimited => {
                return Some(match wait {
                    Some(wait) => format!("try again in {wait}: {again}; or raise --retry-for"),
                    None => format!("try again later: {again}"),
                });
            }
            Code::Network => {
                let is_endless = failure.retry_after().is_some_and(|wait| wait >= MAX_SHOWN_WAIT);
                return Some(match wait {
                    Some(wait) => format!("try again in {wait}: {again}"),
                    None if is_endless => format!("try again later: {again}"),
                    None => format!("{again}; --retry-for sets how long to keep trying"),
                });
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

impl Failure {
    /// A hint that depends only on the failure. `of_part`: storage failed, not the API.
    pub fn hint(&self, of_part: bool) -> Option<String> {
        let hint = match self {
            Self::Transport { kind: Transport::Tls, .. } => {
                "behind a company proxy, name its CA with --cacert or SSL_CERT_FILE; on a hotel or train network, \
                 sign in to it with a browser first"
            }
            Self::Transport { kind: Transport::CertificateDates, .. } => {
                // To the minute, like a clock.
                let now = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC");
                return Some(format!(
                    "look at this computer's clock, which says {now}: if that is right, the server's certificate has to be renewed"
                ));
            }
            Self::Transport { kind: Transport::ProxyRefused, .. } => {
                "ask the administrator of the proxy to allow this host, or exempt it with NO_PROXY if it can be reached directly"
            }
            Self::Status { status: 407, .. } => {
                "a proxy on the network requires a user name and password: set it in HTTPS_PROXY or HTTP_PROXY, as in \
                 http://user:password@host:port"
            }
            failure if failure.is_proxy_auth() => {
                "give user and password in the variable, as in http://user:password@host:port (or https://, socks5://); \
                 percent-encode characters such as @ (%40) and : (%3A) in them"
            }
            Self::WebPage if of_part => {
                "sign in to the network with a browser first; or a proxy answers in place of storage, and has to let the host through"
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
                "a proxy may refuse requests as large as a part: try --part-size 5MiB, the smallest"
            }
            Self::Status { status: 413, .. } => {
                "the workspace may be out of space: see its storage settings; or a proxy limits the size of requests"
            }
            Self::Status { code: Some(code), .. } if code == "SignatureDoesNotMatch" => {
                "something between this computer and storage, perhaps a proxy, changes the request, or the service signed it wrongly"
            }
            Self::Checksum { .. } => {
                "something between this computer and storage changes the bytes; if storage is known to use other ETags, --no-checksum uploads without comparing"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
