//! Network outages: the running command finishes after the outage, or the same command resumes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use local_drive::{Action, Fault, Op};

use crate::halfway::{Halfway, assert_one_item, later, wait_for};
use crate::support::{CAP, PART, Running, World};

/// Starts the program with its stderr in a file, which can be read during the run.
fn begin(world: &World, args: &[&str]) -> (Running, PathBuf) {
    let told = world.home().join("stderr");
    let mut command = world.command(args);
    command.arg("-v").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&told).unwrap());
    (world.spawn_with(command), told)
}

/// Takes the network down until the program has retried a few times.
fn outage(world: &World, told: &Path) {
    let retries = || {
        let said = std::fs::read_to_string(told).unwrap().to_lowercase();
        said.lines().filter(|line| line.contains("retry") && line.contains("no connection")).count()
    };
    world.drive.stop_listening().unwrap();
    wait_for("retries", || retries() >= 4);
    world.drive.listen_again().unwrap();
}

#[test]
fn an_outage_during_the_upload_needs_no_second_command() {
    let world = World::new();
    let path = world.file("file.bin", 8 * PART);
    let stall = world.drive.fault(Fault::new(Op::PutPart, Action::Stall { after: 1000 }).skip(3));
    let (running, told) = begin(&world, &["file.bin"]);
    let some = |record: &local_drive::Record| record.stored_count() == 3 && record.parts_in_flight() == 5;
    world.drive.wait_until(CAP, some).unwrap();
    world.drive.clear_fault(stall);
    outage(&world, &told);
    assert_one_item(&world, &running.wait(), &path);
    assert_eq!(world.drive.record().count(Op::Start), 1, "the upload was restarted");
}

#[test]
fn an_outage_during_finalize_leaves_one_item() {
    for action in [Action::HangAfterBody, Action::Stall { after: 0 }] {
        let world = World::new();
        let path = world.file("file.bin", 20);
        world.drive.fault(Fault::once(Op::Finalize, action.clone()));
        let (running, told) = begin(&world, &["file.bin"]);
        let there = |record: &local_drive::Record| {
            let works = action == Action::HangAfterBody;
            record.requests_of(Op::Finalize).any(|request| !works || request.worked.is_some())
        };
        world.drive.wait_until(CAP, there).unwrap();
        outage(&world, &told);
        assert_one_item(&world, &running.wait(), &path);
    }
}

#[test]
fn a_service_that_is_down_at_the_start_is_waited_for() {
    let world = World::new();
    let path = world.file("file.bin", 20);
    world.drive.stop_listening().unwrap();
    let (running, told) = begin(&world, &["file.bin"]);
    outage(&world, &told);
    assert_one_item(&world, &running.wait(), &path);
}

#[test]
fn a_long_outage_is_exit_code_7_and_the_same_command_resumes() {
    let world = World::new();
    let path = world.file("file.bin", 6 * PART);
    let halfway = Halfway::of(&world, &path, 3, &["--retry-for", "1s"]);
    world.drive.stop_listening().unwrap();
    halfway.running.wait().fails(7).says("no connection").says("same command");
    world.drive.clear_faults();
    world.drive.listen_again().unwrap();
    let again = later(&world, &["file.bin"]);
    assert_one_item(&world, &again.ran, &path);
    assert_eq!((again.parts(), again.count(Op::Start)), (vec![4, 5, 6], 0));
}

#[test]
fn urls_that_expired_during_an_outage_are_renewed() {
    let world = World::new();
    let path = world.file("file.bin", 6 * PART);
    let stall = world.drive.fault(Fault::new(Op::PutPart, Action::Stall { after: 1000 }).skip(3));
    let (running, told) = begin(&world, &["file.bin", "-j3"]);
    let some = |record: &local_drive::Record| record.stored_count() == 3 && record.parts_in_flight() == 3;
    world.drive.wait_until(CAP, some).unwrap();
    world.drive.clear_fault(stall);
    world.drive.expire_urls();
    outage(&world, &told);
    assert_one_item(&world, &running.wait(), &path);
    assert_eq!(world.drive.record().count(Op::Urls), 2);
}
