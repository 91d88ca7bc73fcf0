//! Connections to storage.
//!
//! S3 only speaks HTTP/1.1: a connection carries one part at a time, so parallel parts need parallel connections. A
//! general HTTP client would hide the socket, and only the socket knows what the network has accepted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{Either, Empty};
use hyper::Uri;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;

use super::body::PartBody;
use super::buffers::BUFFER;
use super::socket::{Probe, Socket};
use crate::dial::{Connector, TransferError};
use crate::error::{Failure, Transport, chain};
use crate::http;
use crate::platform;
use crate::proxy::Proxy;

/// TCP begins with ten packets (RFC 6928).
const INITIAL_WINDOW: f64 = 14_600.0;
/// A new connection may lose packets too, so it has to promise this many times the speed.
const MIN_SPEEDUP: f64 = 2.0;

/// A part for a PUT, nothing for a GET.
pub type RequestBody = Either<PartBody, Empty<Bytes>>;

/// A connection, held by one part at a time. Dropping it closes it at once.
pub struct Connection {
    /// Sends requests.
    pub sender: SendRequest<RequestBody>,
    /// Queries the socket.
    pub probe: Probe,
    /// Bytes per second of its last part; 0 before the first.
    pub rate: f64,
    /// How long it took to open.
    opened_in: Duration,
    /// The time in which the peer accepted it, one round trip. `None` behind a proxy.
    pub connect_time: Option<Duration>,
    /// It was idle before, so the peer may have closed it meanwhile.
    pub reused: bool,
    /// The proxy that forwards requests in absolute form (plain HTTP).
    pub forward_proxy: Option<Arc<Proxy>>,
    /// The origin that it belongs to, see [`origin`].
    pub origin: String,
    /// A request is in progress or has failed, so unsent bytes can be discarded.
    pub busy: bool,
    driver: tokio::task::AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.busy {
            self.probe.discard_unsent();
        }
        self.driver.abort();
    }
}

impl Connection {
    /// Whether a new connection would probably send this many bytes faster, if the path has headroom. A new TCP connection
    /// doubles its rate with each round trip until it loses a packet. One that lost packets needs seconds to double it.
    pub fn is_slow_for(&self, bytes: u64) -> bool {
        let rtt = self.probe.tcp_info().map_or(self.opened_in, |tcp| tcp.min_rtt);
        let doublings = (bytes as f64 / INITIAL_WINDOW).max(2.0).log2();
        let new = self.opened_in + rtt.mul_f64(doublings);
        self.rate > 0.0 && bytes as f64 / self.rate > new.as_secs_f64() * MIN_SPEEDUP
    }
}

/// Opens a connection to the URL's host.
/// Fails with a [`Failure`] of the transport, or [`Error`](crate::error::Error) if TLS cannot be set up.
pub async fn open(connector: &Connector, uri: &Uri) -> Result<Connection, TransferError> {
    let begun = Instant::now();
    let mut probe = Probe::default();
    let mut connect_time = None;
    let stream = connector.open(uri, |stream, time| {
        connect_time = time;
        platform::configure_socket(&stream);
        let socket = Socket::new(stream);
        probe = socket.probe();
        Box::new(socket)
    });
    let mut stream = stream.await?;
    if uri.scheme_str() == Some("https") {
        stream = connector.secure(uri, stream).await?;
    }
    let (sender, connection) = http1::Builder::new()
        // One buffer at a time bounds memory, and shows early that a network is slow.
        .max_buf_size(BUFFER)
        .max_headers(http::MAX_HEADERS)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Failure::transport(Transport::Connect, chain(&error)))?;
    // Whoever waits for the response notices its end.
    let driver = tokio::spawn(async move {
        let _ = connection.await;
    });
    let forward_proxy = connector.proxy(uri).filter(|proxy| proxy.forwards(uri)).cloned();
    let opened_in = begun.elapsed();
    Ok(Connection {
        sender,
        probe,
        rate: 0.0,
        opened_in,
        connect_time,
        reused: false,
        busy: false,
        forward_proxy,
        origin: origin(uri),
        driver: driver.abort_handle(),
    })
}

/// Scheme, host and port: connections to the same origin can be reused.
pub fn origin(uri: &Uri) -> String {
    format!("{}://{}", uri.scheme_str().unwrap_or_default(), http::host_and_port(uri))
}
