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
use super::response::{MAX_RESPONSE, etag_of, is_md5, refusal};
use super::stall::StallDetector;
use super::traffic::{NetworkSample, TransferStats};
use crate::checksum::Checksums;
use crate::dial::{Connector, TransferError};
use crate::disk::{Disk, Stuck};
use crate::error::{Failure, Transport, chain};
use crate::etag::{CompletedPart, Etag};
use crate::event::{Attempt, Event, Reporter};
use crate::http::{self, header};
use crate::options::TransferOptions;
use crate::proxy::Proxy;
use crate::secret::Redactor;

/// The time of a smaller part is mostly round trips, and says nothing about its connection.
const WORTH_CHOOSING: u64 = 4 * 1024 * 1024;

/// Sends parts to storage. Shared by all files.
pub struct Storage {
    pub(super) connections: ConnectionPool,
    buffers: Buffers,
    limiter: Limiter,
    gate: Gate,
    headroom: AtomicBool,
    traffic: TransferStats,
    disk: Disk,
    checksums: Option<Checksums>,
    pub(super) stall_timeout: Duration,
    pub(super) mask: Redactor,
    pub(super) reporter: Arc<dyn Reporter>,
}

impl Storage {
    /// Storage with these options.
    pub fn new(
        transfer: &TransferOptions,
        connector: Arc<Connector>,
        mask: Redactor,
        reporter: Arc<dyn Reporter>,
    ) -> Self {
        Self {
            connections: ConnectionPool::new(connector),
            buffers: Buffers::default(),
            limiter: Limiter::new(transfer.limit_rate),
            gate: Gate::default(),
            headroom: AtomicBool::new(false),
            traffic: TransferStats::default(),
            disk: Disk::default(),
            checksums: transfer.checksum().then(Checksums::default),
            stall_timeout: transfer.stall_timeout(),
            mask,
            reporter,
        }
    }

    /// What the network has accepted of all parts so far, and what TCP has measured.
    pub fn traffic(&self) -> NetworkSample {
        self.traffic.sample()
    }

    /// Lets so many parts move; others that are in flight are held.
    pub fn set_moving(&self, limit: usize) {
        self.gate.set_limit(limit);
    }

    /// Reads for parts in flight that hang.
    pub fn stuck_reads(&self) -> Stuck {
        self.disk.stuck()
    }

    /// Opens connections to this host in advance.
    pub fn preconnect(&self, host: &Uri, wanted: usize) {
        self.connections.preconnect(host, wanted);
    }

    /// Changes the connections in flight to BBR where the system has it.
    pub fn use_bbr(&self) {
        self.traffic.use_bbr();
    }

    /// Says whether the path could carry more than the connections that are there send.
    pub fn set_headroom(&self, headroom: bool) {
        self.headroom.store(headroom, Ordering::Relaxed);
    }

    fn wanted(&self, put: &Put<'_>) -> Wanted {
        if put.fresh {
            Wanted::New
        } else if self.headroom.load(Ordering::Relaxed) && put.range.1 >= WORTH_CHOOSING {
            Wanted::Fast(put.range.1)
        } else {
            Wanted::Any
        }
    }

    /// Sends a part: one attempt.
    ///
    /// # Errors
    /// [`TransferError::Failure`] for network and storage, [`TransferError::Error`] for the file.
    pub async fn put(&self, put: Put<'_>) -> Result<CompletedPart, TransferError> {
        let uri: Uri = put.url.expose().parse().map_err(|error: hyper::http::uri::InvalidUri| {
            crate::error::Error::Urls { what: format!("`{}` is no URL ({error})", put.url.redacted()) }
        })?;
        let begun = Instant::now();
        let mut connection = self.connections.get(&uri, self.wanted(&put)).await?;
        let mut result = self.attempt(&put, &uri, connection).await;
        // An idle connection that the peer closed at the moment it was taken says nothing about the part or the
        // network. Try once more on a new connection.
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
        result.map_err(|(trouble, _)| trouble)
    }

    /// The `bool` of an error: the connection had been idle and accepted nothing.
    async fn attempt(
        &self,
        put: &Put<'_>,
        uri: &Uri,
        mut connection: Connection,
    ) -> Result<CompletedPart, (TransferError, bool)> {
        let begun = Instant::now();
        let flow = Arc::new(BodyState::new(self.checksums.as_ref().map(Checksums::stream)));
        let body = PartBody::new(
            Arc::clone(put.source),
            put.range,
            self.buffers.clone(),
            self.limiter.clone(),
            // A hedge is meant to overtake.
            (put.attempt == Attempt::Primary).then(|| self.gate.enter()),
            Arc::clone(&flow),
            self.disk.clone(),
        );
        let request = request(Method::PUT, uri, connection.through.as_deref())
            .and_then(|request| {
                request.header(CONTENT_LENGTH, put.range.1).body(Either::Left(body)).map_err(invalid)
            })
            .map_err(|failure| (failure.into(), false))?;
        let _counted = self.traffic.begin(connection.probe.clone(), Arc::clone(&flow));
        let mut watch = StallDetector::new(put, &flow, connection.probe.clone(), self.stall_timeout);
        put.progress.set(put.attempt, 0);

        connection.busy = true;
        let sending = connection.sender.send_request(request);
        let answer = watch.over(sending).await;
        let answered = match answer {
            Ok(Ok(response)) => self.read_answer(response, &mut watch).await,
            Ok(Err(error)) => Err(self.no_answer(&error)),
            Err(stalled) => Err(stalled),
        };
        if let Some(error) = flow.take_trouble() {
            return Err((error.into(), false));
        }
        match answered {
            Ok(answer) => {
                let receipt = self.judge(answer, &flow, put.range.1, connection.through.as_deref());
                if receipt.is_ok() {
                    watch.all_taken();
                    connection.busy = false;
                    connection.rate = put.range.1 as f64 / begun.elapsed().as_secs_f64();
                    self.connections.keep(connection);
                }
                receipt.map_err(|failure| (failure.into(), false))
            }
            Err(failure) => Err((failure.into(), connection.reused && watch.taken == 0)),
        }
    }

    /// The failure for a request without a valid response.
    pub(super) fn no_answer(&self, error: &hyper::Error) -> Failure {
        let kind = if error.is_parse() { Transport::Garbled } else { Transport::Disconnected };
        Failure::transport(kind, self.mask.redact(&chain(error)))
    }

    async fn read_answer(
        &self,
        response: Response<hyper::body::Incoming>,
        watch: &mut StallDetector<'_>,
    ) -> Result<(u16, HeaderMap, Vec<u8>), Failure> {
        let (head, body) = response.into_parts();
        let body = watch.over(Limited::new(body, MAX_RESPONSE).collect()).await?;
        // The headers suffice for a success. A truncated error document is better than none.
        let body = body.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
        Ok((head.status.as_u16(), head.headers, body))
    }

    fn judge(
        &self,
        (status, headers, body): (u16, HeaderMap, Vec<u8>),
        flow: &BodyState,
        size: u64,
        through: Option<&Proxy>,
    ) -> Result<CompletedPart, Failure> {
        if status != 200 {
            return Err(refusal(&self.mask, through, status, &headers, &body));
        }
        if header(&headers, ETAG.as_str()).is_none() && http::is_web_page(&headers, &body) {
            return Err(Failure::WebPage);
        }
        // A success before the whole part was sent cannot mean this part.
        if flow.handed() != size {
            return Err(Failure::transport(
                Transport::Disconnected,
                "storage answered before it had the whole part",
            ));
        }
        let etag = etag_of(&headers)
            .ok_or_else(|| Failure::Malformed { detail: "storage sent no ETag for the part".to_owned() })?;
        let md5 = flow.take_sum();
        if let Some(sent) = &md5
            && is_md5(&headers, &etag)
            && !etag.eq_ignore_ascii_case(sent)
        {
            return Err(Failure::Checksum { sent: sent.clone(), stored: self.mask.redact(&etag) });
        }
        Ok(CompletedPart { etag: etag.into(), md5: md5.map(Etag::from) })
    }
}

pub(super) fn invalid(error: hyper::http::Error) -> Failure {
    Failure::Malformed { detail: error.to_string() }
}

/// Builds the signed request without any header that would change what S3 does.
pub(super) fn request(
    method: Method,
    uri: &Uri,
    through: Option<&Proxy>,
) -> Result<request::Builder, Failure> {
    let host = http::host_and_port(uri);
    let target: Uri = match through {
        Some(_) => format!(
            "{}://{host}{}",
            uri.scheme_str().unwrap_or_default(),
            uri.path_and_query().map_or("/", |path| path.as_str())
        )
        .parse()
        .map_err(|_| Failure::Malformed { detail: "a signed URL without a path".to_owned() })?,
        None => uri
            .path_and_query()
            .map_or("/", |path| path.as_str())
            .parse()
            .map_err(|_| Failure::Malformed { detail: "a signed URL without a path".to_owned() })?,
    };
    let mut request = Request::builder().method(method).uri(target).header(HOST, host);
    if let Some(credentials) = through.and_then(Proxy::basic_auth) {
        request = request.header(PROXY_AUTHORIZATION, credentials);
    }
    Ok(request)
}
