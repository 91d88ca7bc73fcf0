use super::super::testing::{MIB, Play, uploaded};
use super::super::text::{Styles, width};
use super::*;
use crate::event::{Attempt, Event, Phase};
use crate::options::{ColorMode, Display, LogFormat, ProgressMode};

const LOOK: Theme = Theme { unicode: true, styles: Styles(false) };

fn bars(theme: Theme) -> Bars {
    let display = Display {
        quiet: false,
        verbose: 0,
        progress: ProgressMode::Auto,
        color: ColorMode::Never,
        log_format: LogFormat::Human,
    };
    Bars::new(Human::new(&display, theme.styles), theme)
}

impl Play {
    fn frame(&self, columns: usize, rows: usize) -> String {
        self.frame_on(&mut bars(LOOK), columns, rows)
    }

    fn frame_on(&self, bars: &mut Bars, columns: usize, rows: usize) -> String {
        let lines = bars.render(&self.state, self.now, columns, rows);
        for line in &lines {
            assert!(width(line) < columns, "{columns} columns: {line:?}");
        }
        // The spinner shows its first frame.
        lines.join("\n").replace(|c: char| "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏".contains(c), "⠋")
    }

    fn retry(&mut self, part: Option<u32>, retry: u32, wait: u64) {
        let (cause, wait) = ("503 SlowDown: Please reduce your request rate.", Duration::from_secs(wait));
        self.event(Event::Retry { file: Some(0), part, what: "part", retry, cause, wait });
    }
}

/// One file in the middle of its upload: a steady part, a part that is retried, a part that waits for storage.
fn one_file(name: &str) -> Play {
    let mut play = Play::new();
    play.known(1, 1229 * MIB, true);
    play.start(0, name, 1229 * MIB, 154);
    play.event(Event::Resumed { file: 0, parts: 60, bytes: 480 * MIB });
    let progress: Vec<_> = (61..=64).map(|part| play.part(0, part, 8 * MIB)).collect();
    for step in 1..=8 {
        play.pass(0.5);
        progress[0].set(Attempt::Primary, step * MIB / 2);
        progress[1].set(Attempt::Primary, step * MIB);
    }
    play.pass(8.0);
    progress[2].set(Attempt::Primary, 3 * MIB);
    play.pass(0.5);
    play.retry(Some(64), 2, 4);
    play
}

#[test]
fn one_file_on_eighty_columns() {
    assert_eq!(
        one_file("report.pdf").frame(80, 24),
        "\
report.pdf  ━━━━━━━━━╸──────────────   40%   495 MiB/1.2 GiB   922 KiB/s  13:35
  part 61   ━━━━━━━━━━━━╸───────────   50%  no byte accepted for 8s
  part 62   ━━━━━━━━━━━━━━━━━━━━━━━╸   99%  waiting for storage for 8s
  part 63   ━━━━━━━━╸───────────────   37%   3.0 MiB/8.0 MiB
  part 64   ────────────────────────    0%  retry 2 in 4s: 503 SlowDown: Pleas…"
    );
}

#[test]
fn one_file_on_forty_columns() {
    assert_eq!(
        one_file("a-really-long-name-of-a-report.pdf").frame(40, 20),
        "\
a-really-lo…report.pdf  495 MiB/1.2 GiB
━━━━━╸────────   40%   922 KiB/s  13:35
  part 61      no byte accepted for 8s
  part 62      waiting for storage for…
  part 63      ━━╸─────   37%   3.0 MiB
  part 64      retry 2 in 4s: 503 Slow…"
    );
}

#[test]
fn ascii_where_the_locale_knows_no_more() {
    let play = one_file("report.pdf");
    let look = Theme { unicode: false, styles: Styles(false) };
    let drawn = bars(look).render(&play.state, play.now, 80, 24).join("\n");
    assert!(drawn.is_ascii(), "{drawn}");
    assert!(drawn.contains("#########>----"), "{drawn}");
}

/// Three files: one in parts, one in one part, one that is finalized.
fn three_files() -> Play {
    let mut play = Play::new();
    play.known(12, 300 * MIB, false);
    play.start(0, "video-of-the-whole-day.mp4", 100 * MIB, 10);
    play.start(1, "notes.txt", 4 * MIB, 1);
    play.start(2, "数据.tar.zst", 50 * MIB, 5);
    play.part(0, 1, 10 * MIB).set(Attempt::Primary, 5 * MIB);
    play.part(1, 1, 4 * MIB).set(Attempt::Primary, MIB);
    play.event(Event::Phase { file: 2, phase: Phase::Finalize });
    play.end(9, &uploaded("first", 30 * MIB));
    play.pass(4.0);
    play
}

#[test]
fn several_files_are_counted_and_named() {
    assert_eq!(
        three_files().frame(80, 24),
        "\
1/12+ files          ━╸─────────────   12%  36.0 MiB/300 MiB   1.5 MiB/s  --:--
  video….mp4 part 1  ━━━━━━━╸───────   50%   5.0 MiB/10.0 MiB
  notes.txt          ━━━╸───────────   25%   1.0 MiB/4.0 MiB
  ⠋ 数据.tar.zst: finalizing 4s"
    );
    assert_eq!(
        three_files().frame(40, 20),
        "\
1/12+ files  36.0 MiB/300 MiB
━╸────────────   12%   1.5 MiB/s  --:--
  vide….mp4 1  ━━━━╸───   50%   5.0 MiB
  notes.txt    ━━╸─────   25%   1.0 MiB
  ⠋ 数据.tar.zst: finalizing 4s"
    );
}

#[test]
fn what_does_not_fit_the_height_is_counted() {
    let mut play = Play::new();
    play.known(1, 800 * MIB, true);
    play.start(0, "a", 800 * MIB, 100);
    for part in 1..=30 {
        play.part(0, part, 8 * MIB);
    }
    play.pass(1.0);
    let drawn = play.frame(80, 24);
    let drawn: Vec<_> = drawn.lines().collect();
    assert_eq!((drawn.len(), drawn[20]), (21, "  … and 11 more"));
    assert_eq!(play.frame(80, 5).lines().count(), 2);
    assert_eq!(play.frame(80, 4).lines().count(), 1);
    assert_eq!(play.frame(80, 1).lines().count(), 1);
}

#[test]
fn a_long_finalize_is_seen_to_go_on() {
    let mut play = Play::new();
    play.known(1, 8 * MIB, true);
    play.start(0, "report.pdf", 8 * MIB, 1);
    play.part(0, 1, 8 * MIB);
    play.pass(1.0);
    play.done(0, 1, 8 * MIB);
    play.event(Event::Phase { file: 0, phase: Phase::Finalize });
    play.pass(72.0);
    let whole = "report.pdf  ━━━━━━━━━━━━━━━━━━━━━━━━  100%   8.0 MiB/8.0 MiB";
    let drawn = play.frame(80, 24);
    assert_eq!(drawn.lines().map(str::trim_end).collect::<Vec<_>>(), [whole, "  ⠋ finalizing 1m 12s"]);
    play.retry(None, 1, 3);
    assert_eq!(
        play.frame(80, 24).lines().last(),
        Some("  ⠋ finalizing 1m 12s  retry 1 in 3s: 503 SlowDown: Please reduce your request…")
    );
}

#[test]
fn a_comparison_before_the_file_begins_is_seen() {
    let mut play = Play::new();
    play.known(1, MIB, true);
    play.event(Event::Phase { file: 0, phase: Phase::Check });
    play.pass(10.0);
    assert_eq!(play.frame(80, 24), "  ⠋ comparing with the earlier run 10s");
    play.start(0, "a", MIB, 1);
    assert!(!play.frame(80, 24).contains("comparing"));
}

#[test]
fn nothing_is_drawn_for_what_is_over_at_once_or_over() {
    let mut play = Play::new();
    play.known(1, MIB, true);
    play.start(0, "a", MIB, 1);
    play.part(0, 1, MIB);
    play.pass(0.2);
    assert_eq!(play.frame(80, 24), "");
    play.pass(0.1);
    assert_ne!(play.frame(80, 24), "");
    play.event(Event::Finished { summary: &crate::outcome::Summary::default() });
    assert_eq!(play.frame(80, 24), "");
}

#[test]
fn a_long_walk_and_a_lost_drive_are_seen() {
    let mut play = Play::new();
    play.known(1234, MIB, false);
    let (cause, wait) = ("connection refused", Duration::from_secs(3));
    play.event(Event::Retry { file: None, part: None, what: "list the folder", retry: 1, cause, wait });
    play.pass(0.5);
    assert_eq!(
        play.frame(80, 24),
        "⠋ looking for files: 1234 so far\n  ⠋ list the folder  retry 1 in 3s: connection refused"
    );
}

#[test]
fn no_line_is_ever_wider_than_the_terminal() {
    let mut bars = bars(LOOK);
    for play in [one_file("数据数据数据数据数据数据数据数据.pdf"), one_file("a"), three_files()]
    {
        for columns in 1..140 {
            for rows in [1, 3, 10, 50] {
                let drawn = play.frame_on(&mut bars, columns, rows);
                assert_eq!(drawn, play.frame(columns, rows));
                assert!(drawn.lines().count() <= rows.max(2), "{columns}x{rows}\n{drawn}");
            }
        }
    }
}
