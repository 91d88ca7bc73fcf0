//! Stalled transfers are aborted and retried; slow ones are not, whatever makes them slow.

use std::time::{Duration, Instant};

use local_drive::{Action, Fault, Op, Options};

use crate::halfway::assert_one_item;
use crate::program::not_under_wine;
use crate::support::{CAP, MIB, PART, World};

/// A drive with a small receive buffer.
fn with_small_buffer() -> World {
    World::with(Options { receive_buffer: Some(16 * 1024), ..Options::default() })
}

#[test]
fn a_stalled_part_is_aborted_and_sent_again() {
    for after in [0, MIB] {
        let world = with_small_buffer();
        let path = world.file("file.bin", 2 * PART);
        world.drive.fault(Fault::once(Op::PutPart, Action::Stall { after }).part(2));
        let ran = world.run(&["-v", "file.bin", "-j1", "--stall-timeout", "1s"]);
        assert_one_item(&world, &ran, &path);
        ran.says("the transfer stalled");
        let record = world.drive.record();
        let puts = record.puts_of_part(&crate::halfway::only_upload(&world), 2);
        assert_eq!(puts.len(), 2);
        assert!(puts[1].start - puts[0].start >= Duration::from_secs(1));
    }
}

#[test]
fn a_part_without_a_response_is_aborted_and_sent_again() {
    let world = World::new();
    let path = world.file("file.bin", 2 * PART);
    world.drive.fault(Fault::once(Op::PutPart, Action::HangAfterBody).part(1));
    let ran = world.run(&["-v", "file.bin", "-j1", "--stall-timeout", "1s"]);
    assert_one_item(&world, &ran, &path);
    ran.says("no answer");
    assert_eq!(world.drive.record().count(Op::PutPart), 3);
}

#[test]
fn a_response_before_the_stall_timeout_is_awaited() {
    let world = World::new();
    let path = world.file("file.bin", 20);
    world.drive.fault(Fault::once(Op::PutPart, Action::Delay(Duration::from_secs(1))));
    let ran = world.run(&["file.bin", "--stall-timeout", "10s"]);
    assert_one_item(&world, &ran, &path);
    assert_eq!(world.drive.record().count(Op::PutPart), 1);
}

#[test]
fn a_part_that_always_stalls_is_given_up_after_retry_for() {
    let world = with_small_buffer();
    world.file("file.bin", PART);
    world.drive.fault(Fault::new(Op::PutPart, Action::Stall { after: 0 }));
    let ran = world.run(&["file.bin", "--stall-timeout", "1s", "--retry-for", "2s"]);
    ran.fails(7).says("the transfer stalled");
}

#[test]
fn a_slow_transfer_is_never_aborted() {
    not_under_wine!("Linux buffers megabytes, and Wine does not report what was acknowledged");
    let world = with_small_buffer();
    let path = world.file("file.bin", 400_000);
    world.drive.fault(Fault::new(Op::PutPart, Action::SlowRead { bytes_per_second: 100 * 1024 }));
    let ran = world.run(&["file.bin", "--stall-timeout", "2s"]);
    assert_one_item(&world, &ran, &path);
    let record = world.drive.record();
    let puts: Vec<_> = record.requests_of(Op::PutPart).collect();
    assert_eq!(puts.len(), 1);
    assert!(puts[0].end.unwrap() - puts[0].start > Duration::from_secs(3), "the transfer was not slow");
}

#[test]
fn eight_parts_on_a_slow_network_need_one_attempt_each() {
    not_under_wine!("Linux buffers megabytes, and Wine does not report what was acknowledged");
    let world = with_small_buffer();
    let path = world.file("file.bin", 8 * PART);
    world.drive.fault(Fault::new(Op::PutPart, Action::SlowRead { bytes_per_second: MIB }));
    let ran = world.run(&["file.bin", "-j8", "--stall-timeout", "2s"]);
    assert_one_item(&world, &ran, &path);
    let record = world.drive.record();
    assert_eq!((record.count(Op::PutPart), record.max_parts_in_flight()), (8, 8));
}

#[test]
fn limit_rate_applies_to_all_parts_together() {
    let world = with_small_buffer();
    let path = world.file("file.bin", 2 * PART);
    let rate = 3 * MIB;
    let begun = Instant::now();
    let ran = world.run(&["file.bin", "--limit-rate", "3MiB", "--stall-timeout", "1s"]);
    let took = begun.elapsed();
    assert_one_item(&world, &ran, &path);
    assert_eq!(world.drive.record().count(Op::PutPart), 2);
    let least = Duration::from_secs_f64((2 * PART) as f64 / rate as f64 * 0.9);
    assert!(took >= least, "{took:?}, but the rate limit needs {least:?}");
}

#[test]
fn a_rate_limit_reduces_the_parts_in_flight() {
    for (rate, most) in [("512KiB", 1), ("1MiB", 2), ("2MiB", 4)] {
        let world = World::new();
        let path = world.file("file.bin", 8 * PART);
        let limited = ["file.bin", "--limit-rate", rate];
        let running = world.spawn(&limited);
        let moves = |record: &local_drive::Record| record.bytes_received_on_storage() > 2 * MIB;
        world.drive.wait_until(CAP, moves).unwrap();
        running.kill();
        assert!(world.drive.record().max_parts_in_flight() <= most, "at {rate}");
        assert_one_item(&world, &world.run(&["file.bin"]), &path);
    }
}

#[test]
fn many_parts_are_in_flight_if_each_connection_is_slow() {
    for no_tcp_info in ["", "1"] {
        let mut world = with_small_buffer();
        world.set("COPERA_UPLOAD_NO_TCP_INFO", no_tcp_info);
        world.sparse("file.bin", 24 * PART);
        world.drive.fault(Fault::new(Op::PutPart, Action::SlowRead { bytes_per_second: MIB }));
        let running = world.spawn(&["file.bin"]);
        world.drive.wait_until(CAP, |record| record.max_parts_in_flight() == 24).unwrap();
        running.kill();
    }
}

#[test]
fn limit_rate_keeps_all_connections_busy() {
    // Storage closes connections that are idle for a second. Amazon waits about 20.
    let world = World::with(Options { body_timeout: Duration::from_secs(1), ..Options::default() });
    for name in ["a.bin", "b.bin", "c.bin", "d.bin"] {
        world.file(name, 100_000);
    }
    let running =
        world.spawn(&["a.bin", "b.bin", "c.bin", "d.bin", "--limit-rate", "128KiB", "--progress", "none"]);
    let (mut seen, mut moves) = (0, 0);
    let all_there = |record: &local_drive::Record| {
        let bytes = record.bytes_received_on_storage();
        moves += u32::from(bytes > seen);
        seen = bytes;
        bytes == 400_000
    };
    world.drive.wait_until(CAP, all_there).unwrap();
    running.wait().ok();
    let record = world.drive.record();
    assert_eq!(record.count(Op::PutPart), 4);
    assert!(record.requests_of(Op::PutPart).all(|put| put.status == Some(200)));
    assert!(moves >= 40, "400 kB came in only {moves} pieces");
}

#[test]
fn each_retry_of_a_part_with_a_late_response_waits_longer() {
    // Some proxies accept a whole part at once and forward it slowly, so the response comes after the stall timeout.
    let world = World::new();
    let path = world.file("file.bin", 20);
    world.drive.fault(Fault::new(Op::PutPart, Action::Delay(Duration::from_secs(3))));
    let ran = world.run(&["-v", "file.bin", "-j1", "--stall-timeout", "1s"]);
    assert_one_item(&world, &ran, &path);
    ran.says("no answer from storage: none within 1.0s of").says("none within 2.0s of");
    assert_eq!(world.drive.record().count(Op::PutPart), 3);
}

#[test]
fn a_retry_may_take_longer_than_retry_for_if_it_makes_progress() {
    let world = with_small_buffer();
    let path = world.file("file.bin", 200_000);
    for after in [150_000, 100_000] {
        world.drive.fault(Fault::once(Op::PutPart, Action::ResetAfter(after)));
    }
    let ran = world.run(&["file.bin", "--limit-rate", "60KiB", "--retry-for", "1s"]);
    assert_one_item(&world, &ran, &path);
    assert_eq!(world.drive.record().count(Op::PutPart), 3);
}
