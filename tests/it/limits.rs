//! Limits of the system: open files, threads, memory, file size, background jobs.
#![cfg(unix)]

use local_drive::{Action, Fault, Op};

use crate::ran::Ran;
use crate::support::{PART, World};
use crate::terminal::Terminal;

fn limited(world: &World, limits: &str, args: &[&str]) -> Ran {
    world.spawn_limited(limits, args).wait()
}

/// Files in nested folders.
fn deep_tree(world: &World, files: usize) {
    let folder = world.work().join("d/e/f/g/h/i");
    std::fs::create_dir_all(&folder).unwrap();
    (0..files)
        .for_each(|number| std::fs::write(folder.join(number.to_string()), number.to_string()).unwrap());
}

#[test]
fn many_files_work_with_few_descriptors() {
    for limits in ["ulimit -n 64", "ulimit -n 40", "ulimit -n 32", "ulimit -S -n 32"] {
        let world = World::new();
        deep_tree(&world, 400);
        limited(&world, limits, &["-q", "-o", "none", "-r", "d"]).ok();
        let files = world.drive.items().iter().filter(|item| item["type"] == "file").count();
        assert_eq!(files, 400, "{limits}");
    }
}

#[test]
fn a_limit_that_is_too_low_is_one_clear_error() {
    let world = World::new();
    deep_tree(&world, 3);
    let ran = limited(&world, "ulimit -n 12", &["-r", "d"]);
    ran.fails(1).says("too few files may be open at once").says("ulimit -n");
    assert!(world.drive.items().is_empty());
}

#[test]
fn many_parts_work_with_few_descriptors() {
    let world = World::new();
    let path = world.file("big", 8 * PART);
    let ran = limited(&world, "ulimit -n 40", &["-j", "64", "big"]);
    ran.ok().says("at the same time");
    world.assert_stored(&ran.id(), &path);
}

#[test]
fn threads_that_cannot_be_started_cause_no_panic() {
    // Stacks of 1 GiB in 3 GiB of address space leave room for few threads.
    for (limits, may_succeed) in [("ulimit -v 3000000", true), ("ulimit -v 900000", false)] {
        let world = World::new();
        world.file("f", PART + 1);
        let mut command = world.shell(&format!("{limits}; exec \"$0\" \"$@\""), &["-q", "-o", "none", "f"]);
        command.env("RUST_MIN_STACK", (1_u64 << 30).to_string());
        let ran = world.spawn_command(command).wait();
        match ran.code {
            Some(0) if may_succeed => assert_eq!(world.drive.items().len(), 1),
            _ => {
                ran.fails(1).says("does not let the program start its threads").says("ulimit");
            }
        }
    }
}

#[test]
fn a_file_size_limit_prevents_the_record_but_not_the_upload() {
    let world = World::new();
    let path = world.file("big", 2 * PART);
    let ran = limited(&world, "ulimit -f 0", &["big"]);
    ran.ok().says("the record for resuming cannot be written").says("File too large");
    world.assert_stored(&ran.id(), &path);
}

#[test]
fn results_that_cannot_be_written_are_an_error_after_the_uploads() {
    let world = World::new();
    deep_tree(&world, 50);
    let ran = limited(&world, "ulimit -f 1; exec >results", &["-q", "-o", "report", "-r", "d"]);
    ran.fails(1).says("could not be written to stdout");
    assert_eq!(world.drive.items().iter().filter(|item| item["type"] == "file").count(), 50);
}

#[test]
fn a_background_job_draws_no_bar_and_is_not_stopped_by_tostop() {
    let world = World::new();
    world.file("big", 2 * PART);
    world.drive.fault(Fault::new(Op::PutPart, Action::SlowRead { bytes_per_second: 4 << 20 }));
    // With job control, a background job has its own process group.
    let job = "set -m; stty tostop; \"$0\" \"$@\" & wait $!";
    let mut command = world.shell(job, &["-o", "none", "--progress", "bar", "big", "missing"]);
    command.env("TERM", "xterm-256color");
    let ran = Terminal::start(command, world.drive.token()).wait();
    assert_eq!(ran.code, Some(9), "{ran:#?}");
    ran.says("missing: could not open the file").says("uploaded 1 file");
    assert!(!ran.stderr.contains('%'), "a bar was drawn: {ran:#?}");
}
