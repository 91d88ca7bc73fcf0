//! GETs of objects with their download URLs: one byte to learn an object's size and ETag, or the whole object.
//!
//! A signed GET accepts an unsigned `Range` header, and no other. HEAD would need a URL signed for it, so one byte is
//! the minimum.

use std::time::Instant;

use http_body_util::{BodyExt as _, Collected, Either, Empty, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderMap, RANGE};
use hyper::{Method, Uri};

use super::connect::Connection;
use super::pool::Wanted;
use super::put::{Storage, build_request, invalid_request, parse_url};
use super::response::{MAX_RESPONSE, etag_of, failure_of, is_encrypted};
use crate::dial::TransferError;
use crate::error::{Failure, Transport};
use crate::event::Event;
use crate::format::human_duration;
use crate::http::{header, is_web_page};
use crate::secret::SignedUrl;

/// What storage says about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Size in bytes.
    pub size: u64,
    /// The ETag without quotes. `None` if there is none, as for an empty object.
    pub etag: Option<String>,
    /// Encrypted with KMS or customer keys, so that the ETag says nothing about the content.
    pub encrypted: bool,
}

/// A response to a GET of an object.
struct Opened {
    status: u16,
    headers: HeaderMap,
    body: Incoming,
    connection: Connection,
}

impl Storage {
    /// Requests an object's first byte. The caller has to check the URL.
    /// Fails with [`TransferError::Failure`] for network and storage, [`TransferError::Error`] for an invalid URL.
    pub async fn object_info(&self, url: &SignedUrl) -> Result<ObjectInfo, TransferError> {
        let opened = match self.open_object(url, "bytes=0-0").await {
            Err(TransferError::Failure(failure)) if is_empty(&failure) => {
                return Ok(ObjectInfo { size: 0, etag: None, encrypted: false });
            }
            opened => opened?,
        };
        let Opened { status, headers, body, connection } = opened;
        // If the range was ignored, the whole object follows. The headers suffice.
        if status == 206 {
            let body = tokio::time::timeout(self.stall_timeout, Limited::new(body, MAX_RESPONSE).collect());
            if body.await.is_ok_and(|body| body.is_ok()) {
                self.connections.keep(connection);
            }
        }
        Ok(info(status, &headers)?)
    }

    /// Downloads an object of `size` bytes, starting at the byte `from`, and passes its bytes to `receive`. After a
    /// failure the next call can continue where this one ended. The caller has to check the URL.
    pub async fn download(
        &self,
        url: &SignedUrl,
        from: u64,
        size: u64,
        mut receive: impl FnMut(&[u8]) + Send,
    ) -> Result<(), TransferError> {
        let opened = self.open_object(url, &format!("bytes={from}-")).await?;
        let Opened { status, headers, mut body, connection } = opened;
        let expected = format!("bytes {from}-{}/{size}", size.saturating_sub(1));
        let is_whole = status == 200
            && from == 0
            && header(&headers, CONTENT_LENGTH.as_str()) == Some(&size.to_string());
        if !is_whole && (status != 206 || header(&headers, CONTENT_RANGE.as_str()) != Some(&expected)) {
            let detail = format!("storage answered {status} with another range than `{expected}`");
            return Err(Failure::Malformed { detail }.into());
        }
        let mut left = size - from;
        while left > 0 {
            let frame =
                tokio::time::timeout(self.stall_timeout, body.frame()).await.map_err(|_| self.timed_out())?;
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|error| self.transport_failure(&error))?;
            if let Some(bytes) = frame.data_ref() {
                // hyper passes on no more bytes than Content-Length says.
                left = left.saturating_sub(bytes.len() as u64);
                receive(bytes);
            }
        }
        if left > 0 {
            let detail = format!("storage ended {left} bytes before the end of the object");
            return Err(Failure::transport(Transport::Disconnected, detail).into());
        }
        self.connections.keep(connection);
        Ok(())
    }

    /// Requests a range of an object, and waits for the headers of the response.
    async fn open_object(&self, url: &SignedUrl, range: &str) -> Result<Opened, TransferError> {
        let uri = parse_url(url)?;
        let begun = Instant::now();
        let connection = self.connections.get(&uri, Wanted::Any).await?;
        let reused = connection.reused;
        let mut result = self.request_object(&uri, range, connection).await;
        // The peer may have closed an idle connection just before it was used.
        if reused && matches!(&result, Err(Failure::Transport { kind: Transport::Disconnected, .. })) {
            result = self.request_object(&uri, range, self.connections.get(&uri, Wanted::New).await?).await;
        }
        let status = match &result {
            Ok(opened) => Some(opened.status),
            Err(failure) => failure.status(),
        };
        let url = &url.redacted();
        self.reporter.event(&Event::Request { method: "GET", url, status, elapsed: begun.elapsed() });
        Ok(result?)
    }

    async fn request_object(
        &self,
        uri: &Uri,
        range: &str,
        mut connection: Connection,
    ) -> Result<Opened, Failure> {
        let request = build_request(Method::GET, uri, connection.forward_proxy.as_deref())
            .header(RANGE, range)
            .body(Either::Right(Empty::new()))
            .map_err(|error| invalid_request(&error))?;
        let response =
            tokio::time::timeout(self.stall_timeout, connection.sender.send_request(request)).await;
        let response =
            response.map_err(|_| self.timed_out())?.map_err(|error| self.transport_failure(&error))?;
        let (head, body) = response.into_parts();
        let (status, headers) = (head.status.as_u16(), head.headers);
        if matches!(status, 200 | 206) {
            check_source(status, &headers)?;
            return Ok(Opened { status, headers, body, connection });
        }
        // A truncated error document is better than none.
        let body = tokio::time::timeout(self.stall_timeout, Limited::new(body, MAX_RESPONSE).collect()).await;
        let text = body.map_err(|_| self.timed_out())?.map(Collected::to_bytes).unwrap_or_default();
        Err(failure_of(&self.redactor, connection.forward_proxy.as_deref(), status, &headers, &text))
    }

    fn timed_out(&self) -> Failure {
        let within = human_duration(self.stall_timeout);
        Failure::transport(Transport::Timeout, format!("storage sent nothing for {within}"))
    }
}

/// Whether the object has no first byte: it is empty. A 416 from anything but S3 says nothing about the object.
fn is_empty(failure: &Failure) -> bool {
    matches!(failure, Failure::Status { status: 416, code: Some(code), .. } if code == "InvalidRange")
}

/// Checks that the response is from storage. A gateway that blocks downloads answers with a page of its own, often with
/// status 200 and an ETag of its own. S3 gives every response a request ID, and objects an ETag of 32 digits.
fn check_source(status: u16, headers: &HeaderMap) -> Result<(), Failure> {
    let is_page = is_web_page(headers, &[]);
    let has_s3_etag = etag_of(headers).is_some_and(|etag| {
        let digits = etag.split('-').next().unwrap_or_default();
        digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    });
    if has_s3_etag || !is_page && headers.contains_key("x-amz-request-id") {
        return Ok(());
    }
    Err(match is_page {
        true => Failure::WebPage,
        false => {
            Failure::Malformed { detail: format!("a {status} that is not from S3 (no x-amz-request-id)") }
        }
    })
}

fn info(status: u16, headers: &HeaderMap) -> Result<ObjectInfo, Failure> {
    let number = |text: &str| text.trim().parse().ok();
    let size = match status {
        206 => header(headers, CONTENT_RANGE.as_str())
            .and_then(|range| range.trim().strip_prefix("bytes")?.rsplit_once('/'))
            .and_then(|(_, size)| number(size)),
        _ => header(headers, CONTENT_LENGTH.as_str()).and_then(number),
    };
    let size = size.ok_or_else(|| Failure::Malformed {
        detail: format!("storage answered {status} without the size of the object"),
    })?;
    Ok(ObjectInfo { size, etag: etag_of(headers), encrypted: is_encrypted(headers) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn the_size_is_read_from_the_range_or_the_length() {
        let size = |status, pairs: &[(&'static str, &'static str)]| {
            info(status, &headers(pairs)).map(|info| info.size).ok()
        };
        assert_eq!(size(206, &[("content-range", "bytes 0-0/123"), ("content-length", "1")]), Some(123));
        assert_eq!(size(206, &[("content-range", "bytes 0-0/*")]), None);
        assert_eq!(size(206, &[("content-range", "pages 0-0/7")]), None);
        assert_eq!(size(206, &[("content-length", "1")]), None, "the length of the range");
        assert_eq!(size(200, &[("content-length", "9")]), Some(9));
        assert_eq!(size(200, &[]), None);
    }

    #[test]
    fn only_storage_says_that_an_object_is_empty() {
        let status = |status, code: Option<&str>| Failure::Status {
            status,
            code: code.map(str::to_owned),
            message: None,
            retry_after: None,
        };
        assert!(is_empty(&status(416, Some("InvalidRange"))));
        assert!(!is_empty(&status(416, None)));
        assert!(!is_empty(&status(400, Some("InvalidRange"))));
    }

    #[test]
    fn a_page_of_a_gateway_is_not_the_object() {
        let (html, id) =
            (("content-type", "text/html; charset=utf-8"), ("x-amz-request-id", "4442587FB7D0A2F9"));
        let etag = ("etag", "\"5f0c8f1a-39\"");
        let check = |status, pairs: &[(&'static str, &'static str)]| check_source(status, &headers(pairs));
        assert!(matches!(check(200, &[html, etag, ("content-length", "11")]), Err(Failure::WebPage)));
        assert!(matches!(check(206, &[html]), Err(Failure::WebPage)));
        assert!(matches!(
            check(206, &[etag, ("content-range", "bytes 0-0/1")]),
            Err(Failure::Malformed { .. })
        ));
        let s3_etag = ("etag", "\"62109206880d38a4010a98e11243924a-2\"");
        assert!(check(200, &[html, s3_etag]).is_ok(), "a page that was uploaded");
        assert!(check(206, &[id, ("content-range", "bytes 0-0/1")]).is_ok());
    }

    #[test]
    fn encryption_is_read_from_the_headers() {
        let range = ("content-range", "bytes 0-0/1");
        let read = |pairs: &[(&'static str, &'static str)]| info(206, &headers(pairs)).unwrap();
        let plain = read(&[range, ("etag", "\"a-1\""), ("x-amz-server-side-encryption", "AES256")]);
        assert_eq!(plain, ObjectInfo { size: 1, etag: Some("a-1".into()), encrypted: false });
        for (name, value) in [
            ("x-amz-server-side-encryption", "aws:kms"),
            ("x-amz-server-side-encryption", "aws:kms:dsse"),
            ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        ] {
            assert!(read(&[range, (name, value)]).encrypted, "{value}");
        }
    }
}
