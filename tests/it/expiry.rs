//! Expired URLs are renewed once for all parts, and never in a loop.

use std::time::{Duration, Instant};

use local_drive::{Action, Fault, Op, Options, Record};

use crate::halfway::assert_one_item;
use crate::support::{CAP, PART, World};

fn count_status(record: &Record, status: u16) -> usize {
    record.requests_of(Op::PutPart).filter(|put| put.status == Some(status)).count()
}

#[test]
fn one_renewal_serves_all_parts_whose_urls_expired() {
    let world = World::new();
    let path = world.file("file.bin", 16 * PART);
    world.drive.fault(Fault::new(Op::PutPart, Action::Delay(Duration::from_millis(200))));
    let running = world.spawn(&["file.bin", "-j8"]);
    world.drive.wait_until(CAP, |record| record.stored_count() > 0 && record.parts_in_flight() > 4).unwrap();
    world.drive.expire_urls();
    let ran = running.wait();
    assert_one_item(&world, &ran, &path);
    let record = world.drive.record();
    assert_eq!(record.count(Op::Urls), 2, "{} parts got 403", count_status(&record, 403));
    assert_eq!(record.count(Op::Start), 1, "renewed URLs must be for the same upload");
    assert!(count_status(&record, 403) > 0);
}

#[test]
fn each_error_that_means_an_expired_url_renews_the_urls() {
    let error =
        |status, code: &str| Action::S3Error { status, code: code.into(), message: "Expired.".into() };
    for action in [
        Action::ExpiredUrl,
        error(400, "ExpiredToken"),
        error(403, "ExpiredToken"),
        error(403, "RequestTimeTooSkewed"),
    ] {
        let world = World::new();
        let path = world.file("file.bin", 2 * PART);
        world.drive.fault(Fault::once(Op::PutPart, action.clone()).part(2));
        let ran = world.run(&["file.bin", "-j1", "--max-retries", "0"]);
        assert_eq!(ran.code, Some(0), "{action:?}: {ran:#?}");
        assert_one_item(&world, &ran, &path);
        let record = world.drive.record();
        assert_eq!((record.count(Op::Urls), record.count(Op::PutPart)), (2, 3), "{action:?}");
    }
}

#[test]
fn urls_are_renewed_before_they_expire() {
    let world = World::with(Options { url_lifetime: Duration::from_secs(4), ..Options::default() });
    let path = world.file("file.bin", 20 * PART);
    world.drive.fault(Fault::new(Op::PutPart, Action::SlowRead { bytes_per_second: 4 * PART }));
    let ran = world.run(&["file.bin", "-j1"]);
    assert_one_item(&world, &ran, &path);
    let record = world.drive.record();
    assert_eq!(count_status(&record, 403), 0);
    assert!(record.count(Op::Urls) >= 2);
    assert_eq!(record.count(Op::Start), 1);
}

#[test]
fn urls_that_are_always_expired_are_an_error_and_not_a_loop() {
    let world = World::new();
    world.file("file.bin", 4 * PART);
    world.drive.fault(Fault::new(Op::PutPart, Action::ExpiredUrl));
    world.run(&["file.bin"]).fails(1).says("URL");
    let record = world.drive.record();
    assert!((2..=8).contains(&record.count(Op::Urls)), "{} requests", record.count(Op::Urls));
    assert_eq!(record.count(Op::Finalize), 0);
}

#[test]
fn a_clock_that_is_hours_off_causes_no_renewal() {
    for hours in [-30, -5, 5, 30] {
        let world = World::with(Options {
            clock_offset: jiff::SignedDuration::from_hours(hours),
            url_lifetime: Duration::from_secs(3600),
            ..Options::default()
        });
        let path = world.file("file.bin", 3 * PART);
        let ran = world.run(&["file.bin"]);
        assert_one_item(&world, &ran, &path);
        assert_eq!(world.drive.record().count(Op::Urls), 1, "{hours} hours");
    }
}

#[test]
fn the_age_of_urls_is_measured_by_the_clock_of_the_service() {
    let world = World::with(Options {
        clock_offset: jiff::SignedDuration::from_hours(7),
        url_lifetime: Duration::from_secs(4),
        ..Options::default()
    });
    let path = world.file("file.bin", 20 * PART);
    world.drive.fault(Fault::new(Op::PutPart, Action::SlowRead { bytes_per_second: 4 * PART }));
    let begun = Instant::now();
    let ran = world.run(&["file.bin", "-j1"]);
    let elapsed = begun.elapsed().as_secs_f64();
    assert_one_item(&world, &ran, &path);
    let record = world.drive.record();
    assert_eq!(count_status(&record, 403), 0);
    // URLs are renewed after two thirds of 4 s. A wrong clock must not cause more renewals.
    let most = 2 + (elapsed / 2.6) as usize;
    assert!((2..=most).contains(&record.count(Op::Urls)), "{} requests", record.count(Op::Urls));
}
