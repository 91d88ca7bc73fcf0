use std::time::Duration;

use super::super::testing::{MIB, Play, item, outcome, secs, skipped, uploaded};
use super::*;
use crate::error::{Call, Failure, Signal};
use crate::options::{ColorMode, LogFormat, ProgressMode};

fn words(quiet: bool, verbose: u8) -> Human {
    let display = Display {
        quiet,
        verbose,
        progress: ProgressMode::Auto,
        color: ColorMode::Never,
        log_format: LogFormat::Human,
    };
    Human::new(&display, Styles(false))
}

fn refused() -> Error {
    let failure = Failure::Status {
        status: 401,
        code: None,
        message: Some("bad\u{1b}[2J\ntoken".into()),
        retry_after: None,
    };
    Error::Call { call: Call::Start, failure, tries: 1 }
}

/// Takes the event in and says what there is to say.
fn say(words: &mut Human, play: &mut Play, event: &Event<'_>) -> Vec<String> {
    play.state.apply(event, play.now);
    words.format(event, &play.state)
}

#[test]
fn an_error_names_the_file_and_a_hint_is_given_once() {
    let (mut words, mut play) = (words(true, 2), Play::new());
    play.known(2, 2, true);
    let failed = outcome("a\nb.pdf", 1, Err(refused()));
    let lines = say(&mut words, &mut play, &Event::FileDone { file: 0, outcome: &failed });
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("error: a\\nb.pdf: could not start the upload: "), "{}", lines[0]);
    assert!(lines[0].contains("bad\\u{1b}[2J\\ntoken"), "{}", lines[0]);
    assert!(lines[1].starts_with("hint: the token is missing"), "{}", lines[1]);
    let again = say(&mut words, &mut play, &Event::FileDone { file: 1, outcome: &failed });
    assert_eq!(again.len(), 1);
}

#[test]
fn a_local_error_states_its_cause_once() {
    let (mut words, mut play) = (words(false, 0), Play::new());
    let source = std::io::Error::new(std::io::ErrorKind::PermissionDenied, "permission denied");
    let failed = outcome("-", 1, Err(Error::local("open the file", source)));
    assert_eq!(
        say(&mut words, &mut play, &Event::FileDone { file: 0, outcome: &failed }),
        ["error: standard input: could not open the file: permission denied"]
    );
}

#[test]
fn an_interruption_is_told_once_for_all_files() {
    let (mut words, mut play) = (words(false, 0), Play::new());
    play.known(2, 2, true);
    let stopped = outcome("a", 1, Err(Error::Interrupted(Signal::Interrupt)));
    assert_eq!(
        say(&mut words, &mut play, &Event::FileDone { file: 0, outcome: &stopped }),
        ["error: interrupted", "hint: run the same command again to resume"]
    );
    assert!(say(&mut words, &mut play, &Event::FileDone { file: 1, outcome: &stopped }).is_empty());
}

#[test]
fn lines_of_a_configuration_error_stay_lines_and_cannot_pass_for_messages() {
    let (mut words, mut play) = (words(false, 0), Play::new());
    let error = Error::usage_hint("c.toml: line 2\nerror: fake\u{7}", "see --help");
    assert_eq!(
        say(&mut words, &mut play, &Event::Error { path: None, error: &error }),
        ["error: c.toml: line 2\n  error: fake\\u{7}", "hint: see --help"]
    );
}

#[test]
fn verbosity_decides_what_else_is_told() {
    let warning = Event::Warning { path: Some("a\u{202e}b"), message: "link skipped" };
    let note = Event::Verbose { message: "8 parts in flight" };
    let url = "https://b.s3.amazonaws.com/key";
    let request = Event::Request { method: "PUT", url, status: Some(200), elapsed: secs(1.2) };
    let silence = Event::Request { method: "PUT", url, status: None, elapsed: secs(30.0) };
    let (cause, wait) = ("503 SlowDown", Duration::from_secs(4));
    let retry = Event::Retry { file: Some(0), part: Some(3), what: "part 3", retry: 2, cause, wait };
    let told = |quiet, verbose| {
        let (mut words, mut play) = (words(quiet, verbose), Play::new());
        play.start(0, "a.bin", 2, 1);
        [&warning, &note, &request, &silence, &retry].map(|e| say(&mut words, &mut play, e).concat())
    };
    assert_eq!(told(true, 2).concat(), "");
    assert_eq!(told(false, 0), ["warning: a\\u{202e}b: link skipped", "", "", "", ""]);
    assert_eq!(told(false, 1)[1], "note: 8 parts in flight");
    assert_eq!(told(false, 1)[4], "retry: a.bin: part 3 again in 4.0s (retry 2): 503 SlowDown");
    assert_eq!(
        told(false, 2)[2..4],
        [
            "PUT https://b.s3.amazonaws.com/key 200 in 1.2s",
            "PUT https://b.s3.amazonaws.com/key no answer after 30s"
        ]
    );
}

fn finish(files: &[Outcome], verbose: u8) -> Vec<String> {
    let (mut words, mut play) = (words(false, verbose), Play::new());
    play.known(files.len() as u64, 0, true);
    let mut summary = Summary::default();
    let mut lines = Vec::new();
    for (id, outcome) in files.iter().enumerate() {
        summary.add(outcome);
        lines.extend(say(&mut words, &mut play, &Event::FileDone { file: id as u64, outcome }));
    }
    summary.elapsed = secs(70.0);
    lines.extend(say(&mut words, &mut play, &Event::Finished { summary: &summary }));
    lines
}

#[test]
fn the_summary_fits_what_happened() {
    assert_eq!(finish(&[], 0), ["nothing to upload"]);
    assert_eq!(
        finish(&[uploaded("report.pdf", 1225 * MIB)], 0),
        ["uploaded report.pdf: 1.2 GiB in 1m 10s (17.5 MiB/s)"]
    );
    assert_eq!(finish(&[skipped("a", 5)], 0), ["skipped a: already exists"]);
    assert_eq!(finish(&[outcome("a", 5, Err(Error::usage("no")))], 0), ["error: a: no"]);
    let mut resumed = uploaded("a", 100 * MIB);
    resumed.resumed_bytes = 30 * MIB;
    assert_eq!(finish(&[resumed], 0), ["uploaded a: 100 MiB (30.0 MiB of it earlier) in 1m 10s (1.0 MiB/s)"]);
    let error = Box::new(Error::usage("no"));
    let unverified = Error::Unverified { item: Box::new(item()), error };
    let two = [outcome("a", 5, Err(unverified)), outcome("b", 5, Err(Error::usage("no")))];
    let last = finish(&two, 0).pop().unwrap();
    assert!(last.starts_with("uploaded 0 files, created but not verified 1, failed 1: "), "{last}");
    let mix = [
        uploaded("a", 70 * MIB),
        skipped("b", 5),
        outcome("c", 5, Err(Error::usage("no"))),
        outcome("d", 5, Err(Error::Interrupted(Signal::Interrupt))),
    ];
    assert_eq!(
        finish(&mix, 1),
        [
            "uploaded a: 70.0 MiB in 1m 10s (1.0 MiB/s)",
            "skipped b: already exists",
            "error: c: no",
            "error: interrupted",
            "hint: run the same command again to resume",
            "uploaded 1 file, skipped 1, failed 1, interrupted 1: 70.0 MiB in 1m 10s (1.0 MiB/s)"
        ]
    );
}

#[test]
fn what_is_resumed_and_what_is_kept_is_told() {
    let (mut words, mut play) = (words(false, 0), Play::new());
    play.known(1, 300 * MIB, true);
    play.start(0, "big.iso", 300 * MIB, 30);
    assert_eq!(
        say(&mut words, &mut play, &Event::Resumed { file: 0, parts: 4, bytes: 40 * MIB }),
        ["resuming big.iso: 40 of 300 MiB already stored"]
    );
    let mut stopped = outcome("big.iso", 300 * MIB, Err(Error::Interrupted(Signal::Interrupt)));
    stopped.kept_bytes = 40 * MIB;
    let mut summary = Summary::default();
    summary.add(&stopped);
    say(&mut words, &mut play, &Event::FileDone { file: 0, outcome: &stopped });
    let last = say(&mut words, &mut play, &Event::Finished { summary: &summary });
    assert_eq!(last, ["40 of 300 MiB are kept for the next run"]);
}
