//! What the system lets this process have: open files and threads. With less than usual, less is done at once.

use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::disk;
use crate::error::Error;
use crate::platform;

/// Open files that the most that is ever done at once can use, and then some. It stays below what `select` can watch
/// (1024, FD_SETSIZE), for libraries that still do.
const OPEN_FILES: u64 = 1024;
/// Descriptors beside files, parts and calls: the runtime's (5 on Linux), the walk through a directory
/// ([`crate::plan`]), look-ups of names, files that are open for a moment.
const OTHERS: usize = 12;
/// The fewest with which one file can be uploaded.
const LEAST: usize = OTHERS + 8;

/// How much is done at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Files under way. Small ones spend most of their time waiting for answers of the API.
    pub files: usize,
    /// Parts in flight.
    pub parts: usize,
    /// Calls of the API. With 24 a thousand small files, three calls each at 40 ms, take some 5 s; more would only
    /// find the rate limit sooner, which is not published (429 for the drive's neighbours comes at 30 to 50 a minute).
    pub calls: usize,
}

impl Limits {
    /// What no system with usual limits falls short of. 64 parts are the most that `-j` takes.
    pub const USUAL: Self = Self { files: 48, parts: 64, calls: 24 };

    /// What can be done with the open files that the system allows, after asking it for as many as are of use.
    ///
    /// # Errors
    /// [`Error::Resources`] when they are too few for anything.
    pub fn of_process() -> Result<Self, Error> {
        let Some(allowed) = platform::allow_open_files(OPEN_FILES) else { return Ok(Self::USUAL) };
        let open = platform::open_files();
        let allowed = usize::try_from(allowed).unwrap_or(usize::MAX);
        Self::with_free(allowed.saturating_sub(open)).ok_or_else(|| Error::Resources {
            what: format!(
                "too few files may be open at once: {allowed}, of which {open} are open already; at least {} more are needed",
                LEAST.saturating_sub(allowed.saturating_sub(open))
            ),
            hint: "raise the limit of open files: ulimit -n 1024",
        })
    }

    /// What can be done while so many more files may be open; `None`: nothing.
    fn with_free(free: usize) -> Option<Self> {
        let free = free.checked_sub(OTHERS).filter(|free| *free >= LEAST - OTHERS)?;
        // A file takes up to four (itself, its record, two locks), a part up to two (its connection and, when it is
        // hedged, a second one, or one that waits for the next part), a call one. An eighth stays free.
        Some(Self {
            files: (free / 8).clamp(1, Self::USUAL.files),
            parts: (free * 3 / 16).clamp(1, Self::USUAL.parts),
            calls: (free / 8).clamp(1, Self::USUAL.calls),
        })
    }
}

/// Threads that wait are kept for the run: once the system refuses to start more of them, those that are there still
/// get everything done.
const KEPT: Duration = Duration::from_secs(365 * 86_400);

/// The runtime that uploads run on.
///
/// tokio panics when it cannot start its threads, so it is asked for no more than can be had: of few, none are
/// workers, and where there is not even one to wait for the disk, this is an error.
///
/// # Errors
/// [`Error::Resources`].
pub fn runtime() -> Result<Runtime, Error> {
    let refused = |why: String| Error::Resources {
        what: format!("the system does not let the program start its threads: {why}"),
        hint: "raise the limits of processes and of memory (ulimit -u, ulimit -v), or of the container",
    };
    let workers = workers();
    // Twice as many: a thread that has ended may count for a moment longer.
    let (mut builder, waiting) = match startable_threads(2 * (workers + 1)) {
        Ok(()) => {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(workers);
            (builder, disk::THREADS)
        }
        Err((0, error)) => return Err(refused(error.to_string())),
        Err((threads, _)) => (Builder::new_current_thread(), threads.min(disk::THREADS)),
    };
    let runtime = builder
        .max_blocking_threads(waiting)
        .thread_keep_alive(KEPT)
        .enable_all()
        .build()
        .map_err(|error| refused(error.to_string()))?;
    // From here on there is one that waits: what it is asked to do is done in time, whatever the system says later.
    runtime
        .block_on(async { tokio::task::spawn_blocking(|| {}).await })
        .map_err(|error| refused(error.to_string()))?;
    Ok(runtime)
}

/// Threads for the work: half of the cores. One alone feeds 8 Gbit/s with TLS (measured), and where it is alone,
/// parts in flight keep step, which is what makes their MD5 cheap: rounds of 7 lanes and not of 5.
fn workers() -> usize {
    thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).clamp(1, 4))
}

/// Starts so many threads at once and ends them again.
///
/// # Errors
/// How many could be started when they are fewer, and why.
fn startable_threads(wanted: usize) -> Result<(), (usize, std::io::Error)> {
    let gate = Mutex::new(());
    let closed = gate.lock();
    let outcome = thread::scope(|scope| {
        let mut started = 0;
        let outcome = loop {
            if started == wanted {
                break Ok(());
            }
            match thread::Builder::new().spawn_scoped(scope, || drop(gate.lock())) {
                Ok(_) => started += 1,
                Err(error) => break Err((started, error)),
            }
        };
        drop(closed);
        outcome
    });
    if outcome.is_err() {
        // The system may count threads for a moment that have ended.
        thread::sleep(Duration::from_millis(20));
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_at_once_fits_into_what_may_be_open() {
        for free in 0..2000 {
            let Some(limits) = Limits::with_free(free) else {
                assert!(free < LEAST);
                continue;
            };
            let used = OTHERS + limits.files * 4 + limits.parts * 2 + limits.calls;
            assert!(used <= free, "{limits:?} use {used} of {free}");
        }
        assert_eq!(Limits::with_free(28), Some(Limits { files: 2, parts: 3, calls: 2 }));
        assert_eq!(Limits::with_free(OPEN_FILES as usize - 3), Some(Limits::USUAL));
    }

    #[test]
    fn threads_are_started_and_end_again() {
        assert!(startable_threads(3).is_ok());
    }
}
