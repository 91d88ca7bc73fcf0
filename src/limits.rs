//! Limits of the system on open files and threads. If they are low, fewer files, parts and calls run at a time.

use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::disk;
use crate::error::{Code, Error};
use crate::platform;

/// Enough for everything that runs at a time. Not more than `select` supports (1024, FD_SETSIZE), for libraries that
/// use it.
const OPEN_FILES: u64 = 1024;
/// Descriptors for anything but files, parts and calls: the runtime (5 on Linux), walking directories ([`crate::plan`]),
/// name lookups, files that are open for a moment.
const RESERVED: usize = 12;
/// The fewest with which one file can be uploaded.
const MIN_FREE: usize = RESERVED + 8;

/// Limits on what runs at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Files. Small ones spend most of their time waiting for the API.
    pub files: usize,
    /// Parts.
    pub parts: usize,
    /// API calls. A thousand small files of three calls each take 4.7 s with 30 calls at a time and 5.5 s with 24, at a
    /// latency of 40 ms. More would only reach the rate limit sooner, which is not published (related endpoints answer 429
    /// at 30 to 50 calls a minute).
    pub calls: usize,
}

impl Limits {
    /// The limits on a system that has none of its own. `-j` takes at most 64 parts.
    pub const MAX: Self = Self { files: 48, parts: 64, calls: 30 };

    /// Raises the system's limit on open files as far as that is of use, and returns what fits.
    /// Fails if not even one file can be uploaded.
    pub fn from_system() -> Result<Self, Error> {
        let Some(allowed) = platform::raise_open_file_limit(OPEN_FILES) else { return Ok(Self::MAX) };
        let open = platform::count_open_files();
        let allowed = usize::try_from(allowed).unwrap_or(usize::MAX);
        let free = allowed.saturating_sub(open);
        Self::with_free(free).ok_or_else(|| {
            let message = format!(
                "too few files may be open at once: {allowed}, of which {open} are open already; at least {} more are needed",
                MIN_FREE.saturating_sub(free)
            );
            Error::with_hint(Code::Refused, message, "raise the limit of open files: ulimit -n 1024")
        })
    }

    /// What fits into this many free descriptors, if anything does.
    fn with_free(free: usize) -> Option<Self> {
        let free = free.checked_sub(RESERVED).filter(|free| *free >= MIN_FREE - RESERVED)?;
        // A file takes up to three (itself, its record, the lock of its target), a part up to two (its connection, and a
        // second one for a hedge or the next part), a call one. An eighth stays free.
        Some(Self {
            files: (free / 8).clamp(1, Self::MAX.files),
            parts: (free * 3 / 16).clamp(1, Self::MAX.parts),
            calls: (free / 8).clamp(1, Self::MAX.calls),
        })
    }
}

/// Blocking threads live as long as the run. If the system later refuses to start more, the existing ones suffice.
const KEEP_ALIVE: Duration = Duration::from_secs(365 * 86_400);

/// The runtime for uploads.
///
/// tokio panics if it cannot start its threads, so it gets no more than the system allows. If few are allowed, none of
/// them are workers.
/// Fails if not even one thread can be started.
pub fn runtime() -> Result<Runtime, Error> {
    let refused = |why: String| {
        Error::with_hint(
            Code::Refused,
            format!("the system does not let the program start its threads: {why}"),
            "raise the limits of processes and of memory (ulimit -u, ulimit -v), or of the container",
        )
    };
    let workers = workers();
    // Twice as many, because the system may count threads that have just ended.
    let (mut builder, blocking) = match startable_threads(2 * (workers + 1)) {
        Ok(()) => {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(workers);
            (builder, disk::THREADS)
        }
        Err((0, error)) => return Err(refused(error.to_string())),
        Err((threads, _)) => (Builder::new_current_thread(), threads.min(disk::THREADS)),
    };
    let runtime = builder
        .max_blocking_threads(blocking)
        .thread_keep_alive(KEEP_ALIVE)
        .event_interval(EVENT_INTERVAL)
        .enable_all()
        .build()
        .map_err(|error| refused(error.to_string()))?;
    // Starts the first blocking thread. With it, all blocking work gets done, whatever the system refuses later.
    runtime
        .block_on(async { tokio::task::spawn_blocking(|| {}).await })
        .map_err(|error| refused(error.to_string()))?;
    Ok(runtime)
}

/// Tasks that a worker runs before it looks for sockets that have become ready. tokio's default of 61 lets a few bodies
/// run far ahead of the others, and MD5 of few parts at once is slow.
const EVENT_INTERVAL: u32 = 8;

/// Worker threads: half as many as cores. One sends 8 Gbit/s with TLS (measured). With only one, parts advance together,
/// which fills more MD5 lanes.
fn workers() -> usize {
    thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).clamp(1, 4))
}

/// Checks that this many threads can run at the same time.
/// The error says how many can, and why not more.
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
        // The system may count threads that have just ended.
        thread::sleep(Duration::from_millis(20));
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_fit_into_the_free_descriptors() {
        for free in 0..2000 {
            let Some(limits) = Limits::with_free(free) else {
                assert!(free < MIN_FREE);
                continue;
            };
            let used = RESERVED + limits.files * 4 + limits.parts * 2 + limits.calls;
            assert!(used <= free, "{limits:?} use {used} of {free}");
        }
        assert_eq!(Limits::with_free(28), Some(Limits { files: 2, parts: 3, calls: 2 }));
        assert_eq!(Limits::with_free(OPEN_FILES as usize - 3), Some(Limits::MAX));
    }

    #[test]
    fn a_few_threads_can_be_started() {
        assert!(startable_threads(3).is_ok());
    }
}
