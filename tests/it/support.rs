//! A world for one test: a home, a working directory, an environment with nothing in it but what the test puts
//! there, and a drive of its own.
//!
//! Nothing here waits for ever: every run of the program is killed after [`LIMIT`]. And whatever a test is about,
//! every run is looked over for panics and for secrets on stdout and stderr ([`Ran`]).

#![allow(dead_code, reason = "what one topic needs may be on the shelf before its test is")]

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use local_drive::{Action, LocalDrive, Options};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::program::{self, Homes};
pub use crate::ran::{LIMIT, Ran, Running};

/// For `drive.wait_until`: longer than anything takes.
pub const CAP: Duration = Duration::from_secs(60);

pub const MIB: u64 = 1024 * 1024;
/// The smallest part, and what the program plans for small files.
pub const PART: u64 = 5 * MIB;

/// One test's surroundings.
pub struct World {
    pub drive: LocalDrive,
    root: TempDir,
    homes: Homes,
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
        let homes = Homes::make(root.path());
        let mut world = Self { drive, root, homes, vars: Vec::new() };
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
        self.homes.home()
    }

    /// The working directory of every run.
    pub fn work(&self) -> PathBuf {
        self.homes.work()
    }

    /// Our own folder in the platform's configuration directory; not made yet.
    pub fn config_dir(&self) -> PathBuf {
        self.homes.config_dir()
    }

    /// Where the records of uploads are; not made yet.
    pub fn state_dir(&self) -> PathBuf {
        self.homes.state_dir()
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
        let mut command = program::command();
        command.current_dir(self.work()).args(args).envs(self.homes.vars()).env("RUST_BACKTRACE", "0");
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

    /// The program behind a shell that runs this script first.
    pub fn shell(&self, script: &str, args: &[&str]) -> Command {
        let program = self.command(args);
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).arg(program.get_program()).args(program.get_args());
        command.env_clear().current_dir(self.work());
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
    }

    /// Starts the program with limits, such as `ulimit -n 40`.
    pub fn spawn_limited(&self, limits: &str, args: &[&str]) -> Running {
        self.spawn_command(self.shell(&format!("{limits}; exec \"$0\" \"$@\""), args))
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
    pub fn spawn_with(&self, command: Command) -> Running {
        Running::start(command, self.drive.token())
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

/// An answer of the API with this status and JSON, whatever was asked.
pub fn answer(status: u16, json: impl std::fmt::Display) -> Action {
    let kind = ("content-type".to_owned(), "application/json; charset=utf-8".to_owned());
    Action::Status { code: status, headers: vec![kind], body: json.to_string() }
}

/// A refusal of the API in its usual form.
pub fn refusal(status: u16, message: &str) -> Action {
    answer(status, serde_json::json!({ "statusCode": status, "error": "Word", "message": message }))
}

/// The SHA-256 of some bytes, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
    hex(&hash.finalize())
}
