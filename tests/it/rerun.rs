//! Running the same command again: files that an interrupted or failed run has finished are not uploaded again.
//!
//! `COPERA_RERUN_KILLS=200` sets the number of kills, `COPERA_RERUN_SEED=n` their seed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use local_drive::{Action, Fault, Op, Options, Record};
use serde_json::Value;

use crate::directories::{assert_there_once, plant, there};
use crate::halfway::{assert_warns, later, records, state_files, wait_for};
use crate::program::slashed;
use crate::support::{CAP, MIB, PART, Ran, World};

/// The records of finished files.
fn run_records(world: &World) -> Vec<PathBuf> {
    state_files(world, "finished")
}

/// The IDs in a report, by path.
fn ids(ran: &Ran) -> BTreeMap<String, String> {
    let id = |row: &Value| Some((slashed(&row["path"]), row["item"]["_id"].as_str()?.to_owned()));
    ran.json_lines().iter().filter_map(id).collect()
}

#[test]
fn after_a_failure_only_the_rest_is_sent_and_all_ids_are_printed() {
    let world = World::new();
    plant(&world, &["a", "c"]);
    let first = world.run(&["a", "b", "c", "-o", "report"]);
    first.ends(9);
    plant(&world, &["b"]);
    let again = later(&world, &["a", "b", "c", "-o", "report"]);
    assert_eq!((again.count(Op::Start), again.count(Op::PutPart)), (1, 1));
    let (before, after) = (ids(&first), ids(again.ran.ok()));
    assert_eq!((before.len(), after.len()), (2, 3));
    assert!(before.iter().all(|(path, id)| after[path] == *id), "{before:?} {after:?}");
    let rows = again.ran.json_lines();
    let row = rows.iter().find(|row| row["path"] == "a").unwrap();
    assert_eq!((&row["status"], &row["bytes"]), (&"uploaded".into(), &1.into()));
    assert_eq!((&row["sent_bytes"], &row["resumed_bytes"]), (&0.into(), &1.into()));
    again.ran.says("uploaded 3 files (2 earlier)");
    assert_there_once(&world, &["a", "b", "c"]);
    assert_eq!((run_records(&world).len(), records(&world).len()), (0, 0));
    // The record is gone after a complete run, so the same command uploads everything.
    world.run(&["a", "b", "c"]).ok();
    assert!(there(&world).values().all(|count| *count == 2));
    assert_eq!(run_records(&world).len(), 0);
}

#[test]
fn a_damaged_line_loses_only_its_file_and_causes_a_warning() {
    let world = World::new();
    plant(&world, &["a", "c"]);
    world.run(&["a", "b", "c"]).ends(9);
    plant(&world, &["b"]);
    let [record] = &run_records(&world)[..] else { panic!("one record") };
    let text = std::fs::read_to_string(record).unwrap();
    std::fs::write(record, text.replacen("\"size\":1", "\"size\":2", 1)).unwrap();
    let again = world.run(&["a", "b", "c"]);
    assert_warns(again.ok(), "the record of finished files is damaged");
    again.says("uploaded 3 files (1 earlier)");
    // Without damage there is no warning.
    world.run(&["a", "b", "c", "d"]).ends(9).says_nothing_of("warning");
    world.run(&["a", "b", "c", "d"]).ends(9).says_nothing_of("warning");
}

#[test]
fn the_item_of_an_earlier_run_is_printed_unchanged() {
    let world = World::new();
    plant(&world, &["a"]);
    let first = world.run(&["a", "b"]).ends(9).stdout.clone();
    plant(&world, &["b"]);
    let again = world.run(&["a", "b"]);
    assert!(!first.is_empty() && again.ok().stdout.contains(&first), "{again:#?}");
}

#[test]
fn only_options_that_select_files_make_it_another_command() {
    let command = ["-r", "d", "late", "--to", "t"];
    for (changed, sent) in [
        (&["-r", "d", "late", "--to", "t", "-j2", "--part-size", "6MiB", "-o", "id", "-v"][..], 1),
        (&["-r", "./d", "late", "--to", "/t/"], 1),
        (&["-r", "late", "d", "--to", "t"], 2),
        (&["-r", "d", "late", "--to", "t/u"], 2),
        (&["-r", "d", "late", "--to", "t", "--exclude", "x"], 2),
        (&["-rR", "d", "late", "--to", "t"], 2),
        (&["-rL", "d", "late", "--to", "t"], 2),
        (&["-r", "d", "late", "--to", "t", "--no-resume"], 2),
    ] {
        let world = World::new();
        plant(&world, &["d/a"]);
        world.run(&command).ends(9);
        plant(&world, &["late"]);
        let again = later(&world, changed);
        again.ran.ok();
        assert_eq!(again.count(Op::PutPart), sent, "{changed:?}");
        if sent == 1 {
            assert_there_once(&world, &["t/", "t/d/", "t/d/a", "t/late"]);
        }
    }
}

#[test]
fn a_file_is_sent_again_if_it_changed_or_its_item_was_deleted() {
    let world = World::with(Options { page_limit: 3, ..Options::default() });
    plant(&world, &["d/changed", "d/gone", "d/moved", "d/same", "d/touched"]);
    let first = ids(world.run(&["-r", "d", "late", "-o", "report"]).ends(9));
    plant(&world, &["late"]);
    std::fs::write(world.work().join("d/changed"), "D/CHANGED").unwrap();
    world.drive.remove_item(&first["d/gone"]);
    world.drive.move_item(&first["d/moved"], None);
    // New ctime and mtime, but the same content.
    std::fs::write(world.work().join("d/touched"), "d/touched").unwrap();
    let again = later(&world, &["-r", "d", "late", "-o", "report"]);
    let second = ids(again.ran.ok());
    let renewed: Vec<_> = second
        .iter()
        .filter(|(path, id)| first.get(*path) != Some(id))
        .map(|(path, _)| path.as_str())
        .collect();
    assert_eq!(renewed, ["d/changed", "d/gone", "late"]);
    assert_eq!(again.count(Op::PutPart), 3);
}

#[test]
fn a_command_with_a_list_and_a_repeated_file_is_continued() {
    let world = World::new();
    plant(&world, &["a", "x/b"]);
    world.file_of("list", "a\nx/b\na\nc\n");
    let args = ["--files-from", "list", "-R", "-o", "report"];
    world.run(&args).ends(9);
    plant(&world, &["c"]);
    // The name of the list identifies it, not its content.
    world.file_of("list", "c\na\na\nx/b\n");
    let again = later(&world, &args);
    assert_eq!((again.ran.ok().json_lines().len(), again.count(Op::PutPart)), (4, 1));
    assert_eq!(
        there(&world),
        [("a", 2), ("c", 1), ("x/", 1), ("x/b", 1)].map(|(path, count)| (path.to_owned(), count)).into()
    );
}

#[test]
fn files_in_a_folder_that_was_moved_are_not_sent_again() {
    let world = World::new();
    plant(&world, &["d/a"]);
    world.run(&["-r", "d", "b"]).ends(9);
    plant(&world, &["b"]);
    let elsewhere = world.drive.make_folder("elsewhere", None);
    let folder = world.drive.items().into_iter().find(|item| item["name"] == "d").unwrap();
    world.drive.move_item(folder["_id"].as_str().unwrap(), Some(&elsewhere));
    let again = later(&world, &["-r", "d", "b"]);
    again.ran.ok();
    assert_eq!(again.count(Op::PutPart), 1);
}

#[test]
fn a_file_is_not_sent_again_if_the_service_cannot_confirm_its_item() {
    let world = World::new();
    plant(&world, &["a"]);
    world.run(&["a", "b"]).ends(9);
    plant(&world, &["b"]);
    world.drive.fault(Fault::new(Op::Tree, Action::status(503, "")));
    let args = ["a", "b", "-o", "report", "--retry-for", "0"];
    let again = world.run(&args);
    let rows = again.ends(9).json_lines();
    let row = rows.iter().find(|row| row["path"] == "a").unwrap();
    assert_eq!(row["error"]["code"], "network");
    world.drive.clear_faults();
    world.run(&args).ok();
    assert_there_once(&world, &["a", "b"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_kill_before_the_results_are_printed_does_not_duplicate_items() {
    crate::program::unix_only!("the test needs a full pipe");
    let world = World::new();
    plant(&world, &["d/a", "d/b"]);
    let (_reader, writer) = crate::halfway::full_pipe();
    let mut command = world.command(&["-r", "d", "-o", "id"]);
    command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped());
    let running = world.spawn_with(command);
    world.drive.wait_until(CAP, |record| record.count(Op::Finalize) == 2).unwrap();
    wait_for("both items", || world.drive.items().len() == 3);
    running.kill();
    let again = world.run(&["-r", "d", "-o", "id"]);
    assert_eq!(again.ok().stdout.lines().count(), 2);
    assert_there_once(&world, &["d/", "d/a", "d/b"]);
}

/// The files of a random run: a directory, single files and a list.
const FILES: [(&str, u64); 8] = [
    ("d/large", 3 * PART + 17),
    ("d/sub/a", 40_000),
    ("d/sub/b", 0),
    ("d/sub/deep/c", 100),
    ("one", 2 * PART),
    ("two", 1),
    ("listed/x", 7_000),
    ("listed/y", 6 * MIB),
];

#[test]
fn a_command_killed_at_random_moments_uploads_each_file_once() {
    let number =
        |name: &str, default| std::env::var(name).map_or(default, |text| text.parse::<u64>().unwrap());
    let (kills, seed) = (number("COPERA_RERUN_KILLS", 12), number("COPERA_RERUN_SEED", 1));
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut killed = 0;
    for round in 0.. {
        if killed >= kills {
            break;
        }
        killed += one_command(&mut rng, &format!("seed {seed}, round {round}"));
    }
}

/// Runs one command until it succeeds. Returns how often it was killed.
fn one_command(rng: &mut fastrand::Rng, trail: &str) -> u64 {
    let world = World::new();
    for (path, size) in FILES {
        std::fs::create_dir_all(world.work().join(path).parent().unwrap()).unwrap();
        world.file(path, size);
    }
    world.file_of("list", "listed/x\nlisted/y\n");
    world.drive.fault(Fault::new(Op::AnyApi, Action::Delay(Duration::from_millis(5))));
    let command = ["-r", "d", "one", "two", "--files-from", "list", "-R", "--to", "t/u", "-o", "report"];
    let (mut stored, mut printed, mut kills) = (BTreeSet::<String>::new(), BTreeMap::new(), 0);
    loop {
        let from = world.drive.record().requests.len();
        let mut running = world.spawn(&command);
        let kill = rng.u8(..10) < 8;
        if kill {
            let at = from + rng.usize(..60);
            let due = |record: &Record| record.requests.len() >= at;
            while running.is_running() && world.drive.wait_until(Duration::from_millis(20), due).is_err() {}
            std::thread::sleep(Duration::from_micros(rng.u64(..5000)));
        }
        let ran = if kill { running.kill() } else { running.wait() };
        let requests = world.drive.record().requests.split_off(from);
        for start in requests.iter().filter(|request| request.op == Op::Start) {
            let name = start.json.as_ref().and_then(|json| json["fileName"].as_str()).unwrap_or_default();
            assert!(!stored.contains(name), "{trail}: {name} was started again after its result was printed");
        }
        for (path, id) in ids(&ran) {
            stored.insert(path.rsplit('/').next().unwrap().to_owned());
            let before = printed.insert(path.clone(), id.clone());
            assert!(before.is_none_or(|before| before == id), "{trail}: {path} has two IDs");
        }
        if ran.code.is_some() {
            ran.ok();
            assert_eq!(ids(&ran).len(), FILES.len(), "{trail}: {ran:#?}");
            break;
        }
        kills += 1;
    }
    let paths: Vec<String> = FILES.iter().map(|(path, _)| format!("t/u/{path}")).collect();
    let there = there(&world);
    for (path, (local, _)) in paths.iter().zip(FILES) {
        assert_eq!(there.get(path), Some(&1), "{trail}: {path} in {there:?}");
        world.assert_stored(&printed[local], &world.work().join(local));
    }
    assert_eq!(there.values().filter(|count| **count != 1).count(), 0, "{trail}: {there:?}");
    assert_eq!((run_records(&world).len(), records(&world).len()), (0, 0), "{trail}");
    kills
}
