//! The API's base URL: its form, when plain HTTP will do, and the rule that a project's URL never meets a
//! token from elsewhere.

use reqwest::Url;

use super::profile::Location;
use crate::error::Error;
use crate::http::{check_host, is_loopback};

/// The service.
pub const DEFAULT: &str = "https://api.copera.ai/public/v1";
/// The dev API, by `COPERA_SANDBOX=1`.
pub const SANDBOX: &str = "https://api-dev.copera.ai/public/v1";

/// Where the API is on a host that was given without a path.
const PATH: &str = "/public/v1";
/// Copera's own hosts: whoever names one of them names nothing foreign.
const OWN_HOSTS: [&str; 3] = ["api.copera.ai", "api-dev.copera.ai", "api.copera.app"];

/// The base URL out of what was given `from` somewhere: with a path, without a slash at its end. The errors do
/// not show the URL: it may have a password in it.
pub fn normalize(text: &str, from: &str, allow_http: bool) -> Result<String, Error> {
    let wrong = |what: &str| Error::usage(format!("the API URL from {from} {what}"));
    let mut url = Url::parse(text.trim()).map_err(|error| {
        Error::usage_hint(
            format!("the API URL from {from} is not a URL: {error}"),
            format!("it has the form {DEFAULT}"),
        )
    })?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err(wrong("must begin with https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("must not have a user name or password in it; the token is all that is sent"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("must not have a query or fragment"));
    }
    let host = url.host_str().unwrap_or_default();
    check_host(host).map_err(|what| wrong(&format!("is not a URL: {what}")))?;
    if url.scheme() == "http" && !allow_http && !is_loopback(host) {
        return Err(Error::usage_hint(
            format!(
                "the API URL from {from} is plain http:// to {host}: token and files could be read on the way"
            ),
            "use https://, or --allow-http for a test server on a private network",
        ));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(if path.is_empty() { PATH } else { &path });
    Ok(url.into())
}

/// Whether it is one of Copera's own, and safe from being listened to.
fn is_own(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| {
        url.scheme() == "https"
            && url.port().is_none()
            && url.host_str().is_some_and(|host| OWN_HOSTS.contains(&host))
    })
}

/// Whether a normalized URL that stands in a file may be used with a token that stands in another place, or
/// (`None`) in no file. A project's file may come from anybody: with its URL alone it would have the user's
/// token sent to a server of its author's.
pub fn check_token_origin(url: &str, place: &Location, token: Option<&Location>) -> Result<(), Error> {
    if !place.file.project || is_own(url) || token.is_some_and(|token| token.same_file(place)) {
        return Ok(());
    }
    let host = Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    Err(Error::usage_hint(
        format!(
            "{place} sets an API URL on {host}, and the token is not from that file: a file in the working \
             directory may be anybody's, so no other token is sent where it says"
        ),
        "if you trust that server, give its URL with --api-url or COPERA_API_URL",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_get_a_path_and_lose_the_last_slash() {
        for (given, url) in [
            ("https://api.copera.ai", DEFAULT),
            ("https://api.copera.ai/", DEFAULT),
            (" https://API.copera.ai/public/v1/ ", DEFAULT),
            ("https://x/other", "https://x/other"),
            ("https://x:8443//", "https://x:8443/public/v1"),
            ("http://localhost:3000", "http://localhost:3000/public/v1"),
            ("http://127.9.9.9", "http://127.9.9.9/public/v1"),
            ("http://127.1/v2", "http://127.0.0.1/v2"),
            ("http://[::1]:80", "http://[::1]/public/v1"),
        ] {
            assert_eq!(normalize(given, "here", false).unwrap(), url, "{given}");
        }
    }

    #[test]
    fn what_cannot_be_a_base_url_is_refused_without_being_shown() {
        for url in [
            "",
            "secret",
            "api.copera.ai",
            "ftp://secret",
            "file:///secret",
            "https://u:secret@h",
            "https://secret@h",
            "https://h/?secret",
            "https://h/#secret",
            "https://",
            "http:",
            "data:secret",
            "localhost:3000",
        ] {
            let error = normalize(url, "--api-url", true).unwrap_err();
            let told = format!("{error} {}", error.hint().unwrap_or_default());
            assert!(
                error.exit_code() == 2 && told.contains("--api-url") && !told.contains("secret"),
                "{told}"
            );
        }
    }

    #[test]
    fn plain_http_is_for_this_machine_or_by_leave() {
        for url in [
            "http://10.0.0.1",
            "http://localhost.evil.example",
            "http://[::2]",
            "http://0.0.0.0",
            "http://128.0.0.1",
        ] {
            let error = normalize(url, "--api-url", false).unwrap_err();
            assert!(error.hint().unwrap().contains("--allow-http"), "{url}");
            assert!(normalize(url, "--api-url", true).is_ok(), "{url}");
        }
    }

    #[test]
    fn coperas_own_hosts_are_those_and_no_others() {
        for own in [DEFAULT, SANDBOX, "https://api.copera.app/public/v1", "https://api.copera.ai:443/x"] {
            assert!(is_own(&normalize(own, "", false).unwrap()), "{own}");
        }
        for foreign in [
            "http://api.copera.ai",
            "https://api.copera.ai.evil.example",
            "https://copera.ai",
            "https://evil/api.copera.ai",
            "https://api.copera.ai:8443",
            "https://api-copera.ai",
        ] {
            assert!(!is_own(&normalize(foreign, "", true).unwrap()), "{foreign}");
        }
    }
}
