//! Connections to storage: opened, prepared, and asked how much the other side has really taken.
//!
//! S3 speaks HTTP/1.1 only, so a connection carries one part at a time and parallel parts are parallel
//! connections. Each part owns its connection while it travels; that is why no general client is used here:
//! those hide the socket, and the socket alone knows what the network has taken.

use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::Uri;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HeaderValue;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::body::PartBody;
use super::buffers::BUFFER;
use crate::error::{Error, chain};
use crate::http;
use crate::platform::{self, Measured};
use crate::retry::{Failure, Transport};

/// Where trust comes from, made when the first `https` connection needs it: reading the platform's store
/// takes longer than a small upload on plain HTTP.
pub type Trust = Box<dyn Fn() -> Result<Arc<ClientConfig>, Error> + Send + Sync>;

type Dialing =
    Pin<Box<dyn Future<Output = Result<TokioIo<TcpStream>, Box<dyn StdError + Send + Sync>>> + Send>>;

/// Opens connections.
pub struct Dialer {
    connect_timeout: Duration,
    proxies: Matcher,
    trust: Trust,
    tls: OnceLock<Arc<ClientConfig>>,
}

/// One connection, held by one part at a time. Dropped, it is closed at once, whatever it was doing.
pub struct Connection {
    /// For the request.
    pub sender: SendRequest<PartBody>,
    /// For asking the socket.
    pub probe: Probe,
    /// Whether it has waited for this part, so that the other side may have closed it meanwhile.
    pub reused: bool,
    /// Set when requests go to a proxy in their absolute form (plain HTTP through a proxy), with the
    /// proxy's credentials if it has any.
    pub through: Option<Option<HeaderValue>>,
    /// See [`origin`].
    pub origin: String,
    driver: tokio::task::AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Dialer {
    /// With so much patience for a connection.
    pub fn new(connect_timeout: Duration, trust: Trust) -> Self {
        Self { connect_timeout, proxies: Matcher::from_system(), trust, tls: OnceLock::new() }
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, Error> {
        if let Some(config) = self.tls.get() {
            return Ok(Arc::clone(config));
        }
        let config = (self.trust)()?;
        Ok(Arc::clone(self.tls.get_or_init(|| config)))
    }

    /// A new connection to the URL's host.
    ///
    /// # Errors
    /// A [`Failure`] of the transport, or [`Error`] when trust cannot be set up.
    pub async fn open(&self, uri: &Uri) -> Result<Connection, Trouble> {
        let https = uri.scheme_str() == Some("https");
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        // Each address gets its share of this, so that a dead IPv6 path does not use it all up.
        tcp.set_connect_timeout(Some(self.connect_timeout));

        let mut through = None;
        let dialing: Dialing = match self.proxies.intercept(uri) {
            None => {
                let dial = tcp.call(uri.clone());
                Box::pin(async move { Ok(dial.await?) })
            }
            Some(proxy) if proxy.uri().scheme_str() != Some("http") => {
                return Err(connect_failure(format!(
                    "a proxy of the kind `{}` is not supported for storage: only http:// ones are",
                    proxy.uri().scheme_str().unwrap_or_default()
                )));
            }
            Some(proxy) if https => {
                let mut tunnel = Tunnel::new(proxy.uri().clone(), tcp);
                if let Some(auth) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(auth.clone());
                }
                let dial = tunnel.call(uri.clone());
                Box::pin(async move { Ok(dial.await?) })
            }
            Some(proxy) => {
                through = Some(proxy.basic_auth().cloned());
                let dial = tcp.call(proxy.uri().clone());
                Box::pin(async move { Ok(dial.await?) })
            }
        };
        let stream = self
            .in_time(dialing)
            .await?
            .map_err(|error| connect_failure(http::trouble(&*error)))?
            .into_inner();
        platform::prepare(&stream);
        let stream = Arc::new(stream);
        let written = Arc::new(AtomicU64::new(0));
        let probe = Probe { stream: Arc::downgrade(&stream), written: Arc::clone(&written) };
        let socket = Socket { stream, written };

        let (sender, driver) = if https {
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let name = ServerName::try_from(host).map_err(|error| connect_failure(error.to_string()))?;
            let tls = TlsConnector::from(self.tls()?).connect(name, socket);
            let tls = self.in_time(tls).await?.map_err(|error| tls_failure(&error))?;
            converse(tls).await?
        } else {
            converse(socket).await?
        };
        Ok(Connection { sender, probe, reused: false, through, origin: origin(uri), driver })
    }

    async fn in_time<F: Future>(&self, work: F) -> Result<F::Output, Trouble> {
        tokio::time::timeout(self.connect_timeout, work).await.map_err(|_| {
            connect_failure(format!("none within {}", crate::retry::human_duration(self.connect_timeout)))
        })
    }
}

/// What ends an attempt: something that may pass, or something here.
#[derive(Debug)]
pub enum Trouble {
    /// The other side's or the network's.
    Failure(Failure),
    /// Ours: the file, or the configuration.
    Error(Error),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

fn connect_failure(detail: String) -> Trouble {
    Failure::transport(Transport::Connect, detail).into()
}

/// A certificate that is not trusted stays so; every other trouble in a handshake may pass.
fn tls_failure(error: &io::Error) -> Trouble {
    let kind = if is_distrust(error) { Transport::Tls } else { Transport::Connect };
    Failure::transport(kind, chain(error)).into()
}

/// Whether a certificate's rejection, or the failure to agree on TLS at all, is among an error's causes.
pub fn is_distrust(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        // An `io::Error` shows its inner error's source, not the inner error itself.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let tls = match inner {
            Some(inner) => inner.downcast_ref::<rustls::Error>(),
            None => error.downcast_ref::<rustls::Error>(),
        };
        if let Some(tls) = tls {
            return matches!(
                tls,
                rustls::Error::InvalidCertificate(_)
                    | rustls::Error::NoCertificatesPresented
                    | rustls::Error::PeerIncompatible(_)
                    // What comes when the port speaks something else than TLS.
                    | rustls::Error::InvalidMessage(_)
            );
        }
        cause = match inner {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    false
}

/// Host and port, by scheme: what a connection can be used for again.
pub fn origin(uri: &Uri) -> String {
    format!("{}://{}", uri.scheme_str().unwrap_or_default(), uri.authority().map_or("", |a| a.as_str()))
}

async fn converse<S>(stream: S) -> Result<(SendRequest<PartBody>, tokio::task::AbortHandle), Trouble>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        // One full buffer and the next wait in here at the most, so that memory is bounded (64 parts in flight,
        // 2 MiB less than with two) and a bad line is noticed early.
        .max_buf_size(BUFFER)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| connect_failure(chain(&error)))?;
    // Its end is seen by whoever waits for the answer.
    let driver = tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok((sender, driver.abort_handle()))
}

/// Asks a connection's socket how much the other side has taken, as long as it is open.
#[derive(Debug, Clone)]
pub struct Probe {
    stream: Weak<TcpStream>,
    written: Arc<AtomicU64>,
}

/// A socket's account of its bytes since it was opened, TLS and headers included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wire {
    /// Taken: acknowledged by the peer where the system says, else handed to the kernel.
    pub taken: u64,
    /// Handed to the kernel and not taken.
    pub waiting: u64,
}

impl Probe {
    /// The account now.
    pub fn wire(&self) -> Wire {
        let written = self.written.load(Ordering::Relaxed);
        let waiting = self.stream.upgrade().and_then(|stream| platform::unacknowledged(&stream));
        let waiting = waiting.unwrap_or(0).min(written);
        Wire { taken: written - waiting, waiting }
    }

    /// What the connection's TCP has measured, where the system says.
    pub fn measured(&self) -> Option<Measured> {
        platform::measured(&*self.stream.upgrade()?)
    }
}

/// A TCP stream that counts what it hands to the kernel, and that a [`Probe`] can look at.
struct Socket {
    stream: Arc<TcpStream>,
    written: Arc<AtomicU64>,
}

impl Socket {
    fn count(&self, written: io::Result<usize>) -> io::Result<usize> {
        if let Ok(written) = written {
            self.written.fetch_add(written as u64, Ordering::Relaxed);
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
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
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
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
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
