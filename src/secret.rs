//! Types for secrets that must never be printed: the token and the query of a signed URL.
//!
//! Neither has a `Display`, and `Debug` hides the secret, so it only reaches a screen or a log through a call of `expose`.
//! Types cannot cover messages of a *server*, so each goes through [`Redactor::redact`] before it is stored.

use std::borrow::Cow;
use std::fmt;

/// Replaces a secret.
const HIDDEN: &str = "***";

/// A Copera access token (`cp_pat_…`). Printed as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Wraps a token. White space around it (such as a file's last newline) is dropped.
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// The token itself, for the `Authorization` header and for hashing.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it is empty. An empty variable or value counts as no token.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it is an integration key (`cp_key_…`). These give access to boards and channels, not to drives (guide
    /// "Authentication").
    pub fn is_integration_key(&self) -> bool {
        self.0.starts_with("cp_key_")
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// A signed storage URL. Anyone who has its query can write the part until it expires. Printed without the query.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedUrl(String);

impl SignedUrl {
    /// Wraps the URL as the service sent it.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// The whole URL, for the request line.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The URL without query, user and password, for logs.
    pub fn redacted(&self) -> String {
        let url = self.0.split(['?', '#']).next().unwrap_or_default();
        match url.find("://") {
            Some(at) => format!("{}{}", &url[..at + 3], without_userinfo(&url[at + 3..])),
            None => url.to_owned(),
        }
    }
}

impl fmt::Debug for SignedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}?{HIDDEN}", self.redacted())
    }
}

/// Removes secrets from text of a server: the token, users, passwords and queries of URLs, and values of
/// `X-Amz-…` parameters.
#[derive(Clone, Default)]
pub struct Redactor(Option<Token>);

impl Redactor {
    /// Redacts this token as well.
    pub fn new(token: &Token) -> Self {
        Self(Some(token.clone()).filter(|token| !token.is_empty()))
    }

    /// The text without the token, without users, passwords and queries of URLs, and without `X-Amz-…` values.
    pub fn redact(&self, text: &str) -> String {
        let text = match &self.0 {
            Some(token) => text.replace(token.expose(), HIDDEN),
            None => text.to_owned(),
        };
        hide_amz_values(&hide_url_queries(&text))
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor")
    }
}

/// Whether a URL or a parameter's value ends at this character.
fn ends_word(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`' | ')' | ']' | '}' | '\\')
}

/// The rest of a URL after its scheme, with user and password hidden.
fn without_userinfo(rest: &str) -> Cow<'_, str> {
    let authority = rest.find('/').unwrap_or(rest.len());
    match rest[..authority].rfind('@') {
        Some(at) => format!("{HIDDEN}{}", &rest[at..]).into(),
        None => rest.into(),
    }
}

fn hide_url_queries(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (head, tail) = rest.split_at(at + 3);
        out.push_str(head);
        let end = tail.find(ends_word).unwrap_or(tail.len());
        let (url, after) = tail.split_at(end);
        match url.find(['?', '#']) {
            Some(query) => {
                out.push_str(&without_userinfo(&url[..query]));
                out.push_str(&url[query..=query]);
                out.push_str(HIDDEN);
            }
            None => out.push_str(&without_userinfo(url)),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

fn hide_amz_values(text: &str) -> String {
    const NAME: &str = "x-amz-";
    // Lower-casing ASCII keeps byte positions, so they are valid in both strings.
    let lower = text.to_ascii_lowercase();
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    while let Some(found) = lower[done..].find(NAME) {
        let name_end = lower[done + found..]
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
            .map_or(lower.len(), |n| done + found + n);
        let value = ["=", "%3d"].iter().find(|sign| lower[name_end..].starts_with(**sign));
        let Some(sign) = value else {
            out.push_str(&text[done..name_end]);
            done = name_end;
            continue;
        };
        let from = name_end + sign.len();
        let end = lower[from..].find(|c: char| c == '&' || ends_word(c)).map_or(lower.len(), |n| from + n);
        out.push_str(&text[done..from]);
        out.push_str(HIDDEN);
        done = end;
    }
    out.push_str(&text[done..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_shows_neither_token_nor_signature() {
        let token = Token::new("cp_pat_secret\n");
        let url = SignedUrl::new("https://b.s3.amazonaws.com/key?X-Amz-Signature=abc");
        assert_eq!(format!("{token:?} {url:?}"), "*** https://b.s3.amazonaws.com/key?***");
        let url = SignedUrl::new("https://user:p@ss@h:1/k@y?sig=abc");
        assert_eq!(url.redacted(), "https://***@h:1/k@y");
        assert_eq!(token.expose(), "cp_pat_secret");
    }

    #[test]
    fn what_a_server_echoes_is_cleaned_of_tokens_queries_and_amz_values() {
        let mask = Redactor::new(&Token::new("cp_pat_secret"));
        assert_eq!(
            mask.redact("bad cp_pat_secret at <https://h/k?X-Amz-Signature=ab&x=1> and X-Amz-Credential=q/w&y X-AMZ-Signature%3Dff x-amz-date"),
            "bad *** at <https://h/k?***> and X-Amz-Credential=***&y X-AMZ-Signature%3D*** x-amz-date"
        );
        assert_eq!(
            mask.redact("at http://user:pass@proxy:1/x, https://me@h?q=1 and a@b"),
            "at http://***@proxy:1/x, https://***@h?*** and a@b"
        );
        assert_eq!(mask.redact("nothing to hide: ünïcode"), "nothing to hide: ünïcode");
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_mask_panic_or_leak(text in "\\PC{0,40}", tail in "[ \"&]?\\PC{0,10}") {
            let mask = Redactor::new(&Token::new("cp_pat_secret"));
            let shown = mask.redact(&format!("{text}cp_pat_secret X-Amz-Signature=deadbeef{tail}"));
            proptest::prop_assert!(!shown.contains("cp_pat_secret") && !shown.contains("deadbeef"));
        }
    }
}
