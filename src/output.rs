//! Results on stdout. Each is written whole and flushed as soon as its file is done.

use std::io::{self, IsTerminal as _, Write};
use std::sync::Mutex;

use serde_json::value::RawValue;

use crate::error::{Code, chain};
use crate::format::{safe, safe_json, seconds};
use crate::item::Item;
use crate::mutex::lock;
use crate::options::OutputMode;
use crate::outcome::{Outcome, Status, Verified};
use crate::platform;

/// Writes results in the selected mode.
pub struct Output {
    mode: OutputMode,
    terminal: bool,
    /// Needed by [`OutputMode::Url`].
    pages: Option<Pages>,
    /// `None` after a failed write.
    out: Mutex<Option<Box<dyn Write + Send>>>,
}

impl Output {
    /// Writes to the process's stdout.
    pub fn stdout(mode: OutputMode, pages: Option<Pages>) -> Self {
        let stdout = io::stdout();
        Self::new(mode, pages, stdout.is_terminal(), stdout)
    }

    /// Writes to `out`. `terminal` selects the layout and escapes control characters.
    pub fn new(
        mode: OutputMode,
        pages: Option<Pages>,
        terminal: bool,
        out: impl Write + Send + 'static,
    ) -> Self {
        Self { mode, terminal, pages, out: Mutex::new(Some(Box::new(out))) }
    }

    /// Prints the result of one file: its item, or its row of the report.
    /// The error is the first write that fails; later results are dropped. A closed pipe (`| head`) is not an error.
    pub fn result(&self, outcome: &Outcome) -> io::Result<()> {
        let item = outcome.result.as_ref().ok().map(|done| &done.item);
        let text = match (self.mode, item) {
            (OutputMode::Json, Some(item)) if self.terminal => self.shown(&item.indented()),
            (OutputMode::Json, Some(item)) => item.compact().get().to_owned(),
            (OutputMode::Id, Some(item)) if self.terminal => safe(item.id()).into_owned(),
            (OutputMode::Id, Some(item)) => item.id().to_owned(),
            (OutputMode::Url, Some(item)) => match &self.pages {
                Some(pages) => pages.of(item.id()),
                None => return Err(io::Error::other("the workspace's name is not known")),
            },
            (OutputMode::Report, _) => self.shown(&report_row(outcome)?),
            (OutputMode::None, _) | (_, None) => return Ok(()),
        };
        self.line(&text)
    }

    /// Prints one line of a plan, whatever the mode.
    pub fn dry_run_line(&self, json: &str) -> io::Result<()> {
        self.line(&self.shown(json))
    }

    /// Escapes control characters for a terminal. Otherwise the text is unchanged.
    fn shown(&self, json: &str) -> String {
        if self.terminal { safe_json(json).into_owned() } else { json.to_owned() }
    }

    fn line(&self, text: &str) -> io::Result<()> {
        let mut writer = lock(&self.out);
        let Some(out) = writer.as_mut() else { return Ok(()) };
        // A single write, so that lines of two programs that share a pipe do not mix.
        let written = out.write_all(format!("{text}\n").as_bytes()).and_then(|()| out.flush());
        if let Err(error) = written {
            *writer = None;
            if !platform::is_broken_pipe(&error) {
                return Err(error);
            }
        }
        Ok(())
    }
}

/// The address of items' pages (official CLI: `https://app.copera.ai/<slug>/drive/c/<id>`).
#[derive(Debug)]
pub struct Pages(reqwest::Url);

impl Pages {
    /// The pages of the workspace with this slug; `None` if the slug is not valid.
    pub fn of_workspace(slug: &str) -> Option<Self> {
        let mut url = reqwest::Url::parse("https://app.copera.ai").ok()?;
        // Appended as segments, so that no name can change the rest of the path.
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

/// One file's row of the report, as one line of JSON.
fn report_row(outcome: &Outcome) -> serde_json::Result<String> {
    #[derive(serde::Serialize)]
    struct Row<'a> {
        path: &'a str,
        status: Status,
        #[serde(skip_serializing_if = "Option::is_none")]
        item: Option<Box<RawValue>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        verified: Option<Verified>,
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
    serde_json::to_string(&Row {
        path: &outcome.path,
        status: outcome.status(),
        item: outcome.item().map(Item::compact),
        verified: outcome.verified(),
        error: outcome.result.as_ref().err().map(|error| RowError {
            code: error.code(),
            message: chain(error),
            hint: error.hint(),
            exit_code: error.exit_code(),
        }),
        bytes: outcome.bytes,
        sent_bytes: outcome.sent_bytes,
        resumed_bytes: outcome.resumed_bytes,
        retries: outcome.retries,
        seconds: seconds(outcome.elapsed),
    })
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
