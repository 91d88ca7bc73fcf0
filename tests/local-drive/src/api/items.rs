//! API calls for folders, tree, search, and files.

use hyper::StatusCode;
use rusty_s3::Method;
use serde_json::{Value, json};

use super::check::{self, Object};
use super::{ApiResult, Refused};
use crate::drive::Shared;
use crate::items::Item;
use crate::query::Query;

/// Folders and files may have equal names.
pub(super) fn make_folder(shared: &Shared, body: &Object) -> ApiResult {
    let name = check::text(body, "name")?;
    let parent = check::parent(shared, body)?;
    Ok((StatusCode::CREATED, shared.items.add(name, parent, shared.clock.now(), None).json()))
}

pub(super) fn tree(shared: &Shared, query: &Query) -> ApiResult {
    let depth = check::query_number(query, "depth", 1..=10, 3)?;
    let parent = query.get("parentId").map(|id| check::folder(shared, id)).transpose()?;
    let tree = shared.items.tree(parent.as_deref(), depth, shared.options.page_limit);
    let reply = json!({
        "root": tree.root,
        "totalItems": tree.total,
        "truncated": tree.truncated,
        "nextParentIds": tree.next,
    });
    Ok((StatusCode::OK, reply))
}

pub(super) fn search(shared: &Shared, query: &Query) -> ApiResult {
    let text = query.get("q").filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| Refused::bad_request("q must be a non-empty string"))?;
    let limit = check::query_number(query, "limit", 1..=50, 20)?;
    let wanted = text.to_lowercase();
    let found: Vec<Value> = shared
        .items
        .all()
        .iter()
        .filter(|item| item.name.to_lowercase().contains(&wanted))
        .map(Item::json)
        .collect();
    let total = found.len();
    let hits: Vec<Value> = found.into_iter().take(usize::try_from(limit).unwrap_or(50)).collect();
    Ok((StatusCode::OK, json!({ "hits": hits, "totalHits": total, "query": text })))
}

pub(super) fn file(shared: &Shared, id: &str) -> ApiResult {
    check::id(id, "id")?;
    let item = shared.items.get(id).ok_or_else(|| Refused::not_found("File not found"))?;
    Ok((StatusCode::OK, item.json()))
}

pub(super) fn download(shared: &Shared, id: &str) -> ApiResult {
    check::id(id, "id")?;
    let file = shared.items.get(id).and_then(|item| item.file);
    let file = file.ok_or_else(|| Refused::not_found("File not found"))?;
    let query = [("x-id", "GetObject")];
    let url = shared.signer().url(Method::Get, &file.key, &query, shared.options.url_lifetime);
    Ok((StatusCode::OK, json!({ "url": url })))
}
