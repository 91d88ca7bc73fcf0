//! Concurrent uploads of the same directories: each folder and file is created once.

use std::time::Duration;

use local_drive::{Action, Fault, Op, Options};

use crate::concurrent_runs::{Watched, assert_no_locks_left, rows};
use crate::directories::{assert_there_once, plant, there};
use crate::program::unix_only;
use crate::support::{CAP, Ran, Running, World};

/// Interval of checks whether a run has ended.
const SOON: Duration = Duration::from_millis(20);

#[test]
fn a_folder_is_created_by_one_run_and_used_by_the_other() {
    let world = World::new();
    plant(&world, &["d/s/a", "e/d/s/b"]);
    let hang = world.drive.fault(Fault::once(Op::Folders, Action::Stall { after: 0 }));
    let first = world.spawn(&["-r", "d"]);
    world.drive.wait_until(CAP, |record| record.count(Op::Folders) == 1).unwrap();
    let second = Watched::start(&world, &["-r", "e/", "-o", "none"]);
    second.wait_for("is creating this folder");
    assert_eq!(world.drive.record().count(Op::Folders), 1);
    world.drive.clear_fault(hang);
    first.wait().ok();
    second.end().ok();
    assert_there_once(&world, &["d/", "d/s/", "d/s/a", "d/s/b"]);
    assert_no_locks_left(&world);
}

#[test]
fn a_folder_of_a_killed_run_is_created_by_the_other() {
    let world = World::new();
    plant(&world, &["d/a", "x"]);
    world.drive.fault(Fault::once(Op::Folders, Action::Stall { after: 0 }));
    let first = world.spawn(&["-r", "d"]);
    world.drive.wait_until(CAP, |record| record.count(Op::Folders) == 1).unwrap();
    let second = Watched::start(&world, &["-r", "d", "x"]);
    second.wait_for("is creating this folder");
    first.kill();
    second.end().ok();
    assert_there_once(&world, &["d/", "d/a", "x"]);
}

/// Creates a tree of nested folders.
fn forest(world: &World) -> Vec<String> {
    let mut paths = Vec::new();
    for n in 0..6 {
        for m in 0..3 {
            paths.extend((0..4).map(|file| format!("d/s{n}/t{m}/{file}")));
        }
    }
    plant(world, &paths.iter().map(String::as_str).collect::<Vec<_>>());
    paths
}

#[test]
fn overlapping_trees_are_uploaded_once() {
    overlap(&[0, 20], |world, args| world.spawn(args));
}

#[test]
fn overlapping_trees_are_uploaded_once_on_a_full_disk() {
    unix_only!("file size limits exist only on Unix");
    overlap(&[20], |world, args| world.spawn_limited("ulimit -f 0", args));
}

/// Runs pairs of overlapping commands. The second one starts when the first has created this many items.
fn overlap(items: &[u64], spawn: impl Fn(&World, &[&str]) -> Running) {
    // The folder `d` exists, and P stands for its ID.
    let pairs: [[&[&str]; 2]; 4] = [
        [&["-r", "d"], &["-r", "d"]],
        [&["-r", "d"], &["-r", "d/", "-p", "P"]],
        [&["-r", "d"], &["-r", "d/s0", "d/s3", "-p", "P"]],
        [&["-r", "d/s5", "d/s3", "-p", "P"], &["-r", "d"]],
    ];
    for choice in ["skip", "upload"] {
        for pair in pairs {
            for &begun in items {
                let world = World::with(Options { latency: Duration::from_millis(5), ..Options::default() });
                let files = forest(&world);
                let parent = world.drive.make_folder("d", None);
                let command = |args: &[&str]| {
                    let args = args.iter().map(|arg| if *arg == "P" { parent.as_str() } else { arg });
                    let own: Vec<_> = args.chain(["--if-exists", choice, "-o", "report"]).collect();
                    spawn(&world, &own)
                };
                // Holds one response until the second run has started, so that the runs overlap.
                let start_stalled =
                    world.drive.fault(Fault::once(Op::Finalize, Action::HangAfterBody).skip(begun));
                let first = command(pair[0]);
                world.drive.wait_until(CAP, |record| record.count(Op::Finalize) > begun as usize).unwrap();
                let listings = world.drive.record().count(Op::Tree);
                let mut second = command(pair[1]);
                let asks = |record: &local_drive::Record| record.count(Op::Tree) > listings;
                // A second run of the same command ends without a request.
                while second.is_running() && world.drive.wait_until(SOON, asks).is_err() {}
                world.drive.clear_fault(start_stalled);
                let (first, second) = (first.wait(), second.wait());
                let here = format!("{choice} {pair:?} {begun}: {first:#?} {second:#?}");
                let there = there(&world);
                assert!(there.values().all(|count| *count == 1), "{there:?} {here}");
                let all = |ran: &Ran, fine: &[&str]| {
                    rows(ran).values().all(|(status, code)| fine.contains(&&**status) || code == "conflict")
                };
                if pair[0] == pair[1] {
                    let ends = [first.code, second.code];
                    assert!(ends == [Some(0), Some(5)] || ends == [Some(5), Some(0)], "{here}");
                } else if choice == "skip" {
                    assert_eq!([first.code, second.code], [Some(0), Some(0)], "{here}");
                } else {
                    let fine = |ran: &Ran| matches!(ran.code, Some(0 | 5 | 9)) && all(ran, &["uploaded"]);
                    assert!(fine(&first) && fine(&second), "{here}");
                }
                let covers = pair.iter().any(|args| args.contains(&"d") || args.contains(&"d/"));
                assert!(!covers || files.iter().all(|file| there.contains_key(file)), "{here}");
                assert_no_locks_left(&world);
            }
        }
    }
}

#[test]
fn a_directory_and_its_contents_do_not_overlap() {
    for choice in ["skip", "upload"] {
        let world = World::with(Options { latency: Duration::from_millis(5), ..Options::default() });
        let files = forest(&world);
        let runs = [&["-r", "d"], &["-r", "d/"]]
            .map(|args| world.spawn(&[&args[..], &["--if-exists", choice]].concat()));
        runs.into_iter().for_each(|run| assert_eq!(run.wait().code, Some(0)));
        let there = there(&world);
        assert!(there.values().all(|count| *count == 1), "{there:?}");
        for file in files {
            assert!(there.contains_key(&file) && there.contains_key(file.strip_prefix("d/").unwrap()));
        }
    }
}
