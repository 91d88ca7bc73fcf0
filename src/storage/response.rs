//! Responses of storage: ETags, encryption, and S3's error documents.

use hyper::header::{ETAG, HeaderMap};
use serde::Deserialize;

use crate::dial;
use crate::error::Failure;
use crate::http::{self, header};
use crate::proxy::Proxy;
use crate::secret::Redactor;

/// Limit on the bytes read of a response. S3's error documents have a few hundred.
pub(super) const MAX_RESPONSE: usize = 64 * 1024;

/// The ETag without quotes, if there is one.
pub(super) fn etag_of(headers: &HeaderMap) -> Option<String> {
    header(headers, ETAG.as_str())
        .map(|etag| etag.trim().trim_start_matches("W/").trim_matches('"').to_owned())
        .filter(|etag| !etag.is_empty())
}

/// Whether the headers say that the ETag is unrelated to MD5 (KMS or customer keys).
pub(super) fn is_encrypted(headers: &HeaderMap) -> bool {
    let kms = header(headers, "x-amz-server-side-encryption").is_some_and(|kind| kind.starts_with("aws:kms"));
    kms || headers.contains_key("x-amz-server-side-encryption-customer-algorithm")
}

/// Whether an ETag is the MD5 of the part: not with KMS or customer keys, and only if it looks like one.
pub(super) fn is_md5(headers: &HeaderMap, etag: &str) -> bool {
    !is_encrypted(headers) && etag.len() == 32 && etag.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The failure for a response other than success. If it is not in the form of storage, a forwarding proxy sent it.
pub(super) fn failure_of(
    redactor: &Redactor,
    proxy: Option<&Proxy>,
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
) -> Failure {
    let error = parse_error(body);
    let proxy = proxy.filter(|_| error.code.is_none());
    if let Some(failure) = proxy.and_then(|proxy| dial::refusal_by(proxy, status)) {
        return failure;
    }
    Failure::Status {
        status,
        code: error.code.map(|code| http::sanitize(redactor, &code)),
        message: error.message.map(|message| http::sanitize(redactor, &message)),
        retry_after: http::retry_after(headers),
    }
}

/// S3's `<Error><Code>…</Code><Message>…</Message>…</Error>`.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct StorageError {
    code: Option<String>,
    message: Option<String>,
    /// Some servers wrap the document in another element.
    error: Option<Box<StorageError>>,
}

/// Parses an error document. Anything else yields nothing.
fn parse_error(body: &[u8]) -> StorageError {
    let parsed: StorageError = quick_xml::de::from_str(&String::from_utf8_lossy(body)).unwrap_or_default();
    match parsed.error {
        Some(inner) if parsed.code.is_none() => *inner,
        _ => parsed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_documents_are_parsed() {
        let body = br#"<?xml version="1.0" encoding="UTF-8"?>
            <Error><Code>AccessDenied</Code><Message>Request has expired &amp; more</Message><Expires>x</Expires></Error>"#;
        assert_eq!(
            parse_error(body),
            StorageError {
                code: Some("AccessDenied".into()),
                message: Some("Request has expired & more".into()),
                error: None,
            }
        );
    }

    #[test]
    fn other_documents_give_nothing() {
        for body in [&b""[..], b"<html><body>502</body></html>", b"\xff\xfe", b"<Error><Code>", b"{}"] {
            assert_eq!(parse_error(body), StorageError::default(), "{body:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_accepted(body in proptest::collection::vec(0u8.., 0..400)) {
            let _ = parse_error(&body);
        }

        #[test]
        fn anything_like_xml_is_accepted(body in "(<[A-Za-z/!?\\[\\]-]{0,9}>|&[a-z#]{0,4};|[a-z ]{0,5}){0,40}") {
            let _ = parse_error(body.as_bytes());
        }
    }
}
