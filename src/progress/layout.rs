//! The rows at the bottom of a terminal.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use super::human::phase_text;
use super::in_flight::{PartRow, PendingRetry};
use super::state::{File, State, percent};
use super::text::{cut_middle, width};
use super::theme::Theme;
use crate::format::{bytes, clock, human_duration, rate};

/// A shorter run is not drawn.
const SHORT: Duration = Duration::from_millis(300);
/// With several files, a phase that lasts this long gets a row.
const SLOW: Duration = Duration::from_secs(1);
/// From this width on, the total fits on one row.
const WIDE: usize = 60;
/// Longer bars would not show more.
const MAX_BAR: usize = 50;

/// One row. It may be too long: it is cut once it is drawn.
pub(super) enum Row {
    /// A bar of this many columns between two texts.
    Bar { label: String, columns: usize, percent: u8, text: String },
    /// Something that is waited for.
    Spinner { indent: &'static str, text: String },
    /// Text alone.
    Text(String),
}

/// The rows for this many columns and a terminal of this height; none if there is nothing to show.
pub(super) fn rows(state: &State, now: Instant, columns: usize, height: usize, theme: Theme) -> Vec<Row> {
    if state.finished || state.elapsed(now) < SHORT || columns == 0 {
        return Vec::new();
    }
    let layout = Layout::new(state, now, columns, theme);
    let (files, ended) = state.files();
    let mut rows = if state.started().next().is_some() || ended > 0 {
        layout.total()
    } else if !state.complete() {
        vec![Row::Spinner { indent: "", text: format!("looking for files: {files} so far") }]
    } else {
        Vec::new()
    };
    let mut below: Vec<_> = state.in_flight.rows(now).iter().map(|row| layout.part(row)).collect();
    below.extend(state.waits().filter_map(|file| layout.wait(file)));
    if let Some((what, retry)) = &state.retry {
        below.push(layout.spinner(what, Duration::ZERO, Some(retry)));
    }
    // Leaves the cursor's line and some earlier output.
    let room = height.saturating_sub(3 + rows.len());
    if below.len() > room {
        let shown = room.saturating_sub(1);
        let more = format!("  {} and {} more", theme.dots(), below.len() - shown);
        below.truncate(shown);
        below.push(Row::Text(theme.styles.dim(&more)));
        below.truncate(room);
    }
    rows.extend(below);
    rows
}

/// How a frame divides its columns, so that bars are aligned.
struct Layout<'a> {
    state: &'a State,
    now: Instant,
    theme: Theme,
    columns: usize,
    wide: bool,
    label_width: usize,
    bar_width: usize,
    /// Percentage, bytes, rate and time left of the total.
    right: String,
}

impl<'a> Layout<'a> {
    fn new(state: &'a State, now: Instant, columns: usize, theme: Theme) -> Self {
        let wide = columns >= WIDE;
        let percent = state.percent();
        let mut right = format!("  {percent:>3}%");
        if wide {
            right.push_str(&format!("  {:>8}/{}", bytes(state.done()), bytes(state.total())));
        }
        // When all parts are in storage, there is neither a rate nor a time left.
        let (speed, left) = match percent {
            100 => (String::new(), String::new()),
            _ => (
                state.rate().map_or_else(|| "--".to_owned(), rate),
                state.time_left().map_or_else(|| "--:--".to_owned(), clock),
            ),
        };
        right.push_str(&format!("  {speed:>10}  {left:<5}"));
        let name = match state.started().next() {
            Some(file) if state.single() => width(&file.label).max(width(&format!("  part {}", file.parts))),
            _ => columns,
        };
        let label_width =
            if wide { name.clamp(10, columns / 4) } else { columns.saturating_sub(26).clamp(10, 16) };
        let taken = width(&right) + if wide { label_width + 2 } else { 0 };
        let bar_width = columns.saturating_sub(taken).min(MAX_BAR);
        Self { state, now, theme, columns, wide, label_width, bar_width, right }
    }

    fn pad<'b>(&self, label: &'b str) -> Cow<'b, str> {
        console::pad_str(label, self.label_width, console::Alignment::Left, None)
    }

    /// The rows about the total: two on a narrow terminal.
    fn total(&self) -> Vec<Row> {
        let (state, dots) = (self.state, self.theme.dots());
        let (files, ended) = state.files();
        let name = match (state.started().next(), &state.last) {
            (Some(file), _) if state.single() => file.label.to_string(),
            (_, Some(ended)) if state.single() => ended.to_string(),
            _ => format!("{ended}/{files}{} files", if state.complete() { "" } else { "+" }),
        };
        let bar = |label| {
            let (percent, text) = (state.percent(), self.right.clone());
            Row::Bar { label, columns: self.bar_width, percent, text }
        };
        if self.wide {
            return vec![bar(format!("{}  ", self.pad(&cut_middle(&name, self.label_width, dots))))];
        }
        let amount = format!("  {}/{}", bytes(state.done()), bytes(state.total()));
        let room = self.columns.saturating_sub(width(&amount));
        vec![Row::Text(format!("{}{amount}", cut_middle(&name, room, dots))), bar(String::new())]
    }

    /// The row of a part.
    fn part(&self, row: &PartRow) -> Row {
        let styles = self.theme.styles;
        let label = self.part_label(row);
        let label = self.pad(&label);
        // On a narrow terminal, the note says more than the progress.
        if let (Some(note), false) = (&row.note, self.wide) {
            return Row::Text(format!("{label}  {}", styles.yellow(note)));
        }
        // Accepted bytes may not be stored yet.
        let percent = if row.done { 100 } else { percent(row.acked, row.size) };
        let amount = match &row.note {
            Some(note) => styles.yellow(note),
            None if self.wide => styles.dim(&format!("{:>8}/{}", bytes(row.acked), bytes(row.size))),
            None => styles.dim(&format!("{:>8}", bytes(row.acked))),
        };
        Row::Bar {
            label: format!("{label}  "),
            columns: if self.wide { self.bar_width } else { 8 },
            percent,
            text: format!("  {percent:>3}%  {amount}"),
        }
    }

    fn part_label(&self, row: &PartRow) -> String {
        let room = self.label_width.saturating_sub(2);
        let name = |room| {
            // The path if it fits, else the name: files in one directory differ only by that.
            let name = row.file.rsplit('/').next().filter(|name| !name.is_empty() && width(&row.file) > room);
            cut_middle(name.unwrap_or(&row.file), room, self.theme.dots())
        };
        match row.part {
            None => format!("  {}", name(room)),
            Some(part) if self.state.single() => format!("  part {part}"),
            Some(part) => {
                // On a narrow terminal the number stands alone: rows of one file differ by it.
                let long = format!("part {part}");
                let number = if room >= width(&long) + 9 { long } else { part.to_string() };
                format!("  {} {number}", name(room.saturating_sub(width(&number) + 1)))
            }
        }
    }

    /// The row of a file in a phase that takes time, or with a call that is retried.
    fn wait(&self, file: &File) -> Option<Row> {
        let elapsed = self.now.saturating_duration_since(file.since);
        let words = match (phase_text(file), &file.retry) {
            (Some(words), _) => words,
            (None, Some(_)) => "renewing signed URLs".to_owned(),
            (None, None) => return None,
        };
        let is_short = elapsed < if self.state.single() || file.upload.is_none() { SHORT } else { SLOW };
        if is_short && file.retry.is_none() {
            return None;
        }
        // A single file is named above. Otherwise the name may take half the row.
        let text = match file.upload.as_ref().filter(|_| !self.state.single()) {
            Some(upload) => {
                format!("{}: {words}", cut_middle(&upload.label, self.columns / 2, self.theme.dots()))
            }
            None => words,
        };
        Some(self.spinner(&text, elapsed, file.retry.as_ref()))
    }

    fn spinner(&self, text: &str, elapsed: Duration, retry: Option<&PendingRetry>) -> Row {
        let mut text = text.to_owned();
        match elapsed.as_secs() {
            0 => {}
            // Tenths would only flicker.
            seconds @ 1..10 => text.push_str(&format!(" {seconds}s")),
            _ => text.push_str(&format!(" {}", human_duration(elapsed))),
        }
        if let Some(retry) = retry {
            text.push_str(&format!("  {}", self.theme.styles.yellow(&retry.text(self.now))));
        }
        Row::Spinner { indent: "  ", text }
    }
}
