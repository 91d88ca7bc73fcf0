//! One or more files of critical sizes are uploaded correctly and into the right folder.

use std::collections::BTreeSet;

use local_drive::{Op, Options};
use serde_json::json;

use crate::support::{MIB, PART, World, sha256_of};

#[test]
fn files_of_critical_sizes_are_stored_unchanged() {
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
fn a_file_of_200_mib_is_stored_unchanged() {
    let world = World::new();
    let path = world.file("large.bin", 200 * MIB);
    let ran = world.run(&["large.bin"]);
    world.assert_stored(&ran.ok().id(), &path);
    let before = world.drive.record().bytes_received_on_storage();
    // With one part in flight there is no hedging, so no byte is sent twice.
    world.run(&["large.bin", "-j1"]).ok();
    let received = world.drive.record().bytes_received_on_storage() - before;
    assert_eq!(received, 200 * MIB, "bytes were sent twice");
}

#[test]
fn part_size_is_the_size_of_the_parts() {
    let world = World::new();
    let path = world.file("file.bin", 17 * MIB);
    let ran = world.run(&["file.bin", "--part-size", "8MiB"]);
    world.assert_stored(&ran.ok().id(), &path);
    let record = world.drive.record();
    let sizes: BTreeSet<_> = record.requests_of(Op::PutPart).map(|put| (put.part, put.body_bytes)).collect();
    assert_eq!(sizes, [(Some(1), 8 * MIB), (Some(2), 8 * MIB), (Some(3), MIB)].into());
}

#[test]
fn files_are_stored_unchanged_without_checksums() {
    let world = World::new();
    let path = world.file("file.bin", PART + 1);
    world.assert_stored(&world.run(&["--no-checksum", "file.bin"]).ok().id(), &path);
}

#[test]
fn an_upload_makes_each_call_once_with_the_documented_fields() {
    let world = World::new();
    world.file("file.bin", PART + 1);
    let id = world.run(&["file.bin"]).ok().id();
    let record = world.drive.record();
    let of = |op| record.requests_of(op).map(|call| call.json.clone().unwrap()).collect::<Vec<_>>();
    let start =
        json!({ "fileName": "file.bin", "fileSize": PART + 1, "mimeType": "application/octet-stream" });
    assert_eq!(of(Op::Start), [start], "parentId must be absent, not null");
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
    assert_eq!(finalize[0]["parts"], json!(parts), "parts must be ascending and ETags unquoted");
    assert_eq!(record.count(Op::AnyApi), 3, "unexpected calls");
    for call in record.requests_of(Op::AnyApi) {
        assert_eq!(call.headers["authorization"], format!("Bearer {}", world.drive.token()));
    }
    assert_eq!(world.only_item()["_id"], id);
}

#[test]
fn the_option_overrides_the_variable_and_the_variable_the_profile() {
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
fn each_of_many_files_has_its_own_item() {
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
fn a_file_given_twice_is_uploaded_twice() {
    let world = World::new();
    world.file("f", 10);
    let ran = world.run(&["f", "f"]);
    let ids: BTreeSet<_> = ran.ok().json_lines().iter().map(|item| item["_id"].to_string()).collect();
    assert_eq!((ids.len(), world.drive.items().len()), (2, 2));
}

#[test]
fn the_item_has_the_last_component_of_the_path_as_its_name() {
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
fn a_service_with_a_wrong_clock_works() {
    for hours in [-30, 30] {
        let offset = jiff::SignedDuration::from_hours(hours);
        let world = World::with(Options { clock_offset: offset, ..Options::default() });
        let path = world.file("f", PART + 1);
        world.assert_stored(&world.run(&["f"]).ok().id(), &path);
        assert_eq!(
            world.drive.record().count(Op::Urls),
            1,
            "the URLs were renewed although they had not expired"
        );
    }
}

#[test]
fn each_run_stores_the_current_content() {
    let world = World::new();
    let first = sha256_of(&world.file("f", 2 * PART));
    let one = world.run(&["f"]).ok().id();
    let second = sha256_of(&world.file_of("f", "another content"));
    let two = world.run(&["f"]).ok().id();
    assert_eq!(world.drive.object_sha256(&one).unwrap(), first);
    assert_eq!(world.drive.object_sha256(&two).unwrap(), second);
}
