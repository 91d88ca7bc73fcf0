//! Types for secrets that must never be printed: the token and the query of a signed URL.
//!
//! Neither has a `Display`, and `Debug` hides the secret, so it only reaches a screen or a log through a call of `expose`.
//! Types cannot cover messages of a *server*, so each goes through [`Redactor::redact`] before it is stored.

use std::fmt;
use std::sync::LazyLock;

use regex::Regex;

/// Replaces a secret.
const HIDDEN: &str = "***";

/// User and password in a URL, its query, and the value of an `X-Amz-…` parameter. Each pattern is a part to keep and one
/// to hide. A URL or a value in a text ends at white space, a quote or a bracket.
#[expect(clippy::unwrap_used, reason = "the patterns are constants, and a test uses each")]
static PATTERNS: LazyLock<[Regex; 3]> = LazyLock::new(|| {
    const IN_WORD: &str = r#"[^ \t\r\n"'<>`)\]}\\"#;
    [
        format!("(://){IN_WORD}/?#]*(@)"),
        format!("(://{IN_WORD}?#]*[?#]){IN_WORD}]*()"),
        format!("((?i-u:x-amz-[a-z0-9-]*(?:=|%3d))){IN_WORD}&]*()"),
    ]
    .map(|pattern| Regex::new(&pattern).unwrap())
});

/// For all [`PATTERNS`].
const REPLACEMENT: &str = "${1}***${2}";

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
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        // Whatever stands before the last `@` is hidden, also characters that end a URL in a text.
        match authority.rsplit_once('@') {
            Some((_, host)) => format!("{scheme}://{HIDDEN}@{host}{path}"),
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
        PATTERNS.iter().fold(text, |text, pattern| pattern.replace_all(&text, REPLACEMENT).into_owned())
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor")
    }
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
        for password in ["p)w", "p'w", "p w", "p\"w"] {
            let url = SignedUrl::new(format!("https://u:{password}@h/k?sig=abc"));
            assert_eq!(url.redacted(), "https://***@h/k");
        }
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
