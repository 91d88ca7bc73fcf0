//! `--if-exists`: what a file of the same name in the folder means.

use local_drive::{Action, Fault, Op, Options};

use crate::halfway::{Halfway, assert_one_item, later};
use crate::support::{CAP, PART, World, answer};

#[test]
fn skip_takes_one_of_the_same_size_and_uploads_beside_another() {
    let world = World::new();
    let there = world.drive.put_file("f", None, b"old").unwrap();
    world.file_of("f", "new");
    let ran = later(&world, &["f", "--if-exists", "skip"]);
    assert_eq!((ran.ran.ok().id(), ran.count(Op::Start)), (there.clone(), 0));
    world.file_of("f", "newer");
    assert_ne!(world.run(&["f", "--if-exists", "skip"]).ok().id(), there);
    assert_eq!(world.drive.items().len(), 2);
}

#[test]
fn only_the_folder_that_is_uploaded_to_counts() {
    let world = World::new();
    let parent = world.drive.make_folder("target", None);
    world.drive.put_file("f", None, b"abc").unwrap();
    world.drive.make_folder("f", Some(&parent));
    world.file_of("f", "abc");
    assert_eq!(world.run(&["f", "-p", &parent, "--if-exists", "skip"]).ok().json()["parent"], parent);
    world.run(&["f", "-p", &parent, "--if-exists", "fail"]).fails(5);
}

#[test]
fn fail_is_exit_code_5_whatever_the_size_and_sends_nothing() {
    let world = World::new();
    let there = world.drive.put_file("f", None, b"old and longer").unwrap();
    world.file_of("f", "new");
    let ran = later(&world, &["f", "--if-exists", "fail"]);
    ran.ran.fails(5).says(&there).says("hint: ");
    assert_eq!((ran.count(Op::Start), world.drive.items().len()), (0, 1));
    world.file_of("g", "new");
    world.run(&["g", "--if-exists", "fail"]).ok();
}

#[test]
fn a_name_is_the_same_however_its_letters_are_composed() {
    let world = World::new();
    world.drive.put_file("Cafe\u{301}", None, b"abc").unwrap();
    world.file_of("Café", "abc");
    world.run(&["Café", "--if-exists", "fail"]).fails(5);
}

#[test]
fn a_folder_too_long_to_be_listed_is_searched() {
    let world = World::with(Options { page_limit: 2, ..Options::default() });
    for name in ["1", "2", "3", "f"] {
        world.drive.put_file(name, None, b"abc").unwrap();
    }
    world.file_of("f", "abc");
    world.file_of("g", "abc");
    let ran = later(&world, &["f", "--if-exists", "skip"]);
    ran.ran.ok();
    assert_eq!((ran.count(Op::Search), ran.count(Op::Start)), (1, 0));
    world.run(&["g", "--if-exists", "skip"]).ok().says("uploaded");
}

#[test]
fn what_can_be_neither_listed_nor_found_is_not_sent_to_be_a_second_one() {
    let world = World::with(Options { page_limit: 2, ..Options::default() });
    for name in ["1", "2", "3", "f"] {
        world.drive.put_file(name, None, b"abc").unwrap();
    }
    world.file_of("f", "abc");
    let hits = serde_json::json!({ "hits": [], "totalHits": 99, "query": "f" });
    world.drive.fault(Fault::new(Op::Search, answer(200, hits)));
    for choice in ["skip", "fail"] {
        let ran = later(&world, &["f", "--if-exists", choice]);
        ran.ran.fails(5).says("cannot be found out").says("--if-exists upload");
        assert_eq!(ran.count(Op::Start), 0);
    }
    world.run(&["f"]).ok();
}

#[test]
fn upload_asks_nothing_and_makes_another() {
    let world = World::new();
    world.drive.put_file("f", None, b"abc").unwrap();
    world.file_of("f", "abc");
    let ran = later(&world, &["f"]);
    ran.ran.ok();
    assert_eq!((ran.count(Op::Tree), world.drive.items().len()), (0, 2));
}

#[test]
fn what_an_interrupted_finalize_made_is_ones_own_and_leaves_no_record() {
    for choice in ["skip", "fail", "upload"] {
        let world = World::new();
        let path = world.file("file.bin", 20);
        world.drive.fault(Fault::new(Op::Finalize, Action::HangAfterBody));
        let running = world.spawn(&["file.bin", "--if-exists", choice]);
        let made =
            |record: &local_drive::Record| record.requests_of(Op::Finalize).any(|call| call.worked.is_some());
        world.drive.wait_until(CAP, made).unwrap();
        running.kill();
        world.drive.clear_faults();
        assert_one_item(&world, &world.run(&["file.bin", "--if-exists", choice]), &path);
    }
}

#[test]
fn a_record_of_what_is_skipped_goes() {
    let world = World::new();
    let path = world.file("file.bin", 2 * PART);
    Halfway::of(&world, &path, 1, &[]).killed(&world);
    world.run(&["file.bin", "--no-resume"]).ok();
    assert_one_item(&world, &world.run(&["file.bin", "--if-exists", "skip"]), &path);
}

#[test]
fn an_interrupted_upload_goes_on_when_there_is_none_yet() {
    let world = World::new();
    let path = world.file("file.bin", 4 * PART);
    Halfway::of(&world, &path, 2, &["--if-exists", "skip"]).killed(&world);
    let again = later(&world, &["file.bin", "--if-exists", "skip"]);
    assert_one_item(&world, &again.ran, &path);
    assert_eq!(again.parts(), [3, 4]);
}
