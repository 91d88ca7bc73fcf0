//! Items and the bytes of files, read and changed without the API.

use std::sync::Arc;

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::drive::Backend;
use crate::items::{FileInfo, Item, new_id};
use crate::local::LocalDrive;
use crate::part::hex;
use crate::s3;

impl LocalDrive {
    /// All items as the service returns them, oldest first.
    pub fn items(&self) -> Vec<Value> {
        self.shared.items.all().iter().map(Item::json).collect()
    }

    /// The items that are in no folder.
    pub fn root_items(&self) -> Vec<Value> {
        let items = self.shared.items.all();
        items.iter().filter(|item| item.parent.is_none()).map(Item::json).collect()
    }

    /// Creates a folder.
    pub fn make_folder(&self, name: &str, parent: Option<&str>) -> String {
        self.shared.items.add(name, parent.map(str::to_owned), self.shared.clock.now(), None).id
    }

    /// Creates a file, stored as one part. Embedded storage only.
    pub fn put_file(&self, name: &str, parent: Option<&str>, bytes: &[u8]) -> anyhow::Result<String> {
        let now = self.shared.clock.now();
        let key = format!("drive/{}/put", new_id(now));
        let size = self.put_object(&key, bytes)?;
        let file = FileInfo { mime: "application/octet-stream".into(), size, key };
        Ok(self.shared.items.add(name, parent.map(str::to_owned), now, Some(file)).id)
    }

    /// Deletes an item, as a user would in the browser.
    pub fn remove_item(&self, id: &str) {
        self.shared.items.remove(id);
    }

    /// Moves an item into another folder, as a user would in the browser.
    pub fn move_item(&self, id: &str, parent: Option<&str>) {
        self.shared.items.move_to(id, parent);
    }

    /// Replaces the bytes of a file. Its item does not change. Embedded storage only.
    pub fn replace_object(&self, file_id: &str, bytes: &[u8]) -> anyhow::Result<()> {
        self.put_object(&self.key_of(file_id)?, bytes).map(drop)
    }

    fn put_object(&self, key: &str, bytes: &[u8]) -> anyhow::Result<u64> {
        let Backend::Embedded(store) = &self.shared.backend else {
            anyhow::bail!("only the embedded storage can store files without the API");
        };
        let upload = store.create(key);
        let stored = (|| {
            let mut part = store.begin_part(&upload, key, 1)?;
            part.write(bytes)?;
            let etag = part.finish()?.etag;
            store.complete(&upload, key, &[(1, etag)])
        })();
        Ok(stored.map_err(|refusal| anyhow::anyhow!("cannot store it: {refusal:?}"))?.size)
    }

    /// The stored bytes of a file.
    pub fn object(&self, file_id: &str) -> anyhow::Result<Vec<u8>> {
        self.fold_object(file_id, Vec::new(), |bytes, chunk| bytes.extend_from_slice(chunk))
    }

    /// The SHA-256 of the stored bytes of a file, in hexadecimal.
    pub fn object_sha256(&self, file_id: &str) -> anyhow::Result<String> {
        let hash = self.fold_object(file_id, Sha256::new(), |hash, chunk| hash.update(chunk))?;
        Ok(hex(&hash.finalize()))
    }

    /// How many bytes of a file are stored. The size of its item may differ.
    pub fn object_len(&self, file_id: &str) -> anyhow::Result<u64> {
        if let Backend::Embedded(store) = &self.shared.backend {
            let object = store.object(&self.key_of(file_id)?);
            return Ok(object.map_err(|refusal| anyhow::anyhow!("no object: {refusal:?}"))?.size);
        }
        self.fold_object(file_id, 0, |length, chunk| *length += chunk.len() as u64)
    }

    fn key_of(&self, file_id: &str) -> anyhow::Result<String> {
        let item = self.shared.items.get(file_id).context("no such item")?;
        Ok(item.file.context("the item is a folder")?.key)
    }

    fn fold_object<T: Send + 'static>(
        &self,
        file_id: &str,
        mut state: T,
        step: fn(&mut T, &[u8]),
    ) -> anyhow::Result<T> {
        let key = self.key_of(file_id)?;
        let shared = Arc::clone(&self.shared);
        self.wait_for(async move {
            match &shared.backend {
                Backend::Embedded(store) => {
                    let object =
                        store.object(&key).map_err(|refusal| anyhow::anyhow!("no object: {refusal:?}"))?;
                    let files = object.files().context("this drive does not keep the bytes")?;
                    let mut bytes = std::pin::pin!(s3::read(files, 0, object.size));
                    while let Some(chunk) = bytes.try_next().await? {
                        step(&mut state, &chunk);
                    }
                }
                Backend::External(external) => {
                    let mut response = external.read(&shared.signer(), &key).await?;
                    while let Some(chunk) = response.chunk().await? {
                        step(&mut state, &chunk);
                    }
                }
            }
            Ok(state)
        })?
    }
}
