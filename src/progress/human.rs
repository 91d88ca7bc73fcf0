//! Messages for people: errors with hints, warnings, `-v` and `-vv`, and the summary. Escapes control characters.

use std::collections::{BTreeMap, HashSet};

use super::state::{File, State, UploadProgress};
use super::text::Styles;
use crate::error::{Code, Error, chain};
use crate::event::{Event, Phase};
use crate::format::{bytes, human_duration, part_of, plural, rate, safe, safe_lines};
use crate::options::Display;
use crate::outcome::{Outcome, Status, Summary};
use crate::plan::EXCLUDED;

/// Formats events, as verbosely as the user asked.
#[derive(Debug, Default)]
pub(super) struct Human {
    quiet: bool,
    verbose: u8,
    pub(super) styles: Styles,
    /// Hints already printed: each is printed once.
    hints: HashSet<String>,
    interrupted: bool,
    /// Folders whose failure has been reported.
    folders: HashSet<String>,
    /// Causes of failed files, with their numbers.
    causes: BTreeMap<String, u64>,
    /// Kinds of warnings, with their numbers.
    warned: BTreeMap<String, u64>,
    /// The line about the file that finished last.
    result_line: Option<String>,
}

/// Files to name for each cause. Others are only counted.
const MAX_NAMED: u64 = 3;
/// Causes to distinguish. Files with other causes are all named.
const MAX_CAUSES: usize = 32;

impl Human {
    /// Messages for these settings.
    pub(super) fn new(display: &Display, styles: Styles) -> Self {
        Self {
            quiet: display.quiet,
            verbose: if display.quiet { 0 } else { display.verbose },
            styles,
            ..Self::default()
        }
    }

    /// Lines about an event that `state` already includes.
    pub(super) fn format(&mut self, event: &Event<'_>, state: &State) -> Vec<String> {
        match event {
            Event::Warning { path, message } if !self.quiet => {
                // Many warnings of one kind, about links for example, are only counted. Files that the user named are
                // named again.
                let kind = message.split([';', ':', '(']).next().unwrap_or_default();
                let may_count = path.is_some() && *message != EXCLUDED;
                if may_count && is_one_more(&mut self.warned, kind.to_owned(), self.verbose) {
                    return Vec::new();
                }
                vec![self.warning(*path, message)]
            }
            Event::Login { message, is_prompt } if *is_prompt || !self.quiet => {
                vec![safe(message).into_owned()]
            }
            Event::Verbose { message } if self.verbose > 0 => {
                vec![format!("{} {}", self.styles.dim("note:"), safe(message))]
            }
            Event::Request { method, url, status, elapsed } if self.verbose > 1 => {
                let (url, elapsed) = (safe(url), human_duration(*elapsed));
                vec![match status {
                    Some(status) => format!("{method} {url} {status} in {elapsed}"),
                    None => format!("{method} {url} no answer after {elapsed}"),
                }]
            }
            Event::Retry { .. } if self.verbose > 0 => {
                retry_line(event, state, self.styles).into_iter().collect()
            }
            // A file of one part is sent again as quickly as it is explained.
            Event::Resumed { file, bytes, .. } if !self.quiet && *bytes > 0 => {
                let upload = state.upload(*file).filter(|upload| upload.parts > 1);
                let line = |upload: &UploadProgress| {
                    format!("resuming {}: {} already stored", upload.label, part_of(*bytes, upload.size))
                };
                upload.map(line).into_iter().collect()
            }
            Event::FileDone { outcome, .. } => self.format_outcome(outcome, state),
            // Always printed, because it ends the run or is about a file of a dry run.
            Event::Error { path, error } => self.format_error(*path, error, true, false),
            Event::Planned { files, bytes, folders } => {
                let plan = (!self.quiet).then(|| plan(*files, *bytes, *folders));
                self.more().into_iter().chain(plan).collect()
            }
            Event::Finished { summary } => {
                let line = (!self.quiet).then(|| self.summary_line(summary, state)).flatten();
                self.more().into_iter().chain(line).collect()
            }
            _ => Vec::new(),
        }
    }

    fn warning(&self, path: Option<&str>, message: &str) -> String {
        let path = path.map(|path| format!("{}: ", safe(path))).unwrap_or_default();
        format!("{} {path}{}", self.styles.yellow("warning:"), safe(message))
    }

    fn format_outcome(&mut self, outcome: &Outcome, state: &State) -> Vec<String> {
        let label = state.last.as_deref().unwrap_or_default();
        if !outcome.is_folder {
            self.result_line = match &outcome.result {
                Ok(_) => Some(result_line(label, outcome)),
                Err(_) => match outcome.resumable_bytes() {
                    0 => None,
                    kept => Some(format!("{} are kept for the next run", part_of(kept, outcome.bytes))),
                },
            };
        }
        match &outcome.result {
            Err(error) => self.format_error(Some(&outcome.path), error, state.single(), true),
            // The summary of a single file says the same.
            Ok(_) if self.verbose > 0 && !state.single() => self.result_line.clone().into_iter().collect(),
            Ok(_) => Vec::new(),
        }
    }

    fn format_error(&mut self, path: Option<&str>, error: &Error, single: bool, counts: bool) -> Vec<String> {
        // A signal stops all files, and is reported once. An item that exists nevertheless is reported too.
        let interrupted = error.code() == Code::Interrupted && error.item().is_none();
        if interrupted && std::mem::replace(&mut self.interrupted, true) {
            return Vec::new();
        }
        // The failure of the folder has been reported.
        let folder = match error.without_hint_wrappers() {
            Error::Folder { path: folder, .. } if !self.folders.insert(folder.clone()) => return Vec::new(),
            Error::Folder { path: folder, .. } => Some(folder.as_str()),
            _ => None,
        };
        // Its message names the folder.
        let path = path.filter(|_| folder.is_none());
        let path = match path.filter(|_| single || !interrupted) {
            Some("-") => "standard input: ".to_owned(),
            Some(path) => format!("{}: ", safe(path)),
            None => String::new(),
        };
        let message = chain(error);
        // Only our own messages about configuration have several lines (TOML's snippet).
        let message = match error {
            Error::Message { code: Code::Usage, .. } => safe_lines(&message),
            _ => safe(&message).into_owned(),
        };
        // Problems with local files are fixed one by one, so each is named.
        if counts
            && error.code() != Code::LocalFile
            && is_one_more(&mut self.causes, cause(error), self.verbose)
        {
            return Vec::new();
        }
        let mut lines = vec![format!("{} {path}{message}", self.styles.red("error:"))];
        if let Some(hint) = error.hint().filter(|hint| self.hints.insert(hint.clone())) {
            lines.push(format!("{} {}", self.styles.cyan("hint:"), safe(&hint)));
        }
        lines
    }

    /// The last line. `None` if an error has been printed instead.
    fn summary_line(&mut self, summary: &Summary, state: &State) -> Option<String> {
        if summary.files() == 0 {
            return match state.folders_created {
                0 if summary.is_list_cut || summary.signal.is_some() => None,
                0 => Some("nothing to upload".to_owned()),
                folders => Some(format!("no file to upload; created {}", plural(folders, "folder"))),
            };
        }
        if summary.files() == 1 && state.single() {
            return self.result_line.take();
        }
        let otherwise = summary.interrupted + summary.unsettled + summary.unverified;
        let mut line = format!("uploaded {}", plural(summary.uploaded, "file"));
        if summary.earlier > 0 {
            line.push_str(&format!(" ({} earlier)", summary.earlier));
        }
        for (count, what) in [
            (summary.verified, "verified"),
            (summary.unverified, "created but not verified"),
            (summary.skipped, "skipped"),
            (summary.failed.saturating_sub(otherwise), "failed"),
            (summary.folders_failed, "folders failed"),
            (summary.unsettled, "unsettled"),
            (summary.interrupted, "interrupted"),
        ] {
            if count > 0 {
                line.push_str(&format!(", {what} {count}"));
            }
        }
        line.push_str(&format!(": {}", effort(summary.bytes, summary.resumed_bytes, summary.elapsed)));
        if summary.kept_bytes > 0 {
            line.push_str(&format!("; {} of unfinished files kept", bytes(summary.kept_bytes)));
        }
        Some(line)
    }

    /// Lines about warnings and errors that were only counted.
    fn more(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for (head, counts) in [
            (self.styles.yellow("warning:"), std::mem::take(&mut self.warned)),
            (self.styles.red("error:"), std::mem::take(&mut self.causes)),
        ] {
            for (what, count) in counts {
                if count > MAX_NAMED && self.verbose == 0 {
                    let (more, what) = (count - MAX_NAMED, safe(what.trim_end()));
                    lines.push(format!("{head} {more} more (-v names them): {what}"));
                }
            }
        }
        lines
    }
}

/// Whether enough have been named that this one is only counted.
fn is_one_more(counts: &mut BTreeMap<String, u64>, what: String, verbose: u8) -> bool {
    if !counts.contains_key(&what) && counts.len() == MAX_CAUSES {
        return false;
    }
    let count = counts.entry(what).or_default();
    *count += 1;
    *count > MAX_NAMED && verbose == 0
}

/// The last line of a dry run: `3 files, 1.2 GiB, 2 folders`.
fn plan(files: u64, size: u64, folders: u64) -> String {
    match (files, folders) {
        (0, 0) => "nothing matches".to_owned(),
        (_, 0) => format!("{}, {}", plural(files, "file"), bytes(size)),
        _ => format!("{}, {}, {}", plural(files, "file"), bytes(size), plural(folders, "folder")),
    }
}

/// The cause that errors of several files share: without the folder, the part and the number of attempts.
fn cause(error: &Error) -> String {
    let text = match error.without_hint_wrappers() {
        Error::Folder { error, .. } | Error::Shared(error) => return cause(error),
        Error::Part { failure, .. } => failure.to_string(),
        error => chain(error),
    };
    text.split(" (after ").next().unwrap_or_default().to_owned()
}

/// `retry: report.pdf: part 3 again in 4.0s (retry 2): 503 SlowDown`.
pub(super) fn retry_line(event: &Event<'_>, state: &State, styles: Styles) -> Option<String> {
    let Event::Retry { file, what, retry, cause, wait, .. } = event else { return None };
    let file = file.and_then(|id| state.upload(id)).map(|upload| format!("{}: ", upload.label));
    let (head, wait) = (styles.dim("retry:"), human_duration(*wait));
    let file = file.unwrap_or_default();
    Some(format!("{head} {file}{} again in {wait} (retry {retry}): {}", safe(what), safe(cause)))
}

/// What a file waits for; `None` if the rows of its parts show it.
pub(super) fn phase_text(file: &File) -> Option<String> {
    let words = match file.phase {
        Phase::Wait => "waiting for another copera-upload that is uploading it",
        Phase::Folder => "looking at the folder",
        Phase::Spool => "reading standard input",
        Phase::Check => "comparing with the earlier run",
        Phase::Start => "starting",
        Phase::Sign => "getting signed URLs",
        Phase::Send => return None,
        Phase::Finalize => "finalizing",
        Phase::Settle => "finding out whether it was made",
        Phase::Verify => "verifying",
    };
    Some(match (file.bytes, &file.upload) {
        (0, _) => words.to_owned(),
        (read, None) => format!("{words}, {} so far,", bytes(read)),
        (compared, Some(upload)) => format!("{words}, {}", part_of(compared, upload.size)),
    })
}

/// `1.2 GiB in 1m 10s (17.5 MiB/s)`; the rate does not include bytes from an earlier run.
fn effort(total: u64, resumed: u64, elapsed: std::time::Duration) -> String {
    let mut line = bytes(total);
    if resumed > 0 {
        line.push_str(&format!(" ({} of it earlier)", bytes(resumed)));
    }
    line.push_str(&format!(" in {}", human_duration(elapsed)));
    let sent = total.saturating_sub(resumed);
    // A rate over a few milliseconds is noise.
    if sent > 0 && elapsed.as_millis() >= 10 {
        line.push_str(&format!(" ({})", rate(sent as f64 / elapsed.as_secs_f64())));
    }
    line
}

fn result_line(label: &str, outcome: &Outcome) -> String {
    if outcome.status() == Status::Skipped {
        return format!("skipped {label}: already exists");
    }
    let verified = if outcome.verified().is_some() { ", verified" } else { "" };
    let effort = effort(outcome.bytes, outcome.resumed_bytes, outcome.elapsed);
    format!("uploaded {label}: {effort}{verified}")
}

#[cfg(test)]
#[path = "human_tests.rs"]
mod tests;
