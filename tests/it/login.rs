//! `--login`: prompts for a token or reads it from a pipe, checks it and saves it.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;

use local_drive::{Action, Fault, Op};

use crate::config::{bare, write};
use crate::mock_server::MockServer;
use crate::support::{CAP, Ran, World, refusal};

/// A world with the API in the environment and without a token.
pub fn world() -> World {
    let mut world = bare();
    world.set("COPERA_API_URL", world.drive.api_url());
    world
}

pub fn config(world: &World) -> PathBuf {
    world.config_dir().join("config.toml")
}

pub fn text(world: &World) -> String {
    std::fs::read_to_string(config(world)).unwrap()
}

/// Runs `--login` with this on standard input.
fn log_in(world: &World, args: &[&str], input: impl AsRef<[u8]>) -> Ran {
    let mut command = world.command(&[&["--login"], args].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = world.spawn_with(command);
    // Fails if the program exits before it reads.
    let _ = running.child.stdin.take().unwrap().write_all(input.as_ref());
    let ran = running.wait();
    assert_eq!(ran.stdout, "", "{ran:#?}");
    ran
}

pub fn assert_nothing_saved(world: &World) {
    let folder = std::fs::read_dir(world.config_dir()).map(|entries| entries.count()).unwrap_or(0);
    assert_eq!(folder, 0, "something is in the configuration directory");
}

#[test]
fn the_first_line_of_a_pipe_is_used_without_surrounding_white_space() {
    for around in [("", ""), ("", "\n"), (" \t", " \r\nmore\n")] {
        let world = world();
        let ran = log_in(&world, &[], format!("{}{}{}", around.0, world.drive.token(), around.1));
        ran.ok().says("token saved in").says_nothing_of("Personal Tokens");
        world.run(&["f"]).ok();
    }
}

#[test]
fn with_json_every_line_is_an_object() {
    let world = world();
    let ran = log_in(&world, &["--log-format", "json", "-vv", "-o", "json"], world.drive.token());
    ran.ok();
    let lines = ran.stderr.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let events: Vec<_> = lines.map(|line| line["event"].as_str().unwrap().to_owned()).collect();
    assert!(events.contains(&"login".to_owned()) && events.contains(&"request".to_owned()), "{events:?}");
}

#[test]
fn invalid_tokens_are_refused_before_any_call() {
    let world = world();
    let long = "x".repeat(9000);
    for (input, word) in [
        (&b""[..], "no token in standard input"),
        (b"\n", "no token in standard input"),
        (b" \t\ncp_pat_late\n", "no token in standard input"),
        (b"cp_pat_two words", "spaces"),
        (b"cp_pat_\x1b[31m", "control characters"),
        (b"cp_pat_\xff", "non-ASCII"),
        (b"cp_pat_\xc3\xa9", "non-ASCII"),
        (long.as_bytes(), "longer than any token"),
        (b"cp_key_integration\n", "integration key"),
    ] {
        let ran = log_in(&world, &[], input);
        ran.fails(4).says(word).says("hint: ").says_nothing_of("cp_pat_t").says_nothing_of("xxxx");
        ran.says_nothing_of("cp_key_i");
        assert_nothing_saved(&world);
    }
    // Standard input is neither a terminal nor a pipe.
    world.run(&["--login"]).fails(4).says("| copera-upload --login");
    assert_eq!(world.drive.record().count(Op::Any), 0);
}

/// Text that is often copied with a token, before and after it, and a word of the error.
const AROUND: [(&str, &str, &str); 10] = [
    ("\"", "\"", "quotes"),
    ("'", "'", "quotes"),
    ("\u{201c}", "\u{201d}", "quotes"),
    ("'", "", "quotes"),
    ("COPERA_TOKEN=", "", "name of a variable"),
    ("export COPERA_TOKEN=", "", "name of a variable"),
    ("export COPERA_TOKEN='", "'", "name of a variable"),
    ("token = \"", "\"", "name of a variable"),
    ("Bearer ", "", "Bearer"),
    ("Authorization: Bearer ", "", "Bearer"),
];

#[test]
fn the_error_names_text_copied_with_a_token_from_any_source() {
    for (before, behind, word) in AROUND {
        let mut world = world();
        let text = format!("{before}{}{behind}", world.drive.token());
        let told = |ran: &Ran, code| {
            ran.fails(code).says(word).says("hint: ");
        };
        told(&log_in(&world, &[], &text), 4);
        assert_nothing_saved(&world);
        let value = toml::Table::from_iter([("token".to_owned(), text.clone().into())]).to_string();
        write(config(&world), &format!("[profiles.default]\n{value}"));
        told(world.run(&["f"]).says("config.toml:2"), 2);
        if cfg!(unix) {
            world.file_of("token", &text);
            write(config(&world), "[profiles.default]\ntoken_command = 'cat token'\n");
            told(world.run(&["f"]).says("token_command"), 4);
        }
        for name in ["COPERA_CLI_AUTH_TOKEN", "COPERA_TOKEN"] {
            world.set(name, &text);
            told(world.run(&["f"]).says(name), 2);
        }
        assert_eq!(world.drive.record().count(Op::Any), 0);
    }
}

#[test]
fn an_endless_pipe_and_utf_16_are_refused() {
    let world = world();
    let utf_16: Vec<u8> =
        format!("\u{feff}{}\r\n", world.drive.token()).encode_utf16().flat_map(u16::to_le_bytes).collect();
    log_in(&world, &[], utf_16).fails(4).says("UTF-16");
    if cfg!(unix) {
        let mut command = world.command(&["--login"]);
        command
            .stdin(std::fs::File::open("/dev/zero").unwrap())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        world.spawn_with(command).wait().fails(4);
        let mut yes = std::process::Command::new("sh");
        let mut yes = yes.args(["-c", "yes | tr -d '\\n'"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut command = world.command(&["--login"]);
        command.stdin(yes.stdout.take().unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
        world.spawn_with(command).wait().fails(4).says("longer than any token");
        yes.wait().unwrap();
    }
    assert_nothing_saved(&world);
}

#[test]
fn a_token_that_the_service_rejects_is_not_saved() {
    let world = world();
    log_in(&world, &[], "cp_pat_wrong")
        .fails(4)
        .says("refuses this token: 401")
        .says("copy it again")
        .says("no token was saved");
    assert_nothing_saved(&world);
    for (status, code) in [(403, 4), (400, 1), (404, 1), (429, 6), (503, 7)] {
        let fault = world.drive.fault(Fault::new(Op::Tree, refusal(status, "Missing scope ACCESS_DRIVE")));
        let ran = log_in(&world, &["--retry-for", "0"], world.drive.token());
        ran.fails(code).says(&status.to_string()).says("no token was saved").says("hint: ");
        assert_nothing_saved(&world);
        world.drive.clear_fault(fault);
    }
}

#[test]
fn nothing_is_saved_without_a_response_of_the_service() {
    let world = world();
    let token = world.drive.token();
    let ran = log_in(&world, &["--api-url", "http://127.0.0.1:9", "--retry-for", "0"], token);
    ran.fails(7).says("no token was saved").says("hint: ").says_nothing_of("to resume");
    // A captive portal responds to all requests with a page.
    let server =
        MockServer::responding("HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>");
    log_in(&world, &["--api-url", &server.url()], token).fails(1).says("no token was saved").says("hint: ");
    assert_nothing_saved(&world);
}

#[cfg(unix)]
#[test]
fn ctrl_c_during_the_check_saves_nothing() {
    let world = world();
    world.drive.fault(Fault::new(Op::Tree, Action::HangAfterBody));
    let mut command = world.command(&["--login"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = world.spawn_with(command);
    writeln!(running.child.stdin.as_ref().unwrap(), "{}", world.drive.token()).unwrap();
    world.drive.wait_until(CAP, |record| record.count(Op::Tree) > 0).unwrap();
    running.signal("INT");
    drop(running.child.stdin.take());
    running.wait().fails(130).says("no token was saved");
    assert_nothing_saved(&world);
}

#[test]
fn the_rest_of_the_file_is_kept_and_a_replaced_token_is_mentioned() {
    let mut world = world();
    let before = "# mine\ndefault_profile = 'work'\n\n[profiles.work]  # the office\nretry_for = 9 # short\ntoken = 'cp_pat_old' # June\n\
                  # end of work\n\n[profiles.home]\nparent = 'p'\n# the end\n";
    write(config(&world), before);
    let token = world.drive.token().to_owned();
    let ran = log_in(&world, &["--api-url", &world.drive.api_url()], &token);
    ran.ok().says("profile `work` (default_profile in").says("in place of").says_nothing_of("cp_pat_old");
    ran.says_nothing_of("--profile work").says(&world.drive.api_url());
    let url = format!("# June\napi_url = \"{}\"", world.drive.api_url());
    let wanted = before.replace("'cp_pat_old'", &format!("\"{token}\"")).replace("# June", &url);
    assert_eq!(text(&world), wanted);
    world.unset("COPERA_API_URL");
    // A second login changes nothing, because the file has the URL now.
    log_in(&world, &[], &token).ok().says_nothing_of("in place of").says_nothing_of("api_url");
    assert_eq!(text(&world), wanted);
    // Another profile is appended, and the message says how to use it.
    log_in(&world, &["--profile", "new", "--api-url", &world.drive.api_url()], &token)
        .ok()
        .says("use it with --profile new");
    assert!(text(&world).starts_with(&wanted), "{}", text(&world));
    world.run(&["f", "--profile", "new"]).ok();
}

#[test]
fn the_first_profile_becomes_the_default() {
    let world = world();
    let token = world.drive.token();
    log_in(&world, &["--profile", "work"], token).ok().says("`work` is the default profile now");
    world.run(&["f"]).ok();
    log_in(&world, &["--profile", "home"], token).ok().says("use it with --profile home");
    assert!(text(&world).starts_with("default_profile = \"work\"\n"), "{}", text(&world));
}

#[cfg(unix)]
#[test]
fn links_and_stricter_modes_are_kept_and_wider_modes_narrowed() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let world = world();
    let real = world.home().join("dotfiles.toml");
    write(real.clone(), "# real\n");
    std::fs::create_dir_all(world.config_dir()).unwrap();
    symlink(&real, config(&world)).unwrap();
    for (before, after) in [(0o644, 0o600), (0o400, 0o400), (0o700, 0o600)] {
        std::fs::set_permissions(&real, std::fs::Permissions::from_mode(before)).unwrap();
        log_in(&world, &[], world.drive.token()).ok().says_nothing_of("accessible to other users");
        assert_eq!(std::fs::metadata(&real).unwrap().permissions().mode() & 0o777, after);
    }
    assert!(std::fs::symlink_metadata(config(&world)).unwrap().is_symlink());
    assert!(std::fs::read_to_string(&real).unwrap().contains(world.drive.token()));
    // No temporary files are left.
    assert_eq!(std::fs::read_dir(world.config_dir()).unwrap().count(), 1);
    assert_eq!(std::fs::read_dir(world.home()).unwrap().count(), 1);

    std::fs::remove_file(&real).unwrap();
    log_in(&world, &[], world.drive.token()).fails(2).says("link to a file that does not exist");
}

#[test]
fn an_invalid_file_is_an_error_before_the_prompt_and_stays_unchanged() {
    let world = world();
    for broken in ["[profiles.default\ntoken = 1", "[profiles.default]\ntokn = 'x'\n", "profiles = 'x'"] {
        write(config(&world), broken);
        log_in(&world, &[], world.drive.token()).fails(2).says("config.toml:");
        assert_eq!(text(&world), broken);
    }
    std::fs::remove_file(config(&world)).unwrap();
    std::fs::create_dir(config(&world)).unwrap();
    log_in(&world, &[], world.drive.token()).fails(2).says("not a regular file");
    log_in(&world, &["--config", "."], world.drive.token()).fails(2).says("not a regular file");
    assert_eq!(world.drive.record().count(Op::Any), 0);
    // The parent is a file.
    log_in(&world, &["--config", "f/c.toml"], world.drive.token()).fails(2).says("f/c.toml");
}

#[cfg(unix)]
#[test]
fn concurrent_logins_are_all_saved() {
    let world = world();
    let token = world.drive.token().to_owned();
    let names: Vec<String> = (0..8).map(|number| format!("p{number}")).collect();
    std::thread::scope(|scope| {
        for name in &names {
            scope.spawn(|| {
                log_in(&world, &["--profile", name], &token).ok().says(name);
            });
        }
    });
    for name in &names {
        world.run(&["f", "--profile", name]).ok();
    }
}

#[test]
fn byte_order_mark_and_line_ends_of_the_file_are_kept_and_the_mark_of_a_pipe_is_ignored() {
    let world = world();
    let token = world.drive.token().to_owned();
    write(config(&world), "\u{feff}[profiles.default]\r\nparent = 'x' # mine\r\n");
    log_in(&world, &[], format!("\u{feff}{token}\r\n")).ok();
    let url = world.drive.api_url();
    let wanted = format!(
        "\u{feff}[profiles.default]\r\nparent = 'x' # mine\r\ntoken = \"{token}\"\r\napi_url = \"{url}\"\r\n"
    );
    assert_eq!(text(&world), wanted);
}

#[test]
fn the_api_is_saved_even_if_a_project_file_sets_it_too() {
    let mut world = world();
    let token = world.drive.token().to_owned();
    let project =
        format!("default_profile = 'work'\n[profiles.work]\napi_url = \"{}\"\n", world.drive.api_url());
    write(world.work().join(".copera.toml"), &project);
    log_in(&world, &[], &token)
        .ok()
        .says("default_profile in .copera.toml:1")
        .says("use it with --profile work");
    std::fs::remove_file(world.work().join(".copera.toml")).unwrap();
    world.unset("COPERA_API_URL");
    world.run(&["f", "--profile", "work"]).ok();
}

#[test]
fn the_token_is_saved_in_a_named_file() {
    let mut world = world();
    let token = world.drive.token().to_owned();
    log_in(&world, &["--config", "new/mine.toml"], &token).ok().says("saved in new/mine.toml");
    world.run(&["f", "--config", "new/mine.toml"]).ok();
    world.set("COPERA_CONFIG", "other.toml");
    log_in(&world, &["--profile", "x"], &token).ok().says("saved in other.toml");
    world.unset("COPERA_API_URL");
    world.run(&["f"]).ok();
    assert_nothing_saved(&world);
}

#[test]
fn warnings_name_what_takes_precedence_over_the_saved_token() {
    let mut world = world();
    let token = world.drive.token().to_owned();
    write(config(&world), "[profiles.default]\ntoken_command = 'echo cp_pat_x'\n");
    log_in(&world, &[], &token).ok().says("warning: ").says("config.toml:").says("token_command");
    world.run(&["f"]).ok();

    write(world.work().join(".copera.toml"), "[profiles.default]\ntoken = 'cp_pat_theirs'\n");
    let ran = log_in(&world, &[], &token);
    ran.ok().says(".copera.toml:2 sets another token").says_nothing_of("cp_pat_theirs");

    world.set("COPERA_CLI_AUTH_TOKEN", "cp_pat_other");
    log_in(&world, &[], &token).ok().says("COPERA_CLI_AUTH_TOKEN is set to another token");
    world.set("COPERA_TOKEN", token.clone());
    log_in(&world, &[], &token).ok().says_nothing_of("is set to another token");
}

#[test]
fn there_is_no_prompt_if_a_project_file_sets_the_server() {
    let server = MockServer::new();
    let mut world = bare();
    let token = world.drive.token().to_owned();
    for text in ["[api]\nbase_url", "[profiles.default]\ntoken = 'theirs'\napi_url"] {
        write(world.work().join(".copera.toml"), &format!("{text} = \"{}\"\n", server.url()));
        log_in(&world, &[], &token).fails(2).says(".copera.toml:").says("--api-url");
        log_in(&world, &["--config", ".copera.toml"], &token).fails(2).says(".copera.toml:");
    }
    assert_eq!(server.requests(), [""; 0]);
    assert_nothing_saved(&world);
    // A URL from the user overrides it, and is saved with the token.
    std::fs::write(world.work().join(".copera.toml"), "[api]\nbase_url = 'https://evil.example'\n").unwrap();
    world.set("COPERA_API_URL", world.drive.api_url());
    log_in(&world, &[], &token).ok();
    world.unset("COPERA_API_URL");
    world.run(&["f"]).ok();
}
