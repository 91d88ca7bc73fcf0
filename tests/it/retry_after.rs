//! `Retry-After`: the program does not retry earlier than the service or storage allows.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use local_drive::{Action, Fault, Op};

use crate::halfway::assert_one_item;
use crate::support::{PART, World};

fn status(code: u16, headers: &[(&str, &str)], body: &str) -> Action {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Action::Status { code, headers: headers.iter().map(owned).collect(), body: body.into() }
}

/// Start times of all requests of one operation.
fn instants(world: &World, op: Op) -> Vec<Instant> {
    world.drive.record().requests_of(op).map(|request| request.start).collect()
}

#[test]
fn retry_after_in_seconds_is_respected_by_calls_and_parts() {
    let wish = Duration::from_secs(1);
    for (op, action) in [
        (Op::Start, Action::rate_limited(1)),
        (Op::Start, status(503, &[("retry-after", "1")], "")),
        (Op::Urls, status(429, &[], r#"{"statusCode":429,"message":"slow","retryAfter":1}"#)),
        (Op::Finalize, Action::rate_limited(1)),
        (Op::PutPart, status(503, &[("retry-after", "1")], "<Error><Code>SlowDown</Code></Error>")),
        (Op::PutPart, status(429, &[("retry-after", "1")], "")),
    ] {
        let world = World::new();
        let path = world.file("file.bin", 20);
        world.drive.fault(Fault::once(op, action.clone()));
        let ran = world.run(&["file.bin"]);
        assert_one_item(&world, &ran, &path);
        let at = instants(&world, op);
        assert_eq!(at.len(), 2, "{op:?} {action:?}");
        assert!(at[1] - at[0] >= wish, "{op:?} {action:?}: retried after {:?}", at[1] - at[0]);
    }
}

#[test]
fn retry_after_as_a_date_is_respected() {
    let world = World::new();
    let path = world.file("file.bin", 20);
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let date = UNIX_EPOCH + Duration::from_secs(since_1970 + 3);
    let text = jiff::Timestamp::try_from(date).unwrap().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    world.drive.fault(Fault::once(Op::Start, status(503, &[("retry-after", &text)], "")));
    let (now, instant) = (SystemTime::now(), Instant::now());
    let ran = world.run(&["file.bin"]);
    assert_one_item(&world, &ran, &path);
    let again = now + (instants(&world, Op::Start)[1] - instant);
    assert!(again >= date, "{:?} too early", date.duration_since(again));
}

#[test]
fn a_rate_limit_applies_to_all_files() {
    let world = World::new();
    world.file("first.bin", 20);
    world.file("second.bin", 20);
    // The part of one file is slow. Meanwhile, the start of the other file is rate limited.
    world.drive.fault(Fault::once(Op::PutPart, Action::Delay(Duration::from_secs(1))));
    world.drive.fault(Fault::once(Op::Start, Action::rate_limited(3)).skip(1));
    world.run(&["first.bin", "second.bin"]).ok();
    let told = instants(&world, Op::Start)[1];
    let finalized = instants(&world, Op::Finalize)[0];
    assert!(finalized - told >= Duration::from_secs(3), "only {:?} later", finalized - told);
}

#[test]
fn retry_after_beyond_retry_for_fails_at_once_and_is_reported() {
    let hour = [("retry-after", "3600")];
    for (op, action, code) in [
        (Op::Start, Action::rate_limited(3600), 6),
        (Op::Start, status(429, &[], r#"{"retryAfter":3600}"#), 6),
        (Op::Start, status(503, &hour, ""), 7),
        (Op::Urls, Action::rate_limited(3600), 6),
        (Op::PutPart, status(429, &hour, ""), 6),
        (Op::PutPart, status(503, &hour, "<Error><Code>SlowDown</Code></Error>"), 7),
        (Op::Finalize, Action::rate_limited(3600), 6),
    ] {
        let world = World::new();
        world.file("file.bin", 20);
        world.drive.fault(Fault::new(op, action.clone()));
        let ran = world.run(&["file.bin"]);
        assert_eq!(ran.code, Some(code), "{op:?} {action:?}: {ran:#?}");
        ran.fails(code).says("hint:").says("1h 00m");
        assert_eq!(world.drive.record().count(op), 1, "{op:?} {action:?}");
    }
}

#[test]
fn a_retry_after_of_centuries_fails_at_once_without_advice_to_retry_for_longer() {
    for (code, exit) in [(429, 6), (503, 7)] {
        let world = World::new();
        world.file("file.bin", 20);
        world
            .drive
            .fault(Fault::new(Op::Start, status(code, &[("retry-after", "99999999999999999999")], "")));
        world.run(&["file.bin"]).fails(exit).says("hint: try again later").says_nothing_of("--retry-for");
        assert_eq!(world.drive.record().count(Op::Start), 1);
    }
}

#[test]
fn a_permanent_rate_limit_is_exit_code_6() {
    let world = World::new();
    world.file("file.bin", 20);
    world.drive.fault(Fault::new(Op::AnyApi, status(429, &[], "")));
    world.run(&["file.bin", "--max-retries", "1"]).fails(6).says("hint:");
}

#[test]
fn slow_down_reduces_the_parts_in_flight() {
    let world = World::new();
    let path = world.file("file.bin", 12 * PART);
    world.drive.fault(Fault::new(Op::PutPart, Action::slow_down()).times(8));
    let ran = world.run(&["-v", "file.bin"]);
    assert_one_item(&world, &ran, &path);
    ran.says("parts in flight");
}
