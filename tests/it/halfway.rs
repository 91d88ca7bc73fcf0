//! Uploads that are interrupted in the middle, and helpers for what comes after.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use local_drive::{Action, Fault, FaultId, Op, RequestRecord};

use crate::support::{CAP, Ran, Running, World};

/// An upload with some parts in storage and the next one stalled.
pub struct Halfway {
    pub running: Running,
    /// Clear this fault to let the stalled part continue.
    pub stall: FaultId,
}

impl Halfway {
    /// Uploads a file until its first `done` parts are on record.
    pub fn of(world: &World, path: &Path, done: usize, args: &[&str]) -> Self {
        let halfway = Self::without_record(world, path, done, args);
        wait_for("the parts on record", || parts_on_record(world) == done);
        halfway
    }

    /// Uploads a file until its first `done` parts are in storage.
    pub fn without_record(world: &World, path: &Path, done: usize, args: &[&str]) -> Self {
        let before = world.drive.record();
        let stall = world.drive.fault(Fault::new(Op::PutPart, Action::Stall { after: 0 }).skip(done as u64));
        // With one part in flight, parts are sent in order.
        let mut all = vec![path.to_str().unwrap(), "-j1"];
        all.extend(args);
        let running = world.spawn(&all);
        let begun = before.count(Op::PutPart) + done + 1;
        let standing = |record: &local_drive::Record| {
            record.count(Op::PutPart) == begun && record.parts_in_flight() == 1
        };
        world.drive.wait_until(CAP, standing).unwrap();
        Self { running, stall }
    }

    /// Kills the program, as a crash would, and clears the faults.
    pub fn killed(self, world: &World) {
        assert_eq!(self.running.kill().code, None, "the program ended before it was killed");
        world.drive.clear_faults();
        world.drive.wait_until(CAP, |record| record.parts_in_flight() == 0).unwrap();
    }
}

/// A run and its requests.
pub struct Later {
    pub ran: Ran,
    pub requests: Vec<RequestRecord>,
}

/// Runs the program and returns only the requests of this run.
pub fn later(world: &World, args: &[&str]) -> Later {
    let before = world.drive.record().requests.len();
    let ran = world.run(args);
    Later { ran, requests: world.drive.record().requests.split_off(before) }
}

impl Later {
    pub fn count(&self, op: Op) -> usize {
        self.requests.iter().filter(|request| request.op == op).count()
    }

    /// The numbers of the parts that were sent, complete or not, in ascending order.
    pub fn parts(&self) -> Vec<u32> {
        let parts: BTreeSet<u32> = self.requests.iter().filter_map(|request| request.part).collect();
        parts.into_iter().collect()
    }
}

/// The ID of the only upload.
pub fn only_upload(world: &World) -> String {
    let record = world.drive.record();
    let ids: BTreeSet<String> =
        record.requests_of(Op::PutPart).filter_map(|put| put.upload_id.clone()).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    ids.into_iter().next().unwrap()
}

/// Files in the state directory with this extension.
pub fn state_files(world: &World, extension: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(world.state_dir()) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|end| end == extension)).collect()
}

/// The records of uploads.
pub fn records(world: &World) -> Vec<PathBuf> {
    let mut records = state_files(world, "upload");
    // An empty one is only a lock.
    records.retain(|record| record.metadata().is_ok_and(|record| record.len() > 0));
    records
}

/// The only record.
pub fn only_record(world: &World) -> PathBuf {
    let records = records(world);
    assert_eq!(records.len(), 1, "{records:?}");
    records.into_iter().next().unwrap()
}

/// The number of parts in all records.
pub fn parts_on_record(world: &World) -> usize {
    let parts = |path: PathBuf| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().filter(|line| line.contains("{\"part\":{")).count()
    };
    records(world).into_iter().map(parts).sum()
}

/// Waits until finalize has done its work. A fault must hold back its response.
pub fn wait_for_finalize(world: &World) {
    let done =
        |record: &local_drive::Record| record.requests_of(Op::Finalize).any(|call| call.worked.is_some());
    world.drive.wait_until(CAP, done).unwrap();
}

/// Polls for something that sends no event.
pub fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let until = Instant::now() + CAP;
    while !there() {
        assert!(Instant::now() < until, "not seen within {CAP:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Checks for a warning with these words on stderr.
#[track_caller]
pub fn assert_warns(ran: &Ran, words: &str) {
    let warning = |line: &str| line.to_lowercase().starts_with("warning") && line.contains(words);
    assert!(ran.stderr.lines().any(warning), "no warning about {words:?}: {ran:#?}");
}

/// Checks that the run succeeded, that the drive has one item with the bytes of the file, that stdout names it, and
/// that no record is left.
#[track_caller]
pub fn assert_one_item(world: &World, ran: &Ran, path: &Path) {
    let id = ran.ok().id();
    let item = world.only_item();
    assert_eq!(item["_id"], id);
    world.assert_stored(&id, path);
    assert_eq!(records(world), Vec::<PathBuf>::new(), "a record is left");
}

/// A full pipe. Writing to it blocks.
#[cfg(target_os = "linux")]
pub fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    use std::io::Write as _;
    let (reader, mut writer) = std::io::pipe().unwrap();
    // The capacity of a pipe is 65,536 bytes since Linux 2.6.11, see pipe(7).
    writer.write_all(&[b'\n'; 65_536]).unwrap();
    (reader, writer)
}
