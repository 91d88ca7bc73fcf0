//! `token_command`: runs a command of a profile that prints the token.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use crate::format::human_duration;
use crate::platform;
use crate::secret::Token;

/// The user may have to unlock something.
const TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// No token is longer.
const MAX_LINE: u64 = 64 * 1024;

/// Runs a command with the shell and returns the first line it prints. The user sees its stderr.
/// The error says what went wrong, to follow "the token_command of profile …".
pub(super) fn run(command: &str) -> Result<Token, String> {
    run_for(command, TIMEOUT, !has_terminal())
}

/// With a terminal, the command stays in our process group, so that it can ask for a password and Ctrl-C reaches it.
/// Otherwise it gets its `own_group`, so that everything it started can be killed.
fn run_for(command: &str, timeout: Duration, own_group: bool) -> Result<Token, String> {
    let deadline = Instant::now() + timeout;
    let timed_out = || format!("timed out after {}", human_duration(timeout));
    let mut shell = shell(command);
    if own_group {
        platform::new_process_group(&mut shell);
    }
    let mut child = shell
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("could not be started: {error}"))?;
    let line = first_line(&mut child);
    let status = wait(&mut child, if line.is_ok() { deadline } else { Instant::now() }, own_group);
    let line = line.map_err(|error| format!("could not be read: {error}"))?;
    let status =
        status.map_err(|error| format!("could not be waited for: {error}"))?.ok_or_else(timed_out)?;
    if !status.success() {
        return Err(match status.code() {
            Some(code) => format!("failed with exit code {code}"),
            None => "was killed by a signal".to_owned(),
        });
    }
    // A process that it has left running may keep its output open.
    let line = line.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    let text = String::from_utf8(line.map_err(|_| timed_out())?);
    let token = Token::new(&text.map_err(|_| "printed something that cannot be a token")?);
    if token.is_empty() { Err("printed nothing in its first line".to_owned()) } else { Ok(token) }
}

/// Waits for the command. Kills it at the deadline and returns `None`.
fn wait(child: &mut Child, deadline: Instant, own_group: bool) -> io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            break;
        }
        thread::sleep(POLL_INTERVAL);
    }
    if own_group {
        // It has not been waited for, so the process ID is still its own.
        platform::kill_process_group(child);
    }
    // Fails if it has just exited, which is fine.
    let _ = child.kill();
    let _ = child.wait();
    Ok(None)
}

/// Whether there is a terminal on which a command can ask. It does not have to be one of the streams: tty(4), "the
/// controlling terminal of the process, if any".
fn has_terminal() -> bool {
    cfg!(unix) && std::fs::File::open("/dev/tty").is_ok()
}

/// Sends the first line as soon as it is complete, and keeps reading, so that a full or closed pipe does not stop the
/// command.
fn first_line(child: &mut Child) -> io::Result<Receiver<Vec<u8>>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    if let Some(stdout) = child.stdout.take() {
        thread::Builder::new().spawn(move || {
            let mut stdout = BufReader::new(stdout);
            let mut line = Vec::new();
            // After an error, the bytes read so far are used. The exit code says more.
            let _ = stdout.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
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
    // cmd has its own quoting rules. `arg` would add quotes.
    shell.raw_arg("/C").raw_arg(command);
    shell
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_token() {
        for command in [
            "echo tok",
            "printf tok",
            "printf ' tok \\r\\nmore\\n'",
            "echo tok; echo more >&2",
            // More output than a pipe holds.
            "echo tok; head -c 300000 /dev/zero",
            // A process left behind that holds the output open.
            "echo tok; sleep 5 &",
            "read line; echo tok",
        ] {
            let started = Instant::now();
            assert_eq!(run_for(command, TIMEOUT, true).unwrap().expose(), "tok", "{command}");
            assert!(started.elapsed() < Duration::from_secs(4), "{command}");
        }
    }

    #[test]
    fn a_command_without_a_token_is_an_error_with_the_reason() {
        for (command, why) in [
            ("exit 3", "failed with exit code 3"),
            ("echo tok; exit 1", "failed with exit code 1"),
            ("true", "printed nothing in its first line"),
            ("echo; echo tok", "printed nothing in its first line"),
            ("kill -9 $$", "was killed by a signal"),
            ("printf '\\377'", "printed something that cannot be a token"),
            ("copera-no-such-command 2>/dev/null", "failed with exit code 127"),
        ] {
            assert_eq!(run_for(command, TIMEOUT, false).unwrap_err(), why, "{command}");
        }
    }

    #[test]
    fn a_command_that_takes_too_long_is_killed() {
        for own_group in [true, false] {
            let started = Instant::now();
            let why = run_for("exec sleep 30", Duration::from_millis(50), own_group).unwrap_err();
            assert_eq!(why, "timed out after 50ms");
            assert!(started.elapsed() < Duration::from_secs(10));
        }
    }

    #[test]
    fn with_its_own_group_everything_it_started_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let command = format!("sleep 1000 >'{}' | cat; true", fifo.display());
        let (sender, seen) = mpsc::channel();
        thread::spawn(move || {
            let mut reader = std::fs::File::open(fifo).unwrap();
            sender.send("opened").unwrap();
            // Ends when no process has the FIFO open for writing.
            reader.read_to_end(&mut Vec::new()).unwrap();
            sender.send("closed").unwrap();
        });
        // A busy machine may take longer to start the command.
        let mut timeouts = [100, 500, 2000, 8000].map(Duration::from_millis).into_iter();
        while seen.try_recv().is_err() {
            run_for(&command, timeouts.next().unwrap(), true).unwrap_err();
        }
        assert_eq!(seen.recv_timeout(TIMEOUT), Ok("closed"));
    }
}
