//! Types for secrets that must never be printed: the token and the query of a signed URL.
//!
//! Neither has a `Display`, and `Debug` hides the secret, so it only reaches a screen or a log through a call of `expose`.
//! Types cannot cover messages of a *server*, so each goes through [`Redactor::redact`] before it is stored.

use std::fmt;
use std::sync::LazyLock;

use regex::Regex;

/// Stands for a secret that was removed.
const HIDDEN: &str = "***";

/// Patterns of secrets in a server's text. The first group is what precedes the secret, the others what follows it; both
/// are kept.
///
/// A secret may contain quotes and brackets, so it ends at white space only, or at the quote that closes it. Separators
/// may be escaped as in a URL (also twice), in JSON, HTML and XML. Names are ASCII and in any case.
#[expect(clippy::unwrap_used, reason = "the patterns are constants, and a test uses each")]
static PATTERNS: LazyLock<[Regex; 5]> = LazyLock::new(|| {
    /// A character of a word.
    const WORD: &str = r"[^ \t\r\n]";
    const SLASH: &str = r"(?i-u:\\*/|%(?:25)*2f|\\u002f|&#(?:47|x2f);)";
    const EQUALS: &str = r"(?i-u:=|%(?:25)*3d|\\u003d|&#(?:61|x3d);)";
    const COLON: &str = r"(?i-u::|%(?:25)*3a|\\u003a|&#(?:58|x3a);)";
    const AT: &str = r"(?i-u:@|%(?:25)*40|\\u0040|&#(?:64|x40);)";
    const QUESTION: &str = r"(?i-u:[?#]|%(?:25)*(?:3f|23)|\\u003f|&#(?:63|x3f);)";
    const SPACE: &str = r"[ \t\r\n]*";
    const QUOTES: &str = r#"(?i-u:["'`\\]|&[a-z0-9#]+;|\\u002[27])*"#;
    /// A value in quotes and what follows it without white space.
    const QUOTED: &str =
        r#"(?s:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\\+"[^"]*"|\\+'[^']*'|`[^`]*`)[^ \t\r\n]*?"#;
    /// Punctuation of the text around a secret.
    const CLOSE: &str = r#"["'`<>)\]},.;\\]*"#;

    let url = format!(r"(?:(?i-u:https?|socks[0-9a-z]*){COLON}(?:{SLASH}|\\)*|{COLON}{SLASH}{SLASH})");
    // A password may contain `/`. An escaped `@` counts only before the first `/`, because keys in storage may contain one.
    let userinfo = format!(r"({url})(?:[^ \t\r\n?#]*(@)|[^ \t\r\n/]*({AT}))");
    // The query of a URL, or of a path. Without any `/` it may be the name of a file.
    let query = format!(
        r"((?:{url}{WORD}*?{QUESTION}|{SLASH}{WORD}*?{QUESTION}(?i-u:[a-z0-9_.%-]+){EQUALS})){WORD}*?({CLOSE}(?:[ \t\r\n]|$))"
    );
    let separator = format!(r"{QUOTES}{SPACE}(?:>|{COLON}|{EQUALS})+{SPACE}[\[(<{{]*(?i-u:&[a-z0-9#]+;)*");
    let dash = "(?:[_-]|%(?:25)*2d)";
    let amz =
        format!("(?i-u:x{dash}amz(?:[a-z0-9]|{dash})*(?:signature|credential|token)|signatureprovided)");
    let other = "(?i-u:sig|signature|credential|token|password|passwd|secret|api[_-]?key)";
    // `token: …` may be a sentence; `token=…`, `token:…`, `<token>…` and `"token": "…"` are not.
    let assigned = format!(r"(?:{QUOTES}{SPACE}(?:{EQUALS}{SPACE}|:(?-u:\b))|>)");
    let json = format!(
        r#"((?:{other}\\*["']|(?i-u:authorization){QUOTES}){SPACE}:{SPACE}[\[({{]*)(?:{QUOTED}|\\*["'][^\r\n]*)({CLOSE}(?:[ \t\r\n&]|$))"#
    );
    let parameter = format!(
        r"((?:{amz}{separator}|{other}{assigned}))(?:{QUOTED}|[^ \t\r\n&]+?)({CLOSE}(?:[ \t\r\n&]|$))"
    );
    // Nor is `authorization: …` with a scheme, or at the start of a line.
    let scheme = r"(?i-u:(?:%(?:25)*20|\+)*(?:bearer|basic|digest|negotiate|ntlm|aws4) ?)";
    let header = format!(
        r"((?i-u:cookie|(?m:^)(?:proxy-)?authorization){separator}|(?i-u:authorization)(?:{assigned}|{separator}{QUOTES}{scheme}))(?:{QUOTED}({CLOSE}(?:[ \t\r\n]|$))|[^\r\n]*)"
    );
    // The query comes last: it ends at white space, and would hide the name of a parameter whose value follows after a
    // space.
    [userinfo, json, parameter, header, query].map(|pattern| Regex::new(&pattern).unwrap())
});

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

/// Removes secrets from text of a server: the token, users, passwords and queries of URLs, and values of parameters
/// and headers that authenticate.
#[derive(Clone, Default)]
pub struct Redactor(Option<Token>);

impl Redactor {
    /// Redacts this token as well.
    pub fn new(token: &Token) -> Self {
        Self(Some(token.clone()).filter(|token| !token.is_empty()))
    }

    /// The text without secrets. It may lose more than these, such as what follows a query without white space.
    pub fn redact(&self, text: &str) -> String {
        let text = match &self.0 {
            Some(token) => text.replace(token.expose(), HIDDEN),
            None => text.to_owned(),
        };
        let hidden = format!("${{1}}{HIDDEN}${{2}}${{3}}");
        PATTERNS.iter().fold(text, |text, pattern| pattern.replace_all(&text, &hidden).into_owned())
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

    #[test]
    fn quotes_brackets_and_escapes_do_not_end_a_secret() {
        let redactor = Redactor::default();
        for text in [
            "http://SECRET)w@proxy",
            "HTTPS://u:p)SECRET@proxy:1/x",
            "http://u:p/SECRET@proxy",
            "http://u:p?SECRET@proxy",
            "http:/u:SECRET@h/k",
            r"http:\\u:SECRET@h/k",
            "socks5h:u:SECRET@h",
            r"https:\/\/u:SECRET@h\/k",
            "https%3A%2F%2Fu%3ASECRET%40h%2Fk",
            "https%253A%252F%252Fh%252Fk%253Fsig%253DSECRET",
            "https://h/a)b?sig=SECRET",
            "https://h/a b?sig=SECRET",
            "https://h/k?sig=a\"b'SECRET",
            "https://[::1]/k?sig=SECRET",
            r"https:\/\/h\/k\u003fa=b\u0026sig=SECRET",
            "https://h/k?a=b&amp;sig=SECRET",
            "a=b&amp;sig=SECRET",
            "X-Amz-Signature='SECRET'",
            "X-Amz-Signature=a)SECRET",
            "x-amz-signature = SECRET",
            "x_amz_signature: SECRET",
            "X%2DAmz%2DSignature%3DSECRET",
            r"X-Amz-Signature\u003dSECRET",
            "X-Amz-Signature&#61;&quot;SECRET&quot;",
            "<X-Amz-Security-Token>SECRET</X-Amz-Security-Token>",
            "<SignatureProvided>SECRET</SignatureProvided>",
            r#"{"X-Amz-Security-Token": "SECRET"}"#,
            r#"{\"X-Amz-Security-Token\": \"a SECRET\"}"#,
            r#"{"x-amz-security-token":["a SECRET"]}"#,
            r#"{"token": "SECRET"}"#,
            r#"{"token":"a\" SECRET"}"#,
            r#"{"token":"a\\", "secret": "b SECRET"}"#,
            r#"{"password":["a SECRET"]}"#,
            r#"{"token": "a SECRET"#,
            r#"{"Authorization": "Bearer SECRET"#,
            "<Signature>SECRET</Signature>",
            "api_key=SECRET",
            "apikey = 'a SECRET'",
            "passwd=SECRET",
            "Cannot GET /k?a=SECRET",
            r#"{\"token\":\"SECRET\"}"#,
            "X-Amz-S3session-Token: SECRET",
            "Authorization: Bearer SECRET",
            "\nAuthorization: SECRET",
            "authorization:SECRET",
            "authorization: \"a SECRET\"",
            "\"token\":SECRET",
            "authorization: 'Bearer SECRET'",
            "authorization = Bearer SECRET",
            "authorization=\"Bearer SECRET\"",
            "Authorization%3A%20Bearer%20SECRET",
            "<Authorization>Bearer SECRET</Authorization>",
            "&quot;Authorization&quot;: &quot;Basic SECRET&quot;",
            "proxy-authorization: Basic SECRET",
            r#"{"Authorization": "Bearer SECRET", "a": 1}"#,
            "AUTHORIZATION: AWS4-HMAC-SHA256 Credential=a/b, Signature=SECRET",
            "Set-Cookie: a=b; session=SECRET",
        ] {
            let shown = redactor.redact(&format!("before {text}\nafter"));
            assert!(!shown.contains("SECRET"), "{text}: {shown}");
            assert!(
                shown.starts_with("before ") && shown.contains("***") && shown.ends_with("after"),
                "{shown}"
            );
        }
    }

    #[test]
    fn ordinary_messages_stay_as_they_are() {
        for text in [
            "Missing required header for this request: x-amz-content-sha256",
            "Error parsing the X-Amz-Credential parameter; the region 'a' is wrong; expecting 'b'",
            "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"",
            "The authorization header is malformed: no bearer",
            "Invalid token: The provided token has expired.",
            "Missing authorization: send a token with the scope ACCESS_DRIVE",
            "x-amz-request-id: ABC123 went wrong",
            "Header X-Amz-Date: must be recent",
            "folder \"Token\": not found",
            "<token> is missing",
            "no such file a?b=c.txt",
            "http: no connection to https://[::1]:80/a (b), (https://h/k). Is it up? Ask me@h",
            "{\"code\":\"NoSuchUpload\",\"path\":\"C:/a/b\"}",
        ] {
            assert_eq!(Redactor::default().redact(text), text);
        }
        assert_eq!(
            Redactor::default().redact("see (https://h/k?a=1), \"X-Amz-Signature\": \"a\", \"b\": \"c\""),
            "see (https://h/k?***), \"X-Amz-Signature\": ***, \"b\": \"c\""
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_redactor_panic_or_leak(text in "\\PC{0,40}", tail in "[ \"&]?\\PC{0,10}") {
            let redactor = Redactor::new(&Token::new("cp_pat_secret"));
            let shown = redactor.redact(&format!("{text}cp_pat_secret X-Amz-Signature=deadbeef{tail}"));
            proptest::prop_assert!(!shown.contains("cp_pat_secret") && !shown.contains("deadbeef"));
        }

        #[test]
        fn no_character_ends_a_secret_of_a_url(
            before in "\\PC{0,10} ",
            scheme in "[a-zA-Z]{1,6}:(//|\\\\/\\\\/|%2[fF]%2F)",
            junk in "[!-~]{0,6}",
            path in "[!-\"$->@-~]{0,6}",
            after in "\\PC{0,10}",
        ) {
            let redactor = Redactor::default();
            for text in [format!("{junk}SECRET{path}@h"), format!("h/{path}?{junk}SECRET")] {
                let shown = redactor.redact(&format!("{before}{scheme}{text}{after}"));
                proptest::prop_assert!(!shown.contains("SECRET"), "{}", shown);
            }
        }

        #[test]
        fn no_character_ends_the_value_of_a_parameter(
            before in "\\PC{0,10}",
            name in "[xX]-[aA]mz-([sS]ignature|Credential|Security-Token)[\"']?",
            separator in " ?(=|:|%3[dD]|\\\\u003d|=>) ?",
            junk in "[!-%'-?A-~]{0,6}",
            after in "\\PC{0,10}",
        ) {
            let shown = Redactor::default().redact(&format!("{before}{name}{separator}{junk}SECRET{after}"));
            proptest::prop_assert!(!shown.contains("SECRET"), "{}", shown);
        }
    }
}
