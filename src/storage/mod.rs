//! One PUT of one part into storage, watched while it travels and checked when it has arrived.
//! And one GET, for what storage says of an object (`object`).
//!
//! The request carries what real S3 takes and nothing else: the path and query as signed, `Host` and
//! `Content-Length`. An added `Content-MD5` or `x-amz-*` header is answered with 403 ("There were headers
//! present in the request which were not signed"), so integrity rests on the ETag that comes back.

mod body;
mod buffers;
mod connect;
mod limiter;
mod object;
mod pool;
mod traffic;
mod xml;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Either, Limited};
use hyper::header::{CONTENT_LENGTH, ETAG, HOST, HeaderMap, HeaderValue, PROXY_AUTHORIZATION};
use hyper::http::request;
use hyper::{Method, Request, Response, Uri};

use self::body::{BodyState, PartBody};
use self::buffers::Buffers;
use self::connect::{Connection, Probe, Wire};
use self::limiter::Limiter;
pub use self::object::ObjectInfo;
use self::pool::ConnectionPool;
pub use self::traffic::NetworkSample;
use self::traffic::TransferStats;
use crate::checksum::Checksums;
use crate::dial::Connector;
pub use crate::dial::TransferError;
use crate::disk::{Disk, Stuck};
use crate::error::{Failure, Transport, chain};
use crate::etag::Etag;
use crate::event::{Attempt, Event, PartProgress, Reporter};
use crate::format::human_duration;
use crate::http::{self, header};
use crate::options::TransferOptions;
use crate::secret::{Redactor, SignedUrl};
use crate::source::Source;

/// How often a part in flight is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// More of an answer than this is not read: S3's error documents have a few hundred bytes.
const ANSWER_MOST: usize = 64 * 1024;

/// The way into storage, shared by all parts.
pub struct Storage {
    connections: ConnectionPool,
    buffers: Buffers,
    limiter: Limiter,
    traffic: TransferStats,
    disk: Disk,
    checksums: Option<Checksums>,
    stall_timeout: Duration,
    mask: Redactor,
    reporter: Arc<dyn Reporter>,
}

/// One part to send.
pub struct Put<'a> {
    /// Where to.
    pub url: &'a SignedUrl,
    /// From which file.
    pub source: &'a Arc<Source>,
    /// Offset and length in bytes.
    pub range: (u64, u64),
    /// Told how far it is.
    pub meter: &'a PartProgress,
    /// As which of the part's connections.
    pub attempt: Attempt,
    /// Told what goes over the wire, repeats included.
    pub sent: &'a AtomicU64,
    /// On a new connection, with the host's name looked up again.
    pub fresh: bool,
    /// The answer may take so many times the stall time-out.
    pub answer_patience: u32,
}

/// Storage's word that it has a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedPart {
    /// The ETag without its quotes, as finalize wants it.
    pub etag: Etag,
    /// The MD5 of the bytes that were sent, unless the check is off.
    pub md5: Option<Etag>,
}

impl CompletedPart {
    /// Whether it proves that storage holds bytes of this MD5. Without a recorded MD5 only an ETag can that is one:
    /// under KMS and with customer keys it is not.
    pub fn proves(&self, md5: &str) -> bool {
        self.md5.as_ref().unwrap_or(&self.etag).to_string().eq_ignore_ascii_case(md5)
    }

    /// The MD5 of the part's bytes: as they were sent, or else the ETag if it can be one.
    pub fn md5_of_content(&self) -> Option<[u8; 16]> {
        self.md5.as_ref().unwrap_or(&self.etag).md5()
    }
}

impl Storage {
    /// Storage for these settings.
    pub fn new(
        transfer: &TransferOptions,
        dialer: Arc<Connector>,
        mask: Redactor,
        reporter: Arc<dyn Reporter>,
    ) -> Self {
        Self {
            connections: ConnectionPool::new(dialer),
            buffers: Buffers::default(),
            limiter: Limiter::new(transfer.limit_rate),
            traffic: TransferStats::default(),
            disk: Disk::default(),
            checksums: transfer.checksum().then(Checksums::default),
            stall_timeout: transfer.stall_timeout(),
            mask,
            reporter,
        }
    }

    /// What the network has taken of all parts so far, and how the way is.
    pub fn traffic(&self) -> NetworkSample {
        self.traffic.sample()
    }

    /// Reads of parts in flight that are stuck at a disk.
    pub fn stuck_reads(&self) -> Stuck {
        self.disk.stuck()
    }

    /// Opens so many connections to this host, for parts to come.
    pub fn preconnect(&self, host: &Uri, wanted: usize) {
        self.connections.preconnect(host, wanted);
    }

    /// Sends a part once.
    ///
    /// # Errors
    /// [`TransferError::Failure`] for the network's and storage's part in it, [`TransferError::Error`] for the file's.
    pub async fn put(&self, put: Put<'_>) -> Result<CompletedPart, TransferError> {
        let uri: Uri = put.url.expose().parse().map_err(|error: hyper::http::uri::InvalidUri| {
            crate::error::Error::Urls { what: format!("`{}` is no URL ({error})", put.url.redacted()) }
        })?;
        let begun = Instant::now();
        let mut connection = self.connections.get(&uri, put.fresh).await?;
        let mut result = self.attempt(&put, &uri, connection).await;
        // An idle connection that the other side closed in the moment it was taken says nothing about the
        // part or the line: once more, on a new one.
        if let Err((TransferError::Failure(Failure::Transport { kind: Transport::Disconnected, .. }), true)) =
            &result
        {
            connection = self.connections.get(&uri, true).await?;
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

    /// The `bool` of an error: the connection was an old one and took nothing.
    async fn attempt(
        &self,
        put: &Put<'_>,
        uri: &Uri,
        mut connection: Connection,
    ) -> Result<CompletedPart, (TransferError, bool)> {
        let flow = Arc::new(BodyState::new(self.checksums.as_ref().map(Checksums::stream)));
        let body = PartBody::new(
            Arc::clone(put.source),
            put.range,
            self.buffers.clone(),
            self.limiter.clone(),
            Arc::clone(&flow),
            self.disk.clone(),
        );
        let request = request(Method::PUT, uri, connection.through.as_ref())
            .and_then(|request| {
                request.header(CONTENT_LENGTH, put.range.1).body(Either::Left(body)).map_err(invalid)
            })
            .map_err(|failure| (failure.into(), false))?;
        let _counted = self.traffic.begin(connection.probe.clone());
        let mut watch = StallDetector::new(put, &flow, connection.probe.clone(), self.stall_timeout);
        put.meter.set(put.attempt, 0);

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
                let receipt = self.judge(answer, &flow, put.range.1);
                if receipt.is_ok() {
                    watch.all_taken();
                    self.connections.keep(connection);
                }
                receipt.map_err(|failure| (failure.into(), false))
            }
            Err(failure) => Err((failure.into(), connection.reused && watch.taken == 0)),
        }
    }

    /// A request that got no answer, or none that is HTTP.
    fn no_answer(&self, error: &hyper::Error) -> Failure {
        let kind = if error.is_parse() { Transport::Garbled } else { Transport::Disconnected };
        Failure::transport(kind, self.mask.redact(&chain(error)))
    }

    async fn read_answer(
        &self,
        response: Response<hyper::body::Incoming>,
        watch: &mut StallDetector<'_>,
    ) -> Result<(u16, HeaderMap, Vec<u8>), Failure> {
        let (head, body) = response.into_parts();
        let body = watch.over(Limited::new(body, ANSWER_MOST).collect()).await?;
        // A success is complete with its head; of an error, what could be read is better than nothing.
        let body = body.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
        Ok((head.status.as_u16(), head.headers, body))
    }

    fn judge(
        &self,
        (status, headers, body): (u16, HeaderMap, Vec<u8>),
        flow: &BodyState,
        size: u64,
    ) -> Result<CompletedPart, Failure> {
        if status != 200 {
            return Err(self.refusal(status, &headers, &body));
        }
        if header(&headers, ETAG.as_str()).is_none() && http::is_web_page(&headers, &body) {
            return Err(Failure::WebPage);
        }
        // A 200 before the whole part was sent is about something else than this part.
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

    /// An answer that is no success, with what its XML says.
    fn refusal(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Failure {
        let said = xml::parse_error(body);
        Failure::Status {
            status,
            code: said.code.map(|code| http::sanitize(&self.mask, &code)),
            message: said.message.map(|message| http::sanitize(&self.mask, &message)),
            retry_after: http::retry_after(headers),
        }
    }
}

fn invalid(error: hyper::http::Error) -> Failure {
    Failure::Malformed { detail: error.to_string() }
}

/// The request as signed, with no header that changes what S3 does.
fn request(
    method: Method,
    uri: &Uri,
    through: Option<&Option<HeaderValue>>,
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
    if let Some(Some(credentials)) = through {
        request = request.header(PROXY_AUTHORIZATION, credentials);
    }
    Ok(request)
}

/// The ETag without its quotes, if there is one.
fn etag_of(headers: &HeaderMap) -> Option<String> {
    header(headers, ETAG.as_str())
        .map(|etag| etag.trim().trim_start_matches("W/").trim_matches('"').to_owned())
        .filter(|etag| !etag.is_empty())
}

/// Whether the headers say that an ETag has nothing to do with MD5: under KMS or customer keys.
fn is_encrypted(headers: &HeaderMap) -> bool {
    let kms = header(headers, "x-amz-server-side-encryption").is_some_and(|kind| kind.starts_with("aws:kms"));
    kms || headers.contains_key("x-amz-server-side-encryption-customer-algorithm")
}

/// Whether an ETag is the MD5 of the part: not under KMS or customer keys, and not when it does not even look like
/// one.
fn is_md5(headers: &HeaderMap, etag: &str) -> bool {
    !is_encrypted(headers) && etag.len() == 32 && etag.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Looks at a part in flight: moves its meter, and ends it when it stands still.
struct StallDetector<'a> {
    put: &'a Put<'a>,
    flow: &'a BodyState,
    probe: Probe,
    before: Wire,
    taken: u64,
    /// The wire's count at its highest.
    seen: u64,
    moved: Instant,
    patience: Duration,
}

impl<'a> StallDetector<'a> {
    fn new(put: &'a Put<'a>, flow: &'a BodyState, probe: Probe, patience: Duration) -> Self {
        let before = probe.wire();
        Self { put, flow, probe, before, taken: 0, seen: before.taken, moved: Instant::now(), patience }
    }

    /// Waits for `work` and looks meanwhile.
    async fn over<F: Future>(&mut self, work: F) -> Result<F::Output, Failure> {
        let mut work = std::pin::pin!(work);
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                done = &mut work => {
                    self.look();
                    self.moved = Instant::now();
                    return Ok(done);
                }
                _ = looks.tick() => self.look(),
            }
            let (taken, size, still) = (self.taken, self.put.range.1, self.moved.elapsed());
            let answer_patience = self.patience.saturating_mul(self.put.answer_patience);
            if taken < size && still >= self.patience {
                let still = human_duration(self.patience);
                let detail = format!("no byte taken after {taken} of {size} for {still}");
                return Err(Failure::transport(Transport::Stalled, detail));
            }
            if still >= answer_patience {
                let detail = format!("none {} after it took the whole part", human_duration(answer_patience));
                return Err(Failure::transport(Transport::ResponseTimeout, detail));
            }
        }
    }

    fn look(&mut self) {
        let wire = self.probe.wire();
        let handed = self.flow.handed();
        // Headers and TLS records count on the wire (under 1 %); never more than was handed over.
        let taken = wire.taken.saturating_sub(self.before.taken).min(handed);
        // With nothing waiting in the kernel and the body waiting for the disk or the limiter, it is not the
        // network that stands still. Movement is judged by the wire's own count: the capped one stops short of
        // a large part's last bytes.
        let ours = wire.waiting == 0 && self.flow.waits_for_us();
        if wire.taken > self.seen || ours {
            self.seen = self.seen.max(wire.taken);
            self.moved = Instant::now();
        }
        self.count(taken);
    }

    fn count(&mut self, taken: u64) {
        if taken > self.taken {
            self.put.sent.fetch_add(taken - self.taken, Ordering::Relaxed);
            self.taken = taken;
            self.put.meter.set(self.put.attempt, taken);
        }
    }

    fn all_taken(&mut self) {
        self.count(self.put.range.1);
    }
}
