//! HTTP helpers shared by the API client and storage: hosts, headers, clocks.

use std::time::Duration;

use hyper::{HeaderMap, Uri};

use crate::error::chain;
use crate::secret::Redactor;

/// Whether a URL's host is this machine, so that plain HTTP crosses no network.
pub fn is_loopback(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The `User-Agent`.
pub const USER_AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// Limit on response headers. hyper's default is 100; some gateways add more.
pub const MAX_HEADERS: usize = 1000;

/// The port in a URL, or the default of its scheme.
pub fn port(uri: &Uri) -> u16 {
    uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 })
}

/// A URL's host and its port, if given: the authority without user and password.
pub fn host_and_port(uri: &Uri) -> &str {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// Checks that a URL's host can exist. If not, retries would be pointless.
/// The error says what is wrong with it.
pub fn check_host(host: &str) -> Result<(), String> {
    if host.is_empty() {
        return Err("it has no host".to_owned());
    }
    let name = host.trim_matches(['[', ']']);
    rustls::pki_types::ServerName::try_from(name)
        .map(drop)
        .map_err(|_| format!("`{host}` cannot be the name of a host"))
}

/// Texts that hyper and reqwest put around a connection's error.
const WRAPPERS: [&str; 5] = [
    "error sending request: ",
    "client error (Connect): ",
    "client error (SendRequest): ",
    "tcp connect error: ",
    "dns error: error resolving DNS: ",
];

/// The text of a connection's error, without the texts that libraries put around it.
pub fn connection_error(error: &(dyn std::error::Error + 'static)) -> String {
    WRAPPERS.iter().fold(chain(error), |text, wrapper| text.replace(wrapper, ""))
}

/// Whether a body that should be JSON or empty is a web page, as captive portals and company proxies return it.
pub fn is_web_page(headers: &HeaderMap, body: &[u8]) -> bool {
    let html = header(headers, "content-type").is_some_and(|kind| kind.trim_start().starts_with("text/html"));
    html || body.trim_ascii_start().starts_with(b"<")
}

/// A header's value, if it is present and text.
pub fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Limit on the characters kept of a server's message.
const MAX_MESSAGE: usize = 2000;

/// A server's message, redacted and truncated.
pub fn sanitize(redactor: &Redactor, text: &str) -> String {
    let mut text = redactor.redact(text);
    if let Some((end, _)) = text.char_indices().nth(MAX_MESSAGE) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// The service's clock (`Date`) in seconds since 1970, or this machine's clock if there is no `Date`.
pub fn clock(headers: &HeaderMap) -> i64 {
    header(headers, "date").and_then(parse_http_date).unwrap_or_else(|| jiff::Timestamp::now().as_second())
}

/// The duration of a `Retry-After` header.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    parse_retry_after(header(headers, "retry-after")?, clock(headers))
}

/// Parses `Retry-After`: seconds, or an HTTP date relative to the response's `Date` (so that a wrong local clock does
/// not matter), else to `now`. Both are in seconds since 1970.
fn parse_retry_after(value: &str, now: i64) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return (seconds.is_finite() && seconds >= 0.0)
            .then(|| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
    }
    let then = parse_http_date(value)?;
    Some(Duration::from_secs(u64::try_from(then.saturating_sub(now)).unwrap_or(0)))
}

/// An HTTP date ("Sun, 06 Nov 1994 08:49:37 GMT") in seconds since 1970.
fn parse_http_date(value: &str) -> Option<i64> {
    let parser = jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true);
    Some(parser.parse_timestamp(value.trim()).ok()?.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_takes_seconds_and_dates() {
        let now = parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(now, 784_111_777);
        assert_eq!(parse_retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(parse_retry_after("Sun, 06 Nov 1994 08:50:37 GMT", now), Some(Duration::from_secs(60)));
        assert_eq!(parse_retry_after("Sun, 06 Nov 1994 08:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(parse_retry_after("1e300", now), Some(Duration::MAX));
        for nonsense in ["soon", "-1", "NaN", "inf", ""] {
            assert_eq!(parse_retry_after(nonsense, now), None, "{nonsense}");
        }
    }

    #[test]
    fn a_message_is_redacted_and_then_cut_between_characters() {
        let mask = Redactor::new(&crate::secret::Token::new("secret"));
        assert_eq!(sanitize(&mask, "a secret"), "a ***");
        let long = sanitize(&mask, &format!("{}secret", "é".repeat(MAX_MESSAGE - 2)));
        assert_eq!(long, format!("{}**…", "é".repeat(MAX_MESSAGE - 2)));
    }

    proptest::proptest! {
        #[test]
        fn any_retry_after_is_read_without_panicking(value in "\\PC*", now: i64) {
            let _ = parse_retry_after(&value, now);
        }
    }
}
