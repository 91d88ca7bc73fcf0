//! Characters and colors of the progress on a terminal.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use super::text::Styles;
use crate::mutex::lock;

/// Characters and colors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Theme {
    pub(super) unicode: bool,
    pub(super) styles: Styles,
}

impl Theme {
    /// The theme for this terminal.
    pub(super) fn detect(styles: Styles) -> Self {
        // indicatif's styles use console's setting.
        console::set_colors_enabled(styles.0);
        Self { unicode: shows_unicode(), styles }
    }

    /// What stands for text that was cut, one column wide.
    pub(super) fn dots(self) -> &'static str {
        if self.unicode { "…" } else { "~" }
    }

    /// One of ten frames per second.
    pub(super) fn spinner(self, elapsed: Duration) -> char {
        let frames = if self.unicode { "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏" } else { "-\\|/" };
        let tenths = (elapsed.as_millis() / 100) as usize;
        frames.chars().cycle().nth(tenths % 20).unwrap_or(' ')
    }

    /// A bar, drawn by indicatif.
    pub(super) fn bar(self, columns: usize, percent: u8) -> String {
        if columns == 0 {
            return String::new();
        }
        let style = ProgressStyle::with_template(&format!("{{bar:{columns}./dim}}"))
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars(if self.unicode { "━╸─" } else { "#>-" });
        let line = Line::default();
        let target = ProgressDrawTarget::term_like(Box::new(line.clone()));
        let bar = ProgressBar::with_draw_target(Some(100), target).with_style(style);
        bar.set_position(percent.into());
        let text = std::mem::take(&mut *lock(&line.0));
        text.trim_end().to_owned()
    }
}

/// Whether the terminal probably shows more than ASCII.
fn shows_unicode() -> bool {
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

/// A terminal of one line, which keeps what indicatif writes.
///
/// On a real terminal, indicatif fills each line up to the last column, and later moves up by as many rows as it drew. If
/// the terminal has become narrower meanwhile, its lines have wrapped, and stale rows are left behind
/// (<https://github.com/console-rs/indicatif/issues/182>). So [`Screen`](super::screen::Screen) places the lines.
#[derive(Debug, Clone, Default)]
struct Line(Arc<Mutex<String>>);

impl TermLike for Line {
    /// Wider than any bar.
    fn width(&self) -> u16 {
        100
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
        lock(&self.0).push_str(text);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}
