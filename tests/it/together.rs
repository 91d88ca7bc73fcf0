//! Two runs on one machine at the same time: nothing is there twice, and neither loses files to the other.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use local_drive::{Action, Fault, FaultId, Op, Options};
use serde_json::Value;

use crate::halfway::{later, wait_for};
use crate::program::{not_under_wine, slashed, unix_only};
use crate::support::{CAP, Ran, Running, World};
use crate::trees::{assert_there_once, plant, there};

/// How often a run is asked whether it has ended.
const SOON: Duration = Duration::from_millis(20);

/// Starts a run whose first part stands still until the fault is cleared.
fn held(world: &World, args: &[&str]) -> (Running, FaultId) {
    let stall = world.drive.fault(Fault::once(Op::PutPart, Action::Stall { after: 0 }));
    let running = world.spawn(args);
    world.drive.wait_until(CAP, |record| record.parts_in_flight() == 1).unwrap();
    (running, stall)
}

/// A run whose stderr can be read while it is under way.
struct Watched {
    running: Running,
    stderr: PathBuf,
}

impl Watched {
    fn start(world: &World, args: &[&str]) -> Self {
        let stderr = world.home().join(format!("stderr-{}", fastrand::u64(..)));
        let mut command = world.command(args);
        let file = std::fs::File::create(&stderr).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file);
        Self { running: world.spawn_with(command), stderr }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap()
    }

    fn wait_for(&self, words: &str) {
        wait_for(words, || self.said().contains(words));
    }

    fn end(self) -> Ran {
        let Self { running, stderr } = self;
        let ran = running.wait();
        Ran { stderr: std::fs::read_to_string(stderr).unwrap(), ..ran }
    }
}

/// Rows of a report: status and code by path.
fn rows(ran: &Ran) -> BTreeMap<String, (String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let row = |row: &Value| (slashed(&row["path"]), (text(&row["status"]), text(&row["error"]["code"])));
    ran.json_lines().iter().map(row).collect()
}

#[track_caller]
fn assert_row(ran: &Ran, path: &str, status: &str, code: &str) {
    assert_eq!(rows(ran)[path], (status.to_owned(), code.to_owned()), "{ran:#?}");
}

/// Files of other runs that are to be seen: none is left when all are over.
#[track_caller]
fn assert_no_locks_left(world: &World) {
    let entries = std::fs::read_dir(world.state_dir()).unwrap().map(|entry| entry.unwrap().path());
    let is_lock = |path: &PathBuf| {
        path.extension()
            .is_some_and(|end| ["lock", "run", "runs", "activity", "entry"].iter().any(|own| end == *own))
    };
    let left: Vec<_> = entries.filter(is_lock).collect();
    assert_eq!(left, Vec::<PathBuf>::new());
}

#[test]
fn the_same_command_twice_at_once_ends_with_5_and_without_rows() {
    let parent = "665f1c2ab3d4e5f60718293a";
    for (first, second) in [
        (vec!["f"], vec!["./f", "-q", "-j3", "--retry-for", "9s"]),
        (vec!["f", "--no-resume"], vec!["f", "--no-resume"]),
        (vec!["f", "--no-resume"], vec!["f"]),
        (vec!["-r", "d", "f"], vec!["-r", "d", "f"]),
        (vec!["f", "--if-exists", "skip"], vec!["f", "--if-exists", "skip"]),
        (vec!["f", "-n", "name"], vec!["f", "-n", "name"]),
        (vec!["-r", "d", "--exclude", "*.tmp"], vec!["-r", "d", "--exclude", "*.tmp"]),
    ] {
        let world = World::new();
        plant(&world, &["f", "d/a"]);
        let (running, stall) = held(&world, &first);
        let again = later(&world, &[&second[..], &["-o", "report"]].concat());
        again.ran.fails(5).says("another copera-upload is running the same command");
        assert_eq!(again.ran.stderr.matches("error: ").count(), 1, "{:#?}", again.ran);
        if !first.contains(&"-r") {
            let asked = again.requests.iter().filter(|request| request.op != Op::PutPart).count();
            assert_eq!(asked, 0, "{:?}", again.requests);
        }
        // Another target, and a plan, are another thing.
        world.run(&["f", "-p", parent]).fails(3);
        world.run(&[&second[..], &["--dry-run"]].concat()).ok();
        world.drive.clear_fault(stall);
        running.wait().ok();
        assert_no_locks_left(&world);
        world.run(&second).ok();
    }
}

#[test]
fn the_same_command_with_standard_input_is_the_same_whatever_is_in_it() {
    let world = World::new();
    let command = |content: &str| {
        let input = world.file_of(content, content);
        let mut command = world.command(&["-", "-n", "name"]);
        command.stdin(std::fs::File::open(input).unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
        world.spawn_with(command)
    };
    let stall = world.drive.fault(Fault::once(Op::PutPart, Action::Stall { after: 0 }));
    let running = command("one");
    world.drive.wait_until(CAP, |record| record.parts_in_flight() == 1).unwrap();
    command("two").wait().fails(5).says("the same command");
    world.drive.clear_fault(stall);
    running.wait().ok();
    command("three").wait().ok();
    assert_eq!(there(&world)["name"], 2);
}

#[test]
fn a_killed_run_is_in_nobodys_way() {
    let world = World::new();
    plant(&world, &["f"]);
    let (running, stall) = held(&world, &["f", "--if-exists", "skip"]);
    running.kill();
    world.drive.clear_fault(stall);
    world.run(&["f", "--if-exists", "skip"]).ok().says("uploaded");
    assert_there_once(&world, &["f"]);
    assert_no_locks_left(&world);
}

#[test]
fn a_file_in_hand_is_a_conflict_and_the_rest_goes_on() {
    for args in [&["f", "-o", "report"][..], &["f", "-o", "report", "--no-resume"]] {
        let world = World::new();
        plant(&world, &["f", "g"]);
        let (running, stall) = held(&world, args);
        let second = world.run(&[args, &["g"]].concat());
        second.ends(9);
        assert_row(&second, "f", "failed", "conflict");
        assert_row(&second, "g", "uploaded", "");
        world.drive.clear_fault(stall);
        running.wait().ok();
        assert_there_once(&world, &["f", "g"]);
    }
}

#[test]
fn other_files_of_the_same_name_go_up_side_by_side() {
    let world = World::new();
    plant(&world, &["x/r", "y/r"]);
    let (running, stall) = held(&world, &["x/r"]);
    world.run(&["y/r"]).ok();
    world.drive.clear_fault(stall);
    running.wait().ok();
    assert_eq!(there(&world)["r"], 2);
}

/// Lines of the log in which runs tell each other what they have made.
fn noted(world: &World) -> usize {
    let Ok(entries) = std::fs::read_dir(world.state_dir()) else { return 0 };
    let mut logs = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "activity"));
    let text = logs.next().map(|log| std::fs::read_to_string(log).unwrap()).unwrap_or_default();
    text.lines().filter(|line| !line.is_empty()).count()
}

#[test]
fn what_another_run_has_sent_is_in_its_hands_until_it_is_over() {
    not_under_wine!("the first run would get over its stall before the third has started");
    let world = World::new();
    plant(&world, &["d/a", "d/b", "d/c", "e/"]);
    let stall = world.drive.fault(Fault::once(Op::PutPart, Action::Stall { after: 0 }).skip(2));
    let running = world.spawn(&["-r", "d"]);
    // The folder and two files.
    wait_for("what was made is noted", || noted(&world) == 3);
    let second = world.run(&["-r", "d", "e", "-o", "report"]);
    let rows = rows(second.ends(5));
    assert!(rows.values().all(|(_, code)| code == "conflict") && rows.len() == 3, "{second:#?}");
    assert_there_once(&world, &[&there_now(&world)[..], &["e/"]].concat());
    // A file that has changed since is another one.
    let sent = there(&world).into_keys().find(|path| path.starts_with("d/") && !path.ends_with('/')).unwrap();
    std::fs::write(world.work().join(&sent), "changed").unwrap();
    let third = world.run(&["-r", "d", "e", "-o", "report"]);
    assert_row(third.ends(9), &sent, "uploaded", "");
    world.drive.clear_fault(stall);
    running.wait().ok();
    assert_eq!(there(&world).values().sum::<usize>(), 6);
    // Now that it is over, each is sent again, except for the one that this command has sent.
    world.run(&["-r", "d", "e"]).ok();
    assert_eq!(there(&world).values().sum::<usize>(), 8);
    assert_no_locks_left(&world);
}

#[test]
fn on_a_full_disk_files_stand_for_what_was_made_and_go_with_the_last_run() {
    unix_only!("the limit on the size of files is one of Unix");
    let world = World::new();
    plant(&world, &["a", "b", "c"]);
    let full = |args: &[&str]| world.spawn_limited("ulimit -f 0", args);
    let stall = world.drive.fault(Fault::once(Op::PutPart, Action::Stall { after: 0 }).skip(1));
    let running = full(&["a", "b", "-j1"]);
    // The entry, and the file that says that there are any.
    let entries = || {
        std::fs::read_dir(world.state_dir()).map(|entries| {
            entries
                .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|end| end == "entry"))
                .count()
        })
    };
    wait_for("what was made is noted", || entries().is_ok_and(|entries| entries == 2));
    let sent = there(&world).into_keys().next().unwrap();
    full(&[&sent, "c"]).wait().ends(9).says("has uploaded this file");
    full(&[&sent, "--if-exists", "skip"]).wait().ok().says("skipped");
    // Room for lines again does not hide the files.
    world.run(&[&sent, "c", "--if-exists", "skip"]).ok().says("skipped 2");
    world.run(&[&sent]).fails(5);
    world.drive.clear_fault(stall);
    let first = running.wait();
    assert!(!first.ok().stderr.contains("see each other"), "{first:#?}");
    assert_there_once(&world, &["a", "b", "c"]);
    assert_no_locks_left(&world);
}

#[test]
fn what_other_runs_cannot_be_told_is_a_warning_once() {
    unix_only!("the limit on the size of files is one of Unix");
    let world = World::new();
    plant(&world, &["a", "b", "c"]);
    let stall = world.drive.fault(Fault::new(Op::PutPart, Action::Stall { after: 0 }));
    let running = world.spawn_limited("ulimit -f 0", &["a", "b", "c", "-j3", "--no-resume"]);
    world.drive.wait_until(CAP, |record| record.parts_in_flight() == 3).unwrap();
    std::fs::remove_dir_all(world.state_dir()).unwrap();
    std::fs::write(world.state_dir(), "in the way").unwrap();
    world.drive.clear_fault(stall);
    let ran = running.wait();
    ran.ok().says("runs on this machine cannot see each other (File too large");
    assert_eq!(ran.stderr.matches("warning: ").count(), 1, "{ran:#?}");
}

fn there_now(world: &World) -> Vec<&'static str> {
    let there = there(world);
    ["d/", "d/a", "d/b", "d/c"].into_iter().filter(|path| there.contains_key(*path)).collect()
}

#[test]
fn under_skip_a_file_in_hand_is_waited_for_and_then_taken_from_the_drive() {
    for (first, second) in [
        (&["f"][..], &["g", "f"][..]),
        (&["f", "--if-exists", "skip"], &["g", "f"]),
        (&["f", "--if-exists", "fail", "--no-resume"], &["g", "f", "--no-resume"]),
        // Another file of that name and size.
        (&["x/f"], &["g", "f"]),
        (&["x/f", "--if-exists", "skip"], &["g", "f"]),
    ] {
        let world = World::new();
        plant(&world, &["f", "g"]);
        std::fs::create_dir(world.work().join("x")).unwrap();
        std::fs::write(world.work().join("x/f"), "f").unwrap();
        let (running, stall) = held(&world, first);
        // The folder is listed for `g`, before `f` is there.
        let args = [second, &["--if-exists", "skip", "-o", "report", "--log-format", "json"]].concat();
        let watched = Watched::start(&world, &args);
        watched.wait_for("\"wait\"");
        world.drive.clear_fault(stall);
        let made = running.wait();
        let second = watched.end();
        second.ok();
        assert_row(&second, "f", "skipped", "");
        assert_row(&second, "g", "uploaded", "");
        let item = second.json_lines().into_iter().find(|row| row["path"] == "f").unwrap();
        assert_eq!(item["item"]["_id"], made.ok().id());
        assert_there_once(&world, &["f", "g"]);
        assert_no_locks_left(&world);
    }
}

#[test]
fn under_fail_a_file_in_hand_is_waited_for_and_then_a_conflict() {
    let world = World::new();
    plant(&world, &["f", "g"]);
    let (running, stall) = held(&world, &["f"]);
    let watched = Watched::start(&world, &["f", "-v", "--if-exists", "fail"]);
    watched.wait_for("is uploading this file");
    world.drive.clear_fault(stall);
    let id = running.wait().ok().id();
    watched.end().fails(5).says(&id);
    assert_there_once(&world, &["f"]);
}

#[test]
fn what_another_run_fails_to_make_is_made() {
    let world = World::new();
    plant(&world, &["f"]);
    for killed in [true, false] {
        let (running, stall) = held(&world, &["f"]);
        let args = ["f", "-v", "--if-exists", "skip", if killed { "-j2" } else { "-j3" }];
        let watched = Watched::start(&world, &args);
        watched.wait_for("is uploading this file");
        if killed {
            running.kill();
            world.drive.clear_fault(stall);
            watched.end().ok().says("uploaded");
        } else {
            let refused = world.drive.fault(Fault::once(Op::Finalize, crate::support::refusal(400, "no")));
            world.drive.clear_fault(stall);
            running.wait().fails(1);
            world.drive.clear_fault(refused);
            watched.end().ok().says("skipped");
        }
        assert_there_once(&world, &["f"]);
    }
}

#[cfg(unix)]
#[test]
fn a_wait_for_another_run_ends_with_ctrl_c() {
    let world = World::new();
    plant(&world, &["f"]);
    let (running, stall) = held(&world, &["f"]);
    let watched = Watched::start(&world, &["f", "-v", "--if-exists", "skip"]);
    watched.wait_for("is uploading this file");
    watched.running.signal("INT");
    watched.end().ends(130);
    world.drive.clear_fault(stall);
    running.wait().ok();
}

#[test]
fn a_folder_is_made_by_one_run_and_used_by_the_other() {
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
fn a_folder_that_a_killed_run_was_making_is_made_by_the_other() {
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

/// A tree with folders in folders.
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
fn trees_that_overlap_arrive_once_whenever_the_second_run_begins() {
    overlap(&[0, 20], |world, args| world.spawn(args));
}

#[test]
fn trees_that_overlap_arrive_once_on_a_full_disk_too() {
    unix_only!("the limit on the size of files is one of Unix");
    overlap(&[20], |world, args| world.spawn_limited("ulimit -f 0", args));
}

/// Runs pairs of commands that meet. The second one begins when the first has created so many items.
fn overlap(items: &[u64], spawn: impl Fn(&World, &[&str]) -> Running) {
    // The folder `d` is there, and P is its id.
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
                // One answer is held until the second run is there: two runs one after the other are another matter.
                let held = world.drive.fault(Fault::once(Op::Finalize, Action::HangAfterBody).skip(begun));
                let first = command(pair[0]);
                world.drive.wait_until(CAP, |record| record.count(Op::Finalize) > begun as usize).unwrap();
                let listings = world.drive.record().count(Op::Tree);
                let mut second = command(pair[1]);
                let asks = |record: &local_drive::Record| record.count(Op::Tree) > listings;
                // The same command a second time ends without a request.
                while second.is_running() && world.drive.wait_until(SOON, asks).is_err() {}
                world.drive.clear_fault(held);
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
fn a_tree_and_its_contents_beside_it_do_not_meet() {
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

#[test]
fn runs_without_a_state_directory_do_not_see_each_other() {
    let world = World::new();
    plant(&world, &["f"]);
    std::fs::write(world.state_dir(), "in the way").unwrap();
    let (running, stall) = held(&world, &["f"]);
    world.run(&["f"]).ok();
    world.drive.clear_fault(stall);
    running.wait().ok();
    assert_eq!(there(&world)["f"], 2);
}

#[cfg(unix)]
#[test]
fn a_file_is_the_same_through_a_link_and_through_dots() {
    for (first, second) in [
        (&["v1/f", "v1/g"][..], &["current/f", "v1/../current/g"][..]),
        (&["-r", "v1/"], &["-r", "current/"]),
        (&["-r", "v1/", "--no-resume"], &["-r", "current/../v1/", "--no-resume"]),
    ] {
        let world = World::new();
        plant(&world, &["v1/f", "v1/g"]);
        std::os::unix::fs::symlink("v1", world.work().join("current")).unwrap();
        let stall = world.drive.fault(Fault::once(Op::PutPart, Action::Stall { after: 0 }).skip(1));
        let running = world.spawn(first);
        wait_for("what was made is noted", || noted(&world) == 1);
        world.run(second).ends(5);
        world.drive.clear_fault(stall);
        running.wait().ok();
        assert_there_once(&world, &["f", "g"]);
    }
}
