//! After a finalize without a response, an item counts as the result only if it is proven to be that of this upload.

use std::path::{Path, PathBuf};

use local_drive::{Action, Fault, Mode, Op, Options};

use crate::halfway::{Later, assert_one_item, later, only_record, records, wait_for_finalize};
use crate::support::{PART, World, response, web_page};

/// Creates a file with this name in a folder.
fn file_in(world: &World, folder: &str, name: &str, content: &[u8]) -> PathBuf {
    std::fs::create_dir_all(world.work().join(folder)).unwrap();
    world.file_of(Path::new(folder).join(name), content)
}

/// Leaves an upload whose finalize had no response. `worked` is whether it created the item.
fn unsettled(world: &World, args: &[&str], worked: bool) {
    let action = if worked { Action::CloseAfterWork } else { Action::Reset };
    let lost = world.drive.fault(Fault::once(Op::Finalize, action));
    let blind = world.drive.fault(Fault::new(Op::Tree, Action::status(403, "")));
    world.run(args).fails(7).says("settled");
    world.drive.clear_fault(lost);
    world.drive.clear_fault(blind);
}

fn ids(world: &World) -> Vec<String> {
    world.drive.items().iter().map(|item| item["_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_item_of_another_upload_with_equal_name_and_size_is_not_the_result() {
    // In the second case, the content is equal too. Then only the records show which run created the item.
    for other in ["OTHER", "MINE1"] {
        for no_resume in [false, true] {
            let world = World::new();
            let mine = world.file_of("r.txt", "MINE1");
            file_in(&world, "o", "r.txt", other.as_bytes());
            let lost = world.drive.fault(Fault::new(Op::Finalize, Action::status(503, "")).times(3));
            world.run(&["--retry-for", "1s", "r.txt"]).fails(7);
            world.drive.clear_fault(lost);
            let more: &[&str] = if no_resume { &["--no-resume"] } else { &[] };
            let theirs = world.run(&[&["-o", "id", "o/r.txt"], more].concat()).ok().stdout.trim().to_owned();
            let ours = world.run(&["-o", "id", "r.txt"]).ok().stdout.trim().to_owned();
            assert_ne!(ours, theirs, "{other}");
            world.assert_stored(&ours, &mine);
            assert_eq!(ids(&world), [theirs, ours]);
            assert!(records(&world).is_empty());
        }
    }
}

#[test]
fn an_item_with_other_content_is_ignored() {
    // In one run, and with a record of one or several parts.
    for size in [20, 2 * PART] {
        let world = World::new();
        let path = world.file("file.bin", size);
        unsettled(&world, &["file.bin"], false);
        // Another machine has another ledger.
        std::fs::create_dir(world.work().join("o")).unwrap();
        world.sparse("o/file.bin", size);
        let mut elsewhere = world.command(&["o/file.bin"]);
        elsewhere.env("XDG_STATE_HOME", world.work()).env("HOME", world.work());
        let other = world.spawn_command(elsewhere).wait().ok().id();
        let again = later(&world, &["file.bin"]);
        let id = again.ran.ok().id();
        assert_ne!(id, other);
        world.assert_stored(&id, &path);
        assert_eq!((again.parts(), again.count(Op::Finalize)), (vec![], 1));
    }
    // A repeat that is rejected: the existing item is not ours, so the outcome is unknown.
    let world = World::new();
    world.file("file.bin", 20);
    unsettled(&world, &["file.bin"], false);
    world.drive.put_file("file.bin", None, &[7; 20]).unwrap();
    world.drive.fault(Fault::new(Op::Finalize, Action::NoSuchUpload));
    world.run(&["file.bin"]).fails(7).says("settled");
    assert_eq!(world.drive.items().len(), 1);
}

#[test]
fn an_item_with_equal_content_that_no_run_claims_is_the_result() {
    let world = World::new();
    let path = world.file_of("f", "same");
    unsettled(&world, &["f"], false);
    world.drive.put_file("f", None, b"same").unwrap();
    assert_one_item(&world, &world.run(&["f"]), &path);
}

#[test]
fn indistinguishable_items_are_unsettled_and_finalize_is_not_repeated() {
    let world = World::new();
    world.file_of("f", "same");
    unsettled(&world, &["f"], true);
    world.drive.put_file("f", None, b"same").unwrap();
    for _ in 0..2 {
        let Later { ran, requests } = later(&world, &["f"]);
        ran.fails(7).says("several items").says(&ids(&world)[0]).says(&ids(&world)[1]).says("hint:");
        assert!(requests.iter().all(|request| request.op != Op::Finalize));
    }
}

#[test]
fn content_that_cannot_be_compared_is_unsettled_and_finalize_is_not_repeated() {
    let encrypted =
        [Options { kms: true, ..Options::default() }, Options { mode: Mode::Sink, ..Options::default() }];
    for options in encrypted {
        let world = World::with(options);
        world.file("f", 2 * PART);
        world.drive.fault(Fault::once(Op::Finalize, Action::CloseAfterWork));
        for _ in 0..2 {
            world.run(&["f"]).fails(7).says("encrypted").says(&ids(&world)[0]);
        }
        assert_eq!((world.drive.items().len(), world.drive.record().count(Op::Finalize)), (1, 1));
    }
    // The service copied the object, so its ETag has another form.
    let world = World::new();
    let path = world.file("f", 20);
    world.drive.fault(Fault::once(Op::Finalize, Action::CloseAfterWork));
    let copied = world.drive.fault(Fault::new(Op::GetObject, Action::WrongEtag));
    world.run(&["f"]).fails(7).says("another form");
    world.drive.clear_fault(copied);
    assert_one_item(&world, &world.run(&["f"]), &path);
}

/// Leaves an upload that was killed during finalize, and touches its file.
fn killed_at_finalize_and_touched(world: &World, path: &Path) {
    let hang = world.drive.fault(Fault::once(Op::Finalize, Action::HangAfterBody));
    let running = world.spawn(&["f", "--no-checksum"]);
    wait_for_finalize(world);
    running.kill();
    world.drive.clear_fault(hang);

    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
    std::fs::File::options().write(true).open(path).unwrap().set_modified(later).unwrap();
}

#[test]
fn a_touched_file_without_checksums_is_looked_up_before_it_is_sent_again() {
    for size in [20, 2 * PART] {
        // MD5 ETags prove the content.
        let world = World::new();
        let path = world.file("f", size);
        killed_at_finalize_and_touched(&world, &path);
        assert_one_item(&world, &world.run(&["f", "--no-checksum"]), &path);
        // Other ETags prove nothing. The item may be this file.
        let world = World::with(Options { kms: true, ..Options::default() });
        let path = world.file("f", size);
        killed_at_finalize_and_touched(&world, &path);
        for _ in 0..2 {
            let Later { ran, requests } = later(&world, &["f", "--no-checksum"]);
            ran.fails(7).says("encrypted").says(&ids(&world)[0]);
            assert!(requests.iter().all(|request| request.op != Op::Finalize));
        }
        assert_eq!(ids(&world).len(), 1);
        // A file of another size is another file.
        let path = world.file("f", size + 1);
        let id = world.run(&["f", "--no-checksum"]).ok().id();
        world.assert_stored(&id, &path);
    }
}

#[test]
fn an_encrypted_item_of_another_size_is_ignored() {
    let world = World::with(Options { kms: true, ..Options::default() });
    world.file_of("f", "mine");
    unsettled(&world, &["f"], false);
    let other = world.drive.put_file("f", None, b"them").unwrap();
    world.drive.replace_object(&other, b"shorter than its item says? longer").unwrap();
    assert_ne!(world.run(&["f"]).ok().id(), other);
}

#[test]
fn two_interrupted_uploads_with_equal_content_do_not_share_one_item() {
    let world = World::new();
    file_in(&world, "a", "f", b"same");
    file_in(&world, "b", "f", b"same");
    unsettled(&world, &["a/f"], false);
    unsettled(&world, &["b/f"], true);
    for path in ["a/f", "b/f"] {
        let Later { ran, requests } = later(&world, &[path]);
        ran.fails(7).says("another upload");
        assert!(requests.iter().all(|request| request.op != Op::Finalize));
    }
    // With as many items as uploads, each upload gets one.
    world.drive.put_file("f", None, b"same").unwrap();
    let mut claimed = ["a/f", "b/f"].map(|path| world.run(&[path]).ok().id());
    claimed.sort();
    let mut there = ids(&world);
    there.sort();
    assert_eq!(claimed.to_vec(), there);
}

#[test]
fn an_interrupted_upload_with_other_content_does_not_interfere() {
    let world = World::new();
    let path = file_in(&world, "a", "f", b"same");
    file_in(&world, "b", "f", b"othr");
    unsettled(&world, &["b/f"], false);
    unsettled(&world, &["a/f"], true);
    let id = world.run(&["a/f"]).ok().id();
    world.assert_stored(&id, &path);
    assert_eq!(ids(&world), [id]);
}

#[test]
fn an_item_in_the_ledger_is_the_result_even_if_its_content_cannot_be_compared() {
    // A kill between the response and the removal of the record. The test puts the record back instead.
    let world = World::with(Options { kms: true, ..Options::default() });
    let path = world.file("f", 20);
    let hang = world.drive.fault(Fault::once(Op::Finalize, Action::HangAfterBody));
    let running = world.spawn(&["f"]);
    wait_for_finalize(&world);
    let record = only_record(&world);
    let text = std::fs::read(&record).unwrap();
    world.drive.clear_fault(hang);
    running.wait().ok();
    std::fs::write(&record, text).unwrap();
    let again = later(&world, &["f"]);
    assert_one_item(&world, &again.ran, &path);
    assert_eq!((again.count(Op::Finalize), again.count(Op::GetObject)), (0, 0));
}

#[test]
fn the_proof_works_without_checksums_and_for_empty_files() {
    let world = World::new();
    let path = world.file("f", 2 * PART);
    world.drive.fault(Fault::once(Op::Finalize, Action::CloseAfterWork));
    assert_one_item(&world, &world.run(&["f", "--no-checksum"]), &path);

    let world = World::new();
    let path = world.file_of("empty", "");
    world.drive.fault(Fault::once(Op::Finalize, Action::CloseAfterWork));
    assert_one_item(&world, &world.run(&["empty"]), &path);
    assert!(world.drive.record().requests_of(Op::GetObject).all(|get| get.status == Some(416)));
}

#[test]
fn the_request_for_one_byte_has_only_a_range_header() {
    let world = World::new();
    world.file("f", 2 * PART);
    world.drive.fault(Fault::once(Op::Finalize, Action::CloseAfterWork));
    world.run(&["f", "-vv"]).ok();
    let record = world.drive.record();
    assert_eq!(record.count(Op::GetObject), 1);
    let get = record.requests_of(Op::GetObject).next().unwrap();
    assert_eq!((get.status, get.body_bytes), (Some(206), 1));
    let mut headers: Vec<&str> = get.headers.keys().map(|name| name.as_str()).collect();
    headers.sort_unstable();
    assert_eq!(headers, ["host", "range"]);
    assert_eq!(get.headers["range"], "bytes=0-0");
}

#[test]
fn transient_failures_of_the_proof_are_retried() {
    let world = World::new();
    let path = world.file("f", 20);
    world.drive.fault(Fault::once(Op::Finalize, Action::CloseAfterWork));
    for action in [Action::Reset, Action::slow_down(), Action::ExpiredUrl, Action::ResetAfterWork] {
        world.drive.fault(Fault::once(Op::GetObject, action));
    }
    world.drive.fault(Fault::once(Op::Download, Action::status(503, "")));
    assert_one_item(&world, &world.run(&["f"]), &path);
    assert_eq!(world.drive.record().count(Op::GetObject), 5);
}

#[test]
fn an_unavailable_proof_is_unsettled() {
    let faults = [
        (Op::GetObject, Action::status(403, "")),
        (Op::GetObject, Action::ExpiredUrl),
        (Op::GetObject, Action::status(416, "")),
        (Op::GetObject, web_page()),
        (Op::GetObject, Action::HangAfterBody),
        (Op::GetObject, Action::Status { code: 206, headers: Vec::new(), body: "x".into() }),
        (Op::Download, Action::status(403, "")),
        (Op::Download, response(200, "{}")),
        (Op::Download, response(200, r#"{"url":""}"#)),
        (Op::Download, response(200, r#"{"url":"http://192.0.2.1/b?X-Amz-Signature=1"}"#)),
        (Op::Download, response(200, r#"{"url":"no url"}"#)),
        (Op::File, response(200, r#"{"_id":"0123456789abcdef01234567"}"#)),
    ];
    for (op, action) in faults {
        let world = World::new();
        let path = world.file("f", 20);
        world.drive.fault(Fault::once(Op::Finalize, Action::CloseAfterWork));
        let fault = world.drive.fault(Fault::new(op, action.clone()));
        let ran = world.run(&["f", "--max-retries", "1", "--stall-timeout", "1s"]);
        assert_eq!(ran.code, Some(7), "{op:?} {action:?}: {ran:#?}");
        ran.says("settled").says_nothing_of("X-Amz-Signature=1");
        world.drive.clear_fault(fault);
        assert_one_item(&world, &world.run(&["f"]), &path);
        assert_eq!(world.drive.record().count(Op::Finalize), 1);
    }
}

#[test]
fn a_response_that_ignores_the_range_is_accepted() {
    let world = World::new();
    let path = world.file_of("f", "hello");
    world.drive.fault(Fault::once(Op::Finalize, Action::CloseAfterWork));
    let etag = ("etag".to_owned(), "\"62109206880d38a4010a98e11243924a-1\"".to_owned());
    let whole = Action::Status { code: 200, headers: vec![etag], body: "hello".into() };
    world.drive.fault(Fault::once(Op::GetObject, whole));
    assert_one_item(&world, &world.run(&["f"]), &path);
}

#[test]
fn a_listed_item_without_a_download_is_unsettled_and_finalize_is_not_repeated() {
    let world = World::new();
    let path = world.file("f", 2 * PART);
    world.drive.fault(Fault::once(Op::Finalize, Action::CloseAfterWork));
    let missing = world.drive.fault(Fault::new(Op::Download, response(404, "{}")));
    world.run(&["f"]).fails(7).says("unsettled");
    world.drive.clear_fault(missing);
    assert_one_item(&world, &world.run(&["f"]), &path);
    assert_eq!(world.drive.record().count(Op::Finalize), 1);
}
