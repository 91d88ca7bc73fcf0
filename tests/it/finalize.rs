//! One command creates one item, whatever happens to the response of finalize.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use local_drive::{Action, Fault, FinalizeRepeat, Op, Options};

#[cfg(target_os = "linux")]
use crate::halfway::full_pipe;
use crate::halfway::{Later, assert_one_item, later, records};
use crate::support::{CAP, PART, World, sha256_of};

fn after_work(code: u16, body: &str) -> Action {
    Action::StatusAfterWork { code, headers: Vec::new(), body: body.into() }
}

/// The item is created, but the client gets no usable response.
fn lost_responses() -> Vec<Action> {
    vec![
        Action::ResetAfterWork,
        Action::CloseAfterWork,
        Action::TruncateResponse,
        Action::EndlessBody,
        after_work(500, ""),
        after_work(502, "<html>Bad Gateway</html>"),
        after_work(504, "{\"message\":\"Endpoint request timed out\"}"),
        after_work(200, "<html>Welcome to this hotel</html>"),
        after_work(201, ""),
    ]
}

/// Waits for the next second, because `Date` has whole seconds.
fn next_second() {
    let second = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let now = second();
    while second() == now {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_lost_finalize_response_is_reconciled_without_another_finalize() {
    for action in lost_responses() {
        for size in [20, 2 * PART] {
            let world = World::new();
            let path = world.file("file.bin", size);
            world.drive.fault(Fault::new(Op::Finalize, action.clone()));
            let ran = world.run(&["file.bin"]);
            assert_eq!(ran.code, Some(0), "{action:?}: {ran:#?}");
            assert_one_item(&world, &ran, &path);
            assert_eq!(world.drive.record().count(Op::Finalize), 1, "{action:?}");
            assert_eq!(ran.json(), world.only_item(), "the printed item differs from that of the service");
        }
    }
}

#[test]
fn a_lost_response_is_reconciled_even_without_retries() {
    let world = World::new();
    let path = world.file("file.bin", 20);
    world.drive.fault(Fault::new(Op::Finalize, Action::ResetAfterWork));
    assert_one_item(&world, &world.run(&["file.bin", "--retry-for", "0", "--max-retries", "0"]), &path);
}

#[test]
fn a_finalize_that_did_no_work_is_sent_again() {
    for action in
        [Action::Reset, Action::ResetAfter(u64::MAX), Action::status(500, ""), Action::status(503, "<html>")]
    {
        let world = World::new();
        let path = world.file("file.bin", 20);
        world.drive.fault(Fault::once(Op::Finalize, action.clone()));
        assert_one_item(&world, &world.run(&["file.bin"]), &path);
        assert_eq!(world.drive.record().count(Op::Finalize), 2, "{action:?}");
    }
}

#[test]
fn a_rate_limited_finalize_is_sent_again_without_a_lookup() {
    let world = World::new();
    let path = world.file("file.bin", 20);
    world.drive.fault(Fault::once(Op::Finalize, Action::rate_limited(0)));
    assert_one_item(&world, &world.run(&["file.bin"]), &path);
    let record = world.drive.record();
    assert_eq!((record.count(Op::Finalize), record.count(Op::Tree)), (2, 0));
}

#[test]
fn a_first_finalize_that_is_rejected_is_reported_as_rejected() {
    for (status, code) in [(400, 1), (403, 4), (409, 5), (422, 1)] {
        let world = World::new();
        let path = world.file("file.bin", 20);
        world.drive.fault(Fault::new(Op::Finalize, Action::status(status, r#"{"message":"Not this one"}"#)));
        for run in ["first", "second"] {
            let Later { ran, requests } = later(&world, &["file.bin"]);
            assert_eq!(ran.code, Some(code), "{status}, {run} run: {ran:#?}");
            ran.fails(code).says("Not this one");
            assert!(requests.iter().all(|request| request.op != Op::Tree), "{status}, {run} run");
        }
        world.drive.clear_faults();
        assert_one_item(&world, &world.run(&["file.bin"]), &path);
    }
}

#[test]
fn a_rate_limited_finalize_is_not_treated_as_possibly_successful() {
    let world = World::new();
    let path = world.file("file.bin", 2 * PART);
    world.drive.fault(Fault::new(Op::Finalize, Action::rate_limited(3600)));
    world.run(&["file.bin"]).fails(6);
    world.drive.clear_faults();
    world.drive.fault(Fault::once(Op::Finalize, Action::status(400, "")));
    world.run(&["file.bin"]).fails(1);
    let again = later(&world, &["file.bin"]);
    assert_one_item(&world, &again.ran, &path);
    assert_eq!((again.parts(), again.count(Op::Tree)), (vec![], 0));
}

#[test]
fn parts_rejected_by_finalize_are_sent_again_by_the_next_run() {
    let world = World::new();
    let path = world.file("file.bin", 2 * PART);
    let refusal = Action::status(400, r#"{"statusCode":400,"message":"InvalidPart: one of them"}"#);
    world.drive.fault(Fault::once(Op::Start, refusal.clone()));
    world.run(&["file.bin"]).fails(1).says("InvalidPart").says_nothing_of("sends the parts again");
    world.drive.fault(Fault::once(Op::Finalize, refusal));
    world.run(&["file.bin"]).fails(1).says("InvalidPart").says("; it sends the parts again");
    let again = later(&world, &["file.bin"]);
    assert_one_item(&world, &again.ran, &path);
    assert_eq!(again.parts(), [1, 2]);
}

#[test]
fn an_unsettled_finalize_is_reconciled_with_another_part_size_too() {
    let world = World::new();
    let path = world.file("file.bin", 2 * PART);
    let lost = world.drive.fault(Fault::once(Op::Finalize, Action::ResetAfterWork));
    let blind = world.drive.fault(Fault::new(Op::Tree, Action::status(403, "")));
    world.run(&["file.bin"]).fails(7);
    world.drive.clear_fault(lost);
    world.drive.clear_fault(blind);
    let again = later(&world, &["file.bin", "--part-size", "6MiB"]);
    assert_one_item(&world, &again.ran, &path);
    assert_eq!((again.parts(), again.count(Op::Finalize)), (vec![], 0));
}

#[test]
fn an_upload_missing_at_the_first_finalize_is_restarted_once() {
    for size in [20, 2 * PART] {
        let world = World::new();
        let path = world.file("file.bin", size);
        let gone = world.drive.fault(Fault::once(Op::Finalize, Action::NoSuchUpload));
        assert_one_item(&world, &world.run(&["file.bin"]), &path);
        assert_eq!(world.drive.fault_used(gone), 1);
        assert_eq!(world.drive.record().count(Op::Start), 2);
    }
    let world = World::new();
    world.file("file.bin", 20);
    world.drive.fault(Fault::new(Op::Finalize, Action::NoSuchUpload));
    world.run(&["file.bin"]).fails(1);
    assert_eq!(world.drive.record().count(Op::Start), 2);
}

#[test]
fn a_lost_finalize_whose_repeat_is_rejected_is_unsettled() {
    let world = World::new();
    let path = world.file("file.bin", 2 * PART);
    world.drive.fault(Fault::once(Op::Finalize, Action::Reset));
    world.drive.fault(Fault::new(Op::Finalize, Action::status(400, "")));
    world.run(&["file.bin"]).fails(7).says("settled").says("hint:");
    assert_eq!(world.drive.record().count(Op::Finalize), 2);
    // The same command looks again, and may finalize again when the service lets it.
    world.drive.clear_faults();
    let again = later(&world, &["file.bin"]);
    assert_one_item(&world, &again.ran, &path);
    assert_eq!(again.parts(), Vec::<u32>::new());
}

#[test]
fn a_failed_lookup_leaves_finalize_unsettled_until_the_next_run() {
    for status in [400, 403, 500] {
        let world = World::new();
        let path = world.file("file.bin", 2 * PART);
        world.drive.fault(Fault::once(Op::Finalize, Action::CloseAfterWork));
        world.drive.fault(Fault::new(Op::Tree, Action::status(status, "")));
        world.run(&["file.bin", "--max-retries", "1"]).fails(7).says("settled");
        world.drive.clear_faults();
        let again = later(&world, &["file.bin"]);
        assert_one_item(&world, &again.ran, &path);
        assert_eq!((again.parts(), again.count(Op::Finalize)), (vec![], 0), "{status}");
    }
}

#[test]
fn transient_failures_of_lookups_are_retried() {
    let world = World::with(Options { page_limit: 1, ..Options::default() });
    let path = world.file("file.bin", 20);
    world.drive.put_file("other.bin", None, b"other").unwrap();
    world.drive.fault(Fault::once(Op::Finalize, Action::CloseAfterWork));
    for op in [Op::Tree, Op::Search, Op::File] {
        world.drive.fault(Fault::once(op, Action::Reset));
        world.drive.fault(Fault::once(op, Action::status(503, "")));
    }
    let ran = world.run(&["file.bin"]);
    world.assert_stored(&ran.ok().id(), &path);
    assert_eq!((world.drive.items().len(), world.drive.record().count(Op::Finalize)), (2, 1));
}

#[test]
fn a_folder_too_long_for_the_tree_is_searched() {
    let world = World::with(Options { page_limit: 5, ..Options::default() });
    let path = world.file("file.bin", 20);
    let folder = world.drive.make_folder("folder", None);
    for n in 0..8 {
        world.drive.put_file(&format!("other {n}"), Some(&folder), b"other").unwrap();
    }
    world.drive.fault(Fault::new(Op::Finalize, Action::CloseAfterWork));
    let ran = world.run(&["file.bin", "--parent", &folder]);
    let item = ran.ok().json();
    assert_eq!((&item["parent"], &item["name"]), (&folder.into(), &"file.bin".into()));
    world.assert_stored(&ran.id(), &path);
    let record = world.drive.record();
    assert_eq!((record.count(Op::Search), record.count(Op::Finalize)), (1, 1));
    assert_eq!(world.drive.items().len(), 10);
}

#[test]
fn older_items_and_items_of_another_folder_name_or_size_are_not_the_result() {
    for page_limit in [500, 1] {
        let world = World::with(Options { page_limit, ..Options::default() });
        let path = world.file("file.bin", 20);
        let elsewhere = world.drive.make_folder("elsewhere", None);
        let older = world.drive.put_file("file.bin", None, &[7; 20]).unwrap();
        next_second();
        let hang = world.drive.fault(Fault::new(Op::PutPart, Action::HangAfterBody));
        world.drive.fault(Fault::once(Op::Finalize, Action::Reset));
        let running = world.spawn(&["file.bin"]);
        world.drive.wait_until(CAP, |record| record.stored_count() == 1).unwrap();
        let others = [
            older,
            world.drive.put_file("file.bin", Some(&elsewhere), &[7; 20]).unwrap(),
            world.drive.put_file("file.bin", None, &[7; 21]).unwrap(),
            world.drive.put_file("File.bin", None, &[7; 20]).unwrap(),
            world.drive.make_folder("file.bin", None),
        ];
        world.drive.clear_fault(hang);
        let ran = running.wait();
        let id = ran.ok().id();
        assert!(!others.contains(&id), "{ran:#?}");
        world.assert_stored(&id, &path);
        assert_eq!(world.drive.record().count(Op::Finalize), 2);
    }
}

#[test]
fn new_items_are_recognized_by_the_clock_of_the_service() {
    for hours in [-9, 9] {
        let world = World::with(Options {
            clock_offset: jiff::SignedDuration::from_hours(hours),
            ..Options::default()
        });
        let path = world.file("file.bin", 20);
        world.drive.fault(Fault::new(Op::Finalize, Action::CloseAfterWork));
        assert_one_item(&world, &world.run(&["file.bin"]), &path);
    }
}

#[cfg(unix)]
#[test]
fn a_name_that_is_sent_in_nfc_is_found_again() {
    let world = World::new();
    let path = world.file("re\u{301}sume\u{301}.bin", 20);
    world.drive.fault(Fault::new(Op::Finalize, Action::CloseAfterWork));
    assert_one_item(&world, &world.run(&[path.to_str().unwrap()]), &path);
}

#[test]
fn two_files_with_equal_name_and_size_and_lost_responses_become_two_items() {
    for action in [Action::CloseAfterWork, Action::Reset] {
        let world = World::new();
        let paths = ["a", "b"].map(|folder| {
            std::fs::create_dir(world.work().join(folder)).unwrap();
            world.file(format!("{folder}/file.bin"), 1000)
        });
        world.drive.fault(Fault::new(Op::Finalize, action.clone()).times(2));
        let ran = world.run(&["a/file.bin", "b/file.bin"]);
        let printed: BTreeSet<String> =
            ran.ok().json_lines().iter().map(|item| item["_id"].as_str().unwrap().to_owned()).collect();
        let items = world.drive.items();
        let there: BTreeSet<String> =
            items.iter().map(|item| item["_id"].as_str().unwrap().to_owned()).collect();
        assert_eq!((printed.len(), &printed), (2, &there), "{action:?}");
        let stored: BTreeSet<String> =
            printed.iter().map(|id| world.drive.object_sha256(id).unwrap()).collect();
        assert_eq!(stored, paths.iter().map(|path| sha256_of(path)).collect(), "{action:?}");
    }
}

/// Kills the program during finalize and runs it again.
fn killed_at_finalize(options: Options, size: u64, action: Action, after: &str) {
    let world = World::with(options);
    let path = world.file("file.bin", size);
    world.drive.fault(Fault::once(Op::Finalize, action));
    let running = world.spawn(&["file.bin"]);
    let there = |record: &local_drive::Record| {
        record.requests_of(Op::Finalize).any(|request| after == "request" || request.worked.is_some())
    };
    world.drive.wait_until(CAP, there).unwrap();
    running.kill();
    let again = later(&world, &["file.bin"]);
    assert_one_item(&world, &again.ran, &path);
    assert_eq!(again.parts(), Vec::<u32>::new(), "parts were sent again");
    assert_eq!(records(&world).len(), 0);
}

#[test]
fn a_kill_between_finalize_and_its_response_is_reconciled_by_the_next_run() {
    for size in [20, 2 * PART] {
        for finalize_repeat in [FinalizeRepeat::SecondItem, FinalizeRepeat::Refuse] {
            let options = || Options { finalize_repeat, ..Options::default() };
            killed_at_finalize(options(), size, Action::HangAfterBody, "work");
            killed_at_finalize(options(), size, Action::Stall { after: 0 }, "request");
        }
    }
}

#[test]
fn a_kill_while_finalize_is_running_is_reconciled_by_the_next_run() {
    // The service creates the item while the next run looks for it.
    let options = Options { finalize_repeat: FinalizeRepeat::SecondItem, ..Options::default() };
    killed_at_finalize(options, 2 * PART, Action::Delay(Duration::from_secs(1)), "request");
}

#[cfg(target_os = "linux")]
#[test]
fn a_kill_before_the_result_is_printed_is_reconciled_by_the_next_run() {
    for size in [20, 2 * PART] {
        let world = World::new();
        let path = world.file("file.bin", size);
        let (_reader, writer) = full_pipe();
        let mut command = world.command(&["file.bin", "--output", "id"]);
        command.stdin(std::process::Stdio::null()).stdout(writer).stderr(std::process::Stdio::null());
        let running = world.spawn_with(command);
        let responded = |record: &local_drive::Record| {
            record.requests_of(Op::Finalize).any(|request| request.end.is_some())
        };
        world.drive.wait_until(CAP, responded).unwrap();
        // The program receives the response and then blocks on stdout.
        std::thread::sleep(Duration::from_millis(100));
        running.kill();
        let again = later(&world, &["file.bin"]);
        assert_one_item(&world, &again.ran, &path);
        assert_eq!((again.parts(), again.count(Op::Finalize)), (vec![], 0));
    }
}
