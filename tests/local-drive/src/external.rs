//! Another S3 server behind the drive: the calls that the drive itself makes there, by signed URLs.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context as _;

use crate::sigv4::Signer;
use crate::store::Refusal;
use crate::xml::{element, escape};

/// No server is that slow to accept a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// How long the drive's own URLs live.
const LIFETIME: Duration = Duration::from_secs(900);

/// A client of the server.
pub(crate) struct External {
    http: reqwest::Client,
    bucket: String,
}

impl External {
    pub(crate) fn new(bucket: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().connect_timeout(CONNECT_WITHIN).build()?;
        Ok(Self { http, bucket: bucket.to_owned() })
    }

    /// Finds out whether an upload can be begun at all, and makes the bucket if there is none. Otherwise each upload
    /// would find out by itself, and take the answer for an outage.
    pub(crate) async fn prepare(&self, signer: &Signer, region: &str) -> anyhow::Result<()> {
        let key = "local-drive-probe";
        let begun = match self.create(signer, key).await {
            Err(Refusal::NoSuchBucket) => {
                self.create_bucket(signer, region).await.map_err(explain).context("cannot create it")?;
                self.create(signer, key).await
            }
            begun => begun,
        };
        let upload_id = begun.map_err(explain)?;
        self.abort(signer, &upload_id, key).await.map_err(explain)
    }

    async fn create_bucket(&self, signer: &Signer, region: &str) -> Result<(), Refusal> {
        let url = signer.url("PUT", &self.bucket, "", &[], LIFETIME);
        // Amazon refuses us-east-1 as a constraint, and the lack of one everywhere else.
        let body = match region {
            "us-east-1" => String::new(),
            region => format!(
                "<CreateBucketConfiguration><LocationConstraint>{}</LocationConstraint></CreateBucketConfiguration>",
                escape(region)
            ),
        };
        self.call(self.http.put(url).body(body)).await.map(drop)
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
        // Without the URL, which is signed, but with the causes, which alone say what happened.
        let internal = |error: reqwest::Error| {
            Refusal::Internal(format!("{:#}", anyhow::Error::from(error.without_url())))
        };
        let response = request.send().await.map_err(internal)?;
        let status = response.status();
        let xml = response.text().await.map_err(internal)?;
        // CompleteMultipartUpload may answer 200 first and find its error later.
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
                // `status` says its own word for it, such as "503 Service Unavailable".
                let code =
                    code.map_or_else(|| status.to_string(), |code| format!("{} {code}", status.as_u16()));
                Refusal::Internal(format!("the storage answered {code}{}", message.unwrap_or_default()))
            }
        })
    }
}

fn explain(refusal: Refusal) -> anyhow::Error {
    match refusal {
        Refusal::Internal(message) => anyhow::Error::msg(message),
        refusal => anyhow::anyhow!("the storage answered {refusal:?}"),
    }
}
