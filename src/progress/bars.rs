//! The face on a terminal: bars at the bottom, messages above them, one line that stays at the end.

use std::time::{Duration, Instant};

use super::human::Human;
use super::layout::{Theme, lines};
use super::renderer::Formatter;
use super::state::State;
use super::text::Styles;
use crate::event::Event;

/// Bars, and words above them.
pub(super) struct Bars {
    words: Human,
    look: Theme,
}

impl Bars {
    /// How often the picture is drawn.
    pub(super) const TICK: Duration = Duration::from_millis(100);

    /// A face with these words.
    pub(super) fn new(words: Human, paint: Styles) -> Self {
        Self { words, look: Theme { unicode: unicode(), paint } }
    }

    /// Whether the terminal can be drawn on: some only print, and so do most build servers that pretend to
    /// have one.
    pub(super) fn drawable() -> bool {
        let ci = std::env::var_os("CI").is_some_and(|ci| !ci.is_empty());
        let dumb = match std::env::var_os("TERM") {
            Some(term) => term == "dumb" || term.is_empty(),
            None => cfg!(unix),
        };
        !ci && !dumb
    }
}

/// Whether the terminal is likely to show more than ASCII.
fn unicode() -> bool {
    if cfg!(windows) {
        // The old console's fonts lack the signs.
        return std::env::var_os("WT_SESSION").is_some() || std::env::var_os("TERM").is_some();
    }
    // As setlocale(3) looks for LC_CTYPE.
    let locale =
        ["LC_ALL", "LC_CTYPE", "LANG"].iter().filter_map(std::env::var_os).find(|value| !value.is_empty());
    locale.is_some_and(|value| {
        let value = value.to_string_lossy().to_ascii_lowercase();
        value.contains("utf-8") || value.contains("utf8")
    })
}

impl Formatter for Bars {
    fn format_event(&mut self, event: &Event<'_>, state: &State, _: Instant) -> Vec<String> {
        self.words.about(event, state)
    }

    fn render(&self, state: &State, now: Instant, columns: usize, rows: usize) -> Vec<String> {
        lines(state, now, columns, rows, self.look)
    }
}
