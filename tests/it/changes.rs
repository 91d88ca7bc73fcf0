//! A file that changes while it is read is never finalized.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

use local_drive::{Action, Fault, Op};

use crate::halfway::{assert_one_item, later};
use crate::support::{CAP, MIB, PART, World};

type Change = fn(&Path);

fn open(path: &Path) -> File {
    File::options().write(true).open(path).unwrap()
}

/// What may happen to a file of four parts of which the second is on its way.
const CHANGES: [(&str, Change); 7] = [
    ("cut off", |path| open(path).set_len(PART + 100).unwrap()),
    ("emptied", |path| open(path).set_len(0).unwrap()),
    ("grown", |path| open(path).set_len(9 * PART).unwrap()),
    ("written to where it was sent", |path| open(path).write_all(b"changed").unwrap()),
    ("written to where it is still to be sent", |path| {
        let mut file = open(path);
        file.seek(SeekFrom::Start(3 * PART)).unwrap();
        file.write_all(b"changed").unwrap();
    }),
    ("replaced", |path| {
        let other = path.with_extension("other");
        std::fs::copy(path, &other).unwrap();
        std::fs::rename(other, path).unwrap();
    }),
    ("removed", |path| std::fs::remove_file(path).unwrap()),
];

#[test]
fn a_file_that_changes_while_it_is_sent_is_never_finalized() {
    for (what, change) in CHANGES {
        let world = World::new();
        let path = world.file("file.bin", 4 * PART);
        let stall = world.drive.fault(Fault::once(Op::PutPart, Action::Stall { after: MIB }).part(2));
        let running = world.spawn(&["file.bin", "-j1"]);
        let in_part_2 = |record: &local_drive::Record| record.bytes_received_on_storage() == PART + MIB;
        world.drive.wait_until(CAP, in_part_2).unwrap();
        change(&path);
        world.drive.clear_fault(stall);
        let ran = running.wait();
        assert_eq!(ran.code, Some(8), "{what}: {ran:#?}");
        ran.fails(8).says("changed");
        assert_eq!((world.drive.record().count(Op::Finalize), world.drive.items().len()), (0, 0), "{what}");

        if what != "removed" {
            // The same command then uploads the file as it is now.
            world.drive.clear_faults();
            assert_one_item(&world, &world.run(&["file.bin"]), &path);
        }
    }
}

#[test]
fn a_file_that_changes_after_its_last_byte_was_sent_is_not_finalized_either() {
    for (what, change) in CHANGES {
        for size in [3, 2 * PART] {
            let world = World::new();
            let path = world.file("file.bin", size);
            let hang = world.drive.fault(Fault::new(Op::PutPart, Action::HangAfterBody));
            let running = world.spawn(&["file.bin"]);
            let parts = usize::try_from(size.div_ceil(PART)).unwrap();
            world.drive.wait_until(CAP, |record| record.stored_count() == parts).unwrap();
            change(&path);
            world.drive.clear_fault(hang);
            let ran = running.wait();
            assert_eq!(ran.code, Some(8), "{what}, {size} bytes: {ran:#?}");
            assert_eq!(world.drive.record().count(Op::Finalize), 0, "{what}, {size} bytes");
        }
    }
}

#[test]
fn an_empty_file_that_is_filled_meanwhile_is_not_finalized() {
    let world = World::new();
    let path = world.file("empty.bin", 0);
    let hang = world.drive.fault(Fault::new(Op::Urls, Action::HangAfterBody));
    let running = world.spawn(&["empty.bin"]);
    world.drive.wait_until(CAP, |record| record.count(Op::Urls) == 1).unwrap();
    std::fs::write(&path, "no more").unwrap();
    world.drive.clear_fault(hang);
    running.wait().fails(8);
    assert_eq!(world.drive.record().count(Op::Finalize), 0);
}

#[test]
fn parts_that_were_sent_before_a_change_count_only_if_they_are_still_the_same() {
    let world = World::new();
    let path = world.file("file.bin", 4 * PART);
    let stall = world.drive.fault(Fault::once(Op::PutPart, Action::Stall { after: MIB }).part(3));
    let running = world.spawn(&["file.bin", "-j1"]);
    let in_part_3 = |record: &local_drive::Record| record.bytes_received_on_storage() == 2 * PART + MIB;
    world.drive.wait_until(CAP, in_part_3).unwrap();
    open(&path).write_all(b"part 1 is another one now").unwrap();
    world.drive.clear_fault(stall);
    running.wait().fails(8);
    let again = later(&world, &["file.bin"]);
    assert_one_item(&world, &again.ran, &path);
    assert_eq!(again.parts(), [1, 3, 4]);
}

#[cfg(unix)]
#[test]
fn a_file_whose_permissions_or_links_change_is_the_same_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    let path = world.file("file.bin", 2 * PART);
    let stall = world.drive.fault(Fault::once(Op::PutPart, Action::Stall { after: MIB }).part(2));
    let running = world.spawn(&["file.bin", "-j1"]);
    world.drive.wait_until(CAP, |record| record.bytes_received_on_storage() == PART + MIB).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
    std::fs::hard_link(&path, world.work().join("link.bin")).unwrap();
    world.drive.clear_fault(stall);
    assert_one_item(&world, &running.wait(), &path);
}
