//! Transient failures are retried within the limits. Parts that make progress are never given up.

use local_drive::{Action, Fault, Op, Options};

use crate::halfway::assert_one_item;
use crate::program::not_under_wine;
use crate::support::{MIB, PART, World};

const EVERYTHING: u64 = u64::MAX;

/// Transient failures of any request, before or after its work.
fn transient() -> Vec<Action> {
    let after_work =
        |code| Action::StatusAfterWork { code, headers: Vec::new(), body: "<html>Bad Gateway</html>".into() };
    vec![
        Action::status(500, ""),
        Action::status(502, "<html><h1>Bad Gateway</h1></html>"),
        Action::status(504, "{\"message\":\"upstream\"}"),
        Action::status(408, ""),
        Action::status(429, ""),
        Action::internal_error(),
        Action::slow_down(),
        Action::Reset,
        Action::ResetAfter(EVERYTHING),
        Action::CloseAfterWork,
        Action::ResetAfterWork,
        after_work(502),
    ]
}

#[test]
fn only_the_part_with_a_transient_failure_is_sent_again() {
    let mut actions = transient();
    actions.push(Action::ResetAfter(0));
    actions.push(Action::ResetAfter(MIB));
    let timeout = "Your socket connection to the server was not read from or written to within the timeout";
    actions.push(Action::S3Error {
        status: 400,
        code: "RequestTimeout".into(),
        message: format!("{timeout} period."),
    });
    for action in actions {
        let world = World::new();
        let path = world.file("file.bin", 2 * PART + 17);
        world.drive.fault(Fault::once(Op::PutPart, action.clone()).part(2));
        // With one part in flight there is no hedging, so no byte is sent twice.
        let ran = world.run(&["file.bin", "-j1"]);
        let record = world.drive.record();
        let sent: Vec<u32> = record.requests_of(Op::PutPart).filter_map(|put| put.part).collect();
        assert_eq!(sent, [1, 2, 2, 3], "{action:?}: {ran:#?}");
        assert_one_item(&world, &ran, &path);
    }
}

#[test]
fn a_call_with_a_transient_failure_is_repeated() {
    for call in [Op::Start, Op::Urls] {
        let mut actions = transient();
        actions.push(Action::TruncateResponse);
        for action in actions {
            let world = World::new();
            let path = world.file("file.bin", 20);
            world.drive.fault(Fault::once(call, action.clone()));
            let ran = world.run(&["file.bin"]);
            assert_eq!(world.drive.record().count(call), 2, "{call:?} {action:?}: {ran:#?}");
            assert_one_item(&world, &ran, &path);
        }
    }
}

#[test]
fn verbose_reports_each_retry_with_its_cause() {
    let world = World::new();
    world.file("file.bin", 20);
    world.drive.fault(Fault::once(Op::PutPart, Action::slow_down()));
    world.run(&["-v", "file.bin"]).ok().says("SlowDown").says("part 1");
}

#[test]
fn every_part_may_fail_several_times() {
    let world = World::new();
    let path = world.file("file.bin", 6 * PART);
    for part in 1..=6 {
        world.drive.fault(Fault::once(Op::PutPart, Action::internal_error()).part(part));
        world.drive.fault(Fault::once(Op::PutPart, Action::ResetAfter(1000)).part(part));
    }
    let ran = world.run(&["file.bin"]);
    assert_one_item(&world, &ran, &path);
    assert!(world.drive.record().count(Op::PutPart) >= 18);
}

#[test]
fn rejected_requests_are_not_retried() {
    let refusal = |status, code: &str| Action::S3Error { status, code: code.into(), message: "No.".into() };
    for (call, action, code) in [
        (Op::PutPart, refusal(403, "SignatureDoesNotMatch"), 1),
        (Op::PutPart, refusal(403, "AccessDenied"), 1),
        (Op::PutPart, refusal(400, "EntityTooSmall"), 1),
        (Op::PutPart, Action::status(501, ""), 1),
        (Op::PutPart, Action::Redirect { to: "http://127.0.0.1:1/".into() }, 1),
        (Op::Start, Action::status(400, r#"{"message":"fileName is odd"}"#), 1),
        (Op::Start, Action::status(401, ""), 4),
        (Op::Start, Action::status(403, ""), 4),
        (Op::Start, Action::status(404, ""), 1),
        (Op::Start, Action::status(409, ""), 5),
        (Op::Start, Action::status(201, "{}"), 1),
        (Op::Start, Action::Redirect { to: "http://127.0.0.1:1/".into() }, 1),
        (Op::Start, Action::EndlessBody, 1),
        (Op::Urls, Action::status(400, ""), 1),
        (Op::Urls, Action::status(403, ""), 4),
    ] {
        let world = World::new();
        world.file("file.bin", 20);
        world.drive.fault(Fault::new(call, action.clone()));
        let ran = world.run(&["file.bin"]);
        assert_eq!(ran.code, Some(code), "{call:?} {action:?}: {ran:#?}");
        ran.fails(code);
        let record = world.drive.record();
        assert_eq!((record.count(call), record.count(Op::Finalize)), (1, 0), "{call:?} {action:?}");
    }
}

#[test]
fn max_retries_limits_the_retries_of_each_part_and_call() {
    for (call, action) in [
        (Op::PutPart, Action::internal_error()),
        (Op::PutPart, Action::ResetAfter(0)),
        (Op::Start, Action::status(503, "")),
        (Op::Urls, Action::Reset),
    ] {
        for retries in [0, 2] {
            let world = World::new();
            world.file("file.bin", 20);
            world.drive.fault(Fault::new(call, action.clone()));
            let ran = world.run(&["file.bin", "--max-retries", &retries.to_string()]);
            ran.fails(7).says("hint:");
            let tries = world.drive.record().count(call);
            assert_eq!(tries, retries + 1, "{call:?} {action:?} --max-retries {retries}");
        }
    }
}

#[test]
fn retry_for_0_makes_one_attempt() {
    for call in [Op::PutPart, Op::Start] {
        let world = World::new();
        world.file("file.bin", 20);
        world.drive.fault(Fault::new(call, Action::status(500, "")));
        world.run(&["file.bin", "--retry-for", "0"]).fails(7);
        assert_eq!(world.drive.record().count(call), 1);
    }
}

#[test]
fn a_request_without_progress_is_given_up_after_retry_for() {
    for call in [Op::PutPart, Op::Start] {
        let world = World::new();
        world.file("file.bin", 20);
        world.drive.fault(Fault::new(call, Action::status(500, "")));
        world.run(&["file.bin", "--retry-for", "1s"]).fails(7);
        assert!(world.drive.record().count(call) > 1, "{call:?} was not retried");
    }
}

#[test]
fn a_part_that_makes_progress_with_each_attempt_is_never_given_up() {
    not_under_wine!("Linux buffers megabytes, and Wine does not report what was acknowledged");
    // With a small receive buffer, acknowledged bytes are those that storage has read.
    let world = World::with(Options { receive_buffer: Some(16 * 1024), ..Options::default() });
    let path = world.file("file.bin", PART);
    for tries in 1..=8 {
        world.drive.fault(Fault::once(Op::PutPart, Action::ResetAfter(tries * 600_000)));
    }
    let ran = world.run(&["file.bin", "--max-retries", "1", "-j1"]);
    assert_one_item(&world, &ran, &path);
    assert_eq!(world.drive.record().count(Op::PutPart), 9);
}

#[test]
fn a_part_without_progress_is_given_up_however_much_was_sent() {
    let world = World::with(Options { receive_buffer: Some(16 * 1024), ..Options::default() });
    world.file("file.bin", PART);
    world.drive.fault(Fault::new(Op::PutPart, Action::ResetAfter(600_000)));
    world.run(&["file.bin", "--max-retries", "3", "-j1"]).fails(7);
    let tries = world.drive.record().count(Op::PutPart);
    // Socket buffers may let a later attempt get a little further than the first.
    assert!((4..20).contains(&tries), "{tries} tries");
}

#[test]
fn an_endless_response_does_not_block_the_upload() {
    let world = World::new();
    let path = world.file("file.bin", 3 * PART);
    world.drive.fault(Fault::new(Op::PutPart, Action::EndlessBody));
    let ran = world.run(&["file.bin", "-j1"]);
    assert_one_item(&world, &ran, &path);
    assert_eq!(world.drive.record().count(Op::PutPart), 3);
}

#[test]
fn a_call_without_a_response_for_a_minute_is_repeated() {
    let world = World::new();
    let path = world.file("file.bin", 20);
    world.drive.fault(Fault::once(Op::Start, Action::HangAfterBody));
    let ran = world.run(&["-v", "file.bin"]);
    assert_one_item(&world, &ran, &path);
    ran.says("no answer in time");
    assert_eq!(world.drive.record().count(Op::Start), 2);
}

#[test]
fn a_part_whose_response_is_lost_under_a_rate_limit_is_sent_again() {
    // The part was sent completely and gave its permit to the next one. What it still held must not block its retry.
    let world = World::new();
    let path = world.file("f", MIB);
    world.drive.fault(Fault::new(Op::PutPart, Action::ResetAfterWork).times(1));
    let ran = world.run(&["f", "--limit-rate", "102400", "--retry-for", "20"]);
    assert_one_item(&world, ran.ok(), &path);
}
