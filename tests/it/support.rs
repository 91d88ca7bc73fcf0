//! A world for one test: a home, a working directory, an environment with nothing in it but what the test puts
//! there, and a drive of its own.
//!
//! Nothing here waits for ever: every run of the program is killed after [`LIMIT`]. And whatever a test is about,
//! every run is looked over for panics and for secrets on stdout and stderr ([`Ran`]).

#![allow(dead_code, reason = "what one topic needs may be on the shelf before its test is")]

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use local_drive::{Action, LocalDrive, Options};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// The program is killed after this long.
pub const LIMIT: Duration = Duration::from_secs(120);
/// For `drive.wait_until`: longer than anything takes.
pub const CAP: Duration = Duration::from_secs(60);

pub const MIB: u64 = 1024 * 1024;
/// The smallest part, and what the program plans for small files.
pub const PART: u64 = 5 * MIB;

/// One test's surroundings.
pub struct World {
    pub drive: LocalDrive,
    root: TempDir,
    /// Variables of every run, besides those that make it hermetic.
    vars: Vec<(OsString, Option<OsString>)>,
}

impl World {
    /// With a plain drive.
    pub fn new() -> Self {
        Self::with(Options::default())
    }

    /// With a drive that was told something.
    pub fn with(options: Options) -> Self {
        let drive = LocalDrive::start(options).unwrap();
        let root = tempfile::tempdir().unwrap();
        for folder in ["home", "work", "config", "state"] {
            std::fs::create_dir(root.path().join(folder)).unwrap();
        }
        let mut world = Self { drive, root, vars: Vec::new() };
        world.set("COPERA_API_URL", world.drive.api_url());
        world.set("COPERA_TOKEN", world.drive.token().to_owned());
        world
    }

    /// Sets a variable for every run from here on.
    pub fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.vars.push((name.into(), Some(value.into())));
    }

    /// Takes a variable away from every run from here on: `COPERA_TOKEN`, `COPERA_API_URL`, …
    pub fn unset(&mut self, name: &str) {
        self.vars.push((name.into(), None));
    }

    /// The user's home.
    pub fn home(&self) -> PathBuf {
        self.root.path().join("home")
    }

    /// The working directory of every run.
    pub fn work(&self) -> PathBuf {
        self.root.path().join("work")
    }

    /// Our own folder in the platform's configuration directory; not made yet.
    pub fn config_dir(&self) -> PathBuf {
        if cfg!(target_os = "macos") {
            self.home().join("Library/Application Support/copera-upload")
        } else {
            self.root.path().join("config/copera-upload")
        }
    }

    /// Where the records of uploads are; not made yet.
    pub fn state_dir(&self) -> PathBuf {
        if cfg!(target_os = "macos") {
            self.home().join("Library/Application Support/copera-upload")
        } else {
            self.root.path().join("state/copera-upload")
        }
    }

    /// A file in the working directory with `size` bytes of content that its name and size determine.
    pub fn file(&self, name: impl AsRef<OsStr>, size: u64) -> PathBuf {
        let path = self.work().join(name.as_ref());
        let seed = name
            .as_ref()
            .as_encoded_bytes()
            .iter()
            .fold(size, |seed, byte| seed.wrapping_mul(0x0100_0000_01b3).wrapping_add(u64::from(*byte)));
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut file = std::fs::File::create(&path).unwrap();
        let mut left = size;
        let mut block = vec![0; MIB as usize];
        while left > 0 {
            let take = left.min(MIB);
            let block = &mut block[..take as usize];
            dice.fill(block);
            file.write_all(block).unwrap();
            left -= take;
        }
        path
    }

    /// A file in the working directory with this content.
    pub fn file_of(&self, name: impl AsRef<OsStr>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.work().join(name.as_ref());
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A file in the working directory that has a size and takes no room.
    pub fn sparse(&self, name: &str, size: u64) -> PathBuf {
        let path = self.work().join(name);
        std::fs::File::create(&path).unwrap().set_len(size).unwrap();
        path
    }

    /// The program with these arguments, hermetic, not yet started.
    pub fn command<A: AsRef<OsStr>>(&self, args: &[A]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("copera-upload"));
        command.env_clear().current_dir(self.work()).args(args);
        // Windows starts no program and opens no socket without SystemRoot.
        for kept in ["PATH", "SystemRoot", "LLVM_PROFILE_FILE"] {
            if let Some(value) = std::env::var_os(kept) {
                command.env(kept, value);
            }
        }
        command
            .env("HOME", self.home())
            .env("USERPROFILE", self.home())
            .env("XDG_CONFIG_HOME", self.root.path().join("config"))
            .env("XDG_STATE_HOME", self.root.path().join("state"))
            .env("TMPDIR", self.root.path())
            .env("RUST_BACKTRACE", "0");
        for (name, value) in &self.vars {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    /// The same for who wants assert_cmd's assertions.
    pub fn upload<A: AsRef<OsStr>>(&self, args: &[A]) -> assert_cmd::Command {
        let mut command = assert_cmd::Command::from_std(self.command(args));
        command.timeout(LIMIT);
        command
    }

    /// Runs the program to its end.
    pub fn run<A: AsRef<OsStr>>(&self, args: &[A]) -> Ran {
        self.spawn(args).wait()
    }

    /// Runs the program in the background.
    pub fn spawn<A: AsRef<OsStr>>(&self, args: &[A]) -> Running {
        self.spawn_command(self.command(args))
    }

    /// Runs what [`World::command`] gave, after changes of the test's (but not of its streams, for which see
    /// [`World::spawn_with`]).
    pub fn spawn_command(&self, mut command: Command) -> Running {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.spawn_with(command)
    }

    /// Runs a command with the streams that it has.
    pub fn spawn_with(&self, mut command: Command) -> Running {
        let mut child = command.spawn().unwrap();
        Running {
            stdout: child.stdout.take().map(gather),
            stderr: child.stderr.take().map(gather),
            child,
            secret: self.drive.token().to_owned(),
        }
    }

    /// The one item in the drive, or the test fails.
    pub fn only_item(&self) -> Value {
        let items = self.drive.items();
        assert_eq!(items.len(), 1, "{items:?}");
        items.into_iter().next().unwrap()
    }

    /// Checks that the drive holds the file under this id, byte for byte.
    pub fn assert_stored(&self, id: &str, path: &Path) {
        assert_eq!(self.drive.object_sha256(id).unwrap(), sha256_of(path), "{}", path.display());
    }
}

/// Reads a stream to its end beside everything else, so that no pipe fills up.
fn gather(mut stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        bytes
    })
}

/// A run of the program that has not ended. Killed when it is dropped.
pub struct Running {
    pub child: Child,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    secret: String,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal by its name: `INT`, `TERM`, `KILL`, `STOP`, …
    #[cfg(unix)]
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(status.unwrap().success());
    }

    /// Kills it, as a crash would, and waits for its end.
    pub fn kill(mut self) -> Ran {
        let _ = self.child.kill();
        self.wait()
    }

    /// Whether it has not ended by now.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The most memory that it has had, in bytes, by the kernel's own count.
    #[cfg(target_os = "linux")]
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
    }

    /// Waits for its end.
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
        ran.look_over(&self.secret);
        ran
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A run of the program that has ended: exit code and what it said.
#[derive(Debug)]
pub struct Ran {
    /// `None`: a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// What holds for every run: no panic, no secret.
    fn look_over(&self, token: &str) {
        let all = format!("{}\n{}", self.stdout, self.stderr);
        assert!(!all.contains("panicked"), "it panicked: {self:#?}");
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

    /// It has to have ended well.
    #[track_caller]
    pub fn ok(&self) -> &Self {
        self.ends(0)
    }

    /// It has to have ended with this exit code.
    #[track_caller]
    pub fn ends(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// It has to have ended with this exit code, with an error line and nothing on stdout.
    #[track_caller]
    pub fn fails(&self, code: i32) -> &Self {
        self.ends(code);
        assert!(self.stderr.lines().any(|line| line.starts_with("error: ")), "{self:#?}");
        assert_eq!(self.stdout, "", "{self:#?}");
        self
    }

    /// stderr has to have this in it.
    #[track_caller]
    pub fn says(&self, words: &str) -> &Self {
        assert!(self.stderr.contains(words), "not said: {words:?}\n{self:#?}");
        self
    }

    /// stderr must not have this in it.
    #[track_caller]
    pub fn says_nothing_of(&self, words: &str) -> &Self {
        assert!(!self.stderr.contains(words), "said: {words:?}\n{self:#?}");
        self
    }

    /// The JSON documents on stdout, one a line.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:#?}"));
        self.stdout.lines().map(parse).collect()
    }

    /// The one JSON document on stdout.
    #[track_caller]
    pub fn json(&self) -> Value {
        let mut lines = self.json_lines();
        assert_eq!(lines.len(), 1, "{self:#?}");
        lines.remove(0)
    }

    /// The id of the one item on stdout.
    #[track_caller]
    pub fn id(&self) -> String {
        self.json()["_id"].as_str().unwrap_or_else(|| panic!("no _id: {self:#?}")).to_owned()
    }
}

/// An answer of the API with this status and JSON, whatever was asked.
pub fn answer(status: u16, json: impl std::fmt::Display) -> Action {
    let kind = ("content-type".to_owned(), "application/json; charset=utf-8".to_owned());
    Action::Status { code: status, headers: vec![kind], body: json.to_string() }
}

/// A refusal of the API in its usual form.
pub fn refusal(status: u16, message: &str) -> Action {
    answer(status, serde_json::json!({ "statusCode": status, "error": "Word", "message": message }))
}

/// The SHA-256 of a file, in hexadecimal.
pub fn sha256_of(path: &Path) -> String {
    let mut hash = Sha256::new();
    let mut file = std::fs::File::open(path).unwrap();
    let mut block = vec![0; MIB as usize];
    loop {
        match file.read(&mut block).unwrap() {
            0 => break,
            read => hash.update(&block[..read]),
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
