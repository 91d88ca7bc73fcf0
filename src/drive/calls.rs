//! The calls of the API, one method each.

use std::convert::Infallible;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::client::{Drive, RetryObserver};
use super::wire::{self, Upload};
use crate::error::{Call, Error, Failure, chain};
use crate::item::Item;
use crate::secret::SignedUrl;

/// The result of `start`.
pub struct Started {
    pub upload: Upload,
    /// The service's clock when it answered, in seconds since 1970.
    pub at: i64,
}

/// The result of `sign_urls`.
pub struct SignedParts {
    /// The response, for [`wire::parse_urls`].
    pub body: Bytes,
    /// The service's clock when it answered, in seconds since 1970.
    pub at: i64,
}

impl Drive {
    /// Starts a multipart upload.
    pub async fn start(
        &self,
        observer: &dyn RetryObserver,
        start: &wire::Start<'_>,
    ) -> Result<Started, Error> {
        let (upload, at) = self
            .call_json::<Upload>(
                observer,
                Call::Start,
                self.post("drive/files/upload/multipart/start", start)?,
            )
            .await?;
        if upload.upload_id.is_empty() || upload.file_key.is_empty() {
            return Err(self.malformed(Call::Start, "an empty uploadId or fileKey"));
        }
        Ok(Started { upload, at })
    }

    /// Requests signed URLs for all parts of an upload.
    pub async fn sign_urls(
        &self,
        observer: &dyn RetryObserver,
        upload: &Upload,
        parts: u32,
    ) -> Result<SignedParts, Error> {
        let request =
            self.post("drive/files/upload/multipart/presigned-urls", &wire::SignUrls { upload, parts })?;
        let answer = self.call(observer, Call::SignUrls, request).await?;
        Ok(SignedParts { body: answer.body, at: answer.date })
    }

    /// Finalizes an upload: a single attempt. The caller decides about another, because this call and
    /// [`Drive::create_folder`] must not be repeated blindly. `last_check` runs immediately before the request is sent.
    /// Fails with errors of `last_check`; nothing was sent then. The inner result has the [`Failure`] of the request.
    pub async fn finalize<E>(
        &self,
        finalize: &wire::Finalize<'_>,
        last_check: impl Future<Output = Result<(), E>>,
    ) -> Result<Result<Item, Failure>, E> {
        self.create(Call::Finalize, "drive/files/upload/multipart/finalize", finalize, last_check).await
    }

    /// Creates a folder: a single attempt.
    pub async fn create_folder(&self, folder: &wire::NewFolder<'_>) -> Result<Item, Failure> {
        let unchecked = std::future::ready(Ok::<_, Infallible>(()));
        match self.create(Call::Folder, "drive/folders", folder, unchecked).await {
            Ok(answer) => answer,
        }
    }

    async fn create<E>(
        &self,
        call: Call,
        path: &str,
        body: &impl serde::Serialize,
        last_check: impl Future<Output = Result<(), E>>,
    ) -> Result<Result<Item, Failure>, E> {
        let request = match self.post(path, body) {
            Ok(request) => request,
            Err(error) => return Ok(Err(Failure::Malformed { detail: chain(&error) })),
        };
        let _permit = self.limiter.acquire(call).await;
        self.limiter.wait().await;
        last_check.await?;
        Ok(self.create_once(call, request).await)
    }

    async fn create_once(&self, call: Call, request: reqwest::Request) -> Result<Item, Failure> {
        let response = self.attempt(call, request).await.inspect_err(|failure| {
            let wait = failure.retry_after().filter(|wait| *wait <= self.policy.retry_for);
            if let (Some(429), Some(wait)) = (failure.status(), wait) {
                self.limiter.pause_for(wait);
            }
        })?;
        serde_json::from_slice::<Box<RawValue>>(&response.body)
            .ok()
            .and_then(Item::new)
            .ok_or_else(|| Failure::Malformed { detail: "no drive item in the answer".to_owned() })
    }

    /// Lists a folder, up to the limit of one response (500 items).
    pub async fn folder(
        &self,
        observer: &dyn RetryObserver,
        parent: Option<&str>,
    ) -> Result<wire::Tree, Error> {
        let mut query = vec![("depth", "1")];
        query.extend(parent.map(|parent| ("parentId", parent)));
        Ok(self.call_json(observer, Call::Tree, self.get("drive/tree", &query)?).await?.0)
    }

    /// Checks that the token gives access to the drive, by listing its root. No call is about the token alone, and those for
    /// the workspace or the search may need other scopes.
    pub async fn check(&self, observer: &dyn RetryObserver) -> Result<(), Error> {
        let request = self.get("drive/tree", &[("depth", "1")])?;
        self.call_json::<wire::Tree>(observer, Call::Check, request).await.map(drop)
    }

    /// Searches items by name or content. Returns 50 at most.
    pub async fn search(&self, observer: &dyn RetryObserver, text: &str) -> Result<wire::Hits, Error> {
        let request = self.get("drive/search", &[("q", text), ("limit", "50")])?;
        Ok(self.call_json(observer, Call::Search, request).await?.0)
    }

    /// Requests an item by its ID.
    pub async fn item(&self, observer: &dyn RetryObserver, id: &str) -> Result<Item, Error> {
        let (raw, _) = self
            .call_json::<Box<RawValue>>(observer, Call::Item, self.get(&format!("drive/files/{id}"), &[])?)
            .await?;
        Item::new(raw)
            .filter(|item| item.id() == id)
            .ok_or_else(|| self.malformed(Call::Item, "it is not the item that was asked for"))
    }

    /// Requests a signed URL from which a file's content can be downloaded for a while.
    pub async fn download_url(&self, observer: &dyn RetryObserver, id: &str) -> Result<SignedUrl, Error> {
        let request = self.get(&format!("drive/files/{id}/download"), &[])?;
        Ok(self.call_json::<wire::Download>(observer, Call::Download, request).await?.0.url)
    }

    /// Requests the workspace's slug, its name in URLs.
    pub async fn slug(&self, observer: &dyn RetryObserver) -> Result<String, Error> {
        let request = self.get("workspace/info", &[])?;
        let (workspace, _) = self.call_json::<wire::Workspace>(observer, Call::Workspace, request).await?;
        Ok(workspace.slug)
    }
}
