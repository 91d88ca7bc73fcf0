//! The API calls of an upload: start, presigned URLs, finalize.

use hyper::StatusCode;
use rusty_s3::Method;
use serde_json::{Value, json};

use super::check::{self, Object};
use super::{ApiResult, Refused};
use crate::drive::Shared;
use crate::items::{FileInfo, Session, new_id};
use crate::options::{FinalizeRepeat, UrlShape};
use crate::store::{MAX_PARTS, Refusal};

pub(super) async fn start(shared: &Shared, body: &Object) -> ApiResult {
    let name = check::text(body, "fileName")?;
    let size = check::number(body, "fileSize")?;
    let mime = check::text(body, "mimeType")?;
    let parent = check::parent(shared, body)?;
    if shared.options.quota.is_some_and(|quota| shared.items.used().saturating_add(size) > quota) {
        return Err(Refused::forbidden("The workspace has no space left for this file"));
    }
    // The name is part of the key, so URLs need percent-encoding whenever the name does. It is not a segment of its
    // own, because URLs cannot have a segment `..`.
    let short: String = name.chars().filter(|character| !matches!(character, '/' | '\\')).take(32).collect();
    let key = format!("drive/{}-{short}", new_id(shared.clock.now()));
    let upload_id = shared.create_upload(&key).await.map_err(from_storage)?;
    let session = Session {
        key: key.clone(),
        name: name.to_owned(),
        size,
        mime: mime.to_owned(),
        parent,
        finalized: false,
    };
    shared.items.open_session(&upload_id, session);
    Ok((StatusCode::CREATED, json!({ "uploadId": upload_id, "fileKey": key })))
}

/// Signing does not involve S3, so this succeeds for aborted uploads too.
pub(super) fn urls(shared: &Shared, body: &Object) -> ApiResult {
    let (upload_id, session) = session(shared, body)?;
    let parts = check::number(body, "parts")?;
    let parts = u32::try_from(parts).ok().filter(|parts| (1..=MAX_PARTS).contains(parts));
    let parts = parts.ok_or_else(|| Refused::bad_request("parts must be 1 to 10000"))?;
    let signer = shared.signer();
    let mut urls: Vec<(u32, String)> = (1..=parts)
        .map(|number| {
            let part = number.to_string();
            let query = [("partNumber", part.as_str()), ("uploadId", upload_id), ("x-id", "UploadPart")];
            let lifetime = shared.options.url_lifetime;
            (number, signer.url(Method::Put, &session.key, &query, lifetime))
        })
        .collect();
    if shared.options.shuffle && shared.options.shape != UrlShape::Strings {
        fastrand::Rng::with_seed(shared.options.seed).shuffle(&mut urls);
    }
    let list = |entry: fn((u32, String)) -> Value| urls.into_iter().map(entry).collect::<Vec<Value>>();
    let reply = match shared.options.shape {
        UrlShape::Strings => json!({ "urls": list(|(_, url)| json!(url)) }),
        UrlShape::Objects => {
            json!({ "parts": list(|(number, url)| json!({ "signedUrl": url, "PartNumber": number })) })
        }
        UrlShape::UrlObjects => {
            json!({ "urls": list(|(number, url)| json!({ "url": url, "partNumber": number })) })
        }
    };
    Ok((StatusCode::CREATED, reply))
}

/// Like S3, this does not notice missing parts or a wrong total size.
pub(super) async fn finalize(shared: &Shared, body: &Object) -> ApiResult {
    let (upload_id, _) = session(shared, body)?;
    let parts = body.get("parts").and_then(Value::as_array);
    let parts = parts.ok_or_else(|| Refused::bad_request("parts must be an array"))?;
    let parts: Option<Vec<(u32, String)>> = parts.iter().map(listed_part).collect();
    let parts = parts.filter(|parts| !parts.is_empty());
    let parts = parts.ok_or_else(|| Refused::bad_request("parts must list partNumber and eTag"))?;

    let _one_at_a_time = shared.finalizing.lock().await;
    let (_, session) = self::session(shared, body)?;
    if session.finalized {
        if shared.options.finalize_repeat == FinalizeRepeat::Refuse {
            return Err(Refused::not_found("Upload not found"));
        }
    } else {
        shared.complete_upload(upload_id, &session.key, &parts).await.map_err(from_storage)?;
        shared.items.mark_finalized(upload_id);
    }
    let file = FileInfo { mime: session.mime, size: session.size, key: session.key };
    let item = shared.items.add(&session.name, session.parent, shared.clock.now(), Some(file));
    Ok((StatusCode::CREATED, item.json()))
}

fn listed_part(part: &Value) -> Option<(u32, String)> {
    let number = u32::try_from(part.get("partNumber")?.as_u64()?).ok()?;
    let etag = part.get("eTag")?.as_str()?.trim_matches('"');
    ((1..=MAX_PARTS).contains(&number) && !etag.is_empty()).then(|| (number, etag.to_owned()))
}

/// The session with this `uploadId` and `fileKey`.
fn session<'a>(shared: &Shared, body: &'a Object) -> Result<(&'a str, Session), Refused> {
    let upload_id = check::text(body, "uploadId")?;
    let key = check::text(body, "fileKey")?;
    let session = shared.items.session(upload_id).filter(|session| session.key == key);
    session.map(|session| (upload_id, session)).ok_or_else(|| Refused::not_found("Upload not found"))
}

/// The message begins with S3's error code, for tests.
fn from_storage(refusal: Refusal) -> Refused {
    match refusal {
        Refusal::NoSuchUpload => Refused::not_found("NoSuchUpload: the upload does not exist"),
        Refusal::InvalidPart => Refused::bad_request("InvalidPart: a part is missing or its eTag differs"),
        Refusal::InvalidPartOrder => {
            Refused::bad_request("InvalidPartOrder: parts must be in ascending order")
        }
        Refusal::EntityTooSmall { number, size } => {
            Refused::bad_request(format!("EntityTooSmall: part {number} has only {size} bytes"))
        }
        Refusal::MalformedXml => Refused::bad_request("MalformedXML: no parts are listed"),
        Refusal::NoSuchBucket => Refused {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            message: "NoSuchBucket: the bucket does not exist".into(),
        },
        Refusal::NoSuchKey => Refused::not_found("NoSuchKey: the object does not exist"),
        Refusal::Internal(message) => Refused { status: StatusCode::INTERNAL_SERVER_ERROR, message },
    }
}
