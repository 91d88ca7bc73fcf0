//! Progress without a terminal, for logs and cron mails: few, whole lines without escape codes.

use std::time::{Duration, Instant};

use super::human::{Human, phase_text, retry_line};
use super::renderer::{Formatter, ProgressInterval};
use super::state::State;
use crate::event::Event;
use crate::format::{bytes, human_duration, plural, rate};

/// A shorter upload is not announced.
const SHORT: Duration = Duration::from_secs(3);
/// A retry gets a line if it waits for this long …
const LONG_WAIT: Duration = Duration::from_secs(5);
/// … or if it is at least the third in a row.
const MIN_RETRIES: u32 = 3;

/// Lines for a log.
pub(super) struct Plain {
    human: Human,
    /// False with `--progress none`.
    progress: bool,
    announced: bool,
    interval: ProgressInterval,
    retries: Retries,
}

/// Retries that have not been reported.
#[derive(Default)]
struct Retries {
    /// The last one worth a line.
    line: Option<String>,
    /// Their number since the last line.
    count: u64,
    reported_at: Option<Instant>,
}

impl Plain {
    /// How often to check the time.
    pub(super) const TICK: Duration = Duration::from_millis(500);

    /// Formats messages with `human`.
    pub(super) fn new(human: Human, progress: bool) -> Self {
        Self {
            human,
            progress,
            announced: false,
            interval: ProgressInterval::default(),
            retries: Retries::default(),
        }
    }
}

impl Formatter for Plain {
    fn format_event(&mut self, event: &Event<'_>, state: &State) -> Vec<String> {
        let lines = self.human.format(event, state);
        // With -v, each retry has been reported already.
        if let (Event::Retry { retry, wait, .. }, true) = (event, self.progress && lines.is_empty()) {
            self.retries.count += 1;
            if *wait >= LONG_WAIT || *retry >= MIN_RETRIES {
                self.retries.line = retry_line(event, state, self.human.styles);
            }
        }
        lines
    }

    fn on_tick(&mut self, state: &State, now: Instant) -> Vec<String> {
        let Some(begun) = state.begun.filter(|_| self.progress && !state.finished) else {
            return Vec::new();
        };
        let mut lines = Vec::new();
        if !self.announced
            && state.started().next().is_some()
            && now.saturating_duration_since(begun) >= SHORT
        {
            self.announced = true;
            lines.push(announcement(state));
        }
        lines.extend(self.retries.due(now));
        if self.interval.due(state, now) && (state.waits().next().is_some() || !state.complete()) {
            lines.push(progress_line(state, now));
        }
        lines
    }
}

impl Retries {
    fn due(&mut self, now: Instant) -> Option<String> {
        if self
            .reported_at
            .is_some_and(|reported_at| now.saturating_duration_since(reported_at) < ProgressInterval::PERIOD)
        {
            return None;
        }
        let line = self.line.take()?;
        let others = std::mem::take(&mut self.count).saturating_sub(1);
        self.reported_at = Some(now);
        Some(match others {
            0 => line,
            1 => format!("{line} (and 1 more retry)"),
            others => format!("{line} (and {others} more retries)"),
        })
    }
}

fn announcement(state: &State) -> String {
    match state.started().next() {
        Some(file) if state.single() => format!(
            "uploading {} ({}, {})",
            file.label,
            bytes(file.size),
            plural(u64::from(file.parts), "part")
        ),
        _ => {
            let so_far = if state.complete() { "" } else { " so far" };
            format!("uploading {}{so_far} ({})", plural(state.files().0, "file"), bytes(state.total()))
        }
    }
}

/// `42%: 512 MiB of 1.2 GiB, 17.5 MiB/s, 42s left, 8 parts in flight`.
fn progress_line(state: &State, now: Instant) -> String {
    let (files, ended) = state.files();
    let mut fields = Vec::new();
    if !state.single() {
        fields.push(format!("{ended} of {files}{} files", if state.complete() { "" } else { "+" }));
    }
    let reading = state.total() == 0 && state.spooled() > 0;
    if !reading {
        fields.push(format!("{} of {}", bytes(state.done()), bytes(state.total())));
    }
    let in_flight = state.in_flight.count();
    if in_flight > 0 {
        fields.extend(state.rate().map(rate));
        fields.extend(state.time_left().map(|left| format!("{} left", human_duration(left))));
        let waiting = match state.in_flight.waiting(now) {
            0 => String::new(),
            waiting => format!(", {waiting} of them waiting for a retry"),
        };
        fields.push(format!("{} in flight{waiting}", plural(in_flight as u64, "part")));
        fields.extend(
            state.in_flight.idle_for(now).map(|still| format!("no byte for {}", human_duration(still))),
        );
    }
    // What to wait for when no part is in flight, or for longer than the interval.
    let waits = state.waits().filter_map(|file| {
        let elapsed = now.saturating_duration_since(file.since);
        let is_worth_it = file.upload.is_none() || in_flight == 0 || elapsed >= ProgressInterval::PERIOD;
        let words = phase_text(file).filter(|_| is_worth_it)?;
        let upload = file.upload.as_ref().filter(|_| !state.single());
        let name = upload.map(|upload| format!("{} ", upload.label)).unwrap_or_default();
        let retry = file.retry.as_ref().map(|retry| format!(" ({})", retry.text(now))).unwrap_or_default();
        Some(format!("{name}{words} for {}{retry}", human_duration(elapsed)))
    });
    let (shown, rest): (Vec<_>, Vec<_>) = waits.enumerate().partition(|(at, _)| *at < 3);
    fields.extend(shown.into_iter().map(|(_, text)| text));
    if !rest.is_empty() {
        fields.push(format!("{} more waiting", rest.len()));
    }
    if let Some((what, retry)) = &state.retry {
        fields.push(format!("{what}: {}", retry.text(now)));
    }
    let fields = fields.join(", ");
    if reading { fields } else { format!("{}%: {fields}", state.percent()) }
}

#[cfg(test)]
#[path = "plain_tests.rs"]
mod tests;
