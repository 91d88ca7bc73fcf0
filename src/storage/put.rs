//! Sending a part: one attempt at one PUT.
//!
//! The request has the signed path and query, `Host` and `Content-Length`, and nothing else. S3 answers 403 to an added
//! `Content-MD5` or `x-amz-*` header ("There were headers present in the request which were not signed"), so integrity
//! rests on the ETag in the response.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Either, Limited};
use hyper::header::{CONTENT_LENGTH, ETAG, HOST, HeaderMap, PROXY_AUTHORIZATION};
use hyper::http::request;
use hyper::{Method, Request, Response, Uri};

use super::body::{BodyState, PartBody};
use super::buffers::Buffers;
use super::connect::Connection;
use super::gate::Gate;
use super::limiter::Limiter;
use super::part::Put;
use super::pool::{ConnectionPool, Wanted};
use super::response::{MAX_RESPONSE, etag_of, failure_of, is_md5};
use super::stall_detector::StallDetector;
use super::transfer_stats::{NetworkSample, TransferStats};
use crate::checksum::Checksums;
use crate::dial::{Connector, TransferError};
use crate::disk::{Disk, Stuck};
use crate::error::{Error, Failure, Transport, chain};
use crate::etag::{CompletedPart, Etag};
use crate::event::{Attempt, Event, Reporter};
use crate::http::{self, header};
use crate::options::TransferOptions;
use crate::proxy::Proxy;
use crate::secret::{Redactor, SignedUrl};

/// The duration of a smaller part is mostly round trips, and says nothing about the speed of its connection.
const MIN_SIZE_TO_CHOOSE: u64 = 4 * 1024 * 1024;

/// Sends parts to storage. Shared by all files.
pub struct Storage {
    pub(super) connections: ConnectionPool,
    buffers: Buffers,
    limiter: Limiter,
    gate: Gate,
    headroom: AtomicBool,
    stats: TransferStats,
    disk: Disk,
    checksums: Option<Checksums>,
    pub(super) stall_timeout: Duration,
    pub(super) redactor: Redactor,
    pub(super) reporter: Arc<dyn Reporter>,
}

impl Storage {
    /// Storage with these options.
    pub fn new(
        transfer: &TransferOptions,
        connector: Arc<Connector>,
        redactor: Redactor,
        reporter: Arc<dyn Reporter>,
    ) -> Self {
        let stats = TransferStats::default();
        Self {
            connections: ConnectionPool::new(connector, stats.clone()),
            buffers: Buffers::default(),
            limiter: Limiter::new(transfer.limit_rate),
            gate: Gate::default(),
            headroom: AtomicBool::new(false),
            stats,
            disk: Disk::default(),
            checksums: transfer.checksum().then(Checksums::default),
            stall_timeout: transfer.stall_timeout(),
            redactor,
            reporter,
        }
    }

    /// Samples the network.
    pub fn sample(&self) -> NetworkSample {
        self.stats.sample()
    }

    /// Lets this many parts send. Others in flight are held.
    pub fn set_sending_limit(&self, limit: usize) {
        self.gate.set_limit(limit);
    }

    /// Watches reads for parts in flight that hang.
    pub fn stuck_reads(&self) -> Stuck {
        self.disk.stuck()
    }

    /// Opens connections to this host in advance.
    pub fn preconnect(&self, host: &Uri, wanted: usize) {
        self.connections.preconnect(host, wanted);
    }

    /// Changes the connections in flight to BBR where the system has it.
    pub fn use_bbr(&self) {
        self.stats.use_bbr();
    }

    /// Lets the connections in flight take over freed capacity, where the system has BBR.
    pub fn restart_bbr(&self) {
        self.stats.restart_bbr();
    }

    /// Changes connections that have used BBR for this long back to the congestion control that they had before, for good.
    pub fn end_bbr(&self, used_for: Duration) {
        self.stats.end_bbr(used_for);
    }

    /// Sets whether the path could carry more than is being sent. Slow connections are then replaced by new ones.
    pub fn set_headroom(&self, headroom: bool) {
        self.headroom.store(headroom, Ordering::Relaxed);
    }

    fn wanted(&self, put: &Put<'_>) -> Wanted {
        if put.new_connection {
            Wanted::New
        } else if self.headroom.load(Ordering::Relaxed) && put.range.1 >= MIN_SIZE_TO_CHOOSE {
            Wanted::Fastest(put.range.1)
        } else {
            Wanted::Any
        }
    }

    /// Sends a part: one attempt.
    /// Fails with [`TransferError::Failure`] for network and storage, [`TransferError::Error`] for the file.
    pub async fn put(&self, put: Put<'_>) -> Result<CompletedPart, TransferError> {
        let uri = parse_url(put.url)?;
        let begun = Instant::now();
        let mut connection = self.connections.get(&uri, self.wanted(&put)).await?;
        let mut result = self.attempt(&put, &uri, connection).await;
        // The peer may have closed an idle connection just before it was used. That says nothing about the part or the
        // network, so try once more on a new connection.
        if let Err((TransferError::Failure(Failure::Transport { kind: Transport::Disconnected, .. }), true)) =
            &result
        {
            connection = self.connections.get(&uri, Wanted::New).await?;
            result = self.attempt(&put, &uri, connection).await;
        }
        let status = match &result {
            Ok(_) => Some(200),
            Err((TransferError::Failure(failure), _)) => failure.status(),
            Err(_) => None,
        };
        let url = &put.url.redacted();
        self.reporter.event(&Event::Request { method: "PUT", url, status, elapsed: begun.elapsed() });
        result.map_err(|(error, _)| error)
    }

    /// With an error: whether the connection had been idle and accepted nothing.
    async fn attempt(
        &self,
        put: &Put<'_>,
        uri: &Uri,
        mut connection: Connection,
    ) -> Result<CompletedPart, (TransferError, bool)> {
        let begun = Instant::now();
        if !connection.reused {
            self.stats.note_connected(connection.connect_time);
        }
        let body_state = Arc::new(BodyState::new(self.checksums.as_ref().map(Checksums::stream)));
        let body = PartBody::new(
            Arc::clone(put.source),
            put.range,
            self.buffers.clone(),
            self.limiter.clone(),
            // A hedge is never held.
            (put.attempt == Attempt::Primary).then(|| self.gate.enter()),
            Arc::clone(&body_state),
            self.disk.clone(),
        );
        let request = build_request(Method::PUT, uri, connection.forward_proxy.as_deref())
            .header(CONTENT_LENGTH, put.range.1)
            .body(Either::Left(body))
            .map_err(|error| (invalid_request(&error).into(), false))?;
        let _registered = self.stats.register(connection.probe.clone(), Arc::clone(&body_state), put.range.1);
        let mut detector = StallDetector::new(put, &body_state, connection.probe.clone(), self.stall_timeout);
        put.progress.set(put.attempt, 0);

        connection.busy = true;
        let sending = connection.sender.send_request(request);
        let response = match detector.watch(sending).await {
            Ok(Ok(response)) => self.read_response(response, &mut detector).await,
            Ok(Err(error)) => Err(self.transport_failure(&error)),
            Err(stalled) => Err(stalled),
        };
        if let Some(error) = body_state.take_error() {
            return Err((error.into(), false));
        }
        match response {
            Ok(response) => {
                let part = self.completed_part(
                    response,
                    &body_state,
                    put.range.1,
                    connection.forward_proxy.as_deref(),
                );
                if part.is_ok() {
                    detector.set_complete();
                    connection.busy = false;
                    if put.range.1 >= MIN_SIZE_TO_CHOOSE {
                        connection.rate = put.range.1 as f64 / begun.elapsed().as_secs_f64();
                    }
                    self.connections.keep(connection);
                }
                part.map_err(|failure| (failure.into(), false))
            }
            Err(failure) => Err((failure.into(), connection.reused && detector.acked == 0)),
        }
    }

    /// The failure for a request without a valid response.
    pub(super) fn transport_failure(&self, error: &hyper::Error) -> Failure {
        let kind = if error.is_parse() { Transport::Garbled } else { Transport::Disconnected };
        Failure::transport(kind, self.redactor.redact(&chain(error)))
    }

    async fn read_response(
        &self,
        response: Response<hyper::body::Incoming>,
        detector: &mut StallDetector<'_>,
    ) -> Result<(u16, HeaderMap, Vec<u8>), Failure> {
        let (head, body) = response.into_parts();
        let body = detector.watch(Limited::new(body, MAX_RESPONSE).collect()).await?;
        // The headers of a success suffice. A truncated error document is better than none.
        let body = body.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
        Ok((head.status.as_u16(), head.headers, body))
    }

    /// Checks the response to a PUT: the status, that the whole part was sent, and the ETag.
    fn completed_part(
        &self,
        (status, headers, body): (u16, HeaderMap, Vec<u8>),
        body_state: &BodyState,
        size: u64,
        proxy: Option<&Proxy>,
    ) -> Result<CompletedPart, Failure> {
        if status != 200 {
            return Err(failure_of(&self.redactor, proxy, status, &headers, &body));
        }
        if header(&headers, ETAG.as_str()).is_none() && http::is_web_page(&headers, &body) {
            return Err(Failure::WebPage);
        }
        // A success before the whole part was sent cannot mean this part.
        if body_state.handed() != size {
            return Err(Failure::transport(
                Transport::Disconnected,
                "storage answered before it had the whole part",
            ));
        }
        let etag = etag_of(&headers)
            .ok_or_else(|| Failure::Malformed { detail: "storage sent no ETag for the part".to_owned() })?;
        let md5 = body_state.take_md5();
        if let Some(sent) = &md5
            && is_md5(&headers, &etag)
            && !etag.eq_ignore_ascii_case(sent)
        {
            return Err(Failure::Checksum { sent: sent.clone(), stored: self.redactor.redact(&etag) });
        }
        Ok(CompletedPart { etag: etag.into(), md5: md5.map(Etag::from) })
    }
}

pub(super) fn invalid_request(error: &hyper::http::Error) -> Failure {
    Failure::Malformed { detail: error.to_string() }
}

/// Builds the signed request, without any header that would change what S3 does.
pub(super) fn build_request(method: Method, uri: &Uri, proxy: Option<&Proxy>) -> request::Builder {
    let host = http::host_and_port(uri);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let target = match proxy {
        Some(_) => format!("{}://{host}{path}", uri.scheme_str().unwrap_or_default()),
        None => path.to_owned(),
    };
    let mut request = Request::builder().method(method).uri(target).header(HOST, host);
    if let Some(credentials) = proxy.and_then(Proxy::basic_auth) {
        request = request.header(PROXY_AUTHORIZATION, credentials);
    }
    request
}

/// Parses a signed URL.
pub(super) fn parse_url(url: &SignedUrl) -> Result<Uri, Error> {
    url.expose().parse().map_err(|error: hyper::http::uri::InvalidUri| {
        Error::urls(&format!("`{}` is no URL ({error})", url.redacted()))
    })
}
