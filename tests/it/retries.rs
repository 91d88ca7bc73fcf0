//! What passes is tried again, as often as was said, and what makes progress is never given up.

use local_drive::{Action, Fault, Op, Options};

use crate::halfway::assert_one_item;
use crate::program::not_under_wine;
use crate::support::{MIB, PART, World};

const EVERYTHING: u64 = u64::MAX;

/// What goes wrong in passing with any request, API or storage, before or after its work.
fn passing() -> Vec<Action> {
    let after_work =
        |code| Action::AnswerAfterWork { code, headers: Vec::new(), body: "<html>Bad Gateway</html>".into() };
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
fn a_part_that_fails_in_passing_is_sent_once_more_and_the_others_are_not() {
    let mut actions = passing();
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
        // One part in flight: nothing is sent twice to save time.
        let ran = world.run(&["file.bin", "-j1"]);
        let record = world.drive.record();
        let sent: Vec<u32> = record.requests_of(Op::PutPart).filter_map(|put| put.part).collect();
        assert_eq!(sent, [1, 2, 2, 3], "{action:?}: {ran:#?}");
        assert_one_item(&world, &ran, &path);
    }
}

#[test]
fn a_call_that_fails_in_passing_is_made_again() {
    for call in [Op::Start, Op::Urls] {
        let mut actions = passing();
        actions.push(Action::TruncateAnswer);
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
fn a_retry_is_told_with_its_cause_when_asked_to_be_verbose() {
    let world = World::new();
    world.file("file.bin", 20);
    world.drive.fault(Fault::once(Op::PutPart, Action::slow_down()));
    world.run(&["-v", "file.bin"]).ok().says("SlowDown").says("part 1");
}

#[test]
fn every_part_may_fail_several_times_and_the_upload_ends_well() {
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
fn what_is_refused_is_not_tried_again() {
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
fn max_retries_counts_the_retries_of_a_part_and_of_a_call() {
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
fn retry_for_nothing_tries_once() {
    for call in [Op::PutPart, Op::Start] {
        let world = World::new();
        world.file("file.bin", 20);
        world.drive.fault(Fault::new(call, Action::status(500, "")));
        world.run(&["file.bin", "--retry-for", "0"]).fails(7);
        assert_eq!(world.drive.record().count(call), 1);
    }
}

#[test]
fn what_gets_no_further_is_given_up_when_patience_ends() {
    for call in [Op::PutPart, Op::Start] {
        let world = World::new();
        world.file("file.bin", 20);
        world.drive.fault(Fault::new(call, Action::status(500, "")));
        world.run(&["file.bin", "--retry-for", "1s"]).fails(7);
        assert!(world.drive.record().count(call) > 1, "{call:?} was not tried again");
    }
}

#[test]
fn a_part_that_gets_further_with_each_try_is_never_given_up() {
    not_under_wine!("Linux takes megabytes at once, and Wine tells nothing of what the network has taken");
    // So that what the program counts as taken is what storage has read.
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
fn a_part_that_never_gets_further_is_given_up_however_far_it_got() {
    let world = World::with(Options { receive_buffer: Some(16 * 1024), ..Options::default() });
    world.file("file.bin", PART);
    world.drive.fault(Fault::new(Op::PutPart, Action::ResetAfter(600_000)));
    world.run(&["file.bin", "--max-retries", "3", "-j1"]).fails(7);
    let tries = world.drive.record().count(Op::PutPart);
    // The socket's buffers may let a later try get a little further than the first.
    assert!((4..20).contains(&tries), "{tries} tries");
}

#[test]
fn an_answer_without_end_keeps_nobody_from_going_on() {
    let world = World::new();
    let path = world.file("file.bin", 3 * PART);
    world.drive.fault(Fault::new(Op::PutPart, Action::EndlessBody));
    let ran = world.run(&["file.bin", "-j1"]);
    assert_one_item(&world, &ran, &path);
    assert_eq!(world.drive.record().count(Op::PutPart), 3);
}

#[test]
fn a_call_that_is_not_answered_within_a_minute_is_made_again() {
    let world = World::new();
    let path = world.file("file.bin", 20);
    world.drive.fault(Fault::once(Op::Start, Action::HangAfterBody));
    let ran = world.run(&["-v", "file.bin"]);
    assert_one_item(&world, &ran, &path);
    ran.says("no answer in time");
    assert_eq!(world.drive.record().count(Op::Start), 2);
}

#[test]
fn a_part_whose_answer_is_lost_under_a_limited_rate_is_sent_again() {
    // It was handed over whole, and its permit went to the next. What it still held must not keep itself waiting.
    let world = World::new();
    let path = world.file("f", MIB);
    world.drive.fault(Fault::new(Op::PutPart, Action::ResetAfterWork).times(1));
    let ran = world.run(&["f", "--limit-rate", "102400", "--retry-for", "20"]);
    assert_one_item(&world, ran.ok(), &path);
}
