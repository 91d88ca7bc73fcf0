//! The account's token: its four places in order, and the command that may print it.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use super::Config;
use super::profile::{Location, Sourced};
use crate::environment::{self, Environment};
use crate::error::Error;
use crate::format::human_duration;
use crate::platform;
use crate::secret::Token;

/// How long a `token_command` may take: a person may have to unlock something.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);
/// How often its end is looked for.
const COMMAND_POLL: Duration = Duration::from_millis(5);
/// No token is longer; a command that prints more in one line prints something else.
const TOKEN_MAX: u64 = 64 * 1024;

/// Where the token is, before anything was run to get it.
#[derive(Debug)]
pub enum Origin {
    /// A variable holds it.
    Variable(&'static str, Token),
    /// A file holds it.
    File(Sourced<Token>),
    /// A command prints it.
    Command(Sourced<String>),
}

/// The first place that has a token.
pub fn find(env: &Environment, config: &Config) -> Result<Option<Origin>, Error> {
    for (value, name) in [(&env.token, "COPERA_TOKEN"), (&env.cli_token, "COPERA_CLI_AUTH_TOKEN")] {
        if let Some(token) = environment::token(value, name)? {
            return Ok(Some(Origin::Variable(name, token)));
        }
    }
    let profile = &config.profile;
    let file = profile.token().map(Origin::File);
    Ok(file.or_else(|| profile.token_command().map(Origin::Command)))
}

impl Origin {
    /// The place in a file, if it is in one.
    pub fn place(&self) -> Option<&Location> {
        match self {
            Self::Variable(..) => None,
            Self::File(set) => Some(&set.location),
            Self::Command(set) => Some(&set.location),
        }
    }

    /// For `-v`: where it is from.
    pub fn describe(&self) -> String {
        match self {
            Self::Variable(name, _) => (*name).to_owned(),
            Self::File(set) => set.location.to_string(),
            Self::Command(set) => format!("token_command in {}", set.location),
        }
    }

    /// The token itself: runs the command if there is one.
    pub fn obtain(self, profile: &str) -> Result<Token, Error> {
        let from = self.describe();
        let token = match self {
            Self::Variable(_, token) => token,
            Self::File(set) => set.value,
            Self::Command(set) => {
                let failed = |what| Error::TokenCommand { profile: profile.to_owned(), what };
                let token = run(&set.value, COMMAND_LIMIT, !has_terminal()).map_err(failed)?;
                return match fault(&token) {
                    None => Ok(token),
                    Some(fault) => Err(failed(format!("printed something that is no token: it {fault}"))),
                };
            }
        };
        match fault(&token) {
            None => Ok(token),
            Some(fault) => Err(Error::usage_hint(format!("the token from {from} {fault}"), ONE_WORD)),
        }
    }
}

/// What to do about a token with a [`fault`].
pub const ONE_WORD: &str = "copy it anew: a personal access token is one word that begins with cp_pat_";

/// Why it cannot be sent at all, to stand behind "the token"; `None`: it can. RFC 6750, 2.1 knows visible ASCII
/// only; and servers refuse a header of more than some 8 KiB without reading it (nginx's
/// `large_client_header_buffers`). Never a piece of the text itself, which holds the token.
pub fn fault(token: &Token) -> Option<&'static str> {
    const HEADER_MOST: usize = 8000;
    const QUOTES: [char; 11] = ['"', '\'', '`', '“', '”', '„', '‘', '’', '‚', '«', '»'];
    let token = token.expose();
    let word = |word: &str| token.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    if token.contains('\0') {
        Some("is UTF-16 text: save it as UTF-8")
    } else if is_assignment(token) {
        Some("has the name of a variable before it: only what is behind the `=` is the token")
    } else if word("authorization:") || word("bearer ") {
        Some("has a part of the HTTP header before it: only what is behind `Bearer` is the token")
    } else if token.starts_with(QUOTES) || token.ends_with(QUOTES) {
        Some("has quotes around it: only what is between them is the token")
    } else if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        Some("has spaces, control characters or non-ASCII characters in it")
    } else if token.len() > HEADER_MOST {
        Some("is longer than any token")
    } else {
        None
    }
}

/// Whether it is a line of a script or of a file of variables: `NAME=…`, `export NAME=…`, `$env:NAME = …`. A token
/// itself may have `=` at its end, as padding.
fn is_assignment(token: &str) -> bool {
    let Some((name, value)) = token.split_once('=') else { return false };
    let keyword = ["export ", "set ", "setx ", "declare -x ", "$env:", "$"];
    let name = keyword.iter().find_map(|keyword| name.strip_prefix(keyword)).unwrap_or(name).trim();
    // Not `cp_pat_…=…`: with that much of the form it may be a token all the same.
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name && !name.starts_with("cp_") && !value.trim_start_matches('=').is_empty()
}

/// Runs a command by the shell and takes the first line that it prints. What it says on stderr is the
/// user's to read.
///
/// With a terminal it stays in our process group, so that it can ask for a password there, and so that Ctrl-C
/// reaches it. Without one (`alone`) it has a group of its own, so that all that it started can be ended.
fn run(command: &str, limit: Duration, alone: bool) -> Result<Token, String> {
    let deadline = Instant::now() + limit;
    let too_long = || format!("took longer than {}", human_duration(limit));
    let mut shell = shell(command);
    if alone {
        platform::lead_a_group(&mut shell);
    }
    let mut child = shell
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("could not be started: {error}"))?;
    let line = first_line(&mut child).map_err(|error| {
        let _ = child.kill();
        let _ = child.wait();
        format!("could not be listened to: {error}")
    })?;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => thread::sleep(COMMAND_POLL),
            Ok(None) => {
                // It may have ended in this very moment; then there is nothing to kill, and nothing to say.
                if alone {
                    // It was not waited for, so the number is still its own.
                    platform::kill_group(&child);
                }
                let _ = child.kill();
                let _ = child.wait();
                return Err(too_long());
            }
            Err(error) => return Err(format!("could not be waited for: {error}")),
        }
    };
    if !status.success() {
        return Err(match status.code() {
            Some(code) => format!("ended with exit code {code}"),
            None => "was ended by a signal".to_owned(),
        });
    }
    // Something that it left running may hold its output open: then the end of it never comes.
    let line =
        line.recv_timeout(deadline.saturating_duration_since(Instant::now())).map_err(|_| too_long())?;
    let token = Token::new(&String::from_utf8(line).map_err(|_| "printed something that cannot be a token")?);
    if token.is_empty() { Err("printed nothing in its first line".to_owned()) } else { Ok(token) }
}

/// Whether there is a terminal for a command to ask at.
fn has_terminal() -> bool {
    // Whatever the streams are: tty(4), "the controlling terminal of the process, if any".
    cfg!(unix) && std::fs::File::open("/dev/tty").is_ok()
}

/// Reads the first line as soon as it is there, and goes on reading, so that the command is not stopped by a
/// full or closed pipe before it ends.
fn first_line(child: &mut Child) -> io::Result<Receiver<Vec<u8>>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    if let Some(stdout) = child.stdout.take() {
        thread::Builder::new().spawn(move || {
            let mut stdout = BufReader::new(stdout);
            let mut line = Vec::new();
            // A broken pipe gives what was read up to then; the exit code tells the rest.
            let _ = stdout.by_ref().take(TOKEN_MAX).read_until(b'\n', &mut line);
            let _ = sender.send(line);
            let _ = io::copy(&mut stdout, &mut io::sink());
        })?;
    }
    Ok(receiver)
}

#[cfg(not(windows))]
fn shell(command: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command);
    shell
}

#[cfg(windows)]
fn shell(command: &str) -> Command {
    use std::os::windows::process::CommandExt;
    let mut shell = Command::new("cmd");
    // Not `arg`: cmd has quoting rules of its own, and the command is to reach it as it was written.
    shell.raw_arg("/C").raw_arg(command);
    shell
}

#[cfg(test)]
mod fault_tests {
    use super::*;

    #[test]
    fn what_stands_around_a_token_is_told_and_never_shown() {
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
            let fault = fault(&Token::new(text)).unwrap_or_default();
            assert!(fault.contains(word) && !fault.contains("cp_pat"), "{text:?}: {fault}");
        }
        for good in ["cp_pat_x", "abc=", "abc==", "cp_pat_a=b", "eyJ.x-_~+/=", "a'b", "x"] {
            assert_eq!(fault(&Token::new(good)), None, "{good}");
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn the_first_line_is_the_token() {
        for command in [
            "echo tok",
            "printf tok",
            "printf ' tok \\r\\nmore\\n'",
            "echo tok; echo more >&2",
            // Much more output than a pipe holds.
            "echo tok; head -c 300000 /dev/zero",
            // Something left behind that holds the output open.
            "echo tok; sleep 5 &",
            "read line; echo tok",
        ] {
            let started = Instant::now();
            assert_eq!(run(command, LIMIT, true).unwrap().expose(), "tok", "{command}");
            assert!(started.elapsed() < Duration::from_secs(4), "{command}");
        }
    }

    #[test]
    fn a_command_that_gives_no_token_says_why() {
        for (command, why) in [
            ("exit 3", "ended with exit code 3"),
            ("echo tok; exit 1", "ended with exit code 1"),
            ("true", "printed nothing in its first line"),
            ("echo; echo tok", "printed nothing in its first line"),
            ("kill -9 $$", "was ended by a signal"),
            ("printf '\\377'", "printed something that cannot be a token"),
            ("copera-no-such-command 2>/dev/null", "ended with exit code 127"),
        ] {
            assert_eq!(run(command, LIMIT, false).unwrap_err(), why, "{command}");
        }
    }

    #[test]
    fn a_command_that_takes_too_long_is_ended() {
        for alone in [true, false] {
            let started = Instant::now();
            let why = run("exec sleep 30", Duration::from_millis(50), alone).unwrap_err();
            assert_eq!(why, "took longer than 50ms");
            assert!(started.elapsed() < Duration::from_secs(10));
        }
    }

    #[test]
    fn without_a_terminal_all_that_it_started_is_ended_too() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let command = format!("sleep 1000 >'{}' | cat; true", fifo.display());
        let (sender, seen) = mpsc::channel();
        thread::spawn(move || {
            let mut reader = std::fs::File::open(fifo).unwrap();
            sender.send("held").unwrap();
            // Its end comes when nobody holds the other end any more.
            reader.read_to_end(&mut Vec::new()).unwrap();
            sender.send("let go").unwrap();
        });
        // A busy machine may take longer to start it all.
        let mut limits = [100, 500, 2000, 8000].map(Duration::from_millis).into_iter();
        while seen.try_recv().is_err() {
            run(&command, limits.next().unwrap(), true).unwrap_err();
        }
        assert_eq!(seen.recv_timeout(LIMIT), Ok("let go"));
    }
}
