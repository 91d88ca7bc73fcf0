//! Events: what the engine reports and `progress` shows.
//!
//! The engine only calls [`Reporter::event`]. The bytes of a part in flight change too often for events. They are in a
//! [`PartProgress`], which the engine writes and the renderer reads when it draws.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serializer;

use crate::error::Error;
use crate::format::seconds;
use crate::outcome::{Outcome, Summary};

/// Identifies an input file within a run.
pub type FileId = u64;

/// The phases of a file's upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Waiting for another run on this machine that uploads to the same folder.
    Wait,
    /// Finding the folder, and what is in it.
    Folder,
    /// Reading standard input to its end.
    Spool,
    /// Comparing the parts of an earlier run with the file.
    Check,
    /// The start call.
    Start,
    /// Requesting signed URLs.
    Sign,
    /// Sending parts.
    Send,
    /// The finalize call, which can take minutes.
    Finalize,
    /// Finding out whether a finalize without an answer succeeded.
    Settle,
    /// Proving that the drive's object is the file (`--verify`).
    Verify,
}

/// The progress of a part. The engine writes it and the renderer reads it.
#[derive(Debug)]
pub struct PartProgress {
    /// Per attempt.
    acked: [AtomicU64; 2],
    high_water: AtomicU64,
    begun: Instant,
    /// When bytes were last accepted, in milliseconds after `begun`.
    moved: AtomicU64,
    /// How often the part was seen held.
    held: AtomicU64,
}

/// One of the concurrent attempts at a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// Every part has one.
    Primary = 0,
    /// A second connection for a part that lags.
    Hedge = 1,
}

impl Default for PartProgress {
    fn default() -> Self {
        Self {
            acked: Default::default(),
            high_water: AtomicU64::new(0),
            begun: Instant::now(),
            moved: AtomicU64::new(0),
            held: AtomicU64::new(0),
        }
    }
}

impl PartProgress {
    /// Bytes that the network has accepted, on Linux those that the peer has acknowledged. The larger number of the current
    /// attempts.
    pub fn acked(&self) -> u64 {
        self.acked.iter().map(|acked| acked.load(Ordering::Relaxed)).max().unwrap_or(0)
    }

    /// The largest number of all attempts so far. Bytes that are sent again count once.
    pub fn high_water(&self) -> u64 {
        self.high_water.load(Ordering::Relaxed)
    }

    /// When bytes were last accepted, or when the part began.
    pub fn moved(&self) -> Instant {
        self.begun + Duration::from_millis(self.moved.load(Ordering::Relaxed))
    }

    /// Notes that the part is held, because fewer parts should send.
    pub fn note_held(&self) {
        self.held.fetch_add(1, Ordering::Relaxed);
    }

    /// How often the part was seen held. While the count grows, it is held.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Sets the bytes that the network has accepted from an attempt.
    pub fn set(&self, attempt: Attempt, acked: u64) {
        if self.acked[attempt as usize].swap(acked, Ordering::Relaxed) < acked {
            let since = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.moved.store(since, Ordering::Relaxed);
        }
        self.high_water.fetch_max(acked, Ordering::Relaxed);
    }
}

/// An event of a run. Serialized, it is an object of `--log-format json`; the skipped ones are not, or are written by hand.
#[derive(Debug, serde::Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event<'a> {
    /// A warning. The run continues.
    Warning {
        /// The path of the file, as given.
        path: Option<&'a str>,
        message: &'a str,
    },
    /// A folder was created in the drive.
    #[serde(skip)]
    FolderCreated,
    /// A message or the prompt of `--login`.
    Login {
        message: &'a str,
        /// Whether it is the prompt, which `--quiet` shows too.
        #[serde(rename = "asks")]
        is_prompt: bool,
    },
    /// For `-v`: a decision or an action.
    #[serde(rename = "note")]
    Verbose { message: &'a str },
    /// For `-vv`: a request and its response.
    Request {
        /// `GET`, `POST`, `PUT`.
        method: &'a str,
        /// The URL without its query.
        url: &'a str,
        /// `None` without a response.
        status: Option<u16>,
        /// From the first byte to the response.
        #[serde(rename = "seconds", serialize_with = "as_seconds")]
        elapsed: Duration,
    },
    /// The number of files and bytes found so far. `complete` if there are no more.
    #[serde(skip)]
    Discovered { files: u64, bytes: u64, complete: bool },
    /// The upload of a file begins.
    #[serde(rename = "start")]
    FileStart {
        file: FileId,
        path: &'a str,
        /// Its name in the drive.
        name: &'a str,
        size: u64,
        parts: u32,
        part_size: u64,
    },
    /// A file enters a phase.
    Phase { file: FileId, phase: Phase },
    /// The number of bytes read from standard input, or downloaded and compared, in this phase so far.
    #[serde(skip)]
    PhaseBytes { file: FileId, bytes: u64 },
    /// Parts of an earlier run do not have to be sent again.
    Resumed { file: FileId, parts: u32, bytes: u64 },
    /// The upload of a file starts over. What was sent or resumed no longer counts.
    Restarted { file: FileId },
    /// A part begins. Its retries belong to the same start and progress.
    #[serde(skip)]
    PartStart { file: FileId, part: u32, size: u64, progress: Arc<PartProgress> },
    /// A part is in storage, its ETag is checked, and it is on record if the file has several.
    #[serde(rename = "part")]
    PartDone {
        file: FileId,
        part: u32,
        size: u64,
        #[serde(rename = "seconds", serialize_with = "as_seconds")]
        elapsed: Duration,
    },
    /// A call or a part is retried after `wait`.
    Retry {
        file: Option<FileId>,
        part: Option<u32>,
        /// "part 3", "start", …
        what: &'a str,
        /// The number of this retry, from 1.
        retry: u32,
        cause: &'a str,
        #[serde(rename = "wait_seconds", serialize_with = "as_seconds")]
        wait: Duration,
    },
    /// The result of a file.
    #[serde(skip)]
    FileDone { file: FileId, outcome: &'a Outcome },
    /// The end of a dry run.
    Planned {
        files: u64,
        bytes: u64,
        /// Folders that would be found or created.
        folders: u64,
    },
    /// The end of the run.
    #[serde(skip)]
    Finished { summary: &'a Summary },
    /// An error that is not the result of an upload.
    #[serde(skip)]
    Error {
        /// The path of the file, as given.
        path: Option<&'a str>,
        error: &'a Error,
    },
}

fn as_seconds<S: Serializer>(elapsed: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(seconds(*elapsed))
}

/// Shows events. Called from many threads, so it must not block.
pub trait Reporter: Send + Sync {
    /// Shows an event.
    fn event(&self, event: &Event<'_>);

    /// Runs `write`, which writes to stdout, while nothing is drawn. Otherwise results and bars on the same terminal would
    /// mix.
    fn suspend(&self, write: &mut dyn FnMut()) {
        write();
    }

    /// Clears what is drawn and runs `stop`, which returns when the program is continued.
    #[cfg_attr(windows, expect(dead_code, reason = "Windows cannot stop a program with Ctrl-Z"))]
    fn pause(&self, stop: &mut dyn FnMut()) {
        stop();
    }

    /// Clears what is drawn. Further events may draw again.
    fn clear(&self) {}
}
