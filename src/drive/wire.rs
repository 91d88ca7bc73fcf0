//! The JSON of the API, in every known form. Any bytes yield a value or an error.

use std::borrow::Cow;
use std::time::Duration;

use crate::etag::Etag;
use crate::item::Node;
use crate::secret::SignedUrl;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// Limit on the items of a tree response.
const TREE_ITEMS: usize = 500;

/// `GET /drive/tree`. Items are kept as text; parse them with [`Node::read`] or [`Item::new`](crate::item::Item::new).
#[derive(Debug)]
pub struct Tree {
    /// The folder's items.
    pub root: Vec<Box<RawValue>>,
    /// The list may be incomplete: the service has more items, does not say whether it has, or lists one whose ID, name or
    /// type cannot be read.
    pub truncated: bool,
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Fields {
            root: Vec<Box<RawValue>>,
            truncated: Option<bool>,
        }
        let Fields { root, truncated } = Fields::deserialize(deserializer)?;
        let readable = are_readable(&root)?;
        Ok(Self { truncated: truncated.unwrap_or(root.len() >= TREE_ITEMS) || !readable, root })
    }
}

/// `GET /drive/search`.
#[derive(Debug)]
pub struct Hits {
    pub hits: Vec<Box<RawValue>>,
    /// The list is complete: the service has no more hits, and all of these can be read.
    pub complete: bool,
}

impl<'de> Deserialize<'de> for Hits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Fields {
            hits: Vec<Box<RawValue>>,
            #[serde(rename = "totalHits")]
            total: Option<u64>,
        }
        let Fields { hits, total } = Fields::deserialize(deserializer)?;
        let readable = are_readable(&hits)?;
        Ok(Self { complete: readable && total.is_some_and(|total| total <= hits.len() as u64), hits })
    }
}

/// Whether all entries of a listing can be read. An entry that is no object makes the response malformed.
fn are_readable<E: serde::de::Error>(entries: &[Box<RawValue>]) -> Result<bool, E> {
    if entries.iter().any(|entry| !entry.get().starts_with('{')) {
        return Err(E::custom("an entry that is no drive item"));
    }
    Ok(entries.iter().all(|entry| Node::read(entry).is_readable()))
}

/// `GET /drive/files/{id}/download`.
#[derive(Debug, Deserialize)]
pub struct Download {
    /// The signed URL, a secret.
    #[serde(deserialize_with = "signed_url")]
    pub url: SignedUrl,
}

fn signed_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SignedUrl, D::Error> {
    // serde's own message would quote the value.
    let value = Value::deserialize(deserializer)?;
    let url = value.as_str().filter(|url| !url.is_empty());
    url.map(|url| SignedUrl::new(url.to_owned())).ok_or_else(|| serde::de::Error::custom("`url` is no URL"))
}

/// Parses the JSON object of a successful response.
/// The error says what is wrong with it, and the service's own message, because some answer 200 with an error.
pub fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    check_is_object(body)?;
    serde_json::from_slice(body).map_err(|error| with_message(error.to_string(), body))
}

/// serde would read an array as the fields in order.
fn check_is_object(body: &[u8]) -> Result<(), String> {
    match body.trim_ascii_start().first() {
        Some(b'{') => Ok(()),
        _ => Err("no JSON object".to_owned()),
    }
}

/// Adds the message of a body that is not what was expected, if it has one.
fn with_message(what: String, body: &[u8]) -> String {
    match parse_error(body).message {
        Some(message) => format!("{what}; it says: {message}"),
        None => what,
    }
}

/// `POST /drive/folders`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewFolder<'a> {
    pub name: &'a str,
    /// The parent; omitted for the drive's root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<&'a str>,
}

/// `GET /workspace/info`.
#[derive(Debug, Deserialize)]
pub struct Workspace {
    /// Its name in URLs.
    pub slug: String,
}

/// `POST …/multipart/start`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Start<'a> {
    /// The name in the drive.
    pub file_name: &'a str,
    /// Size in bytes.
    pub file_size: u64,
    pub mime_type: &'a str,
    /// The parent; omitted for the drive's root, because the service rejects `null`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<&'a str>,
}

/// Names a multipart upload: the response of start, and part of all later requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Upload {
    /// S3's upload ID.
    pub upload_id: String,
    /// The object's key.
    pub file_key: String,
}

/// `POST …/multipart/presigned-urls`.
#[derive(Debug, Serialize)]
pub struct SignUrls<'a> {
    #[serde(flatten)]
    pub upload: &'a Upload,
    /// Their number.
    pub parts: u32,
}

/// `POST …/multipart/finalize`.
#[derive(Debug, Serialize)]
pub struct Finalize<'a> {
    #[serde(flatten)]
    pub upload: &'a Upload,
    /// All parts, in ascending order.
    pub parts: Vec<FinishedPart<'a>>,
}

/// One part of [`Finalize`].
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FinishedPart<'a> {
    /// From 1.
    pub part_number: u32,
    /// Without quotes, as the official client sends it.
    pub e_tag: &'a Etag,
}

const UNKNOWN_FORM: &str = "the form of its signed URLs is not known";

/// One signed URL in a response: a string, or an object with either set of field names.
#[derive(Deserialize)]
#[serde(untagged)]
enum Signed<'a> {
    Url(#[serde(borrow)] Text<'a>),
    #[serde(rename_all = "camelCase")]
    Object {
        #[serde(borrow)]
        signed_url: Option<Text<'a>>,
        #[serde(borrow)]
        url: Option<Text<'a>>,
        #[serde(rename = "PartNumber")]
        number: Option<u64>,
        part_number: Option<u64>,
    },
}

/// A string, borrowed if possible (a plain `Cow` never is).
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Parses the signed URLs of parts 1 to `count`, in any known form and any order. Returns them in the order of the
/// parts.
/// Fails if the form is unknown, or a part is missing, duplicate or unexpected. Contains no URL, except in a message of
/// the service.
pub fn parse_urls(body: &[u8], count: u32) -> Result<Vec<Cow<'_, str>>, String> {
    #[derive(Deserialize)]
    struct Fields<'a> {
        #[serde(borrow)]
        parts: Option<Vec<Signed<'a>>>,
        #[serde(borrow)]
        urls: Option<Vec<Signed<'a>>>,
    }
    check_is_object(body)?;
    // serde's message may quote a value, which is a secret here. Its category and position are enough.
    let answer: Fields<'_> = serde_json::from_slice(body).map_err(|error| {
        let what = match error.classify() {
            serde_json::error::Category::Eof => "it ends too early",
            serde_json::error::Category::Syntax | serde_json::error::Category::Io => "it is not JSON",
            serde_json::error::Category::Data => UNKNOWN_FORM,
        };
        with_message(format!("{what} (line {}, column {})", error.line(), error.column()), body)
    })?;
    let list = answer
        .parts
        .or(answer.urls)
        .ok_or_else(|| with_message("it has neither `parts` nor `urls`".to_owned(), body))?;
    let mut urls: Vec<Option<Cow<'_, str>>> = vec![None; count as usize];
    for (position, signed) in (1..).zip(list) {
        // An object without a number or a URL is an error: its position would be a guess.
        let (number, url) = match signed {
            Signed::Url(url) => (Some(position), Some(url)),
            Signed::Object { signed_url, url, number, part_number } => {
                (number.or(part_number), signed_url.or(url))
            }
        };
        let (Some(number), Some(Text(url))) = (number, url) else {
            return Err(with_message(format!("{UNKNOWN_FORM} (entry {position})"), body));
        };
        let place =
            number.checked_sub(1).and_then(|at| usize::try_from(at).ok()).and_then(|at| urls.get_mut(at));
        match place {
            None => return Err(format!("it has a URL for part {number}, and the file has {count}")),
            Some(Some(_)) => return Err(format!("it has two URLs for part {number}")),
            Some(_) if url.is_empty() => return Err(format!("the URL for part {number} is empty")),
            Some(place) => *place = Some(url),
        }
    }
    urls.into_iter()
        .enumerate()
        .map(|(at, url)| url.ok_or_else(|| format!("it has no URL for part {} of {count}", at + 1)))
        .collect()
}

/// The body of an API error.
#[derive(Debug, Default, PartialEq)]
pub struct ApiError {
    /// A code for programs.
    pub code: Option<String>,
    /// A message for people.
    pub message: Option<String>,
    /// `retryAfter`, in seconds.
    pub retry_after: Option<Duration>,
}

/// Parses any error body: `{"statusCode","error","message"}` (guide; also with a list of messages), the older
/// `{"code","error"}`, and `{"message"}` (official CLI). HTML or nothing yields nothing; the status has to suffice.
pub fn parse_error(body: &[u8]) -> ApiError {
    let Ok(Value::Object(fields)) = serde_json::from_slice(body) else { return ApiError::default() };
    let text = |name: &str| match fields.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Array(list) => {
            let lines: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
            Some(lines.join("; "))
        }
        Value::Object(inner) => inner.get("message")?.as_str().map(str::to_owned),
        _ => None,
    };
    let text = |name: &str| text(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let code = text("code");
    let seconds = match fields.get("retryAfter") {
        Some(Value::String(text)) => text.parse().ok(),
        Some(number) => number.as_f64(),
        None => None,
    };
    ApiError {
        message: text("message").or_else(|| text("error")),
        code,
        retry_after: seconds
            .filter(|seconds| seconds.is_finite() && *seconds >= 0.0)
            .map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)),
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
