use super::super::testing::{MIB, Play, outcome, skipped, uploaded};
use super::*;
use crate::error::{Error, Signal};
use crate::event::Attempt;

#[test]
fn one_file_goes_from_nothing_to_a_hundred_and_never_past_it() {
    let mut play = Play::new();
    play.known(1, 10 * MIB, true);
    play.start(0, "report.pdf", 10 * MIB, 2);
    assert!(play.state.single());
    assert_eq!((play.state.done(), play.state.total(), play.state.percent()), (0, 10 * MIB, 0));
    let (one, two) = (play.part(0, 1, 5 * MIB), play.part(0, 2, 5 * MIB));
    one.set(Attempt::Primary, 5 * MIB);
    two.set(Attempt::Primary, 9 * MIB); // more than there is
    play.pass(1.0);
    // Every byte is acked, but no part is done.
    assert_eq!((play.state.done(), play.state.percent()), (10 * MIB, 99));
    play.done(0, 1, 5 * MIB);
    assert_eq!(play.state.percent(), 99);
    play.done(0, 2, 5 * MIB);
    assert_eq!((play.state.done(), play.state.percent()), (10 * MIB, 100));
    play.event(Event::Phase { file: 0, phase: Phase::Finalize });
    assert_eq!(play.state.percent(), 100);
    play.end(0, &uploaded("report.pdf", 10 * MIB));
    assert_eq!((play.state.done(), play.state.percent(), play.state.files()), (10 * MIB, 100, (1, 1)));
}

#[test]
fn percents_are_rounded_down() {
    let mut play = Play::new();
    play.known(1, 1000, true);
    play.start(0, "a", 1000, 2);
    play.part(0, 1, 999);
    play.done(0, 1, 999);
    assert_eq!(play.state.percent(), 99);
}

#[test]
fn an_empty_file_is_done_when_its_part_is() {
    let mut play = Play::new();
    play.known(1, 0, true);
    play.start(0, "empty", 0, 1);
    assert_eq!(play.state.percent(), 0);
    play.part(0, 1, 0);
    assert_eq!(play.state.percent(), 0);
    play.done(0, 1, 0);
    assert_eq!(play.state.percent(), 100);
}

#[test]
fn resumed_bytes_count_as_done_but_not_into_the_rate() {
    let mut play = Play::new();
    play.known(1, 100 * MIB, true);
    play.start(0, "a", 100 * MIB, 10);
    play.event(Event::Resumed { file: 0, parts: 6, bytes: 60 * MIB });
    assert_eq!((play.state.percent(), play.state.rate(), play.state.time_left()), (60, None, None));
    let progress = play.part(0, 7, 10 * MIB);
    for step in 1..=5 {
        play.pass(1.0);
        progress.set(Attempt::Primary, step * MIB);
    }
    play.pass(0.5);
    let rate = play.state.rate().unwrap() / MIB as f64;
    assert!((0.85..=1.0).contains(&rate), "{rate}");
    let left = play.state.time_left().unwrap().as_secs();
    assert!((35..=41).contains(&left), "{left}");
}

#[test]
fn bytes_sent_again_count_once() {
    let mut play = Play::new();
    play.known(1, 10 * MIB, true);
    play.start(0, "a", 10 * MIB, 1);
    let progress = play.part(0, 1, 10 * MIB);
    progress.set(Attempt::Primary, 6 * MIB);
    play.pass(1.0);
    let cause = "503 SlowDown";
    let wait = Duration::from_secs(2);
    play.event(Event::Retry { file: Some(0), part: Some(1), what: "part 1", retry: 1, cause, wait });
    progress.set(Attempt::Primary, 0);
    play.pass(3.0);
    progress.set(Attempt::Primary, 4 * MIB);
    play.pass(1.0);
    assert_eq!((play.state.done(), play.state.sent), (6 * MIB, 6 * MIB));
    progress.set(Attempt::Primary, 7 * MIB);
    play.pass(1.0);
    assert_eq!((play.state.done(), play.state.sent), (7 * MIB, 7 * MIB));
    play.done(0, 1, 10 * MIB);
    assert_eq!(play.state.sent, 10 * MIB);
}

#[test]
fn a_restart_takes_back_what_counted_and_leaves_the_rate_alone() {
    let mut play = Play::new();
    play.known(1, 20 * MIB, true);
    play.start(0, "a", 20 * MIB, 2);
    play.event(Event::Resumed { file: 0, parts: 1, bytes: 10 * MIB });
    play.part(0, 2, 10 * MIB).set(Attempt::Primary, 5 * MIB);
    play.pass(1.0);
    assert_eq!((play.state.done(), play.state.percent()), (15 * MIB, 75));
    play.event(Event::Restarted { file: 0 });
    assert_eq!((play.state.done(), play.state.percent(), play.state.in_flight.count()), (0, 0, 0));
    for part in 1..=2 {
        play.part(0, part, 10 * MIB);
        play.done(0, part, 10 * MIB);
    }
    assert_eq!((play.state.done(), play.state.percent(), play.state.sent), (20 * MIB, 100, 25 * MIB));
}

#[test]
fn several_files_add_up_whatever_becomes_of_them() {
    let mut play = Play::new();
    play.known(2, 20 * MIB, false);
    play.start(0, "a", 10 * MIB, 1);
    play.start(1, "b", 10 * MIB, 2);
    assert!(!play.state.single() && !play.state.complete());
    play.known(4, 40 * MIB, true);
    play.part(0, 1, 10 * MIB);
    play.done(0, 1, 10 * MIB);
    play.end(0, &uploaded("a", 10 * MIB));
    assert_eq!((play.state.percent(), play.state.files()), (25, (4, 1)));
    // Skipped without ever starting.
    play.end(2, &skipped("c", 10 * MIB));
    assert_eq!((play.state.percent(), play.state.files()), (50, (4, 2)));
    // b fails half-way: what was sent of it stays done, the rest is no longer to be done.
    play.part(1, 1, 5 * MIB).set(Attempt::Primary, 5 * MIB);
    play.end(1, &outcome("b", 10 * MIB, Err(Error::Internal("x".into()))));
    assert_eq!((play.state.done(), play.state.total(), play.state.percent()), (25 * MIB, 35 * MIB, 71));
    // One more that a signal stopped before it began.
    play.end(3, &outcome("d", 10 * MIB, Err(Error::Interrupted(Signal::Interrupt))));
    assert_eq!((play.state.percent(), play.state.files()), (100, (4, 4)));
}

#[test]
fn a_percentage_is_not_whole_while_files_are_still_being_found() {
    let mut play = Play::new();
    play.known(1, MIB, false);
    play.start(0, "a", MIB, 1);
    play.part(0, 1, MIB);
    play.done(0, 1, MIB);
    play.end(0, &uploaded("a", MIB));
    assert_eq!((play.state.percent(), play.state.time_left()), (99, None));
    play.known(1, MIB, true);
    assert_eq!(play.state.percent(), 100);
}

#[test]
fn a_call_in_trouble_is_remembered_until_it_gets_on() {
    let mut play = Play::new();
    play.start(0, "a", MIB, 1);
    play.event(Event::Phase { file: 0, phase: Phase::Finalize });
    let (cause, wait) = ("502", Duration::from_secs(1));
    play.event(Event::Retry { file: Some(0), part: None, what: "finalize", retry: 1, cause, wait });
    play.event(Event::Retry { file: None, part: None, what: "tree", retry: 1, cause, wait });
    let is_retried = |state: &State| (state.files[&0].retry.is_some(), state.retry.is_some());
    assert_eq!(is_retried(&play.state), (true, true));
    play.pass(62.0);
    assert_eq!(is_retried(&play.state), (false, false));
}

#[test]
fn what_a_dropped_task_tells_late_counts_for_nothing() {
    let mut play = Play::new();
    play.known(1, MIB, true);
    play.start(0, "a", MIB, 1);
    play.end(0, &uploaded("a", MIB));
    play.part(0, 1, MIB).set(Attempt::Primary, MIB);
    play.pass(1.0);
    play.done(0, 1, MIB);
    assert_eq!((play.state.in_flight.count(), play.state.sent, play.state.done()), (0, 0, MIB));
}
