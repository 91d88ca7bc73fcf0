//! Made-up events for the tests of the faces.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::state::State;
use crate::error::Error;
use crate::event::{Event, FileId, PartProgress, Phase};
use crate::item::Item;
use crate::mutex::lock;
use crate::outcome::{Done, Origin, Outcome};

pub(super) const MIB: u64 = 1 << 20;

pub(super) fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// A state with a clock that the test moves.
pub(super) struct Play {
    pub(super) state: State,
    pub(super) now: Instant,
}

impl Play {
    pub(super) fn new() -> Self {
        Self { state: State::default(), now: Instant::now() }
    }

    pub(super) fn event(&mut self, event: Event<'_>) {
        self.state.apply(&event, self.now);
    }

    /// Lets time pass in steps of 100 ms, with the samples a ticker would take.
    pub(super) fn pass(&mut self, seconds: f64) {
        for _ in 0..(seconds * 10.0).round() as u32 {
            self.now += Duration::from_millis(100);
            self.state.sample(self.now);
        }
    }

    pub(super) fn known(&mut self, files: u64, bytes: u64, complete: bool) {
        self.event(Event::Discovered { files, bytes, complete });
    }

    pub(super) fn start(&mut self, file: FileId, path: &str, size: u64, parts: u32) {
        let part_size = size.div_ceil(u64::from(parts)).max(1);
        self.event(Event::FileStart { file, path, name: path, size, parts, part_size });
        self.event(Event::Phase { file, phase: Phase::Send });
    }

    pub(super) fn part(&mut self, file: FileId, part: u32, size: u64) -> Arc<PartProgress> {
        let progress = Arc::new(PartProgress::default());
        self.event(Event::PartStart { file, part, size, progress: Arc::clone(&progress) });
        progress
    }

    pub(super) fn done(&mut self, file: FileId, part: u32, size: u64) {
        self.event(Event::PartDone { file, part, size, elapsed: secs(1.0) });
    }

    pub(super) fn end(&mut self, file: FileId, outcome: &Outcome) {
        self.event(Event::FileDone { file, outcome });
    }
}

pub(super) fn item() -> Item {
    let raw = r#"{"_id": "66b2c6d2a8f4f00012345678", "name": "report.pdf"}"#;
    Item::new(serde_json::value::RawValue::from_string(raw.to_owned()).unwrap()).unwrap()
}

pub(super) fn outcome(path: &str, bytes: u64, result: Result<Done, Error>) -> Outcome {
    Outcome {
        path: path.to_owned(),
        result,
        bytes,
        sent_bytes: bytes,
        resumed_bytes: 0,
        kept_bytes: 0,
        retries: 0,
        elapsed: secs(70.0),
        is_folder: false,
    }
}

pub(super) fn uploaded(path: &str, bytes: u64) -> Outcome {
    outcome(path, bytes, Ok(Done { item: item(), origin: Origin::Uploaded, verified: None }))
}

pub(super) fn skipped(path: &str, bytes: u64) -> Outcome {
    outcome(path, bytes, Ok(Done { item: item(), origin: Origin::Existing, verified: None }))
}

/// A stderr that a test can read.
#[derive(Clone, Default)]
pub(super) struct Paper(Arc<Mutex<Vec<u8>>>);

impl Paper {
    pub(super) fn text(&self) -> String {
        String::from_utf8(lock(&self.0).clone()).unwrap()
    }
}

impl io::Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
