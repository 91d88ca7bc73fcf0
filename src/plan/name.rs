//! Names: from what the file system has to what the drive gets.

use std::ffi::OsStr;

use unicode_normalization::UnicodeNormalization;

/// Text of the system's, with each byte that is not part of valid Unicode as `%XX`; and whether there was one.
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

/// A name as it is sent: decoded, and composed (NFC), so that one name looks the same to the drive whether
/// it comes from macOS, which hands out decomposed ones, or from elsewhere.
pub fn sent(text: &OsStr) -> (String, bool) {
    let (text, lossy) = decode(text);
    (text.nfc().collect(), lossy)
}

/// The name that an entry of the file system gets in the drive, and what to warn of about it.
pub fn of_entry(own: &OsStr) -> (String, Option<String>) {
    let (name, lossy) = sent(own);
    let warning = lossy.then(|| format!("the name is not valid Unicode; it is sent as {name}"));
    (name, warning)
}

/// Why a given name cannot be one in the drive.
pub fn check(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("is empty"),
        "." | ".." => Err("is `.` or `..`, which are not names"),
        name if name.contains('/') => {
            Err("has a `/` in it: it is a name, not a path; the folder is given with --parent")
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
