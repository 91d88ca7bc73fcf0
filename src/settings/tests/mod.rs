//! From arguments, variables and files to settings. Each test has its own environment.

mod account;
mod fixture;

use std::ffi::OsString;
use std::time::Duration;

use super::*;
use crate::config::tests::example_value;
use fixture::Fixture;

#[test]
fn defaults_apply() {
    let fixture = Fixture::with_token();
    let settings = fixture.ok(&[]);
    assert_eq!(settings.account.api_url, "https://api.copera.ai/public/v1");
    assert_eq!((settings.selection.destination.parent, settings.transfer.part_size), (None, None));
    assert_eq!(settings.transfer.retry_policy().retry_for, Duration::from_secs(300));
    assert!(settings.transfer.resume() && settings.transfer.checksum());
    assert!(fixture.warnings(&[]).is_empty());
    assert_eq!(settings.sources, ["token from COPERA_TOKEN"]);
}

#[test]
fn neither_a_home_nor_a_working_directory_is_needed() {
    let env = Environment { token: Some("t".into()), ..Environment::default() };
    assert!(resolve(Cli::parse_args(["x", "f"]).unwrap(), &env, &mut Vec::new()).is_ok());
}

#[test]
fn options_override_variables_and_variables_override_files() {
    let mut fixture = Fixture::with_token();
    fixture.home("[profiles.default]\nparent = 'file'\npart_size = '16MiB'\nno_resume = true\nretry_for = 1");
    assert_eq!(fixture.parent(&[]), "file");
    fixture.env.parent = Some("variable".into());
    assert_eq!(fixture.parent(&[]), "variable");
    let args = ["-p", "flag", "--part-size", "8MiB"];
    assert_eq!(fixture.parent(&args), "flag");
    let transfer = fixture.ok(&args).transfer;
    assert_eq!((transfer.part_size, transfer.resume()), (Some(8 << 20), false));
    assert_eq!(transfer.retry_for, Some(Duration::from_secs(1)));
    fixture.env.parent = Some("".into());
    assert_eq!(fixture.parent(&[]), "file");
    let sources = fixture.ok(&[]).sources;
    assert!(sources.contains(&"part_size from ~/.copera.toml:3".to_owned()), "{sources:?}");
}

#[test]
fn the_four_files_are_merged_key_by_key() {
    let fixture = Fixture::with_token();
    let file = |n: u8, keys: &str| format!("[profiles.default]\n{keys}\nparent = 'p{n}'");
    fixture.home(&file(1, "concurrency = 1\npart_size = '5MiB'\nlimit_rate = 1\nmax_retries = 1"));
    fixture.user(&file(2, "part_size = '6MiB'\nlimit_rate = 2\nmax_retries = 2"));
    fixture.project(&file(3, "limit_rate = 3\nmax_retries = 3"));
    let local = fixture.local(&file(4, "max_retries = 4"));
    let transfer = fixture.ok(&[]).transfer;
    assert_eq!((transfer.concurrency, transfer.part_size), (Some(1), Some(6 << 20)));
    assert_eq!((transfer.limit_rate, transfer.max_retries), (Some(3), Some(4)));
    assert_eq!(fixture.parent(&[]), "p4");
    std::fs::remove_file(local).unwrap();
    assert_eq!(fixture.parent(&[]), "p3");
}

#[test]
fn a_named_file_is_the_only_one_read() {
    let mut fixture = Fixture::with_token();
    fixture.home("[profiles.default]\nparent = 'home'\nconcurrency = 3");
    let named = fixture.file("ci.toml", "[profiles.default]\nparent = 'ci'");
    assert_eq!(fixture.parent(&["--config", "ci.toml"]), "ci");
    assert_eq!(fixture.ok(&["--config", "ci.toml"]).transfer.concurrency, None);
    fixture.env.config = Some(named.into());
    assert_eq!(fixture.parent(&[]), "ci");

    for missing in ["missing.toml", "."] {
        let (code, message) = fixture.fails(&["--config", missing]);
        assert!(code == 2 && message.contains("config"), "{missing}: {message}");
    }
    // Its name decides whether unknown keys are errors.
    fixture.file("other.toml", "\nfoo = 1");
    let (_, message) = fixture.fails(&["--config", "other.toml"]);
    assert!(message.starts_with("other.toml:2: unknown key `foo`;"), "{message}");
    fixture.project("foo = 1");
    assert!(fixture.resolve(&["--config", ".copera.toml"]).is_ok());
}

#[test]
fn a_chosen_profile_must_exist() {
    let mut fixture = Fixture::with_token();
    assert!(fixture.resolve(&["--profile", "default"]).is_ok());
    let (code, message) = fixture.fails(&["--profile", "work"]);
    assert!(
        code == 2 && message.contains("`work`") && message.contains("no configuration file"),
        "{message}"
    );
    fixture.home("default_profile = 'home'\n[profiles.home]\nparent = 'h'\n[profiles.work]\nparent = 'w'");
    assert_eq!(fixture.parent(&[]), "h");
    fixture.env.profile = Some("work".into());
    assert_eq!(fixture.parent(&[]), "w");
    assert_eq!(fixture.parent(&["--profile", "home"]), "h");
    fixture.env.profile = Some("wrok".into());
    assert_eq!(
        fixture.fails(&[]),
        (2, "there is no profile `wrok` (from COPERA_PROFILE); profiles: home, work".to_owned())
    );
    fixture.env.profile = None;
    fixture.project("default_profile = 'gone'");
    assert!(fixture.fails(&[]).1.contains("default_profile in .copera.toml:1"));
    assert_eq!(fixture.fails(&["--profile", ""]).0, 2);
}

#[test]
fn files_in_the_home_directory_are_the_users_own() {
    let mut fixture = Fixture::with_token();
    fixture.env.cwd = fixture.env.home.as_ref().map(|home| home.join("."));
    fixture.home("[api]\nbase_url = 'https://own.example'\n[profiles.default]\nparent = 'low'");
    fixture.user("[profiles.default]\nparent = 'high'");
    assert_eq!(fixture.api_url(&[]), "https://own.example/public/v1");
    assert_eq!(fixture.parent(&[]), "high");
    fixture.local("[api]\nbase_url = 'https://other.example'");
    assert_eq!(fixture.api_url(&[]), "https://other.example/public/v1");
    assert_eq!(fixture.api_url(&["--config", ".copera.toml"]), "https://own.example/public/v1");
}

#[test]
fn names_are_checked_and_composed() {
    let fixture = Fixture::with_token();
    assert_eq!(fixture.ok(&["-n", "Cafe\u{301}"]).selection.destination.name.as_deref(), Some("Café"));
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
        let (code, message) = fixture.fails(args);
        assert!(code == 2 && message.contains(word), "{args:?}: {message}");
    }
}

#[cfg(unix)]
#[test]
fn errors_name_variables_that_are_not_unicode() {
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
    let mut warnings = Vec::new();
    let settings = resolve(cli, &Fixture::with_token().env, &mut warnings).unwrap();
    assert_eq!(settings.selection.destination.name.as_deref(), Some("%FF"));
    assert_eq!(warnings.len(), 1);
}

#[test]
fn an_existing_file_that_cannot_be_read_is_an_error() {
    let fixture = Fixture::with_token();
    let path = fixture.home("");
    std::fs::write(&path, b"token = '\xff'").unwrap();
    let (code, message) = fixture.fails(&[]);
    assert!(code == 2 && message.contains("~/.copera.toml"), "{message}");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert_eq!(fixture.fails(&[]).0, 2);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::remove_dir(&path).unwrap();
        fixture.home("");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
        // Root can read any file.
        if std::fs::read(&path).is_err() {
            let (code, message) = fixture.fails(&[]);
            assert!(code == 2 && message.contains("~/.copera.toml: Permission denied"), "{message}");
        }
    }
    // With --config, it is not read.
    fixture.file("ok.toml", "");
    assert!(fixture.resolve(&["--config", "ok.toml"]).is_ok());
}

#[test]
fn every_setting_has_a_source_and_defaults_have_none() {
    let mut fixture = Fixture::new();
    // `token` overrides it.
    let keys: Vec<_> = config::profile::keys().filter(|key| key != "token_command").collect();
    let lines: Vec<_> = keys.iter().map(|key| format!("{key} = {}", example_value(key))).collect();
    fixture.user(&format!("default_profile = 'p'\n[profiles.p]\n{}", lines.join("\n")));
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    let file = fixture.env.config_dir.as_ref().unwrap().join("copera-upload").join("config.toml");
    let places = (3..).zip(&keys).map(|(line, key)| format!("{key} from {}:{line}", file.display()));
    let profile = format!("profile `p` from default_profile in {}:1", file.display());
    assert_eq!(sorted(fixture.ok(&[]).sources), sorted(places.chain([profile]).collect()));

    // Globs of both count, and --verify cannot be combined with --no-checksum.
    let by_option =
        keys.iter().filter(|key| !["token", "include", "exclude", "verify"].contains(&key.as_str()));
    let options: Vec<_> = by_option.clone().map(|key| format!("--{}", key.replace('_', "-"))).collect();
    let mut args = vec!["--profile", "p"];
    for (key, option) in by_option.clone().zip(&options) {
        args.push(option);
        args.extend(Some(example_value(key).trim_matches('\'')).filter(|value| *value != "true"));
    }
    fixture.env.token = Some("tok".into());
    let mut from: Vec<_> =
        by_option.zip(&options).map(|(key, option)| format!("{key} from {option}")).collect();
    from.extend(["profile `p` from --profile".into(), "token from COPERA_TOKEN".into()]);
    let line = |key: &str| 3 + keys.iter().position(|other| other == key).unwrap();
    from.extend(
        ["include", "exclude", "verify"].map(|key| format!("{key} from {}:{}", file.display(), line(key))),
    );
    assert_eq!(sorted(fixture.ok(&args).sources), sorted(from));

    fixture.env.parent = Some("x".into());
    fixture.env.api_url = Some("https://x.example".into());
    fixture.env.profile = Some("p".into());
    let sources = fixture.ok(&[]).sources;
    for from in
        ["parent from COPERA_PARENT_ID", "api_url from COPERA_API_URL", "profile `p` from COPERA_PROFILE"]
    {
        assert!(sources.contains(&from.to_owned()), "{sources:?}");
    }
}

#[test]
fn empty_variables_count_as_unset() {
    let fixture = Fixture::new();
    fixture.home("[profiles.default]\ntoken = 't'\nparent = 'p'");
    let plain = fixture.ok(&[]).sources;
    let empty = || Some(OsString::new());
    let env = Environment {
        token: empty(),
        cli_token: empty(),
        parent: empty(),
        profile: empty(),
        config: empty(),
        api_url: empty(),
        sandbox: empty(),
        ..fixture.env.clone()
    };
    let settings = resolve(Cli::parse_args(["x", "f"]).unwrap(), &env, &mut Vec::new()).unwrap();
    assert_eq!(settings.sources, plain);
}

#[test]
fn a_file_of_higher_precedence_can_unset_a_flag() {
    let fixture = Fixture::with_token();
    fixture.home("[profiles.default]\nno_resume = true\nno_checksum = true");
    let transfer = fixture.ok(&[]).transfer;
    assert!(!transfer.resume() && !transfer.checksum());
    fixture.user("[profiles.default]\nno_resume = false\nno_checksum = false");
    let transfer = fixture.ok(&[]).transfer;
    assert!(transfer.resume() && transfer.checksum());
    assert!(!fixture.ok(&["--no-resume"]).transfer.resume());
}

#[test]
fn sources_contain_no_secrets() {
    let fixture = Fixture::new();
    fixture.home("[profiles.default]\ntoken = 'cp_pat_secret'");
    let settings = fixture.ok(&["-p", "x"]);
    assert!(!format!("{settings:?}").contains("secret"));
    assert_eq!(settings.sources, ["token from ~/.copera.toml:2", "parent from --parent"]);
}
