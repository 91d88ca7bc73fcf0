//! The storage's front: as strict as Amazon where s3s is not, on the drive's clock, with the faults.
//!
//! What a request must not have is refused here; signature, routing and XML are s3s's, which gets the body's chunks
//! as they come. When the drive's clock differs from the machine's, on which s3s insists, the request is checked
//! here and signed anew for s3s.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use hyper::header::{
    AUTHORIZATION, CONTENT_LENGTH, DATE, HeaderName, HeaderValue, SERVER, TRANSFER_ENCODING,
};
use hyper::{HeaderMap, Method, Request, Response, Uri};
use jiff::Timestamp;

use crate::answer::{after_work, instead, replace_etag};
use crate::body::{AnyBody, AnyError, full, streamed};
use crate::clock::{parse_amz_date, rfc3339};
use crate::drive::Shared;
use crate::fault::{Action, Op};
use crate::meter::meter;
use crate::net::{Conn, Lost};
use crate::query::Query;
use crate::record::RequestRecord;
use crate::sigv4::Signer;
use crate::store::{MAX_PART, MAX_PARTS};
use crate::xml::{S3Error, completed, host_id, request_id};

/// One request to the storage.
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
    let entry = Arc::new(shared.recorder.begin(RequestRecord {
        op,
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        part,
        upload_id: upload_id.clone(),
        headers: head.headers.clone(),
        json: None,
        body_bytes: 0,
        status: None,
        start: Instant::now(),
        worked: None,
        end: None,
    }));

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

    // Of a part the fault is on its body, of an object on the answer's.
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
                resign(&mut head, &query, &shared);
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
    sign_off(&mut response, &shared);
    entry.answered(response.status().as_u16());
    if op != Op::GetObject || !response.status().is_success() {
        return Ok(response);
    }
    // What is streamed has no length of its own, and would go out in chunks, as nothing does on S3.
    if let Some(length) = response.body().size_hint().exact() {
        response.headers_mut().entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    }
    Ok(response.map(|body| streamed(meter(body, fault, shared, conn, entry).0)))
}

/// Headers that every answer of S3 has.
fn sign_off(response: &mut Response<AnyBody>, shared: &Shared) {
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

/// What Amazon refuses before it looks at the signature.
fn refuse(op: Op, headers: &HeaderMap, query: &Query, shared: &Shared) -> Option<S3Error> {
    let signed = query.get("X-Amz-Signature").is_some();
    if let Some(authorization) = headers.get(AUTHORIZATION).filter(|_| signed) {
        // Amazon echoes the value, which is what a client must not print.
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

/// Headers that change what S3 does and that the signature says nothing of.
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

/// Translates a request from the drive's clock to the machine's. A signature that is wrong stays wrong.
fn resign(head: &mut hyper::http::request::Parts, query: &Query, shared: &Shared) {
    let Some(date) = query.get("X-Amz-Date").and_then(parse_amz_date) else { return };
    let host = head.headers.get(hyper::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let endpoint = format!("http://{host}");
    let path = head.uri.path().to_owned();
    let method = head.method.as_str();
    let theirs = Signer::new(&endpoint, shared.credentials(), date);
    let expected = theirs.signature(method, &path, &canonical(query), host);
    let given = query.get("X-Amz-Signature").unwrap_or_default();
    let now = Timestamp::now();
    let ours = Signer::new(&endpoint, shared.credentials(), now);
    let moved = dated(query, &crate::clock::amz_date(now));
    let signature = if given == expected {
        ours.signature(method, &path, &canonical(&moved), host)
    } else {
        "0".repeat(64)
    };
    let query = format!("{}&X-Amz-Signature={signature}", canonical(&moved));
    if let Ok(uri) = Uri::try_from(format!("{path}?{query}")) {
        head.uri = uri;
    }
}

async fn call_s3s(
    shared: &Shared,
    request: Request<impl Stream<Item = Result<Bytes, AnyError>> + Send + 'static>,
) -> Result<Response<AnyBody>, Lost> {
    let Some(s3s) = &shared.s3s else {
        return Ok(S3Error::new(503, "ServiceUnavailable", "This drive stores elsewhere").into_response());
    };
    // s3s takes a body of unknown length for one that lacks its Content-Length.
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

/// The query with another date, also in the credential's scope.
fn dated(query: &Query, date: &str) -> Query {
    let day = date.get(..8).unwrap_or_default();
    let mut moved = query.clone();
    for (name, value) in &mut moved.pairs {
        match name.as_str() {
            "X-Amz-Date" => date.clone_into(value),
            "X-Amz-Credential" => {
                let mut fields: Vec<&str> = value.split('/').collect();
                if let Some(field) = fields.get_mut(1) {
                    *field = day;
                }
                *value = fields.join("/");
            }
            // Checked already, on the drive's clock.
            "X-Amz-Expires" => "604800".clone_into(value),
            _ => {}
        }
    }
    moved
}

/// The canonical query: encoded, sorted, without the signature.
fn canonical(query: &Query) -> String {
    let encode = |text: &str| crate::sigv4::encode(text, false);
    let pairs = query.pairs.iter().filter(|(name, _)| name != "X-Amz-Signature");
    let mut pairs: Vec<String> =
        pairs.map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    pairs.sort();
    pairs.join("&")
}
