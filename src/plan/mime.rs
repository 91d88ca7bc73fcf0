//! MIME types: by extension, then by content, then `application/octet-stream`.

use std::path::Path;

/// The type of a file about which nothing is known (RFC 2046, 4.5.1).
const UNKNOWN: &str = "application/octet-stream";

/// Bytes to read for a guess by content. infer's furthest signatures start at about 6,000 bytes.
const HEAD: usize = 8192;

/// Guesses the MIME type of a file of `size` bytes: by the extension of its name in the drive, then by that of its
/// path, then by its first bytes. `head` reads those only if the extensions are unknown.
pub fn guess<E>(
    name: &str,
    path: Option<&Path>,
    size: u64,
    head: impl FnOnce(usize) -> Result<Vec<u8>, E>,
) -> Result<String, E> {
    let by_extension =
        mime_guess::from_path(name).first_raw().or_else(|| mime_guess::from_path(path?).first_raw());
    if let Some(mime) = by_extension {
        return Ok(mime.to_owned());
    }
    if size == 0 {
        return Ok(UNKNOWN.to_owned());
    }
    Ok(infer::get(&head(HEAD)?).map_or(UNKNOWN, |kind| kind.mime_type()).to_owned())
}

/// Checks that a given type has the form `type/subtype`, optionally with parameters after `;`, in printable ASCII.
pub fn check(text: &str) -> Result<String, String> {
    let (essence, parameters) = match text.split_once(';') {
        Some((essence, parameters)) => (essence.trim_end_matches(' '), parameters),
        None => (text, ""),
    };
    // The characters of a token (RFC 9110, 5.6.2).
    let token = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    match essence.split_once('/') {
        Some((kind, subtype))
            if token(kind) && token(subtype) && parameters.bytes().all(|b| (0x20..0x7f).contains(&b)) =>
        {
            Ok(text.to_owned())
        }
        _ => Err("a MIME type has the form type/subtype, such as application/pdf".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extension_then_content_then_unknown() {
        let png: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
        for (local, content, name, mime) in [
            ("a.pdf", png, "a.pdf", "application/pdf"),
            ("a.PDF", b"", "a.PDF", "application/pdf"),
            ("a.pdf", b"", "renamed.txt", "text/plain"),
            ("a.pdf", b"", "renamed", "application/pdf"),
            ("picture", png, "picture", "image/png"),
            ("picture.zzzz", png, "picture.zzzz", "image/png"),
            ("words", b"just words", "words", UNKNOWN),
            ("nothing", b"", "nothing", UNKNOWN),
            (".pdf", b"", ".pdf", UNKNOWN),
        ] {
            let head = |most: usize| Ok::<_, ()>(content[..most.min(content.len())].to_vec());
            let guessed = guess(name, Some(Path::new(local)), content.len() as u64, head);
            assert_eq!(guessed.unwrap(), mime, "{local} as {name}");
        }
        let unread = |_| Err("read");
        assert_eq!(guess("x.gz", None, 9, unread), Ok("application/gzip".to_owned()));
        assert_eq!(guess("x", None, 9, unread), Err("read"));
    }

    #[test]
    fn given_types_must_have_the_form() {
        for good in ["application/pdf", "image/svg+xml", "text/plain; charset=utf-8", "text/plain;charset=x"]
        {
            assert_eq!(check(good), Ok(good.to_owned()));
        }
        for bad in [
            "",
            "pdf",
            "/",
            "a/",
            "/b",
            "a/b/c",
            "a b/c",
            "text/plain\n",
            "text/plain ",
            "text/plain\n;",
            "text/plain; x=\u{1}",
            "ä/b",
            " a/b",
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
