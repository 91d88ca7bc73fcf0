//! A file that changes while it is read is never finalized.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::Stdio;

use local_drive::{Action, Fault, Op};

use crate::halfway::{assert_one_item, later, parts_on_record, records, wait_for};
use crate::program::not_under_wine;
use crate::ran::Running;
use crate::support::{CAP, MIB, PART, World, refusal};

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
    wait_for("the parts on record", || parts_on_record(&world) == 2);
    open(&path).write_all(b"part 1 is another one now").unwrap();
    world.drive.clear_fault(stall);
    running.wait().fails(8);
    let again = later(&world, &["file.bin"]);
    assert_one_item(&world, &again.ran, &path);
    assert_eq!(again.parts(), [1, 3, 4]);
}

/// Writes into a file and puts its modification time back, as `touch -r` and `cp -p` do, and VeraCrypt on its own.
fn overwrite_and_put_back(path: &Path, at: u64, bytes: &[u8]) {
    let mut file = open(path);
    let modified = file.metadata().unwrap().modified().unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
    file.set_modified(modified).unwrap();
}

/// Runs the program, has `meanwhile` happen when all bytes are in storage and no answer has come, and lets it go on.
fn after_the_last_byte(
    world: &World,
    args: &[&str],
    parts: usize,
    meanwhile: impl FnOnce(),
) -> crate::ran::Ran {
    let hang = world.drive.fault(Fault::new(Op::PutPart, Action::HangAfterBody));
    let running = world.spawn(args);
    released_after(world, hang, running, parts, meanwhile)
}

fn released_after(
    world: &World,
    hang: local_drive::FaultId,
    running: Running,
    parts: usize,
    meanwhile: impl FnOnce(),
) -> crate::ran::Ran {
    let before = world.drive.record().count(Op::Finalize);
    world.drive.wait_until(CAP, |record| record.stored_count() == parts).unwrap();
    assert_eq!(world.drive.record().count(Op::Finalize), before);
    meanwhile();
    world.drive.clear_fault(hang);
    running.wait()
}

#[track_caller]
fn assert_nothing_made(world: &World, ran: &crate::ran::Ran, what: &str) {
    assert_eq!(ran.code, Some(8), "{what}: {ran:#?}");
    ran.says("changed");
    assert_eq!((world.drive.record().count(Op::Finalize), world.drive.items().len()), (0, 0), "{what}");
}

#[test]
fn a_file_rewritten_under_its_old_modification_time_is_never_finalized() {
    let whole = vec![7; 4 * PART as usize];
    let changes: [(&str, u64, &[u8]); 3] = [
        ("one byte that was sent", PART - 1, b"x"),
        ("one byte still to be sent", 4 * PART - 1, b"x"),
        ("all of it", 0, &whole),
    ];
    for (what, at, bytes) in changes {
        for option in ["--no-checksum", "--no-resume", "-q"] {
            let world = World::new();
            let path = world.file("file.bin", 4 * PART);
            let stall = world.drive.fault(Fault::once(Op::PutPart, Action::Stall { after: MIB }).part(2));
            let running = world.spawn(&["file.bin", "-j1", option]);
            let in_part_2 = |record: &local_drive::Record| record.bytes_received_on_storage() == PART + MIB;
            world.drive.wait_until(CAP, in_part_2).unwrap();
            overwrite_and_put_back(&path, at, bytes);
            world.drive.clear_fault(stall);
            let ran = running.wait();
            if what == "one byte still to be sent" {
                // What was sent is the file as it is now.
                assert_one_item(&world, &ran, &path);
                continue;
            }
            assert_nothing_made(&world, &ran, &format!("{what}, {option}"));
            world.drive.clear_faults();
            assert_one_item(&world, &world.run(&["file.bin", option]), &path);
        }
    }
}

#[test]
fn a_small_file_rewritten_under_its_old_modification_time_is_never_finalized() {
    for option in ["--no-checksum", "--no-resume", "-q"] {
        let world = World::new();
        let path = world.file("file.bin", 300);
        let ran = after_the_last_byte(&world, &["file.bin", option], 1, || {
            overwrite_and_put_back(&path, 299, b"x");
        });
        assert_nothing_made(&world, &ran, option);
        assert_eq!(records(&world).len(), 0);
        assert_one_item(&world, &world.run(&["file.bin", option]), &path);
    }
}

#[test]
fn a_file_of_a_tree_rewritten_under_its_old_modification_time_is_left_out() {
    let world = World::new();
    std::fs::create_dir(world.work().join("d")).unwrap();
    world.file("d/a", 300);
    let path = world.file("d/b", 300);
    let ran = after_the_last_byte(&world, &["-r", "d"], 2, || overwrite_and_put_back(&path, 0, b"x"));
    ran.ends(9).says("b: the file changed");
    let names: Vec<_> = world.drive.items().iter().map(|item| item["name"].to_string()).collect();
    assert!(!names.contains(&"\"b\"".to_owned()) && names.contains(&"\"a\"".to_owned()), "{names:?}");
}

#[test]
fn a_redirected_file_rewritten_under_its_old_modification_time_is_never_finalized() {
    not_under_wine!("Wine does not tell that standard input is a file, so it is spooled, as a pipe is");
    for size in [300, 2 * PART] {
        let world = World::new();
        let path = world.file("file.bin", size);
        let hang = world.drive.fault(Fault::new(Op::PutPart, Action::HangAfterBody));
        let mut command = world.command(&["-", "--name", "x"]);
        command.stdin(File::open(&path).unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let running = world.spawn_with(command);
        let parts = usize::try_from(size.div_ceil(PART)).unwrap();
        let ran = released_after(&world, hang, running, parts, || overwrite_and_put_back(&path, 0, b"x"));
        assert_nothing_made(&world, &ran, "redirected");
    }
}

#[test]
fn parts_of_an_earlier_run_are_compared_again_before_finalize() {
    let world = World::new();
    let path = world.file("file.bin", 4 * PART);
    crate::halfway::Halfway::of(&world, &path, 2, &[]).killed(&world);
    let ran = after_the_last_byte(&world, &["file.bin"], 4, || overwrite_and_put_back(&path, 9, b"x"));
    assert_nothing_made(&world, &ran, "resumed");
    let again = later(&world, &["file.bin"]);
    assert_one_item(&world, &again.ran, &path);
    assert_eq!(again.parts(), [1]);
}

#[test]
fn a_file_rewritten_between_two_finalizes_is_not_finalized_again() {
    let busy = [Action::status(503, ""), Action::rate_limited(1)];
    for (answer, size) in busy.into_iter().flat_map(|answer| [(answer.clone(), 300), (answer, 2 * PART)]) {
        let world = World::new();
        let path = world.file("file.bin", size);
        let hang = world.drive.fault(Fault::new(Op::Tree, Action::HangAfterBody));
        world.drive.fault(Fault::once(Op::Finalize, answer.clone()));
        let running = world.spawn(&["file.bin"]);
        world.drive.wait_until(CAP, |record| record.count(Op::Finalize) > 0).unwrap();
        overwrite_and_put_back(&path, 0, b"x");
        world.drive.clear_fault(hang);
        let ran = running.wait();
        ran.fails(8).says("changed");
        assert_eq!(
            (world.drive.record().count(Op::Finalize), world.drive.items().len()),
            (1, 0),
            "{answer:?}"
        );
        assert_one_item(&world, &world.run(&["file.bin"]), &path);
    }
}

#[test]
fn an_upload_that_starts_again_by_itself_sends_the_file_as_it_is_then() {
    let world = World::new();
    let path = world.file("file.bin", 4 * PART);
    let stall = world.drive.fault(Fault::once(Op::PutPart, Action::Stall { after: MIB }).part(3));
    world.drive.fault(Fault::once(Op::PutPart, Action::NoSuchUpload).part(4));
    let running = world.spawn(&["file.bin", "-j1"]);
    world.drive.wait_until(CAP, |record| record.bytes_received_on_storage() == 2 * PART + MIB).unwrap();
    overwrite_and_put_back(&path, 0, b"x");
    world.drive.clear_fault(stall);
    assert_one_item(&world, &running.wait(), &path);
    assert_eq!(world.drive.record().count(Op::Start), 2);
}

#[cfg(unix)]
#[test]
fn parts_that_storage_refuses_of_a_file_that_was_touched_are_a_change() {
    let world = World::new();
    let path = world.file("file.bin", 2 * PART);
    world.drive.fault(Fault::new(Op::Finalize, refusal(400, "InvalidPart: one of them could not be found")));
    let touch = || {
        std::fs::hard_link(&path, world.work().join("link")).unwrap();
    };
    after_the_last_byte(&world, &["file.bin"], 2, touch).fails(8).says("touched").says("InvalidPart");
    world.run(&["file.bin"]).fails(1).says("InvalidPart");
}

/// What moves a file's `ctime` and no byte of it.
#[cfg(unix)]
const TOUCHES: [(&str, Change); 4] = [
    ("permissions", |path| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o400)).unwrap();
    }),
    ("owner", |path| {
        use std::os::unix::fs::MetadataExt as _;
        let now = std::fs::metadata(path).unwrap();
        std::os::unix::fs::chown(path, Some(now.uid()), Some(now.gid())).unwrap();
    }),
    ("a hard link", |path| std::fs::hard_link(path, path.with_extension("link")).unwrap()),
    ("the same bytes again", |path| {
        let bytes = std::fs::read(path).unwrap();
        overwrite_and_put_back(path, 0, &bytes);
    }),
];

#[cfg(unix)]
#[test]
fn a_file_that_is_touched_and_has_the_same_bytes_is_finalized() {
    for (what, touch) in TOUCHES {
        for size in [0, 300, 2 * PART] {
            for option in ["--no-checksum", "--no-resume", "-q"] {
                let world = World::new();
                let path = world.file("file.bin", size);
                let parts = usize::try_from(size.div_ceil(PART).max(1)).unwrap();
                let ran = after_the_last_byte(&world, &["file.bin", option], parts, || touch(&path));
                assert_eq!(ran.code, Some(0), "{what}, {size} bytes, {option}: {ran:#?}");
                assert_one_item(&world, &ran, &path);
            }
        }
    }
}

#[cfg(unix)]
#[test]
fn a_touched_file_that_nothing_can_prove_the_same_is_not_finalized() {
    let world = World::new();
    let path = world.file("file.bin", 2 * PART);
    let kms = world.drive.fault(Fault::new(Op::PutPart, Action::Kms).part(1));
    let ran = after_the_last_byte(&world, &["file.bin", "--no-checksum"], 2, || {
        std::fs::hard_link(&path, world.work().join("link")).unwrap();
    });
    assert_nothing_made(&world, &ran, "KMS");
    ran.says("without checksums");
    world.drive.clear_fault(kms);

    // With checksums there is a proof.
    let world = World::new();
    let path = world.file("file.bin", 2 * PART);
    world.drive.fault(Fault::new(Op::PutPart, Action::Kms).part(1));
    let ran = after_the_last_byte(&world, &["file.bin"], 2, || {
        std::fs::hard_link(&path, world.work().join("link")).unwrap();
    });
    assert_one_item(&world, &ran, &path);
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
