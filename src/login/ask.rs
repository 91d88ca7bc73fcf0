//! A token from a terminal, where it is not shown, or out of a pipe.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};

use crate::config::token::{ONE_WORD, fault};
use crate::error::Error;
use crate::event::{Event, Reporter};
use crate::secret::Token;

/// Where tokens are made (Copera's guide "Authentication").
const WHERE: &str = "Make a personal access token in Copera: Workspace Settings, Integrations, Personal Tokens, \
                     Create new token. It needs the scope ACCESS_DRIVE.";
const HERE: &str = "Paste it here and press Enter (it is not shown):";
const HOW: &str = "type it when asked at a terminal, or pipe it in: pass show copera | copera-upload --login";
/// No more of a line is read: it is no token.
const LINE_MOST: u64 = 64 * 1024;

/// Asks for a token, or reads the first line of what standard input is. When this is dropped before it is done,
/// the terminal is as it was before.
///
/// # Errors
/// [`Error::InvalidToken`] for what cannot be a token of a drive; [`Error::Usage`] when standard input cannot be read.
pub(super) async fn token(reporter: &dyn Reporter) -> Result<Token, Error> {
    let asks = io::stdin().is_terminal();
    let hidden = asks.then(terminal::Hidden::new).transpose().map_err(|error| {
        Error::usage_hint(format!("cannot keep the terminal from showing the token: {error}"), HOW)
    })?;
    if asks {
        reporter.event(&Event::Login { message: WHERE, asks: false });
        reporter.event(&Event::Login { message: HERE, asks: true });
    }
    let (sender, line) = tokio::sync::oneshot::channel();
    // A thread of its own: a read of a terminal cannot be stopped, and nobody waits for this one.
    let read = move || sender.send(if asks { terminal::read_line() } else { first_line() });
    let started = std::thread::Builder::new().spawn(read).map(drop);
    let line = {
        let _hidden = hidden;
        match started {
            Ok(()) => line.await.unwrap_or_else(|_| Err(io::ErrorKind::UnexpectedEof.into())),
            Err(error) => Err(error),
        }
    };
    let line = line.map_err(|error| {
        Error::usage_hint(format!("cannot read a token from standard input: {error}"), HOW)
    })?;
    let line = if asks { without_keys(&line) } else { line };
    // Windows' tools begin their files with a mark of the encoding.
    let token = Token::new(line.trim_start_matches('\u{feff}'));
    let refused = |what: String, hint| Err(Error::InvalidToken { what, hint });
    if token.is_empty() {
        let what =
            if asks { "no token was given" } else { "there is no token in standard input's first line" };
        return refused(what.to_owned(), HOW);
    }
    if let Some(fault) = fault(&token) {
        return refused(format!("the token {fault}"), ONE_WORD);
    }
    if token.is_integration_key() {
        let what = "this is an integration key (cp_key_…), which reaches boards and channels but not drives";
        return refused(what.to_owned(), WHERE);
    }
    Ok(token)
}

/// What was typed, without keys that stand for no character: arrows and the like, the marks of a bracketed paste,
/// Ctrl-Z and other control characters.
fn without_keys(line: &str) -> String {
    let (mut out, mut rest) = (String::new(), line.chars());
    while let Some(c) = rest.next() {
        if c == '\u{1b}' {
            let (keys, after) = (rest.as_str(), rest.clone());
            if keys.starts_with('[') {
                // ECMA-48, 5.4: parameters and intermediates, then one final character.
                rest.find(|c| !matches!(c, '[' | ' '..='?'));
            } else if keys.starts_with('O') {
                rest.nth(1);
            } else {
                rest = after;
            }
        } else if !c.is_control() {
            out.push(c);
        }
    }
    out
}

/// The first line of standard input; what is not Unicode cannot be a token, and is told as one that is not.
fn first_line() -> io::Result<String> {
    let mut line = Vec::new();
    io::stdin().lock().take(LINE_MOST).read_until(b'\n', &mut line)?;
    Ok(String::from_utf8_lossy(&line).into_owned())
}

#[cfg(unix)]
mod terminal {
    use std::io;

    use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

    pub(super) use super::first_line as read_line;
    use crate::platform;

    /// `_POSIX_VDISABLE`, by which a key has no meaning: termios(3) on Linux, termios(4) on the BSDs and macOS.
    const DISABLED: u8 = if cfg!(any(target_os = "linux", target_os = "android")) { 0 } else { 0xff };

    /// Standard input's terminal while it shows nothing of what is typed. The rest of it is left as it is, so
    /// that Backspace and Ctrl-C do what they always do.
    pub(super) struct Hidden(Termios);

    impl Hidden {
        pub(super) fn new() -> io::Result<Self> {
            let before = tcgetattr(io::stdin())?;
            let mut modes = before.clone();
            modes.local_modes.remove(LocalModes::ECHO);
            // Ctrl-Z and Ctrl-\ would end or stop the program without a word to it: a shell that takes over sets
            // the terminal as it likes, and shows the token after `fg`, or shows nothing any more.
            modes.special_codes[SpecialCodeIndex::VSUSP] = DISABLED;
            modes.special_codes[SpecialCodeIndex::VQUIT] = DISABLED;
            // Ctrl-V, which pastes elsewhere, would make an Enter behind it part of the token.
            modes.special_codes[SpecialCodeIndex::VLNEXT] = DISABLED;
            // Ctrl-Y stops the program as Ctrl-Z does.
            #[cfg(target_os = "macos")]
            {
                modes.special_codes[SpecialCodeIndex::VDSUSP] = DISABLED;
            }
            // As getpass(3): what was typed before it was asked for is no answer.
            // In the background this stops the program until it is in the foreground, as reading will.
            platform::stoppable(|| tcsetattr(io::stdin(), OptionalActions::Flush, &modes))?;
            Ok(Self(before))
        }
    }

    impl Drop for Hidden {
        fn drop(&mut self) {
            // What is left unread could be a piece of a token: it is not for the shell, which would show it.
            let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
        }
    }
}

#[cfg(windows)]
mod terminal {
    use std::io;

    /// Nothing has to be changed: the console does not show keys that are read one by one.
    pub(super) struct Hidden;

    impl Hidden {
        pub(super) fn new() -> io::Result<Self> {
            Ok(Self)
        }
    }

    pub(super) fn read_line() -> io::Result<String> {
        console::Term::stderr().read_secure_line()
    }
}

#[cfg(test)]
mod tests {
    use super::without_keys;

    #[test]
    fn keys_that_stand_for_no_character_are_no_part_of_the_token() {
        for keys in [
            "cp_pat_x",
            "cp_pat_x\r\n",
            "cp\u{1a}_pat\u{16}_x\u{1c}",
            "\u{1b}[200~cp_pat_x\u{1b}[201~",
            "cp_\u{1b}[Dpat_\u{1b}[1;5C\u{1b}[3~x\u{1b}OH",
            "\u{1b}cp_pat_x\u{1b}",
            "cp_pat_x\u{1b}[",
            "cp_pat_x\u{7f}\u{9b}",
        ] {
            assert_eq!(without_keys(keys), "cp_pat_x", "{keys:?}");
        }
    }
}
