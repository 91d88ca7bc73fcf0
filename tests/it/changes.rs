//! A file that changes while it is uploaded is not finalized.

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

/// Changes to a file of four parts while the second part is in flight.
const CHANGES: [(&str, Change); 7] = [
    ("truncated", |path| open(path).set_len(PART + 100).unwrap()),
    ("emptied", |path| open(path).set_len(0).unwrap()),
    ("grown", |path| open(path).set_len(9 * PART).unwrap()),
    ("overwritten before the current part", |path| open(path).write_all(b"changed").unwrap()),
    ("overwritten after the current part", |path| {
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
fn a_file_that_changes_during_the_upload_is_not_finalized() {
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
            // The same command then uploads the changed file.
            world.drive.clear_faults();
            assert_one_item(&world, &world.run(&["file.bin"]), &path);
        }
    }
}

#[test]
fn a_file_that_changes_after_its_last_byte_was_sent_is_not_finalized() {
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
fn an_empty_file_that_gets_content_is_not_finalized() {
    let world = World::new();
    let path = world.file("empty.bin", 0);
    let hang = world.drive.fault(Fault::new(Op::Urls, Action::HangAfterBody));
    let running = world.spawn(&["empty.bin"]);
    world.drive.wait_until(CAP, |record| record.count(Op::Urls) == 1).unwrap();
    std::fs::write(&path, "not empty").unwrap();
    world.drive.clear_fault(hang);
    running.wait().fails(8);
    assert_eq!(world.drive.record().count(Op::Finalize), 0);
}

#[test]
fn parts_sent_before_a_change_are_kept_only_if_unchanged() {
    let world = World::new();
    let path = world.file("file.bin", 4 * PART);
    let stall = world.drive.fault(Fault::once(Op::PutPart, Action::Stall { after: MIB }).part(3));
    let running = world.spawn(&["file.bin", "-j1"]);
    let in_part_3 = |record: &local_drive::Record| record.bytes_received_on_storage() == 2 * PART + MIB;
    world.drive.wait_until(CAP, in_part_3).unwrap();
    wait_for("the parts on record", || parts_on_record(&world) == 2);
    open(&path).write_all(b"part 1 has changed").unwrap();
    world.drive.clear_fault(stall);
    running.wait().fails(8);
    let again = later(&world, &["file.bin"]);
    assert_one_item(&world, &again.ran, &path);
    assert_eq!(again.parts(), [1, 3, 4]);
}

/// Overwrites bytes and restores the modification time, as VeraCrypt, `touch -r` and `cp -p` do.
fn overwrite_and_restore_mtime(path: &Path, at: u64, bytes: &[u8]) {
    let mut file = open(path);
    let modified = file.metadata().unwrap().modified().unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
    file.set_modified(modified).unwrap();
}

/// Runs the program, calls `meanwhile` when all bytes are in storage but not yet acknowledged, and lets the run finish.
fn run_with_change_before_response(
    world: &World,
    args: &[&str],
    parts: usize,
    meanwhile: impl FnOnce(),
) -> crate::ran::Ran {
    let hang = world.drive.fault(Fault::new(Op::PutPart, Action::HangAfterBody));
    let running = world.spawn(args);
    release_after(world, hang, running, parts, meanwhile)
}

fn release_after(
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
fn assert_not_finalized(world: &World, ran: &crate::ran::Ran, what: &str) {
    assert_eq!(ran.code, Some(8), "{what}: {ran:#?}");
    ran.says("changed");
    assert_eq!((world.drive.record().count(Op::Finalize), world.drive.items().len()), (0, 0), "{what}");
}

#[test]
fn a_file_overwritten_with_a_restored_mtime_is_not_finalized() {
    let whole = vec![7; 4 * PART as usize];
    let changes: [(&str, u64, &[u8]); 3] = [
        ("a byte that was sent", PART - 1, b"x"),
        ("a byte that was not sent yet", 4 * PART - 1, b"x"),
        ("all bytes", 0, &whole),
    ];
    for (what, at, bytes) in changes {
        for option in ["--no-checksum", "--no-resume", "-q"] {
            let world = World::new();
            let path = world.file("file.bin", 4 * PART);
            let stall = world.drive.fault(Fault::once(Op::PutPart, Action::Stall { after: MIB }).part(2));
            let running = world.spawn(&["file.bin", "-j1", option]);
            let in_part_2 = |record: &local_drive::Record| record.bytes_received_on_storage() == PART + MIB;
            world.drive.wait_until(CAP, in_part_2).unwrap();
            overwrite_and_restore_mtime(&path, at, bytes);
            world.drive.clear_fault(stall);
            let ran = running.wait();
            if what == "a byte that was not sent yet" {
                // The program has sent the current content.
                assert_one_item(&world, &ran, &path);
                continue;
            }
            assert_not_finalized(&world, &ran, &format!("{what}, {option}"));
            world.drive.clear_faults();
            assert_one_item(&world, &world.run(&["file.bin", option]), &path);
        }
    }
}

#[test]
fn a_small_file_overwritten_with_a_restored_mtime_is_not_finalized() {
    for option in ["--no-checksum", "--no-resume", "-q"] {
        let world = World::new();
        let path = world.file("file.bin", 300);
        let ran = run_with_change_before_response(&world, &["file.bin", option], 1, || {
            overwrite_and_restore_mtime(&path, 299, b"x");
        });
        assert_not_finalized(&world, &ran, option);
        assert_eq!(records(&world).len(), 0);
        assert_one_item(&world, &world.run(&["file.bin", option]), &path);
    }
}

#[test]
fn a_file_in_a_directory_overwritten_with_a_restored_mtime_fails_alone() {
    let world = World::new();
    std::fs::create_dir(world.work().join("d")).unwrap();
    world.file("d/a", 300);
    let path = world.file("d/b", 300);
    let ran = run_with_change_before_response(&world, &["-r", "d"], 2, || {
        overwrite_and_restore_mtime(&path, 0, b"x")
    });
    ran.ends(9).says("b: the file changed");
    let names: Vec<_> = world.drive.items().iter().map(|item| item["name"].to_string()).collect();
    assert!(!names.contains(&"\"b\"".to_owned()) && names.contains(&"\"a\"".to_owned()), "{names:?}");
}

#[test]
fn a_redirected_file_overwritten_with_a_restored_mtime_is_not_finalized() {
    not_under_wine!("Wine does not report that standard input is a file, so it is spooled like a pipe");
    for size in [300, 2 * PART] {
        let world = World::new();
        let path = world.file("file.bin", size);
        let hang = world.drive.fault(Fault::new(Op::PutPart, Action::HangAfterBody));
        let mut command = world.command(&["-", "--name", "x"]);
        command.stdin(File::open(&path).unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let running = world.spawn_with(command);
        let parts = usize::try_from(size.div_ceil(PART)).unwrap();
        let ran = release_after(&world, hang, running, parts, || overwrite_and_restore_mtime(&path, 0, b"x"));
        assert_not_finalized(&world, &ran, "redirected");
    }
}

#[test]
fn parts_of_an_earlier_run_are_compared_before_finalize() {
    let world = World::new();
    let path = world.file("file.bin", 4 * PART);
    crate::halfway::Halfway::of(&world, &path, 2, &[]).killed(&world);
    let ran = run_with_change_before_response(&world, &["file.bin"], 4, || {
        overwrite_and_restore_mtime(&path, 9, b"x")
    });
    assert_not_finalized(&world, &ran, "resumed");
    let again = later(&world, &["file.bin"]);
    assert_one_item(&world, &again.ran, &path);
    assert_eq!(again.parts(), [1]);
}

#[test]
fn a_file_overwritten_between_two_finalize_calls_is_not_finalized_again() {
    let busy = [Action::status(503, ""), Action::rate_limited(1)];
    for (response, size) in
        busy.into_iter().flat_map(|response| [(response.clone(), 300), (response, 2 * PART)])
    {
        let world = World::new();
        let path = world.file("file.bin", size);
        let hang = world.drive.fault(Fault::new(Op::Tree, Action::HangAfterBody));
        world.drive.fault(Fault::once(Op::Finalize, response.clone()));
        let running = world.spawn(&["file.bin"]);
        world.drive.wait_until(CAP, |record| record.count(Op::Finalize) > 0).unwrap();
        overwrite_and_restore_mtime(&path, 0, b"x");
        world.drive.clear_fault(hang);
        let ran = running.wait();
        ran.fails(8).says("changed");
        assert_eq!(
            (world.drive.record().count(Op::Finalize), world.drive.items().len()),
            (1, 0),
            "{response:?}"
        );
        assert_one_item(&world, &world.run(&["file.bin"]), &path);
    }
}

#[test]
fn a_restarted_upload_sends_the_current_content() {
    let world = World::new();
    let path = world.file("file.bin", 4 * PART);
    let stall = world.drive.fault(Fault::once(Op::PutPart, Action::Stall { after: MIB }).part(3));
    world.drive.fault(Fault::once(Op::PutPart, Action::NoSuchUpload).part(4));
    let running = world.spawn(&["file.bin", "-j1"]);
    world.drive.wait_until(CAP, |record| record.bytes_received_on_storage() == 2 * PART + MIB).unwrap();
    overwrite_and_restore_mtime(&path, 0, b"x");
    world.drive.clear_fault(stall);
    assert_one_item(&world, &running.wait(), &path);
    assert_eq!(world.drive.record().count(Op::Start), 2);
}

#[cfg(unix)]
#[test]
fn invalid_part_for_a_touched_file_is_reported_as_a_change() {
    let world = World::new();
    let path = world.file("file.bin", 2 * PART);
    world.drive.fault(Fault::new(Op::Finalize, refusal(400, "InvalidPart: one of them could not be found")));
    let touch = || {
        std::fs::hard_link(&path, world.work().join("link")).unwrap();
    };
    run_with_change_before_response(&world, &["file.bin"], 2, touch)
        .fails(8)
        .says("touched")
        .says("InvalidPart");
    world.run(&["file.bin"]).fails(1).says("InvalidPart");
}

/// Changes of `ctime` that leave the content unchanged.
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
    ("an overwrite with the same bytes", |path| {
        let bytes = std::fs::read(path).unwrap();
        overwrite_and_restore_mtime(path, 0, &bytes);
    }),
];

#[cfg(unix)]
#[test]
fn a_touched_file_with_unchanged_content_is_finalized() {
    for (what, touch) in TOUCHES {
        for size in [0, 300, 2 * PART] {
            for option in ["--no-checksum", "--no-resume", "-q"] {
                let world = World::new();
                let path = world.file("file.bin", size);
                let parts = usize::try_from(size.div_ceil(PART).max(1)).unwrap();
                let ran =
                    run_with_change_before_response(&world, &["file.bin", option], parts, || touch(&path));
                assert_eq!(ran.code, Some(0), "{what}, {size} bytes, {option}: {ran:#?}");
                assert_one_item(&world, &ran, &path);
            }
        }
    }
}

#[cfg(unix)]
#[test]
fn a_touched_file_is_not_finalized_without_proof_of_its_content() {
    let world = World::new();
    let path = world.file("file.bin", 2 * PART);
    let kms = world.drive.fault(Fault::new(Op::PutPart, Action::Kms).part(1));
    let ran = run_with_change_before_response(&world, &["file.bin", "--no-checksum"], 2, || {
        std::fs::hard_link(&path, world.work().join("link")).unwrap();
    });
    assert_not_finalized(&world, &ran, "KMS");
    ran.says("without checksums");
    world.drive.clear_fault(kms);

    // Checksums are such a proof.
    let world = World::new();
    let path = world.file("file.bin", 2 * PART);
    world.drive.fault(Fault::new(Op::PutPart, Action::Kms).part(1));
    let ran = run_with_change_before_response(&world, &["file.bin"], 2, || {
        std::fs::hard_link(&path, world.work().join("link")).unwrap();
    });
    assert_one_item(&world, &ran, &path);
}

#[cfg(unix)]
#[test]
fn a_change_of_permissions_or_links_is_not_a_change_of_the_file() {
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
