//! The token: where it comes from, and what cannot be one.

use super::Config;
use super::api_url::ApiUrl;
use super::location::Sourced;
use super::token_command;
use crate::environment::{self, Environment};
use crate::error::{Code, Error};
use crate::secret::Token;

/// Where the token comes from. The token command has not run yet.
#[derive(Debug)]
pub enum Origin {
    /// The name of an environment variable, and its value.
    Variable(&'static str, Token),
    File(Sourced<Token>),
    Command(Sourced<String>),
}

/// The first origin that has a token.
/// Fails with [`Error::usage`] for a variable that is not valid Unicode.
pub fn find(env: &Environment, config: &Config) -> Result<Option<Origin>, Error> {
    for (value, name) in [(&env.token, "COPERA_TOKEN"), (&env.cli_token, "COPERA_CLI_AUTH_TOKEN")] {
        if let Some(text) = environment::text(value, name)? {
            return Ok(Some(Origin::Variable(name, Token::new(text))));
        }
    }
    let profile = &config.profile;
    let file = profile.token().map(Origin::File);
    Ok(file.or_else(|| profile.token_command().map(Origin::Command)))
}

/// The token and a description of its origin. No command runs if its token must not be sent to `api_url`.
/// Fails with [`Error::NoToken`], [`Code::Auth`] if the command fails, and [`Code::Usage`] for an invalid token and for
/// one that must not be sent to `api_url`.
pub fn resolve(env: &Environment, config: &Config, api_url: &ApiUrl) -> Result<(Token, String), Error> {
    let origin = find(env, config)?.ok_or(Error::NoToken)?;
    let (from, location) = match &origin {
        Origin::Variable(name, _) => ((*name).to_owned(), None),
        Origin::File(set) => (set.location.to_string(), Some(&set.location)),
        Origin::Command(set) => (format!("token_command in {}", set.location), Some(&set.location)),
    };
    api_url.check_token_origin(location)?;
    let token = match origin {
        Origin::Variable(_, token) | Origin::File(Sourced { value: token, .. }) => token,
        Origin::Command(set) => {
            let failed = |what: String| {
                let message = format!("the token_command of profile `{}` {what}", config.profile_name);
                let hint = "run the command by hand; its first line of output is taken as the token";
                Error::with_hint(Code::Auth, message, hint)
            };
            let token = token_command::run(&set.value).map_err(failed)?;
            check(&token)
                .map_err(|problem| failed(format!("printed something that is not a token: it {problem}")))?;
            return Ok((token, from));
        }
    };
    check(&token)
        .map_err(|problem| Error::usage_hint(format!("the token from {from} {problem}"), COPY_AGAIN))?;
    Ok((token, from))
}

/// The hint for a token that [`check`] rejects.
pub const COPY_AGAIN: &str = "copy it again: a personal access token is one word that begins with cp_pat_";

/// Checks that the token can be sent: RFC 6750, 2.1 allows only visible ASCII, and servers reject headers of more than
/// about 8 KiB (nginx's `large_client_header_buffers`).
/// The error says what is wrong, to follow "the token". Never quotes the text, which contains the token.
pub fn check(token: &Token) -> Result<(), &'static str> {
    const MAX_HEADER: usize = 8000;
    const QUOTES: [char; 11] = ['"', '\'', '`', '“', '”', '„', '‘', '’', '‚', '«', '»'];
    let token = token.expose();
    let starts_with =
        |word: &str| token.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    Err(if token.contains('\0') {
        "is UTF-16 text: save it as UTF-8"
    } else if is_assignment(token) {
        "has the name of a variable before it: only the part after the `=` is the token"
    } else if starts_with("authorization:") || starts_with("bearer ") {
        "has a part of the HTTP header before it: only the part after `Bearer` is the token"
    } else if token.starts_with(QUOTES) || token.ends_with(QUOTES) {
        "has quotes around it: only the part between them is the token"
    } else if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        "contains spaces, control characters or non-ASCII characters"
    } else if token.len() > MAX_HEADER {
        "is longer than any token"
    } else {
        return Ok(());
    })
}

/// Whether the text is a line of a script or a `.env` file: `NAME=…`, `export NAME=…`, `$env:NAME = …`. A token itself
/// may end with `=`.
fn is_assignment(text: &str) -> bool {
    let Some((name, value)) = text.split_once('=') else { return false };
    let keywords = ["export ", "set ", "setx ", "declare -x ", "$env:", "$"];
    let name = keywords.iter().find_map(|keyword| name.strip_prefix(keyword)).unwrap_or(name).trim();
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    // `cp_pat_…=…` may be a token.
    is_name && !name.starts_with("cp_") && !value.trim_start_matches('=').is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_what_was_copied_with_a_token_and_never_quote_it() {
        for (text, word) in [
            ("'cp_pat_x'", "quotes"),
            ("\"cp_pat_x\"", "quotes"),
            ("\"cp_pat_x", "quotes"),
            ("cp_pat_x'", "quotes"),
            ("\u{201c}cp_pat_x\u{201d}", "quotes"),
            ("`cp_pat_x`", "quotes"),
            ("COPERA_TOKEN=cp_pat_x", "name of a variable"),
            ("COPERA_TOKEN='cp_pat_x'", "name of a variable"),
            ("export COPERA_TOKEN=cp_pat_x", "name of a variable"),
            ("$env:COPERA_TOKEN = \"cp_pat_x\"", "name of a variable"),
            ("token = \"cp_pat_x\"", "name of a variable"),
            ("token=cp_pat_x", "name of a variable"),
            ("Bearer cp_pat_x", "Bearer"),
            ("bearer cp_pat_x", "Bearer"),
            ("Authorization: Bearer cp_pat_x", "Bearer"),
            ("c\0p\0_\0", "UTF-16"),
            ("cp_pat_x y", "spaces"),
        ] {
            let problem = check(&Token::new(text)).unwrap_err();
            assert!(problem.contains(word) && !problem.contains("cp_pat"), "{text:?}: {problem}");
        }
        for good in ["cp_pat_x", "abc=", "abc==", "cp_pat_a=b", "eyJ.x-_~+/=", "a'b", "x"] {
            assert_eq!(check(&Token::new(good)), Ok(()), "{good}");
        }
    }
}
