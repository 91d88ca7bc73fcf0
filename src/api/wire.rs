//! The JSON that goes over the API's wire.

use serde_json::value::RawValue;

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
        #[derive(serde::Deserialize)]
        struct Ids {
            _id: Option<String>,
            id: Option<String>,
        }
        let ids: Ids = serde_json::from_str(raw.get()).ok()?;
        let id = ids._id.or(ids.id).filter(|id| !id.is_empty())?;
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
