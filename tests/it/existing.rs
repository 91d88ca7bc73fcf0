//! `--if-exists`: what happens if the folder already has a file with the same name.

use std::collections::{BTreeMap, BTreeSet};

use local_drive::{Action, Fault, Op, Options};
use serde_json::Value;

use crate::directories::plant;
use crate::halfway::{Halfway, assert_one_item, assert_warns, later, wait_for_finalize};
use crate::program::{slashed, unix_only};
use crate::support::{PART, Ran, World, response};

#[test]
fn skip_keeps_an_item_of_equal_size_and_otherwise_uploads() {
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
fn only_files_in_the_target_folder_count() {
    let world = World::new();
    let parent = world.drive.make_folder("target", None);
    world.drive.put_file("f", None, b"abc").unwrap();
    world.drive.make_folder("f", Some(&parent));
    world.file_of("f", "abc");
    assert_eq!(world.run(&["f", "-p", &parent, "--if-exists", "skip"]).ok().json()["parent"], parent);
    world.run(&["f", "-p", &parent, "--if-exists", "fail"]).fails(5);
}

#[test]
fn fail_is_exit_code_5_for_any_size_and_sends_nothing() {
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
fn names_are_compared_in_nfc() {
    let world = World::new();
    world.drive.put_file("Cafe\u{301}", None, b"abc").unwrap();
    world.file_of("Café", "abc");
    world.run(&["Café", "--if-exists", "fail"]).fails(5);
}

#[test]
fn a_folder_with_too_many_items_is_searched() {
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
fn nothing_is_sent_if_the_search_is_incomplete() {
    let world = World::with(Options { page_limit: 2, ..Options::default() });
    for name in ["1", "2", "3", "f"] {
        world.drive.put_file(name, None, b"abc").unwrap();
    }
    world.file_of("f", "abc");
    let hits = serde_json::json!({ "hits": [], "totalHits": 99, "query": "f" });
    world.drive.fault(Fault::new(Op::Search, response(200, hits)));
    for choice in ["skip", "fail"] {
        let ran = later(&world, &["f", "--if-exists", choice]);
        ran.ran.fails(5).says("cannot tell whether").says("--if-exists upload");
        assert_eq!(ran.count(Op::Start), 0);
    }
    world.run(&["f"]).ok();
}

#[test]
fn upload_makes_no_lookup_and_creates_another_item() {
    let world = World::new();
    world.drive.put_file("f", None, b"abc").unwrap();
    world.file_of("f", "abc");
    let ran = later(&world, &["f"]);
    ran.ran.ok();
    assert_eq!((ran.count(Op::Tree), world.drive.items().len()), (0, 2));
}

#[test]
fn an_item_of_an_interrupted_finalize_is_the_result_and_its_record_is_removed() {
    for choice in ["skip", "fail", "upload"] {
        let world = World::new();
        let path = world.file("file.bin", 20);
        world.drive.fault(Fault::new(Op::Finalize, Action::HangAfterBody));
        let running = world.spawn(&["file.bin", "--if-exists", choice]);
        wait_for_finalize(&world);
        running.kill();
        world.drive.clear_faults();
        assert_one_item(&world, &world.run(&["file.bin", "--if-exists", choice]), &path);
    }
}

#[test]
fn the_record_of_a_skipped_file_is_removed() {
    let world = World::new();
    let path = world.file("file.bin", 2 * PART);
    Halfway::of(&world, &path, 1, &[]).killed(&world);
    world.run(&["file.bin", "--no-resume"]).ok();
    assert_one_item(&world, &world.run(&["file.bin", "--if-exists", "skip"]), &path);
}

#[test]
fn an_interrupted_upload_resumes_under_skip() {
    let world = World::new();
    let path = world.file("file.bin", 4 * PART);
    Halfway::of(&world, &path, 2, &["--if-exists", "skip"]).killed(&world);
    let again = later(&world, &["file.bin", "--if-exists", "skip"]);
    assert_one_item(&world, &again.ran, &path);
    assert_eq!(again.parts(), [3, 4]);
}

/// Statuses in a report by path, with the error code of failures.
fn statuses(ran: &Ran) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let status = |row: &Value| format!("{} {}", text(&row["status"]), text(&row["error"]["code"]));
    ran.json_lines().iter().map(|row| (slashed(&row["path"]), status(row).trim().to_owned())).collect()
}

#[track_caller]
fn assert_twins(world: &World, args: &[&str], [first, second]: [&str; 2]) {
    for choice in ["skip", "upload"] {
        let args = [args, &["-o", "report", "--if-exists", choice]].concat();
        let before = files(world);
        let ran = world.run(&args);
        let rows = statuses(ran.ok());
        assert_eq!((&*rows[first], &*rows[second]), ("uploaded", "uploaded"), "{ran:#?}");
        assert_eq!(files(world), before + 2);
        let stderr = slashed(&ran.stderr.as_str().into());
        let warnings = stderr.lines().filter(|line| line.contains("same name")).collect::<Vec<_>>();
        assert_eq!(warnings.len(), 1, "{ran:#?}");
        assert!(warnings[0].contains(first) && warnings[0].contains(second), "{ran:#?}");
        if choice == "skip" {
            // Now each of them has an item.
            let again = world.run(&args);
            let rows = statuses(again.ok());
            assert_eq!((&*rows[first], &*rows[second]), ("skipped", "skipped"), "{again:#?}");
            let ids: BTreeSet<_> =
                again.json_lines().iter().map(|row| row["item"]["_id"].to_string()).collect();
            assert_eq!(ids.len(), 2, "{again:#?}");
        }
    }
}

fn files(world: &World) -> usize {
    world.drive.items().iter().filter(|item| item["type"] == "file").count()
}

#[track_caller]
fn assert_second_is_a_conflict(world: &World, args: &[&str], [first, second]: [&str; 2]) {
    let ran = world.run(&[args, &["-o", "report", "--if-exists", "fail"]].concat());
    let rows = statuses(ran.ends(9));
    assert_eq!((&*rows[first], &*rows[second]), ("uploaded", "failed conflict"), "{ran:#?}");
    let stderr = slashed(&ran.stderr.as_str().into());
    assert!(stderr.contains(first) && stderr.contains(second), "{ran:#?}");
    assert_eq!(files(world), 1);
}

#[test]
fn inputs_with_equal_names_are_both_sent_but_under_fail_the_second_conflicts() {
    for (planted, args) in [
        (["x/r.txt", "y/r.txt"], vec!["x/r.txt", "y/r.txt"]),
        (["a/s/r.txt", "b/s/r.txt"], vec!["-r", "a/", "b/"]),
        (["a/s/r.txt", "b/s/r.txt"], vec!["-r", "a/s", "b/s"]),
    ] {
        let world = World::new();
        plant(&world, &planted);
        assert_second_is_a_conflict(&world, &args, planted);
        let world = World::new();
        plant(&world, &planted);
        assert_twins(&world, &args, planted);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn inputs_with_names_that_become_equal_are_both_sent() {
    let world = World::new();
    plant(&world, &["d/Cafe\u{301}", "d/Caf\u{e9}"]);
    let args = ["-r", "d", "-o", "report", "--if-exists", "skip"];
    let rows = statuses(world.run(&args).ok());
    assert!(rows.len() == 2 && rows.values().all(|status| status == "uploaded"), "{rows:?}");
    let rows = statuses(world.run(&args).ok());
    assert!(rows.len() == 2 && rows.values().all(|status| status == "skipped"), "{rows:?}");
    assert_eq!(files(&world), 2);

    unix_only!("Windows names are Unicode");
    use std::os::unix::ffi::OsStrExt as _;
    let world = World::new();
    std::fs::create_dir(world.work().join("d")).unwrap();
    for name in [&b"d/a\xff"[..], b"d/a%FF"] {
        std::fs::write(world.work().join(std::ffi::OsStr::from_bytes(name)), "same").unwrap();
    }
    let ran = world.run(&args);
    assert_eq!(ran.ok().stdout.matches("\"uploaded\"").count(), 2, "{ran:#?}");
    ran.says("d/a%FF: gets the same name in the same folder as d/a%FF");
    assert_eq!(files(&world), 2);
}

#[test]
fn an_existing_item_stands_for_only_one_input() {
    // An interrupted run may have created the item of one of two inputs.
    let world = World::new();
    plant(&world, &["x/r", "y/r"]);
    let there = world.drive.put_file("r", None, b"x/r").unwrap();
    let ran = world.run(&["x/r", "y/r", "-o", "report", "--if-exists", "skip"]);
    let rows = statuses(ran.ok());
    assert_eq!((&*rows["x/r"], &*rows["y/r"]), ("skipped", "uploaded"));
    assert_eq!(ran.json_lines()[0]["item"]["_id"], there);
    assert_eq!(files(&world), 2);
}

#[test]
fn a_file_given_twice_is_sent_once_under_skip() {
    let world = World::new();
    plant(&world, &["r"]);
    for status in ["uploaded", "skipped"] {
        let ran = world.run(&["r", "./r", "-o", "report", "--if-exists", "skip"]);
        let rows = statuses(ran.ok());
        assert_eq!((&*rows["r"], &*rows["./r"]), (status, "skipped"), "{ran:#?}");
        let ids: BTreeSet<_> = ran.json_lines().iter().map(|row| row["item"]["_id"].to_string()).collect();
        assert_eq!((ids.len(), files(&world)), (1, 1));
        assert_warns(&ran, "./r: was given before");
    }
    world.run(&["r", "r"]).ok().says("was given before");
    assert_eq!(files(&world), 3, "without skip, each is sent");
}

/// Sets the modification time of a file to this many seconds from now.
fn touch(world: &World, name: &str, seconds: i64) {
    let file = std::fs::File::options().write(true).open(world.work().join(name)).unwrap();
    let (now, by) = (std::time::SystemTime::now(), std::time::Duration::from_secs(seconds.unsigned_abs()));
    file.set_modified(if seconds < 0 { now - by } else { now + by }).unwrap();
}

#[test]
fn newer_uploads_a_file_modified_after_the_newest_item() {
    for hours_ahead in [-5, 0, 3] {
        let clock_offset = jiff::SignedDuration::from_hours(hours_ahead);
        let world = World::with(Options { clock_offset, ..Options::default() });
        world.file_of("f", "abc");
        let args = ["f", "--if-exists", "newer"];
        let first = world.run(&args).ok().id();
        touch(&world, "f", -10);
        let again = later(&world, &args);
        assert_eq!((again.ran.ok().id(), again.count(Op::Start)), (first.clone(), 0), "{hours_ahead}");
        touch(&world, "f", 10);
        let second = world.run(&[&args[..], &["-v"]].concat());
        assert_ne!(second.ok().says("modified after").id(), first);
        // The size of the newest item counts.
        touch(&world, "f", -20);
        assert_eq!(world.run(&args).ok().id(), second.id());
        world.file_of("f", "abcd");
        touch(&world, "f", -20);
        let third = world.run(&args).ok().id();
        world.file_of("f", "abc");
        touch(&world, "f", -20);
        assert_ne!(world.run(&args).ok().id(), second.id());
        assert_ne!(third, second.id());
    }
}

#[test]
fn newer_finds_the_newest_item_in_a_long_folder() {
    let world = World::with(Options { page_limit: 2, ..Options::default() });
    for content in ["old", "older", "abc", "new"] {
        world.drive.put_file("f", None, content.as_bytes()).unwrap();
    }
    let newest = world.drive.put_file("f", None, b"abc").unwrap();
    world.file_of("f", "abc");
    touch(&world, "f", -10);
    assert_eq!(world.run(&["f", "--if-exists", "newer"]).ok().id(), newest);
    let hits = serde_json::json!({ "hits": [], "totalHits": 99, "query": "f" });
    world.drive.fault(Fault::new(Op::Search, response(200, hits)));
    world.run(&["f", "--if-exists", "newer"]).fails(5).says("cannot tell whether");
}

#[test]
fn newer_ignores_an_item_without_a_time() {
    let world = World::new();
    world.file_of("f", "abc");
    let item =
        serde_json::json!({ "_id": "665f1c2ab3d4e5f60718293a", "name": "f", "type": "file", "size": 3 });
    let tree =
        serde_json::json!({ "root": [item], "totalItems": 1, "truncated": false, "nextParentIds": [] });
    world.drive.fault(Fault::new(Op::Tree, response(200, tree)));
    world.run(&["f", "--if-exists", "newer"]).ok();
    assert_eq!(world.drive.items().len(), 1);
}

#[cfg(unix)]
#[test]
fn a_path_with_links_or_dots_is_recognized_as_the_same_file() {
    unix_only!("symbolic links");
    for other in ["current/f", "v1/../v1/f"] {
        let world = World::new();
        plant(&world, &["v1/f"]);
        std::os::unix::fs::symlink("v1", world.work().join("current")).unwrap();
        let ran = world.run(&["v1/f", other, "--if-exists", "skip"]);
        ran.ok().says("was given before; it is sent once");
        assert_eq!(world.drive.items().len(), 1);
    }
}
