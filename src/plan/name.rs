//! Names in the drive, derived from names in the file system.

use std::ffi::OsStr;

use unicode_normalization::UnicodeNormalization;

/// Decodes a name of the system. Bytes that are not valid Unicode become `%XX`; the flag says whether there were any.
pub fn decode(text: &OsStr) -> (String, bool) {
    let mut out = String::new();
    let mut lossy = false;
    for chunk in text.as_encoded_bytes().utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            lossy = true;
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    (out, lossy)
}

/// Decodes a name and composes it (NFC), as it is sent. macOS returns decomposed names; this way a name is the same
/// whichever system it comes from.
pub fn sent(text: &OsStr) -> (String, bool) {
    let (text, lossy) = decode(text);
    (text.nfc().collect(), lossy)
}

/// The name of a file or directory in the drive, and a warning if it had to be changed.
pub fn of_entry(own: &OsStr) -> (String, Option<String>) {
    let (name, lossy) = sent(own);
    let warning = lossy.then(|| format!("the name is not valid Unicode; it is sent as {name}"));
    (name, warning)
}

/// Checks that a name is valid in the drive.
pub fn check(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("is empty"),
        "." | ".." => Err("is `.` or `..`, which are not names"),
        name if name.contains('/') => {
            Err("has a `/` in it: it is a name, not a path; --to takes the path of a folder")
        }
        name if name.contains('\0') => Err("has a NUL in it"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_composed() {
        assert_eq!(sent(OsStr::new("Cafe\u{301}")), ("Café".into(), false));
        assert_eq!(sent(OsStr::new("100%")), ("100%".into(), false));
    }

    #[cfg(unix)]
    #[test]
    fn undecodable_bytes_are_escaped() {
        use std::os::unix::ffi::OsStrExt;
        let name = OsStr::from_bytes(b"a\xff\xc3\x28\xe2\x82.txt");
        assert_eq!(decode(name), ("a%FF%C3(%E2%82.txt".into(), true));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for bad in ["", ".", "..", "a/b", "/", "a\0b"] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "...", "a b", "a\\b", ".hidden", "\u{1F600}"] {
            assert_eq!(check(good), Ok(()), "{good:?}");
        }
    }
}
