//! Tunnels through proxies: `CONNECT` (RFC 9110, 9.3.6) and SOCKS 5 (RFC 1928).

use std::future::{Ready, ready};
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::header::{HOST, PROXY_AUTHORIZATION, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_util::client::legacy::connect::proxy::SocksV5;
use hyper_util::rt::TokioIo;
use tower_service::Service;

use super::{BoxedStream, connect_failure};
use crate::error::{Failure, Transport, chain};
use crate::http;
use crate::proxy::{Proxy, Scheme};

/// Asks an HTTP proxy for a tunnel to the URL's host.
pub(super) async fn connect(
    proxy: &Proxy,
    target: &Uri,
    stream: BoxedStream,
) -> Result<BoxedStream, Failure> {
    let failed = |error: hyper::Error| connect_failure(chain(&error));
    let authority = format!("{}:{}", target.host().unwrap_or_default(), http::port(target));
    let mut request =
        Request::connect(&authority).header(HOST, &authority).header(USER_AGENT, http::USER_AGENT);
    if let Some(credentials) = proxy.basic_auth() {
        request = request.header(PROXY_AUTHORIZATION, credentials);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| connect_failure(error.to_string()))?;
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(http::MAX_HEADERS)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    let asking = async {
        let answer = sender.send_request(request).await.map_err(failed)?;
        match answer.status() {
            status if status.is_success() => hyper::upgrade::on(answer).await.map_err(failed),
            status => Err(refusal(status)),
        }
    };
    let (mut asking, mut serving) = (pin!(asking), pin!(connection.with_upgrades()));
    let mut served = false;
    let upgraded = loop {
        tokio::select! {
            upgraded = &mut asking => break upgraded?,
            _ = &mut serving, if !served => served = true,
        }
    };
    match upgraded.downcast::<TokioIo<BoxedStream>>() {
        // In a tunnel the client sends first. Bytes received before that come from the proxy itself.
        Ok(parts) if parts.read_buf.is_empty() => Ok(parts.io.into_inner()),
        _ => Err(connect_failure("it sent more than an answer to CONNECT".to_owned())),
    }
}

/// The failure if a forwarding proxy refused a request with this status. `None` if proxies do not refuse with it.
pub fn refusal_by(proxy: &Proxy, status: u16) -> Option<Failure> {
    let status = StatusCode::from_u16(status).ok()?;
    let kind = kind_of_refusal(status)?;
    Some(Failure::transport(kind, status.to_string()).at(&format!("at the proxy {proxy}")))
}

/// The kind of failure, if proxies refuse with this status.
fn kind_of_refusal(status: StatusCode) -> Option<Transport> {
    match status {
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => Some(Transport::ProxyAuth),
        StatusCode::FORBIDDEN | StatusCode::METHOD_NOT_ALLOWED => Some(Transport::ProxyRefused),
        _ => None,
    }
}

/// The failure for a response to CONNECT. A proxy's own error and an unreachable host may be transient; a refusal is
/// not.
fn refusal(status: StatusCode) -> Failure {
    let transient = matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502..=504 | 520..);
    let otherwise = if transient { Transport::Connect } else { Transport::ProxyRefused };
    Failure::transport(kind_of_refusal(status).unwrap_or(otherwise), status.to_string())
}

/// Asks a SOCKS proxy for a connection to the URL's host.
pub(super) async fn socks(proxy: &Proxy, target: &Uri, stream: BoxedStream) -> Result<BoxedStream, Failure> {
    let (mut host, port) = (target.host().unwrap_or_default().to_owned(), http::port(target));
    if proxy.scheme() == Scheme::Socks5 && !host.starts_with('[') {
        let found = tokio::net::lookup_host((host.as_str(), port)).await;
        let found = found.map_err(|error| connect_failure(error.to_string()))?.next();
        host = match found.map(|address| address.ip()) {
            Some(std::net::IpAddr::V6(address)) => format!("[{address}]"),
            Some(address) => address.to_string(),
            None => host,
        };
    }
    // Always names the port: hyper-util assumes 443 otherwise.
    let uri: Uri = format!("socks://{host}:{port}")
        .parse()
        .map_err(|error: hyper::http::uri::InvalidUri| connect_failure(error.to_string()))?;
    let mut socks = SocksV5::new(proxy.uri().clone(), Opened(Some(TokioIo::new(stream))));
    if let Some((user, password)) = proxy.socks_auth() {
        socks = socks.with_auth(user.to_owned(), password.to_owned());
    }
    match socks.call(uri).await {
        Ok(stream) => Ok(stream.into_inner()),
        Err(error) => {
            let text = error.to_string();
            // hyper-util does not export the error's type. A test for each keeps these texts true.
            if proxy.socks_auth().is_none() && text.contains("user/pass") {
                return Err(Failure::transport(Transport::ProxyAuth, "none is given"));
            }
            let kind = if text.contains("user/pass") || text.contains("credentials") {
                Transport::ProxyAuth
            } else if text.contains("not allowed") || text.contains("not supported") {
                Transport::ProxyRefused
            } else {
                Transport::Connect
            };
            Err(Failure::transport(kind, text))
        }
    }
}

/// A connector that returns an existing connection.
struct Opened(Option<TokioIo<BoxedStream>>);

impl Service<Uri> for Opened {
    type Response = TokioIo<BoxedStream>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(self.0.take().ok_or_else(|| io::Error::other("the connection is in use")))
    }
}
