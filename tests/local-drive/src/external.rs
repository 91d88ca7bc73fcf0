//! Another S3 server behind the drive: the calls that the drive itself makes there, by signed URLs.

use std::fmt::Write as _;
use std::time::Duration;

use crate::sigv4::Signer;
use crate::store::Refusal;
use crate::xml::{element, escape};

/// How long the drive's own URLs live.
const LIFETIME: Duration = Duration::from_secs(900);

/// A client of the server.
pub(crate) struct External {
    http: reqwest::Client,
    bucket: String,
}

impl External {
    pub(crate) fn new(bucket: &str) -> Self {
        Self { http: reqwest::Client::new(), bucket: bucket.to_owned() }
    }

    pub(crate) async fn create(&self, signer: &Signer, key: &str) -> Result<String, Refusal> {
        let url = signer.url("POST", &self.bucket, key, &[("uploads", "")], LIFETIME);
        let xml = self.call(self.http.post(url)).await?;
        let id = element(&xml, "UploadId").map(str::to_owned);
        id.ok_or_else(|| Refusal::Internal("the storage named no upload id".into()))
    }

    pub(crate) async fn complete(
        &self,
        signer: &Signer,
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
        let url = signer.url("POST", &self.bucket, key, &[("uploadId", upload_id)], LIFETIME);
        self.call(self.http.post(url).body(xml)).await.map(drop)
    }

    pub(crate) async fn abort(&self, signer: &Signer, upload_id: &str, key: &str) -> Result<(), Refusal> {
        let url = signer.url("DELETE", &self.bucket, key, &[("uploadId", upload_id)], LIFETIME);
        self.call(self.http.delete(url)).await.map(drop)
    }

    pub(crate) async fn read(&self, signer: &Signer, key: &str) -> anyhow::Result<reqwest::Response> {
        let url = signer.url("GET", &self.bucket, key, &[("x-id", "GetObject")], LIFETIME);
        Ok(self.http.get(url).send().await?.error_for_status()?)
    }

    async fn call(&self, request: reqwest::RequestBuilder) -> Result<String, Refusal> {
        let internal = |error: reqwest::Error| Refusal::Internal(error.without_url().to_string());
        let response = request.send().await.map_err(internal)?;
        let status = response.status();
        let xml = response.text().await.map_err(internal)?;
        // CompleteMultipartUpload may answer 200 first and find its error later.
        if status.is_success() && !xml.contains("<Error>") {
            return Ok(xml);
        }
        Err(match element(&xml, "Code") {
            Some("NoSuchUpload") => Refusal::NoSuchUpload,
            Some("MalformedXML") => Refusal::MalformedXml,
            Some("InvalidPart") => Refusal::InvalidPart,
            Some("InvalidPartOrder") => Refusal::InvalidPartOrder,
            Some("EntityTooSmall") => Refusal::EntityTooSmall { number: 0, size: 0 },
            code => Refusal::Internal(format!("the storage answered {status} {}", code.unwrap_or_default())),
        })
    }
}
