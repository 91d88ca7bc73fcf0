//! Items of the drive, as the service sends them.

use serde::Deserialize;
use serde::de::Deserializer;
use serde_json::Value;
use serde_json::value::RawValue;
use unicode_normalization::UnicodeNormalization as _;

/// A drive item exactly as the service sent it: no field dropped, renamed or reordered.
#[derive(Debug, Clone)]
pub struct Item {
    raw: Box<RawValue>,
    id: String,
}

impl Item {
    /// Reads an item's id (`_id` on the real service, `id` in the SDK's types) and keeps the text as it is.
    /// `None` when it has none: then it is no item.
    pub fn new(raw: Box<RawValue>) -> Option<Self> {
        // serde would read a list as the fields in their order.
        if !raw.get().starts_with('{') {
            return None;
        }
        let node: Node = serde_json::from_str(raw.get()).ok()?;
        let id = node.id()?.to_owned();
        Some(Self { raw, id })
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its JSON text as the service sent it.
    pub fn json(&self) -> &str {
        self.raw.get()
    }
}

/// What the program reads of an item, in a listing or alone. A field of another type than expected counts as not
/// there: one odd item must not hide a whole listing.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Node {
    #[serde(default, deserialize_with = "text_or_none")]
    _id: Option<String>,
    #[serde(default, deserialize_with = "text_or_none")]
    id: Option<String>,
    /// Its name.
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
    /// Reads one of a listing; one that is no item has nothing in it.
    pub fn read(raw: &RawValue) -> Self {
        serde_json::from_str(raw.get()).unwrap_or_default()
    }

    /// Whether it is a folder.
    pub fn is_folder(&self) -> bool {
        self.kind.as_deref() == Some("folder")
    }

    /// Whether its name is this one, however its characters are composed.
    pub fn is_called(&self, name: &str) -> bool {
        self.name.as_deref().is_some_and(|own| own.nfc().eq(name.nfc()))
    }

    /// `_id`, else `id`.
    pub fn id(&self) -> Option<&str> {
        self._id.as_deref().or(self.id.as_deref()).filter(|id| !id.is_empty())
    }

    /// `size` (cli), else `fileSize` (sdk), in bytes.
    pub fn size(&self) -> Option<u64> {
        [&self.size, &self.file_size].into_iter().flatten().find_map(Value::as_u64)
    }

    /// `parent` (cli), else `parentId` (sdk); an object's `_id` if it is one. `None` is the drive's root, so a parent
    /// that cannot be read is empty: it equals no folder.
    pub fn parent(&self) -> Option<&str> {
        let given = || [&self.parent, &self.parent_id].into_iter().flatten();
        let readable = given().find_map(|parent| {
            parent.as_str().or_else(|| parent.get("_id")?.as_str()).or_else(|| parent.get("id")?.as_str())
        });
        readable.or_else(|| given().next().map(|_| ""))
    }

    /// Whether it says what it is, where, and how to name it: only then is it known not to be something else.
    pub fn is_readable(&self) -> bool {
        self.id().is_some() && self.name.is_some() && self.kind.is_some() && self.parent() != Some("")
    }

    /// When it was made, by the service's clock, in milliseconds since 1970.
    pub fn created_ms(&self) -> Option<i64> {
        let text = self.created_at.as_ref()?.as_str()?;
        text.parse::<jiff::Timestamp>().ok().map(|at| at.as_millisecond())
    }
}

/// A string, or `None` for any other type.
///
/// # Errors
/// Those of the JSON.
pub fn text_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => Some(text),
        _ => None,
    })
}

/// Whether a text has the form of an id: 24 hexadecimal characters.
pub fn is_id(text: &str) -> bool {
    text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
