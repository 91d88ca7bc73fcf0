//! The error documents of S3: `<Error><Code>…</Code><Message>…</Message>…</Error>`.

use quick_xml::Reader;
use quick_xml::events::Event;

/// What a storage error says, as far as it says anything.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct StorageError {
    /// `Code`: `SlowDown`, `NoSuchUpload`, …
    pub code: Option<String>,
    /// `Message`, for people.
    pub message: Option<String>,
}

/// Reads any bytes: what is no such document gives nothing.
pub fn parse_error(body: &[u8]) -> StorageError {
    let mut found = StorageError::default();
    let body = String::from_utf8_lossy(body);
    let mut reader = Reader::from_str(&body);
    let mut path: Vec<String> = Vec::new();
    let mut text = String::new();
    loop {
        match reader.read_event() {
            Ok(Event::Start(tag)) => {
                path.push(tag.local_name().as_ref().to_owned());
                text.clear();
                // A document nested without end is none of S3's.
                if path.len() > 16 {
                    return found;
                }
            }
            Ok(Event::Text(piece)) => text.push_str(&piece),
            Ok(Event::CData(piece)) => text.push_str(&piece),
            Ok(Event::GeneralRef(name)) => text.push_str(match name.as_ref() {
                "amp" => "&",
                "lt" => "<",
                "gt" => ">",
                "quot" => "\"",
                "apos" => "'",
                _ => "\u{fffd}",
            }),
            Ok(Event::End(_)) => {
                // `<Error>` at the top, or wrapped once as some servers do.
                let field = match (path.len(), path.last().map(String::as_str)) {
                    (2 | 3, Some("Code")) => Some(&mut found.code),
                    (2 | 3, Some("Message")) => Some(&mut found.message),
                    _ => None,
                };
                let value = text.trim();
                if let Some(field) = field
                    && !value.is_empty()
                {
                    *field = Some(value.to_owned());
                }
                path.pop();
                text.clear();
            }
            Ok(Event::Eof) | Err(_) => return found,
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amazons_error_documents_are_read() {
        let body = br#"<?xml version="1.0" encoding="UTF-8"?>
            <Error><Code>AccessDenied</Code><Message>Request has expired &amp; more</Message><Expires>x</Expires></Error>"#;
        assert_eq!(
            parse_error(body),
            StorageError {
                code: Some("AccessDenied".into()),
                message: Some("Request has expired & more".into())
            }
        );
    }

    #[test]
    fn what_is_no_error_document_gives_nothing() {
        for body in [&b""[..], b"<html><body>502</body></html>", b"\xff\xfe", b"<Error><Code>", b"{}"] {
            assert_eq!(parse_error(body), StorageError::default(), "{body:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_taken(body in proptest::collection::vec(0u8.., 0..400)) {
            let _ = parse_error(&body);
        }

        #[test]
        fn anything_like_xml_is_taken(body in "(<[A-Za-z/!?\\[\\]-]{0,9}>|&[a-z#]{0,4};|[a-z ]{0,5}){0,40}") {
            let _ = parse_error(body.as_bytes());
        }
    }
}
