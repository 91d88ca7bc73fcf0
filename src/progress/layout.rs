//! Computes the rows at the bottom of a terminal from the state, the time and the terminal's size.
//!
//! No row reaches the last column, where terminals wrap differently. Fields are dropped and texts are cut so that every
//! row fits.

use std::time::{Duration, Instant};

use super::human::{early_text, file_text};
use super::in_flight::PartRow;
use super::state::State;
use super::text::{Styles, cut_end, cut_middle, pad, width};
use crate::format::{bytes, clock, rate};

/// A shorter run is not drawn.
const SHORT: Duration = Duration::from_millis(300);
/// With several files, a phase that lasts this long gets a row.
const SLOW: Duration = Duration::from_secs(1);
/// From this width on, the total fits on one row.
const WIDE: usize = 60;
/// Longer bars would not show more.
const MAX_BAR: usize = 50;

/// The length of every bar. Positions come from the model, which does not reach the end before all parts are in storage.
pub(super) const BAR_LENGTH: u64 = 10_000;

/// Characters and colors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Theme {
    pub(super) unicode: bool,
    pub(super) styles: Styles,
}

impl Theme {
    fn dots(self) -> &'static str {
        if self.unicode { "…" } else { "~" }
    }
}

/// One row at the bottom of the terminal.
#[derive(Debug)]
pub(super) enum Row {
    /// A bar with this many columns between a label and a text. Without columns there is no bar.
    Bar { label: String, columns: usize, position: u64, text: String },
    /// A phase or call that takes time.
    Spinner { indent: &'static str, text: String },
    /// Text alone.
    Text(String),
}

impl Row {
    /// The row in indicatif's template language.
    pub(super) fn template(&self) -> String {
        match self {
            Self::Bar { columns: 0, .. } => "{prefix}{msg}".to_owned(),
            Self::Bar { columns, .. } => format!("{{prefix}}{{bar:{columns}./dim}}{{msg}}"),
            Self::Spinner { .. } => "{prefix}{spinner} {msg}".to_owned(),
            Self::Text(_) => "{msg}".to_owned(),
        }
    }
}

/// The position of a bar. It is only full when everything is in storage.
fn position(done: u64, total: u64, whole: bool) -> u64 {
    match whole {
        true => BAR_LENGTH,
        false => {
            let position = u128::from(done) * u128::from(BAR_LENGTH) / u128::from(total.max(1));
            u64::try_from(position).unwrap_or(BAR_LENGTH).min(BAR_LENGTH - 1)
        }
    }
}

/// The rows for a terminal of this size; none if there is nothing to show.
pub(super) fn rows(state: &State, now: Instant, columns: usize, height: usize, theme: Theme) -> Vec<Row> {
    let is_long = |begun| now.saturating_duration_since(begun) >= SHORT;
    if state.finished || !state.begun.is_some_and(is_long) {
        return Vec::new();
    }
    let columns = columns.saturating_sub(1);
    let (files, _) = state.files();
    let mut lines = Vec::new();
    let mut below = Vec::new();
    if state.active().next().is_some() || state.files().1 > 0 {
        let frame = Frame::new(state, columns, theme);
        lines.extend(frame.whole(state));
        below.extend(state.in_flight.rows(now).iter().map(|row| frame.part(state, row)));
    } else if !state.complete() {
        let text = format!("looking for files: {files} so far");
        lines
            .push(Row::Spinner { indent: "", text: cut_end(&text, columns.saturating_sub(2), theme.dots()) });
    }
    below.extend(waits(state, now, columns, theme));
    // Leaves the cursor's line and some earlier output.
    let room = height.saturating_sub(3 + lines.len());
    if below.len() > room {
        let shown = room.saturating_sub(1);
        let more = format!("  {} and {} more", theme.dots(), below.len() - shown);
        below.truncate(shown);
        below.push(Row::Text(theme.styles.dim(&cut_end(&more, columns, theme.dots()))));
        below.truncate(room);
    }
    lines.extend(below);
    lines
}

/// A row for each phase that takes time and each call that is retried.
fn waits(state: &State, now: Instant, columns: usize, theme: Theme) -> Vec<Row> {
    let single = state.single();
    let line = |elapsed: Duration, text: String, pending_retry: Option<String>| {
        let mut text = text;
        if elapsed >= SLOW {
            text.push_str(&format!(" {}", span(elapsed)));
        }
        // Two columns of indent, the spinner and a space.
        let columns = columns.saturating_sub(4);
        let text = cut_end(&text, columns, theme.dots());
        let room = columns.saturating_sub(width(&text) + 2);
        let text = match pending_retry.filter(|_| room >= 8) {
            Some(pending_retry) => {
                format!("{text}  {}", theme.styles.yellow(&cut_end(&pending_retry, room, theme.dots())))
            }
            None => text,
        };
        match columns {
            0 => Row::Text(String::new()),
            _ => Row::Spinner { indent: "  ", text },
        }
    };
    let files = state.active().filter_map(|file| {
        let elapsed = now.saturating_duration_since(file.since);
        let pending_retry = file.pending_retry.as_ref().map(|pending_retry| pending_retry.text(now));
        let words = match (file_text(file), &pending_retry) {
            (Some(words), _) => words,
            (None, Some(_)) => "renewing signed URLs".to_owned(),
            (None, None) => return None,
        };
        if elapsed < (if single { SHORT } else { SLOW }) && pending_retry.is_none() {
            return None;
        }
        // A single file is named above. Otherwise the name may take half the row.
        let name = match single {
            true => String::new(),
            false => format!("{}: ", cut_middle(&file.label, columns / 2, theme.dots())),
        };
        Some(line(elapsed, format!("{name}{words}"), pending_retry))
    });
    let early = state.early().filter_map(|early| {
        let elapsed = now.saturating_duration_since(early.since);
        Some(line(elapsed, early_text(&early).filter(|_| elapsed >= SHORT)?, None))
    });
    let mut lines: Vec<_> = early.chain(files).collect();
    if let Some((what, pending_retry)) = &state.pending_retry {
        lines.push(line(Duration::ZERO, what.clone(), Some(pending_retry.text(now))));
    }
    lines
}

/// `12s`, `1m 05s`. Tenths would only flicker.
fn span(elapsed: Duration) -> String {
    match elapsed.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds => format!("{}m {:02}s", seconds / 60, seconds % 60),
    }
}

/// How a frame divides its columns, so that bars are aligned.
struct Frame {
    columns: usize,
    label: usize,
    bar: usize,
    /// Percentage, bytes, rate and time left of the whole, as far as they fit.
    right: String,
    theme: Theme,
}

impl Frame {
    fn new(state: &State, columns: usize, theme: Theme) -> Self {
        let wide = columns >= WIDE;
        let percent = state.percent();
        // When all parts are in storage, there is no rate, and no time left to tell.
        let (speed, left) = match percent {
            100 => (String::new(), String::new()),
            _ => (
                state.rate().map_or_else(|| "--".to_owned(), rate),
                state.time_left().map_or_else(|| "--:--".to_owned(), clock),
            ),
        };
        let mut right = format!("  {percent:>3}%");
        if wide {
            right.push_str(&format!("  {:>8}/{}", bytes(state.done()), bytes(state.total())));
        }
        if columns >= 33 {
            right.push_str(&format!("  {speed:>10}"));
        }
        if columns >= 20 {
            right.push_str(&format!("  {left:<5}"));
        }
        let name = match state.active().next() {
            Some(file) if state.single() => width(&file.label),
            _ => columns,
        };
        let label = if wide { name.clamp(10, columns / 4) } else { columns.saturating_sub(26).clamp(10, 16) };
        let acked = width(&right) + if wide { label + 2 } else { 0 };
        Self { columns, label, bar: columns.saturating_sub(acked).min(MAX_BAR), right, theme }
    }

    fn name(&self, state: &State) -> String {
        let (files, ended) = state.files();
        match (state.active().next(), &state.last) {
            (Some(file), _) if state.single() => file.label.to_string(),
            (_, Some(ended)) if state.single() => ended.label.to_string(),
            _ => format!("{ended}/{files}{} files", if state.complete() { "" } else { "+" }),
        }
    }

    /// The row about the total; two rows on a narrow terminal.
    fn whole(&self, state: &State) -> Vec<Row> {
        let dots = self.theme.dots();
        let position = position(state.done(), state.total(), state.percent() == 100);
        let bar = |label, text| Row::Bar { label, columns: self.bar, position, text };
        let name = self.name(state);
        if self.columns >= WIDE {
            let name = pad(&cut_middle(&name, self.label, dots), self.label);
            return vec![bar(format!("{name}  "), self.right.clone())];
        }
        let amount = format!("  {}/{}", bytes(state.done()), bytes(state.total()));
        let room = self.columns.saturating_sub(width(&amount));
        let first = match room >= 10 {
            true => format!("{}{amount}", cut_middle(&name, room, dots)),
            false => cut_middle(&name, self.columns, dots),
        };
        let text = if self.bar == 0 { self.right.trim().to_owned() } else { self.right.clone() };
        let second = match width(&text) + self.bar <= self.columns {
            true => bar(String::new(), text),
            false => Row::Text(String::new()),
        };
        vec![Row::Text(first), second]
    }

    /// The row of a part.
    fn part(&self, state: &State, row: &PartRow) -> Row {
        let (dots, styles) = (self.theme.dots(), self.theme.styles);
        let label = pad(&self.part_label(state, row), self.label.min(self.columns));
        let percent = match row.done {
            true => 100,
            // Accepted bytes may not be stored yet.
            false => (u128::from(row.acked) * 100 / u128::from(row.size.max(1))).min(99),
        };
        let wide = self.columns >= WIDE;
        let bar = if wide { self.bar } else { 8 };
        let room = self.columns.saturating_sub(self.label + bar + 10);
        match &row.note {
            // On a narrow terminal, the retry says more than the progress.
            Some(note) if !wide && self.columns >= self.label + 10 => {
                let room = self.columns - self.label - 2;
                Row::Text(format!("{label}  {}", styles.yellow(&cut_end(note, room, dots))))
            }
            _ if self.columns < self.label + bar + 8 => {
                Row::Text(cut_end(label.trim_end(), self.columns, dots))
            }
            note => {
                let amount = match note {
                    Some(note) => styles.yellow(&cut_end(note, room, dots)),
                    None if wide => styles.dim(&format!("{:>8}/{}", bytes(row.acked), bytes(row.size))),
                    None if room >= 8 => styles.dim(&format!("{:>8}", bytes(row.acked))),
                    None => String::new(),
                };
                Row::Bar {
                    label: format!("{label}  "),
                    columns: bar,
                    position: position(row.acked, row.size, row.done),
                    text: format!("  {percent:>3}%  {amount}").trim_end().to_owned(),
                }
            }
        }
    }

    fn part_label(&self, state: &State, row: &PartRow) -> String {
        let dots = self.theme.dots();
        let room = self.label.saturating_sub(2);
        let text = match row.part {
            None => name(&row.file, room, dots),
            Some(part) if state.single() => format!("part {part}"),
            // On a narrow terminal the number stands alone: rows of one file differ by it.
            Some(part) => {
                let long = format!("part {part}");
                let number = if room >= width(&long) + 9 { long } else { part.to_string() };
                format!("{} {number}", name(&row.file, room.saturating_sub(width(&number) + 1), dots))
            }
        };
        format!("  {}", cut_end(&text, room, dots))
    }
}

/// A file's path if it fits, else its name: files in one directory differ only by that.
fn name(label: &str, room: usize, dots: &str) -> String {
    let name = label.rsplit('/').next().filter(|name| !name.is_empty() && width(label) > room);
    cut_middle(name.unwrap_or(label), room, dots)
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
