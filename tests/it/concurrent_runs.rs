//! Concurrent runs on one machine: nothing is uploaded twice, and no file is lost.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;

use local_drive::{Action, Fault, FaultId, Op};
use serde_json::Value;

use crate::directories::{assert_there_once, plant, there};
use crate::halfway::{later, state_files, wait_for};
use crate::program::{not_under_wine, slashed, unix_only};
use crate::support::{CAP, Ran, Running, World};

/// Starts a run whose first part stalls until the fault is cleared.
fn start_stalled(world: &World, args: &[&str]) -> (Running, FaultId) {
    let stall = world.drive.fault(Fault::once(Op::PutPart, Action::Stall { after: 0 }));
    let running = world.spawn(args);
    world.drive.wait_until(CAP, |record| record.parts_in_flight() == 1).unwrap();
    (running, stall)
}

/// A run whose stderr can be read while it runs.
pub struct Watched {
    running: Running,
    stderr: PathBuf,
}

impl Watched {
    pub fn start(world: &World, args: &[&str]) -> Self {
        let stderr = world.home().join(format!("stderr-{}", fastrand::u64(..)));
        let mut command = world.command(args);
        let file = std::fs::File::create(&stderr).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file);
        Self { running: world.spawn_with(command), stderr }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap()
    }

    pub fn wait_for(&self, words: &str) {
        wait_for(words, || self.said().contains(words));
    }

    pub fn end(self) -> Ran {
        let Self { running, stderr } = self;
        let ran = running.wait();
        Ran { stderr: std::fs::read_to_string(stderr).unwrap(), ..ran }
    }
}

/// Status and error code in a report, by path.
pub fn rows(ran: &Ran) -> BTreeMap<String, (String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let row = |row: &Value| (slashed(&row["path"]), (text(&row["status"]), text(&row["error"]["code"])));
    ran.json_lines().iter().map(row).collect()
}

#[track_caller]
fn assert_row(ran: &Ran, path: &str, status: &str, code: &str) {
    assert_eq!(rows(ran)[path], (status.to_owned(), code.to_owned()), "{ran:#?}");
}

/// Checks that the files with which runs see each other are gone.
#[track_caller]
pub fn assert_no_locks_left(world: &World) {
    let entries = std::fs::read_dir(world.state_dir()).unwrap().map(|entry| entry.unwrap().path());
    let is_lock = |path: &PathBuf| {
        path.extension()
            .is_some_and(|end| ["lock", "run", "runs", "activity", "entry"].iter().any(|own| end == *own))
    };
    let left: Vec<_> = entries.filter(is_lock).collect();
    assert_eq!(left, Vec::<PathBuf>::new());
}

#[test]
fn a_second_run_of_the_same_command_is_exit_code_5_without_rows() {
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
        let (running, stall) = start_stalled(&world, &first);
        let again = later(&world, &[&second[..], &["-o", "report"]].concat());
        again.ran.fails(5).says("another copera-upload is running the same command");
        assert_eq!(again.ran.stderr.matches("error: ").count(), 1, "{:#?}", again.ran);
        if !first.contains(&"-r") {
            let asked = again.requests.iter().filter(|request| request.op != Op::PutPart).count();
            assert_eq!(asked, 0, "{:?}", again.requests);
        }
        // Another target is another command, and a dry run does not count.
        world.run(&["f", "-p", parent]).fails(3);
        world.run(&[&second[..], &["--dry-run"]].concat()).ok();
        world.drive.clear_fault(stall);
        running.wait().ok();
        assert_no_locks_left(&world);
        world.run(&second).ok();
    }
}

#[test]
fn the_same_command_with_other_standard_input_is_the_same() {
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
fn a_killed_run_does_not_block_others() {
    let world = World::new();
    plant(&world, &["f"]);
    let (running, stall) = start_stalled(&world, &["f", "--if-exists", "skip"]);
    running.kill();
    world.drive.clear_fault(stall);
    world.run(&["f", "--if-exists", "skip"]).ok().says("uploaded");
    assert_there_once(&world, &["f"]);
    assert_no_locks_left(&world);
}

#[test]
fn a_file_of_another_run_is_a_conflict_and_the_rest_is_uploaded() {
    for args in [&["f", "-o", "report"][..], &["f", "-o", "report", "--no-resume"]] {
        let world = World::new();
        plant(&world, &["f", "g"]);
        let (running, stall) = start_stalled(&world, args);
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
fn other_files_with_the_same_name_are_uploaded_concurrently() {
    let world = World::new();
    plant(&world, &["x/r", "y/r"]);
    let (running, stall) = start_stalled(&world, &["x/r"]);
    world.run(&["y/r"]).ok();
    world.drive.clear_fault(stall);
    running.wait().ok();
    assert_eq!(there(&world)["r"], 2);
}

/// Number of lines in the log with which runs share what they have created.
fn log_lines(world: &World) -> usize {
    let log = state_files(world, "activity").pop();
    let text = log.map(|log| std::fs::read_to_string(log).unwrap()).unwrap_or_default();
    text.lines().filter(|line| !line.is_empty()).count()
}

#[test]
fn files_of_another_run_are_a_conflict_until_it_ends() {
    not_under_wine!("the first run would recover from its stall before the third starts");
    let world = World::new();
    plant(&world, &["d/a", "d/b", "d/c", "e/"]);
    let stall = world.drive.fault(Fault::once(Op::PutPart, Action::Stall { after: 0 }).skip(2));
    let running = world.spawn(&["-r", "d"]);
    // The folder and two files.
    wait_for("the log", || log_lines(&world) == 3);
    let second = world.run(&["-r", "d", "e", "-o", "report"]);
    let rows = rows(second.ends(5));
    assert!(rows.values().all(|(_, code)| code == "conflict") && rows.len() == 3, "{second:#?}");
    assert_there_once(&world, &[&there_now(&world)[..], &["e/"]].concat());
    // A changed file is another file.
    let sent = there(&world).into_keys().find(|path| path.starts_with("d/") && !path.ends_with('/')).unwrap();
    std::fs::write(world.work().join(&sent), "changed").unwrap();
    let third = world.run(&["-r", "d", "e", "-o", "report"]);
    assert_row(third.ends(9), &sent, "uploaded", "");
    world.drive.clear_fault(stall);
    running.wait().ok();
    assert_eq!(there(&world).values().sum::<usize>(), 6);
    // After the first run, each file is sent again, except for the one that this command has sent.
    world.run(&["-r", "d", "e"]).ok();
    assert_eq!(there(&world).values().sum::<usize>(), 8);
    assert_no_locks_left(&world);
}

#[test]
fn on_a_full_disk_entry_files_replace_the_log() {
    unix_only!("file size limits exist only on Unix");
    let world = World::new();
    plant(&world, &["a", "b", "c"]);
    let full = |args: &[&str]| world.spawn_limited("ulimit -f 0", args);
    let stall = world.drive.fault(Fault::once(Op::PutPart, Action::Stall { after: 0 }).skip(1));
    let running = full(&["a", "b", "-j1"]);
    // The entry, and the file that says that entries exist.
    wait_for("the entries", || state_files(&world, "entry").len() == 2);
    let sent = there(&world).into_keys().next().unwrap();
    full(&[&sent, "c"]).wait().ends(9).says("has uploaded this file");
    full(&[&sent, "--if-exists", "skip"]).wait().ok().says("skipped");
    // Runs that can write to the log see the entries too.
    world.run(&[&sent, "c", "--if-exists", "skip"]).ok().says("skipped 2");
    world.run(&[&sent]).fails(5);
    world.drive.clear_fault(stall);
    let first = running.wait();
    assert!(!first.ok().stderr.contains("see each other"), "{first:#?}");
    assert_there_once(&world, &["a", "b", "c"]);
    assert_no_locks_left(&world);
}

#[test]
fn a_log_that_cannot_be_written_causes_one_warning() {
    unix_only!("file size limits exist only on Unix");
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
fn skip_waits_for_a_file_of_another_run_and_takes_its_item() {
    for (first, second) in [
        (&["f"][..], &["g", "f"][..]),
        (&["f", "--if-exists", "skip"], &["g", "f"]),
        (&["f", "--if-exists", "fail", "--no-resume"], &["g", "f", "--no-resume"]),
        // Another file with the same name and size.
        (&["x/f"], &["g", "f"]),
        (&["x/f", "--if-exists", "skip"], &["g", "f"]),
    ] {
        let world = World::new();
        plant(&world, &["f", "g"]);
        std::fs::create_dir(world.work().join("x")).unwrap();
        std::fs::write(world.work().join("x/f"), "f").unwrap();
        let (running, stall) = start_stalled(&world, first);
        // `g` makes this run list the folder before `f` has an item.
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
fn fail_waits_for_a_file_of_another_run_and_then_conflicts() {
    let world = World::new();
    plant(&world, &["f", "g"]);
    let (running, stall) = start_stalled(&world, &["f"]);
    let watched = Watched::start(&world, &["f", "-v", "--if-exists", "fail"]);
    watched.wait_for("is uploading this file");
    world.drive.clear_fault(stall);
    let id = running.wait().ok().id();
    watched.end().fails(5).says(&id);
    assert_there_once(&world, &["f"]);
}

#[test]
fn a_file_that_another_run_fails_to_upload_is_uploaded() {
    let world = World::new();
    plant(&world, &["f"]);
    for killed in [true, false] {
        let (running, stall) = start_stalled(&world, &["f"]);
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
fn ctrl_c_ends_the_wait_for_another_run() {
    let world = World::new();
    plant(&world, &["f"]);
    let (running, stall) = start_stalled(&world, &["f"]);
    let watched = Watched::start(&world, &["f", "-v", "--if-exists", "skip"]);
    watched.wait_for("is uploading this file");
    watched.running.signal("INT");
    watched.end().ends(130);
    world.drive.clear_fault(stall);
    running.wait().ok();
}

#[test]
fn runs_without_a_state_directory_do_not_see_each_other() {
    let world = World::new();
    plant(&world, &["f"]);
    std::fs::write(world.state_dir(), "in the way").unwrap();
    let (running, stall) = start_stalled(&world, &["f"]);
    world.run(&["f"]).ok();
    world.drive.clear_fault(stall);
    running.wait().ok();
    assert_eq!(there(&world)["f"], 2);
}

#[cfg(unix)]
#[test]
fn links_and_dots_in_a_path_do_not_hide_the_same_file() {
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
        wait_for("the log", || log_lines(&world) == 1);
        world.run(second).ends(5);
        world.drive.clear_fault(stall);
        running.wait().ok();
        assert_there_once(&world, &["f", "g"]);
    }
}
