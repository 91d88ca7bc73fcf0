//! The HTTP client for the API.

use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use rustls::ClientConfig;

use crate::dial::{self, Connector};
use crate::error::{Error, chain};
use crate::http;
use crate::proxy::Scheme;
use crate::secret::Token;

/// Connections that were idle for longer are not reused.
const MAX_IDLE: Duration = Duration::from_secs(15);

/// A client for one host, with this many idle connections. It follows no redirects, so there is no other host.
/// Fails with [`Error::usage`] for an invalid token, [`Error::Internal`] if TLS cannot be set up.
pub(super) fn build(
    host: &Uri,
    token: &Token,
    connector: &Connector,
    max_idle: usize,
) -> Result<reqwest::Client, Error> {
    let mut authorization = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
        .map_err(|_| Error::usage("the token has invalid characters"))?;
    authorization.set_sensitive(true);
    let failed =
        |error: reqwest::Error| Error::Internal(format!("HTTP client: {}", chain(&error.without_url())));
    let proxy = connector.proxy(host);
    // Without `https` there is nothing to verify, so the platform's certificates are not loaded.
    let has_tls =
        host.scheme_str() == Some("https") || proxy.is_some_and(|proxy| proxy.scheme() == Scheme::Https);
    let tls = if has_tls { (*connector.tls()?).clone() } else { trust_nothing()? };
    let client = reqwest::Client::builder()
        .user_agent(http::USER_AGENT)
        .default_headers(HeaderMap::from_iter([(AUTHORIZATION, authorization)]))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(connector.connect_timeout())
        .pool_idle_timeout(MAX_IDLE)
        .pool_max_idle_per_host(max_idle)
        .http1_only()
        .http1_max_headers(http::MAX_HEADERS)
        .tls_backend_preconfigured(tls);
    let client = match proxy {
        Some(proxy) => client.proxy(reqwest::Proxy::all(proxy.expose().clone()).map_err(failed)?),
        None => client.no_proxy(),
    };
    client.build().map_err(failed)
}

/// Whether the response cannot be parsed as HTTP.
pub(super) fn is_garbled(error: &reqwest::Error) -> bool {
    dial::causes(error)
        .find_map(|error| error.downcast_ref::<hyper::Error>())
        .is_some_and(hyper::Error::is_parse)
}

/// A TLS configuration that trusts no certificate.
fn trust_nothing() -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Internal(format!("TLS: {error}")))?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth())
}
