//! Reads a token from a terminal without echo, or from a pipe.

use std::io::{self, BufRead as _, ErrorKind, IsTerminal as _, Read as _};
use std::thread;

use anyhow::Context as _;

use crate::config::token::{COPY_AGAIN, check};
use crate::error::{Code, Error};
use crate::event::{Event, Reporter};
use crate::secret::Token;

/// From Copera's guide "Authentication".
const WHERE: &str = "Make a personal access token in Copera: Workspace Settings, Integrations, Personal Tokens, \
                     Create new token. It needs the scope ACCESS_DRIVE.";
const PROMPT: &str = "Paste it here and press Enter (it is not shown):";
const HINT: &str =
    "type it when asked at a terminal, or pipe it in: pass show copera | copera-upload --login";
/// No token is longer.
const MAX_LINE: u64 = 64 * 1024;

/// Asks for a token, or reads the first line of standard input if that is not a terminal. Dropping the future restores
/// the terminal.
/// Fails with [`Code::Auth`] for what cannot be a token for drives, and [`Error::usage`] if standard input
/// cannot be read.
pub(super) async fn ask(reporter: &dyn Reporter) -> Result<Token, Error> {
    let is_terminal = io::stdin().is_terminal();
    let line = read(is_terminal, reporter).await.map_err(|error| Error::config(error, Some(HINT)))?;
    let line = if is_terminal { without_special_keys(&line) } else { line };
    // Tools on Windows write a byte order mark.
    let token = Token::new(line.trim_start_matches('\u{feff}'));
    let invalid = |what: &str, hint| Err(Error::with_hint(Code::Auth, what, hint));
    if token.is_empty() {
        let what = match is_terminal {
            true => "no token was given",
            false => "there is no token in standard input's first line",
        };
        return invalid(what, HINT);
    }
    if let Err(problem) = check(&token) {
        return invalid(&format!("the token {problem}"), COPY_AGAIN);
    }
    if token.is_integration_key() {
        let what =
            "this is an integration key (cp_key_…), which gives access to boards and channels, not to drives";
        return invalid(what, WHERE);
    }
    Ok(token)
}

async fn read(is_terminal: bool, reporter: &dyn Reporter) -> anyhow::Result<String> {
    // Restores the terminal when dropped.
    let _hidden = is_terminal
        .then(terminal::Hidden::new)
        .transpose()
        .context("cannot keep the terminal from showing the token")?;
    if is_terminal {
        reporter.event(&Event::Login { message: WHERE, is_prompt: false });
        reporter.event(&Event::Login { message: PROMPT, is_prompt: true });
    }
    let (sender, line) = tokio::sync::oneshot::channel();
    // Reading a terminal cannot be cancelled, so it has a thread of its own that nothing waits for.
    let read = move || sender.send(if is_terminal { terminal::read_line() } else { first_line() });
    let line = match thread::Builder::new().spawn(read) {
        Ok(_) => line.await.unwrap_or_else(|_| Err(ErrorKind::UnexpectedEof.into())),
        Err(error) => Err(error),
    };
    line.context("cannot read a token from standard input")
}

/// The input without control characters and without the escape sequences of arrow keys, function keys and bracketed
/// paste.
fn without_special_keys(line: &str) -> String {
    let (mut out, mut rest) = (String::new(), line.chars());
    while let Some(c) = rest.next() {
        if c == '\u{1b}' {
            let (keys, after) = (rest.as_str(), rest.clone());
            if keys.starts_with('[') {
                // ECMA-48, 5.4: parameter and intermediate characters, then a final one.
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

/// The first line of standard input. Invalid Unicode is replaced by characters that a token cannot have.
fn first_line() -> io::Result<String> {
    let mut line = Vec::new();
    io::stdin().lock().take(MAX_LINE).read_until(b'\n', &mut line)?;
    Ok(String::from_utf8_lossy(&line).into_owned())
}

#[cfg(unix)]
mod terminal {
    use std::io;

    use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

    pub(super) use super::first_line as read_line;
    use crate::platform;

    /// `_POSIX_VDISABLE`, which disables a special key: termios(3) on Linux, termios(4) on the BSDs and macOS.
    const DISABLED: u8 = if cfg!(any(target_os = "linux", target_os = "android")) { 0 } else { 0xff };

    /// Disables echo on the terminal of standard input until dropped. Backspace and Ctrl-C keep working.
    pub(super) struct Hidden(Termios);

    impl Hidden {
        pub(super) fn new() -> io::Result<Self> {
            let before = tcgetattr(io::stdin())?;
            let mut modes = before.clone();
            modes.local_modes.remove(LocalModes::ECHO);
            // Ctrl-Z and Ctrl-\ would stop or kill the program. The shell would then change the modes of the terminal,
            // and show the token after `fg`, or keep echo disabled.
            modes.special_codes[SpecialCodeIndex::VSUSP] = DISABLED;
            modes.special_codes[SpecialCodeIndex::VQUIT] = DISABLED;
            // Users may press Ctrl-V to paste. It would make a following Enter part of the token.
            modes.special_codes[SpecialCodeIndex::VLNEXT] = DISABLED;
            // Ctrl-Y stops the program like Ctrl-Z.
            #[cfg(target_os = "macos")]
            {
                modes.special_codes[SpecialCodeIndex::VDSUSP] = DISABLED;
            }
            // Discards what was typed before the prompt, like getpass(3). In the background this stops the program
            // until it is in the foreground, as reading would.
            platform::with_sigttou(|| tcsetattr(io::stdin(), OptionalActions::Flush, &modes))?;
            Ok(Self(before))
        }
    }

    impl Drop for Hidden {
        fn drop(&mut self) {
            // Unread input may be part of a token. The shell must not get and show it.
            let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
        }
    }
}

#[cfg(windows)]
mod terminal {
    use std::io;

    /// Changes nothing. The console does not echo keys that are read one at a time.
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
    use super::without_special_keys;

    #[test]
    fn special_keys_are_not_part_of_the_token() {
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
            assert_eq!(without_special_keys(keys), "cp_pat_x", "{keys:?}");
        }
    }
}
