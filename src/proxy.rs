//! Chooses the proxy for a URL from the variables that curl reads. They are resolved once, and the API client and storage
//! share the result.
//!
//! An invalid value is an error, because a request that should go through a proxy must not silently go directly.

mod no_proxy;

use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::Uri;
use hyper::header::HeaderValue;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use percent_encoding::percent_decode_str;
use reqwest::Url;

use self::no_proxy::NoProxy;
use crate::error::Error;
use crate::http;

/// The variables. A lower-case name takes precedence over its upper-case twin, as in curl.
pub const VARIABLES: [&str; 9] = [
    "https_proxy",
    "HTTPS_PROXY",
    "http_proxy",
    "HTTP_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    CGI,
];

/// Set for CGI programs. Their `HTTP_PROXY` comes from a request header (`Proxy:`) and not from the administrator:
/// <https://httpoxy.org>.
const CGI: &str = "REQUEST_METHOD";

/// The default port of a SOCKS proxy (IANA).
const SOCKS_PORT: u16 = 1080;
/// Limit on user name and password in SOCKS, in bytes (RFC 1929).
const SOCKS_CREDENTIAL_MAX: usize = 255;

/// The proxies of a run.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    http: Option<Arc<Proxy>>,
    https: Option<Arc<Proxy>>,
    no_proxy: NoProxy,
}

impl Proxies {
    /// Resolves the variables that are set. `warnings` receives what is ignored.
    /// Fails with [`Error::usage`] for a value that cannot be parsed or has an unsupported scheme.
    pub fn resolve(
        variables: &[(&'static str, OsString)],
        warnings: &mut Vec<String>,
    ) -> Result<Self, Error> {
        let cgi = variables.iter().any(|(name, _)| *name == CGI);
        // Names of variables are case-insensitive on Windows.
        let untrusted = |name: &str| cgi && (name == "HTTP_PROXY" || cfg!(windows) && name == "http_proxy");
        let mut find = |wanted: &str| -> Result<Option<(&'static str, &str)>, Error> {
            for (name, value) in variables.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted)) {
                let text =
                    value.to_str().ok_or_else(|| Error::usage(format!("{name} is not valid Unicode")))?;
                let text = text.trim();
                if text.is_empty() {
                    continue;
                }
                if untrusted(name) {
                    warnings.push(format!(
                        "{name} is ignored because {CGI} is set: a web server sets it from a request's header; \
                         use http_proxy or ALL_PROXY"
                    ));
                    continue;
                }
                return Ok(Some((*name, text)));
            }
            Ok(None)
        };
        let no_proxy = find("no_proxy")?.map(|(_, list)| NoProxy::parse(list)).unwrap_or_default();
        let mut proxy = |wanted: &str| {
            find(wanted)?.map(|(name, text)| Proxy::parse(name, text).map(Arc::new)).transpose()
        };
        let (http, https) = (proxy("http_proxy")?, proxy("https_proxy")?);
        // Checked only if it is used: desktops that set all variables set this one to `socks://`.
        let all = if http.is_some() && https.is_some() { None } else { proxy("all_proxy")? };
        Ok(Self { http: http.or_else(|| all.clone()), https: https.or(all), no_proxy })
    }

    /// The proxy for this URL; `None` for a direct connection.
    pub fn find(&self, uri: &Uri) -> Option<&Arc<Proxy>> {
        let proxy = match uri.scheme_str() {
            Some("https") => self.https.as_ref(),
            _ => self.http.as_ref(),
        }?;
        let (host, port) = (uri.host()?, http::port(uri));
        (!self.no_proxy.covers(host, port)).then_some(proxy)
    }
}

/// The protocol of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP over TCP.
    Http,
    /// HTTP over TLS.
    Https,
    /// SOCKS 5; names are resolved locally.
    Socks5,
    /// SOCKS 5; the proxy resolves names.
    Socks5h,
}

/// A proxy. `Display` shows its address and its variable, and never its password.
pub struct Proxy {
    variable: &'static str,
    scheme: Scheme,
    /// For reqwest: includes user and password.
    url: Url,
    intercept: Intercept,
    used: AtomicBool,
}

impl Proxy {
    fn parse(variable: &'static str, text: &str) -> Result<Self, Error> {
        let wrong = |what: &str| {
            Error::usage_hint(
                format!("{variable} `{}` {what}", mask_userinfo(text)),
                "a proxy is given as http://host:port, https://…, socks5://… or socks5h://…, with user:password@ \
                 before the host if it needs them",
            )
        };
        let unparsable = |why: &dyn fmt::Display| wrong(&format!("cannot be parsed: {why}"));
        // The URL parser would drop tabs and newlines.
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(unparsable(&"it contains white space or control characters"));
        }
        let bare = !text.contains("://");
        // The URL parser would end the host at the `\` of `domain\user`.
        let text = &text.replace('\\', "%5C");
        let mut url = match bare {
            true => Url::parse(&format!("http://{text}")),
            false => Url::parse(text),
        }
        .map_err(|error| unparsable(&error))?;
        let rest = [Some(url.path()), url.query(), url.fragment()];
        if rest.into_iter().flatten().any(|text| text.contains('@')) {
            return Err(unparsable(&"/, ? and # in user and password have to be given as %2F, %3F and %23"));
        }
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "socks5" => Scheme::Socks5,
            "socks5h" => Scheme::Socks5h,
            other => return Err(wrong(&format!("is not a proxy of a supported kind (`{other}`)"))),
        };
        // `http:/host` would become the host `http`.
        if bare && url.path() != "/" {
            return Err(unparsable(&"a host and a port are expected"));
        }
        http::check_host(url.host_str().unwrap_or_default()).map_err(|why| unparsable(&why))?;
        let socks = matches!(scheme, Scheme::Socks5 | Scheme::Socks5h);
        if socks && url.port().is_none() && url.set_port(Some(SOCKS_PORT)).is_err() {
            return Err(unparsable(&"it has no host"));
        }
        // A `%` without two hexadecimal digits stands for itself, as in curl. The clients would replace bytes that are not
        // UTF-8.
        let is_utf8 = |text: &str| percent_decode_str(text).decode_utf8().is_ok();
        if !is_utf8(url.username()) || !url.password().is_none_or(is_utf8) {
            return Err(wrong("has a user name or a password that is not UTF-8 once its %XX are decoded"));
        }
        // hyper-util's matcher extracts user and password, decodes them, and builds the header.
        let intercept = Matcher::builder()
            .all(url.as_str())
            .build()
            .intercept(&Uri::from_static("http://localhost/"))
            .ok_or_else(|| unparsable(&"it is no valid address"))?;
        if intercept.raw_auth().is_some_and(|(user, password)| {
            user.len() > SOCKS_CREDENTIAL_MAX || password.len() > SOCKS_CREDENTIAL_MAX
        }) {
            return Err(wrong("has a user name or a password that is too long for SOCKS (255 bytes)"));
        }
        Ok(Self { variable, scheme, url, intercept, used: AtomicBool::new(false) })
    }

    /// True for the first caller only.
    pub fn is_first_use(&self) -> bool {
        !self.used.swap(true, Ordering::Relaxed)
    }

    /// The protocol.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The address.
    pub fn uri(&self) -> &Uri {
        self.intercept.uri()
    }

    /// The whole URL including user and password, for reqwest.
    pub fn expose(&self) -> &Url {
        &self.url
    }

    /// The value of `Proxy-Authorization`, marked as sensitive.
    pub fn basic_auth(&self) -> Option<&HeaderValue> {
        self.intercept.basic_auth()
    }

    /// User and password for SOCKS.
    pub fn socks_auth(&self) -> Option<(&str, &str)> {
        self.intercept.raw_auth()
    }

    /// Whether a request to this URL is sent to the proxy in absolute form, instead of through a tunnel.
    pub fn forwards(&self, target: &Uri) -> bool {
        matches!(self.scheme, Scheme::Http | Scheme::Https) && target.scheme_str() != Some("https")
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.url.host_str().unwrap_or_default();
        write!(f, "{}://{host}", self.url.scheme())?;
        if let Some(port) = self.url.port_or_known_default() {
            write!(f, ":{port}")?;
        }
        write!(f, " ({})", self.variable)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Masks user and password in a value that may not be a URL.
fn mask_userinfo(text: &str) -> String {
    let start = text.find("://").map_or(0, |at| at + 3);
    match text.rfind('@') {
        Some(end) if end > start => format!("{}***{}", &text[..start], &text[end..]),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
