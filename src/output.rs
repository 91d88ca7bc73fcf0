//! Results on stdout, and nothing else: each written whole and flushed the moment its file is done.

use std::io::{self, IsTerminal as _, Write};
use std::sync::{Mutex, OnceLock, PoisonError};

use serde_json::value::RawValue;

use crate::error::{Code, chain};
use crate::outcome::{Outcome, Status};
use crate::platform;
use crate::progress::text::safe_json;
use crate::settings::OutputMode;

/// Writes results in the mode that was asked for.
pub struct Output {
    mode: OutputMode,
    terminal: bool,
    /// Where an item's page is, for [`OutputMode::Url`].
    pages: OnceLock<Pages>,
    /// `None` once writing failed: later results have nowhere to go.
    out: Mutex<Option<Box<dyn Write + Send>>>,
}

impl Output {
    /// The process's stdout.
    pub fn stdout(mode: OutputMode) -> Self {
        let stdout = io::stdout();
        Self::new(mode, stdout.is_terminal(), stdout)
    }

    /// Any other place, which is or is not a terminal.
    pub fn new(mode: OutputMode, terminal: bool, out: impl Write + Send + 'static) -> Self {
        Self { mode, terminal, pages: OnceLock::new(), out: Mutex::new(Some(Box::new(out))) }
    }

    /// Whether [`Output::set_pages`] has to come before the first result.
    pub fn wants_pages(&self) -> bool {
        self.mode == OutputMode::Url
    }

    /// Tells where items' pages are.
    pub fn set_pages(&self, pages: Pages) {
        // Told twice, the first one stays.
        let _ = self.pages.set(pages);
    }

    /// Prints what the mode wants of one file's outcome: its item, if there is one, or its row of the report.
    ///
    /// # Errors
    ///
    /// A write that failed, once; what comes after is dropped. A reader that went away (`| head`) is no error.
    pub fn result(&self, outcome: &Outcome) -> io::Result<()> {
        let item = outcome.result.as_ref().ok().map(|done| &done.item);
        let text = match (self.mode, item) {
            (OutputMode::Json, Some(item)) => {
                let layout = if self.terminal { Layout::Indented } else { Layout::OneLine };
                self.shown(&relayout(item.json(), layout))
            }
            (OutputMode::Id, Some(item)) => match self.terminal {
                true => crate::progress::text::safe(item.id()).into_owned(),
                false => item.id().to_owned(),
            },
            (OutputMode::Url, Some(item)) => match self.pages.get() {
                Some(pages) => pages.of(item.id()),
                None => return Err(io::Error::other("the workspace's name is not known")),
            },
            (OutputMode::Report, _) => self.shown(&report_row(outcome)?),
            (OutputMode::None, _) | (_, None) => return Ok(()),
        };
        self.line(&text)
    }

    /// Prints one line of a plan (JSON), whatever the mode.
    ///
    /// # Errors
    ///
    /// As [`Self::result`].
    pub fn dry_run_line(&self, json: &str) -> io::Result<()> {
        self.line(&self.shown(json))
    }

    /// A terminal gets nothing that it would obey; anything else gets the text as it is.
    fn shown(&self, json: &str) -> String {
        if self.terminal { safe_json(json).into_owned() } else { json.to_owned() }
    }

    fn line(&self, text: &str) -> io::Result<()> {
        let mut place = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(out) = place.as_mut() else { return Ok(()) };
        // One write: lines of two programs that share a pipe do not mix.
        let written = out.write_all(format!("{text}\n").as_bytes()).and_then(|()| out.flush());
        if let Err(error) = written {
            *place = None;
            if !platform::is_broken_pipe(&error) {
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Where the pages of a workspace's files are (cli: `https://app.copera.ai/<slug>/drive/c/<id>`).
#[derive(Debug)]
pub struct Pages(reqwest::Url);

impl Pages {
    /// Those of the workspace with this name in URLs; `None`: it cannot be one.
    pub fn of_workspace(slug: &str) -> Option<Self> {
        let mut url = reqwest::Url::parse("https://app.copera.ai").ok()?;
        // Segment by segment, so that nothing in a name can lead anywhere else.
        url.path_segments_mut().ok()?.push(slug).extend(["drive", "c"]);
        (!slug.is_empty() && url.path().ends_with("/drive/c")).then_some(Self(url))
    }

    fn of(&self, id: &str) -> String {
        let mut url = self.0.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.push(id);
        }
        url.into()
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
fn report_row(outcome: &Outcome) -> serde_json::Result<String> {
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

/// Prints what `--generate` asks for; gives the process's exit code. A reader that went away is no error.
pub fn generated(what: crate::cli::Generate) -> u8 {
    let written = crate::generate::generate(what, &mut io::stdout().lock());
    u8::from(written.is_err_and(|error| !platform::is_broken_pipe(&error)))
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
