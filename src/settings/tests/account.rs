//! The token and the URL of the API.

use super::fixture::Fixture;
use crate::config::api_url;

#[test]
fn the_first_origin_with_a_token_is_used() {
    let mut fixture = Fixture::new();
    let (code, message) = fixture.fails(&[]);
    assert!(code == 4 && message.contains("COPERA_TOKEN"), "{message}");
    assert!(fixture.ok(&["--dry-run"]).account.token.is_none());
    if cfg!(unix) {
        fixture.home("[profiles.default]\ntoken_command = 'echo from-command; echo more'");
        assert_eq!(fixture.token(&[]), "from-command");
    }
    fixture.user("[profiles.default]\ntoken = 'from-file'");
    assert_eq!(fixture.token(&[]), "from-file");
    fixture.env.cli_token = Some("from-cli".into());
    assert_eq!(fixture.token(&[]), "from-cli");
    fixture.env.token = Some(" ".into());
    assert_eq!(fixture.token(&[]), "from-cli");
    fixture.env.token = Some("from-us\n".into());
    assert_eq!(fixture.token(&[]), "from-us");
}

#[cfg(unix)]
#[test]
fn a_failed_token_command_is_4_and_runs_only_if_needed() {
    let mut fixture = Fixture::new();
    let mark = fixture.env.cwd.as_ref().unwrap().join("ran");
    fixture.home(&format!("[profiles.default]\ntoken_command = 'touch {}; exit 3'", mark.display()));
    fixture.ok(&["--dry-run"]);
    fixture.project("[api]\nbase_url = 'https://evil.example'");
    assert_eq!(fixture.fails(&[]).0, 2);
    fixture.env.token = Some("tok".into());
    fixture.ok(&["--api-url", "https://mine.example"]);
    assert!(!mark.exists());
    fixture.env.token = None;
    let (code, message) = fixture.fails(&["--api-url", "https://mine.example"]);
    assert!(code == 4 && message.contains("profile `default` failed with exit code 3"), "{message}");
    assert!(mark.exists());
    fixture.home("[profiles.default]\ntoken_command = 'echo one two'");
    assert_eq!(fixture.fails(&["--api-url", "https://mine.example"]).0, 4);
}

#[test]
fn invalid_tokens_are_refused_and_not_shown() {
    for bad in ["cp_pat secret", "secret\u{7f}x", "sécret", "secret\nsecret"] {
        let mut fixture = Fixture::new();
        fixture.env.token = Some(bad.into());
        let (code, message) = fixture.fails(&[]);
        assert!(code == 2 && message.contains("COPERA_TOKEN") && !message.contains("cret"), "{message}");
    }
    let fixture = Fixture::new();
    fixture.home("[profiles.default]\ntoken = \"a b\"");
    assert!(fixture.fails(&[]).1.contains("~/.copera.toml:2"));
}

#[test]
fn a_project_url_is_not_used_with_a_token_from_elsewhere() {
    for setting in
        ["[api]\nbase_url = 'https://evil.example'", "[profiles.default]\napi_url = 'https://evil.example'"]
    {
        let elsewhere: [fn(&mut Fixture); 4] = [
            |fixture| fixture.env.token = Some("tok".into()),
            |fixture| fixture.env.cli_token = Some("tok".into()),
            |fixture| drop(fixture.home("[profiles.default]\ntoken = 'tok'")),
            |fixture| drop(fixture.local("[profiles.default]\ntoken = 'tok'")),
        ];
        for put_token in elsewhere {
            let mut fixture = Fixture::new();
            fixture.project(setting);
            put_token(&mut fixture);
            let (code, message) = fixture.fails(&[]);
            assert!(
                code == 2 && message.contains(".copera.toml:2") && message.contains("evil.example"),
                "{message}"
            );
            // Neither --config nor --allow-http makes it trusted.
            if fixture.env.token.is_some() {
                assert_eq!(fixture.fails(&["--config", "./.copera.toml"]).0, 2);
                assert_eq!(fixture.fails(&["--allow-http"]).0, 2);
            }
            // A URL from the user overrides it.
            assert_eq!(
                fixture.api_url(&["--api-url", "https://mine.example"]),
                "https://mine.example/public/v1"
            );
            fixture.env.api_url = Some("https://mine.example".into());
            assert_eq!(fixture.api_url(&[]), "https://mine.example/public/v1");
        }
    }
}

#[test]
fn a_project_url_is_used_with_a_token_of_the_same_file_or_if_it_is_coperas() {
    let fixture = Fixture::new();
    fixture.project("[api]\nbase_url = 'https://self.example'\n[profiles.default]\ntoken = 'theirs'");
    assert_eq!(fixture.api_url(&[]), "https://self.example/public/v1");
    assert_eq!(fixture.token(&[]), "theirs");
    // A token from a file of higher precedence is from elsewhere.
    fixture.local("[profiles.default]\ntoken = 'mine'");
    assert_eq!(fixture.fails(&[]).0, 2);

    let fixture = Fixture::with_token();
    fixture.project("[api]\nbase_url = 'https://api-dev.copera.ai'");
    assert_eq!(fixture.api_url(&[]), "https://api-dev.copera.ai/public/v1");
    fixture.project("[api]\nbase_url = 'http://api.copera.ai'");
    assert_eq!((fixture.fails(&[]).0, fixture.fails(&["--allow-http"]).0), (2, 2));
    fixture.project("[api]\nbase_url = 'http://localhost:1'");
    assert_eq!(fixture.fails(&[]).0, 2);
}

#[test]
fn the_users_own_files_may_set_any_url() {
    let fixture = Fixture::with_token();
    fixture.home("[api]\nbase_url = 'https://own.example/v2/'");
    assert_eq!(fixture.api_url(&[]), "https://own.example/v2");
    fixture.user("[profiles.default]\napi_url = 'https://profile.example'");
    assert_eq!(fixture.api_url(&[]), "https://profile.example/public/v1");
    let sources = fixture.ok(&[]).sources;
    assert!(sources.iter().any(|line| line.starts_with("api_url from ") && line.ends_with("config.toml:2")));
    // The user's profile overrides the base_url of a project.
    fixture.project("[api]\nbase_url = 'https://evil.example'");
    assert_eq!(fixture.api_url(&[]), "https://profile.example/public/v1");
}

#[test]
fn a_token_command_in_a_project_file_is_ignored_with_a_warning() {
    let fixture = Fixture::new();
    fixture.project("[profiles.default]\ntoken_command = 'echo tok'");
    assert_eq!(fixture.fails(&[]).0, 4);
    let warnings = fixture.warnings(&["--dry-run"]);
    assert!(warnings[0].contains("token_command is ignored"), "{warnings:?}");
}

#[test]
fn the_sandbox_replaces_only_the_service() {
    let mut fixture = Fixture::with_token();
    fixture.env.sandbox = Some("1".into());
    let dev = "https://api-dev.copera.ai/public/v1";
    assert_eq!(fixture.api_url(&[]), dev);
    fixture.project("[api]\nbase_url = 'https://api.copera.ai'");
    assert_eq!(fixture.api_url(&[]), dev);
    assert_eq!(fixture.api_url(&["--api-url", "https://api.copera.ai"]), api_url::DEFAULT);
    fixture.home("[profiles.default]\napi_url = 'https://own.example'");
    assert_eq!(fixture.api_url(&[]), "https://own.example/public/v1");
    let mut fixture = Fixture::with_token();
    fixture.env.sandbox = Some("0".into());
    assert_eq!(fixture.api_url(&[]), api_url::DEFAULT);
}

#[test]
fn plain_http_needs_loopback_or_allow_http() {
    let mut fixture = Fixture::with_token();
    assert!(fixture.resolve(&["--api-url", "http://127.0.0.1:9"]).is_ok());
    assert_eq!(fixture.fails(&["--api-url", "http://10.0.0.1"]).0, 2);
    assert!(fixture.resolve(&["--api-url", "http://10.0.0.1", "--allow-http"]).is_ok());
    fixture.env.api_url = Some("http://10.0.0.1".into());
    assert!(fixture.fails(&[]).1.contains("COPERA_API_URL"));
    fixture.env.api_url = None;
    fixture.home("[api]\nbase_url = 'http://10.0.0.1'");
    assert!(fixture.fails(&[]).1.contains("~/.copera.toml:2"));
    assert_eq!(fixture.fails(&["--api-url", ""]).0, 2);
}

#[cfg(unix)]
#[test]
fn a_token_in_a_file_that_others_can_access_is_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let fixture = Fixture::new();
    let path = fixture.home("[profiles.other]\ntoken = 't'");
    let warnings = |mode| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        fixture.warnings(&["--dry-run"])
    };
    assert!(warnings(0o600).is_empty());
    for mode in [0o644, 0o640, 0o604] {
        let warnings = warnings(mode);
        assert!(warnings.len() == 1 && warnings[0].contains("~/.copera.toml holds a token"), "{warnings:?}");
    }
    fixture.home("[profiles.other]\nparent = 't'");
    assert!(warnings(0o644).is_empty());
}
