//! The environment of a test: home, working directory, environment variables, and a drive.
//!
//! Every run is killed after [`LIMIT`] and is checked for panics and for secrets in its output ([`Ran`]).

#![allow(dead_code, reason = "not every topic uses all of it")]

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

/// Timeout of `drive.wait_until`. Longer than anything takes.
pub const CAP: Duration = Duration::from_secs(60);

pub const MIB: u64 = 1024 * 1024;
/// The smallest part, and the part size for small files.
pub const PART: u64 = 5 * MIB;

/// The environment of a test.
pub struct World {
    pub drive: LocalDrive,
    root: TempDir,
    homes: Homes,
    /// Additional variables of every run.
    vars: Vec<(OsString, Option<OsString>)>,
}

impl World {
    /// A world with a default drive.
    pub fn new() -> Self {
        Self::with(Options::default())
    }

    /// A world with these options of the drive.
    pub fn with(options: Options) -> Self {
        let drive = LocalDrive::start(options).unwrap();
        let root = tempfile::tempdir().unwrap();
        let homes = Homes::make(root.path());
        let mut world = Self { drive, root, homes, vars: Vec::new() };
        world.set("COPERA_API_URL", world.drive.api_url());
        world.set("COPERA_TOKEN", world.drive.token().to_owned());
        world
    }

    /// Sets a variable for all later runs.
    pub fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.vars.push((name.into(), Some(value.into())));
    }

    /// Removes a variable, such as `COPERA_TOKEN`, from all later runs.
    pub fn unset(&mut self, name: &str) {
        self.vars.push((name.into(), None));
    }

    /// Home of the user.
    pub fn home(&self) -> PathBuf {
        self.homes.home()
    }

    /// Working directory of every run.
    pub fn work(&self) -> PathBuf {
        self.homes.work()
    }

    /// Configuration directory of the program. It does not exist yet.
    pub fn config_dir(&self) -> PathBuf {
        self.homes.config_dir()
    }

    /// State directory of the program, with its records. It does not exist yet.
    pub fn state_dir(&self) -> PathBuf {
        self.homes.state_dir()
    }

    /// Creates a file in the working directory. Its name and size determine its content.
    pub fn file(&self, name: impl AsRef<OsStr>, size: u64) -> PathBuf {
        let path = self.work().join(name.as_ref());
        let seed = name
            .as_ref()
            .as_encoded_bytes()
            .iter()
            .fold(size, |seed, byte| seed.wrapping_mul(0x0100_0000_01b3).wrapping_add(u64::from(*byte)));
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut file = std::fs::File::create(&path).unwrap();
        let mut left = size;
        let mut block = vec![0; MIB as usize];
        while left > 0 {
            let take = left.min(MIB);
            let block = &mut block[..take as usize];
            rng.fill(block);
            file.write_all(block).unwrap();
            left -= take;
        }
        path
    }

    /// Creates a file in the working directory with this content.
    pub fn file_of(&self, name: impl AsRef<OsStr>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.work().join(name.as_ref());
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Creates a FIFO in the working directory.
    #[cfg(unix)]
    pub fn fifo(&self, name: &str) -> PathBuf {
        let path = self.work().join(name);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }

    /// Creates a sparse file in the working directory.
    pub fn sparse(&self, name: &str, size: u64) -> PathBuf {
        let path = self.work().join(name);
        std::fs::File::create(&path).unwrap().set_len(size).unwrap();
        path
    }

    /// A command for the program with these arguments and a clean environment.
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

    /// The same for assertions of assert_cmd.
    pub fn upload<A: AsRef<OsStr>>(&self, args: &[A]) -> assert_cmd::Command {
        let mut command = assert_cmd::Command::from_std(self.command(args));
        command.timeout(LIMIT);
        command
    }

    /// Runs the program behind a shell script.
    pub fn shell(&self, script: &str, args: &[&str]) -> Command {
        self.behind("sh", script, args)
    }

    /// Runs the program behind a bash script.
    pub fn bash(&self, script: &str, args: &[&str]) -> Command {
        self.behind("bash", script, args)
    }

    fn behind(&self, shell: &str, script: &str, args: &[&str]) -> Command {
        let program = self.command(args);
        let mut command = Command::new(shell);
        command.arg("-c").arg(script).arg(program.get_program()).args(program.get_args());
        command.env_clear().current_dir(self.work());
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
    }

    /// Starts the program with limits, such as `ulimit -n 40`.
    pub fn spawn_limited(&self, limits: &str, args: &[&str]) -> Running {
        self.spawn_command(self.shell(&format!("{limits}; exec \"$0\" \"$@\""), args))
    }

    /// Runs the program and waits for it.
    pub fn run<A: AsRef<OsStr>>(&self, args: &[A]) -> Ran {
        self.spawn(args).wait()
    }

    /// Starts the program.
    pub fn spawn<A: AsRef<OsStr>>(&self, args: &[A]) -> Running {
        self.spawn_command(self.command(args))
    }

    /// Starts a command from [`World::command`] with its output piped. [`World::spawn_with`] leaves the streams as they
    /// are.
    pub fn spawn_command(&self, mut command: Command) -> Running {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.spawn_with(command)
    }

    /// Starts a command with the streams that it has.
    pub fn spawn_with(&self, command: Command) -> Running {
        Running::start(command, self.drive.token())
    }

    /// The only item of the drive.
    pub fn only_item(&self) -> Value {
        let items = self.drive.items();
        assert_eq!(items.len(), 1, "{items:?}");
        items.into_iter().next().unwrap()
    }

    /// Checks that the item has the bytes of the file.
    pub fn assert_stored(&self, id: &str, path: &Path) {
        assert_eq!(self.drive.object_sha256(id).unwrap(), sha256_of(path), "{}", path.display());
    }
}

/// A response of the API with this status and JSON.
pub fn response(status: u16, json: impl std::fmt::Display) -> Action {
    let kind = ("content-type".to_owned(), "application/json; charset=utf-8".to_owned());
    Action::Status { code: status, headers: vec![kind], body: json.to_string() }
}

/// A page of a gateway, in place of the answer.
pub fn web_page() -> Action {
    let kind = ("content-type".to_owned(), "text/html".to_owned());
    Action::Status { code: 200, headers: vec![kind], body: "<html>login".into() }
}

/// An error response of the API in its usual form.
pub fn refusal(status: u16, message: &str) -> Action {
    response(status, serde_json::json!({ "statusCode": status, "error": "Word", "message": message }))
}

/// The SHA-256 of bytes, in hexadecimal.
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
