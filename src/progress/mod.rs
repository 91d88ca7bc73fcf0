//! What the engine tells while it works, and the faces that show it on stderr.
//!
//! The engine only ever calls [`Reporter::event`]; which face draws it is chosen once, at the start. Faces
//! draw, they never decide. What moves too often for events (bytes of a part in flight) is in a [`PartProgress`]
//! that the engine writes and a face reads when it draws.

mod bars;
mod human;
mod in_flight;
mod json;
mod layout;
mod plain;
mod rate;
mod renderer;
mod screen;
mod state;
#[cfg(test)]
mod testing;
pub(crate) mod text;

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::outcome::{Outcome, Summary};
use crate::settings::{ColorMode, Display, LogFormat, ProgressMode};

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
        /// What.
        message: &'a str,
    },
    /// A given file is left out by `--include` or `--exclude`. Each is named, since nothing else tells of it.
    Excluded {
        /// As given.
        path: &'a str,
    },
    /// What `--login` has to say or to ask.
    Login {
        /// What.
        message: &'a str,
        /// Somebody is to answer at the terminal: told also where nothing but errors is.
        asks: bool,
    },
    /// For `-v`: what was decided or done.
    Verbose {
        /// What.
        message: &'a str,
    },
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
    Discovered {
        /// Files.
        files: u64,
        /// Their bytes.
        bytes: u64,
        /// Whether all are known.
        complete: bool,
    },
    /// A file's way begins.
    FileStart {
        /// Which.
        file: FileId,
        /// As given.
        path: &'a str,
        /// Its name in the drive.
        name: &'a str,
        /// Bytes.
        size: u64,
        /// How many parts.
        parts: u32,
        /// Bytes a part.
        part_size: u64,
    },
    /// A file enters a phase.
    Phase {
        /// Which.
        file: FileId,
        /// What comes now.
        phase: Phase,
    },
    /// So much of standard input is read.
    Spooled {
        /// Which file.
        file: FileId,
        /// Bytes.
        bytes: u64,
    },
    /// Parts of an earlier run count.
    Resumed {
        /// Which file.
        file: FileId,
        /// How many parts.
        parts: u32,
        /// Their bytes.
        bytes: u64,
    },
    /// What counted of a file counts no more: its upload begins again.
    Restarted {
        /// Which file.
        file: FileId,
    },
    /// A part gets a place in flight. Its retries keep the place and the meter.
    PartStart {
        /// Which file.
        file: FileId,
        /// Its number, from 1.
        part: u32,
        /// Bytes.
        size: u64,
        /// How far it is.
        meter: Arc<PartProgress>,
    },
    /// A part is in storage, checked and on record.
    PartDone {
        /// Which file.
        file: FileId,
        /// Its number.
        part: u32,
        /// Bytes.
        size: u64,
        /// Since it got its place.
        elapsed: Duration,
    },
    /// A part gave its place up without being done (its file failed or was interrupted).
    PartAborted {
        /// Which file.
        file: FileId,
        /// Its number.
        part: u32,
    },
    /// A call or a part is tried again.
    Retry {
        /// Which file, if it is about one.
        file: Option<FileId>,
        /// The part, if it is about one.
        part: Option<u32>,
        /// "part 3", "start", …
        what: &'a str,
        /// The retries so far, this one included.
        retry: u32,
        /// Why.
        cause: &'a str,
        /// After this long.
        wait: Duration,
    },
    /// A file's way is over.
    FileDone {
        /// Which.
        file: FileId,
        /// How.
        outcome: &'a Outcome,
    },
    /// A dry run is over.
    Planned {
        /// Files that would be uploaded.
        files: u64,
        /// Their bytes.
        bytes: u64,
        /// Folders that would be found or made.
        folders: u64,
    },
    /// The run is over.
    Finished {
        /// In sum.
        tally: &'a Summary,
    },
    /// An error outside of any file's upload.
    Error {
        /// The file it is about, as given.
        path: Option<&'a str>,
        /// It.
        error: &'a crate::error::Error,
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

    /// Takes what is drawn off the terminal and runs `stop`, which comes back when the program may go on.
    fn pause(&self, stop: &mut dyn FnMut()) {
        stop();
    }

    /// Takes everything off the terminal that was drawn on it. Further events may draw again.
    fn clear(&self) {}
}

/// Chooses the face, once: JSON for machines; for people bars where they can be drawn, else lines; and of
/// either no more than the settings ask for.
pub fn choose(display: &Display) -> Arc<dyn Reporter> {
    let stderr = std::io::stderr;
    let wants_progress = !display.quiet && display.progress != ProgressMode::None;
    let paint = text::Styles(match display.color {
        ColorMode::Always => true,
        ColorMode::Never => false,
        // NO_COLOR, CLICOLOR, TERM=dumb and whether it is a terminal at all.
        ColorMode::Auto => wants_color(stderr().is_terminal()),
    });
    // On Windows this also makes the console understand escape codes.
    let out = Box::new(anstream::AutoStream::always_ansi(stderr()));
    if display.log_format == LogFormat::Json {
        let period = wants_progress.then_some(json::Json::TICK);
        return Arc::new(renderer::Renderer::start(Box::new(json::Json::new(display)), out, period, false));
    }
    let words = human::Human::new(display, paint);
    let wants_bars = wants_progress && display.progress != ProgressMode::Plain;
    let is_drawable = display.progress == ProgressMode::Bar || bars::Bars::drawable();
    if wants_bars && stderr().is_terminal() && is_drawable {
        let (voice, shared) = (bars::Bars::new(words, paint), std::io::stdout().is_terminal());
        return Arc::new(renderer::Renderer::start(Box::new(voice), out, Some(bars::Bars::TICK), shared));
    }
    let period = wants_progress.then_some(plain::Plain::TICK);
    let voice = plain::Plain::new(words, wants_progress);
    Arc::new(renderer::Renderer::start(Box::new(voice), out, period, false))
}

/// Whether NO_COLOR, CLICOLOR, CLICOLOR_FORCE, TERM and the stream ask for colours
/// (<https://bixense.com/clicolors>). As anstream decides, but for `CLICOLOR_FORCE=0`, which forces nothing.
pub(crate) fn wants_color(is_terminal: bool) -> bool {
    let clicolor = anstyle_query::clicolor();
    let forced =
        anstyle_query::clicolor_force() && std::env::var_os("CLICOLOR_FORCE").is_some_and(|v| v != "0");
    let can = anstyle_query::term_supports_color() || clicolor == Some(true) || anstyle_query::is_ci();
    !anstyle_query::no_color() && (forced || clicolor != Some(false) && is_terminal && can)
}
