//! Progress on stderr: bars, lines or JSON, chosen once at the start.

mod bars;
mod human;
mod in_flight;
mod json;
mod layout;
mod plain;
mod rate;
mod renderer;
mod screen;
mod state;
#[cfg(test)]
mod testing;
mod text;
mod theme;

use std::io::IsTerminal as _;
use std::sync::Arc;

use self::renderer::{Formatter, Renderer, Results};
use crate::event::Reporter;
use crate::options::{Display, LogFormat, ProgressMode};
use crate::platform;

/// Starts the renderer: JSON for machines; for people, bars where they can be drawn and lines elsewhere.
pub fn choose(display: &Display) -> Arc<dyn Reporter> {
    let stderr = std::io::stderr();
    let is_terminal = stderr.is_terminal();
    let wants_progress = !display.quiet && display.progress != ProgressMode::None;
    let is_drawable = is_terminal && (display.progress == ProgressMode::Bar || bars::Bars::drawable());
    let draws = wants_progress
        && display.progress != ProgressMode::Plain
        && display.log_format == LogFormat::Human
        && is_drawable;
    let styles = text::Styles(display.color.is_enabled(is_terminal));
    let human = || human::Human::new(display, styles);
    let (formatter, tick): (Box<dyn Formatter>, _) = match display.log_format {
        LogFormat::Json => (Box::new(json::Json::new(display)), json::Json::TICK),
        LogFormat::Human if draws => {
            (Box::new(bars::Bars::new(human(), theme::Theme::detect(styles))), bars::Bars::TICK)
        }
        LogFormat::Human => (Box::new(plain::Plain::new(human(), wants_progress)), plain::Plain::TICK),
    };
    let results = if draws && std::io::stdout().is_terminal() {
        Results::Terminal
    } else if draws && !platform::stdout_is_file() {
        Results::Pipe
    } else {
        Results::Apart
    };
    // On Windows this also makes the console understand escape codes.
    let out = Box::new(anstream::AutoStream::always_ansi(stderr));
    Arc::new(Renderer::start(formatter, out, wants_progress.then_some(tick), results))
}
