//! Files of the sizes that matter arrive whole, one or several, where they were meant to go.

use std::collections::BTreeSet;

use local_drive::{Op, Options};
use serde_json::json;

use crate::support::{MIB, PART, World, sha256_of};

#[test]
fn files_of_every_size_arrive_byte_for_byte() {
    let world = World::new();
    for (size, parts) in
        [(0, 1), (1, 1), (PART - 1, 1), (PART, 1), (PART + 1, 2), (2 * PART, 2), (3 * PART + 12_345, 4)]
    {
        let path = world.file("file.bin", size);
        let puts = world.drive.record().count(Op::PutPart);
        let ran = world.run(&["file.bin"]);
        world.assert_stored(&ran.ok().id(), &path);
        assert_eq!(ran.json()["size"], size);
        assert_eq!(world.drive.record().count(Op::PutPart) - puts, parts, "{size} bytes");
    }
}

#[test]
fn a_file_of_200_mib_arrives_byte_for_byte() {
    let world = World::new();
    let path = world.file("large.bin", 200 * MIB);
    let ran = world.run(&["large.bin"]);
    world.assert_stored(&ran.ok().id(), &path);
    let before = world.drive.record().bytes_received_on_storage();
    // One part in flight: nothing is sent twice to save time.
    world.run(&["large.bin", "-j1"]).ok();
    let received = world.drive.record().bytes_received_on_storage() - before;
    assert_eq!(received, 200 * MIB, "every byte once");
}

#[test]
fn the_part_size_asked_for_is_the_part_size_sent() {
    let world = World::new();
    let path = world.file("file.bin", 17 * MIB);
    let ran = world.run(&["file.bin", "--part-size", "8MiB"]);
    world.assert_stored(&ran.ok().id(), &path);
    let record = world.drive.record();
    let sizes: BTreeSet<_> = record.requests_of(Op::PutPart).map(|put| (put.part, put.body_bytes)).collect();
    assert_eq!(sizes, [(Some(1), 8 * MIB), (Some(2), 8 * MIB), (Some(3), MIB)].into());
}

#[test]
fn without_the_checksum_files_arrive_as_well() {
    let world = World::new();
    let path = world.file("file.bin", PART + 1);
    world.assert_stored(&world.run(&["--no-checksum", "file.bin"]).ok().id(), &path);
}

#[test]
fn the_service_is_asked_for_each_step_once_and_with_what_it_needs() {
    let world = World::new();
    world.file("file.bin", PART + 1);
    let id = world.run(&["file.bin"]).ok().id();
    let record = world.drive.record();
    let of = |op| record.requests_of(op).map(|call| call.json.clone().unwrap()).collect::<Vec<_>>();
    let start =
        json!({ "fileName": "file.bin", "fileSize": PART + 1, "mimeType": "application/octet-stream" });
    assert_eq!(of(Op::Start), [start], "no parentId, rather than null");
    let urls = of(Op::Urls);
    assert_eq!((urls.len(), &urls[0]["parts"]), (1, &json!(2)));
    let finalize = of(Op::Finalize);
    assert_eq!(finalize.len(), 1);
    let upload = finalize[0]["uploadId"].as_str().unwrap();
    let parts: Vec<_> = record
        .stored_parts(upload)
        .iter()
        .map(|part| json!({ "partNumber": part.number, "eTag": part.etag }))
        .collect();
    assert_eq!(finalize[0]["parts"], json!(parts), "ascending, ETags without quotes");
    assert_eq!(record.count(Op::AnyApi), 3, "and nothing else");
    for call in record.requests_of(Op::AnyApi) {
        assert_eq!(call.headers["authorization"], format!("Bearer {}", world.drive.token()));
    }
    assert_eq!(world.only_item()["_id"], id);
}

#[test]
fn a_folder_is_named_by_option_or_variable_or_profile_in_that_order() {
    let mut world = World::new();
    world.file("f", 1);
    let folder = |name| world.drive.make_folder(name, None);
    let (option, variable, profile) = (folder("option"), folder("variable"), folder("profile"));
    world.file_of(".copera.local.toml", format!("[profiles.default]\nparent = \"{profile}\"\n"));
    let parent = |world: &World, args: &[&str]| world.run(args).ok().json()["parent"].clone();
    assert_eq!(parent(&world, &["f"]), profile);
    world.set("COPERA_PARENT_ID", &variable);
    assert_eq!(parent(&world, &["f"]), variable);
    assert_eq!(parent(&world, &["f", "--parent", &option]), option);
    assert_eq!(parent(&world, &["f", "-p", &option]), option);
    let last = world.drive.record().requests_of(Op::Start).last().unwrap().json.clone().unwrap();
    assert_eq!(last["parentId"], option);
}

#[test]
fn many_files_arrive_each_with_its_own_item() {
    let world = World::new();
    let names: Vec<String> = (0..40).map(|n| format!("file-{n}")).collect();
    for (name, size) in names.iter().zip(1..) {
        world.file(name, size * 1000);
    }
    let ran = world.run(&names);
    let items = ran.ok().json_lines();
    assert_eq!(items.len(), names.len());
    for item in items {
        let path = world.work().join(item["name"].as_str().unwrap());
        world.assert_stored(item["_id"].as_str().unwrap(), &path);
    }
}

#[test]
fn the_same_file_given_twice_is_uploaded_twice() {
    let world = World::new();
    world.file("f", 10);
    let ran = world.run(&["f", "f"]);
    let ids: BTreeSet<_> = ran.ok().json_lines().iter().map(|item| item["_id"].to_string()).collect();
    assert_eq!((ids.len(), world.drive.items().len()), (2, 2));
}

#[test]
fn a_path_may_lead_anywhere_and_the_name_is_its_last_part() {
    let world = World::new();
    std::fs::create_dir_all(world.work().join("a/b")).unwrap();
    let path = world.file("a/b/c.bin", 100);
    let absolute = path.to_str().unwrap();
    for given in ["a/b/c.bin", "./a/b/c.bin", "a/../a/b//c.bin", absolute] {
        let ran = world.run(&[given]);
        assert_eq!(ran.ok().json()["name"], "c.bin", "{given}");
    }
}

#[test]
fn a_service_with_another_clock_is_served_all_the_same() {
    for hours in [-30, 30] {
        let offset = jiff::SignedDuration::from_hours(hours);
        let world = World::with(Options { clock_offset: offset, ..Options::default() });
        let path = world.file("f", PART + 1);
        world.assert_stored(&world.run(&["f"]).ok().id(), &path);
        assert_eq!(world.drive.record().count(Op::Urls), 1, "the URLs were good for an hour, by its clock");
    }
}

#[test]
fn what_is_stored_is_the_file_as_it_is_in_each_run() {
    let world = World::new();
    let first = sha256_of(&world.file("f", 2 * PART));
    let one = world.run(&["f"]).ok().id();
    let second = sha256_of(&world.file_of("f", "another content"));
    let two = world.run(&["f"]).ok().id();
    assert_eq!(world.drive.object_sha256(&one).unwrap(), first);
    assert_eq!(world.drive.object_sha256(&two).unwrap(), second);
}
