//! Progress on stderr: bars, lines or JSON, chosen once at the start.

mod bars;
mod human;
mod in_flight;
mod json;
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

use crate::event::Reporter;
use crate::options::{Display, LogFormat, ProgressMode};

/// Starts the renderer: JSON for machines; for people, bars where they can be drawn and lines elsewhere.
pub fn choose(display: &Display) -> Arc<dyn Reporter> {
    let stderr = std::io::stderr;
    let wants_progress = !display.quiet && display.progress != ProgressMode::None;
    let styles = text::Styles(display.color.is_enabled(stderr().is_terminal()));
    // On Windows this also makes the console understand escape codes.
    let out = Box::new(anstream::AutoStream::always_ansi(stderr()));
    if display.log_format == LogFormat::Json {
        let period = wants_progress.then_some(json::Json::TICK);
        return Arc::new(renderer::Renderer::start(Box::new(json::Json::new(display)), out, period, false));
    }
    let human = human::Human::new(display, styles);
    let wants_bars = wants_progress && display.progress != ProgressMode::Plain;
    let is_drawable = display.progress == ProgressMode::Bar || bars::Bars::drawable();
    if wants_bars && stderr().is_terminal() && is_drawable {
        let (formatter, shared) = (bars::Bars::new(human, styles), std::io::stdout().is_terminal());
        return Arc::new(renderer::Renderer::start(Box::new(formatter), out, Some(bars::Bars::TICK), shared));
    }
    let period = wants_progress.then_some(plain::Plain::TICK);
    let formatter = plain::Plain::new(human, wants_progress);
    Arc::new(renderer::Renderer::start(Box::new(formatter), out, period, false))
}
