//! Opens connections to hosts, directly or through a proxy. Storage uses them for parts. The API client only uses one to
//! test its proxy, because reqwest does not report why a proxy refused.

mod tunnel;

pub use tunnel::refusal_by;

use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiAddrs, GaiResolver, Name};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower_service::Service as _;

use crate::error::{Error, Failure, Transport, chain};
use crate::event::{Event, Reporter};
use crate::format::human_duration;
use crate::http;
use crate::proxy::{Proxies, Proxy, Scheme};

/// Builds the TLS configuration when the first `https` connection needs it: loading the platform's certificates takes
/// longer than a small upload over plain HTTP.
pub type Trust = Box<dyn Fn() -> Result<Arc<ClientConfig>, Error> + Send + Sync>;

/// A stream of bytes of any kind.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A boxed stream.
pub type BoxedStream = Box<dyn Stream>;

/// Why a connection or a request failed.
#[derive(Debug)]
pub enum TransferError {
    /// Network or peer. May be transient.
    Failure(Failure),
    /// This side: the file or the configuration.
    Error(Error),
}

impl From<Failure> for TransferError {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Error> for TransferError {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Opens connections.
pub struct Connector {
    proxies: Proxies,
    connect_timeout: Duration,
    trust: Trust,
    tls: OnceLock<Arc<ClientConfig>>,
    /// For the proxy of plain and of `https` URLs.
    admissions: [Admission; 2],
    reporter: Arc<dyn Reporter>,
}

impl Connector {
    /// Connections have to be established within `connect_timeout`.
    pub fn new(
        proxies: Proxies,
        connect_timeout: Duration,
        trust: Trust,
        reporter: Arc<dyn Reporter>,
    ) -> Self {
        let (tls, admissions) = (OnceLock::new(), Default::default());
        Self { proxies, connect_timeout, trust, tls, admissions, reporter }
    }

    /// The connection timeout.
    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// The TLS configuration.
    /// Fails with [`Error::usage`] if it cannot be set up.
    pub fn tls(&self) -> Result<Arc<ClientConfig>, Error> {
        if let Some(config) = self.tls.get() {
            return Ok(Arc::clone(config));
        }
        let config = (self.trust)()?;
        Ok(Arc::clone(self.tls.get_or_init(|| config)))
    }

    /// The proxy for this URL, if any. Its first use is reported.
    pub fn proxy(&self, target: &Uri) -> Option<&Arc<Proxy>> {
        let proxy = self.proxies.find(target)?;
        if proxy.is_first_use() {
            self.reporter.event(&Event::Verbose { message: &format!("using the proxy {proxy}") });
        }
        Some(proxy)
    }

    /// Connects to the URL's host, through the proxy if there is one. [`Connector::secure`] is the next step. `wrap` is applied
    /// to the socket before anything is sent. It also gets the time in which the connection was established, one round trip,
    /// unless that is only a connection to the proxy.
    /// Fails with a [`Failure`] of the transport, or [`Error`] if TLS cannot be set up.
    pub async fn open(
        &self,
        target: &Uri,
        wrap: impl FnOnce(TcpStream, Option<Duration>) -> BoxedStream,
    ) -> Result<BoxedStream, TransferError> {
        let Some(proxy) = self.proxy(target) else {
            let (tcp, time) = self.in_time(self.tcp(target)).await??;
            return Ok(wrap(tcp, Some(time)));
        };
        let opening = async {
            let opened = self.in_time(self.open_through(proxy, target, wrap)).await;
            opened.map_err(TransferError::from).flatten().map_err(|error| match error {
                TransferError::Failure(failure) => failure.at(&format!("at the proxy {proxy}")).into(),
                error @ TransferError::Error(_) => error,
            })
        };
        self.admissions[usize::from(is_https(target))].wait_for_first(opening).await
    }

    /// Performs the TLS handshake with the URL's host.
    pub async fn secure(&self, uri: &Uri, stream: BoxedStream) -> Result<BoxedStream, TransferError> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host).map_err(|error| connect_failure(error.to_string()))?;
        let handshake = TlsConnector::from(self.tls()?).connect(name, stream);
        match self.in_time(handshake).await? {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(Failure::transport(kind_of(&error), chain(&error)).into()),
        }
    }

    async fn open_through(
        &self,
        proxy: &Proxy,
        target: &Uri,
        wrap: impl FnOnce(TcpStream, Option<Duration>) -> BoxedStream,
    ) -> Result<BoxedStream, TransferError> {
        let mut stream = wrap(self.tcp(proxy.uri()).await?.0, None);
        if proxy.scheme() == Scheme::Https {
            stream = Box::pin(self.secure(proxy.uri(), stream)).await?;
        }
        if proxy.forwards(target) {
            return Ok(stream);
        }
        Ok(match proxy.scheme() {
            Scheme::Http | Scheme::Https => tunnel::connect(proxy, target, stream).await?,
            Scheme::Socks5 | Scheme::Socks5h => tunnel::socks(proxy, target, stream).await?,
        })
    }

    /// A connection to the URL's host and port, and the time in which it was established, without the name resolution.
    async fn tcp(&self, uri: &Uri) -> Result<(TcpStream, Duration), Failure> {
        let begun = Instant::now();
        let resolver = TimedResolver { resolver: GaiResolver::new(), resolved: Arc::default() };
        let resolved = Arc::clone(&resolver.resolved);
        let mut tcp = HttpConnector::new_with_resolver(resolver);
        tcp.enforce_http(false);
        // hyper-util divides this among the addresses, so that a dead IPv6 path does not use up all of it.
        tcp.set_connect_timeout(Some(self.connect_timeout));
        match tcp.call(uri.clone()).await {
            Ok(stream) => Ok((stream.into_inner(), resolved.get().unwrap_or(&begun).elapsed())),
            Err(error) => Err(connect_failure(http::connection_error(&error))),
        }
    }

    async fn in_time<F: Future>(&self, work: F) -> Result<F::Output, Failure> {
        tokio::time::timeout(self.connect_timeout, work)
            .await
            .map_err(|_| connect_failure(format!("none within {}", human_duration(self.connect_timeout))))
    }
}

/// The system's resolver. Notes when it is done; an IP address is not resolved.
#[derive(Clone)]
struct TimedResolver {
    resolver: GaiResolver,
    resolved: Arc<OnceLock<Instant>>,
}

impl tower_service::Service<Name> for TimedResolver {
    type Response = GaiAddrs;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<GaiAddrs>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.resolver.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (addresses, resolved) = (self.resolver.call(name), Arc::clone(&self.resolved));
        Box::pin(async move {
            let addresses = addresses.await;
            let _ = resolved.set(Instant::now());
            addresses
        })
    }
}

/// Makes connections through a proxy wait until the first one is open, so that a wrong password is tried only once. Many
/// proxies lock an account after a few attempts.
#[derive(Default)]
struct Admission {
    /// The proxy has accepted a connection.
    accepted: AtomicBool,
    /// The proxy has rejected user and password, so it is not tried again.
    unauthorized: OnceLock<Failure>,
    /// Locked by the first connection. Its failure and the time, for those that waited.
    first: tokio::sync::Mutex<Option<(Instant, Failure)>>,
}

impl Admission {
    async fn wait_for_first<T>(
        &self,
        opening: impl Future<Output = Result<T, TransferError>>,
    ) -> Result<T, TransferError> {
        let asked = Instant::now();
        let mut first = None;
        if !self.accepted.load(Ordering::Relaxed) {
            let held = self.first.lock().await;
            if let Some(failure) = self.unauthorized.get() {
                return Err(failure.clone().into());
            }
            if let Some((_, failure)) = held.as_ref().filter(|(at, _)| *at >= asked) {
                return Err(failure.clone().into());
            }
            first = Some(held).filter(|_| !self.accepted.load(Ordering::Relaxed));
        }
        let opened = opening.await;
        if let Err(TransferError::Failure(failure)) = &opened {
            self.accepted.store(false, Ordering::Relaxed);
            if failure.is_proxy_auth() {
                let _ = self.unauthorized.set(failure.clone());
            }
            if let Some(first) = &mut first {
                **first = Some((Instant::now(), failure.clone()));
            }
        } else {
            self.accepted.store(true, Ordering::Relaxed);
        }
        opened
    }
}

fn is_https(uri: &Uri) -> bool {
    uri.scheme_str() == Some("https")
}

fn connect_failure(detail: String) -> Failure {
    Failure::transport(Transport::Connect, detail)
}

/// The kind of an error while connecting. An untrusted certificate and a failed negotiation are permanent. All others may
/// be transient.
pub fn kind_of(error: &(dyn StdError + 'static)) -> Transport {
    use rustls::Error as Tls;
    let kind = causes(error).find_map(|error| error.downcast_ref::<Tls>()).map(|tls| match tls {
        Tls::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => Transport::CertificateDates,
        Tls::InvalidCertificate(_)
        | Tls::NoCertificatesPresented
        | Tls::PeerIncompatible(_)
        // The port speaks something other than TLS.
        | Tls::InvalidMessage(_)
        | Tls::AlertReceived(
            AlertDescription::ProtocolVersion
            | AlertDescription::HandshakeFailure
            | AlertDescription::InsufficientSecurity
            | AlertDescription::UnrecognisedName
            | AlertDescription::CertificateRequired
            | AlertDescription::AccessDenied
            | AlertDescription::NoApplicationProtocol,
        ) => Transport::Tls,
        _ => Transport::Connect,
    });
    kind.unwrap_or(Transport::Connect)
}

/// An error and all its causes.
pub fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| {
        // An `io::Error` returns its inner error's source, and not the inner error itself.
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => error.source(),
        }
    })
}
