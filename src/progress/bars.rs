//! Bars at the bottom of a terminal. Messages go above them, and one line stays at the end.
//!
//! No line reaches the last column, where terminals wrap differently.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use super::human::{Human, phase_text};
use super::in_flight::{PartRow, PendingRetry};
use super::renderer::Formatter;
use super::state::{File, State, percent};
use super::text::{cut_middle, width};
use super::theme::Theme;
use crate::event::Event;
use crate::format::{bytes, clock, human_duration, rate};

/// A shorter run is not drawn.
const SHORT: Duration = Duration::from_millis(300);
/// With several files, a phase that lasts this long gets a line.
const SLOW: Duration = Duration::from_secs(1);
/// From this width on, the total fits on one line.
const WIDE: usize = 60;
/// Longer bars would not show more.
const MAX_BAR: usize = 50;

/// Formats messages, and draws bars below them.
pub(super) struct Bars {
    human: Human,
    theme: Theme,
}

impl Bars {
    /// How often to draw.
    pub(super) const TICK: Duration = Duration::from_millis(100);

    /// Formats messages with `human`.
    pub(super) fn new(human: Human) -> Self {
        Self { theme: Theme::detect(human.styles), human }
    }

    /// Whether the terminal can be drawn on. Dumb terminals and build servers cannot.
    pub(super) fn drawable() -> bool {
        let ci = std::env::var_os("CI").is_some_and(|ci| !ci.is_empty());
        let dumb = match std::env::var_os("TERM") {
            Some(term) => term == "dumb" || term.is_empty(),
            None => cfg!(unix),
        };
        !ci && !dumb
    }
}

impl Formatter for Bars {
    fn format_event(&mut self, event: &Event<'_>, state: &State) -> Vec<String> {
        self.human.format(event, state)
    }

    fn render(&mut self, state: &State, now: Instant, columns: usize, height: usize) -> Vec<String> {
        frame(state, now, columns, height, self.theme)
    }
}

/// The lines for a terminal of this size; none if there is nothing to show.
fn frame(state: &State, now: Instant, columns: usize, height: usize, theme: Theme) -> Vec<String> {
    let elapsed = state.begun.map_or(Duration::ZERO, |begun| now.saturating_duration_since(begun));
    let columns = columns.saturating_sub(1);
    if state.finished || elapsed < SHORT || columns == 0 {
        return Vec::new();
    }
    let spinner = theme.spinner(elapsed);
    let layout = Layout::new(state, now, columns, theme, spinner);
    let (files, ended) = state.files();
    let mut lines = if state.started().next().is_some() || ended > 0 {
        layout.total()
    } else if !state.complete() {
        vec![format!("{spinner} looking for files: {files} so far")]
    } else {
        Vec::new()
    };
    let mut below: Vec<_> = state.in_flight.rows(now).iter().map(|row| layout.part(row)).collect();
    below.extend(state.waits().filter_map(|file| layout.wait(file)));
    if let Some((what, retry)) = &state.retry {
        below.push(layout.wait_line(what, Duration::ZERO, Some(retry)));
    }
    // Leaves the cursor's line and some earlier output.
    let room = height.saturating_sub(3 + lines.len());
    if below.len() > room {
        let shown = room.saturating_sub(1);
        let more = format!("  {} and {} more", theme.dots(), below.len() - shown);
        below.truncate(shown);
        below.push(theme.styles.dim(&more));
        below.truncate(room);
    }
    lines.extend(below);
    lines.iter().map(|line| console::truncate_str(line.trim_end(), columns, theme.dots()).into()).collect()
}

/// How a frame divides its columns, so that bars are aligned.
struct Layout<'a> {
    state: &'a State,
    now: Instant,
    theme: Theme,
    spinner: char,
    columns: usize,
    wide: bool,
    label: usize,
    bar: usize,
    /// Percentage, bytes, rate and time left of the total.
    right: String,
}

impl<'a> Layout<'a> {
    fn new(state: &'a State, now: Instant, columns: usize, theme: Theme, spinner: char) -> Self {
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
        let label = if wide { name.clamp(10, columns / 4) } else { columns.saturating_sub(26).clamp(10, 16) };
        let taken = width(&right) + if wide { label + 2 } else { 0 };
        let bar = columns.saturating_sub(taken).min(MAX_BAR);
        Self { state, now, theme, spinner, columns, wide, label, bar, right }
    }

    fn pad<'b>(&self, label: &'b str) -> Cow<'b, str> {
        console::pad_str(label, self.label, console::Alignment::Left, None)
    }

    /// The lines about the total: two on a narrow terminal.
    fn total(&self) -> Vec<String> {
        let (state, dots) = (self.state, self.theme.dots());
        let (files, ended) = state.files();
        let name = match (state.started().next(), &state.last) {
            (Some(file), _) if state.single() => file.label.to_string(),
            (_, Some(ended)) if state.single() => ended.to_string(),
            _ => format!("{ended}/{files}{} files", if state.complete() { "" } else { "+" }),
        };
        let bar = format!("{}{}", self.theme.bar(self.bar, state.percent()), self.right);
        if self.wide {
            return vec![format!("{}  {bar}", self.pad(&cut_middle(&name, self.label, dots)))];
        }
        let amount = format!("  {}/{}", bytes(state.done()), bytes(state.total()));
        let room = self.columns.saturating_sub(width(&amount));
        vec![format!("{}{amount}", cut_middle(&name, room, dots)), bar]
    }

    /// The line of a part.
    fn part(&self, row: &PartRow) -> String {
        let styles = self.theme.styles;
        let label = self.part_label(row);
        let label = self.pad(&label);
        // On a narrow terminal, the note says more than the progress.
        if let (Some(note), false) = (&row.note, self.wide) {
            return format!("{label}  {}", styles.yellow(note));
        }
        // Accepted bytes may not be stored yet.
        let percent = if row.done { 100 } else { percent(row.acked, row.size) };
        let bar = self.theme.bar(if self.wide { self.bar } else { 8 }, percent);
        let amount = match &row.note {
            Some(note) => styles.yellow(note),
            None if self.wide => styles.dim(&format!("{:>8}/{}", bytes(row.acked), bytes(row.size))),
            None => styles.dim(&format!("{:>8}", bytes(row.acked))),
        };
        format!("{label}  {bar}  {percent:>3}%  {amount}")
    }

    fn part_label(&self, row: &PartRow) -> String {
        let room = self.label.saturating_sub(2);
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

    /// The line of a file in a phase that takes time, or with a call that is retried.
    fn wait(&self, file: &File) -> Option<String> {
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
        // A single file is named above. Otherwise the name may take half the line.
        let text = match file.upload.as_ref().filter(|_| !self.state.single()) {
            Some(upload) => {
                format!("{}: {words}", cut_middle(&upload.label, self.columns / 2, self.theme.dots()))
            }
            None => words,
        };
        Some(self.wait_line(&text, elapsed, file.retry.as_ref()))
    }

    fn wait_line(&self, text: &str, elapsed: Duration, retry: Option<&PendingRetry>) -> String {
        let mut line = format!("  {} {text}", self.spinner);
        match elapsed.as_secs() {
            0 => {}
            // Tenths would only flicker.
            seconds @ 1..10 => line.push_str(&format!(" {seconds}s")),
            _ => line.push_str(&format!(" {}", human_duration(elapsed))),
        }
        if let Some(retry) = retry {
            line.push_str(&format!("  {}", self.theme.styles.yellow(&retry.text(self.now))));
        }
        line
    }
}

#[cfg(test)]
#[path = "bars_tests.rs"]
mod tests;
