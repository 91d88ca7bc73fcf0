//! What became of one input file: what `output` prints, `report` tells and the exit code is made of.

use std::time::Duration;

use crate::drive::wire::Item;
use crate::error::{Code, Error, Signal};

/// How a file's way ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The item was created.
    Uploaded,
    /// It was there already.
    Skipped,
    /// It failed; the error says why.
    Failed,
    /// All bytes arrived, but whether the item exists is not known.
    Unsettled,
    /// A signal came first.
    Interrupted,
}

/// What became of one input file.
#[derive(Debug)]
pub struct Outcome {
    /// The path as given or walked to, `-` for standard input, undecodable bytes as `%XX`.
    pub path: String,
    /// Not a file, but a directory whose folder could not be found or made.
    pub is_folder: bool,
    /// The created (or found) item, or what stopped it.
    pub result: Result<Done, Error>,
    /// The file's size in bytes.
    pub bytes: u64,
    /// Bytes put on the wire in this run, repeats included.
    pub sent_bytes: u64,
    /// Bytes kept from an earlier run.
    pub resumed_bytes: u64,
    /// Retries of calls and parts.
    pub retries: u32,
    /// Wall time.
    pub elapsed: Duration,
}

/// A good end.
#[derive(Debug)]
pub struct Done {
    /// The item, as the service answered.
    pub item: Item,
    /// Whether it was there already.
    pub skipped: bool,
}

impl Outcome {
    /// The row's `status`.
    pub fn status(&self) -> Status {
        match &self.result {
            Ok(done) if done.skipped => Status::Skipped,
            Ok(_) => Status::Uploaded,
            Err(error) => match error.code() {
                Code::Unsettled => Status::Unsettled,
                Code::Interrupted => Status::Interrupted,
                _ => Status::Failed,
            },
        }
    }
}

/// The sum of all outcomes.
#[derive(Debug, Default, Clone)]
pub struct Summary {
    /// Files uploaded.
    pub uploaded: u64,
    /// Files that were there already.
    pub skipped: u64,
    /// Files failed, unsettled or interrupted.
    pub failed: u64,
    /// Folders that could not be found or made.
    pub folders_failed: u64,
    /// Of the failed files, interrupted.
    pub interrupted: u64,
    /// Bytes of the uploaded files.
    pub bytes: u64,
    /// Wall time of the run.
    pub elapsed: Duration,
    /// The signal that ended it.
    pub signal: Option<Signal>,
    exit: Option<u8>,
    mixed: bool,
}

impl Summary {
    /// Counts one outcome.
    pub fn add(&mut self, outcome: &Outcome) {
        match &outcome.result {
            Ok(done) if done.skipped => self.skipped += 1,
            Ok(_) => {
                self.uploaded += 1;
                self.bytes += outcome.bytes;
            }
            Err(error) if outcome.is_folder => {
                self.folders_failed += 1;
                self.note_exit(error);
            }
            Err(error) => self.count_failure(error),
        }
    }

    /// Counts a file that failed.
    pub fn count_failure(&mut self, error: &Error) {
        self.failed += 1;
        self.interrupted += u64::from(error.code() == Code::Interrupted);
        self.note_exit(error);
    }

    fn note_exit(&mut self, error: &Error) {
        let code = error.exit_code();
        self.mixed |= self.exit.is_some_and(|first| first != code);
        self.exit = Some(code);
    }

    /// Counts a file that was planned in a dry run.
    pub fn count_planned(&mut self) {
        self.skipped += 1;
    }

    /// All files.
    pub fn files(&self) -> u64 {
        self.uploaded + self.skipped + self.failed
    }

    /// 0 when all is done; their common code when all failed (else 1); 9 when some did. A signal outranks
    /// all of that.
    pub fn exit_code(&self) -> u8 {
        if let Some(signal) = self.signal {
            return signal.exit_code();
        }
        match self.exit {
            None => 0,
            Some(_) if self.uploaded + self.skipped > 0 => 9,
            Some(_) if self.mixed => 1,
            Some(code) => code,
        }
    }
}
