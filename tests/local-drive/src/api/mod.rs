//! The API of the drive: routing, authorization, errors, faults.
//!
//! The work of a call runs in its own task. Like a real service, the drive completes it even if the client
//! disconnects, which clients must expect after a timeout.

mod check;
mod items;
mod upload;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::body::{AnyBody, full};
use crate::drive::Shared;
use crate::fault::{Action, Op};
use crate::meter::meter;
use crate::net::{Conn, Lost};
use crate::query::Query;
use crate::record::RequestRecord;
use crate::response::{after_work, instead};

/// Base path of the API.
pub(crate) const BASE: &str = "/public/v1";

/// The longest accepted body. A finalize of 10,000 parts is below 1 MiB.
const MAX_BODY: usize = 8 * 1024 * 1024;

/// An error of the API.
#[derive(Debug)]
pub(crate) struct Refused {
    status: StatusCode,
    message: String,
}

impl Refused {
    fn bad_request(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message: message.into() }
    }

    fn not_found(message: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, message: message.into() }
    }

    fn forbidden(message: impl Into<String>) -> Self {
        Self { status: StatusCode::FORBIDDEN, message: message.into() }
    }
}

type ApiResult = Result<(StatusCode, Value), Refused>;

/// A received call.
struct Call {
    op: Op,
    /// The `{id}` in the path.
    id: String,
    query: Query,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// Handles a request to the API.
pub(crate) async fn handle(
    shared: Arc<Shared>,
    conn: Arc<Conn>,
    request: Request<Incoming>,
) -> Result<Response<AnyBody>, Lost> {
    let (head, body) = request.into_parts();
    let (op, id) = route(&head.method, head.uri.path());
    let path = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let entry = Arc::new(shared.recorder.begin(RequestRecord::new(op, &head, path)));
    let fault = shared.faults.draw(op, None);
    let action = fault.as_ref().map(|(_, action)| action);
    if action == Some(&Action::Reset) {
        return Err(conn.reset());
    }

    let (stream, outcome) =
        meter(body, fault.clone(), Arc::clone(&shared), Arc::clone(&conn), Arc::clone(&entry));
    let mut stream = std::pin::pin!(stream);
    let mut body = Vec::new();
    while let Some(Ok(chunk)) = stream.next().await {
        if body.len() <= MAX_BODY {
            body.extend_from_slice(&chunk);
        }
    }
    if outcome.is_lost() || outcome.has_timed_out() {
        return Err(Lost);
    }
    if let Ok(json) = serde_json::from_slice(&body) {
        entry.json(json);
    }

    let refusal = match action {
        Some(Action::ExpiredUrl) => Some(respond(Err(Refused::forbidden("Request has expired")))),
        Some(Action::NoSuchUpload) => Some(respond(Err(Refused::not_found("Upload not found")))),
        Some(action) => instead(action),
        None => None,
    };
    let response = match refusal {
        Some(response) => response,
        None => {
            let delay = match action {
                Some(Action::Delay(delay)) => *delay,
                _ => Duration::ZERO,
            } + shared.options.latency;
            let call = Call { op, id, query: Query::of(&head.uri), headers: head.headers, body };
            let (worker, worked) = (Arc::clone(&shared), entry.work());
            let work = tokio::spawn(async move {
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                let done = work(&worker, &call).await;
                worked();
                respond(done)
            });
            work.await.map_err(|_| Lost)?
        }
    };
    let mut response = after_work(response, fault.as_ref(), &shared, &conn).await?;
    if let Ok(date) = HeaderValue::from_str(&shared.clock.http_date()) {
        response.headers_mut().insert(DATE, date);
    }
    entry.responded(response.status().as_u16());
    Ok(response)
}

fn route(method: &Method, path: &str) -> (Op, String) {
    let path = path.strip_prefix(BASE).unwrap_or_default().trim_matches('/');
    let parts: Vec<&str> = path.split('/').collect();
    let op = match (method.as_str(), parts.as_slice()) {
        ("POST", ["drive", "files", "upload", "multipart", "start"]) => Op::Start,
        ("POST", ["drive", "files", "upload", "multipart", "presigned-urls"]) => Op::Urls,
        ("POST", ["drive", "files", "upload", "multipart", "finalize"]) => Op::Finalize,
        ("POST", ["drive", "folders"]) => Op::Folders,
        ("GET", ["drive", "tree"]) => Op::Tree,
        ("GET", ["drive", "search"]) => Op::Search,
        ("GET", ["drive", "files", id]) => return (Op::File, (*id).to_owned()),
        ("GET", ["drive", "files", id, "download"]) => return (Op::Download, (*id).to_owned()),
        ("GET", ["workspace", "info"]) => Op::Workspace,
        _ => Op::Other,
    };
    (op, String::new())
}

async fn work(shared: &Shared, call: &Call) -> ApiResult {
    authorize(shared, &call.headers)?;
    match call.op {
        Op::Start => upload::start(shared, &check::object(&call.body)?).await,
        Op::Urls => upload::urls(shared, &check::object(&call.body)?),
        Op::Finalize => upload::finalize(shared, &check::object(&call.body)?).await,
        Op::Folders => items::make_folder(shared, &check::object(&call.body)?),
        Op::Tree => items::tree(shared, &call.query),
        Op::Search => items::search(shared, &call.query),
        Op::File => items::file(shared, &call.id),
        Op::Download => items::download(shared, &call.id),
        Op::Workspace => Ok((
            StatusCode::OK,
            json!({ "_id": "5f2b8c9d1e4a3b0012c4d5e6", "name": "Local", "slug": "local", "plan": "free" }),
        )),
        _ => Err(Refused::not_found("Cannot find this route")),
    }
}

fn authorize(shared: &Shared, headers: &HeaderMap) -> Result<(), Refused> {
    let header = headers.get(AUTHORIZATION).and_then(|header| header.to_str().ok());
    match header.and_then(|header| header.strip_prefix("Bearer ")) {
        Some(token) if token == shared.token => Ok(()),
        Some(token) if token.starts_with("cp_key_") => {
            Err(Refused::forbidden("You are not allowed to access this resource with an integration key"))
        }
        _ => Err(Refused { status: StatusCode::UNAUTHORIZED, message: "Invalid or missing token".into() }),
    }
}

fn respond(result: ApiResult) -> Response<AnyBody> {
    let (status, json) = result.unwrap_or_else(|refused| {
        let reason = refused.status.canonical_reason().unwrap_or_default();
        let json =
            json!({ "statusCode": refused.status.as_u16(), "error": reason, "message": refused.message });
        (refused.status, json)
    });
    let mut response = Response::new(full(json.to_string()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
