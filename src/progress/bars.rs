//! Bars at the bottom of a terminal, drawn by indicatif. Messages go above them, and one line stays at the end.
//!
//! No line reaches the last column, where terminals wrap differently.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, TermLike};

use super::human::Human;
use super::layout::{Row, rows};
use super::renderer::Formatter;
use super::state::State;
use super::theme::Theme;
use crate::event::Event;
use crate::mutex::lock;

/// Formats messages, and draws bars below them.
pub(super) struct Bars {
    human: Human,
    theme: Theme,
    lines: Lines,
    multi: MultiProgress,
    /// One for each row.
    bars: Vec<ProgressBar>,
}

impl Bars {
    /// How often to draw.
    pub(super) const TICK: Duration = Duration::from_millis(100);

    /// Formats messages with `human`.
    pub(super) fn new(human: Human, theme: Theme) -> Self {
        let lines = Lines::default();
        // indicatif also draws when a bar changes. Only the frame at the end counts, so let it do that rarely.
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(lines.clone()), 1);
        Self { human, theme, lines, multi: MultiProgress::with_draw_target(target), bars: Vec::new() }
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

    fn draw(&mut self, rows: &[Row], elapsed: Duration) -> Vec<String> {
        for bar in self.bars.drain(rows.len().min(self.bars.len())..) {
            self.multi.remove(&bar);
        }
        self.bars.resize_with(rows.len(), || self.multi.add(ProgressBar::new(100)));
        for (bar, row) in self.bars.iter().zip(rows) {
            let (template, prefix, percent, message) = match row {
                Row::Bar { label, columns: 0, percent, text } => {
                    ("{prefix}{msg}".to_owned(), label.as_str(), *percent, text)
                }
                Row::Bar { label, columns, percent, text } => {
                    (format!("{{prefix}}{{bar:{columns}./dim}}{{msg}}"), label.as_str(), *percent, text)
                }
                Row::Spinner { indent, text } => ("{prefix}{spinner} {msg}".to_owned(), *indent, 0, text),
                Row::Text(text) => ("{msg}".to_owned(), "", 0, text),
            };
            bar.set_style(self.theme.style(&template, elapsed));
            bar.set_position(percent.into());
            bar.set_prefix(prefix.to_owned());
            // Last, because this always lays the bar out again. A new position does not if it follows too soon.
            bar.set_message(message.clone());
        }
        // Draws all bars, whatever the rate.
        self.multi.suspend(|| lock(&self.lines.0).clear());
        // indicatif fills each line with spaces in a second write.
        lock(&self.lines.0).drain(..).step_by(2).collect()
    }
}

impl Formatter for Bars {
    fn format_event(&mut self, event: &Event<'_>, state: &State) -> Vec<String> {
        self.human.format(event, state)
    }

    fn render(&mut self, state: &State, now: Instant, columns: usize, height: usize) -> Vec<String> {
        let columns = columns.saturating_sub(1);
        let rows = rows(state, now, columns, height, self.theme);
        let lines = self.draw(&rows, state.elapsed(now));
        let cut = |line: &String| console::truncate_str(line.trim_end(), columns, self.theme.dots()).into();
        lines.iter().map(cut).collect()
    }
}

/// A terminal that keeps what indicatif writes, for [`Screen`](super::screen::Screen) to place.
///
/// On a real terminal, indicatif fills each line up to the last column, and later moves up by as many rows as it drew. If
/// the terminal has become narrower meanwhile, its lines have wrapped, and stale rows are left behind
/// (<https://github.com/console-rs/indicatif/issues/182>).
#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl TermLike for Lines {
    /// Fixed, because lines are cut later.
    fn width(&self) -> u16 {
        1000
    }

    /// Unlimited, because the layout leaves out what does not fit, and says so.
    fn height(&self) -> u16 {
        u16::MAX
    }

    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        lock(&self.0).push(text.to_owned());
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[path = "bars_tests.rs"]
mod tests;
