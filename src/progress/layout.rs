//! What the bars look like: lines of text out of the state, a time and the terminal's size. Pure.
//!
//! No line reaches the last column, where terminals differ in when they wrap; and none is wider, whatever the
//! name or message: fields are dropped and texts cut instead.

use std::time::{Duration, Instant};

use super::human::{early_words, phase_words};
use super::in_flight::Row;
use super::state::State;
use super::text::{Styles, cut_end, cut_middle, pad, width};
use crate::format::{bytes, clock, rate};

/// What is over sooner is not drawn at all.
const SHORT: Duration = Duration::from_millis(300);
/// Of several files, a phase has to last so long to get a line.
const SLOW: Duration = Duration::from_secs(1);
/// From here on everything about the whole fits on one line.
const WIDE: usize = 60;
/// A bar longer than this says no more.
const LONGEST_BAR: usize = 50;

/// The signs and colours that lines are made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Theme {
    pub(super) unicode: bool,
    pub(super) paint: Styles,
}

impl Theme {
    fn dots(self) -> &'static str {
        if self.unicode { "…" } else { "~" }
    }

    fn spinner(self, elapsed: Duration) -> char {
        let frames: &[char] = if self.unicode {
            &['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏']
        } else {
            &['-', '\\', '|', '/']
        };
        let frame = elapsed.as_millis() / 100 % frames.len() as u128;
        frames.get(frame as usize).copied().unwrap_or('-')
    }

    /// A bar of so many columns, full only when `whole`.
    fn bar(self, done: u64, total: u64, whole: bool, columns: usize) -> String {
        let cells = columns as u64 * 2;
        let halves = match whole {
            true => cells,
            false => (u128::from(done) * u128::from(cells) / u128::from(total.max(1))) as u64,
        };
        let halves = halves.min(if whole { cells } else { cells.saturating_sub(1) }) as usize;
        let (full, half, rest) = if self.unicode { ("━", "╸", "─") } else { ("#", ">", "-") };
        let mut bar = full.repeat(halves / 2);
        if halves % 2 == 1 {
            bar.push_str(half);
        }
        bar + &self.paint.dim(&rest.repeat(columns - halves.div_ceil(2)))
    }
}

/// The lines for a terminal of this size; none when there is nothing to see.
pub(super) fn lines(state: &State, now: Instant, columns: usize, rows: usize, look: Theme) -> Vec<String> {
    let running = state.begun.map(|begun| now.saturating_duration_since(begun));
    let Some(running) = running.filter(|running| *running >= SHORT && !state.finished) else {
        return Vec::new();
    };
    let columns = columns.saturating_sub(1);
    let (files, _) = state.files();
    let mut lines = Vec::new();
    let mut below = Vec::new();
    if state.active().next().is_some() || state.files().1 > 0 {
        let frame = Frame::new(state, columns, look);
        lines.extend(frame.whole(state));
        below.extend(state.flight.rows(now).iter().map(|row| frame.part(state, row)));
    } else if !state.complete() {
        let text = format!("{} looking for files: {files} so far", look.spinner(running));
        lines.push(cut_end(&text, columns, look.dots()));
    }
    below.extend(waits(state, now, columns, look));
    // The cursor's line, and a little of what was there before.
    let room = rows.saturating_sub(3 + lines.len());
    if below.len() > room {
        let shown = room.saturating_sub(1);
        let more = format!("  {} and {} more", look.dots(), below.len() - shown);
        below.truncate(shown);
        below.push(look.paint.dim(&cut_end(&more, columns, look.dots())));
        below.truncate(room);
    }
    lines.extend(below);
    lines
}

/// A line for each thing that is waited for: phases, and calls that are tried again.
fn waits(state: &State, now: Instant, columns: usize, look: Theme) -> Vec<String> {
    let single = state.single();
    let line = |elapsed: Duration, text: String, trouble: Option<String>| {
        let mut text = format!("  {} {text}", look.spinner(elapsed));
        if elapsed >= SLOW {
            text.push_str(&format!(" {}", span(elapsed)));
        }
        let text = cut_end(&text, columns, look.dots());
        let room = columns.saturating_sub(width(&text) + 2);
        match trouble.filter(|_| room >= 8) {
            Some(trouble) => format!("{text}  {}", look.paint.yellow(&cut_end(&trouble, room, look.dots()))),
            None => text,
        }
    };
    let files = state.active().filter_map(|file| {
        let elapsed = now.saturating_duration_since(file.since);
        let trouble = file.trouble.as_ref().map(|trouble| trouble.words(now));
        let words = match (phase_words(file.phase), &trouble) {
            (Some(words), _) => words,
            (None, Some(_)) => "renewing signed URLs",
            (None, None) => return None,
        };
        if elapsed < (if single { SHORT } else { SLOW }) && trouble.is_none() {
            return None;
        }
        // The name is above when there is but one; else it may take half the line.
        let name = match single {
            true => String::new(),
            false => format!("{}: ", cut_middle(&file.label, columns / 2, look.dots())),
        };
        Some(line(elapsed, format!("{name}{words}"), trouble))
    });
    let early = state.early().filter_map(|early| {
        let elapsed = now.saturating_duration_since(early.since);
        Some(line(elapsed, early_words(&early).filter(|_| elapsed >= SHORT)?, None))
    });
    let mut lines: Vec<_> = early.chain(files).collect();
    if let Some((what, trouble)) = &state.trouble {
        lines.push(line(Duration::ZERO, what.clone(), Some(trouble.words(now))));
    }
    lines
}

/// `12s`, `1m 05s`: no tenths, which would only flicker.
fn span(elapsed: Duration) -> String {
    match elapsed.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds => format!("{}m {:02}s", seconds / 60, seconds % 60),
    }
}

/// How one picture divides its columns: bars stand below each other.
struct Frame {
    columns: usize,
    label: usize,
    bar: usize,
    /// Percent, bytes, rate and time left of the whole, as far as there is room.
    right: String,
    look: Theme,
}

impl Frame {
    fn new(state: &State, columns: usize, look: Theme) -> Self {
        let wide = columns >= WIDE;
        let percent = state.percent();
        // With all parts in storage there is neither a rate nor anything left to wait for here.
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
        let taken = width(&right) + if wide { label + 2 } else { 0 };
        Self { columns, label, bar: columns.saturating_sub(taken).min(LONGEST_BAR), right, look }
    }

    fn name(&self, state: &State) -> String {
        let (files, ended) = state.files();
        match (state.active().next(), &state.last) {
            (Some(file), _) if state.single() => file.label.clone(),
            (_, Some(ended)) if state.single() => ended.label.clone(),
            _ => format!("{ended}/{files}{} files", if state.complete() { "" } else { "+" }),
        }
    }

    /// The line about everything; two where the terminal is narrow.
    fn whole(&self, state: &State) -> Vec<String> {
        let dots = self.look.dots();
        let bar = self.look.bar(state.done(), state.total(), state.percent() == 100, self.bar);
        let name = self.name(state);
        if self.columns >= WIDE {
            let name = pad(&cut_middle(&name, self.label, dots), self.label);
            return vec![format!("{name}  {bar}{}", self.right)];
        }
        let amount = format!("  {}/{}", bytes(state.done()), bytes(state.total()));
        let room = self.columns.saturating_sub(width(&amount));
        let first = match room >= 10 {
            true => format!("{}{amount}", cut_middle(&name, room, dots)),
            false => cut_middle(&name, self.columns, dots),
        };
        let second = format!("{bar}{}", self.right);
        let second = if self.bar == 0 { second.trim().to_owned() } else { second };
        vec![first, if width(&second) <= self.columns { second } else { String::new() }]
    }

    /// One part's line.
    fn part(&self, state: &State, row: &Row) -> String {
        let (dots, paint) = (self.look.dots(), self.look.paint);
        let label = pad(&self.part_label(state, row), self.label.min(self.columns));
        let percent = match row.done {
            true => 100,
            // All bytes taken is not yet all bytes stored.
            false => (u128::from(row.taken) * 100 / u128::from(row.size.max(1))).min(99),
        };
        let wide = self.columns >= WIDE;
        let bar = if wide { self.bar } else { 8 };
        let room = self.columns.saturating_sub(self.label + bar + 10);
        match &row.note {
            // Narrow, what is the matter says more than how far it is.
            Some(note) if !wide && self.columns >= self.label + 10 => {
                let room = self.columns - self.label - 2;
                format!("{label}  {}", paint.yellow(&cut_end(note, room, dots)))
            }
            _ if self.columns < self.label + bar + 8 => cut_end(label.trim_end(), self.columns, dots),
            note => {
                let drawn = self.look.bar(row.taken, row.size, row.done, bar);
                let amount = match note {
                    Some(note) => paint.yellow(&cut_end(note, room, dots)),
                    None if wide => paint.dim(&format!("{:>8}/{}", bytes(row.taken), bytes(row.size))),
                    None if room >= 8 => paint.dim(&format!("{:>8}", bytes(row.taken))),
                    None => String::new(),
                };
                format!("{label}  {drawn}  {percent:>3}%  {amount}").trim_end().to_owned()
            }
        }
    }

    fn part_label(&self, state: &State, row: &Row) -> String {
        let dots = self.look.dots();
        let number = format!("part {}", row.number);
        let room = self.label.saturating_sub(2);
        let file = state.file(row.file);
        let text = match file {
            _ if state.single() => number,
            Some(file) if file.parts <= 1 => name(&file.label, room, dots),
            // Where a name would be cut to nothing, it is left out.
            Some(file) if room >= width(&number) + 9 => {
                format!("{} {number}", name(&file.label, room - width(&number) - 1, dots))
            }
            Some(file) => name(&file.label, room, dots),
            None => number,
        };
        format!("  {}", cut_end(&text, room, dots))
    }
}

/// A file's path where there is room for it, else its name: many in one directory differ by that alone.
fn name(label: &str, room: usize, dots: &str) -> String {
    let name = label.rsplit('/').next().filter(|name| !name.is_empty() && width(label) > room);
    cut_middle(name.unwrap_or(label), room, dots)
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
