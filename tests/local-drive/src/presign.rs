//! Presigned URLs (AWS Signature Version 4). rusty-s3 computes the signatures; the time is the drive's.

use std::time::Duration;

use hyper::Uri;
use hyper::header::HOST;
use hyper::http::request;
use jiff::Timestamp;
use reqwest::Url;
use rusty_s3::signing::sign;
use rusty_s3::{Bucket, Credentials, Method};

use crate::clock::parse_amz_date;
use crate::query::Query;

/// The longest lifetime that S3 accepts.
const MAX_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Presigns URLs for one bucket at one time.
pub(crate) struct Signer<'a> {
    pub(crate) bucket: &'a Bucket,
    pub(crate) credentials: &'a Credentials,
    pub(crate) date: Timestamp,
}

impl Signer<'_> {
    /// A URL for `method` on the object `key`. `query` is the operation's own and must be sorted.
    pub(crate) fn url(
        &self,
        method: Method,
        key: &str,
        query: &[(&str, &str)],
        lifetime: Duration,
    ) -> String {
        // The real service's URLs have this parameter, which rusty-s3 leaves out.
        let payload = [("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")];
        let query = payload.iter().chain(query).copied();
        let url = self.bucket.object_url(key);
        self.sign(method, url, self.credentials.secret(), lifetime, query, &[]).into()
    }

    fn sign<'q>(
        &self,
        method: Method,
        url: Url,
        secret: &str,
        lifetime: Duration,
        query: impl Iterator<Item = (&'q str, &'q str)> + Clone,
        headers: &[(&'q str, &'q str)],
    ) -> Url {
        // rusty-s3 uses an older version of jiff, so the date is converted as text (RFC 3339).
        let date = self.date.to_string().parse().unwrap_or_default();
        let (key, region, seconds) = (self.credentials.key(), self.bucket.region(), lifetime.as_secs());
        sign(&date, method, url, key, secret, None, region, seconds, query, headers.iter().copied())
    }

    /// Checks a request that was presigned for the date in its URL, and signs it again for the date of this signer.
    /// A request with a wrong signature gets a wrong one again. `None`: it is not presigned as the drive does it.
    pub(crate) fn resign(&self, request: &request::Parts, query: &Query) -> Option<Uri> {
        const RECOMPUTED: [&str; 6] = [
            "X-Amz-Algorithm",
            "X-Amz-Credential",
            "X-Amz-Date",
            "X-Amz-Expires",
            "X-Amz-Signature",
            "X-Amz-SignedHeaders",
        ];
        let method = match request.method.as_str() {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "PUT" => Method::Put,
            "POST" => Method::Post,
            "DELETE" => Method::Delete,
            _ => return None,
        };
        let host = request.headers.get(HOST)?.to_str().ok()?;
        let url = Url::parse(&format!("http://{host}{}", request.uri.path())).ok()?;
        let date = parse_amz_date(query.get("X-Amz-Date")?)?;
        let lifetime = Duration::from_secs(query.get("X-Amz-Expires")?.parse().ok()?);
        let given = query.sorted();
        let rest = given.iter().filter(|(name, _)| !RECOMPUTED.contains(name)).copied();
        let (headers, secret) = ([("host", host)], self.credentials.secret());

        let first = Signer { date, ..*self };
        let expected =
            Query::of_url(&first.sign(method, url.clone(), secret, lifetime, rest.clone(), &headers));
        let secret = if expected.sorted() == given { secret } else { "wrong" };
        let signed = self.sign(method, url, secret, MAX_LIFETIME, rest, &headers);
        format!("{}?{}", signed.path(), signed.query()?).parse().ok()
    }
}
