//! What kind of file it is: by extension, then by content, then "some bytes".

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// What a file is that tells nothing of itself (RFC 2046, 4.5.1).
const UNKNOWN: &str = "application/octet-stream";

/// How much of a file is looked at: the furthest of infer's signatures begin some 6,000 bytes in.
const HEAD: u64 = 8192;

/// The MIME type of a regular file of `size` bytes: by the extension of its name in the drive, where people
/// will meet it, then of its path, then by its first bytes. Opens the file only when the extensions say
/// nothing.
pub fn guess(name: &str, path: &Path, size: u64) -> io::Result<String> {
    let by_extension =
        mime_guess::from_path(name).first_raw().or_else(|| mime_guess::from_path(path).first_raw());
    if let Some(mime) = by_extension {
        return Ok(mime.to_owned());
    }
    if size == 0 {
        return Ok(UNKNOWN.to_owned());
    }
    let mut head = Vec::new();
    File::open(path)?.take(HEAD).read_to_end(&mut head)?;
    Ok(infer::get(&head).map_or(UNKNOWN, |kind| kind.mime_type()).to_owned())
}

/// Whether a given type has the form `type/subtype`, parameters behind a `;` allowed, in visible ASCII.
pub fn check(text: &str) -> Result<String, String> {
    let (essence, parameters) = match text.split_once(';') {
        Some((essence, parameters)) => (essence.trim_end_matches(' '), parameters),
        None => (text, ""),
    };
    // RFC 9110, 5.6.2: the characters of a token.
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
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
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
            let path = file(local, content);
            assert_eq!(guess(name, &path, content.len() as u64).unwrap(), mime, "{local} as {name}");
        }
        // An extension that says enough leaves the file closed.
        assert_eq!(guess("x.gz", &dir.path().join("missing"), 9).unwrap(), "application/gzip");
        assert!(guess("x", &dir.path().join("missing"), 9).is_err());
    }

    #[test]
    fn only_the_start_of_a_file_is_looked_at() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 40).unwrap();
        assert_eq!(guess("sparse", file.path(), 1 << 40).unwrap(), UNKNOWN);
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
