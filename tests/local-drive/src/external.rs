//! The calls that the drive makes to an external S3 server, with presigned URLs.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use rusty_s3::Method;

use crate::presign::Signer;
use crate::store::Refusal;
use crate::xml::{element, escape};

/// More than enough for any server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Lifetime of the drive's own URLs.
const LIFETIME: Duration = Duration::from_secs(900);

/// A client of the external server.
pub(crate) struct External {
    http: reqwest::Client,
}

impl External {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self { http: reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).build()? })
    }

    /// Checks that uploads work, and creates the bucket if it is missing. Without this check, each upload would
    /// fail later with an error that looks like an outage.
    pub(crate) async fn prepare(&self, signer: &Signer<'_>) -> anyhow::Result<()> {
        let key = "local-drive-probe";
        let begun = match self.create(signer, key).await {
            Err(Refusal::NoSuchBucket) => {
                self.create_bucket(signer).await.map_err(explain).context("cannot create it")?;
                self.create(signer, key).await
            }
            begun => begun,
        };
        let upload_id = begun.map_err(explain)?;
        self.abort(signer, &upload_id, key).await.map_err(explain)
    }

    async fn create_bucket(&self, signer: &Signer<'_>) -> Result<(), Refusal> {
        let url = signer.url(Method::Put, "", &[], LIFETIME);
        // Amazon requires a constraint in every region but us-east-1, and refuses one there.
        let body = match signer.bucket.region() {
            "us-east-1" => String::new(),
            region => format!(
                "<CreateBucketConfiguration><LocationConstraint>{}</LocationConstraint></CreateBucketConfiguration>",
                escape(region)
            ),
        };
        self.call(self.http.put(url).body(body)).await.map(drop)
    }

    pub(crate) async fn create(&self, signer: &Signer<'_>, key: &str) -> Result<String, Refusal> {
        let url = signer.url(Method::Post, key, &[("uploads", "")], LIFETIME);
        let xml = self.call(self.http.post(url)).await?;
        let id = element(&xml, "UploadId").map(str::to_owned);
        id.ok_or_else(|| Refusal::Internal("the storage returned no upload ID".into()))
    }

    pub(crate) async fn complete(
        &self,
        signer: &Signer<'_>,
        upload_id: &str,
        key: &str,
        parts: &[(u32, String)],
    ) -> Result<(), Refusal> {
        let mut xml = String::from("<CompleteMultipartUpload>");
        for (number, etag) in parts {
            let etag = escape(etag.trim_matches('"'));
            // Writing to a String cannot fail.
            let _ =
                write!(xml, "<Part><PartNumber>{number}</PartNumber><ETag>&quot;{etag}&quot;</ETag></Part>");
        }
        xml.push_str("</CompleteMultipartUpload>");
        let url = signer.url(Method::Post, key, &[("uploadId", upload_id)], LIFETIME);
        self.call(self.http.post(url).body(xml)).await.map(drop)
    }

    pub(crate) async fn abort(&self, signer: &Signer<'_>, upload_id: &str, key: &str) -> Result<(), Refusal> {
        let url = signer.url(Method::Delete, key, &[("uploadId", upload_id)], LIFETIME);
        self.call(self.http.delete(url)).await.map(drop)
    }

    pub(crate) async fn read(&self, signer: &Signer<'_>, key: &str) -> anyhow::Result<reqwest::Response> {
        let url = signer.url(Method::Get, key, &[("x-id", "GetObject")], LIFETIME);
        Ok(self.http.get(url).send().await?.error_for_status()?)
    }

    async fn call(&self, request: reqwest::RequestBuilder) -> Result<String, Refusal> {
        // The URL is a secret. The causes say what happened.
        let internal = |error: reqwest::Error| {
            Refusal::Internal(format!("{:#}", anyhow::Error::from(error.without_url())))
        };
        let response = request.send().await.map_err(internal)?;
        let status = response.status();
        let xml = response.text().await.map_err(internal)?;
        // CompleteMultipartUpload can send status 200 before it fails.
        if status.is_success() && !xml.contains("<Error>") {
            return Ok(xml);
        }
        Err(match element(&xml, "Code") {
            Some("NoSuchUpload") => Refusal::NoSuchUpload,
            Some("NoSuchBucket") => Refusal::NoSuchBucket,
            Some("MalformedXML") => Refusal::MalformedXml,
            Some("InvalidPart") => Refusal::InvalidPart,
            Some("InvalidPartOrder") => Refusal::InvalidPartOrder,
            Some("EntityTooSmall") => Refusal::EntityTooSmall { number: 0, size: 0 },
            code => {
                let message = element(&xml, "Message").map(|message| format!(": {message}"));
                // `status` includes the reason phrase, as in "503 Service Unavailable".
                let code =
                    code.map_or_else(|| status.to_string(), |code| format!("{} {code}", status.as_u16()));
                Refusal::Internal(format!("the storage returned {code}{}", message.unwrap_or_default()))
            }
        })
    }
}

fn explain(refusal: Refusal) -> anyhow::Error {
    match refusal {
        Refusal::Internal(message) => anyhow::Error::msg(message),
        refusal => anyhow::anyhow!("the storage returned {refusal:?}"),
    }
}
