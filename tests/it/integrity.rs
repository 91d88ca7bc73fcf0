//! Wrong files are detected: each part in storage is compared with what was sent.

use local_drive::{Action, Fault, Op};

use crate::halfway::{assert_one_item, later};
use crate::support::{PART, World};

#[test]
fn a_part_with_a_wrong_etag_is_sent_again() {
    for action in [Action::WrongEtag, Action::CorruptStored] {
        let world = World::new();
        let path = world.file("file.bin", 3 * PART);
        world.drive.fault(Fault::once(Op::PutPart, action.clone()).part(2));
        let ran = world.run(&["-v", "file.bin", "-j1"]);
        assert_one_item(&world, &ran, &path);
        assert_eq!(world.drive.record().count(Op::PutPart), 4, "{action:?}");
        ran.says("other bytes than were sent");
    }
}

#[test]
fn parts_that_are_always_corrupted_are_an_error_and_not_an_item() {
    for action in [Action::WrongEtag, Action::CorruptStored] {
        for size in [20, 3 * PART] {
            let world = World::new();
            let path = world.file("file.bin", size);
            world.drive.fault(Fault::new(Op::PutPart, action.clone()).part(1));
            world.run(&["file.bin"]).fails(1).says("MD5").says("hint:");
            let record = world.drive.record();
            assert_eq!((record.count(Op::Finalize), world.drive.items().len()), (0, 0), "{action:?}");
            assert!(record.requests_of(Op::PutPart).filter(|put| put.part == Some(1)).count() <= 5);

            // Without the corruption, the same command completes the upload.
            world.drive.clear_faults();
            let again = later(&world, &["file.bin"]);
            assert_one_item(&world, &again.ran, &path);
            assert!(again.parts().contains(&1), "a corrupt part is on record");
        }
    }
}

#[test]
fn an_etag_that_is_not_an_md5_is_not_compared() {
    let world = World::new();
    let path = world.file("file.bin", 3 * PART);
    world.drive.fault(Fault::new(Op::PutPart, Action::Kms));
    let ran = world.run(&["file.bin", "-j1"]);
    assert_one_item(&world, &ran, &path);
    assert_eq!(world.drive.record().count(Op::PutPart), 3);
}

#[test]
fn parts_with_kms_etags_are_kept_and_compared_if_the_file_was_touched() {
    for touched in [false, true] {
        let world = World::new();
        let path = world.file("file.bin", 4 * PART);
        let kms = world.drive.fault(Fault::new(Op::PutPart, Action::Kms).times(2));
        world.drive.fault(Fault::new(Op::PutPart, Action::internal_error()));
        world.run(&["file.bin", "-j1", "--max-retries", "0"]).fails(7);
        assert_eq!(world.drive.fault_used(kms), 2);
        world.drive.clear_faults();
        if touched {
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(std::time::SystemTime::now()).unwrap();
        }
        let again = later(&world, &["file.bin"]);
        assert_one_item(&world, &again.ran, &path);
        assert_eq!(again.parts(), [3, 4], "touched: {touched}");
    }
}

#[test]
fn no_checksum_disables_the_comparison() {
    let world = World::new();
    let path = world.file("file.bin", 2 * PART);
    world.drive.fault(Fault::new(Op::PutPart, Action::CorruptStored).part(2));
    let ran = world.run(&["file.bin", "-j1", "--no-checksum"]);
    let id = ran.ok().id();
    assert_eq!(world.drive.record().count(Op::PutPart), 2);
    assert_ne!(world.drive.object_sha256(&id).unwrap(), crate::support::sha256_of(&path));
}

#[test]
fn finalize_lists_each_part_once_in_order_with_its_etag() {
    let world = World::new();
    world.file("file.bin", 9 * PART + 1);
    for part in [1, 4, 10] {
        world.drive.fault(Fault::once(Op::PutPart, Action::internal_error()).part(part));
    }
    world.run(&["file.bin"]).ok();
    let record = world.drive.record();
    let finalize = record.requests_of(Op::Finalize).next().unwrap();
    let stored = record.stored_parts(&crate::halfway::only_upload(&world));
    let wanted: Vec<_> = stored
        .iter()
        .map(|part| serde_json::json!({ "partNumber": part.number, "eTag": part.etag }))
        .collect();
    assert_eq!(wanted.len(), 10);
    assert_eq!(finalize.json.as_ref().unwrap()["parts"], serde_json::Value::Array(wanted));
}
