//! The JSON that goes over the API's wire, in every shape that it is known to have. Nothing here trusts the
//! other side: any bytes give a value or an error.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::etag::Etag;
use crate::item::{Node, text_or_none};
use crate::secret::SignedUrl;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// A tree's answer holds at most this many items.
const TREE_ITEMS: usize = 500;

/// `GET /drive/tree`. The items as text: whoever wants to know more of one asks [`Node::read`] or [`Item::new`].
#[derive(Debug)]
pub struct Tree {
    /// The folder's items.
    pub root: Vec<Box<RawValue>>,
    /// Not finding an item here proves nothing: the service says that there are more, leaves open whether there are,
    /// or lists one whose id, name or type cannot be read.
    pub truncated: bool,
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Answer {
            root: Vec<Box<RawValue>>,
            truncated: Option<bool>,
        }
        let Answer { root, truncated } = Answer::deserialize(deserializer)?;
        let readable = are_readable(&root)?;
        Ok(Self { truncated: truncated.unwrap_or(root.len() >= TREE_ITEMS) || !readable, root })
    }
}

/// `GET /drive/search`.
#[derive(Debug)]
pub struct Hits {
    /// What was found.
    pub hits: Vec<Box<RawValue>>,
    /// Whether not finding an item here proves that there is none: the service has no more hits, and each of these
    /// can be read.
    pub complete: bool,
}

impl<'de> Deserialize<'de> for Hits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Answer {
            hits: Vec<Box<RawValue>>,
            #[serde(rename = "totalHits")]
            total: Option<u64>,
        }
        let Answer { hits, total } = Answer::deserialize(deserializer)?;
        let readable = are_readable(&hits)?;
        Ok(Self { complete: readable && total.is_some_and(|total| total <= hits.len() as u64), hits })
    }
}

/// Whether all entries of a listing can be read; one that is not even an object makes the answer malformed.
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
    // serde's own message would quote what is there instead of a string.
    let url = text_or_none(deserializer)?.filter(|url| !url.is_empty());
    url.map(SignedUrl::new).ok_or_else(|| serde::de::Error::custom("`url` is no URL"))
}

/// Reads the JSON object of a success.
///
/// # Errors
/// What is wrong with it, and what the service says for itself: some answer 200 with an error.
pub fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    // serde would read a list as the fields in their order.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err("no JSON object".to_owned());
    }
    serde_json::from_slice(body).map_err(|error| match parse_error(body).message {
        Some(message) => format!("{error}; it says: {message}"),
        None => error.to_string(),
    })
}

/// `POST /drive/folders`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewFolder<'a> {
    /// Its name.
    pub name: &'a str,
    /// The folder that it is made in; left out for the drive's root.
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
    /// Bytes.
    pub file_size: u64,
    /// The type.
    pub mime_type: &'a str,
    /// The folder; left out for the drive's root, since `null` is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<&'a str>,
}

/// Names an upload under way: the start call's answer, and part of every later request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Upload {
    /// S3's name for it.
    pub upload_id: String,
    /// The object's key.
    pub file_key: String,
}

/// `POST …/multipart/presigned-urls`.
#[derive(Debug, Serialize)]
pub struct SignUrls<'a> {
    /// Which upload.
    #[serde(flatten)]
    pub upload: &'a Upload,
    /// How many: a count.
    pub parts: u32,
}

/// `POST …/multipart/finalize`.
#[derive(Debug, Serialize)]
pub struct Finalize<'a> {
    /// Which upload.
    #[serde(flatten)]
    pub upload: &'a Upload,
    /// All parts, ascending.
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

/// One signed URL in an answer: a string, or an object under either set of field names.
struct Signed<'a> {
    number: Option<u64>,
    url: Cow<'a, str>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Signed<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Signed<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a signed URL")
            }

            fn visit_borrowed_str<E>(self, url: &'de str) -> Result<Self::Value, E> {
                Ok(Signed { number: None, url: Cow::Borrowed(url) })
            }

            fn visit_str<E>(self, url: &str) -> Result<Self::Value, E> {
                Ok(Signed { number: None, url: Cow::Owned(url.to_owned()) })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                #[derive(Deserialize)]
                enum Field {
                    #[serde(rename = "signedUrl", alias = "url")]
                    Url,
                    #[serde(rename = "PartNumber", alias = "partNumber")]
                    Number,
                    #[serde(other)]
                    Other,
                }
                let (mut number, mut url) = (None, None);
                while let Some(field) = map.next_key::<Field>()? {
                    match field {
                        Field::Url => url = Some(map.next_value::<Text<'de>>()?.0),
                        Field::Number => number = Some(map.next_value()?),
                        Field::Other => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                let url = url.ok_or_else(|| serde::de::Error::missing_field("signedUrl"))?;
                // In an object the number is what counts; position would be a guess.
                let number = number.ok_or_else(|| serde::de::Error::missing_field("PartNumber"))?;
                Ok(Signed { number: Some(number), url })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A string that is borrowed where it can be (a plain `Cow` never is).
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads the signed URLs of parts 1 to `count`, in any of the known shapes and any order; the result is in
/// the parts' order.
///
/// # Errors
/// What is wrong: no JSON of a known shape, or a part that is missing, doubled or surplus. Never a URL's text.
pub fn parse_urls(body: &[u8], count: u32) -> Result<Vec<Cow<'_, str>>, String> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        parts: Option<Vec<Signed<'a>>>,
        #[serde(borrow)]
        urls: Option<Vec<Signed<'a>>>,
    }
    // serde would read a list as the fields in their order.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err("not one of the known shapes (a list)".to_owned());
    }
    // serde's message may quote a value, and a value here is a secret: its class and place are enough.
    let answer: Answer<'_> = serde_json::from_slice(body).map_err(|error| {
        format!(
            "not one of the known shapes ({:?} error at line {}, column {})",
            error.classify(),
            error.line(),
            error.column()
        )
    })?;
    let list = answer.parts.or(answer.urls).ok_or("it has neither `parts` nor `urls`")?;
    let mut urls: Vec<Option<Cow<'_, str>>> = vec![None; count as usize];
    for (position, Signed { number, url }) in list.into_iter().enumerate() {
        let number = number.unwrap_or(position as u64 + 1);
        let place =
            number.checked_sub(1).and_then(|at| usize::try_from(at).ok()).and_then(|at| urls.get_mut(at));
        match place {
            None => return Err(format!("there is one for part {number}, and the file has {count}")),
            Some(Some(_)) => return Err(format!("there are two for part {number}")),
            Some(_) if url.is_empty() => return Err(format!("the one for part {number} is empty")),
            Some(place) => *place = Some(url),
        }
    }
    urls.into_iter()
        .enumerate()
        .map(|(at, url)| url.ok_or_else(|| format!("there is none for part {} of {count}", at + 1)))
        .collect()
}

/// What an API error's body says.
#[derive(Debug, Default, PartialEq)]
pub struct ApiError {
    /// A word for programs, where there is one.
    pub code: Option<String>,
    /// A sentence for people.
    pub message: Option<String>,
    /// When to come back (`retryAfter`, seconds).
    pub retry_after: Option<Duration>,
}

/// Reads any error body: `{"statusCode","error","message"}` (guide; a list of messages too), the older
/// `{"code","error"}` and `{"message"}` (cli). HTML or nothing gives nothing: the status must be enough.
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
