//! The program under test: the one that cargo built, or the Windows build under Wine (`packaging/try-windows.sh`).
//!
//! The tests themselves run on this system either way, so that they see the files, and the kills, as it does.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A Windows program to test instead, by its absolute path; [`LOADER`] starts it.
const WINDOWS: &str = "COPERA_UPLOAD_TEST_WINDOWS";
/// Wine's loader itself, not a script around it: a kill has to hit the program.
const LOADER: &str = "COPERA_UPLOAD_TEST_WINE";

/// Whether the program under test is a Windows build, for what differs there.
pub fn is_windows() -> bool {
    cfg!(windows) || is_under_wine()
}

/// Whether it is a Windows build that Wine runs.
pub fn is_under_wine() -> bool {
    std::env::var_os(WINDOWS).is_some()
}

/// The program, not yet started, with no environment but what it needs to start at all.
pub fn command() -> Command {
    let (mut command, kept) = match std::env::var_os(WINDOWS) {
        Some(program) => {
            let mut command = Command::new(std::env::var_os(LOADER).unwrap());
            command.arg(program);
            (command, ["PATH", "WINEPREFIX", "WINEDEBUG", "WINEDLLOVERRIDES", "LC_ALL"].as_slice())
        }
        // Windows starts no program and opens no socket without SystemRoot.
        None => (
            Command::new(assert_cmd::cargo::cargo_bin!("copera-upload")),
            ["PATH", "SystemRoot", "LLVM_PROFILE_FILE"].as_slice(),
        ),
    };
    command.env_clear();
    for name in kept {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// Where one test's program finds its user's files.
pub struct Homes {
    root: PathBuf,
}

impl Homes {
    /// Below this directory.
    pub fn make(root: &Path) -> Self {
        for directory in ["home", "work", "config", "state"] {
            std::fs::create_dir(root.join(directory)).unwrap();
        }
        Self { root: root.to_owned() }
    }

    /// The user's home.
    pub fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// The working directory of every run.
    pub fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    /// Our own directory for configuration; not made yet.
    pub fn config_dir(&self) -> PathBuf {
        self.own_dir("config")
    }

    /// Our own directory for the records of uploads; not made yet.
    pub fn state_dir(&self) -> PathBuf {
        self.own_dir("state")
    }

    fn own_dir(&self, kind: &str) -> PathBuf {
        if cfg!(target_os = "macos") {
            self.home().join("Library/Application Support/copera-upload")
        } else {
            self.root.join(kind).join("copera-upload")
        }
    }

    /// The variables that tell the program of them.
    pub fn vars(&self) -> Vec<(&'static str, OsString)> {
        let unix = [
            ("HOME", self.home()),
            ("USERPROFILE", self.home()),
            ("XDG_CONFIG_HOME", self.root.join("config")),
            ("XDG_STATE_HOME", self.root.join("state")),
            ("TMPDIR", self.root.clone()),
        ];
        // Wine sets USERPROFILE, APPDATA, LOCALAPPDATA and TEMP itself, out of its registry. The script has it take
        // them from these.
        let wine = [
            ("COPERA_TEST_USERPROFILE", self.home()),
            ("COPERA_TEST_APPDATA", self.root.join("config")),
            ("COPERA_TEST_LOCALAPPDATA", self.root.join("state")),
            ("COPERA_TEST_TEMP", self.root.clone()),
        ];
        match std::env::var_os(WINDOWS) {
            None => unix.map(|(name, path)| (name, path.into_os_string())).to_vec(),
            Some(_) => wine.map(|(name, path)| (name, windows_path(&path))).to_vec(),
        }
    }
}

/// A path as Wine's programs know it: `Z:` is this system's root.
fn windows_path(path: &Path) -> OsString {
    format!("Z:{}", path.to_str().unwrap().replace('/', "\\")).into()
}

/// A path of a report or a plan with `/` between its parts, whatever the program under test has there.
pub fn slashed(path: &serde_json::Value) -> String {
    let path = path.as_str().unwrap();
    if is_windows() { path.replace('\\', "/") } else { path.to_owned() }
}

/// Ends the test here, and says why, when the program under test is a Windows build.
macro_rules! unix_only {
    ($reason:literal) => {
        if $crate::program::is_windows() {
            $crate::program::tell_skipped($reason);
            return;
        }
    };
}
pub(crate) use unix_only;

/// Ends the test here, and says why, when the program under test runs under Wine: for what Windows itself can do.
macro_rules! not_under_wine {
    ($reason:literal) => {
        if $crate::program::is_under_wine() {
            $crate::program::tell_skipped($reason);
            return;
        }
    };
}
pub(crate) use not_under_wine;

/// For the two above. The line is for `packaging/try-windows.sh`, which shows it.
#[expect(clippy::print_stdout, reason = "libtest has no way to skip a test while it runs")]
pub fn tell_skipped(reason: &str) {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    println!("not for Windows: {test}: {reason}");
}
