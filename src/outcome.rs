//! The result of one input file, and the summary of all of them.

use std::time::Duration;

use crate::error::{Code, Error, Signal};
use crate::item::Item;

/// The `status` of a report row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The item was created.
    Uploaded,
    /// The item existed already.
    Skipped,
    /// The upload failed.
    Failed,
    /// All bytes were sent, but whether the item exists is unknown.
    Unsettled,
    /// A signal stopped the run first.
    Interrupted,
}

/// The result of one input file.
#[derive(Debug)]
pub struct Outcome {
    /// The path as given or walked to, `-` for standard input, undecodable bytes as `%XX`.
    pub path: String,
    /// A directory whose folder could not be found or created, instead of a file.
    pub is_folder: bool,
    /// The item, or the error.
    pub result: Result<Done, Error>,
    /// The file's size in bytes.
    pub bytes: u64,
    /// Bytes sent in this run, including those sent again.
    pub sent_bytes: u64,
    /// Bytes kept from an earlier run.
    pub resumed_bytes: u64,
    /// Bytes on record, which a later run need not send if this one did not finish the file.
    pub kept_bytes: u64,
    /// Retries of calls and parts.
    pub retries: u32,
    /// Elapsed time.
    pub elapsed: Duration,
}

/// A successful result.
#[derive(Debug)]
pub struct Done {
    /// The item as the service returned it.
    pub item: Item,
    /// How it came about.
    pub origin: Origin,
    /// What proved that its object is the file, with `--verify`.
    pub verified: Option<Verified>,
}

/// What proved that an object is the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verified {
    /// Its size and multipart ETag.
    Etag,
    /// Its bytes.
    Download,
}

/// How the item of a file came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// This run uploaded it, or finished an upload that an earlier run began.
    Uploaded,
    /// An earlier run of the same command uploaded it.
    Earlier,
    /// A file with this name existed.
    Existing,
}

impl Outcome {
    /// Bytes that the next run resumes, because this one failed for a transient reason.
    pub fn resumable_bytes(&self) -> u64 {
        match &self.result {
            Err(Error::Unrecorded(_)) => 0,
            Err(error) if error.transient() && error.item().is_none() => self.kept_bytes,
            _ => 0,
        }
    }

    /// The item, of a failed file too: it exists, but is not known to be right.
    pub fn item(&self) -> Option<&Item> {
        match &self.result {
            Ok(done) => Some(&done.item),
            Err(error) => error.item(),
        }
    }

    /// What proved that the item's object is the file.
    pub fn verified(&self) -> Option<Verified> {
        self.result.as_ref().ok()?.verified
    }

    /// The status for the report.
    pub fn status(&self) -> Status {
        match &self.result {
            Ok(done) if done.origin == Origin::Existing => Status::Skipped,
            Ok(_) => Status::Uploaded,
            Err(error) => match error.code() {
                Code::Unsettled => Status::Unsettled,
                Code::Interrupted => Status::Interrupted,
                _ => Status::Failed,
            },
        }
    }
}

/// The summary of all outcomes.
#[derive(Debug, Default, Clone)]
pub struct Summary {
    /// Files uploaded.
    pub uploaded: u64,
    /// Files that earlier runs of the command uploaded; they count as uploaded too.
    pub earlier: u64,
    /// Uploaded files that were verified.
    pub verified: u64,
    /// Files that existed already.
    pub skipped: u64,
    /// Files failed, unsettled or interrupted.
    pub failed: u64,
    /// Folders that could not be found or created.
    pub folders_failed: u64,
    /// Files whose items were created but could not be verified; they count as failed too.
    pub unverified: u64,
    /// Interrupted files; they count as failed too.
    pub interrupted: u64,
    /// Files of which it is unknown whether the items exist; they count as failed too.
    pub unsettled: u64,
    /// Bytes of the uploaded files.
    pub bytes: u64,
    /// Those of them that an earlier run sent.
    pub resumed_bytes: u64,
    /// Bytes of failed files, for the next run to resume.
    pub kept_bytes: u64,
    /// Elapsed time of the run.
    pub elapsed: Duration,
    /// The signal that stopped the run.
    pub signal: Option<Signal>,
    /// The list of `--files-from` could not be read to its end: the rest of its files is not known.
    pub is_list_cut: bool,
    exit: Option<u8>,
    mixed: bool,
}

impl Summary {
    /// Adds one outcome.
    pub fn add(&mut self, outcome: &Outcome) {
        match &outcome.result {
            Ok(done) if done.origin == Origin::Existing => self.skipped += 1,
            Ok(done) => {
                self.uploaded += 1;
                self.verified += u64::from(done.verified.is_some());
                self.earlier += u64::from(done.origin == Origin::Earlier);
                self.bytes += outcome.bytes;
                self.resumed_bytes += outcome.resumed_bytes;
            }
            Err(error) if outcome.is_folder => {
                self.folders_failed += 1;
                self.note_exit(error);
            }
            Err(error) => {
                self.kept_bytes += outcome.resumable_bytes();
                self.count_failure(error);
            }
        }
    }

    /// Adds a file that failed.
    pub fn count_failure(&mut self, error: &Error) {
        self.failed += 1;
        let is_interrupted = error.code() == Code::Interrupted;
        self.interrupted += u64::from(is_interrupted);
        self.unsettled += u64::from(error.code() == Code::Unsettled);
        self.unverified += u64::from(!is_interrupted && matches!(error, Error::Unverified { .. }));
        self.note_exit(error);
    }

    fn note_exit(&mut self, error: &Error) {
        let code = error.exit_code();
        self.mixed |= self.exit.is_some_and(|first| first != code);
        self.exit = Some(code);
    }

    /// Adds a file planned in a dry run.
    pub fn count_planned(&mut self) {
        self.skipped += 1;
    }

    /// The number of files.
    pub fn files(&self) -> u64 {
        self.uploaded + self.skipped + self.failed
    }

    /// The exit code: 0 if nothing failed, 9 if some files failed, their common code (or 1) if all did. A list that
    /// could not be read overrides this, and a signal overrides both.
    pub fn exit_code(&self) -> u8 {
        if let Some(signal) = self.signal {
            return signal.exit_code();
        }
        if self.is_list_cut {
            return Code::Usage.exit_code();
        }
        match self.exit {
            None => 0,
            Some(_) if self.uploaded + self.skipped > 0 => 9,
            Some(_) if self.mixed => 1,
            Some(code) => code,
        }
    }
}
