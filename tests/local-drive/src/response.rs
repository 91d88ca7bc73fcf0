//! Responses of both servers, and how faults replace or change them.

use std::str::FromStr as _;
use std::sync::Arc;

use hyper::header::{ETAG, HeaderName, HeaderValue, LOCATION};
use hyper::{Response, StatusCode};

use crate::body::{AnyBody, endless, full, truncated};
use crate::drive::Shared;
use crate::fault::{Action, FaultId};
use crate::net::{Conn, Lost};
use crate::part::random_etag;
use crate::xml::S3Error;

/// A response with this status, headers and body.
pub(crate) fn plain(code: u16, headers: &[(String, String)], body: &str) -> Response<AnyBody> {
    let mut response = Response::new(full(body.to_owned()));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::from_str(name), HeaderValue::from_str(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// The response of a fault that replaces the work. `None` if the work is to be done.
///
/// The callers handle the two faults whose responses differ between the API and S3.
pub(crate) fn instead(action: &Action) -> Option<Response<AnyBody>> {
    match action {
        Action::Status { code, headers, body } => Some(plain(*code, headers, body)),
        Action::S3Error { status, code, message } => {
            Some(S3Error::new(*status, code, message).into_response())
        }
        Action::Redirect { to } => {
            let mut response = plain(307, &[], "");
            if let Ok(to) = HeaderValue::from_str(to) {
                response.headers_mut().insert(LOCATION, to);
            }
            Some(response)
        }
        _ => None,
    }
}

/// Applies a fault after the work is done.
pub(crate) async fn after_work(
    response: Response<AnyBody>,
    fault: Option<&(FaultId, Action)>,
    shared: &Arc<Shared>,
    conn: &Arc<Conn>,
) -> Result<Response<AnyBody>, Lost> {
    let Some((id, action)) = fault else { return Ok(response) };
    match action {
        Action::CloseAfterWork => Err(Lost),
        Action::ResetAfterWork => Err(conn.reset()),
        Action::StatusAfterWork { code, headers, body } => Ok(plain(*code, headers, body)),
        Action::HangAfterBody => {
            tokio::select! {
                () = shared.faults.until_cleared(*id) => Ok(response),
                () = conn.closed() => Err(Lost),
            }
        }
        Action::TruncateResponse => Ok(truncated(response).await),
        Action::EndlessBody => Ok(endless(response)),
        _ => Ok(response),
    }
}

/// Replaces the ETag of a successful PUT or GET, and returns the new one.
pub(crate) fn replace_etag(response: &mut Response<AnyBody>) -> Option<String> {
    if !response.status().is_success() {
        return None;
    }
    let etag = random_etag();
    let value = HeaderValue::from_str(&format!("\"{etag}\"")).ok()?;
    response.headers_mut().insert(ETAG, value);
    Some(etag)
}
