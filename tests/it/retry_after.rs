//! When the service or storage says when to come back, nobody comes sooner.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use local_drive::{Action, Fault, Op};

use crate::halfway::assert_one_item;
use crate::support::{PART, World};

fn status(code: u16, headers: &[(&str, &str)], body: &str) -> Action {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Action::Status { code, headers: headers.iter().map(owned).collect(), body: body.into() }
}

/// The instants of all requests of one kind.
fn instants(world: &World, op: Op) -> Vec<Instant> {
    world.drive.record().requests_of(op).map(|request| request.start).collect()
}

#[test]
fn a_wish_in_seconds_is_kept_by_calls_and_by_parts() {
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
        assert!(at[1] - at[0] >= wish, "{op:?} {action:?}: again after {:?}", at[1] - at[0]);
    }
}

#[test]
fn a_wish_as_a_date_is_kept() {
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
fn a_rate_limit_is_the_accounts_so_other_files_wait_with_it() {
    let world = World::new();
    world.file("first.bin", 20);
    world.file("second.bin", 20);
    // One file's part takes a little, and meanwhile the other file's start is told to come back later.
    world.drive.fault(Fault::once(Op::PutPart, Action::Delay(Duration::from_secs(1))));
    world.drive.fault(Fault::once(Op::Start, Action::rate_limited(3)).skip(1));
    world.run(&["first.bin", "second.bin"]).ok();
    let told = instants(&world, Op::Start)[1];
    let finalized = instants(&world, Op::Finalize)[0];
    assert!(finalized - told >= Duration::from_secs(3), "only {:?} later", finalized - told);
}

#[test]
fn a_wish_longer_than_patience_ends_at_once_and_says_when_to_come_back() {
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
fn a_rate_limit_that_never_ends_is_exit_code_6() {
    let world = World::new();
    world.file("file.bin", 20);
    world.drive.fault(Fault::new(Op::AnyApi, status(429, &[], "")));
    world.run(&["file.bin", "--max-retries", "1"]).fails(6).says("hint:");
}

#[test]
fn storage_that_asks_for_less_gets_less_and_all_of_it_in_the_end() {
    let world = World::new();
    let path = world.file("file.bin", 12 * PART);
    world.drive.fault(Fault::new(Op::PutPart, Action::slow_down()).times(8));
    let ran = world.run(&["-v", "file.bin"]);
    assert_one_item(&world, &ran, &path);
    ran.says("parts in flight");
}
