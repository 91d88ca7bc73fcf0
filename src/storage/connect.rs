//! Connections to storage, and what their sockets say about the bytes that the peer has received.
//!
//! S3 only speaks HTTP/1.1: a connection carries one part at a time, so parallel parts need parallel connections. A
//! general HTTP client does not do here, because it hides the socket, and only the socket knows what the network has
//! accepted.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{Either, Empty};
use hyper::Uri;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::body::PartBody;
use super::buffers::BUFFER;
use crate::dial::{BoxedStream, Connector, TransferError};
use crate::error::{Failure, Transport, chain};
use crate::http;
use crate::platform::{self, TcpInfo};
use crate::proxy::Proxy;

/// TCP begins with ten packets (RFC 6928).
const INITIAL_WINDOW: f64 = 14_600.0;
/// A new connection loses packets, too, and has to be this many times faster.
const WORTH_OPENING: f64 = 2.0;

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
    /// How long it took to open it.
    opened_in: Duration,
    /// It was idle before, so the peer may have closed it meanwhile.
    pub reused: bool,
    /// The proxy that forwards requests in absolute form (plain HTTP).
    pub through: Option<Arc<Proxy>>,
    /// The origin that it belongs to, see [`origin`].
    pub origin: String,
    /// A request is under way, or has ended without a success. Unsent bytes of it are worth nothing.
    pub busy: bool,
    driver: tokio::task::AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.busy
            && let Some(stream) = self.probe.stream.upgrade()
        {
            platform::discard_unsent(&stream);
        }
        self.driver.abort();
    }
}

impl Connection {
    /// Whether a new connection would probably send so many bytes faster, if the path has headroom: TCP doubles its rate each
    /// round trip until it loses a packet, while an old connection that lost some needs seconds to double it.
    pub fn is_slow_for(&self, bytes: u64) -> bool {
        let round_trip = self.probe.measured().map_or(self.opened_in, |measured| measured.min_rtt);
        let doublings = (bytes as f64 / INITIAL_WINDOW).max(2.0).log2();
        let new = self.opened_in + round_trip.mul_f64(doublings);
        self.rate > 0.0 && bytes as f64 / self.rate > new.as_secs_f64() * WORTH_OPENING
    }
}

/// Opens a connection to the URL's host.
///
/// # Errors
/// A [`Failure`] of the transport, or [`Error`](crate::error::Error) if TLS cannot be set up.
pub async fn open(connector: &Connector, uri: &Uri) -> Result<Connection, TransferError> {
    let begun = Instant::now();
    let (counts, mut probe) = (Arc::new(Counts::default()), None);
    let stream = connector.open(uri, |stream| {
        platform::configure_socket(&stream);
        let stream = Arc::new(stream);
        probe = Some(Probe { stream: Arc::downgrade(&stream), counts: Arc::clone(&counts) });
        Box::new(Socket { stream, counts })
    });
    let mut stream = stream.await?;
    if uri.scheme_str() == Some("https") {
        stream = connector.secure(uri, stream).await?;
    }
    let (sender, driver) = handshake(stream).await?;
    let probe = probe.unwrap_or_else(|| Probe { stream: Weak::new(), counts: Arc::default() });
    let through = connector.proxy(uri).filter(|proxy| proxy.forwards(uri)).cloned();
    let opened_in = begun.elapsed();
    Ok(Connection {
        sender,
        probe,
        rate: 0.0,
        opened_in,
        reused: false,
        busy: false,
        through,
        origin: origin(uri),
        driver,
    })
}

/// Scheme, host and port: connections to the same origin can be reused.
pub fn origin(uri: &Uri) -> String {
    format!("{}://{}", uri.scheme_str().unwrap_or_default(), http::host_and_port(uri))
}

async fn handshake(
    stream: BoxedStream,
) -> Result<(SendRequest<RequestBody>, tokio::task::AbortHandle), TransferError> {
    let (sender, connection) = http1::Builder::new()
        // Holds one full buffer and the next at most. This bounds memory (64 parts in flight: 2 MiB less than with
        // two), and a bad network shows early.
        .max_buf_size(BUFFER)
        .max_headers(http::MAX_HEADERS)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Failure::transport(Transport::Connect, chain(&error)))?;
    // Its end is noticed by whoever waits for the response.
    let driver = tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok((sender, driver.abort_handle()))
}

/// Asks a connection's socket how many bytes the peer has received, while it is open.
#[derive(Debug, Clone)]
pub struct Probe {
    stream: Weak<TcpStream>,
    counts: Arc<Counts>,
}

/// See [`Probe::fit_send_buffer`].
const BUFFER_TIME: Duration = Duration::from_millis(500);
/// In bytes.
const MAX_SEND_BUFFER: u64 = 2 * 1024 * 1024;

/// If a send buffer was full this recently, it still is, or nearly so.
const FULL_FOR: Duration = Duration::from_secs(1);

/// What a socket has counted.
#[derive(Debug)]
struct Counts {
    opened: Instant,
    /// Bytes handed to the kernel.
    written: AtomicU64,
    /// The send buffer is full: the last write was refused.
    full: AtomicBool,
    /// When it was last full, in milliseconds after `opened`.
    last_full: AtomicU64,
    /// It was changed to BBR.
    bbr: AtomicBool,
    /// The size of the send buffer, where that is all that is known of it.
    buffer: AtomicU64,
    /// The most that were known to have left a send buffer of which only the size is known.
    sent: AtomicU64,
}

impl Default for Counts {
    fn default() -> Self {
        let [written, last_full, sent] = [const { AtomicU64::new(0) }; 3];
        let buffer = AtomicU64::new(platform::opaque_send_buffer().unwrap_or(0));
        Self {
            opened: Instant::now(),
            written,
            full: AtomicBool::new(false),
            last_full,
            bbr: AtomicBool::new(false),
            buffer,
            sent,
        }
    }
}

impl Counts {
    fn wrote(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
        self.full.store(false, Ordering::Relaxed);
    }

    fn was_refused(&self) {
        self.full.store(true, Ordering::Relaxed);
        self.last_full.store(self.now(), Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Bytes that have certainly left the send buffer. A part would otherwise seem sent long before it is.
    /// A buffer that has not been full of late, because the body waits for the disk or a limit, drains.
    fn sent(&self) -> u64 {
        let buffer = self.buffer.load(Ordering::Relaxed);
        let written = self.written.load(Ordering::Relaxed);
        let last = self.last_full.load(Ordering::Relaxed);
        let since = Duration::from_millis(self.now().saturating_sub(last));
        let is_full = self.full.load(Ordering::Relaxed) || last > 0 && since < FULL_FOR;
        let sent = written.saturating_sub(if is_full { buffer } else { 0 });
        self.sent.fetch_max(sent, Ordering::Relaxed).max(sent)
    }
}

/// What a socket has counted since it was opened, including TLS and headers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wire {
    /// Acknowledged by the peer if the system tells; otherwise those that are not in the send buffer any more.
    pub taken: u64,
    /// Handed to the kernel, but not acknowledged.
    pub waiting: u64,
}

impl Probe {
    /// The current counts.
    pub fn wire(&self) -> Wire {
        if platform::opaque_send_buffer().is_some() {
            return Wire { taken: self.counts.sent(), waiting: 0 };
        }
        let written = self.counts.written.load(Ordering::Relaxed);
        let waiting = self.stream.upgrade().and_then(|stream| platform::unacked_bytes(&stream));
        let waiting = waiting.unwrap_or(0).min(written);
        Wire { taken: written - waiting, waiting }
    }

    /// Enlarges a send buffer of which only the size is known, if it limits this rate (bytes per second). It holds what
    /// is sent in [`BUFFER_TIME`] at most, by which progress is late.
    pub fn fit_send_buffer(&self, rate: f64) {
        let buffer = self.counts.buffer.load(Ordering::Relaxed);
        let wanted = ((rate * BUFFER_TIME.as_secs_f64()) as u64).min(MAX_SEND_BUFFER);
        if buffer > 0
            && wanted > buffer
            && let Some(stream) = self.stream.upgrade()
        {
            platform::set_send_buffer(&stream, wanted);
            self.counts.buffer.store(wanted, Ordering::Relaxed);
        }
    }

    /// Changes the connection to BBR if the system lets us; once, because it is asked again and again.
    pub fn use_bbr(&self) {
        if !self.counts.bbr.swap(true, Ordering::Relaxed)
            && let Some(stream) = self.stream.upgrade()
        {
            platform::use_bbr(&stream);
        }
    }

    /// What TCP has measured for the connection, if the system tells.
    pub fn measured(&self) -> Option<TcpInfo> {
        platform::tcp_info(&*self.stream.upgrade()?)
    }
}

/// A TCP stream that counts the bytes handed to the kernel and can be looked at by a [`Probe`].
struct Socket {
    stream: Arc<TcpStream>,
    counts: Arc<Counts>,
}

impl Socket {
    fn count(&self, written: io::Result<usize>) -> io::Result<usize> {
        if let Ok(written) = written {
            self.counts.wrote(written);
        }
        written
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.stream.try_read(buf.initialize_unfilled()) {
                Ok(read) => {
                    buf.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_write(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.counts.was_refused(),
                done => return Poll::Ready(self.count(done)),
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_write_vectored(bufs) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.counts.was_refused(),
                done => return Poll::Ready(self.count(done)),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(socket2::SockRef::from(&*self.stream).shutdown(std::net::Shutdown::Write))
    }
}
