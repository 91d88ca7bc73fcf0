//! Signed URLs after AWS Signature Version 4 (query authentication), written by hand.
//!
//! One signing key serves a whole reply: up to 10,000 part URLs are asked for in one call, and deriving the key is
//! four of the five HMACs that a URL would need otherwise.
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html>

use std::fmt::Write as _;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::clock::amz_date;

/// What is needed to sign for an S3 server.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    pub(crate) region: String,
}

/// Signs URLs for one server at one time.
pub(crate) struct Signer {
    /// `http://host:port`, without a slash at the end.
    endpoint: String,
    host: String,
    date: String,
    scope: String,
    access_key: String,
    key: Vec<u8>,
}

impl Signer {
    pub(crate) fn new(endpoint: &str, credentials: &Credentials, now: Timestamp) -> Self {
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        let host = endpoint.split_once("://").map_or(endpoint.as_str(), |(_, host)| host).to_owned();
        let date = amz_date(now);
        let day = date.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/s3/aws4_request", credentials.region);
        let mut key = hmac(format!("AWS4{}", credentials.secret_key).as_bytes(), day.as_bytes());
        for step in [credentials.region.as_bytes(), b"s3", b"aws4_request"] {
            key = hmac(&key, step);
        }
        Self { endpoint, host, date, scope, access_key: credentials.access_key.clone(), key }
    }

    /// A URL for `method` on `/{bucket}/{key}` with the operation's own query parameters, good for `lifetime`.
    ///
    /// The parameters come out in the order of the real service's URLs, which is the order they are signed in with
    /// the signature in its alphabetical place.
    pub(crate) fn url(
        &self,
        method: &str,
        bucket: &str,
        key: &str,
        query: &[(&str, &str)],
        lifetime: Duration,
    ) -> String {
        let path = format!("/{}/{}", encode(bucket, false), encode(key, true));
        let mut parameters = vec![
            ("X-Amz-Algorithm".to_owned(), "AWS4-HMAC-SHA256".to_owned()),
            ("X-Amz-Content-Sha256".to_owned(), "UNSIGNED-PAYLOAD".to_owned()),
            ("X-Amz-Credential".to_owned(), encode(&format!("{}/{}", self.access_key, self.scope), false)),
            ("X-Amz-Date".to_owned(), self.date.clone()),
            ("X-Amz-Expires".to_owned(), lifetime.as_secs().to_string()),
            ("X-Amz-SignedHeaders".to_owned(), "host".to_owned()),
        ];
        parameters.extend(query.iter().map(|(name, value)| (encode(name, false), encode(value, false))));
        parameters.sort();
        let signature = self.signature(method, &path, &join(&parameters), &self.host);
        parameters.push(("X-Amz-Signature".to_owned(), signature));
        parameters.sort();
        format!("{}{path}?{}", self.endpoint, join(&parameters))
    }

    /// The signature of a request whose canonical query (sorted, encoded, without the signature) is given.
    pub(crate) fn signature(&self, method: &str, path: &str, query: &str, host: &str) -> String {
        let canonical = format!("{method}\n{path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD");
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{}\n{}\n{}",
            self.date,
            self.scope,
            hex(&Sha256::digest(canonical.as_bytes()))
        );
        hex(&hmac(&self.key, to_sign.as_bytes()))
    }
}

/// Percent-encodes as SigV4 wants it: everything but the unreserved characters, `/` too unless it is a path.
pub(crate) fn encode(text: &str, keep_slash: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte))
            }
            b'/' if keep_slash => encoded.push('/'),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn join(parameters: &[(String, String)]) -> String {
    let pairs: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

fn hmac(key: &[u8], data: &[u8]) -> Vec<u8> {
    match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mac) => mac.chain_update(data).finalize().into_bytes().to_vec(),
        // HMAC takes keys of every length; the type alone says otherwise.
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::parse_amz_date;

    /// The worked example of Amazon's page linked at the top, but for the payload hash being in the query.
    #[test]
    fn signature_of_amazons_worked_example_is_reproduced() {
        let credentials = Credentials {
            access_key: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            region: "us-east-1".into(),
        };
        let now = parse_amz_date("20130524T000000Z").unwrap();
        let signer = Signer::new("https://examplebucket.s3.amazonaws.com", &credentials, now);
        let query = "X-Amz-Algorithm=AWS4-HMAC-SHA256&\
            X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&\
            X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host";
        assert_eq!(
            signer.signature("GET", "/test.txt", query, "examplebucket.s3.amazonaws.com"),
            "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
        );
    }

    #[test]
    fn url_has_the_real_services_parameters_in_its_order() {
        let credentials =
            Credentials { access_key: "K".into(), secret_key: "S".into(), region: "us-east-1".into() };
        let signer = Signer::new("http://127.0.0.1:1", &credentials, Timestamp::now());
        let query = [("partNumber", "1"), ("uploadId", "u"), ("x-id", "UploadPart")];
        let url = signer.url("PUT", "bucket", "a b/ü", &query, Duration::from_secs(60));
        let (path, query) = url.split_once('?').unwrap();
        assert_eq!(path, "http://127.0.0.1:1/bucket/a%20b/%C3%BC");
        let names: Vec<&str> = query.split('&').map(|pair| pair.split('=').next().unwrap()).collect();
        assert_eq!(
            names,
            [
                "X-Amz-Algorithm",
                "X-Amz-Content-Sha256",
                "X-Amz-Credential",
                "X-Amz-Date",
                "X-Amz-Expires",
                "X-Amz-Signature",
                "X-Amz-SignedHeaders",
                "partNumber",
                "uploadId",
                "x-id"
            ]
        );
    }
}
