//! Events: what the engine reports, and progress shows.
//!
//! The engine only calls [`Reporter::event`]. Values that change too often for events (bytes of a part in flight) are in
//! a [`PartProgress`], which the engine writes and the renderer reads when it draws.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::outcome::{Outcome, Summary};

/// Names one input file within a run.
pub type FileId = u64;

/// The phases of a file's way that a person waits through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Another run on this machine is uploading to the same place.
    Wait,
    /// Standard input is read to its end.
    Spool,
    /// Bytes of an earlier run are compared with the file.
    Check,
    /// The start call.
    Start,
    /// Signed URLs are asked for.
    Sign,
    /// Parts travel.
    Send,
    /// The finalize call, which can take minutes.
    Finalize,
    /// A finalize without an answer is being looked into.
    Settle,
}

impl Phase {
    /// One word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Spool => "spool",
            Self::Check => "check",
            Self::Start => "start",
            Self::Sign => "sign",
            Self::Send => "send",
            Self::Finalize => "finalize",
            Self::Settle => "settle",
        }
    }
}

/// How far one part is. The engine writes, faces read.
#[derive(Debug)]
pub struct PartProgress {
    /// Of each connection that the part is tried on at the same time.
    acked: [AtomicU64; 2],
    high_water: AtomicU64,
    begun: Instant,
    /// Milliseconds from `begun` to when bytes last moved.
    moved: AtomicU64,
}

/// Which of a part's connections: the second is for one that fell behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// The one that every try has.
    Primary = 0,
    /// The one beside it.
    Hedge = 1,
}

impl Default for PartProgress {
    fn default() -> Self {
        Self {
            acked: Default::default(),
            high_water: AtomicU64::new(0),
            begun: Instant::now(),
            moved: AtomicU64::new(0),
        }
    }
}

impl PartProgress {
    /// Bytes of the current attempt that the network has taken (on Linux: that the peer has acknowledged), on
    /// the connection that is further.
    pub fn acked(&self) -> u64 {
        self.acked.iter().map(|taken| taken.load(Ordering::Relaxed)).max().unwrap_or(0)
    }

    /// The furthest that any attempt got: bytes sent again count once.
    pub fn high_water(&self) -> u64 {
        self.high_water.load(Ordering::Relaxed)
    }

    /// When bytes last moved; when the part began, if none have.
    pub fn moved(&self) -> Instant {
        self.begun + Duration::from_millis(self.moved.load(Ordering::Relaxed))
    }

    /// Sets the current attempt's bytes on one connection.
    pub fn set(&self, lane: Attempt, taken: u64) {
        if self.acked[lane as usize].swap(taken, Ordering::Relaxed) < taken {
            let since = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.moved.store(since, Ordering::Relaxed);
        }
        self.high_water.fetch_max(taken, Ordering::Relaxed);
    }
}

/// Something that happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// Something the user should know, though work goes on.
    Warning {
        /// The file it is about, as given.
        path: Option<&'a str>,
        message: &'a str,
    },
    /// A given file is left out by `--include` or `--exclude`. Each is named, since nothing else tells of it.
    Excluded { path: &'a str },
    /// What `--login` has to say or to ask.
    Login {
        message: &'a str,
        /// Somebody is to answer at the terminal: told also where nothing but errors is.
        asks: bool,
    },
    /// For `-v`: what was decided or done.
    Verbose { message: &'a str },
    /// For `-vv`: one request and its answer.
    Request {
        /// `GET`, `POST`, `PUT`.
        method: &'a str,
        /// The URL without its query.
        url: &'a str,
        /// The answer's status; `None`: there was none.
        status: Option<u16>,
        /// From the first byte to the answer.
        elapsed: Duration,
    },
    /// The number of files and bytes known so far (`complete`: there will be no more).
    Discovered { files: u64, bytes: u64, complete: bool },
    /// A file's way begins.
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
    /// So much of standard input is read.
    Spooled { file: FileId, bytes: u64 },
    /// Parts of an earlier run count.
    Resumed { file: FileId, parts: u32, bytes: u64 },
    /// What counted of a file counts no more: its upload begins again.
    Restarted { file: FileId },
    /// A part gets a place in flight. Its retries keep the place and the progress.
    PartStart { file: FileId, part: u32, size: u64, progress: Arc<PartProgress> },
    /// A part is in storage, checked and on record.
    PartDone { file: FileId, part: u32, size: u64, elapsed: Duration },
    /// A part gave its place up without being done (its file failed or was interrupted).
    PartAborted { file: FileId, part: u32 },
    /// A call or a part is tried again.
    Retry {
        file: Option<FileId>,
        part: Option<u32>,
        /// "part 3", "start", …
        what: &'a str,
        /// The retries so far, this one included.
        retry: u32,
        cause: &'a str,
        wait: Duration,
    },
    /// A file's way is over.
    FileDone { file: FileId, outcome: &'a Outcome },
    /// A dry run is over.
    Planned {
        files: u64,
        bytes: u64,
        /// Folders that would be found or made.
        folders: u64,
    },
    /// The run is over.
    Finished { tally: &'a Summary },
    /// An error outside of any file's upload.
    Error {
        /// The file it is about, as given.
        path: Option<&'a str>,
        error: &'a Error,
    },
}

/// A face. Called from many threads; must return at once.
pub trait Reporter: Send + Sync {
    /// Something happened.
    fn event(&self, event: &Event<'_>);

    /// Runs `write` (which writes to stdout) while nothing is drawn, so that results and bars on one terminal
    /// do not run into each other.
    fn suspend(&self, write: &mut dyn FnMut()) {
        write();
    }

    /// Clears what is drawn and runs `stop`, which returns when the program is continued.
    #[cfg_attr(windows, expect(dead_code, reason = "Windows cannot stop a program with Ctrl-Z"))]
    fn pause(&self, stop: &mut dyn FnMut()) {
        stop();
    }

    /// Takes everything off the terminal that was drawn on it. Further events may draw again.
    fn clear(&self) {}
}
