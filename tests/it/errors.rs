//! Each kind of failure has its exit code, an error with the message of the service, and a hint.

use std::time::Instant;

use local_drive::{Action, Fault, Op, Options};

use crate::program::not_under_wine;
use crate::support::{MIB, PART, Ran, World, refusal, response, web_page};

/// Runs for a small file while this operation fails.
fn refused(op: Op, action: Action) -> Ran {
    let world = World::new();
    world.file("f", 10);
    world.drive.fault(Fault::new(op, action));
    let ran = world.run(&["f", "--retry-for", "0"]);
    assert!(world.drive.items().is_empty(), "{ran:#?}");
    ran
}

const CALLS: [Op; 3] = [Op::Start, Op::Urls, Op::Finalize];

#[test]
fn each_missing_local_file_is_named() {
    let world = World::new();
    let ran = world.run(&["a", "b", "c", "d", "e", "f"]);
    ran.fails(8);
    for name in ["a", "b", "c", "d", "e", "f"] {
        ran.says(&format!("error: {name}: could not open"));
    }
}

#[test]
fn a_rejected_request_is_exit_code_1_with_the_message_of_the_service() {
    for op in CALLS {
        for status in [400, 402, 405, 413, 422, 451, 501] {
            let ran = refused(op, refusal(status, "Not with us"));
            ran.fails(1).says("error: f: ").says(&status.to_string()).says("Not with us");
        }
    }
}

#[test]
fn every_shape_of_an_api_error_is_read() {
    for body in [
        r#"{"statusCode":400,"error":"Bad Request","message":"The message"}"#,
        r#"{"code":"E_CODE","error":"The message"}"#,
        r#"{"message":"The message"}"#,
        r#"{"message":["The message","and more"]}"#,
        r#"{"error":{"message":"The message"}}"#,
    ] {
        refused(Op::Start, response(400, body)).fails(1).says("The message");
    }
}

#[test]
fn html_and_empty_errors_are_reported_by_status() {
    for body in
        ["<html><body><h1>Bad</h1></body></html>", "", "null", "[]", "\"x\"", "{\"message\":7}", "\u{0}"]
    {
        refused(Op::Start, Action::status(400, body)).fails(1).says("400").says_nothing_of("<h1>");
        refused(Op::Start, Action::status(404, body)).fails(1).says("404").says("--api-url");
        refused(Op::Start, Action::status(502, body)).fails(7).says("502");
    }
}

#[test]
fn an_insufficient_token_is_exit_code_4() {
    for op in CALLS {
        refused(op, refusal(401, "Token expired")).fails(4).says("Token expired").says("hint: ");
        refused(op, refusal(403, "Missing scope")).fails(4).says("Missing scope").says("ACCESS_DRIVE");
    }
}

#[test]
fn an_unknown_token_and_an_integration_key_are_exit_code_4() {
    let mut world = World::new();
    world.file("f", 10);
    world.set("COPERA_TOKEN", "cp_pat_wrong");
    world.run(&["f"]).fails(4).says("401").says("hint: ").says_nothing_of("cp_pat_wrong");
    world.set("COPERA_TOKEN", "cp_key_of_boards");
    world.run(&["f"]).fails(4).says("403").says("cp_key_").says_nothing_of("cp_key_of_boards");
}

#[test]
fn a_missing_folder_is_exit_code_3() {
    let world = World::new();
    world.file("f", 10);
    let ran = world.run(&["f", "-p", "665f1c2ab3d4e5f60718293a"]);
    ran.fails(3).says("404").says("folder").says("--parent");
    assert_eq!(world.drive.record().count(Op::AnyApi), 1);
}

#[test]
fn an_invalid_parent_id_is_rejected_by_the_service() {
    let world = World::new();
    world.file("f", 10);
    world.run(&["f", "-p", "photos"]).fails(1).says("400").says("24-character").says("hint: --parent takes");
    world.run(&["f", "-p", ""]).fails(2).says("--parent");
}

#[test]
fn a_file_as_parent_is_rejected_by_the_service() {
    let world = World::new();
    world.file("f", 10);
    let file = world.run(&["f"]).ok().id();
    world.run(&["f", "-p", &file]).fails(1).says("not a folder");
}

#[test]
fn a_conflict_is_exit_code_5() {
    for op in CALLS {
        refused(op, refusal(409, "It exists")).fails(5).says("It exists");
    }
}

#[test]
fn a_rate_limit_is_exit_code_6_with_the_time_to_wait() {
    for op in CALLS {
        refused(op, Action::rate_limited(90)).fails(6).says("429").says("1m 30s");
        let header = Action::Status {
            code: 429,
            headers: vec![("Retry-After".into(), "90".into())],
            body: String::new(),
        };
        refused(op, header).fails(6).says("1m 30s");
    }
}

#[test]
fn retry_after_beyond_retry_for_fails_at_once() {
    let world = World::new();
    world.file("f", 10);
    for (status, code) in [(429, 6), (503, 7)] {
        let headers = vec![("Retry-After".into(), "3600".into())];
        world
            .drive
            .fault(Fault::once(Op::Start, Action::Status { code: status, headers, body: String::new() }));
        let begun = Instant::now();
        world.run(&["f"]).fails(code).says("1h 00m");
        assert!(begun.elapsed().as_secs() < 20, "the program waited");
    }
}

#[test]
fn an_unavailable_service_is_exit_code_7() {
    for status in [408, 500, 502, 503, 504, 520] {
        for op in [Op::Start, Op::Urls] {
            refused(op, Action::status(status, "")).fails(7).says(&status.to_string()).says("hint: ");
        }
    }
    for op in [Op::Start, Op::Urls] {
        refused(op, Action::Reset).fails(7);
    }
}

#[test]
fn an_unreachable_service_is_exit_code_7() {
    not_under_wine!("Wine cannot check certificates as rustls-platform-verifier needs it");
    let mut world = World::new();
    world.file("f", 10);
    world.set("COPERA_API_URL", "http://127.0.0.1:9/public/v1");
    world.run(&["f", "--retry-for", "0"]).fails(7).says("error: f: ").says("hint: ");
    world.set("COPERA_API_URL", "https://no-such-host.invalid");
    world.run(&["f", "--retry-for", "0"]).fails(7);
}

#[test]
fn an_error_of_storage_is_exit_code_1_with_its_message() {
    for (status, code) in [(403, "SignatureDoesNotMatch"), (400, "EntityTooSmall"), (403, "AccessDenied")] {
        let error = Action::S3Error { status, code: code.into(), message: "The message".into() };
        refused(Op::PutPart, error).fails(1).says("part 1").says(code).says("The message");
    }
}

#[test]
fn unavailable_storage_is_exit_code_7() {
    for action in
        [Action::slow_down(), Action::internal_error(), Action::status(502, "<html>"), Action::Reset]
    {
        refused(Op::PutPart, action).fails(7).says("part 1");
    }
}

#[test]
fn max_retries_limits_the_number_of_attempts() {
    let world = World::new();
    world.file("f", 10);
    world.drive.fault(Fault::new(Op::Start, Action::status(500, "")));
    world.run(&["f", "--max-retries", "2"]).fails(7).says("3 tries");
    assert_eq!(world.drive.record().count(Op::Start), 3);
}

#[test]
fn a_full_workspace_is_reported_with_a_hint() {
    let world = World::with(Options { quota: Some(MIB), ..Options::default() });
    world.file("f", PART);
    world.run(&["f"]).fails(1).says("no space left").says("free some space");
}

#[test]
fn a_rejected_empty_file_is_reported_as_empty() {
    let world = World::new();
    world.file("f", 0);
    world.drive.fault(Fault::new(Op::Start, refusal(400, "fileSize must be positive")));
    world.run(&["f"]).fails(1).says("fileSize must be positive").says("empty");
}

#[test]
fn other_errors_of_an_empty_file_do_not_mention_that_it_is_empty() {
    for (op, action, words) in [
        (Op::Urls, web_page(), "a web page"),
        (Op::Start, response(201, "{}"), "unexpected answer"),
        (Op::Start, refusal(403, "The storage quota is exceeded"), "quota"),
        (Op::Folders, refusal(400, "no folders today"), "no folders today"),
    ] {
        let world = World::new();
        world.file("f", 0);
        world.drive.fault(Fault::new(op, action));
        world.run(&["f", "--to", "a"]).fails(1).says(words).says_nothing_of("empty");
    }
}

#[test]
fn transient_failures_are_retried() {
    let world = World::new();
    let path = world.file("f", PART + 1);
    for op in [Op::Start, Op::Urls] {
        world.drive.fault(Fault::once(op, Action::status(503, "")));
        world.drive.fault(Fault::once(op, Action::Reset));
        world.drive.fault(Fault::once(op, Action::rate_limited(0)));
    }
    world.drive.fault(Fault::once(Op::PutPart, Action::internal_error()).part(2));
    let id = world.run(&["f"]).ok().id();
    world.assert_stored(&id, &path);
}

#[test]
fn control_characters_in_a_message_do_not_reach_the_terminal() {
    let words = "Red\u{1b}[31m alert\u{7}\r\nerror: forged\u{9b}2J\u{202e}";
    let ran = refused(Op::Start, refusal(400, words));
    ran.fails(1).says("Red");
    for c in ['\u{1b}', '\u{7}', '\r', '\u{9b}'] {
        assert!(!ran.stderr.contains(c), "{ran:#?}");
    }
    assert!(!ran.stderr.lines().any(|line| line.starts_with("error: forged")), "{ran:#?}");
}

#[test]
fn an_invalid_command_line_is_exit_code_2_without_a_request() {
    let world = World::new();
    world.file("f", 10);
    world.file("g", 10);
    for args in [
        &[][..],
        &["--no-such-option", "f"],
        &["--part-size", "1MiB", "f"],
        &["-j", "0", "f"],
        &["--mime-type", "pdf", "f"],
        &["--token", "x", "f"],
        &["-n", "one", "f", "g"],
        &["-n", "a/b", "f"],
        &["-n", "", "f"],
        &["--api-url", "nonsense", "f"],
        &["--config", "missing.toml", "f"],
        &["--profile", "missing", "f"],
    ] {
        let ran = world.run(args);
        ran.ends(2);
        assert!(ran.stderr.starts_with("error: ") && ran.stdout.is_empty(), "{args:?}: {ran:#?}");
    }
    let ran = world.run(&["--cacert", "missing.pem", "--api-url", "https://127.0.0.1:9", "f"]);
    ran.fails(2).says("missing.pem");
    world.run(&["--cacert", "missing.pem", "f"]).fails(2).says("missing.pem");
    assert_eq!(world.drive.record().count(Op::Any), 0);
}

#[test]
fn a_part_size_with_too_many_parts_is_a_usage_error_that_suggests_another() {
    let world = World::new();
    world.sparse("f", 60 * 1024 * MIB);
    let ran = world.run(&["f", "--part-size", "5MiB"]);
    ran.fails(2).says("12288 parts").says("hint: ").says("7MiB");
    assert_eq!(world.drive.record().count(Op::Any), 0);
}
