//! What the system does not let the program have: open files, threads, memory, large files, the terminal.
#![cfg(unix)]

use local_drive::{Action, Fault, Op};

use crate::ran::Ran;
use crate::support::{PART, World};
use crate::terminal::Terminal;

fn limited(world: &World, limits: &str, args: &[&str]) -> Ran {
    world.spawn_limited(limits, args).wait()
}

/// Files some levels deep.
fn deep_tree(world: &World, files: usize) {
    let folder = world.work().join("d/e/f/g/h/i");
    std::fs::create_dir_all(&folder).unwrap();
    (0..files)
        .for_each(|number| std::fs::write(folder.join(number.to_string()), number.to_string()).unwrap());
}

#[test]
fn many_files_fit_into_few_descriptors() {
    for limits in ["ulimit -n 64", "ulimit -n 40", "ulimit -n 32", "ulimit -S -n 32"] {
        let world = World::new();
        deep_tree(&world, 400);
        limited(&world, limits, &["-q", "-o", "none", "-r", "d"]).ok();
        let files = world.drive.items().iter().filter(|item| item["type"] == "file").count();
        assert_eq!(files, 400, "{limits}");
    }
}

#[test]
fn a_limit_that_is_too_low_for_anything_is_one_clear_error() {
    let world = World::new();
    deep_tree(&world, 3);
    let ran = limited(&world, "ulimit -n 12", &["-r", "d"]);
    ran.fails(1).says("too few files may be open at once").says("ulimit -n");
    assert!(world.drive.items().is_empty());
}

#[test]
fn many_parts_fit_into_few_descriptors() {
    let world = World::new();
    let path = world.file("big", 8 * PART);
    let ran = limited(&world, "ulimit -n 40", &["-j", "64", "big"]);
    ran.ok().says("at the same time");
    world.assert_stored(&ran.id(), &path);
}

#[test]
fn threads_that_cannot_be_started_are_no_panic() {
    // A stack of 1 GiB for each thread in 3 GiB of address space leaves room for few threads.
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
fn a_limit_on_the_size_of_files_costs_the_record_and_not_the_upload() {
    let world = World::new();
    let path = world.file("big", 2 * PART);
    let ran = limited(&world, "ulimit -f 0", &["big"]);
    ran.ok().says("the record for resuming cannot be written").says("File too large");
    world.assert_stored(&ran.id(), &path);
}

#[test]
fn results_that_do_not_fit_into_a_file_are_an_error_and_the_uploads_are_done() {
    let world = World::new();
    deep_tree(&world, 50);
    let ran = limited(&world, "ulimit -f 1; exec >results", &["-q", "-o", "report", "-r", "d"]);
    ran.fails(1).says("could not be written to stdout");
    assert_eq!(world.drive.items().iter().filter(|item| item["type"] == "file").count(), 50);
}

#[test]
fn in_the_background_nothing_is_drawn_and_tostop_does_not_stop_the_upload() {
    let world = World::new();
    world.file("big", 2 * PART);
    world.drive.fault(Fault::new(Op::PutPart, Action::SlowRead { bytes_per_second: 4 << 20 }));
    // With job control a job in the background has a process group of its own.
    let job = "set -m; stty tostop; \"$0\" \"$@\" & wait $!";
    let mut command = world.shell(job, &["-o", "none", "--progress", "bar", "big", "missing"]);
    command.env("TERM", "xterm-256color");
    let ran = Terminal::start(command, world.drive.token()).wait();
    assert_eq!(ran.code, Some(9), "{ran:#?}");
    ran.says("missing: could not open the file").says("uploaded 1 file");
    assert!(!ran.stderr.contains('%'), "a bar was drawn: {ran:#?}");
}
