//! Results on stdout, and nothing else: each written whole and flushed the moment its file is done.

use std::io::{self, IsTerminal as _, Write};

use serde_json::value::RawValue;

use crate::cli::Generate;
use crate::error::{Code, Error, chain};
use crate::outcome::{Outcome, Status};
use crate::report::text::{safe, safe_json};
use crate::settings::OutputMode;

/// Writes results in the mode that was asked for.
pub struct Output {
    mode: OutputMode,
    terminal: bool,
    /// `None` once writing failed: later results have nowhere to go.
    out: Option<Box<dyn Write + Send>>,
}

impl Output {
    /// Results on the process's stdout.
    pub fn to_stdout(mode: OutputMode) -> Self {
        let stdout = io::stdout();
        Self::new(mode, stdout.is_terminal(), stdout)
    }

    /// Results in any other place, which is or is not a terminal.
    pub fn new(mode: OutputMode, terminal: bool, out: impl Write + Send + 'static) -> Self {
        Self { mode, terminal, out: Some(Box::new(out)) }
    }

    /// Prints what the mode wants of one file's outcome: in these modes its item, if there is one.
    ///
    /// # Errors
    ///
    /// A write that failed, once; what comes after is dropped. A reader that went away (`| head`) is no error.
    pub fn outcome(&mut self, outcome: &Outcome) -> Result<(), Error> {
        let item = outcome.result.as_ref().ok().map(|done| &done.item);
        let text = match (self.mode, item) {
            (OutputMode::Json, Some(item)) => {
                let layout = if self.terminal { Layout::Indented } else { Layout::OneLine };
                self.shown(&relayout(item.json(), layout))
            }
            (OutputMode::Id, Some(item)) if self.terminal => safe(item.id()).into_owned(),
            (OutputMode::Id, Some(item)) => item.id().to_owned(),
            (OutputMode::None, _) | (_, None) => return Ok(()),
        };
        self.line(&text)
    }

    /// Prints one line of a plan (JSON), whatever the mode.
    ///
    /// # Errors
    ///
    /// As [`Self::outcome`].
    pub fn dry_run_line(&mut self, json: &str) -> Result<(), Error> {
        let json = self.shown(json);
        self.line(&json)
    }

    /// A terminal gets nothing that it would obey; anything else gets the text as it is.
    fn shown(&self, json: &str) -> String {
        if self.terminal { safe_json(json).into_owned() } else { json.to_owned() }
    }

    fn line(&mut self, text: &str) -> Result<(), Error> {
        let Some(out) = &mut self.out else { return Ok(()) };
        // One write: lines of two programs that share a pipe do not mix.
        let written = out.write_all(format!("{text}\n").as_bytes()).and_then(|()| out.flush());
        if written.is_err() {
            self.out = None;
        }
        judge(written)
    }
}

/// Prints a completion script or the man page.
///
/// # Errors
///
/// A write that failed, unless the reader went away.
pub fn generated(what: Generate) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    judge(crate::generate::generate(what, &mut out).and_then(|()| out.flush()))
}

/// Whoever closed the pipe has read enough.
fn judge(written: io::Result<()>) -> Result<(), Error> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::Stdout(error)),
        _ => Ok(()),
    }
}

/// How JSON is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    Indented,
    OneLine,
}

/// Lays valid JSON out anew by moving the white space between its tokens, which stay as they are: numbers
/// keep their digits, keys their order and their doubles.
fn relayout(json: &str, layout: Layout) -> String {
    let mut out = String::with_capacity(json.len());
    let mut depth = 0usize;
    let mut rest = json.trim_start();
    let break_line = |out: &mut String, depth: usize| {
        if layout == Layout::Indented {
            out.push('\n');
            out.extend(std::iter::repeat_n("  ", depth));
        }
    };
    while let Some(first) = rest.chars().next() {
        let (token, after) = rest.split_at(token_end(rest, first));
        rest = after.trim_start();
        match first {
            '{' | '[' => {
                out.push(first);
                depth += 1;
                if !rest.starts_with(['}', ']']) {
                    break_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                if !out.ends_with(['{', '[']) {
                    break_line(&mut out, depth);
                }
                out.push(first);
            }
            ',' => {
                out.push(first);
                break_line(&mut out, depth);
            }
            ':' => out.push_str(if layout == Layout::Indented { ": " } else { ":" }),
            _ => out.push_str(token),
        }
    }
    out
}

/// Where the token that begins `text` ends.
fn token_end(text: &str, first: char) -> usize {
    match first {
        '{' | '}' | '[' | ']' | ',' | ':' => 1,
        '"' => {
            let mut escaped = false;
            let closing = |c: char| {
                let closes = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                closes
            };
            text[1..].find(closing).map_or(text.len(), |at| at + 2)
        }
        _ => text
            .find(|c: char| c.is_whitespace() || matches!(c, ',' | ':' | '{' | '}' | '[' | ']' | '"'))
            .unwrap_or(text.len()),
    }
}

/// One file's row of the report, as one line of JSON.
///
/// # Errors
///
/// None that can be thought of; serialization could fail by its types.
pub fn report_row(outcome: &Outcome) -> serde_json::Result<String> {
    #[derive(serde::Serialize)]
    struct Row<'a> {
        path: &'a str,
        status: Status,
        #[serde(skip_serializing_if = "Option::is_none")]
        item: Option<Box<RawValue>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<RowError>,
        bytes: u64,
        sent_bytes: u64,
        resumed_bytes: u64,
        retries: u32,
        seconds: f64,
    }
    #[derive(serde::Serialize)]
    struct RowError {
        code: Code,
        message: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
        exit_code: u8,
    }
    let (item, error) = match &outcome.result {
        Ok(done) => (Some(RawValue::from_string(relayout(done.item.json(), Layout::OneLine))?), None),
        Err(error) => {
            let (code, exit_code) = (error.code(), error.exit_code());
            (None, Some(RowError { code, message: chain(error), hint: error.hint(), exit_code }))
        }
    };
    serde_json::to_string(&Row {
        path: &outcome.path,
        status: outcome.status(),
        item,
        error,
        bytes: outcome.bytes,
        sent_bytes: outcome.sent_bytes,
        resumed_bytes: outcome.resumed_bytes,
        retries: outcome.retries,
        seconds: seconds(outcome.elapsed),
    })
}

/// Seconds with milliseconds, as JSON shows durations.
pub(crate) fn seconds(elapsed: std::time::Duration) -> f64 {
    elapsed.as_millis() as f64 / 1000.0
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
