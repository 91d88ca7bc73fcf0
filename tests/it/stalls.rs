//! Standing still is ended, being slow never: on parts that the network, the peer or the rate limit slows down.

use std::time::{Duration, Instant};

use local_drive::{Action, Fault, Op, Options};

use crate::halfway::assert_one_item;
use crate::program::not_under_wine;
use crate::support::{CAP, MIB, PART, World};

/// A drive whose kernel takes little that nobody reads.
fn narrow() -> World {
    World::with(Options { receive_buffer: Some(16 * 1024), ..Options::default() })
}

#[test]
fn a_part_of_which_no_byte_is_taken_is_cut_and_sent_again() {
    for after in [0, MIB] {
        let world = narrow();
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
fn a_part_that_is_taken_and_not_answered_is_cut_and_sent_again() {
    let world = World::new();
    let path = world.file("file.bin", 2 * PART);
    world.drive.fault(Fault::once(Op::PutPart, Action::HangAfterBody).part(1));
    let ran = world.run(&["-v", "file.bin", "-j1", "--stall-timeout", "1s"]);
    assert_one_item(&world, &ran, &path);
    ran.says("no answer");
    assert_eq!(world.drive.record().count(Op::PutPart), 3);
}

#[test]
fn an_answer_that_comes_before_the_stall_time_out_is_waited_for() {
    let world = World::new();
    let path = world.file("file.bin", 20);
    world.drive.fault(Fault::once(Op::PutPart, Action::Delay(Duration::from_secs(1))));
    let ran = world.run(&["file.bin", "--stall-timeout", "10s"]);
    assert_one_item(&world, &ran, &path);
    assert_eq!(world.drive.record().count(Op::PutPart), 1);
}

#[test]
fn a_storage_that_never_takes_a_byte_is_given_up_when_patience_ends() {
    let world = narrow();
    world.file("file.bin", PART);
    world.drive.fault(Fault::new(Op::PutPart, Action::Stall { after: 0 }));
    let ran = world.run(&["file.bin", "--stall-timeout", "1s", "--retry-for", "2s"]);
    ran.fails(7).says("the transfer stalled");
}

#[test]
fn a_slow_peer_is_never_cut_however_long_a_part_takes() {
    not_under_wine!("Linux takes megabytes at once, and Wine tells nothing of what the network has taken");
    let world = narrow();
    let path = world.file("file.bin", 400_000);
    world.drive.fault(Fault::new(Op::PutPart, Action::SlowRead { bytes_per_second: 100 * 1024 }));
    let ran = world.run(&["file.bin", "--stall-timeout", "2s"]);
    assert_one_item(&world, &ran, &path);
    let record = world.drive.record();
    let puts: Vec<_> = record.requests_of(Op::PutPart).collect();
    assert_eq!(puts.len(), 1);
    assert!(puts[0].end.unwrap() - puts[0].start > Duration::from_secs(3), "the peer was not slow");
}

#[test]
fn eight_parts_on_a_thin_line_all_arrive_at_the_first_try() {
    not_under_wine!("Linux takes megabytes at once, and Wine tells nothing of what the network has taken");
    let world = narrow();
    let path = world.file("file.bin", 8 * PART);
    world.drive.fault(Fault::new(Op::PutPart, Action::SlowRead { bytes_per_second: MIB }));
    let ran = world.run(&["file.bin", "-j8", "--stall-timeout", "2s"]);
    assert_one_item(&world, &ran, &path);
    let record = world.drive.record();
    assert_eq!((record.count(Op::PutPart), record.max_parts_in_flight()), (8, 8));
}

#[test]
fn limit_rate_keeps_to_the_rate_over_all_parts() {
    let world = narrow();
    let path = world.file("file.bin", 2 * PART);
    let rate = 3 * MIB;
    let begun = Instant::now();
    let ran = world.run(&["file.bin", "--limit-rate", "3MiB", "--stall-timeout", "1s"]);
    let took = begun.elapsed();
    assert_one_item(&world, &ran, &path);
    assert_eq!(world.drive.record().count(Op::PutPart), 2);
    let least = Duration::from_secs_f64((2 * PART) as f64 / rate as f64 * 0.9);
    assert!(took >= least, "{took:?}, at that rate it takes {least:?}");
}

#[test]
fn with_a_limited_rate_parts_end_one_after_the_other_so_that_an_interruption_costs_few() {
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
fn limit_rate_drips_so_that_storage_drops_no_connection() {
    // Storage gives up on a body of which it sees nothing for a second (Amazon: about 20).
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
    assert!(moves >= 40, "400 kB came in {moves} sips only");
}

#[test]
fn a_part_whose_answers_are_late_gets_more_time_with_each_try() {
    // A proxy that takes all at once and passes it on at a trickle: the answer takes longer than was waited.
    let world = World::new();
    let path = world.file("file.bin", 20);
    world.drive.fault(Fault::new(Op::PutPart, Action::Delay(Duration::from_secs(3))));
    let ran = world.run(&["-v", "file.bin", "-j1", "--stall-timeout", "1s"]);
    assert_one_item(&world, &ran, &path);
    ran.says("no answer from storage: none 1.0s after").says("none 2.0s after");
    assert_eq!(world.drive.record().count(Op::PutPart), 3);
}

#[test]
fn a_part_that_moved_longer_than_patience_lasts_is_tried_again_though_it_got_less_far() {
    let world = narrow();
    let path = world.file("file.bin", 200_000);
    for after in [150_000, 100_000] {
        world.drive.fault(Fault::once(Op::PutPart, Action::ResetAfter(after)));
    }
    let ran = world.run(&["file.bin", "--limit-rate", "60KiB", "--retry-for", "1s"]);
    assert_one_item(&world, &ran, &path);
    assert_eq!(world.drive.record().count(Op::PutPart), 3);
}
