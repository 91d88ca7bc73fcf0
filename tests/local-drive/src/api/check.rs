//! Validates the parameters of API calls.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::Refused;
use crate::drive::Shared;
use crate::query::Query;

/// A JSON object.
pub(super) type Object = Map<String, Value>;

pub(super) fn object(body: &[u8]) -> Result<Object, Refused> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Refused::bad_request("body must be an object")),
        Err(error) => Err(Refused::bad_request(format!("body is not JSON: {error}"))),
    }
}

/// A non-empty string.
pub(super) fn text<'a>(object: &'a Object, name: &str) -> Result<&'a str, Refused> {
    let text = object.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    text.ok_or_else(|| Refused::bad_request(format!("{name} must be a non-empty string")))
}

pub(super) fn number(object: &Object, name: &str) -> Result<u64, Refused> {
    let number = object.get(name).and_then(Value::as_u64);
    number.ok_or_else(|| Refused::bad_request(format!("{name} must be a whole number, 0 or more")))
}

pub(super) fn id(id: &str, name: &str) -> Result<(), Refused> {
    if id.len() == 24 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(());
    }
    Err(Refused::bad_request(format!("{name} must be a 24-character hexadecimal id")))
}

/// The `parentId` of a body: an existing folder, or the root if it is missing. `null` is refused.
pub(super) fn parent(shared: &Shared, object: &Object) -> Result<Option<String>, Refused> {
    match object.get("parentId") {
        None => Ok(None),
        Some(Value::String(id)) => folder(shared, id).map(Some),
        Some(_) => Err(Refused::bad_request("parentId must be a 24-character hexadecimal id")),
    }
}

/// The ID of an existing folder.
pub(super) fn folder(shared: &Shared, folder: &str) -> Result<String, Refused> {
    id(folder, "parentId")?;
    let item = shared.items.get(folder).ok_or_else(|| Refused::not_found("Parent folder not found"))?;
    if item.file.is_some() {
        return Err(Refused::bad_request("parentId is not a folder"));
    }
    Ok(item.id)
}

/// A number in a range, or the default if it is missing.
pub(super) fn query_number(
    query: &Query,
    name: &str,
    range: RangeInclusive<u32>,
    default: u32,
) -> Result<u32, Refused> {
    let Some(text) = query.get(name) else { return Ok(default) };
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| Refused::bad_request(format!("{name} must be {} to {}", range.start(), range.end())))
}
