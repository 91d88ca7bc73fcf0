use super::super::testing::{MIB, Play, outcome, secs, uploaded};
use super::*;
use crate::event::{PartProgress, Phase};
use crate::options::{ColorMode, LogFormat};
use crate::outcome::Summary;

fn json(quiet: bool, verbose: u8, progress: ProgressMode) -> Json {
    Json::new(&Display { quiet, verbose, progress, color: ColorMode::Never, log_format: LogFormat::Json })
}

/// All events there are, and a progress line.
fn all_lines(formatter: &mut Json) -> Vec<String> {
    let mut play = Play::new();
    let (good, bad) = (uploaded("a", MIB), outcome("b", 2, Err(Error::usage_hint("no", "yes"))));
    let mut summary = Summary::default();
    summary.add(&good);
    summary.add(&bad);
    let url = "https://h/k";
    let (cause, wait) = ("503", secs(1.5));
    let progress = std::sync::Arc::<PartProgress>::default();
    let events = [
        Event::Discovered { files: 2, bytes: MIB, complete: true },
        Event::FileStart { file: 0, path: "a", name: "ä", size: MIB, parts: 2, part_size: MIB },
        Event::Phase { file: 0, phase: Phase::Settle },
        Event::Resumed { file: 0, parts: 1, bytes: 5 },
        Event::Restarted { file: 0 },
        Event::PartStart { file: 0, part: 1, size: 5, progress },
        Event::PartDone { file: 0, part: 1, size: 5, elapsed: secs(0.25) },
        Event::Retry { file: Some(0), part: Some(2), what: "part 2", retry: 1, cause, wait },
        Event::Retry { file: None, part: None, what: "tree", retry: 1, cause, wait },
        Event::Warning { path: None, message: "w" },
        Event::Warning { path: Some("a"), message: "\u{1b}[1m\u{9b}\u{202e}\n" },
        Event::Login { message: "saved", is_prompt: false },
        Event::Login { message: "paste it", is_prompt: true },
        Event::Verbose { message: "n" },
        Event::Warning { path: Some("a.log"), message: crate::plan::EXCLUDED },
        Event::Planned { files: 2, bytes: MIB, folders: 1 },
        Event::Request { method: "PUT", url, status: Some(200), elapsed: secs(1.0) },
        Event::Request { method: "PUT", url, status: None, elapsed: secs(1.0) },
        Event::FileDone { file: 0, outcome: &good },
        Event::FileDone { file: 1, outcome: &bad },
        Event::Error { path: None, error: &Error::NoToken },
    ];
    let mut lines = Vec::new();
    let mut tell = |play: &mut Play, event: &Event<'_>| {
        play.state.apply(event, play.now);
        lines.extend(formatter.format_event(event, &play.state));
    };
    for event in &events {
        tell(&mut play, event);
    }
    play.pass(10.0);
    let due = formatter.on_tick(&play.state, play.now);
    play.state.apply(&Event::Finished { summary: &summary }, play.now);
    lines.extend(due);
    lines.extend(formatter.format_event(&Event::Finished { summary: &summary }, &play.state));
    lines
}

fn names(lines: &[String]) -> Vec<String> {
    let name = |line: &String| {
        let value: Value = serde_json::from_str(line).unwrap();
        value["event"].as_str().unwrap().to_owned()
    };
    lines.iter().map(name).collect()
}

#[test]
fn every_line_is_one_object_of_the_schema() {
    let schema: Value = serde_json::from_str(include_str!("events.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let lines = all_lines(&mut json(false, 2, ProgressMode::Auto));
    for line in &lines {
        let value: Value = serde_json::from_str(line).unwrap();
        let errors: Vec<_> = validator.iter_errors(&value).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{line}\n{errors:?}");
        assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line}");
    }
    // And every event of the schema is seen.
    let mut seen = names(&lines);
    seen.sort();
    seen.dedup();
    let mut known: Vec<_> =
        schema["oneOf"].as_array().unwrap().iter().map(|s| s["title"].as_str().unwrap()).collect();
    known.sort_unstable();
    assert_eq!(seen, known);
    assert!(!validator.is_valid(&json!({"event": "other", "time": "2026-01-01T00:00:00.000Z"})));
}

#[test]
fn quiet_leaves_errors_and_verbosity_adds_notes_and_requests() {
    assert_eq!(names(&all_lines(&mut json(true, 2, ProgressMode::Auto))), ["login", "error", "error"]);
    let count = |verbose, name: &str| {
        let lines = all_lines(&mut json(false, verbose, ProgressMode::Auto));
        names(&lines).iter().filter(|event| *event == name).count()
    };
    assert_eq!([count(0, "note"), count(1, "note"), count(1, "request"), count(2, "request")], [0, 1, 0, 2]);
    assert_eq!([count(0, "retry"), count(0, "part"), count(0, "warning"), count(0, "file")], [2, 1, 3, 2]);
    let silent = names(&all_lines(&mut json(false, 2, ProgressMode::None)));
    assert!(!silent.contains(&"progress".to_owned()) && silent.contains(&"done".to_owned()));
}

#[test]
fn an_error_says_all_that_a_script_may_ask() {
    let lines = all_lines(&mut json(true, 0, ProgressMode::Auto));
    let error: Value = serde_json::from_str(&lines[1]).unwrap();
    let (_, rest) = lines[1].split_once(error["time"].as_str().unwrap()).unwrap();
    assert_eq!(
        rest,
        r#"","path":"b","code":"usage","message":"no","hint":"yes","transient":false,"exit_code":2}"#
    );
    assert!(lines[1].starts_with(r#"{"event":"error","time":"2"#), "{}", lines[1]);
}
