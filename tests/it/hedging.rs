//! Hedging: a stalled part is sent on a second connection while others make progress, long before its timeout.

use std::time::{Duration, Instant};

use local_drive::{Action, Fault, Op, Options};

use crate::halfway::{assert_one_item, only_upload};
use crate::support::{PART, World};

/// Well below the default stall timeout of 30 s.
const SOON: Duration = Duration::from_secs(20);

/// Uploads parts with default settings while one of them stalls.
fn upload_with_stalled_part(parts: u64, stuck: u32, action: Action, args: &[&str]) {
    let world = World::with(Options { receive_buffer: Some(16 * 1024), ..Options::default() });
    let path = world.file("file.bin", parts * PART);
    world.drive.fault(Fault::once(Op::PutPart, action.clone()).part(stuck));
    let begun = Instant::now();
    let mut all = vec!["file.bin"];
    all.extend(args);
    let ran = world.run(&all);
    assert!(begun.elapsed() < SOON, "{action:?} took {:?}", begun.elapsed());
    assert_one_item(&world, &ran, &path);
    let record = world.drive.record();
    let puts = record.puts_of_part(&only_upload(&world), stuck);
    assert_eq!(puts.len(), 2, "{action:?}");
    assert!(
        puts[0].end.is_none_or(|end| end >= puts[1].start),
        "the first attempt was aborted before the second began"
    );
    assert_eq!(puts[1].status, Some(200));
}

#[test]
fn one_stalled_part_of_many_is_hedged() {
    upload_with_stalled_part(8, 3, Action::Stall { after: 0 }, &[]);
    upload_with_stalled_part(8, 8, Action::Stall { after: 2_000_000 }, &[]);
    upload_with_stalled_part(8, 1, Action::HangAfterBody, &[]);
}

#[test]
fn a_stalled_part_is_hedged_while_others_are_queued() {
    let world = World::with(Options { receive_buffer: Some(16 * 1024), ..Options::default() });
    let path = world.file("file.bin", 24 * PART);
    world.drive.fault(Fault::once(Op::PutPart, Action::Stall { after: 0 }).part(2));
    // The other parts take about 8 s, so some are still queued after part 2 has stalled for 5 s.
    world.drive.fault(Fault::new(Op::PutPart, Action::Delay(Duration::from_millis(700))));
    let ran = world.run(&["file.bin", "-j3"]);
    assert_one_item(&world, &ran, &path);
    let record = world.drive.record();
    let upload = only_upload(&world);
    let puts = record.puts_of_part(&upload, 2);
    assert_eq!(puts.len(), 2);
    let last = record.requests_of(Op::PutPart).map(|put| put.start).max().unwrap();
    assert!(puts[1].start < last, "it was hedged only after all other parts");
}

#[test]
fn one_stalled_part_of_two_is_hedged() {
    upload_with_stalled_part(2, 2, Action::Stall { after: 0 }, &[]);
}

#[test]
fn a_stalled_upload_of_one_part_is_hedged() {
    upload_with_stalled_part(1, 1, Action::Stall { after: 1_000_000 }, &[]);
}
