//! Characters and colors of the progress on a terminal.

use std::time::Duration;

use indicatif::ProgressStyle;

use super::text::Styles;

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

    /// A style for one of indicatif's templates. `elapsed` chooses the spinner's frame, of ten per second.
    pub(super) fn style(self, template: &str, elapsed: Duration) -> ProgressStyle {
        let (bar, spinner) =
            if self.unicode { ("━╸─", "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏") } else { ("#>-", "-\\|/") };
        let tenths = (elapsed.as_millis() / 100) as usize;
        let frame: String = spinner.chars().cycle().skip(tenths % 20).take(1).collect();
        // The templates are our own, so they are valid.
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        // The second tick string is for finished bars, which we do not have.
        style.progress_chars(bar).tick_strings(&[&frame, ""])
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
