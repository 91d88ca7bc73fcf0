//! ETags and completed parts. They are kept small, because an upload holds one for each of its parts.

use std::fmt;

use md5_many::Md5State;
use serde::{Deserialize, Serialize};

use crate::checksum::hex;

/// An ETag without its quotes, as finalize expects it, or an MD5.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Etag(Text);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Text {
    /// An MD5 in lower case.
    Md5([u8; 16]),
    /// Any other text, unchanged.
    Other(Box<str>),
}

impl From<String> for Etag {
    fn from(text: String) -> Self {
        Self(md5_of(&text).map_or_else(|| Text::Other(text.into()), Text::Md5))
    }
}

impl Etag {
    /// The MD5, if it has the form of one.
    pub fn md5(&self) -> Option<[u8; 16]> {
        match self.0 {
            Text::Md5(bytes) => Some(bytes),
            Text::Other(_) => None,
        }
    }
}

/// A part that is in storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedPart {
    /// The ETag without its quotes, as finalize expects it.
    pub etag: Etag,
    /// The MD5 of the bytes that were sent, unless the check is off.
    pub md5: Option<Etag>,
}

impl CompletedPart {
    /// Whether it proves that storage has bytes with this MD5. Without a recorded MD5, the ETag has to be one, which it is not
    /// with KMS or customer keys.
    pub fn proves(&self, md5: &str) -> bool {
        self.md5.as_ref().unwrap_or(&self.etag).to_string().eq_ignore_ascii_case(md5)
    }

    /// The MD5 of the part's bytes: the recorded one, or the ETag if it has the form of one.
    pub fn md5_of_content(&self) -> Option<[u8; 16]> {
        self.md5.as_ref().unwrap_or(&self.etag).md5()
    }
}

/// The ETag that S3 gives an object made of parts with these MD5s: the MD5 of all of them, and their number.
pub fn multipart_etag(md5s: impl ExactSizeIterator<Item = [u8; 16]>) -> String {
    let (mut all, count) = (Md5State::new(), md5s.len());
    md5s.for_each(|md5| all.update(&md5));
    format!("{}-{count}", hex(&all.finalize()))
}

/// The bytes of an MD5 with 32 digits in lower case.
fn md5_of(text: &str) -> Option<[u8; 16]> {
    let is_md5 = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    Some(u128::from_str_radix(text, 16).ok().filter(|_| is_md5)?.to_be_bytes())
}

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Text::Md5(bytes) => f.write_str(&hex(bytes)),
            Text::Other(text) => f.write_str(text),
        }
    }
}

impl Serialize for Etag {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn an_etag_comes_out_letter_by_letter_as_it_went_in(text in "[0-9a-fA-F-]{0,40}|[0-9a-f]{32}|.*") {
            let etag = Etag::from(text.clone());
            proptest::prop_assert_eq!(etag.to_string(), text.clone());
            let json = serde_json::to_string(&etag).unwrap();
            proptest::prop_assert_eq!(&json, &serde_json::to_string(&text).unwrap());
            proptest::prop_assert_eq!(serde_json::from_str::<Etag>(&json).unwrap(), etag);
        }
    }

    /// The expected values are what `md5sum` and `xxd -r -p` make of the parts' MD5s.
    #[test]
    fn a_multipart_etag_is_the_md5_of_the_parts_md5s_and_their_number() {
        let md5 = |text: &str| Etag::from(text.to_owned()).md5().unwrap();
        let hello = md5("5d41402abc4b2a76b9719d911017c592");
        assert_eq!(multipart_etag([hello].into_iter()), "62109206880d38a4010a98e11243924a-1");
        assert_eq!(multipart_etag([hello, hello].into_iter()), "616b22817b80eed9f65c3aa38cd29054-2");
        assert_eq!(Etag::from("5D41402ABC4B2A76B9719D911017C592".to_owned()).md5(), None);
    }

    #[test]
    fn one_that_is_an_md5_takes_no_room_of_its_own() {
        assert!(matches!(Etag::from("0123456789abcdef0123456789abcdef".to_owned()).0, Text::Md5(_)));
        assert_eq!(size_of::<Etag>(), 24);
    }
}
