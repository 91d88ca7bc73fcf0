//! Items of the drive.

use serde::Deserialize;
use serde::de::Deserializer;
use serde_json::Value;
use serde_json::value::RawValue;
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

    /// The JSON in one line. Within a string a line break is escaped.
    pub fn one_line(&self) -> Box<RawValue> {
        let text = self.raw.get().replace(['\n', '\r'], " ");
        // White space between tokens does not make it invalid.
        RawValue::from_string(text).unwrap_or_else(|_| self.raw.clone())
    }

    /// The JSON as the service sent it.
    pub fn json(&self) -> &str {
        self.raw.get()
    }
}

/// The fields of an item that the program reads. A field of an unexpected type counts as missing, so that one odd item
/// does not make a listing unusable.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Node {
    #[serde(default, deserialize_with = "text_or_none")]
    _id: Option<String>,
    #[serde(default, deserialize_with = "text_or_none")]
    id: Option<String>,
    #[serde(default, deserialize_with = "text_or_none")]
    pub name: Option<String>,
    /// `file` or `folder`.
    #[serde(default, rename = "type", deserialize_with = "text_or_none")]
    pub kind: Option<String>,
    #[serde(default)]
    size: Option<Value>,
    #[serde(default, rename = "fileSize")]
    file_size: Option<Value>,
    #[serde(default)]
    parent: Option<Value>,
    #[serde(default, rename = "parentId")]
    parent_id: Option<Value>,
    #[serde(default, rename = "createdAt")]
    created_at: Option<Value>,
}

impl Node {
    /// Reads an entry of a listing. All fields are missing if it is not an item.
    pub fn read(raw: &RawValue) -> Self {
        serde_json::from_str(raw.get()).unwrap_or_default()
    }

    /// Whether it is a folder.
    pub fn is_folder(&self) -> bool {
        self.kind.as_deref() == Some("folder")
    }

    /// Whether it has this name, regardless of Unicode normalization.
    pub fn is_named(&self, name: &str) -> bool {
        self.name.as_deref().is_some_and(|own| own.nfc().eq(name.nfc()))
    }

    /// `_id`, otherwise `id`.
    pub fn id(&self) -> Option<&str> {
        self._id.as_deref().or(self.id.as_deref()).filter(|id| !id.is_empty())
    }

    /// `size` (CLI), otherwise `fileSize` (SDK), in bytes.
    pub fn size(&self) -> Option<u64> {
        [&self.size, &self.file_size].into_iter().flatten().find_map(Value::as_u64)
    }

    /// `parent` (CLI), otherwise `parentId` (SDK), or its `_id` if it is an object. `None` is the root of the drive. An
    /// invalid parent is the empty string, which is no folder's ID.
    pub fn parent(&self) -> Option<&str> {
        let given = || [&self.parent, &self.parent_id].into_iter().flatten();
        let readable = given().find_map(|parent| {
            parent.as_str().or_else(|| parent.get("_id")?.as_str()).or_else(|| parent.get("id")?.as_str())
        });
        readable.or_else(|| given().next().map(|_| ""))
    }

    /// Whether ID, name, kind and parent are known. Otherwise it could be any item.
    pub fn is_readable(&self) -> bool {
        self.id().is_some() && self.name.is_some() && self.kind.is_some() && self.parent() != Some("")
    }

    /// When it was created, in milliseconds since 1970.
    pub fn created_ms(&self) -> Option<i64> {
        let text = self.created_at.as_ref()?.as_str()?;
        text.parse::<jiff::Timestamp>().ok().map(|at| at.as_millisecond())
    }
}

/// A string, or `None` for any other type.
pub fn text_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => Some(text),
        _ => None,
    })
}

/// Whether a text has the form of an ID: 24 hexadecimal digits.
pub fn is_id(text: &str) -> bool {
    text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
