//! The API client. Each call is retried until it succeeds, is refused, or has used up its retry budget.
//!
//! The client follows no redirects (it would send the token along), limits the size of responses, and redacts each message
//! before it is stored.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::Uri;
use reqwest::header::HeaderMap;
use reqwest::{Method, Url};
use serde::de::DeserializeOwned;

use super::call_limiter::CallLimiter;
use super::clock::ServiceClock;
use super::http_client::{self, is_garbled};
use super::wire;
use crate::circuit_breaker::CircuitBreaker;
use crate::dial::{self, Connector, TransferError};
use crate::error::{Call, Error, Failure, RetryClass, Transport, chain};
use crate::event::{Event, Reporter};
use crate::http::{self, header};
use crate::retry::{RetryBudget, RetryPolicy};
use crate::secret::{Redactor, Token};

/// Timeout of a call.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Timeout of finalize. Completing a multipart upload "can take several minutes" (S3, CompleteMultipartUpload).
const FINALIZE_TIMEOUT: Duration = Duration::from_secs(600);
/// Limit on the bytes read of a response. 10,000 signed URLs take about 10 MB, and at most twice that.
const MAX_RESPONSE: usize = 32 * 1024 * 1024;

/// Options of the client.
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
    /// There is no proxy, or it has accepted a connection.
    proxy_accepted: AtomicBool,
    pub(super) redactor: Redactor,
    pub(super) policy: RetryPolicy,
    pub(super) limiter: CallLimiter,
    /// The number of successful calls.
    successes: AtomicU64,
    clock: ServiceClock,
    /// One for each kind of call, because one endpoint may be down while others work.
    breakers: [CircuitBreaker; Call::KINDS],
    /// A failure that every call would meet: token refused (401), proxy refused, TLS.
    refused: OnceLock<Failure>,
    reporter: Arc<dyn Reporter>,
}

/// Observes the retries of a call.
pub trait RetryObserver: Sync {
    /// A call is retried after `wait`. `retry` counts attempts without progress.
    fn retry(&self, call: Call, retry: u32, failure: &Failure, wait: Duration);
}

/// A successful response.
pub(super) struct ApiResponse {
    pub(super) body: Bytes,
    /// The service's clock (`Date`) in seconds since 1970, or this machine's clock if there is no `Date`.
    pub(super) date: i64,
}

impl Drive {
    /// A client for one account.
    /// Fails with [`Error::usage`] for an invalid URL or token, [`Error::Internal`] if TLS cannot be set up.
    pub fn new(options: Options, reporter: Arc<dyn Reporter>) -> Result<Self, Error> {
        let base = Url::parse(&options.url)
            .map_err(|error| Error::usage(format!("the API URL `{}` is no URL: {error}", options.url)))?;
        let host: Uri = options
            .url
            .parse()
            .map_err(|error| Error::usage(format!("the API URL `{base}` is no URL: {error}")))?;
        let http = http_client::build(&host, &options.token, &options.connector, options.calls)?;
        Ok(Self {
            http,
            base,
            proxy_accepted: AtomicBool::new(options.connector.proxy(&host).is_none()),
            host,
            connector: options.connector,
            redactor: Redactor::new(&options.token),
            policy: options.policy,
            limiter: CallLimiter::new(options.calls),
            successes: AtomicU64::new(0),
            clock: ServiceClock::default(),
            breakers: Default::default(),
            refused: OnceLock::new(),
            reporter,
        })
    }

    /// The number of successful calls so far.
    pub fn successes(&self) -> u64 {
        self.successes.load(Ordering::Relaxed)
    }

    /// The circuit breaker of this kind of call.
    pub fn breaker(&self, call: Call) -> &CircuitBreaker {
        &self.breakers[call as usize]
    }

    pub(super) fn url(&self, path: &str) -> Result<Url, Error> {
        let mut url = self.base.clone();
        // Appended as segments, so that an ID from the service cannot change the rest of the path.
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

    pub(super) async fn call_json<T: DeserializeOwned>(
        &self,
        observer: &dyn RetryObserver,
        call: Call,
        request: reqwest::Request,
    ) -> Result<(T, i64), Error> {
        let answer = self.call(observer, call, request).await?;
        let value = wire::parse(&answer.body).map_err(|what| self.malformed(call, &what))?;
        Ok((value, answer.date))
    }

    /// The error for an unexpected response. `what` may quote it.
    pub fn malformed(&self, call: Call, what: &str) -> Error {
        let detail = http::sanitize(&self.redactor, what);
        Error::Call { call, failure: Failure::Malformed { detail }, tries: 1 }
    }

    /// Retries a call until it succeeds, is refused, or has used up its retry budget.
    pub(super) async fn call(
        &self,
        observer: &dyn RetryObserver,
        call: Call,
        request: reqwest::Request,
    ) -> Result<ApiResponse, Error> {
        let permit = self.breaker(call).acquire().await.map_err(|failure| Error::CircuitOpen { failure })?;
        let mut limiter_permit = Some(self.limiter.acquire(call).await);
        let mut budget = RetryBudget::new(self.policy);
        loop {
            if limiter_permit.is_none() {
                limiter_permit = Some(self.limiter.acquire(call).await);
            }
            self.limiter.wait().await;
            let others = self.successes();
            let again = request
                .try_clone()
                .ok_or_else(|| Error::Internal("a request that cannot be sent twice".into()))?;
            let failure = match self.attempt(call, again).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            if failure.status() == Some(429) && self.successes() > others {
                // Other calls succeed, so this one only has to wait.
                budget.reset();
            }
            let tries = budget.attempts() + 1;
            let wait = match failure.class_of_call(call) {
                RetryClass::Transient => permit.next_backoff(&mut budget, &failure),
                _ => None,
            };
            let Some(wait) = wait else { return Err(Error::Call { call, failure, tries }) };
            observer.retry(call, tries, &failure, wait);
            if failure.status() == Some(429) {
                // All calls wait. This one keeps its permit, and so its place in the order.
                self.limiter.pause_for(wait);
            } else {
                limiter_permit = None;
            }
            permit.back_off(wait, &failure).await;
        }
    }

    /// Converts a time of this machine's clock to the service's clock, both in milliseconds since 1970.
    pub fn to_service_clock(&self, local: i64) -> i64 {
        self.clock.to_service(local)
    }

    pub(super) async fn attempt(
        &self,
        call: Call,
        mut request: reqwest::Request,
    ) -> Result<ApiResponse, Failure> {
        if let Some(failure) = self.refused.get() {
            return Err(failure.clone());
        }
        *request.timeout_mut() = Some(if call == Call::Finalize { FINALIZE_TIMEOUT } else { CALL_TIMEOUT });
        let method = request.method().clone();
        let mut shown = request.url().clone();
        shown.set_query(None);
        let (begun, sent) = (Instant::now(), jiff::Timestamp::now());
        let result = match self.check_proxy().await {
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
            self.successes.fetch_add(1, Ordering::Relaxed);
            self.breaker(call).record_success();
            return Ok(ApiResponse { body, date });
        }
        let error = wire::parse_error(&body);
        // If it is not in the form of the API, a forwarding proxy sent it.
        let proxy = self.connector.proxy(&self.host).filter(|proxy| proxy.forwards(&self.host));
        if let Some(proxy) = proxy.filter(|_| error == wire::ApiError::default())
            && let Some(failure) = dial::refusal_by(proxy, status)
        {
            let _ = self.refused.set(failure.clone());
            return Err(failure);
        }
        let failure = Failure::Status {
            status,
            code: error.code.map(|code| http::sanitize(&self.redactor, &code)),
            message: error.message.map(|message| http::sanitize(&self.redactor, &message)),
            retry_after: http::retry_after(&headers).max(error.retry_after),
        };
        if status == 401 || failure.holds_for_all() {
            // All other calls would be refused as well.
            let _ = self.refused.set(failure.clone());
        }
        Err(failure)
    }

    /// Opens a connection through the proxy, if there is one, before reqwest does: reqwest does not report with which status a
    /// proxy refuses. Done once, and again after a failed connection.
    async fn check_proxy(&self) -> Result<(), Failure> {
        if self.proxy_accepted.load(Ordering::Relaxed) {
            return Ok(());
        }
        match self.connector.open(&self.host, |stream, _| Box::new(stream)).await {
            Ok(_) => self.proxy_accepted.store(true, Ordering::Relaxed),
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
                // Only while connecting, including timeouts. Later TLS failures may come from a middlebox after the
                // request was served.
                error if error.is_connect() => dial::kind_of(error),
                error if error.is_timeout() => Transport::Timeout,
                error if is_garbled(error) => Transport::Garbled,
                _ => Transport::Disconnected,
            };
            let failure =
                Failure::transport(kind, self.redactor.redact(&http::connection_error(&error.without_url())));
            match self.connector.proxy(&self.host) {
                Some(proxy) if kind != Transport::Timeout => {
                    self.proxy_accepted.store(false, Ordering::Relaxed);
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
