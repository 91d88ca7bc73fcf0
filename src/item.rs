//! Items of the drive.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use unicode_normalization::UnicodeNormalization as _;

/// An item exactly as the service sent it.
#[derive(Debug, Clone)]
pub struct Item {
    raw: Box<RawValue>,
    id: String,
}

impl Item {
    /// Reads the ID (`_id` on the real service, `id` in the types of the SDK) and keeps the text. `None` without an ID.
    pub fn new(raw: Box<RawValue>) -> Option<Self> {
        // serde would accept a list of the fields in their order.
        if !raw.get().starts_with('{') {
            return None;
        }
        let node: Node = serde_json::from_str(raw.get()).ok()?;
        let id = node.id()?.to_owned();
        Some(Self { raw, id })
    }

    /// The ID.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The JSON without white space between tokens.
    pub fn compact(&self) -> Box<RawValue> {
        // Without this white space, it is as valid as before.
        RawValue::from_string(relayout(self.raw.get(), false)).unwrap_or_else(|_| self.raw.clone())
    }

    /// The JSON with a line for each value.
    pub fn indented(&self) -> String {
        relayout(self.raw.get(), true)
    }
}

/// Changes only the white space between the tokens of valid JSON. Numbers keep their digits, and objects keep the order of
/// their keys, including duplicates.
fn relayout(json: &str, indented: bool) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    let break_line = |out: &mut String, depth: usize| {
        if indented {
            out.push('\n');
            out.extend(std::iter::repeat_n("  ", depth));
        }
    };
    for c in json.chars() {
        if in_string {
            out.push(c);
            in_string = c != '"' || escaped;
            escaped = c == '\\' && !escaped;
            continue;
        }
        if c.is_ascii_whitespace() {
            continue;
        }
        if matches!(c, '}' | ']') {
            depth = depth.saturating_sub(1);
        }
        // Nothing stands between the brackets of an empty value.
        let opened = out.ends_with(['{', '[']);
        if opened != matches!(c, '}' | ']') {
            break_line(&mut out, depth);
        }
        out.push(c);
        match c {
            '{' | '[' => depth += 1,
            ',' => break_line(&mut out, depth),
            ':' if indented => out.push(' '),
            '"' => in_string = true,
            _ => {}
        }
    }
    out
}

/// The fields of an item. A field of an unexpected type counts as missing, so that one odd item does not make a listing
/// unusable.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Node(Map<String, Value>);

impl Node {
    /// Reads an entry of a listing. All fields are missing if it is not an item.
    pub fn read(raw: &RawValue) -> Self {
        serde_json::from_str(raw.get()).unwrap_or_default()
    }

    fn text(&self, field: &str) -> Option<&str> {
        self.0.get(field)?.as_str()
    }

    /// The name.
    pub fn name(&self) -> Option<&str> {
        self.text("name")
    }

    /// Whether it is a folder.
    pub fn is_folder(&self) -> bool {
        self.text("type") == Some("folder")
    }

    /// Whether it has this name, regardless of Unicode normalization.
    pub fn is_named(&self, name: &str) -> bool {
        self.name().is_some_and(|own| own.nfc().eq(name.nfc()))
    }

    /// `_id`, otherwise `id`.
    pub fn id(&self) -> Option<&str> {
        self.text("_id").or(self.text("id")).filter(|id| !id.is_empty())
    }

    /// `size` (CLI), otherwise `fileSize` (SDK), in bytes.
    pub fn size(&self) -> Option<u64> {
        ["size", "fileSize"].iter().find_map(|field| self.0.get(*field)?.as_u64())
    }

    /// `parent` (CLI), otherwise `parentId` (SDK), or its `_id` if it is an object. `None` is the root of the drive. An
    /// invalid parent is the empty string, which is no folder's ID.
    pub fn parent(&self) -> Option<&str> {
        let given =
            || ["parent", "parentId"].iter().filter_map(|field| self.0.get(*field)).filter(|p| !p.is_null());
        let readable = given().find_map(|parent| {
            parent.as_str().or_else(|| parent.get("_id")?.as_str()).or_else(|| parent.get("id")?.as_str())
        });
        readable.or_else(|| given().next().map(|_| ""))
    }

    /// Whether ID, name, kind and parent are known. Otherwise it could be any item.
    pub fn is_readable(&self) -> bool {
        self.id().is_some()
            && self.name().is_some()
            && self.text("type").is_some()
            && self.parent() != Some("")
    }

    /// When it was created, in milliseconds since 1970.
    pub fn created_ms(&self) -> Option<i64> {
        self.text("createdAt")?.parse::<jiff::Timestamp>().ok().map(|at| at.as_millisecond())
    }
}

/// Whether a text has the form of an ID: 24 hexadecimal digits.
pub fn is_id(text: &str) -> bool {
    text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
#[path = "item_tests.rs"]
mod tests;
