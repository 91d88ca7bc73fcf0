//! Handles storage requests: applies faults, makes the checks of Amazon S3 that s3s lacks, and calls s3s.
//!
//! s3s checks signatures with the machine's clock. If the drive's clock differs, the signature is checked here, and
//! the request is signed again for s3s.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use hyper::header::{
    AUTHORIZATION, CONTENT_LENGTH, DATE, HeaderName, HeaderValue, SERVER, TRANSFER_ENCODING,
};
use hyper::{HeaderMap, Method, Request, Response};
use jiff::Timestamp;

use crate::body::{AnyBody, AnyError, full, streamed};
use crate::clock::{parse_amz_date, rfc3339};
use crate::drive::Shared;
use crate::fault::{Action, Op};
use crate::meter::meter;
use crate::net::{Conn, Lost};
use crate::presign::Signer;
use crate::query::Query;
use crate::record::RequestRecord;
use crate::response::{after_work, instead, replace_etag};
use crate::store::{MAX_PART, MAX_PARTS};
use crate::xml::{S3Error, completed, host_id, request_id};

/// Handles a request to the storage.
pub(crate) async fn handle(
    shared: Arc<Shared>,
    conn: Arc<Conn>,
    request: Request<Incoming>,
) -> Result<Response<AnyBody>, Lost> {
    let (mut head, body) = request.into_parts();
    let query = Query::of(&head.uri);
    let part = query.get("partNumber").and_then(|number| number.parse().ok());
    let upload_id = query.get("uploadId").map(str::to_owned);
    let op = match head.method {
        Method::PUT if query.get("partNumber").is_some() => Op::PutPart,
        Method::GET | Method::HEAD => Op::GetObject,
        _ => Op::Other,
    };
    let record = RequestRecord::new(op, &head, head.uri.path().to_owned());
    let entry =
        Arc::new(shared.recorder.begin(RequestRecord { part, upload_id: upload_id.clone(), ..record }));

    let fault = shared.faults.draw(op, part);
    let refusal = match fault.as_ref().map(|(_, action)| action) {
        Some(Action::Reset) => return Err(conn.reset()),
        Some(Action::Delay(delay)) => {
            tokio::time::sleep(*delay).await;
            None
        }
        Some(Action::ExpiredUrl) => Some(expired(&query, shared.clock.now()).into_response()),
        Some(Action::NoSuchUpload) => {
            Some(S3Error::no_such_upload(upload_id.as_deref().unwrap_or_default()).into_response())
        }
        Some(action) => instead(action),
        None => None,
    };
    let refusal = match refusal {
        Some(response) => Some(response),
        None => refuse(op, &head.headers, &query, &shared).map(S3Error::into_response),
    };

    // On GET, the fault applies to the response body.
    let of_body = fault.clone().filter(|_| op != Op::GetObject);
    let (stream, outcome) = meter(body, of_body, Arc::clone(&shared), Arc::clone(&conn), Arc::clone(&entry));
    let response = match refusal {
        Some(response) => {
            if shared.options.drain_refused {
                let mut stream = std::pin::pin!(stream);
                while let Some(Ok(_)) = stream.next().await {}
            }
            response
        }
        None => {
            if shared.clock.is_shifted() && query.get("X-Amz-Signature").is_some() {
                let (bucket, credentials) = (&shared.bucket, &shared.credentials);
                let signer = Signer { bucket, credentials, date: Timestamp::now() };
                head.uri = signer.resign(&head, &query).unwrap_or(head.uri);
            }
            let worked = entry.work();
            let response = call_s3s(&shared, Request::from_parts(head, stream)).await?;
            worked();
            response
        }
    };
    if outcome.is_lost() {
        return Err(Lost);
    }
    let mut response = if outcome.has_timed_out() {
        S3Error::request_timeout().into_response()
    } else {
        after_work(response, fault.as_ref(), &shared, &conn).await?
    };
    match fault.as_ref().map(|(_, action)| action) {
        Some(Action::WrongEtag) => drop(replace_etag(&mut response)),
        Some(Action::Kms) => {
            if let Some(etag) = replace_etag(&mut response) {
                if let (Some(upload_id), Some(part)) = (upload_id, part) {
                    shared.rename_etag(&upload_id, part, &etag);
                }
                let kms = HeaderValue::from_static("aws:kms");
                response.headers_mut().insert(HeaderName::from_static("x-amz-server-side-encryption"), kms);
            }
        }
        _ => {}
    }
    add_headers(&mut response, &shared);
    entry.responded(response.status().as_u16());
    if op != Op::GetObject || !response.status().is_success() {
        return Ok(response);
    }
    // A stream of unknown length would be sent chunked, which S3 never does.
    if let Some(length) = response.body().size_hint().exact() {
        response.headers_mut().entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    }
    Ok(response.map(|body| streamed(meter(body, fault, shared, conn, entry).0)))
}

/// Adds the headers that every S3 response has.
fn add_headers(response: &mut Response<AnyBody>, shared: &Shared) {
    let texts = [
        ("x-amz-request-id", request_id()),
        ("x-amz-id-2", host_id()),
        (DATE.as_str(), shared.clock.http_date()),
    ];
    for (name, text) in texts {
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response.headers_mut().insert(SERVER, HeaderValue::from_static("AmazonS3"));
}

/// Refuses what Amazon refuses before it checks the signature.
fn refuse(op: Op, headers: &HeaderMap, query: &Query, shared: &Shared) -> Option<S3Error> {
    let signed = query.get("X-Amz-Signature").is_some();
    if let Some(authorization) = headers.get(AUTHORIZATION).filter(|_| signed) {
        // Amazon echoes the value. A client must not print it.
        let message = "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query \
                       string parameter or the Authorization header should be specified";
        let value = String::from_utf8_lossy(authorization.as_bytes()).into_owned();
        let error = S3Error::new(400, "InvalidArgument", message);
        return Some(error.with("ArgumentName", "Authorization").with("ArgumentValue", value));
    }
    if op == Op::PutPart
        && let Some(error) = refuse_part(headers, query)
    {
        return Some(error);
    }
    if !signed {
        return None;
    }
    if let Some(date) = query.get("X-Amz-Date").and_then(parse_amz_date) {
        let lifetime = query.get("X-Amz-Expires").and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
        let now = shared.clock.now();
        let end = date.as_second().saturating_add(lifetime);
        if now.as_second() > end || shared.was_revoked(date) {
            return Some(expired(query, now));
        }
    }
    let unsigned = unsigned_headers(headers, query.get("X-Amz-SignedHeaders").unwrap_or_default());
    if !unsigned.is_empty() {
        let message = "There were headers present in the request which were not signed";
        return Some(
            S3Error::new(403, "AccessDenied", message).with("HeadersNotSigned", unsigned.join(", ")),
        );
    }
    None
}

fn refuse_part(headers: &HeaderMap, query: &Query) -> Option<S3Error> {
    if headers.contains_key(TRANSFER_ENCODING) {
        let message = "A header you provided implies functionality that is not implemented";
        return Some(S3Error::new(501, "NotImplemented", message).with("Header", "Transfer-Encoding"));
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let Some(length) = length else {
        let message = "You must provide the Content-Length HTTP header.";
        return Some(S3Error::new(411, "MissingContentLength", message));
    };
    let number = query.get("partNumber").unwrap_or_default();
    if !number.parse().is_ok_and(|number: u32| (1..=MAX_PARTS).contains(&number)) {
        let message = "Part number must be an integer between 1 and 10000, inclusive";
        let error = S3Error::new(400, "InvalidArgument", message);
        return Some(error.with("ArgumentName", "partNumber").with("ArgumentValue", number));
    }
    (length > MAX_PART).then(|| {
        S3Error::new(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
            .with("ProposedSize", length.to_string())
            .with("MaxSizeAllowed", MAX_PART.to_string())
    })
}

/// Headers that affect S3 but are not covered by the signature.
fn unsigned_headers(headers: &HeaderMap, signed: &str) -> Vec<String> {
    let covers = |name: &str| signed.split(';').any(|signed| signed.eq_ignore_ascii_case(name));
    let names = headers.keys().map(HeaderName::as_str);
    names
        .filter(|name| name.starts_with("x-amz-") || *name == "content-md5")
        .filter(|name| !covers(name))
        .map(str::to_owned)
        .collect()
}

fn expired(query: &Query, now: Timestamp) -> S3Error {
    let lifetime = query.get("X-Amz-Expires").unwrap_or_default();
    let end = query.get("X-Amz-Date").and_then(parse_amz_date).unwrap_or(now);
    let end = end + Duration::from_secs(lifetime.parse::<u32>().unwrap_or(0).into());
    S3Error::new(403, "AccessDenied", "Request has expired")
        .with("X-Amz-Expires", lifetime)
        .with("Expires", rfc3339(end))
        .with("ServerTime", rfc3339(now))
}

async fn call_s3s(
    shared: &Shared,
    request: Request<impl Stream<Item = Result<Bytes, AnyError>> + Send + 'static>,
) -> Result<Response<AnyBody>, Lost> {
    let Some(s3s) = &shared.s3s else {
        return Ok(
            S3Error::new(503, "ServiceUnavailable", "This drive uses an external S3 server").into_response()
        );
    };
    // s3s refuses a body of unknown length without Content-Length.
    let empty = matches!(*request.method(), Method::GET | Method::HEAD | Method::DELETE);
    let request = request.map(|stream| {
        if empty {
            return s3s::Body::empty();
        }
        s3s::Body::http_body_unsync(StreamBody::new(stream.map(|chunk| chunk.map(Frame::data))))
    });
    let (mut head, body) = s3s.call(request).await.map_err(|_| Lost)?.into_parts();
    if head.status.is_client_error() || head.status.is_server_error() {
        let bytes = BodyExt::collect(body).await.map_err(|_| Lost)?.to_bytes();
        head.headers.remove(CONTENT_LENGTH);
        return Ok(Response::from_parts(head, full(completed(&String::from_utf8_lossy(&bytes)))));
    }
    Ok(Response::from_parts(head, body.boxed_unsync()))
}
