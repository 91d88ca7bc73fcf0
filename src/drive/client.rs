//! The API client. Each call is retried until it succeeds, is refused, or its retry budget is used up.
//!
//! The client follows no redirects (the token would be sent along), limits the size of responses, and redacts every
//! message before it is stored.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::Uri;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use serde::de::DeserializeOwned;

use super::clock::ServiceClock;
use super::gate::Gate;
use super::wire::{self};
use crate::circuit_breaker::CircuitBreaker;
use crate::dial::{self, Connector, TransferError};
use crate::error::{Call, Error, Failure, RetryClass, Transport, chain};
use crate::event::{Event, Reporter};
use crate::http::{self, header};
use crate::proxy::Scheme;
use crate::retry::{RetryBudget, RetryPolicy};
use crate::secret::{Redactor, Token};

/// Timeout of a call.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Timeout of finalize. Completing a multipart upload "can take several minutes" (S3, CompleteMultipartUpload).
const FINALIZE_TIMEOUT: Duration = Duration::from_secs(600);
/// Limit on the bytes read of a response. 10,000 signed URLs take about 10 MB, and at most twice that.
const MAX_RESPONSE: usize = 32 * 1024 * 1024;
/// Connections that were idle for longer are not reused.
const MAX_IDLE: Duration = Duration::from_secs(15);

/// What the client needs.
pub struct Options {
    /// The base URL without a trailing slash.
    pub url: String,
    pub token: Token,
    /// Opens connections.
    pub connector: Arc<Connector>,
    pub policy: RetryPolicy,
    /// Concurrent calls.
    pub calls: usize,
}

/// The API of one account.
pub struct Drive {
    http: reqwest::Client,
    base: Url,
    /// The base URL, for the connector.
    host: Uri,
    connector: Arc<Connector>,
    /// The proxy, if any, has let this client through.
    proxy_is_open: AtomicBool,
    pub(super) mask: Redactor,
    pub(super) policy: RetryPolicy,
    pub(super) gate: Gate,
    /// Count of successful calls.
    answered: AtomicU64,
    clock: ServiceClock,
    /// One for each kind of call: one endpoint may be down while others work.
    breakers: [CircuitBreaker; Call::KINDS],
    /// A failure that every call would meet: token refused (401), proxy refused, TLS.
    refused: OnceLock<Failure>,
    reporter: Arc<dyn Reporter>,
}

/// Observes the retries of a call.
pub trait RetryObserver: Sync {
    /// A call is tried again after `wait`; `retry` counts attempts without progress.
    fn retry(&self, call: Call, retry: u32, failure: &Failure, wait: Duration);
}

/// A successful response.
pub(super) struct Answer {
    pub(super) body: Bytes,
    /// The service's clock (`Date`) in seconds since 1970, or this machine's if it does not tell.
    pub(super) date: i64,
}

impl Drive {
    /// A client for one account.
    ///
    /// # Errors
    /// [`Error::Usage`] for an invalid URL or token, [`Error::Internal`] if TLS cannot be set up.
    pub fn new(options: Options, reporter: Arc<dyn Reporter>) -> Result<Self, Error> {
        let base = Url::parse(&options.url)
            .map_err(|error| Error::usage(format!("the API URL `{}` is no URL: {error}", options.url)))?;
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", options.token.expose()))
            .map_err(|_| Error::usage("the token has characters that no token has"))?;
        authorization.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, authorization);
        let client = reqwest::Client::builder()
            .user_agent(http::USER_AGENT)
            .default_headers(headers)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(options.connector.connect_timeout())
            .pool_idle_timeout(MAX_IDLE)
            .pool_max_idle_per_host(options.calls)
            .http1_only()
            .http1_max_headers(http::MAX_HEADERS);
        let host: Uri = options
            .url
            .parse()
            .map_err(|error| Error::usage(format!("the API URL `{base}` is no URL: {error}")))?;
        let proxy = options.connector.proxy(&host);
        // Redirects are not followed, so there is no other host.
        let client = match proxy {
            Some(proxy) => {
                client.proxy(reqwest::Proxy::all(proxy.expose().clone()).map_err(|error| {
                    Error::Internal(format!("HTTP client: {}", chain(&error.without_url())))
                })?)
            }
            None => client.no_proxy(),
        };
        // Without `https` there is nothing to verify, so the platform's certificates are not loaded.
        let https = options.url.starts_with("https:") || proxy.is_some_and(|p| p.scheme() == Scheme::Https);
        let tls = if https { (*options.connector.tls()?).clone() } else { no_trust()? };
        let http = client
            .tls_backend_preconfigured(tls)
            .build()
            .map_err(|error| Error::Internal(format!("HTTP client: {}", chain(&error))))?;
        Ok(Self {
            http,
            base,
            proxy_is_open: AtomicBool::new(options.connector.proxy(&host).is_none()),
            host,
            connector: options.connector,
            mask: Redactor::new(&options.token),
            policy: options.policy,
            gate: Gate::new(options.calls),
            answered: AtomicU64::new(0),
            clock: ServiceClock::default(),
            breakers: Default::default(),
            refused: OnceLock::new(),
            reporter,
        })
    }

    /// Successful calls so far. Tells whether the service lets others through.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// The circuit breaker of this kind of call.
    pub fn breaker(&self, call: Call) -> &CircuitBreaker {
        &self.breakers[call as usize]
    }

    pub(super) fn url(&self, path: &str) -> Result<Url, Error> {
        let mut url = self.base.clone();
        // Appended as segments, so that an ID from a server cannot change the rest of the path.
        url.path_segments_mut()
            .map_err(|()| Error::usage("the API URL cannot have a path"))?
            .pop_if_empty()
            .extend(path.split('/'));
        Ok(url)
    }

    pub(super) fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<reqwest::Request, Error> {
        let mut url = self.url(path)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(reqwest::Request::new(Method::GET, url))
    }

    pub(super) fn post(&self, path: &str, body: &impl serde::Serialize) -> Result<reqwest::Request, Error> {
        let url = self.url(path)?;
        self.http
            .post(url)
            .json(body)
            .build()
            .map_err(|error| Error::Internal(format!("request: {}", chain(&error.without_url()))))
    }

    pub(super) async fn ask_json<T: DeserializeOwned>(
        &self,
        caller: &dyn RetryObserver,
        call: Call,
        request: reqwest::Request,
    ) -> Result<(T, i64), Error> {
        let answer = self.ask(caller, call, request).await?;
        let value = wire::parse(&answer.body).map_err(|what| self.malformed(call, &what))?;
        Ok((value, answer.date))
    }

    /// The error for an answer that is not what the call promises. `what` may quote it.
    pub fn malformed(&self, call: Call, what: &str) -> Error {
        let detail = http::sanitize(&self.mask, what);
        Error::Call { call, failure: Failure::Malformed { detail }, tries: 1 }
    }

    /// Tries until there is a response, a refusal, or no retry budget left.
    pub(super) async fn ask(
        &self,
        caller: &dyn RetryObserver,
        call: Call,
        request: reqwest::Request,
    ) -> Result<Answer, Error> {
        let permit = self.breaker(call).acquire().await.map_err(|failure| Error::CircuitOpen { failure })?;
        let mut gate_permit = Some(self.gate.acquire(call).await);
        let mut budget = RetryBudget::new(self.policy);
        loop {
            if gate_permit.is_none() {
                gate_permit = Some(self.gate.acquire(call).await);
            }
            self.gate.wait().await;
            let others = self.answered();
            let again = request
                .try_clone()
                .ok_or_else(|| Error::Internal("a request that cannot be sent twice".into()))?;
            let failure = match self.once(call, again).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            if failure.status() == Some(429) && self.answered() > others {
                // Other calls succeeded meanwhile: the service is up, and this call only has to wait.
                budget.reset();
            }
            let tries = budget.attempts() + 1;
            let wait = match failure.class_of_call(call) {
                RetryClass::Transient => permit.next_backoff(&mut budget, &failure),
                _ => None,
            };
            let Some(wait) = wait else { return Err(Error::Call { call, failure, tries }) };
            caller.retry(call, tries, &failure, wait);
            if failure.status() == Some(429) {
                // No call is sent meanwhile, and the order of waiting calls is kept.
                self.gate.pause_for(wait);
            } else {
                gate_permit = None;
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// A time of this machine as the service's clock shows it, both in milliseconds since 1970.
    pub fn to_service_clock(&self, local: i64) -> i64 {
        self.clock.of_local(local)
    }

    pub(super) async fn once(&self, call: Call, mut request: reqwest::Request) -> Result<Answer, Failure> {
        if let Some(failure) = self.refused.get() {
            return Err(failure.clone());
        }
        *request.timeout_mut() = Some(if call == Call::Finalize { FINALIZE_TIMEOUT } else { CALL_TIMEOUT });
        let method = request.method().clone();
        let mut shown = request.url().clone();
        shown.set_query(None);
        let (begun, sent) = (Instant::now(), jiff::Timestamp::now());
        let result = match self.open_proxy().await {
            Ok(()) => self.exchange(request).await,
            Err(failure) => Err(failure),
        };
        if let Err(failure) = &result
            && failure.holds_for_all()
        {
            let _ = self.refused.set(failure.clone());
        }
        let status = result.as_ref().ok().map(|(status, ..)| *status);
        self.reporter.event(&Event::Request {
            method: method.as_str(),
            url: shown.as_str(),
            status,
            elapsed: begun.elapsed(),
        });
        let (status, headers, body) = result?;
        let date = http::clock(&headers);
        self.clock.observe(date, sent.as_millisecond(), jiff::Timestamp::now().as_millisecond());
        if (200..300).contains(&status) {
            if http::is_web_page(&headers, &body) {
                return Err(Failure::WebPage);
            }
            self.answered.fetch_add(1, Ordering::Relaxed);
            self.breaker(call).record_success();
            return Ok(Answer { body, date });
        }
        let said = wire::parse_error(&body);
        let wish = http::retry_after(&headers);
        // A proxy that forwards requests answers in the place of the service, but not in its form.
        let proxy = self.connector.proxy(&self.host).filter(|proxy| proxy.forwards(&self.host));
        if let Some(proxy) = proxy.filter(|_| said == wire::ApiError::default())
            && let Some(failure) = dial::refusal_by(proxy, status)
        {
            let _ = self.refused.set(failure.clone());
            return Err(failure);
        }
        let failure = Failure::Status {
            status,
            code: said.code.map(|code| http::sanitize(&self.mask, &code)),
            message: said.message.map(|message| http::sanitize(&self.mask, &message)),
            retry_after: wish.max(said.retry_after),
        };
        if status == 401 || failure.holds_for_all() {
            // Ten thousand files need not ask ten thousand times.
            let _ = self.refused.set(failure.clone());
        }
        Err(failure)
    }

    /// Has the proxy, if any, open a connection to the API before reqwest does, because reqwest does not tell with
    /// which status a proxy refuses. Once, and again after failed connections.
    async fn open_proxy(&self) -> Result<(), Failure> {
        if self.proxy_is_open.load(Ordering::Relaxed) {
            return Ok(());
        }
        match self.connector.open(&self.host, |stream| Box::new(stream)).await {
            Ok(_) => self.proxy_is_open.store(true, Ordering::Relaxed),
            Err(TransferError::Failure(failure)) => return Err(failure),
            Err(TransferError::Error(error)) => {
                return Err(Failure::transport(Transport::Tls, chain(&error)));
            }
        }
        Ok(())
    }

    async fn exchange(&self, request: reqwest::Request) -> Result<(u16, HeaderMap, Bytes), Failure> {
        let failed = |error: reqwest::Error| {
            let kind = match &error {
                // Only if no connection was established: later failures may come from a middlebox, and the request may
                // have been served. A timeout while connecting counts as a failed connection.
                error if error.is_connect() => dial::kind_of(error),
                error if error.is_timeout() => Transport::Timeout,
                error if is_garbled(error) => Transport::Garbled,
                _ => Transport::Disconnected,
            };
            let failure = Failure::transport(kind, self.mask.redact(&http::trouble(&error.without_url())));
            match self.connector.proxy(&self.host) {
                Some(proxy) if kind != Transport::Timeout => {
                    self.proxy_is_open.store(false, Ordering::Relaxed);
                    failure.at(&format!("through the proxy {proxy}"))
                }
                _ => failure,
            }
        };
        let mut response = self.http.execute(request).await.map_err(failed)?;
        let status = response.status().as_u16();
        let headers = std::mem::take(response.headers_mut());
        let expected = header(&headers, "content-length").and_then(|length| length.parse::<usize>().ok());
        let mut body = Vec::with_capacity(expected.unwrap_or(0).min(MAX_RESPONSE));
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > MAX_RESPONSE {
                let detail = format!("it is larger than {} MiB", MAX_RESPONSE >> 20);
                return Err(Failure::Malformed { detail });
            }
            body.extend_from_slice(&chunk);
        }
        Ok((status, headers, body.into()))
    }
}

/// Whether the response cannot be parsed as HTTP.
fn is_garbled(error: &reqwest::Error) -> bool {
    dial::causes(error)
        .find_map(|error| error.downcast_ref::<hyper::Error>())
        .is_some_and(hyper::Error::is_parse)
}

/// A TLS configuration that trusts nothing.
fn no_trust() -> Result<rustls::ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Internal(format!("TLS: {error}")))?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth())
}
