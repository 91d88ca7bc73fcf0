//! `--files-from`, `-0` and `-R`: paths from a list, and keeping their directories.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Stdio;

use local_drive::{Action, Fault, Op};

use crate::directories::{assert_there_once, plant};
use crate::program::{slashed, unix_only};
use crate::support::{CAP, MIB, Ran, World};

/// Runs the program with this standard input.
fn pipe(world: &World, args: &[&str], input: impl AsRef<[u8]>) -> Ran {
    let mut command = world.command(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = world.spawn_with(command);
    running.child.stdin.take().unwrap().write_all(input.as_ref()).unwrap();
    running.wait()
}

#[test]
fn paths_come_from_a_file_or_standard_input() {
    let world = World::new();
    plant(&world, &["a", "b c", "d/e", "-f", "-"]);
    world.file_of("list", "a\r\n\nb c\n-f\n-");
    world.run(&["--files-from", "list"]).ok();
    assert_there_once(&world, &["a", "b c", "-f", "-"]);
    pipe(&world, &["--files-from", "-", "--to", "x"], "d/e\n").ok();
    assert!(crate::directories::there(&world).contains_key("x/e"));
}

#[test]
fn null_separated_paths_may_contain_newlines() {
    unix_only!("names with newlines");
    let world = World::new();
    plant(&world, &["a\nb", "c"]);
    pipe(&world, &["--files-from", "-", "-0"], "a\nb\0\0c").ok();
    assert_there_once(&world, &["a\nb", "c"]);
}

#[cfg(unix)]
#[test]
fn a_path_that_is_not_unicode_is_accepted() {
    unix_only!("names that are not Unicode");
    use std::os::unix::ffi::OsStrExt as _;
    let world = World::new();
    let name = std::ffi::OsStr::from_bytes(b"a\xff");
    std::fs::write(world.work().join(name), "x").unwrap();
    pipe(&world, &["--files-from", "-"], b"a\xff\n").ok().says("a%FF");
    assert_there_once(&world, &["a%FF"]);
}

#[test]
fn a_missing_path_fails_alone_and_arguments_come_before_the_list() {
    let world = World::new();
    plant(&world, &["a", "b", "d/e"]);
    world.file_of("list", "missing\nd\nb\n");
    let ran = world.run(&["a", "--files-from", "list", "-o", "report", "-j1"]);
    let rows = ran.ends(9).json_lines();
    let mut statuses: Vec<_> = rows.iter().map(|row| format!("{} {}", row["path"], row["status"])).collect();
    statuses.sort();
    assert_eq!(
        statuses,
        [r#""a" "uploaded""#, r#""b" "uploaded""#, r#""d" "failed""#, r#""missing" "failed""#]
    );
    ran.says("d: is a directory").says("hint: -r");
    let plan = world.run(&["b", "--files-from", "list", "-r", "--dry-run"]);
    assert_eq!(plan.ends(9).json_lines().len(), 3);
}

#[test]
fn an_empty_list_is_a_success_that_says_so() {
    let world = World::new();
    for list in ["", "\n\r\n\n"] {
        pipe(&world, &["--files-from", "-"], list).ok().says("nothing to upload");
        pipe(&world, &["--files-from", "-", "--dry-run"], list).ok().says("nothing matches");
    }
    assert_eq!(world.drive.record().count(Op::Start), 0);
}

#[test]
fn an_unreadable_list_is_a_usage_error_before_anything_is_sent() {
    let world = World::new();
    plant(&world, &["a", "d/"]);
    for (args, why) in [
        (&["a", "--files-from", "nope"][..], "nope"),
        (&["a", "--files-from", "d"], "--files-from"),
        (&["-", "--name", "x", "--files-from", "-"], "standard input"),
        (&["-", "--name", "x", "--files-from", "a"], "standard input"),
        (&["a", "-0"], "--files-from"),
        (&["--files-from", "a", "--name", "x"], "--name"),
    ] {
        world.run(args).fails(2).says(why);
    }
    assert_eq!(world.drive.record().count(Op::Any), 0);
}

#[test]
fn an_invalid_list_is_a_usage_error_after_its_valid_paths() {
    let world = World::new();
    plant(&world, &["a", "b"]);
    let cut = [&b"a\n"[..], &[b'x'; 70_000], b"\nb\n"].concat();
    let utf16 = b"\xff\xfea\0\n\0".to_vec();
    for (list, why, sent) in [(&cut, "longer than 64 KiB", 1), (&utf16, "UTF-16", 0)] {
        let ran = pipe(&world, &["--files-from", "-", "-o", "report"], list);
        assert_eq!(ran.ends(2).json_lines().len(), sent);
        ran.says(why).says("--files-from");
        let plan = pipe(&world, &["--files-from", "-", "--dry-run"], list);
        assert_eq!(plan.ends(2).json_lines().len(), sent);
        plan.says(why);
    }
    // The sent file is on record, so a corrected list sends only the rest.
    pipe(&world, &["--files-from", "-"], "a\nb\n").ok();
    assert_there_once(&world, &["a", "b"]);
}

#[test]
fn relative_keeps_the_directories_of_each_path() {
    let world = World::new();
    plant(&world, &["src/a/b.rs", "src/c.rs", "x/y/z/f", "x/y/empty/"]);
    let ran = world.run(&["-R", "src/a/b.rs", "./src/c.rs", "--to", "t"]);
    assert_eq!(ran.ok().json_lines().len(), 2);
    assert_there_once(&world, &["t/", "t/src/", "t/src/a/", "t/src/a/b.rs", "t/src/c.rs"]);
    for path in ["x/y", "x/y/", "./x/y"] {
        let world = World::new();
        plant(&world, &["x/y/z/f", "x/y/empty/"]);
        world.run(&["-rR", path]).ok();
        assert_there_once(&world, &["x/", "x/y/", "x/y/z/", "x/y/z/f", "x/y/empty/"]);
    }
}

#[test]
fn relative_refuses_paths_outside_the_working_directory() {
    let world = World::new();
    let absolute = world.file("a", 1).to_str().unwrap().to_owned();
    for path in ["../a", "x/../a", &absolute] {
        world.run(&["-R", path]).fails(2).says("-R").says(&slashed(&path.into()));
        assert_eq!(world.drive.record().count(Op::Any), 0);
    }
    let list = format!("../a\n{absolute}\na\n");
    let ran = pipe(&world, &["-R", "--files-from", "-", "-o", "report"], list);
    let rows = ran.ends(9).json_lines();
    assert_eq!(rows.iter().filter(|row| row["error"]["code"] == "usage").count(), 2, "{rows:?}");
    assert_there_once(&world, &["a"]);
}

#[test]
fn the_plan_is_sorted_and_shows_the_folder_of_each_file() {
    let world = World::new();
    plant(&world, &["photos/b", "photos/a/z", "photos/a.txt", "top"]);
    let to = |args: &[&str]| -> Vec<String> {
        let plan = world.run(&[&["--dry-run", "-r"], args].concat());
        let line = |row: &serde_json::Value| {
            let to = row.get("to").map_or("", |to| to.as_str().unwrap()).to_owned();
            format!("{}: {to}", slashed(&row["path"]))
        };
        plan.ok().json_lines().iter().map(line).collect()
    };
    assert_eq!(
        to(&["top", "photos"]),
        ["photos/a.txt: photos", "photos/a/z: photos/a", "photos/b: photos", "top: "]
    );
    assert_eq!(to(&["photos/"]), ["photos/a.txt: ", "photos/a/z: a", "photos/b: "]);
    assert_eq!(to(&["-R", "photos/a/z", "--to", "x"]), ["photos/a/z: x/photos/a"]);
    let plan = world.run(&["--dry-run", "-rR", "photos", "top", "--to", "x/y"]);
    plan.ok().says("4 files").says("4 folders");
}

#[cfg(unix)]
#[test]
fn files_are_sent_while_the_list_is_read_and_ctrl_c_does_not_wait_for_it() {
    unix_only!("signals");
    let world = World::new();
    plant(&world, &["a", "b"]);
    let mut command = world.command(&["--files-from", "-", "-o", "id"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = world.spawn_with(command);
    let mut list = running.child.stdin.take().unwrap();
    list.write_all(b"a\n").unwrap();
    world.drive.wait_until(CAP, |record| record.count(Op::Finalize) == 1).unwrap();
    list.write_all(b"b\n").unwrap();
    world.drive.wait_until(CAP, |record| record.count(Op::Finalize) == 2).unwrap();
    running.signal("INT");
    running.wait().ends(130).says("error: interrupted").says("run the same command again");
    assert_eq!(world.drive.items().len(), 2);
}

#[cfg(unix)]
#[test]
fn an_interruption_before_the_first_path_does_not_say_that_there_is_nothing_to_upload() {
    unix_only!("signals");
    let world = World::new();
    let mut command = world.command(&["--files-from", "-", "-o", "url"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = world.spawn_with(command);
    let list = running.child.stdin.take();
    // Signals are handled from before this call on.
    world.drive.wait_until(CAP, |record| record.count(Op::Workspace) == 1).unwrap();
    running.signal("INT");
    running.wait().ends(130).says("error: interrupted").says_nothing_of("nothing to upload");
    drop(list);
}

#[cfg(target_os = "linux")]
#[test]
fn a_long_list_needs_little_memory() {
    unix_only!("the system's count of memory");
    let world = World::new();
    world.file("a", 1);
    let peak = |missing: usize| {
        let mut list = String::new();
        for number in 0..missing {
            writeln!(list, "missing/directory/of/some/length/{number}").unwrap();
        }
        list.push_str("a\n");
        world.file_of("list", list);
        // Keeps the program alive while its memory is measured.
        world.drive.fault(Fault::new(Op::Start, Action::HangAfterBody));
        let before = world.drive.record().count(Op::Start);
        let running = world.spawn(&["--files-from", "list", "-q", "-o", "none"]);
        world.drive.wait_until(CAP, |record| record.count(Op::Start) > before).unwrap();
        let peak = running.peak_memory();
        world.drive.clear_faults();
        running.kill();
        peak
    };
    let (short, long) = (peak(100), peak(40_000));
    assert!(long < short + 8 * MIB, "{short} {long}");
}

#[cfg(unix)]
#[test]
fn lists_from_standard_input_in_two_directories_are_two_commands() {
    let world = World::new();
    plant(&world, &["x/a", "y/a"]);
    let stall = world.drive.fault(Fault::new(Op::PutPart, Action::Stall { after: 0 }));
    let start = |directory: &str| {
        let mut command = world.command(&["--files-from", "-", "--to", directory]);
        command.current_dir(world.work().join(directory));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = world.spawn_with(command);
        running.child.stdin.take().unwrap().write_all(b"a\n").unwrap();
        running
    };
    let runs = ["x", "y"].map(start);
    world.drive.wait_until(CAP, |record| record.count(Op::PutPart) == 2).unwrap();
    world.drive.clear_fault(stall);
    for run in runs {
        run.wait().ok();
    }
    assert_there_once(&world, &["x/", "x/a", "y/", "y/a"]);
}
