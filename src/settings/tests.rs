//! The whole way from arguments, variables and files to settings, with a home and a working directory of its
//! own for each test, and no look at the process's environment.

use std::ffi::OsString;
use std::time::Duration;

use tempfile::TempDir;

use super::*;

/// A user's home, configuration directory and working directory.
struct House {
    _root: TempDir,
    env: Environment,
}

impl House {
    fn new() -> Self {
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

    /// A house with a token in a variable.
    fn with_token() -> Self {
        let mut house = Self::new();
        house.env.token = Some("tok".into());
        house
    }

    fn write(&self, path: PathBuf, text: &str) -> PathBuf {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        path
    }

    fn home(&self, text: &str) -> PathBuf {
        self.write(self.env.home.as_ref().unwrap().join(".copera.toml"), text)
    }

    fn user(&self, text: &str) -> PathBuf {
        self.write(self.env.config_dir.as_ref().unwrap().join("copera-upload/config.toml"), text)
    }

    fn project(&self, text: &str) -> PathBuf {
        self.write(self.env.cwd.as_ref().unwrap().join(".copera.toml"), text)
    }

    fn local(&self, text: &str) -> PathBuf {
        self.write(self.env.cwd.as_ref().unwrap().join(".copera.local.toml"), text)
    }

    fn resolve(&self, args: &[&str]) -> Result<Settings, Error> {
        resolve(
            Cli::parse_args([&["copera-upload"], args, &["file"]].concat()).unwrap(),
            &self.env,
            &mut Vec::new(),
        )
    }

    fn ok(&self, args: &[&str]) -> Settings {
        self.resolve(args).unwrap()
    }

    /// The error's exit code and words, hint included.
    fn fails(&self, args: &[&str]) -> (u8, String) {
        let error = self.resolve(args).unwrap_err();
        (error.exit_code(), format!("{error}; {}", error.hint().unwrap_or_default()))
    }
}

fn token(settings: &Settings) -> &str {
    settings.account.token.as_ref().unwrap().expose()
}

#[test]
fn with_nothing_set_the_defaults_hold() {
    let settings = House::with_token().ok(&[]);
    assert_eq!(settings.account.api_url, "https://api.copera.ai/public/v1");
    assert_eq!((settings.selection.destination.parent, settings.transfer.part_size), (None, None));
    assert_eq!(settings.transfer.retry_policy().retry_for, Duration::from_secs(300));
    assert!(settings.transfer.resume() && settings.transfer.checksum());
    assert!(settings.warnings.is_empty());
    assert_eq!(settings.sources, ["token from COPERA_TOKEN"]);
}

#[test]
fn without_home_and_working_directory_it_works_too() {
    let env = Environment { token: Some("t".into()), ..Environment::default() };
    assert!(resolve(Cli::parse_args(["x", "f"]).unwrap(), &env, &mut Vec::new()).is_ok());
}

#[test]
fn flags_beat_variables_and_variables_beat_files() {
    let mut house = House::with_token();
    house.home("[profiles.default]\nparent = 'file'\npart_size = '16MiB'\nno_resume = true\nretry_for = 1");
    assert_eq!(house.ok(&[]).selection.destination.parent.as_deref(), Some("file"));
    house.env.parent = Some("variable".into());
    assert_eq!(house.ok(&[]).selection.destination.parent.as_deref(), Some("variable"));
    let settings = house.ok(&["-p", "flag", "--part-size", "8MiB"]);
    assert_eq!(settings.selection.destination.parent.as_deref(), Some("flag"));
    assert_eq!(settings.transfer.part_size, Some(8 << 20));
    assert_eq!(
        (settings.transfer.retry_for, settings.transfer.resume()),
        (Some(Duration::from_secs(1)), false)
    );
    house.env.parent = Some("".into());
    let settings = house.ok(&[]);
    assert_eq!(settings.selection.destination.parent.as_deref(), Some("file"));
    assert!(
        settings.sources.contains(&"part_size from ~/.copera.toml:3".to_owned()),
        "{:?}",
        settings.sources
    );
}

#[test]
fn the_four_files_are_merged_key_by_key_lowest_to_highest() {
    let house = House::with_token();
    let file = |n: u8, keys: &str| format!("[profiles.default]\n{keys}\nparent = 'p{n}'");
    house.home(&file(1, "concurrency = 1\npart_size = '5MiB'\nlimit_rate = 1\nmax_retries = 1"));
    house.user(&file(2, "part_size = '6MiB'\nlimit_rate = 2\nmax_retries = 2"));
    house.project(&file(3, "limit_rate = 3\nmax_retries = 3"));
    let local = house.local(&file(4, "max_retries = 4"));
    let settings = house.ok(&[]);
    let transfer = &settings.transfer;
    assert_eq!((transfer.concurrency, transfer.part_size), (Some(1), Some(6 << 20)));
    assert_eq!((transfer.limit_rate, transfer.max_retries), (Some(3), Some(4)));
    assert_eq!(settings.selection.destination.parent.as_deref(), Some("p4"));
    std::fs::remove_file(local).unwrap();
    assert_eq!(house.ok(&[]).selection.destination.parent.as_deref(), Some("p3"));
}

#[test]
fn a_named_file_is_the_only_one() {
    let mut house = House::with_token();
    house.home("[profiles.default]\nparent = 'home'\nconcurrency = 3");
    let named =
        house.write(house.env.cwd.as_ref().unwrap().join("ci.toml"), "[profiles.default]\nparent = 'ci'");
    let settings = house.ok(&["--config", "ci.toml"]);
    assert_eq!(
        (settings.selection.destination.parent.as_deref(), settings.transfer.concurrency),
        (Some("ci"), None)
    );
    house.env.config = Some(named.into());
    assert_eq!(house.ok(&[]).selection.destination.parent.as_deref(), Some("ci"));

    for missing in ["missing.toml", "."] {
        let (code, words) = house.fails(&["--config", missing]);
        assert!(code == 2 && words.contains("config"), "{missing}: {words}");
    }
    // By the rule of its name.
    house.write(house.env.cwd.as_ref().unwrap().join("other.toml"), "\nfoo = 1");
    assert_eq!(
        house.fails(&["--config", "other.toml"]).1.split(';').next(),
        Some("other.toml:2: unknown key `foo`")
    );
    house.project("foo = 1");
    assert!(house.resolve(&["--config", ".copera.toml"]).is_ok());
}

#[test]
fn the_token_is_the_first_of_its_places() {
    let mut house = House::new();
    let (code, words) = house.fails(&[]);
    assert!(code == 4 && words.contains("COPERA_TOKEN"), "{words}");
    assert!(house.ok(&["--dry-run"]).account.token.is_none());
    if cfg!(unix) {
        house.home("[profiles.default]\ntoken_command = 'echo from-command; echo more'");
        assert_eq!(token(&house.ok(&[])), "from-command");
    }
    house.user("[profiles.default]\ntoken = 'from-file'");
    assert_eq!(token(&house.ok(&[])), "from-file");
    house.env.cli_token = Some("from-cli".into());
    assert_eq!(token(&house.ok(&[])), "from-cli");
    house.env.token = Some(" ".into());
    assert_eq!(token(&house.ok(&[])), "from-cli");
    house.env.token = Some("from-us\n".into());
    assert_eq!(token(&house.ok(&[])), "from-us");
}

#[cfg(unix)]
#[test]
fn a_token_command_that_fails_is_4_and_does_not_run_for_nothing() {
    let mut house = House::new();
    let mark = house.env.cwd.as_ref().unwrap().join("ran");
    house.home(&format!("[profiles.default]\ntoken_command = 'touch {}; exit 3'", mark.display()));
    house.ok(&["--dry-run"]);
    house.project("[api]\nbase_url = 'https://evil.example'");
    assert_eq!(house.fails(&[]).0, 2);
    house.env.token = Some("tok".into());
    house.ok(&["--api-url", "https://mine.example"]);
    assert!(!mark.exists());
    house.env.token = None;
    let (code, words) = house.fails(&["--api-url", "https://mine.example"]);
    assert!(code == 4 && words.contains("profile `default` ended with exit code 3"), "{words}");
    assert!(mark.exists());
    house.home("[profiles.default]\ntoken_command = 'echo one two'");
    assert_eq!(house.fails(&["--api-url", "https://mine.example"]).0, 4);
}

#[test]
fn a_token_that_no_header_can_carry_is_refused_and_not_shown() {
    for bad in ["cp_pat secret", "secret\u{7f}x", "sécret", "secret\nsecret"] {
        let mut house = House::new();
        house.env.token = Some(bad.into());
        let (code, words) = house.fails(&[]);
        assert!(code == 2 && words.contains("COPERA_TOKEN") && !words.contains("cret"), "{words}");
    }
    let house = House::new();
    house.home("[profiles.default]\ntoken = \"a b\"");
    assert!(house.fails(&[]).1.contains("~/.copera.toml:2"));
}

#[test]
fn a_profile_that_was_asked_for_must_be_there() {
    let mut house = House::with_token();
    assert!(house.resolve(&["--profile", "default"]).is_ok());
    let (code, words) = house.fails(&["--profile", "work"]);
    assert!(code == 2 && words.contains("`work`") && words.contains("no configuration file"), "{words}");
    house.home("default_profile = 'home'\n[profiles.home]\nparent = 'h'\n[profiles.work]\nparent = 'w'");
    assert_eq!(house.ok(&[]).selection.destination.parent.as_deref(), Some("h"));
    house.env.profile = Some("work".into());
    assert_eq!(house.ok(&[]).selection.destination.parent.as_deref(), Some("w"));
    assert_eq!(house.ok(&["--profile", "home"]).selection.destination.parent.as_deref(), Some("h"));
    house.env.profile = Some("wrok".into());
    assert_eq!(
        house.fails(&[]),
        (2, "there is no profile `wrok`, asked for by COPERA_PROFILE; there are: home, work".to_owned())
    );
    house.env.profile = None;
    house.project("default_profile = 'gone'");
    assert!(house.fails(&[]).1.contains("default_profile in .copera.toml:1"));
    assert_eq!(house.fails(&["--profile", ""]).0, 2);
}

#[test]
fn a_projects_url_never_meets_a_token_from_elsewhere() {
    for setting in
        ["[api]\nbase_url = 'https://evil.example'", "[profiles.default]\napi_url = 'https://evil.example'"]
    {
        let elsewhere: [fn(&mut House); 4] = [
            |house| house.env.token = Some("tok".into()),
            |house| house.env.cli_token = Some("tok".into()),
            |house| drop(house.home("[profiles.default]\ntoken = 'tok'")),
            |house| drop(house.local("[profiles.default]\ntoken = 'tok'")),
        ];
        for put_token in elsewhere {
            let mut house = House::new();
            house.project(setting);
            put_token(&mut house);
            let (code, words) = house.fails(&[]);
            assert!(
                code == 2 && words.contains(".copera.toml:2") && words.contains("evil.example"),
                "{words}"
            );
            // Naming the file does not make it the user's own, and --allow-http is about something else.
            if house.env.token.is_some() {
                assert_eq!(house.fails(&["--config", "./.copera.toml"]).0, 2);
                assert_eq!(house.fails(&["--allow-http"]).0, 2);
            }
            // With a URL from the user, the project's is not looked at.
            assert_eq!(
                house.ok(&["--api-url", "https://mine.example"]).account.api_url,
                "https://mine.example/public/v1"
            );
            house.env.api_url = Some("https://mine.example".into());
            assert_eq!(house.ok(&[]).account.api_url, "https://mine.example/public/v1");
        }
    }
}

#[test]
fn a_projects_url_is_used_with_the_same_files_token_or_when_it_is_coperas() {
    let house = House::new();
    house.project("[api]\nbase_url = 'https://self.example'\n[profiles.default]\ntoken = 'theirs'");
    let settings = house.ok(&[]);
    assert_eq!(
        (settings.account.api_url.as_str(), token(&settings)),
        ("https://self.example/public/v1", "theirs")
    );
    // A token that goes over it comes from elsewhere.
    house.local("[profiles.default]\ntoken = 'mine'");
    assert_eq!(house.fails(&[]).0, 2);

    let house = House::with_token();
    house.project("[api]\nbase_url = 'https://api-dev.copera.ai'");
    assert_eq!(house.ok(&[]).account.api_url, "https://api-dev.copera.ai/public/v1");
    house.project("[api]\nbase_url = 'http://api.copera.ai'");
    assert_eq!((house.fails(&[]).0, house.fails(&["--allow-http"]).0), (2, 2));
    house.project("[api]\nbase_url = 'http://localhost:1'");
    assert_eq!(house.fails(&[]).0, 2);
}

#[test]
fn the_users_own_files_may_send_any_token_anywhere() {
    let house = House::with_token();
    house.home("[api]\nbase_url = 'https://own.example/v2/'");
    assert_eq!(house.ok(&[]).account.api_url, "https://own.example/v2");
    house.user("[profiles.default]\napi_url = 'https://profile.example'");
    let settings = house.ok(&[]);
    assert_eq!(settings.account.api_url, "https://profile.example/public/v1");
    assert!(
        settings
            .sources
            .iter()
            .any(|line| line.starts_with("api_url from ") && line.ends_with("config.toml:2"))
    );
    // The user's profile is more to the point than a project's general word: that one is not looked at.
    house.project("[api]\nbase_url = 'https://evil.example'");
    assert_eq!(house.ok(&[]).account.api_url, "https://profile.example/public/v1");
}

#[test]
fn at_home_the_files_are_the_users_own() {
    let mut house = House::with_token();
    house.env.cwd = house.env.home.as_ref().map(|home| home.join("."));
    house.home("[api]\nbase_url = 'https://own.example'\n[profiles.default]\nparent = 'low'");
    house.user("[profiles.default]\nparent = 'high'");
    let settings = house.ok(&[]);
    assert_eq!(settings.account.api_url, "https://own.example/public/v1");
    assert_eq!(settings.selection.destination.parent.as_deref(), Some("high"));
    house.local("[api]\nbase_url = 'https://other.example'");
    assert_eq!(house.ok(&[]).account.api_url, "https://other.example/public/v1");
    assert_eq!(house.ok(&["--config", ".copera.toml"]).account.api_url, "https://own.example/public/v1");
}

#[test]
fn a_projects_token_command_is_left_alone_with_a_warning() {
    let house = House::new();
    house.project("[profiles.default]\ntoken_command = 'echo tok'");
    assert_eq!(house.fails(&[]).0, 4);
    let settings = house.ok(&["--dry-run"]);
    assert!(settings.warnings[0].contains("token_command is not read"), "{:?}", settings.warnings);
}

#[test]
fn the_sandbox_takes_the_place_of_the_service_only() {
    let mut house = House::with_token();
    house.env.sandbox = Some("1".into());
    let dev = "https://api-dev.copera.ai/public/v1";
    assert_eq!(house.ok(&[]).account.api_url, dev);
    house.project("[api]\nbase_url = 'https://api.copera.ai'");
    assert_eq!(house.ok(&[]).account.api_url, dev);
    assert_eq!(house.ok(&["--api-url", "https://api.copera.ai"]).account.api_url, api_url::DEFAULT);
    house.home("[profiles.default]\napi_url = 'https://own.example'");
    assert_eq!(house.ok(&[]).account.api_url, "https://own.example/public/v1");
    let mut house = House::with_token();
    house.env.sandbox = Some("0".into());
    assert_eq!(house.ok(&[]).account.api_url, api_url::DEFAULT);
}

#[test]
fn plain_http_needs_loopback_or_leave_wherever_the_url_is_from() {
    let mut house = House::with_token();
    assert!(house.resolve(&["--api-url", "http://127.0.0.1:9"]).is_ok());
    assert_eq!(house.fails(&["--api-url", "http://10.0.0.1"]).0, 2);
    assert!(house.resolve(&["--api-url", "http://10.0.0.1", "--allow-http"]).is_ok());
    house.env.api_url = Some("http://10.0.0.1".into());
    assert!(house.fails(&[]).1.contains("COPERA_API_URL"));
    house.env.api_url = None;
    house.home("[api]\nbase_url = 'http://10.0.0.1'");
    assert!(house.fails(&[]).1.contains("~/.copera.toml:2"));
    assert_eq!(house.fails(&["--api-url", ""]).0, 2);
}

#[test]
fn names_are_checked_and_composed() {
    let house = House::with_token();
    assert_eq!(house.ok(&["-n", "Cafe\u{301}"]).selection.destination.name.as_deref(), Some("Café"));
    for (args, word) in [
        (&["--name", ""][..], "empty"),
        (&["--name", "a/b"], "`/`"),
        (&["--name", ".."], "`..`"),
        (&["--name", "."], "`.`"),
        (&["--name", "a\0b"], "NUL"),
        (&["--name", "a", "other"], "2 paths"),
        (&[""], "a PATH is empty"),
        (&["-", "other"], "standard input (-) cannot"),
        (&["-", "-"], "standard input (-) cannot"),
        (&["--parent", ""], "--parent: it is empty"),
    ] {
        let (code, words) = house.fails(args);
        assert!(code == 2 && words.contains(word), "{args:?}: {words}");
    }
}

#[cfg(unix)]
#[test]
fn variables_that_are_not_unicode_are_told_by_name() {
    use std::os::unix::ffi::OsStringExt;
    let odd = || Some(OsString::from_vec(b"\xff".to_vec()));
    for (env, name) in [
        (Environment { token: odd(), ..Environment::default() }, "COPERA_TOKEN"),
        (
            Environment { token: Some("t".into()), parent: odd(), ..Environment::default() },
            "COPERA_PARENT_ID",
        ),
        (Environment { profile: odd(), ..Environment::default() }, "COPERA_PROFILE"),
        (Environment { api_url: odd(), ..Environment::default() }, "COPERA_API_URL"),
    ] {
        let error = resolve(Cli::parse_args(["x", "f"]).unwrap(), &env, &mut Vec::new()).unwrap_err();
        assert_eq!(
            (error.code(), error.to_string()),
            (crate::error::Code::Usage, format!("{name} is not valid Unicode"))
        );
    }
    let cli = Cli::parse_args(["x".into(), "-n".into(), odd().unwrap(), "f".into()]).unwrap();
    let settings = resolve(cli, &House::with_token().env, &mut Vec::new()).unwrap();
    assert_eq!(settings.selection.destination.name.as_deref(), Some("%FF"));
    assert_eq!(settings.warnings.len(), 1);
}

#[cfg(unix)]
#[test]
fn a_token_in_a_file_that_is_open_to_others_gets_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let house = House::new();
    let path = house.home("[profiles.other]\ntoken = 't'");
    let warnings = |mode| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        house.ok(&["--dry-run"]).warnings
    };
    assert!(warnings(0o600).is_empty());
    for mode in [0o644, 0o640, 0o604] {
        let warnings = warnings(mode);
        assert!(warnings.len() == 1 && warnings[0].contains("~/.copera.toml holds a token"), "{warnings:?}");
    }
    house.home("[profiles.other]\nparent = 't'");
    assert!(warnings(0o644).is_empty());
}

#[test]
fn a_file_that_is_there_and_cannot_be_read_is_an_error() {
    let house = House::with_token();
    let path = house.home("");
    std::fs::write(&path, b"token = '\xff'").unwrap();
    let (code, words) = house.fails(&[]);
    assert!(code == 2 && words.contains("~/.copera.toml"), "{words}");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert_eq!(house.fails(&[]).0, 2);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::remove_dir(&path).unwrap();
        house.home("");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
        // Root may read everything.
        if std::fs::read(&path).is_err() {
            let (code, words) = house.fails(&[]);
            assert!(code == 2 && words.contains("~/.copera.toml: Permission denied"), "{words}");
        }
    }
    // The named file alone counts.
    house.write(house.env.cwd.as_ref().unwrap().join("ok.toml"), "");
    assert!(house.resolve(&["--config", "ok.toml"]).is_ok());
}

#[test]
fn every_setting_says_where_it_is_from_and_a_default_says_nothing() {
    let mut house = House::new();
    let value = |key: &str| match key {
        "no_resume" | "no_checksum" => "true",
        "part_size" => "'8MiB'",
        "api_url" => "'https://own.example'",
        _ => "'8'",
    };
    // A token comes before a token_command.
    let keys: Vec<_> = config::profile::keys().filter(|key| key != "token_command").collect();
    let lines: Vec<_> = keys.iter().map(|key| format!("{key} = {}", value(key))).collect();
    house.user(&format!("default_profile = 'p'\n[profiles.p]\n{}", lines.join("\n")));
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    let file = house.env.config_dir.as_ref().unwrap().join("copera-upload/config.toml");
    let places = (3..).zip(&keys).map(|(line, key)| format!("{key} from {}:{line}", file.display()));
    let profile = format!("profile `p` from default_profile in {}:1", file.display());
    assert_eq!(sorted(house.ok(&[]).sources), sorted(places.chain([profile]).collect()));

    let by_option = keys.iter().filter(|key| *key != "token");
    let options: Vec<_> = by_option.clone().map(|key| format!("--{}", key.replace('_', "-"))).collect();
    let mut args = vec!["--profile", "p"];
    for (key, option) in by_option.clone().zip(&options) {
        args.push(option);
        args.extend(Some(value(key).trim_matches('\'')).filter(|value| *value != "true"));
    }
    house.env.token = Some("tok".into());
    let mut from: Vec<_> =
        by_option.zip(&options).map(|(key, option)| format!("{key} from {option}")).collect();
    from.extend(["profile `p` from --profile".into(), "token from COPERA_TOKEN".into()]);
    assert_eq!(sorted(house.ok(&args).sources), sorted(from));

    house.env.parent = Some("x".into());
    house.env.api_url = Some("https://x.example".into());
    house.env.profile = Some("p".into());
    let sources = house.ok(&[]).sources;
    for from in
        ["parent from COPERA_PARENT_ID", "api_url from COPERA_API_URL", "profile `p` from COPERA_PROFILE"]
    {
        assert!(sources.contains(&from.to_owned()), "{sources:?}");
    }
}

#[test]
fn variables_that_are_set_and_empty_count_as_not_set() {
    let house = House::new();
    house.home("[profiles.default]\ntoken = 't'\nparent = 'p'");
    let plain = house.ok(&[]).sources;
    let empty = || Some(OsString::new());
    let env = Environment {
        token: empty(),
        cli_token: empty(),
        parent: empty(),
        profile: empty(),
        config: empty(),
        api_url: empty(),
        sandbox: empty(),
        ..house.env.clone()
    };
    let settings = resolve(Cli::parse_args(["x", "f"]).unwrap(), &env, &mut Vec::new()).unwrap();
    assert_eq!(settings.sources, plain);
}

#[test]
fn a_higher_file_can_take_a_flag_back() {
    let house = House::with_token();
    house.home("[profiles.default]\nno_resume = true\nno_checksum = true");
    let transfer = house.ok(&[]).transfer;
    assert!(!transfer.resume() && !transfer.checksum());
    house.user("[profiles.default]\nno_resume = false\nno_checksum = false");
    let transfer = house.ok(&[]).transfer;
    assert!(transfer.resume() && transfer.checksum());
    assert!(!house.ok(&["--no-resume"]).transfer.resume());
}

#[test]
fn no_secret_is_in_what_is_told() {
    let house = House::new();
    house.home("[profiles.default]\ntoken = 'cp_pat_secret'");
    let settings = house.ok(&["-p", "x"]);
    assert!(!format!("{settings:?}").contains("secret"));
    assert_eq!(settings.sources, ["token from ~/.copera.toml:2", "parent from --parent"]);
}
