//! Memory use does not grow with the size of the file.
//!
//! This test compares 64 MiB with 1 GiB. To compare with 4 GiB, using a release build:
//!
//! ```sh
//! cargo build --workspace --release && truncate -s 64M /tmp/small && truncate -s 4G /tmp/large
//! for file in /tmp/small /tmp/large; do
//!     target/release/local-drive --discard python3 -c 'import resource, subprocess, sys
//! subprocess.run(["target/release/copera-upload", "-q", "-o", "none", sys.argv[1]], check=True)
//! print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, "KiB")' $file
//! done
//! ```
#![cfg(target_os = "linux")]

use local_drive::{Action, Fault, Mode, Op, Options};

use crate::halfway::wait_for_finalize;
use crate::support::{MIB, World};

/// Peak memory of the program after all parts of a file of this size were sent.
fn peak(size: u64, args: &[&str]) -> u64 {
    let world = World::with(Options { mode: Mode::Discard, ..Options::default() });
    world.sparse("f", size);
    // Keeps the program alive while its memory is measured.
    let hang = world.drive.fault(Fault::new(Op::Finalize, Action::HangAfterBody));
    let running = world.spawn(&[&["f"], args].concat());
    wait_for_finalize(&world);
    let peak = running.peak_memory();
    world.drive.clear_fault(hang);
    running.wait().ok();
    // On a busy machine, hedging may send some bytes twice.
    assert!(world.drive.record().bytes_received_on_storage() >= size);
    peak
}

#[test]
fn memory_does_not_grow_with_the_size_of_the_file_or_of_the_part() {
    let small = peak(64 * MIB, &[]);
    let large = peak(1024 * MIB, &[]);
    let large_parts = peak(512 * MIB, &["--part-size", "128MiB"]);
    // Runs differ in how many parts are read at once. A buffer for each part of 1 GiB, or a buffer of the size of a
    // part, would exceed this by far.
    assert!(
        large.max(large_parts) < small + 8 * MIB,
        "{small} for 64 MiB, {large} for 1 GiB, {large_parts} for 512 MiB in parts of 128 MiB"
    );
}
