//! The base URL of the API: which one is used, and which tokens may be sent to it.

use reqwest::Url;

use super::Config;
use super::location::Location;
use crate::environment::{self, Environment};
use crate::error::Error;
use crate::http::{check_host, is_loopback};

/// The service.
pub const DEFAULT: &str = "https://api.copera.ai/public/v1";
/// The dev API, used if `COPERA_SANDBOX` is 1.
pub const SANDBOX: &str = "https://api-dev.copera.ai/public/v1";

/// The path of a URL without one.
const PATH: &str = "/public/v1";
/// Hosts of Copera itself. Any file may name them.
const OWN_HOSTS: [&str; 3] = ["api.copera.ai", "api-dev.copera.ai", "api.copera.app"];

/// The base URL and where it comes from.
#[derive(Debug)]
pub struct ApiUrl {
    /// Normalized.
    pub url: String,
    /// `None` for the default.
    pub from: Option<String>,
    /// Its location, if it is set in a file.
    pub location: Option<Location>,
}

impl ApiUrl {
    /// The first one of: `--api-url`, `COPERA_API_URL`, the profile, `[api] base_url`, the service. `COPERA_SANDBOX=1`
    /// replaces the service and nothing else, as in the official CLI.
    /// Fails with [`Error::usage`] for an invalid URL, and for plain HTTP to another machine without `allow_http`.
    pub fn resolve(
        option: Option<&str>,
        allow_http: bool,
        env: &Environment,
        config: &Config,
    ) -> Result<Self, Error> {
        let variable = environment::text(&env.api_url, "COPERA_API_URL")?;
        let outer = option.map(|url| (url, "--api-url")).or(variable.map(|url| (url, "COPERA_API_URL")));
        if let Some((url, from)) = outer {
            let url = normalize(url, from, allow_http)?;
            return Ok(Self { url, from: Some(from.to_owned()), location: None });
        }
        let found = match config.profile.api_url().or(config.base_url.clone()) {
            Some(set) => {
                let from = set.location.to_string();
                let url = normalize(&set.value, &from, allow_http)?;
                Self { url, from: Some(from), location: Some(set.location) }
            }
            None => Self { url: DEFAULT.to_owned(), from: None, location: None },
        };
        if found.url == DEFAULT && environment::text(&env.sandbox, "COPERA_SANDBOX")? == Some("1") {
            let from = Some("COPERA_SANDBOX".to_owned());
            return Ok(Self { url: SANDBOX.to_owned(), from, location: None });
        }
        Ok(found)
    }

    /// Checks that a token may be sent to this URL. `token` is its location, if it is in a file.
    ///
    /// A project file is not trusted: its author could otherwise send a token from elsewhere to a server of theirs.
    pub fn check_token_origin(&self, token: Option<&Location>) -> Result<(), Error> {
        let Some(location) = &self.location else { return Ok(()) };
        if !location.file.project || is_own(&self.url) || token.is_some_and(|token| token.same_file(location))
        {
            return Ok(());
        }
        let url = Url::parse(&self.url).ok();
        let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
        Err(Error::usage_hint(
            format!(
                "{location} sets an API URL on {host}, but the token is not from that file: a file in the \
                 working directory is not trusted, so other tokens are not sent there"
            ),
            "if you trust that server, give its URL with --api-url or COPERA_API_URL",
        ))
    }
}

/// Checks a URL, adds the default path and removes trailing slashes. Errors do not show the URL, because it may have a
/// password in it.
pub fn normalize(text: &str, from: &str, allow_http: bool) -> Result<String, Error> {
    let wrong = |what: &str| Error::usage(format!("the API URL from {from} {what}"));
    let mut url = Url::parse(text.trim()).map_err(|error| {
        Error::usage_hint(
            format!("the API URL from {from} is not a URL: {error}"),
            format!("for example {DEFAULT}"),
        )
    })?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err(wrong("must begin with https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("must not contain a user name or password; only the token is sent"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("must not have a query or fragment"));
    }
    let host = url.host_str().unwrap_or_default();
    check_host(host).map_err(|what| wrong(&format!("is not a URL: {what}")))?;
    if url.scheme() == "http" && !allow_http && !is_loopback(host) {
        return Err(Error::usage_hint(
            format!(
                "the API URL from {from} is plain http:// to {host}, so others could read the token and the files"
            ),
            "use https://, or --allow-http for a test server on a private network",
        ));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(if path.is_empty() { PATH } else { &path });
    Ok(url.into())
}

/// Whether the URL is an HTTPS URL of Copera itself.
fn is_own(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| {
        url.scheme() == "https"
            && url.port().is_none()
            && url.host_str().is_some_and(|host| OWN_HOSTS.contains(&host))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_normalized() {
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
    fn invalid_urls_are_refused_and_not_shown() {
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
            let message = format!("{error} {}", error.hint().unwrap_or_default());
            assert!(
                error.exit_code() == 2 && message.contains("--api-url") && !message.contains("secret"),
                "{message}"
            );
        }
    }

    #[test]
    fn plain_http_to_another_machine_needs_allow_http() {
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
    fn only_three_hosts_are_coperas_own() {
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
