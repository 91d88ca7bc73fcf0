//! Signals: the program stops cleanly within two seconds, and the same command resumes.
#![cfg(unix)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use local_drive::{Action, Fault, Op};

#[cfg(target_os = "linux")]
use crate::halfway::full_pipe;
use crate::halfway::{
    Halfway, assert_one_item, later, parts_on_record, records, wait_for, wait_for_finalize,
};
use crate::support::{CAP, PART, Ran, Running, World};

/// Sends a signal and requires that the program ends soon.
fn stop(running: Running, signal: &str) -> Ran {
    let sent = Instant::now();
    running.signal(signal);
    let ran = running.wait();
    assert!(sent.elapsed() < Duration::from_secs(2), "{signal} took {:?}", sent.elapsed());
    ran
}

#[test]
fn each_signal_stops_cleanly_and_the_same_command_resumes() {
    for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let world = World::new();
        let path = world.file("file.bin", 6 * PART);
        let halfway = Halfway::of(&world, &path, 3, &[]);
        stop(halfway.running, signal).fails(code).says("interrupted").says("same command");
        world.drive.clear_faults();
        let again = later(&world, &["file.bin"]);
        assert_one_item(&world, &again.ran, &path);
        assert_eq!((again.parts(), again.count(Op::Start)), (vec![4, 5, 6], 0), "{signal}");
    }
}

#[test]
fn the_done_event_has_the_exit_code_of_the_signal() {
    for files in [&["a"][..], &["a", "b"]] {
        let world = World::new();
        files.iter().for_each(|file| drop(world.file(file, 20)));
        world.drive.fault(Fault::new(Op::PutPart, Action::Stall { after: 0 }));
        let running = world.spawn(&[files, &["--log-format", "json"]].concat());
        let flying = |record: &local_drive::Record| record.parts_in_flight() == files.len().min(1);
        world.drive.wait_until(CAP, flying).unwrap();
        let ran = stop(running, "INT");
        ran.ends(130);
        let done = ran.stderr.lines().find(|line| line.contains("\"event\":\"done\"")).expect("a done event");
        assert!(done.contains("\"exit_code\":130"), "{done}");
    }
}

#[test]
fn a_second_ctrl_c_ends_the_program_at_once() {
    let world = World::new();
    let path = world.file("file.bin", 4 * PART);
    let halfway = Halfway::of(&world, &path, 2, &[]);
    halfway.running.signal("INT");
    // The program may have ended already. Then there is no process to signal.
    let pid = halfway.running.pid().to_string();
    let _ = Command::new("kill").args(["-INT", &pid]).stderr(Stdio::null()).status();
    let sent = Instant::now();
    halfway.running.wait().ends(130);
    assert!(sent.elapsed() < Duration::from_secs(1), "{:?}", sent.elapsed());
    world.drive.clear_faults();
    let again = later(&world, &["file.bin"]);
    assert_one_item(&world, &again.ran, &path);
    assert_eq!(again.parts(), [3, 4]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_second_ctrl_c_ends_the_program_even_if_stdout_is_blocked() {
    let world = World::new();
    let path = world.file("file.bin", 20);
    let (_reader, writer) = full_pipe();
    let mut command = world.command(&["file.bin"]);
    command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::null());
    let mut running = world.spawn_with(command);
    let responded =
        |record: &local_drive::Record| record.requests_of(Op::Finalize).any(|request| request.end.is_some());
    world.drive.wait_until(CAP, responded).unwrap();
    wait_for("the end of the program", || {
        running.signal("INT");
        !running.is_running()
    });
    running.wait().ends(130);
    // The result was not printed, so the same command prints it.
    assert_one_item(&world, &world.run(&["file.bin"]), &path);
}

#[test]
fn ctrl_c_works_at_every_stage() {
    for (op, action) in [
        (Op::Start, Action::HangAfterBody),
        (Op::Start, Action::rate_limited(100)),
        (Op::Urls, Action::Stall { after: 0 }),
        (Op::PutPart, Action::HangAfterBody),
        (Op::PutPart, Action::Stall { after: 0 }),
        (Op::PutPart, Action::slow_down()),
        (Op::Finalize, Action::Stall { after: 0 }),
    ] {
        let world = World::new();
        let path = world.file("file.bin", 2 * PART);
        world.drive.fault(Fault::new(op, action.clone()));
        let running = world.spawn(&["file.bin"]);
        world.drive.wait_until(CAP, |record| record.count(op) > 0).unwrap();
        stop(running, "INT").fails(130);
        world.drive.clear_faults();
        assert_one_item(&world, &world.run(&["file.bin"]), &path);
    }
}

#[test]
fn ctrl_c_during_finalize_is_reconciled_by_the_same_command() {
    for size in [20, 2 * PART] {
        let world = World::new();
        let path = world.file("file.bin", size);
        world.drive.fault(Fault::new(Op::Finalize, Action::HangAfterBody));
        let running = world.spawn(&["file.bin"]);
        wait_for_finalize(&world);
        stop(running, "INT").fails(130);
        world.drive.clear_faults();
        let again = later(&world, &["file.bin"]);
        assert_one_item(&world, &again.ran, &path);
        assert_eq!((again.parts(), again.count(Op::Finalize)), (vec![], 0));
    }
}

#[test]
fn results_before_ctrl_c_are_printed() {
    let world = World::new();
    world.file("small.bin", 20);
    let large = world.file("large.bin", 2 * PART);
    world.drive.fault(Fault::new(Op::PutPart, Action::Stall { after: 0 }).part(2));
    let running = world.spawn(&["small.bin", "large.bin"]);
    world.drive.wait_until(CAP, |record| record.stored_count() == 2).unwrap();
    // The record of the small file is removed after its result is printed. That of the large file has its first part.
    wait_for("the result of the small file", || records(&world).len() == 1 && parts_on_record(&world) == 1);
    let ran = stop(running, "TERM");
    assert_eq!(ran.ends(143).json()["name"], "small.bin");
    world.drive.clear_faults();
    let again = later(&world, &["large.bin"]);
    world.assert_stored(&again.ran.ok().id(), &large);
    // Part 1 may be stored but not on record.
    assert!(again.parts().contains(&2));
}

#[test]
fn a_signal_ignored_at_the_start_is_ignored() {
    // `nohup` ignores SIGHUP, a background job of a script SIGINT.
    for signal in ["HUP", "INT", "TERM"] {
        let world = World::new();
        let path = world.file("file.bin", 20);
        let stall = world.drive.fault(Fault::new(Op::PutPart, Action::Stall { after: 0 }));
        let script = format!("trap '' {signal}; exec \"$0\" \"$@\"");
        let running = world.spawn_command(world.shell(&script, &["file.bin"]));
        world.drive.wait_until(CAP, |record| record.parts_in_flight() == 1).unwrap();
        running.signal(signal);
        world.drive.clear_fault(stall);
        assert_one_item(&world, &running.wait(), &path);
    }
}

#[test]
fn without_a_record_the_message_does_not_promise_to_resume() {
    let world = World::new();
    let path = world.file("file.bin", 4 * PART);
    let halfway = Halfway::without_record(&world, &path, 2, &["--no-resume"]);
    stop(halfway.running, "INT").fails(130).says("starts over").says_nothing_of("to resume");
}

#[test]
fn a_stopped_program_continues_after_sigcont() {
    let world = World::new();
    let path: &Path = &world.file("file.bin", 4 * PART);
    let halfway = Halfway::of(&world, path, 2, &[]);
    halfway.running.signal("STOP");
    world.drive.clear_fault(halfway.stall);
    halfway.running.signal("CONT");
    assert_one_item(&world, &halfway.running.wait(), path);
}
