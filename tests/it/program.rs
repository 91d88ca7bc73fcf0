//! The program under test: the one built by cargo, or the Windows build under Wine (`packaging/try-windows.sh`).
//!
//! The tests always run natively, so they see the files and kills of this system.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The absolute path of a Windows program to test instead, which [`LOADER`] starts.
const WINDOWS: &str = "COPERA_UPLOAD_TEST_WINDOWS";
/// The loader of Wine. A script around it will not do, because a kill must reach the program.
const LOADER: &str = "COPERA_UPLOAD_TEST_WINE";

/// Whether the program under test is a Windows build.
pub fn is_windows() -> bool {
    cfg!(windows) || is_under_wine()
}

/// Whether Wine runs the program under test.
pub fn is_under_wine() -> bool {
    std::env::var_os(WINDOWS).is_some()
}

/// A command for the program, with only the environment that it needs to start.
pub fn command() -> Command {
    let (mut command, kept) = match std::env::var_os(WINDOWS) {
        Some(program) => {
            let mut command = Command::new(std::env::var_os(LOADER).unwrap());
            command.arg(program);
            (command, ["PATH", "WINEPREFIX", "WINEDEBUG", "WINEDLLOVERRIDES", "LC_ALL"].as_slice())
        }
        // Windows needs SystemRoot to start a program or open a socket.
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

/// Where the program finds the files of its user.
pub struct Homes {
    root: PathBuf,
}

impl Homes {
    /// Creates them in this directory.
    pub fn make(root: &Path) -> Self {
        for directory in ["home", "work", "config", "state"] {
            std::fs::create_dir(root.join(directory)).unwrap();
        }
        Self { root: root.to_owned() }
    }

    /// Home of the user.
    pub fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// Working directory of every run.
    pub fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    /// Configuration directory of the program. It does not exist yet.
    pub fn config_dir(&self) -> PathBuf {
        self.own_dir("config")
    }

    /// State directory of the program. It does not exist yet.
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

    /// The variables that set these directories.
    pub fn vars(&self) -> Vec<(&'static str, OsString)> {
        let unix = [
            ("HOME", self.home()),
            ("USERPROFILE", self.home()),
            ("XDG_CONFIG_HOME", self.root.join("config")),
            ("XDG_STATE_HOME", self.root.join("state")),
            ("TMPDIR", self.root.clone()),
        ];
        // Wine sets USERPROFILE, APPDATA, LOCALAPPDATA and TEMP itself, from its registry. The script makes the
        // registry refer to these.
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

/// A path for Wine programs. `Z:` is the root of this system.
fn windows_path(path: &Path) -> OsString {
    format!("Z:{}", path.to_str().unwrap().replace('/', "\\")).into()
}

/// A path as the program prints it.
pub fn displayed(path: &Path) -> String {
    if is_under_wine() { windows_path(path).into_string().unwrap() } else { path.display().to_string() }
}

/// A path of a report or a plan with `/` as separator, on every system.
pub fn slashed(path: &serde_json::Value) -> String {
    let path = path.as_str().unwrap();
    if is_windows() { path.replace('\\', "/") } else { path.to_owned() }
}

/// Skips the test with a reason if the program under test is a Windows build.
macro_rules! unix_only {
    ($reason:literal) => {
        if $crate::program::is_windows() {
            $crate::program::tell_skipped($reason);
            return;
        }
    };
}
pub(crate) use unix_only;

/// Skips the test with a reason if the program under test runs under Wine, for what Wine lacks.
macro_rules! not_under_wine {
    ($reason:literal) => {
        if $crate::program::is_under_wine() {
            $crate::program::tell_skipped($reason);
            return;
        }
    };
}
pub(crate) use not_under_wine;

/// Prints the line that `packaging/try-windows.sh` looks for.
#[expect(clippy::print_stdout, reason = "libtest cannot skip a test while it runs")]
pub fn tell_skipped(reason: &str) {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    println!("not for Windows: {test}: {reason}");
}
