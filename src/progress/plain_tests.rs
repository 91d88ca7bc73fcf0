use super::super::testing::{MIB, Play, uploaded};
use super::super::text::Styles;
use super::*;
use crate::event::{Attempt, Phase};
use crate::options::{ColorMode, Display, LogFormat, ProgressMode};
use crate::outcome::Summary;

struct Log {
    play: Play,
    plain: Plain,
    lines: Vec<String>,
}

impl Log {
    fn new(progress: bool) -> Self {
        let display = Display {
            quiet: false,
            verbose: 0,
            progress: if progress { ProgressMode::Plain } else { ProgressMode::None },
            color: ColorMode::Never,
            log_format: LogFormat::Human,
        };
        let plain = Plain::new(Human::new(&display, Styles(false)), progress);
        Self { play: Play::new(), plain, lines: Vec::new() }
    }

    fn event(&mut self, event: &Event<'_>) {
        self.play.state.apply(event, self.play.now);
        self.lines.extend(self.plain.format_event(event, &self.play.state));
    }

    /// Lets time pass with a tick each half second.
    fn pass(&mut self, seconds: u32) {
        for _ in 0..seconds * 2 {
            self.play.pass(0.5);
            self.lines.extend(self.plain.on_tick(&self.play.state, self.play.now));
        }
    }

    fn finish(&mut self) {
        self.event(&Event::Finished { summary: &Summary::default() });
    }
}

fn retry(part: u32, retry: u32, wait: u64) -> Event<'static> {
    let (what, wait) = ("part 1", Duration::from_secs(wait));
    Event::Retry { file: Some(0), part: Some(part), what, retry, cause: "503 SlowDown", wait }
}

#[test]
fn a_long_upload_is_announced_and_has_a_line_every_ten_seconds() {
    let mut log = Log::new(true);
    log.play.known(1, 100 * MIB, true);
    log.play.start(0, "report.pdf", 100 * MIB, 20);
    let meter = log.play.part(0, 1, 100 * MIB);
    for step in 1..=24 {
        meter.set(Attempt::Primary, step * MIB);
        log.pass(1);
    }
    assert_eq!(
        log.lines,
        [
            "uploading report.pdf (100 MiB, 20 parts)",
            "10%: 10.0 MiB of 100 MiB, 1.0 MiB/s, 1m 30s left, 1 part in flight",
            "20%: 20.0 MiB of 100 MiB, 1.0 MiB/s, 1m 20s left, 1 part in flight",
        ]
    );
    log.lines.clear();
    log.play.done(0, 1, 100 * MIB);
    log.event(&Event::Phase { file: 0, phase: Phase::Finalize });
    log.pass(10);
    assert_eq!(log.lines, ["99%: 100 MiB of 100 MiB, finalizing for 6.0s"]);
    log.finish();
    log.lines.clear();
    log.pass(30);
    assert_eq!(log.lines, [""; 0]);
}

#[test]
fn a_quick_upload_has_no_line_but_its_summary() {
    let mut log = Log::new(true);
    log.play.known(1, MIB, true);
    log.play.start(0, "a", MIB, 1);
    log.pass(2);
    let outcome = uploaded("a", MIB);
    let mut summary = Summary::default();
    summary.add(&outcome);
    log.event(&Event::FileDone { file: 0, outcome: &outcome });
    log.event(&Event::Finished { summary: &summary });
    assert_eq!(log.lines, ["uploaded a: 1.0 MiB in 1m 10s (14.6 KiB/s)"]);
}

#[test]
fn several_files_are_counted() {
    let mut log = Log::new(true);
    log.play.known(12, 120 * MIB, false);
    log.play.start(0, "a", 10 * MIB, 1);
    log.play.start(1, "b", 10 * MIB, 1);
    log.play.part(1, 1, 10 * MIB).set(Attempt::Primary, 5 * MIB);
    log.event(&Event::Phase { file: 0, phase: Phase::Finalize });
    log.pass(10);
    assert_eq!(
        log.lines,
        [
            "uploading 12 files so far (120 MiB)",
            "4%: 0 of 12+ files, 5.0 MiB of 120 MiB, 512 KiB/s, 1 part in flight, no byte for 9.9s, a finalizing for 10s",
        ]
    );
}

#[test]
fn long_or_frequent_retries_are_reported_at_intervals() {
    let mut log = Log::new(true);
    log.play.known(1, 100 * MIB, true);
    log.play.start(0, "a", 100 * MIB, 20);
    log.play.part(0, 1, 5 * MIB);
    log.event(&retry(1, 1, 1));
    log.event(&retry(1, 2, 1));
    log.pass(2);
    assert_eq!(log.lines, [""; 0]);
    for count in 3..10 {
        log.event(&retry(1, count, 8));
        log.pass(1);
    }
    assert_eq!(
        log.lines,
        [
            "retry: a: part 1 again in 8.0s (retry 3): 503 SlowDown (and 2 more retries)",
            "uploading a (100 MiB, 20 parts)"
        ]
    );
    log.pass(5);
    assert_eq!(
        log.lines[2..],
        [
            "0%: 0 B of 100 MiB, 0 B/s, 1 part in flight, 1 of them waiting for a retry",
            "retry: a: part 1 again in 8.0s (retry 9): 503 SlowDown (and 5 more retries)"
        ]
    );
}

#[test]
fn without_progress_the_summary_and_the_warnings_stay() {
    let mut log = Log::new(false);
    log.play.start(0, "a", MIB, 1);
    log.event(&retry(1, 9, 60));
    log.pass(60);
    log.finish();
    assert_eq!(log.lines, ["nothing to upload"]);
    log.event(&Event::Warning { path: None, message: "x" });
    assert_eq!(log.lines, ["nothing to upload", "warning: x"]);
}
