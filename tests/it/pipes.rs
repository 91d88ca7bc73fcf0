//! Standard input: it is spooled until its size is known, uploaded like a file, and deleted in any case.
#![cfg(unix)]

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use local_drive::{Action, Fault, Op};

use crate::halfway::{assert_warns, only_upload, records, wait_for, wait_for_finalize};
use crate::support::{CAP, MIB, PART, Ran, World};

/// Runs the program with the output of a shell command as its standard input.
fn run_with_pipe(world: &World, producer: &str, args: &[&str]) -> Ran {
    let script = format!("set -o pipefail; {producer} | \"$0\" \"$@\"");
    world.spawn_command(world.bash(&script, &[&["-", "--name", "dump.sql"], args].concat())).wait()
}

/// Entries of the directory for temporary files, except for the folders of the world.
fn left_over(world: &World) -> Vec<PathBuf> {
    let root = world.home().parent().unwrap().to_owned();
    let own = ["home", "work", "config", "state"];
    std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !own.iter().any(|own| path.ends_with(own)))
        .collect()
}

#[test]
fn standard_input_of_any_size_is_stored_unchanged() {
    for (size, parts) in [(0, 1), (1, 1), (2 * PART + 3, 3)] {
        let world = World::new();
        let path = world.file("source", size);
        let ran = run_with_pipe(&world, "cat source", &[]);
        let item = ran.ok().json();
        assert_eq!((item["name"].as_str(), item["size"].as_u64()), (Some("dump.sql"), Some(size)));
        world.assert_stored(&ran.id(), &path);
        assert_eq!(world.drive.record().count(Op::PutPart), parts, "{size}");
        assert_eq!((left_over(&world), records(&world)), (Vec::new(), Vec::new()));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn three_hundred_mib_from_a_pipe_need_little_memory() {
    let world = World::new();
    let path = world.sparse("source", 300 * MIB);
    let mut command = world.command(&["-", "-n", "zeros", "-q"]);
    let mut cat = Command::new("cat").arg(&path).stdout(Stdio::piped()).spawn().unwrap();
    command.stdin(cat.stdout.take().unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let stall = world.drive.fault(Fault::new(Op::PutPart, Action::Stall { after: 0 }).skip(50));
    let running = world.spawn_with(command);
    // Hedging sends at most 1 % of the bytes twice, and counts each part as at least 256 KiB.
    let again = 300 / 100 * 4;
    let passed =
        |record: &local_drive::Record| record.count(Op::PutPart) > 50 && record.stored_count() >= 50 - again;
    world.drive.wait_until(CAP, passed).unwrap();
    let peak = running.peak_memory();
    world.drive.clear_fault(stall);
    let ran = running.wait();
    cat.wait().unwrap();
    world.assert_stored(&ran.ok().id(), &path);
    assert!(peak < 40 * MIB, "{} MiB", peak / MIB);
}

#[test]
fn a_pipe_that_fails_midway_fails_the_pipeline() {
    let world = World::new();
    let ran = run_with_pipe(&world, "{ echo half; exit 3; }", &[]);
    assert_eq!(ran.ends(3).json()["size"], 5);
}

#[test]
fn standard_input_needs_a_name_and_can_be_given_once() {
    let world = World::new();
    world.run(&["-"]).fails(2).says("--name");
    world.run(&["-", "-", "--name", "x"]).fails(2);
    assert_eq!(world.drive.record().requests.len(), 0);
}

#[test]
fn errors_are_reported_before_the_pipe_is_read_to_its_end() {
    let world = World::new();
    world.drive.put_file("dump.sql", None, b"old").unwrap();
    for (args, code) in [(&["-p", "665f1c2ab3d4e5f60718293a"][..], 3), (&["--if-exists", "fail"], 5)] {
        let mut command = world.command(&[&["-", "--name", "dump.sql"], args].concat());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = world.spawn_with(command);
        // Keeps the pipe open while the program runs.
        let pipe = running.child.stdin.take();
        running.wait().fails(code);
        drop(pipe);
    }
}

#[test]
fn a_spool_directory_that_is_unusable_is_exit_code_8_and_names_tmpdir() {
    let mut world = World::new();
    world.set("TMPDIR", world.work().join("missing"));
    run_with_pipe(&world, "echo hello", &[]).fails(8).says("missing").says("TMPDIR");
    assert_eq!(world.drive.record().count(Op::Start), 0);
}

#[test]
fn a_redirected_file_is_not_spooled() {
    let mut world = World::new();
    // Spooling would fail here.
    world.set("TMPDIR", world.work().join("missing"));
    let path = world.file("source", PART + 9);
    let mut command = world.command(&["-", "-n", "name"]);
    command.stdin(File::open(&path).unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ran = world.spawn_with(command).wait();
    world.assert_stored(&ran.ok().id(), &path);
}

#[cfg(target_os = "linux")]
#[test]
fn a_redirected_file_with_a_wrong_size_is_read_to_its_end() {
    let world = World::new();
    let mut command = world.command(&["-", "-n", "name"]);
    command.stdin(File::open("/proc/version").unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ran = world.spawn_with(command).wait();
    assert_eq!(world.drive.object(&ran.ok().id()).unwrap(), std::fs::read("/proc/version").unwrap());
}

#[test]
fn an_empty_pipe_causes_a_warning() {
    let world = World::new();
    assert_warns(run_with_pipe(&world, "true", &[]).ok(), "empty");
    // If stdin is closed, Rust opens /dev/null in its place.
    let closed = world.shell("exec \"$0\" \"$@\" <&-", &["-", "-n", "name"]);
    assert_warns(world.spawn_command(closed).wait().ok(), "empty");
    run_with_pipe(&world, "echo", &[]).ok().says_nothing_of("empty");
}

#[test]
fn a_pipe_is_compared_by_size_only_after_it_is_read() {
    let world = World::new();
    world.drive.put_file("dump.sql", None, b"12345\n").unwrap();
    let ran = run_with_pipe(&world, "echo 12345", &["--if-exists", "skip", "-v"]);
    ran.ok().says_nothing_of("another size");
    world.only_item();
    run_with_pipe(&world, "echo 123456", &["--if-exists", "skip", "-v"]).ok().says("another size");
    assert_eq!(world.drive.items().len(), 2);
}

#[test]
fn a_partly_read_file_is_sent_from_its_position() {
    let world = World::new();
    world.file_of("source", "first\nrest\n");
    // `read` leaves the position of a file at the next line.
    let script = "{ read -r line; \"$0\" \"$@\"; } <source";
    let ran = world.spawn_command(world.bash(script, &["-", "-n", "name"])).wait();
    assert_eq!(world.drive.object(&ran.ok().id()).unwrap(), b"rest\n");
}

#[test]
fn an_interruption_while_reading_leaves_no_files() {
    for signal in ["INT", "TERM", "KILL"] {
        let world = World::new();
        let mut command = world.command(&["-", "-n", "name", "-vv", "--log-format", "json"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = world.spawn_with(command);
        let mut pipe = running.child.stdin.take().unwrap();
        // The program has begun to read, because a pipe cannot hold this much.
        pipe.write_all(&vec![b'x'; MIB as usize]).unwrap();
        running.signal(signal);
        wait_for("the end of the program", || !running.is_running());
        let ran = running.wait();
        ran.says_nothing_of("to resume");
        let code = ran.code;
        assert_eq!(
            code,
            [("INT", Some(130)), ("TERM", Some(143)), ("KILL", None)]
                .into_iter()
                .find(|(name, _)| *name == signal)
                .unwrap()
                .1
        );
        assert_eq!(left_over(&world), Vec::<PathBuf>::new(), "{signal}");
    }
}

#[test]
fn an_upload_from_a_pipe_resumes_with_the_same_bytes() {
    let world = World::new();
    let path = world.file("source", 4 * PART);
    world.drive.fault(Fault::new(Op::PutPart, Action::status(500, "")).part(3));
    run_with_pipe(&world, "cat source", &["-j1", "--max-retries", "0"]).fails(7);
    world.drive.clear_faults();
    let ran = run_with_pipe(&world, "cat source", &["-o", "report"]);
    let row = ran.ok().json();
    assert_eq!((row["path"].as_str(), row["resumed_bytes"].as_u64()), (Some("-"), Some(2 * PART)));
    world.assert_stored(row["item"]["_id"].as_str().unwrap(), &path);
    only_upload(&world);
    world.only_item();
}

#[test]
fn a_dry_run_of_a_pipe_prints_its_size() {
    let world = World::new();
    let ran = run_with_pipe(&world, "printf '%s' '%PDF-1.7 and so on'", &["--dry-run", "--name", "page"]);
    let line = ran.ok().json();
    assert_eq!((line["path"].as_str(), line["size"].as_u64()), (Some("-"), Some(18)));
    assert_eq!(line["mime_type"], "application/pdf");
}

#[test]
fn an_item_created_before_a_kill_is_the_result_even_under_fail() {
    let world = World::new();
    let path = world.file("source", 20);
    world.drive.fault(Fault::new(Op::Finalize, Action::HangAfterBody));
    let args = ["-", "-n", "name", "--if-exists", "fail"];
    let piped = || {
        let mut cat = Command::new("cat").arg(&path).stdout(Stdio::piped()).spawn().unwrap();
        let mut command = world.command(&args);
        command.stdin(cat.stdout.take().unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let running = world.spawn_with(command);
        cat.wait().unwrap();
        running
    };
    let running = piped();
    wait_for_finalize(&world);
    running.kill();
    world.drive.clear_faults();
    assert_eq!(piped().wait().ok().id(), world.only_item()["_id"].as_str().unwrap());
}
