//! Progress for programs (`--log-format json`). Each line on stderr is an object of `events.schema.json`.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::renderer::{Formatter, ProgressInterval};
use super::state::State;
use crate::error::{Error, chain};
use crate::event::{Event, FileId};
use crate::format::{safe_json, seconds};
use crate::item::Item;
use crate::options::{Display, ProgressMode};
use crate::outcome::Outcome;

/// JSON lines.
pub(super) struct Json {
    quiet: bool,
    verbose: u8,
    progress: bool,
    interval: ProgressInterval,
}

impl Json {
    /// How often to check the time.
    pub(super) const TICK: Duration = Duration::from_millis(500);

    /// JSON lines for these settings.
    pub(super) fn new(display: &Display) -> Self {
        Self {
            quiet: display.quiet,
            verbose: display.verbose,
            progress: !display.quiet && display.progress != ProgressMode::None,
            interval: ProgressInterval::default(),
        }
    }

    fn wants(&self, event: &Event<'_>) -> bool {
        match event {
            Event::Error { .. } | Event::FileDone { .. } | Event::Login { is_prompt: true, .. } => true,
            Event::Verbose { .. } => !self.quiet && self.verbose > 0,
            Event::Request { .. } => !self.quiet && self.verbose > 1,
            _ => !self.quiet,
        }
    }
}

impl Formatter for Json {
    fn format_event(&mut self, event: &Event<'_>, state: &State) -> Vec<String> {
        if !self.wants(event) {
            return Vec::new();
        }
        let object = match event {
            Event::Error { path, error } => about_error(*path, error),
            Event::FileDone { file, outcome } => {
                let error =
                    outcome.result.as_ref().err().map(|error| about_error(Some(&outcome.path), error));
                let file = (!self.quiet).then(|| about_file(*file, outcome));
                return error.into_iter().chain(file).map(line).collect();
            }
            Event::Finished { summary } => json!({
                "event": "done", "uploaded": summary.uploaded, "skipped": summary.skipped, "failed": summary.failed,
                "folders_created": state.folders_created, "folders_failed": summary.folders_failed,
                "bytes": summary.bytes, "resumed_bytes": summary.resumed_bytes, "seconds": seconds(summary.elapsed),
                "exit_code": summary.exit_code(),
            }),
            // Fails for events that are only for drawing. The `progress` event has what they say.
            event => match serde_json::to_value(event) {
                Ok(object) => object,
                Err(_) => return Vec::new(),
            },
        };
        vec![line(object)]
    }

    fn on_tick(&mut self, state: &State, now: Instant) -> Vec<String> {
        if !self.progress || !self.interval.due(state, now) {
            return Vec::new();
        }
        let (files, ended) = state.files();
        vec![line(json!({
            "event": "progress", "percent": state.percent(), "bytes_done": state.done(),
            "bytes_total": state.total(), "files_done": ended, "files_total": files,
            "complete": state.complete(), "bytes_per_second": state.rate().map(|rate| rate as u64),
            "seconds_left": state.time_left().map(|left| left.as_secs()),
            "parts_in_flight": state.in_flight.count(),
            // Of standard input, whose size is unknown until then.
            "bytes_read": Some(state.spooled()).filter(|read| *read > 0),
        }))]
    }
}

fn about_file(file: FileId, outcome: &Outcome) -> Value {
    json!({
        "event": "file", "file": file, "path": outcome.path, "status": outcome.status(), "id": outcome.item().map(Item::id),
        "bytes": outcome.bytes, "verified": outcome.verified(), "sent_bytes": outcome.sent_bytes,
        "resumed_bytes": outcome.resumed_bytes, "retries": outcome.retries, "seconds": seconds(outcome.elapsed),
    })
}

fn about_error(path: Option<&str>, error: &Error) -> Value {
    json!({
        "event": "error", "path": path, "code": error.code(), "message": chain(error), "hint": error.hint(),
        "transient": error.transient(), "exit_code": error.exit_code(),
    })
}

/// Formats an object as one line: adds the time, removes nulls.
fn line(object: Value) -> String {
    let mut fields = Map::new();
    if let Value::Object(object) = object {
        for (key, value) in object.into_iter().filter(|(_, value)| !value.is_null()) {
            fields.insert(key, value);
            if fields.len() == 1 {
                let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
                fields.insert("time".to_owned(), Value::String(time));
            }
        }
    }
    safe_json(&Value::Object(fields).to_string()).into_owned()
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
