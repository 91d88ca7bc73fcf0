//! Bars at the bottom of a terminal, drawn by indicatif. Messages go above them, and one line stays at the end.

use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::human::Human;
use super::layout::{BAR_LENGTH, Row, Theme, rows};
use super::renderer::Formatter;
use super::state::State;
use super::term::FrameBuffer;
use super::text::Styles;
use crate::event::Event;

/// indicatif draws when a bar changes, at most at this rate. Frames are drawn once all bars have changed.
const REDRAWS_PER_SECOND: u8 = 1;

/// Formats messages, and draws bars below them.
pub(super) struct Bars {
    human: Human,
    drawing: Drawing,
}

/// indicatif's bars, one for each row.
pub(super) struct Drawing {
    theme: Theme,
    buffer: FrameBuffer,
    multi: MultiProgress,
    bars: Vec<(ProgressBar, String)>,
}

impl Drawing {
    /// No bars yet.
    pub(super) fn new(theme: Theme) -> Self {
        let buffer = FrameBuffer::default();
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(buffer.clone()), REDRAWS_PER_SECOND);
        Self { theme, buffer, multi: MultiProgress::with_draw_target(target), bars: Vec::new() }
    }

    /// Draws these rows, for a terminal with this many columns.
    pub(super) fn draw(&mut self, rows: &[Row], columns: usize) -> Vec<String> {
        self.buffer.set_columns(columns);
        while self.bars.len() > rows.len() {
            self.bars.pop().inspect(|(bar, _)| self.multi.remove(bar));
        }
        while self.bars.len() < rows.len() {
            let bar = self.multi.add(ProgressBar::new(BAR_LENGTH));
            self.bars.push((bar, String::new()));
        }
        for ((bar, template), row) in self.bars.iter_mut().zip(rows) {
            let wanted = row.template();
            if *template != wanted {
                bar.set_style(self.theme.style(&wanted));
                *template = wanted;
            }
            let (prefix, position, message) = match row {
                Row::Bar { label, position, text, .. } => (label.as_str(), *position, text),
                Row::Spinner { indent, text } => (*indent, 0, text),
                Row::Text(text) => ("", 0, text),
            };
            bar.set_prefix(prefix.to_owned());
            bar.set_message(message.clone());
            bar.set_position(position);
        }
        // Draws all bars, whatever the rate.
        self.multi.suspend(|| {});
        self.buffer.frame()
    }
}

impl Theme {
    /// A style with this theme's characters. The templates are our own, so they are valid.
    fn style(self, template: &str) -> ProgressStyle {
        let (bar, spinner) = match self.unicode {
            true => ("━╸─", "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"),
            false => ("#>-", "-\\|/"),
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        style.progress_chars(bar).tick_chars(spinner)
    }
}

impl Bars {
    /// How often to draw.
    pub(super) const TICK: Duration = Duration::from_millis(100);

    /// Formats messages with `human`.
    pub(super) fn new(human: Human, styles: Styles) -> Self {
        // indicatif's styles use console's setting.
        console::set_colors_enabled(styles.0);
        Self { human, drawing: Drawing::new(Theme { unicode: unicode(), styles }) }
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

/// Whether the terminal probably shows more than ASCII.
fn unicode() -> bool {
    if cfg!(windows) {
        // The old console's fonts lack the characters.
        return std::env::var_os("WT_SESSION").is_some() || std::env::var_os("TERM").is_some();
    }
    // In the order of setlocale(3).
    let locale =
        ["LC_ALL", "LC_CTYPE", "LANG"].iter().filter_map(std::env::var_os).find(|value| !value.is_empty());
    locale.is_some_and(|value| {
        let value = value.to_string_lossy().to_ascii_lowercase();
        value.contains("utf-8") || value.contains("utf8")
    })
}

impl Formatter for Bars {
    fn format_event(&mut self, event: &Event<'_>, state: &State, _: Instant) -> Vec<String> {
        self.human.format(event, state)
    }

    fn render(&mut self, state: &State, now: Instant, columns: usize, height: usize) -> Vec<String> {
        let rows = rows(state, now, columns, height, self.drawing.theme);
        if rows.is_empty() { Vec::new() } else { self.drawing.draw(&rows, columns) }
    }
}
