//! Successful responses without required fields. They must never be taken for "nothing exists".

use local_drive::{Action, Fault, Op, Options};
use serde_json::{Value, json};

use crate::halfway::{assert_one_item, later};
use crate::support::{World, response};

/// Responses that are not a listing of a folder.
fn not_listings() -> Vec<Value> {
    vec![
        json!({}),
        json!({ "error": "Something went wrong" }),
        json!({ "statusCode": 500, "message": "Something went wrong" }),
        json!({ "root": null, "truncated": false }),
        json!({ "root": {}, "truncated": false }),
        json!({ "root": [null] }),
        json!({ "root": [[]] }),
        json!({ "root": ["f"] }),
        json!({ "root": [], "truncated": "no" }),
        json!({ "hits": [], "totalHits": 0 }),
        json!({ "items": [] }),
        json!([]),
        json!([[], false]),
        json!(null),
    ]
}

/// Responses that are not results of a search.
fn not_search_results() -> Vec<Value> {
    vec![
        json!({}),
        json!({ "error": "Something went wrong" }),
        json!({ "hits": null, "totalHits": 0 }),
        json!({ "hits": [7], "totalHits": 1 }),
        json!({ "hits": [], "totalHits": "0" }),
        json!({ "root": [], "truncated": false }),
        json!([[], 0]),
    ]
}

fn make_folder_with_file(world: &World) {
    std::fs::create_dir(world.work().join("d")).unwrap();
    world.file_of("d/f", "abc");
}

#[test]
fn an_invalid_listing_is_not_an_empty_folder() {
    for odd in not_listings() {
        let world = World::new();
        world.drive.put_file("f", None, b"abc").unwrap();
        world.drive.make_folder("d", None);
        world.file_of("f", "abc");
        make_folder_with_file(&world);
        world.drive.fault(Fault::new(Op::Tree, response(200, &odd)));
        for args in [&["f", "--if-exists", "fail"][..], &["f", "--if-exists", "skip"], &["-r", "d"]] {
            let ran = later(&world, args);
            assert_eq!(ran.ran.code, Some(1), "{odd} {args:?}: {:#?}", ran.ran);
            ran.ran.says("unexpected answer");
            assert_eq!((ran.count(Op::Start), ran.count(Op::Folders)), (0, 0), "{odd}");
        }
    }
}

#[test]
fn the_message_in_an_invalid_response_is_reported() {
    let world = World::new();
    world.file_of("f", "abc");
    let message = format!("Your token is {}", world.drive.token());
    world.drive.fault(Fault::new(Op::Tree, response(200, json!({ "error": message }))));
    world.run(&["f", "--if-exists", "fail"]).fails(1).says("missing field `root`").says("Your token is ***");
}

#[test]
fn an_invalid_search_result_is_not_an_empty_result() {
    for odd in not_search_results() {
        let world = World::with(Options { page_limit: 1, ..Options::default() });
        for name in ["1", "f"] {
            world.drive.put_file(name, None, b"abc").unwrap();
        }
        world.drive.make_folder("d", None);
        world.file_of("f", "abc");
        make_folder_with_file(&world);
        world.drive.fault(Fault::new(Op::Search, response(200, &odd)));
        for args in [&["f", "--if-exists", "fail"][..], &["f", "--if-exists", "skip"], &["-r", "d"]] {
            let ran = later(&world, args);
            assert_eq!(ran.ran.code, Some(1), "{odd} {args:?}: {:#?}", ran.ran);
            assert_eq!((ran.count(Op::Start), ran.count(Op::Folders)), (0, 0), "{odd}");
        }
    }
}

#[test]
fn an_invalid_listing_or_search_result_does_not_repeat_finalize() {
    let listings = not_listings().into_iter().map(|odd| (Op::Tree, 500, odd));
    for (op, page_limit, odd) in
        listings.chain(not_search_results().into_iter().map(|odd| (Op::Search, 0, odd)))
    {
        let world = World::with(Options { page_limit, ..Options::default() });
        let path = world.file_of("f", "abc");
        world.drive.fault(Fault::once(Op::Finalize, Action::CloseAfterWork));
        let fault = world.drive.fault(Fault::new(op, response(200, &odd)));
        let ran = world.run(&["f"]);
        assert_eq!(ran.code, Some(7), "{odd}: {ran:#?}");
        world.drive.clear_fault(fault);
        assert_one_item(&world, &world.run(&["f"]), &path);
        assert_eq!(world.drive.record().count(Op::Finalize), 1);
    }
}

#[test]
fn login_does_not_save_a_token_after_an_invalid_response() {
    for odd in not_listings() {
        let mut world = World::new();
        world.unset("COPERA_TOKEN");
        world.drive.fault(Fault::new(Op::Tree, response(200, &odd)));
        let mut login = world.upload(&["--login"]);
        let token = world.drive.token().to_owned();
        let output = login.write_stdin(token).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{odd}: {output:?}");
        assert!(!world.config_dir().join("config.toml").exists(), "{odd}");
    }
}

/// Entries of a listing that may or may not be a file `f` or a folder `d`.
fn unreadable_entries() -> [Value; 4] {
    [
        json!({}),
        json!({ "_id": "0123456789abcdef01234567", "type": "file", "name": 7 }),
        json!({ "_id": "0123456789abcdef01234567", "name": "x" }),
        json!({ "_id": "", "type": "folder", "name": "d" }),
    ]
}

#[test]
fn an_unreadable_entry_in_a_listing_causes_a_search() {
    for entry in unreadable_entries() {
        let world = World::new();
        world.file_of("f", "abc");
        make_folder_with_file(&world);
        let listing = json!({ "root": [entry], "truncated": false });
        world.drive.fault(Fault::new(Op::Tree, response(200, &listing)));
        // The search finds no such name, so the file is sent.
        let ran = later(&world, &["f", "--if-exists", "fail"]);
        ran.ran.ok();
        assert_eq!((ran.count(Op::Search), ran.count(Op::Start)), (1, 1), "{listing}");
        world.run(&["f", "--if-exists", "fail"]).fails(5);
        let ran = later(&world, &["-r", "d"]);
        ran.ran.ok();
        assert_eq!((ran.count(Op::Search), ran.count(Op::Folders)), (1, 1), "{listing}");
        let ran = later(&world, &["-r", "d"]);
        ran.ran.ok();
        assert_eq!(ran.count(Op::Folders), 0, "{listing}");
    }
}

#[test]
fn unreadable_entries_in_the_search_result_leave_the_question_open() {
    for entry in unreadable_entries() {
        let world = World::new();
        world.file_of("f", "abc");
        make_folder_with_file(&world);
        let listing = json!({ "root": [entry], "truncated": false });
        world.drive.fault(Fault::new(Op::Tree, response(200, &listing)));
        world.drive.fault(Fault::new(Op::Search, response(200, json!({ "hits": [entry], "totalHits": 1 }))));
        for (args, code) in [(&["f", "--if-exists", "skip"][..], 5), (&["-r", "d"], 1)] {
            let ran = later(&world, args);
            assert_eq!(ran.ran.code, Some(code), "{entry}: {:#?}", ran.ran);
            assert_eq!((ran.count(Op::Start), ran.count(Op::Folders)), (0, 0), "{entry}");
        }
        world.drive.fault(Fault::once(Op::Finalize, Action::CloseAfterWork));
        world.run(&["f"]).fails(7);
        assert_eq!(world.drive.items().len(), 1);
    }
}

#[test]
fn a_search_result_without_a_total_leaves_the_question_open() {
    let world = World::with(Options { page_limit: 0, ..Options::default() });
    world.drive.put_file("other", None, b"abc").unwrap();
    world.file_of("f", "abc");
    world.drive.fault(Fault::new(Op::Search, response(200, json!({ "hits": [] }))));
    world.run(&["f", "--if-exists", "skip"]).fails(5).says("cannot tell whether");
    world.drive.fault(Fault::once(Op::Finalize, Action::CloseAfterWork));
    world.run(&["f"]).fails(7);
    assert_eq!((world.drive.items().len(), world.drive.record().count(Op::Finalize)), (2, 1));
}

#[test]
fn a_listing_without_a_size_causes_a_request_to_storage() {
    for odd in [json!(null), json!("3"), json!(-3), json!({})] {
        let world = World::new();
        let id = world.drive.put_file("f", None, b"abc").unwrap();
        let entry = json!({ "_id": id, "name": "f", "type": "file", "size": odd });
        let listing = json!({ "root": [entry], "truncated": false });
        world.drive.fault(Fault::new(Op::Tree, response(200, &listing)));
        world.file_of("f", "new");
        let ran = later(&world, &["f", "--if-exists", "skip"]);
        assert_eq!((ran.ran.ok().id(), ran.count(Op::Start)), (id.clone(), 0), "{listing}");
        world.file_of("f", "longer");
        assert_ne!(world.run(&["f", "--if-exists", "skip"]).ok().id(), id, "{listing}");
        // If storage does not return the size either, nothing is sent.
        world.drive.fault(Fault::new(Op::GetObject, Action::status(403, "")));
        let ran = later(&world, &["f", "--if-exists", "skip"]);
        ran.ran.fails(1).says("could not ask storage about the item");
        assert_eq!(ran.count(Op::Start), 0);
    }
}

#[test]
fn a_full_page_without_a_truncation_flag_causes_a_search() {
    let world = World::new();
    let id = world.drive.put_file("f", None, b"abc").unwrap();
    world.file_of("f", "abc");
    let node = |n: u32| json!({ "_id": format!("{n:024x}"), "name": n.to_string(), "type": "file" });
    for (count, searches) in [(499, 0), (500, 1)] {
        let root: Vec<Value> = (0..count).map(node).collect();
        world.drive.fault(Fault::once(Op::Tree, response(200, json!({ "root": root }))));
        let ran = later(&world, &["f", "--if-exists", "fail"]);
        assert_eq!(ran.count(Op::Search), searches, "{count}");
        assert_eq!(ran.ran.code, Some(if searches == 1 { 5 } else { 0 }), "{id}");
    }
}

#[test]
fn an_unreadable_parent_is_not_the_root() {
    let world = World::with(Options { page_limit: 0, ..Options::default() });
    world.drive.put_file("other", None, b"abc").unwrap();
    world.file_of("f", "abc");
    let hit =
        json!({ "_id": "0123456789abcdef01234567", "name": "f", "type": "file", "size": 3, "parent": 7 });
    world.drive.fault(Fault::new(Op::Search, response(200, json!({ "hits": [hit], "totalHits": 1 }))));
    world.run(&["f", "--if-exists", "skip"]).fails(5).says("cannot tell whether");
}

#[test]
fn a_workspace_without_a_slug_is_an_error_before_anything_is_sent() {
    for odd in [
        json!({}),
        json!({ "slug": null }),
        json!({ "slug": "" }),
        json!({ "error": "no" }),
        json!(["local"]),
    ] {
        let world = World::new();
        world.file_of("f", "abc");
        world.drive.fault(Fault::new(Op::Workspace, response(200, &odd)));
        let ran = later(&world, &["f", "-o", "url"]);
        ran.ran.fails(1).says("unexpected answer");
        assert_eq!(ran.count(Op::Start), 0, "{odd}");
    }
}

#[test]
fn invalid_signed_urls_and_start_responses_are_errors() {
    for (op, odd) in [
        (Op::Urls, json!([["http://127.0.0.1:1/"], null])),
        (Op::Urls, json!({ "error": "Something went wrong" })),
        (Op::Start, json!(["u", "k"])),
    ] {
        let world = World::new();
        world.file_of("f", "abc");
        world.drive.fault(Fault::new(op, response(200, &odd)));
        world.run(&["f"]).fails(1);
        assert_eq!(world.drive.record().count(Op::PutPart), 0, "{odd}");
    }
}

#[test]
fn a_created_folder_is_looked_up_if_the_response_is_invalid() {
    for odd in [json!({}), json!({ "error": "Something went wrong" }), json!([])] {
        let world = World::new();
        make_folder_with_file(&world);
        let done = Action::StatusAfterWork { code: 200, headers: Vec::new(), body: odd.to_string() };
        world.drive.fault(Fault::once(Op::Folders, done));
        world.run(&["-r", "d"]).ok();
        assert_eq!((world.drive.items().len(), world.drive.record().count(Op::Folders)), (2, 1), "{odd}");
    }
}
