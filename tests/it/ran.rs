//! A run of the program, in progress or finished.

#![allow(dead_code, reason = "not every topic uses all of it")]

use std::io::Read;
use std::process::{Child, Command};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// The program is killed after this time.
pub const LIMIT: Duration = Duration::from_secs(120);

/// Reads a stream on another thread, so that its pipe never fills up.
fn gather(mut stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        bytes
    })
}

/// A run in progress. Dropping it kills the program.
pub struct Running {
    pub child: Child,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    secret: String,
}

impl Running {
    /// Starts a command and reads its piped streams. They must not contain `secret`.
    pub fn start(mut command: Command, secret: &str) -> Self {
        let mut child = command.spawn().unwrap();
        Self {
            stdout: child.stdout.take().map(gather),
            stderr: child.stderr.take().map(gather),
            child,
            secret: secret.to_owned(),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name: `INT`, `TERM`, `KILL`, `STOP`, …
    #[cfg(unix)]
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(status.unwrap().success());
    }

    /// Kills the program, as a crash would, and waits for it.
    pub fn kill(mut self) -> Ran {
        let _ = self.child.kill();
        self.wait()
    }

    /// Whether the program is still running.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Peak memory in bytes, as the kernel reports it.
    #[cfg(target_os = "linux")]
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
    }

    /// Waits for the end of the program.
    pub fn wait(mut self) -> Ran {
        let until = Instant::now() + LIMIT;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > until {
                let _ = self.child.kill();
                let _ = self.child.wait();
                let said = self.stderr.take().map(|said| said.join().unwrap()).unwrap_or_default();
                panic!("still running after {LIMIT:?}; stderr:\n{}", String::from_utf8_lossy(&said));
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let text = |stream: Option<JoinHandle<Vec<u8>>>| {
            stream.map(|bytes| String::from_utf8(bytes.join().unwrap()).unwrap()).unwrap_or_default()
        };
        let ran =
            Ran { code: status.code(), stdout: text(self.stdout.take()), stderr: text(self.stderr.take()) };
        ran.check_panics_and_secrets(&self.secret);
        ran
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A finished run: exit code and output.
#[derive(Debug)]
pub struct Ran {
    /// `None` if a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Checks what every run must satisfy: no panic, and no secret in the output.
    fn check_panics_and_secrets(&self, token: &str) {
        let all = format!("{}\n{}", self.stdout, self.stderr);
        assert!(!all.contains("panicked"), "the program panicked: {self:#?}");
        assert!(!all.contains(token), "the token was printed: {self:#?}");
        let lower = all.to_ascii_lowercase();
        for name in ["x-amz-signature", "x-amz-credential"] {
            for (at, _) in lower.match_indices(name) {
                let value = lower[at + name.len()..].trim_start_matches(['=', '"', ':', ' ']);
                let value = value.strip_prefix("%3d").unwrap_or(value);
                let shown = value.starts_with(|first: char| first.is_ascii_alphanumeric());
                assert!(!shown, "a signed query was printed: {self:#?}");
            }
        }
    }

    /// Requires success.
    #[track_caller]
    pub fn ok(&self) -> &Self {
        self.ends(0)
    }

    /// Requires this exit code.
    #[track_caller]
    pub fn ends(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Requires this exit code, an error on stderr and an empty stdout.
    #[track_caller]
    pub fn fails(&self, code: i32) -> &Self {
        self.ends(code);
        assert!(self.stderr.lines().any(|line| line.starts_with("error: ")), "{self:#?}");
        assert_eq!(self.stdout, "", "{self:#?}");
        self
    }

    /// Requires this text on stderr.
    #[track_caller]
    pub fn says(&self, words: &str) -> &Self {
        assert!(self.stderr.contains(words), "missing on stderr: {words:?}\n{self:#?}");
        self
    }

    /// Forbids this text on stderr.
    #[track_caller]
    pub fn says_nothing_of(&self, words: &str) -> &Self {
        assert!(!self.stderr.contains(words), "said: {words:?}\n{self:#?}");
        self
    }

    /// The JSON documents on stdout, one per line.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:#?}"));
        self.stdout.lines().map(parse).collect()
    }

    /// The only JSON document on stdout.
    #[track_caller]
    pub fn json(&self) -> Value {
        let mut lines = self.json_lines();
        assert_eq!(lines.len(), 1, "{self:#?}");
        lines.remove(0)
    }

    /// The ID of the only item on stdout.
    #[track_caller]
    pub fn id(&self) -> String {
        self.json()["_id"].as_str().unwrap_or_else(|| panic!("no _id: {self:#?}")).to_owned()
    }
}
