//! The same command resumes an interrupted upload with the missing parts only.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::SystemTime;

use local_drive::{Action, Fault, Op};

use crate::halfway::{
    Halfway, assert_one_item, assert_warns, later, only_record, only_upload, parts_on_record, records,
    wait_for, wait_for_finalize,
};
use crate::support::{PART, World, sha256};

/// A file of six parts, the last one short. The first three were sent before a kill.
fn killed_halfway(args: &[&str]) -> (World, std::path::PathBuf) {
    let world = World::new();
    let path = world.file("file.bin", 6 * PART - 1234);
    Halfway::of(&world, &path, 3, args).killed(&world);
    (world, path)
}

/// Overwrites bytes of an existing file.
fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let mut file = std::fs::File::options().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

#[test]
fn a_killed_upload_resumes_with_the_missing_parts() {
    let (world, path) = killed_halfway(&[]);
    let upload = only_upload(&world);
    let later = later(&world, &["file.bin"]);
    assert_one_item(&world, &later.ran, &path);
    assert_eq!((later.parts(), later.count(Op::Start)), (vec![4, 5, 6], 0));
    assert_eq!(only_upload(&world), upload);
    let sent: u64 = later.requests.iter().filter(|put| put.part.is_some()).map(|put| put.body_bytes).sum();
    assert_eq!(sent, 3 * PART - 1234);
}

#[test]
fn an_upload_killed_several_times_is_completed() {
    let world = World::new();
    let path = world.file("file.bin", 6 * PART);
    for done in 1..=4 {
        let halfway = Halfway::without_record(&world, &path, 1, &[]);
        wait_for("the parts on record", || parts_on_record(&world) == done);
        halfway.killed(&world);
    }
    let later = later(&world, &["file.bin"]);
    assert_one_item(&world, &later.ran, &path);
    assert_eq!(later.parts(), [5, 6]);
    let starts = world.drive.record().count(Op::Start);
    assert_eq!(starts, 1);
}

#[test]
fn another_spelling_of_the_path_is_the_same_file() {
    let (world, path) = killed_halfway(&[]);
    let later = later(&world, &["./file.bin"]);
    assert_one_item(&world, &later.ran, &path);
    assert_eq!((later.parts(), later.count(Op::Start)), (vec![4, 5, 6], 0));
}

#[cfg(unix)]
#[test]
fn every_path_to_a_file_resumes_its_upload() {
    let (world, path) = killed_halfway(&[]);
    let work = world.work();
    std::fs::create_dir(work.join("sub")).unwrap();
    std::os::unix::fs::symlink(&work, work.join("sub/link")).unwrap();
    for (way, sent) in [("sub/../file.bin", 4), ("sub/link/file.bin", 5)] {
        let halfway = Halfway::without_record(&world, Path::new(way), 1, &[]);
        wait_for("the part on record", || parts_on_record(&world) == sent);
        halfway.killed(&world);
    }
    let later = later(&world, &["file.bin"]);
    assert_one_item(&world, &later.ran, &path);
    assert_eq!((later.parts(), world.drive.record().count(Op::Start)), (vec![6], 1));
}

#[test]
fn another_mime_type_starts_over() {
    let (world, path) = killed_halfway(&[]);
    let again = later(&world, &["file.bin", "--mime-type", "video/mp4", "-v"]);
    assert_one_item(&world, &again.ran, &path);
    assert_eq!((again.ran.json()["mimeType"].as_str(), again.count(Op::Start)), (Some("video/mp4"), 1));
    again.ran.says("video/mp4");

    let (world, path) = killed_halfway(&["--mime-type", "video/mp4"]);
    let again = later(&world, &["file.bin", "--mime-type", "video/mp4"]);
    assert_one_item(&world, &again.ran, &path);
    assert_eq!((again.parts(), again.count(Op::Start)), (vec![4, 5, 6], 0));

    let (world, path) = killed_halfway(&["--mime-type", "video/mp4"]);
    let again = later(&world, &["file.bin"]);
    assert_one_item(&world, &again.ran, &path);
    assert_eq!((again.parts(), again.count(Op::Start)), (vec![4, 5, 6], 0), "no other type was requested");
}

#[test]
fn an_upload_that_may_be_finalized_keeps_its_mime_type_with_a_warning() {
    let world = World::new();
    world.file("file.bin", 20);
    world.drive.fault(Fault::new(Op::Finalize, Action::HangAfterBody));
    let running = world.spawn(&["file.bin"]);
    wait_for_finalize(&world);
    running.kill();
    world.drive.clear_faults();
    let ran = world.run(&["file.bin", "--mime-type", "video/mp4"]);
    assert_warns(ran.ok(), "--mime-type");
    assert_eq!(ran.id(), world.only_item()["_id"]);
}

#[test]
fn a_touched_file_keeps_its_parts_after_a_comparison() {
    let (world, path) = killed_halfway(&[]);
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(SystemTime::now()).unwrap();
    let later = later(&world, &["-v", "file.bin"]);
    assert_one_item(&world, &later.ran, &path);
    assert_eq!((later.parts(), later.count(Op::Start)), (vec![4, 5, 6], 0));
    later.ran.says("compar");
}

#[test]
fn a_file_copied_over_itself_keeps_its_parts_after_a_comparison() {
    let (world, path) = killed_halfway(&[]);
    let copy = world.work().join("copy");
    std::fs::copy(&path, &copy).unwrap();
    std::fs::rename(&copy, &path).unwrap();
    let later = later(&world, &["file.bin"]);
    assert_one_item(&world, &later.ran, &path);
    assert_eq!((later.parts(), later.count(Op::Start)), (vec![4, 5, 6], 0));
}

#[test]
fn after_a_change_in_one_part_only_that_part_is_sent_again() {
    let (world, path) = killed_halfway(&[]);
    overwrite(&path, PART + 77, b"changed");
    let later = later(&world, &["file.bin"]);
    assert_one_item(&world, &later.ran, &path);
    assert_eq!((later.parts(), later.count(Op::Start)), (vec![2, 4, 5, 6], 0));
}

#[test]
fn a_change_with_a_restored_mtime_is_detected() {
    let modified = |path: &Path| std::fs::metadata(path).unwrap().modified().unwrap();
    let put_back = |path: &Path, time| {
        std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    };
    // One byte of the same file.
    let (world, path) = killed_halfway(&[]);
    let time = modified(&path);
    overwrite(&path, PART + 77, b"x");
    put_back(&path, time);
    let again = later(&world, &["file.bin"]);
    assert_one_item(&world, &again.ran, &path);
    assert_eq!((again.parts(), again.count(Op::Start)), (vec![2, 4, 5, 6], 0));

    // Another file in its place.
    let (world, path) = killed_halfway(&[]);
    let other = world.file("other.bin", 6 * PART - 1234);
    put_back(&other, modified(&path));
    std::fs::rename(&other, &path).unwrap();
    let again = later(&world, &["file.bin"]);
    assert_one_item(&world, &again.ran, &path);
    assert_eq!((again.parts(), again.count(Op::Start)), (vec![1, 2, 3, 4, 5, 6], 1));
}

#[test]
fn parts_are_compared_if_the_record_has_no_file_id() {
    let (world, path) = killed_halfway(&[]);
    // File systems without inode numbers cause this.
    let record = only_record(&world);
    let text = std::fs::read_to_string(&record).unwrap();
    let (first, rest) = text.split_once('\n').unwrap();
    let mut head: serde_json::Value = serde_json::from_str(first.split_once(' ').unwrap().1).unwrap();
    head["head"]["identity"]["id"] = serde_json::Value::Null;
    let head = head.to_string();
    std::fs::write(&record, format!("{} {head}\n{rest}", &sha256(head.as_bytes())[..16])).unwrap();
    overwrite(&path, PART + 77, b"x");
    let again = later(&world, &["-v", "file.bin"]);
    assert_one_item(&world, &again.ran, &path);
    assert_eq!((again.parts(), again.count(Op::Start)), (vec![2, 4, 5, 6], 0));
    again.ran.says("compar");
}

#[test]
fn a_change_in_a_missing_part_does_not_matter() {
    let (world, path) = killed_halfway(&[]);
    overwrite(&path, 5 * PART, b"changed");
    let later = later(&world, &["file.bin"]);
    assert_one_item(&world, &later.ran, &path);
    assert_eq!(later.parts(), [4, 5, 6]);
}

#[test]
fn a_changed_file_that_is_interrupted_again_is_uploaded_correctly() {
    let (world, path) = killed_halfway(&[]);
    overwrite(&path, 77, b"changed");
    // Part 1 is sent again, and then the run is killed.
    let halfway = Halfway::without_record(&world, &path, 0, &[]);
    halfway.killed(&world);
    overwrite(&path, PART + 77, b"changed too");
    let later = later(&world, &["file.bin"]);
    assert_one_item(&world, &later.ran, &path);
    assert_eq!(later.parts(), [1, 2, 4, 5, 6]);
}

#[test]
fn a_touched_file_without_checksums_is_sent_again() {
    let (world, path) = killed_halfway(&["--no-checksum"]);
    overwrite(&path, PART + 77, b"changed");
    let later = later(&world, &["file.bin", "--no-checksum"]);
    assert_one_item(&world, &later.ran, &path);
}

#[test]
fn a_file_of_another_size_starts_over() {
    for size in [6 * PART, 6 * PART - 5000] {
        let (world, path) = killed_halfway(&[]);
        std::fs::File::options().write(true).open(&path).unwrap().set_len(size).unwrap();
        let later = later(&world, &["file.bin"]);
        assert_one_item(&world, &later.ran, &path);
        assert_eq!((later.parts(), later.count(Op::Start)), (vec![1, 2, 3, 4, 5, 6], 1));
    }
}

#[test]
fn another_part_size_starts_over() {
    let (world, path) = killed_halfway(&[]);
    let again = later(&world, &["file.bin", "--part-size", "6MiB"]);
    assert_one_item(&world, &again.ran, &path);
    assert_warns(&again.ran, "starting over");
    assert_eq!((again.parts(), again.count(Op::Start)), (vec![1, 2, 3, 4, 5], 1));

    let (world, path) = killed_halfway(&["--part-size", "5MiB"]);
    let again = later(&world, &["file.bin", "--part-size", "5MiB"]);
    assert_one_item(&world, &again.ran, &path);
    assert_eq!((again.parts(), again.count(Op::Start)), (vec![4, 5, 6], 0));

    let (world, path) = killed_halfway(&["--part-size", "6MiB"]);
    let again = later(&world, &["file.bin"]);
    assert_one_item(&world, &again.ran, &path);
    assert_eq!((again.parts(), again.count(Op::Start)), (vec![4, 5], 0), "no other size was requested");
}

#[test]
fn no_resume_neither_writes_nor_reads_records() {
    let world = World::new();
    let path = world.file("file.bin", 6 * PART - 1234);
    Halfway::without_record(&world, &path, 3, &["--no-resume"]).killed(&world);
    assert_eq!(records(&world).len(), 0);
    Halfway::of(&world, &path, 2, &[]).killed(&world);
    assert_eq!(world.drive.record().count(Op::Start), 2);

    let again = later(&world, &["file.bin", "--no-resume"]);
    again.ran.ok();
    assert_eq!((again.parts(), again.count(Op::Start)), (vec![1, 2, 3, 4, 5, 6], 1));
    assert_eq!(parts_on_record(&world), 2, "the record of the other upload has changed");
}

#[test]
fn an_upload_missing_on_storage_is_restarted_once() {
    let (world, path) = killed_halfway(&[]);
    world.drive.abort_all_uploads();
    let again = later(&world, &["file.bin"]);
    assert_one_item(&world, &again.ran, &path);
    assert_eq!(again.count(Op::Start), 1);
    assert_warns(&again.ran, "gone");
}

#[test]
fn an_upload_that_disappears_during_a_run_is_restarted_once() {
    let world = World::new();
    let path = world.file("file.bin", 6 * PART);
    let halfway = Halfway::of(&world, &path, 3, &[]);
    world.drive.abort_all_uploads();
    world.drive.clear_fault(halfway.stall);
    assert_one_item(&world, &halfway.running.wait(), &path);
    assert_eq!(world.drive.record().count(Op::Start), 2);
}

#[test]
fn an_upload_unknown_to_the_service_is_restarted_once() {
    let (world, path) = killed_halfway(&[]);
    world.drive.fault(Fault::once(Op::Urls, Action::NoSuchUpload));
    let again = later(&world, &["file.bin"]);
    assert_one_item(&world, &again.ran, &path);
    assert_eq!(again.count(Op::Start), 1);
}

#[test]
fn an_upload_that_is_always_missing_is_an_error_and_not_a_loop() {
    for call in [Op::PutPart, Op::Urls] {
        let world = World::new();
        world.file("file.bin", 2 * PART);
        world.drive.fault(Fault::new(call, Action::NoSuchUpload));
        world.run(&["file.bin"]).fails(1).says("error:");
        let record = world.drive.record();
        assert_eq!((record.count(Op::Start), record.count(Op::Finalize)), (2, 0), "{call:?}");
    }
}

#[test]
fn a_failed_upload_resumes_after_the_failure() {
    let world = World::new();
    let path = world.file("file.bin", 4 * PART);
    world.drive.fault(Fault::new(Op::PutPart, Action::internal_error()).part(4));
    world.run(&["file.bin", "-j1", "--max-retries", "1"]).fails(7).says("same command");
    world.drive.clear_faults();
    let again = later(&world, &["file.bin"]);
    assert_one_item(&world, &again.ran, &path);
    assert_eq!((again.parts(), again.count(Op::Start)), (vec![4], 0));
}

#[test]
fn a_file_given_twice_is_uploaded_twice_in_sequence() {
    let world = World::new();
    let path = world.file("file.bin", 2 * PART);
    let ran = world.run(&["file.bin", "./file.bin"]);
    let ids = ran.ok().json_lines().into_iter().map(|item| item["_id"].as_str().unwrap().to_owned());
    ids.for_each(|id| world.assert_stored(&id, &path));
    assert_eq!(world.drive.items().len(), 2);
    assert_eq!(records(&world).len(), 0);
}

#[cfg(unix)]
#[test]
fn an_interruption_and_the_next_run_report_the_stored_bytes() {
    crate::program::unix_only!("signals");
    let world = World::new();
    let path = world.file("file.bin", 4 * PART);
    let halfway = Halfway::of(&world, &path, 2, &[]);
    halfway.running.signal("INT");
    halfway.running.wait().ends(130).says("10 of 20.0 MiB are kept for the next run");
    world.drive.clear_faults();
    let ran = world.run(&["file.bin"]);
    ran.ok().says("resuming file.bin: 10 of 20.0 MiB already stored");
    // With --no-resume, nothing is kept.
    let halfway = Halfway::without_record(&world, &path, 1, &["--no-resume"]);
    halfway.running.signal("INT");
    halfway.running.wait().ends(130).says_nothing_of("kept for the next run");
}
