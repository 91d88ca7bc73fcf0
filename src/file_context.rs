//! The context of a file during its upload: reports its events and counts its costs.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::drive::RetryObserver;
use crate::error::{Call, Failure};
use crate::event::{Event, FileId, Phase, Reporter};
use crate::item::Item;

/// Shared by everything that works on the file.
pub struct FileContext {
    /// Identifies the file in events.
    pub id: FileId,
    /// The path in messages.
    pub path: String,
    /// Size in bytes, once known.
    pub size: AtomicU64,
    /// Bytes sent in this run, including those sent again.
    pub sent: AtomicU64,
    /// Bytes kept from an earlier run.
    pub resumed: AtomicU64,
    /// Bytes of the parts that this run has put on record.
    pub recorded: AtomicU64,
    /// No record is kept: the same command would start over.
    pub unrecorded: AtomicBool,
    /// The item, once there is nothing left to do but to verify it.
    pub created: OnceLock<Item>,
    retries: AtomicU32,
    reporter: Arc<dyn Reporter>,
}

impl FileContext {
    /// A file that nothing has been sent of.
    pub fn new(file: FileId, path: String, size: u64, reporter: Arc<dyn Reporter>) -> Self {
        Self {
            id: file,
            path,
            size: AtomicU64::new(size),
            sent: AtomicU64::new(0),
            resumed: AtomicU64::new(0),
            recorded: AtomicU64::new(0),
            unrecorded: AtomicBool::new(false),
            created: OnceLock::new(),
            retries: AtomicU32::new(0),
            reporter,
        }
    }

    /// Retries so far, of calls and parts.
    pub fn retries(&self) -> u32 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Reports an event.
    pub fn report(&self, event: &Event<'_>) {
        self.reporter.event(event);
    }

    /// Reports a new phase.
    pub fn phase(&self, phase: Phase) {
        self.report(&Event::Phase { file: self.id, phase });
    }

    /// Reports a decision, for `-v`.
    pub fn note(&self, message: &str) {
        self.report(&Event::Verbose { message: &format!("{}: {message}", self.path) });
    }

    /// Reports a warning about this file.
    pub fn warn(&self, message: &str) {
        self.report(&Event::Warning { path: Some(&self.path), message });
    }

    /// Counts and reports another attempt at a part, after `wait`.
    pub fn retry_part(&self, part: u32, retry: u32, failure: &Failure, wait: Duration) {
        self.count_retry(&format!("part {part}"), Some(part), retry, failure, wait);
    }

    /// Counts and reports another request about an object, after `wait`.
    pub fn retry_object(&self, retry: u32, failure: &Failure, wait: Duration) {
        self.count_retry("ask storage about the item", None, retry, failure, wait);
    }

    fn count_retry(&self, what: &str, part: Option<u32>, retry: u32, failure: &Failure, wait: Duration) {
        self.retries.fetch_add(1, Ordering::Relaxed);
        self.report(&Event::Retry {
            file: Some(self.id),
            part,
            what,
            retry,
            cause: &failure.to_string(),
            wait,
        });
    }
}

impl RetryObserver for FileContext {
    fn retry(&self, call: Call, retry: u32, failure: &Failure, wait: Duration) {
        self.count_retry(call.aim(), None, retry, failure, wait);
    }
}

/// Observes retries of calls that belong to no file.
pub struct GlobalObserver<'a>(pub &'a dyn Reporter);

impl RetryObserver for GlobalObserver<'_> {
    fn retry(&self, call: Call, retry: u32, failure: &Failure, wait: Duration) {
        let cause = &failure.to_string();
        self.0.event(&Event::Retry { file: None, part: None, what: call.aim(), retry, cause, wait });
    }
}
