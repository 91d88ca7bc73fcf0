//! What the API's client and storage's share of HTTP: headers and clocks.

use std::time::Duration;

use hyper::{HeaderMap, Uri};

use crate::error::chain;
use crate::secret::Redactor;

/// Whether a URL's host is this machine: plain HTTP to it crosses no network.
pub fn is_loopback(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// What the program calls itself.
pub const USER_AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// An answer may have so many headers. hyper takes 100 unless told otherwise; some gateways add more.
pub const MAX_HEADERS: usize = 1000;

/// The port that a URL names, or its scheme's.
pub fn port(uri: &Uri) -> u16 {
    uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 })
}

/// A URL's host and, if it names one, port: its authority without user and password.
pub fn host_and_port(uri: &Uri) -> &str {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// Whether a URL's host can be one at all: what is not does not become one by trying again.
///
/// # Errors
/// What is wrong with it.
pub fn check_host(host: &str) -> Result<(), String> {
    if host.is_empty() {
        return Err("it has no host".to_owned());
    }
    let name = host.trim_matches(['[', ']']);
    rustls::pki_types::ServerName::try_from(name)
        .map(drop)
        .map_err(|_| format!("`{host}` cannot be the name of a host"))
}

/// What hyper and reqwest say around a connection's error; it says nothing that is not said without it.
const AROUND: [&str; 5] = [
    "error sending request: ",
    "client error (Connect): ",
    "client error (SendRequest): ",
    "tcp connect error: ",
    "dns error: error resolving DNS: ",
];

/// A connection's error, without the words of the libraries around it.
pub fn trouble(error: &(dyn std::error::Error + 'static)) -> String {
    AROUND.iter().fold(chain(error), |text, around| text.replace(around, ""))
}

/// Whether a body that should be JSON or nothing is a web page: what a hotel's network or a company's proxy
/// answers in the place of the service.
pub fn is_web_page(headers: &HeaderMap, body: &[u8]) -> bool {
    let html = header(headers, "content-type").is_some_and(|kind| kind.trim_start().starts_with("text/html"));
    html || body.trim_ascii_start().starts_with(b"<")
}

/// A header's text, if it is there and is text.
pub fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// More of what a server said is not kept: a message is one for people, whatever it is to a proxy.
const SAID_MOST: usize = 2000;

/// What a server said, cleaned of secrets and no longer than anybody would read.
pub fn sanitize(mask: &Redactor, text: &str) -> String {
    let mut text = mask.redact(text);
    if let Some((end, _)) = text.char_indices().nth(SAID_MOST) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Seconds since 1970 by the other side's clock (`Date`), or by this machine's where it says nothing.
pub fn clock(headers: &HeaderMap) -> i64 {
    header(headers, "date").and_then(parse_http_date).unwrap_or_else(|| jiff::Timestamp::now().as_second())
}

/// The `Retry-After` header's wish.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    parse_retry_after(header(headers, "retry-after")?, clock(headers))
}

/// A `Retry-After` header: seconds, or an HTTP date measured against the answer's own `Date` (so that a wrong
/// local clock does not matter) or else `now`, both in seconds since 1970.
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
    let value = value.trim().strip_suffix("GMT")?.trim_end();
    let date = jiff::civil::DateTime::strptime("%a, %d %b %Y %H:%M:%S", value).ok()?;
    Some(jiff::tz::Offset::UTC.to_timestamp(date).ok()?.as_second())
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
    fn what_was_said_is_cut_between_characters_and_after_it_was_cleaned() {
        let mask = Redactor::new(&crate::secret::Token::new("secret"));
        assert_eq!(sanitize(&mask, "a secret"), "a ***");
        let long = sanitize(&mask, &format!("{}secret", "é".repeat(SAID_MOST - 2)));
        assert_eq!(long, format!("{}**…", "é".repeat(SAID_MOST - 2)));
    }

    proptest::proptest! {
        #[test]
        fn any_retry_after_is_read_without_panicking(value in "\\PC*", now: i64) {
            let _ = parse_retry_after(&value, now);
        }
    }
}
