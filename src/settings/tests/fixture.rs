//! An environment of its own for each test.

use tempfile::TempDir;

use super::*;

/// A home, a configuration directory, a working directory and variables.
pub(super) struct Fixture {
    _root: TempDir,
    pub env: Environment,
}

impl Fixture {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = |name: &str| {
            let dir = root.path().join(name);
            std::fs::create_dir_all(&dir).unwrap();
            Some(dir)
        };
        let env = Environment {
            home: dir("home"),
            config_dir: dir("home/.config"),
            cwd: dir("work"),
            ..Environment::default()
        };
        Self { _root: root, env }
    }

    /// With a token in a variable.
    pub fn with_token() -> Self {
        let mut fixture = Self::new();
        fixture.env.token = Some("tok".into());
        fixture
    }

    fn write(&self, dir: &Option<PathBuf>, name: &str, text: &str) -> PathBuf {
        let path = dir.as_ref().unwrap().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        path
    }

    /// `~/.copera.toml`
    pub fn home(&self, text: &str) -> PathBuf {
        self.write(&self.env.home, ".copera.toml", text)
    }

    /// The user's `config.toml`
    pub fn user(&self, text: &str) -> PathBuf {
        self.write(&self.env.config_dir, "copera-upload/config.toml", text)
    }

    /// `.copera.toml` in the working directory
    pub fn project(&self, text: &str) -> PathBuf {
        self.file(".copera.toml", text)
    }

    /// `.copera.local.toml` in the working directory
    pub fn local(&self, text: &str) -> PathBuf {
        self.file(".copera.local.toml", text)
    }

    /// Any file in the working directory
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        self.write(&self.env.cwd, name, text)
    }

    pub fn resolve(&self, args: &[&str]) -> Result<(Settings, Vec<String>), Error> {
        let cli = Cli::parse_args([&["copera-upload"], args, &["file"]].concat()).unwrap();
        let mut warnings = Vec::new();
        resolve(cli, &self.env, &mut warnings).map(|settings| (settings, warnings))
    }

    pub fn ok(&self, args: &[&str]) -> Settings {
        self.resolve(args).unwrap().0
    }

    pub fn warnings(&self, args: &[&str]) -> Vec<String> {
        self.resolve(args).unwrap().1
    }

    /// The ID of the folder to upload into, or an empty string.
    pub fn parent(&self, args: &[&str]) -> String {
        self.ok(args).selection.destination.parent.unwrap_or_default()
    }

    pub fn api_url(&self, args: &[&str]) -> String {
        self.ok(args).account.api_url
    }

    pub fn token(&self, args: &[&str]) -> String {
        self.ok(args).account.token.unwrap().expose().to_owned()
    }

    /// The exit code and the message of the error, including its hint.
    pub fn fails(&self, args: &[&str]) -> (u8, String) {
        let error = self.resolve(args).unwrap_err();
        (error.exit_code(), format!("{error}; {}", error.hint().unwrap_or_default()))
    }
}
