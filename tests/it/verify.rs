//! `--verify`: proves that the object in the drive has the bytes of the file.

use local_drive::{Action, Fault, Mode, Op, Options};

use crate::halfway::{Halfway, assert_warns, later, records, wait_for};
use crate::program::unix_only;
use crate::support::{CAP, PART, Ran, World, refusal, web_page};

/// The only row of a report.
fn row(ran: &Ran) -> serde_json::Value {
    let rows = ran.json_lines();
    assert_eq!(rows.len(), 1, "{ran:#?}");
    rows.into_iter().next().unwrap()
}

const REPORT: [&str; 2] = ["-o", "report"];

#[test]
fn the_etag_of_one_byte_proves_size_and_content() {
    for size in [0, 1, PART, 3 * PART + 5] {
        let world = World::new();
        let path = world.file("f", size);
        let ran = later(&world, &[&["f", "--verify"], &REPORT[..]].concat());
        let row = row(ran.ran.ok());
        assert_eq!((&row["status"], &row["verified"]), (&"uploaded".into(), &"etag".into()));
        assert_eq!((ran.count(Op::Download), ran.count(Op::GetObject)), (1, 1));
        let get = ran.requests.iter().find(|request| request.op == Op::GetObject).unwrap();
        assert_eq!(get.headers["range"], "bytes=0-0");
        ran.ran.says(", verified");
        world.assert_stored(row["item"]["_id"].as_str().unwrap(), &path);
        assert_eq!(records(&world).len(), 0);
    }
}

#[test]
fn without_the_option_nothing_is_requested_or_claimed() {
    let world = World::new();
    world.file("f", 10);
    let ran = later(&world, &[&["f"], &REPORT[..]].concat());
    assert_eq!(row(ran.ran.ok()).get("verified"), None);
    assert_eq!((ran.count(Op::Download), ran.count(Op::GetObject)), (0, 0));
}

#[test]
fn an_object_with_an_inconclusive_etag_is_downloaded_and_compared() {
    let copied = || Fault::new(Op::GetObject, Action::WrongEtag);
    for (options, fault) in
        [(Options { kms: true, ..Options::default() }, None), (Options::default(), Some(copied()))]
    {
        let world = World::with(options);
        world.file("f", 2 * PART + 5);
        fault.map(|fault| world.drive.fault(fault));
        let ran = later(&world, &[&["f", "--verify", "-v"], &REPORT[..]].concat());
        assert_eq!(row(ran.ran.ok())["verified"], "download");
        assert_eq!(ran.count(Op::GetObject), 2);
        ran.ran.says("proves nothing: downloading");
    }
}

#[test]
fn full_always_downloads() {
    for size in [1, 2 * PART + 5] {
        let world = World::new();
        world.file("f", size);
        let ran = later(&world, &[&["f", "--verify=full"], &REPORT[..]].concat());
        assert_eq!(row(ran.ran.ok())["verified"], "download");
        assert_eq!(ran.count(Op::GetObject), 2);
    }
    let world = World::new();
    world.file("f", 0);
    assert_eq!(row(world.run(&[&["f", "--verify=full"], &REPORT[..]].concat()).ok())["verified"], "download");
}

/// Uploads a file and replaces its object between finalize and verification.
fn upload_and_replace(world: &World, content: &[u8], args: &[&str]) -> Ran {
    let hold = world.drive.fault(Fault::new(Op::Download, Action::Stall { after: 0 }));
    let running = world.spawn(&[&["f"], args].concat());
    world.drive.wait_until(CAP, |record| record.count(Op::Download) == 1).unwrap();
    world.drive.replace_object(world.only_item()["_id"].as_str().unwrap(), content).unwrap();
    world.drive.clear_fault(hold);
    running.wait()
}

#[test]
fn a_difference_is_an_error_that_names_the_item() {
    let same_size = [b'x'; 100];
    for (content, how) in [
        (&b"short"[..], "--verify"),
        (&same_size[..], "--verify"),
        (&same_size[..], "--verify=full"),
        (b"", "--verify"),
    ] {
        let world = World::new();
        world.file("f", 100);
        let ran = upload_and_replace(&world, content, &[how]);
        let id = world.only_item()["_id"].as_str().unwrap().to_owned();
        ran.fails(1).says("the drive does not hold the file").says(&id).says("hint: delete that item");
        // The same command uploads the file again.
        assert_ne!(world.run(&["f", "--verify"]).ok().id(), id);

        let world = World::new();
        world.file("f", 100);
        let row = row(upload_and_replace(&world, content, &[&[how], &REPORT[..]].concat()).ends(1));
        assert_eq!((&row["status"], &row["error"]["code"]), (&"failed".into(), &"integrity".into()));
        assert_eq!(row["item"]["_id"], world.only_item()["_id"]);
        assert_eq!(row.get("verified"), None);
    }
}

#[test]
fn a_download_finds_one_wrong_byte() {
    let world = World::with(Options { kms: true, ..Options::default() });
    let path = world.file("f", 2 * PART + 5);
    let mut content = std::fs::read(path).unwrap();
    content[PART as usize + 7] ^= 1;
    upload_and_replace(&world, &content, &["--verify"])
        .fails(1)
        .says(&format!("bytes {PART} to {}", 2 * PART - 1));
}

#[test]
fn without_a_proof_the_same_command_only_verifies() {
    for (fault, code, report_code) in [
        (Fault::new(Op::Download, Action::status(503, "")), 7, "network"),
        (Fault::new(Op::GetObject, Action::Reset), 7, "network"),
        (Fault::new(Op::GetObject, Action::status(403, "")), 1, "refused"),
        (Fault::new(Op::GetObject, Action::status(416, "")), 1, "refused"),
        (Fault::new(Op::GetObject, web_page()), 1, "refused"),
    ] {
        for size in [10, 2 * PART] {
            let world = World::new();
            let path = world.file("f", size);
            let fault = world.drive.fault(fault.clone());
            let args = [&["f", "--verify", "--retry-for", "0"], &REPORT[..]].concat();
            let first = world.run(&args);
            let failed = row(first.ends(code));
            assert_eq!(
                (&failed["error"]["code"], &failed["item"]),
                (&report_code.into(), &world.only_item())
            );
            first.says("not verified").says("hint: ");
            world.drive.clear_fault(fault);
            let again = later(&world, &args);
            let done = row(again.ran.ok());
            assert_eq!((&done["verified"], &done["item"]), (&"etag".into(), &world.only_item()));
            assert_eq!(
                (again.count(Op::Start), again.count(Op::PutPart), again.count(Op::Finalize)),
                (0, 0, 0)
            );
            world.assert_stored(done["item"]["_id"].as_str().unwrap(), &path);
            assert_eq!(records(&world).len(), 0);
        }
    }
}

#[test]
fn the_item_of_an_earlier_content_is_named() {
    let world = World::new();
    world.file("f", 2 * PART);
    let fault = world.drive.fault(Fault::new(Op::GetObject, Action::status(403, "")));
    world.run(&["f", "--verify"]).fails(1);
    let item = world.only_item()["_id"].as_str().unwrap().to_owned();
    world.drive.clear_fault(fault);
    world.file("f", 2 * PART + 1);
    world.run(&["f", "--verify"]).ok().says(&format!("its item {item} remains"));
}

#[test]
fn after_a_kill_the_same_command_only_verifies() {
    for others in [&[][..], &["g", "h"]] {
        let world = World::new();
        for name in ["f", "g", "h"] {
            world.file(name, 2 * PART);
        }
        let hold = world.drive.fault(Fault::new(Op::GetObject, Action::Stall { after: 0 }));
        let args = [&["f"], others, &["--verify"]].concat();
        let running = world.spawn(&args);
        let all = 1 + others.len();
        world.drive.wait_until(CAP, |record| record.count(Op::GetObject) == all).unwrap();
        running.kill();
        world.drive.clear_fault(hold);
        let again = later(&world, &args);
        assert_eq!(again.ran.ok().json_lines().len(), all);
        assert_eq!(
            (again.count(Op::Start), again.count(Op::Finalize), again.count(Op::GetObject)),
            (0, 0, all)
        );
        assert_eq!(world.drive.items().len(), all);
        wait_for("no records", || records(&world).is_empty());
    }
}

#[test]
fn an_unverified_item_that_was_deleted_is_uploaded_again_without_verify_too() {
    let world = World::new();
    let path = world.file("f", 2 * PART);
    let fault = world.drive.fault(Fault::new(Op::GetObject, Action::status(403, "")));
    world.run(&["f", "--verify"]).fails(1);
    let item = world.only_item()["_id"].as_str().unwrap().to_owned();
    world.drive.clear_fault(fault);
    world.drive.remove_item(&item);
    let again = world.run(&["f"]);
    world.assert_stored(&again.ok().id(), &path);
    assert_eq!(world.drive.items().len(), 1);
    assert_ne!(again.id(), item);
}

#[test]
fn an_item_deleted_before_verification_is_uploaded_again() {
    let world = World::new();
    let path = world.file("f", 2 * PART);
    let fault = world.drive.fault(Fault::new(Op::GetObject, Action::status(503, "")));
    world.run(&["f", "--verify", "--retry-for", "0"]).fails(7);
    world.drive.clear_fault(fault);
    world.drive.remove_item(world.only_item()["_id"].as_str().unwrap());
    let id = world.run(&["f", "--verify"]).ok().id();
    world.assert_stored(&id, &path);
}

#[test]
fn a_resumed_upload_is_verified_too() {
    let world = World::new();
    let path = world.file("f", 4 * PART);
    Halfway::of(&world, &path, 2, &["--verify"]).killed(&world);
    let again = later(&world, &[&["f", "--verify"], &REPORT[..]].concat());
    assert_eq!(row(again.ran.ok())["verified"], "etag");
    assert_eq!(again.parts(), [3, 4]);
}

#[test]
fn a_lost_download_continues_by_range() {
    let world = World::new();
    let path = world.file("f", 3 * PART);
    world.drive.fault(Fault::new(Op::GetObject, Action::ResetAfter(PART + 100_000)).skip(1).times(1));
    let ran = later(&world, &["f", "--verify=full"]);
    ran.ran.ok();
    let ranges: Vec<_> = ran
        .requests
        .iter()
        .filter(|request| request.op == Op::GetObject)
        .map(|get| get.headers["range"].to_str().unwrap().to_owned())
        .collect();
    assert_eq!(ranges.len(), 3, "{ranges:?}");
    assert_eq!((ranges[0].as_str(), ranges[1].as_str()), ("bytes=0-0", "bytes=0-"));
    let from: u64 = ranges[2].strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap();
    assert!(from > 0 && from <= PART + 100_000, "{ranges:?}");
    world.assert_stored(&ran.ran.id(), &path);
}

#[test]
fn a_stalled_download_is_retried() {
    let world = World::new();
    world.file("f", 2 * PART);
    world.drive.fault(Fault::new(Op::GetObject, Action::Stall { after: 1000 }).skip(1).times(1));
    world.run(&["f", "--verify=full", "--stall-timeout", "1s"]).ok();
}

#[test]
fn expired_download_urls_are_renewed() {
    let world = World::new();
    world.file("f", 10);
    world.drive.fault(Fault::new(Op::GetObject, Action::ExpiredUrl).times(2));
    let ran = later(&world, &["f", "--verify"]);
    ran.ran.ok();
    assert_eq!(ran.count(Op::Download), 3);
}

#[test]
fn verify_conflicts_with_no_checksum() {
    let world = World::new();
    world.file("f", 10);
    world.run(&["f", "--verify", "--no-checksum"]).fails(2).says("--no-checksum");
    world.run(&["f", "--verify=some"]).fails(2).says("auto");
    world.run(&["f", "--verify=off", "--no-checksum", "--dry-run"]).ok();
    assert_eq!(world.drive.record().count(Op::Any), 0);
    // The command line overrides the configuration.
    world.file_of(".copera.toml", "[profiles.default]\nverify = true");
    let ran = world.run(&[&["f", "--no-checksum"], &REPORT[..]].concat());
    assert_eq!(row(ran.ok()).get("verified"), None);
    assert_warns(&ran, "verify is ignored");
    world.file_of(".copera.toml", "[profiles.default]\nno_checksum = true");
    let ran = world.run(&[&["f", "--verify"], &REPORT[..]].concat());
    assert_eq!(row(ran.ok())["verified"], "etag");
    assert_warns(&ran, "no_checksum is ignored");
}

#[test]
fn a_profile_enables_verification() {
    let world = World::new();
    world.file("f", 10);
    world.file_of(".copera.toml", "[profiles.default]\nverify = true");
    assert_eq!(row(world.run(&[&["f", "--verify=off"], &REPORT[..]].concat()).ok()).get("verified"), None);
    for (value, verified) in [("true", "etag"), ("'auto'", "etag"), ("'full'", "download"), ("false", "")] {
        world.file_of(".copera.toml", format!("[profiles.default]\nverify = {value}"));
        let row = row(world.run(&[&["f"], &REPORT[..]].concat()).ok());
        assert_eq!(row.get("verified").map_or("", |verified| verified.as_str().unwrap()), verified);
    }
}

#[test]
fn skipped_and_earlier_files_are_not_verified() {
    let world = World::new();
    world.file("f", 10);
    world.run(&["f"]).ok();
    let skipped = later(&world, &[&["f", "--verify", "--if-exists", "skip"], &REPORT[..]].concat());
    assert_eq!(row(skipped.ran.ok()).get("verified"), None);
    assert_eq!(skipped.count(Op::GetObject), 0);
    world.run(&["f", "late"]).ends(9);
    world.file("late", 10);
    let again = later(&world, &[&["f", "late", "--verify"], &REPORT[..]].concat());
    let verified: Vec<_> =
        again.ran.ok().json_lines().iter().map(|row| row.get("verified").is_some()).collect();
    assert_eq!(verified.iter().filter(|verified| **verified).count(), 1);
    assert_eq!(again.count(Op::GetObject), 1);
}

#[test]
fn a_lost_finalize_and_standard_input_are_verified() {
    let world = World::new();
    let path = world.file("f", 2 * PART);
    world.drive.fault(Fault::new(Op::Finalize, Action::CloseAfterWork).times(1));
    assert_eq!(row(world.run(&[&["f", "--verify"], &REPORT[..]].concat()).ok())["verified"], "etag");
    world.drive.clear_faults();
    let mut command = world.command(&["-", "--name", "x", "--verify", "-o", "report"]);
    command.stdin(std::fs::File::open(path).unwrap());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    assert_eq!(row(world.spawn_with(command).wait().ok())["verified"], "etag");
}

#[test]
fn a_lost_finalize_in_an_encrypted_bucket_is_reconciled_by_download() {
    let world = World::with(Options { kms: true, ..Options::default() });
    let path = world.file("f", 2 * PART);
    let other = world.drive.put_file("f", None, &vec![0; 2 * PART as usize]).unwrap();
    world.drive.fault(Fault::once(Op::Finalize, Action::CloseAfterWork));
    let id = world.run(&["f", "--verify"]).ok().id();
    assert_ne!(id, other);
    world.assert_stored(&id, &path);
    assert_eq!(world.drive.items().len(), 2);
}

#[test]
fn verification_fails_for_discarded_bytes() {
    let world = World::with(Options { mode: Mode::Sink, ..Options::default() });
    world.file("f", 10);
    let ran = world.run(&["f", "--verify", "--retry-for", "0"]);
    assert_ne!(ran.code, Some(0), "{ran:#?}");
}

#[test]
fn an_unavailable_object_is_not_uploaded_again() {
    let world = World::new();
    world.file("f", 10);
    world.drive.fault(Fault::new(Op::Download, refusal(404, "not found")));
    for _ in 0..3 {
        world.run(&["f", "--verify"]).fails(1).says("but not verified");
    }
    assert_eq!(world.drive.items().len(), 1);
}

#[test]
fn an_item_known_to_be_wrong_is_not_skipped() {
    for mode in ["skip", "newer"] {
        let world = World::new();
        let path = world.file("f", 10);
        let fault = world.drive.fault(Fault::new(Op::GetObject, Action::CorruptStored));
        let args = ["f", "--verify=full", "--if-exists", mode];
        world.run(&args).fails(1).says("is wrong");
        world.drive.clear_fault(fault);
        let ran = world.run(&args);
        ran.ok().says("an earlier run found that its content is wrong: delete that item");
        world.assert_stored(&ran.id(), &path);
        assert_eq!(world.drive.items().len(), 2);
        // The second item is right.
        assert_eq!(world.run(&args).ok().id(), ran.id());
    }
}

#[test]
fn without_a_record_the_hint_announces_another_upload() {
    let world = World::new();
    world.file("f", 10);
    world.drive.fault(Fault::new(Op::GetObject, Action::status(503, "")));
    let ran = world.run(&["f", "--verify", "--no-resume", "--retry-for", "0"]);
    ran.fails(7).says("the same command uploads the file again");
}

#[cfg(unix)]
#[test]
fn an_interruption_during_verification_names_the_item() {
    let world = World::new();
    world.file("f", 2 * PART);
    world.drive.fault(Fault::new(Op::GetObject, Action::Stall { after: 0 }));
    let run = world.spawn(&["f", "--verify", "-o", "report"]);
    world.drive.wait_until(CAP, |record| record.count(Op::GetObject) == 1).unwrap();
    run.signal("INT");
    let ran = run.wait();
    let row = row(ran.ends(130));
    assert_eq!(row["status"], "interrupted");
    let id = row["item"]["_id"].as_str().unwrap();
    ran.says(&format!("f: uploaded as item {id}, but not verified: interrupted")).says_nothing_of("kept");
}

#[test]
fn a_change_during_finalize_or_verification_is_reported() {
    for (op, action) in [(Op::Finalize, Action::HangAfterBody), (Op::GetObject, Action::Stall { after: 0 })] {
        let world = World::new();
        let path = world.file("f", 10);
        let hold = world.drive.fault(Fault::new(op, action));
        let run = world.spawn(if op == Op::GetObject { &["f", "--verify"] } else { &["f"] });
        world.drive.wait_until(CAP, |record| record.count(op) == 1).unwrap();
        std::fs::write(path, "changed").unwrap();
        world.drive.clear_fault(hold);
        run.wait().ok().says("the file may have changed after it was read");
    }
}

#[test]
fn a_change_is_reported_for_an_item_that_is_looked_up_or_on_record() {
    for args in [&["f"][..], &["f", "--verify"]] {
        let world = World::new();
        let path = world.file("f", 2 * PART);
        let hold = world.drive.fault(Fault::new(Op::GetObject, Action::Stall { after: 0 }));
        let mut run;
        if args.len() == 1 {
            // The answer to finalize is lost, and the item's content is being compared.
            world.drive.fault(Fault::once(Op::Finalize, Action::CloseAfterWork));
            run = world.spawn(args);
            world.drive.wait_until(CAP, |record| record.count(Op::GetObject) == 1).unwrap();
        } else {
            run = world.spawn(args);
            world.drive.wait_until(CAP, |record| record.count(Op::GetObject) == 1).unwrap();
            run.kill();
            run = world.spawn(args);
            world.drive.wait_until(CAP, |record| record.count(Op::GetObject) == 2).unwrap();
        }
        std::fs::write(path, "changed").unwrap();
        world.drive.clear_fault(hold);
        run.wait().ok().says("the file may have changed after it was read");
        assert_eq!(world.drive.items().len(), 1);
    }
}

#[test]
fn a_wrong_item_that_cannot_be_recorded_causes_a_warning() {
    unix_only!("file size limits exist only on Unix");
    let world = World::new();
    world.file("f", 10);
    world.drive.fault(Fault::new(Op::GetObject, Action::CorruptStored));
    let ran = world.spawn_limited("ulimit -f 0", &["f", "--verify=full"]).wait();
    ran.fails(1).says("is wrong").says("later runs will not know that this item is wrong (File too large");
    let left: Vec<_> = std::fs::read_dir(world.state_dir()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}
