//! Answers of the API that are a success and lack what they must have: never taken for "there is nothing".

use local_drive::{Action, Fault, Op, Options};
use serde_json::{Value, json};

use crate::halfway::{assert_one_item, later};
use crate::support::{World, answer};

/// No listing of a folder.
fn no_tree() -> Vec<Value> {
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

/// No result of a search.
fn no_hits() -> Vec<Value> {
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

fn folder_of(world: &World) {
    std::fs::create_dir(world.work().join("d")).unwrap();
    world.file_of("d/f", "abc");
}

#[test]
fn a_folder_listing_that_is_none_never_counts_as_an_empty_folder() {
    for odd in no_tree() {
        let world = World::new();
        world.drive.put_file("f", None, b"abc").unwrap();
        world.drive.make_folder("d", None);
        world.file_of("f", "abc");
        folder_of(&world);
        world.drive.fault(Fault::new(Op::Tree, answer(200, &odd)));
        for args in [&["f", "--if-exists", "fail"][..], &["f", "--if-exists", "skip"], &["-r", "d"]] {
            let ran = later(&world, args);
            assert_eq!(ran.ran.code, Some(1), "{odd} {args:?}: {:#?}", ran.ran);
            ran.ran.says("unexpected answer");
            assert_eq!((ran.count(Op::Start), ran.count(Op::Folders)), (0, 0), "{odd}");
        }
    }
}

#[test]
fn what_the_service_says_in_such_an_answer_is_told() {
    let world = World::new();
    world.file_of("f", "abc");
    let message = format!("Your token is {}", world.drive.token());
    world.drive.fault(Fault::new(Op::Tree, answer(200, json!({ "error": message }))));
    world.run(&["f", "--if-exists", "fail"]).fails(1).says("missing field `root`").says("Your token is ***");
}

#[test]
fn a_search_that_is_none_never_counts_as_no_hit() {
    for odd in no_hits() {
        let world = World::with(Options { page_limit: 1, ..Options::default() });
        for name in ["1", "f"] {
            world.drive.put_file(name, None, b"abc").unwrap();
        }
        world.drive.make_folder("d", None);
        world.file_of("f", "abc");
        folder_of(&world);
        world.drive.fault(Fault::new(Op::Search, answer(200, &odd)));
        for args in [&["f", "--if-exists", "fail"][..], &["f", "--if-exists", "skip"], &["-r", "d"]] {
            let ran = later(&world, args);
            assert_eq!(ran.ran.code, Some(1), "{odd} {args:?}: {:#?}", ran.ran);
            assert_eq!((ran.count(Op::Start), ran.count(Op::Folders)), (0, 0), "{odd}");
        }
    }
}

#[test]
fn a_lost_finalize_is_not_sent_again_after_a_listing_or_search_that_is_none() {
    let listings = no_tree().into_iter().map(|odd| (Op::Tree, 500, odd));
    for (op, page_limit, odd) in listings.chain(no_hits().into_iter().map(|odd| (Op::Search, 0, odd))) {
        let world = World::with(Options { page_limit, ..Options::default() });
        let path = world.file_of("f", "abc");
        world.drive.fault(Fault::once(Op::Finalize, Action::CloseAfterWork));
        let fault = world.drive.fault(Fault::new(op, answer(200, &odd)));
        let ran = world.run(&["f"]);
        assert_eq!(ran.code, Some(7), "{odd}: {ran:#?}");
        world.drive.clear_fault(fault);
        assert_one_item(&world, &world.run(&["f"]), &path);
        assert_eq!(world.drive.record().count(Op::Finalize), 1);
    }
}

#[test]
fn login_saves_no_token_that_such_an_answer_let_pass() {
    for odd in no_tree() {
        let mut world = World::new();
        world.unset("COPERA_TOKEN");
        world.drive.fault(Fault::new(Op::Tree, answer(200, &odd)));
        let mut login = world.upload(&["--login"]);
        let token = world.drive.token().to_owned();
        let output = login.write_stdin(token).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{odd}: {output:?}");
        assert!(!world.config_dir().join("config.toml").exists(), "{odd}");
    }
}

/// Entries of a listing that may be a file `f` or a folder `d`, or may not.
fn odd_entries() -> [Value; 4] {
    [
        json!({}),
        json!({ "_id": "0123456789abcdef01234567", "type": "file", "name": 7 }),
        json!({ "_id": "0123456789abcdef01234567", "name": "x" }),
        json!({ "_id": "", "type": "folder", "name": "d" }),
    ]
}

#[test]
fn one_entry_that_cannot_be_read_has_the_search_decide() {
    for entry in odd_entries() {
        let world = World::new();
        world.file_of("f", "abc");
        folder_of(&world);
        let listing = json!({ "root": [entry], "truncated": false });
        world.drive.fault(Fault::new(Op::Tree, answer(200, &listing)));
        // Nothing of the name: then it is sent.
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
fn entries_that_cannot_be_read_in_the_search_either_leave_it_open() {
    for entry in odd_entries() {
        let world = World::new();
        world.file_of("f", "abc");
        folder_of(&world);
        let listing = json!({ "root": [entry], "truncated": false });
        world.drive.fault(Fault::new(Op::Tree, answer(200, &listing)));
        world.drive.fault(Fault::new(Op::Search, answer(200, json!({ "hits": [entry], "totalHits": 1 }))));
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
fn a_search_that_does_not_say_how_much_there_is_leaves_it_open() {
    let world = World::with(Options { page_limit: 0, ..Options::default() });
    world.drive.put_file("other", None, b"abc").unwrap();
    world.file_of("f", "abc");
    world.drive.fault(Fault::new(Op::Search, answer(200, json!({ "hits": [] }))));
    world.run(&["f", "--if-exists", "skip"]).fails(5).says("cannot tell whether");
    world.drive.fault(Fault::once(Op::Finalize, Action::CloseAfterWork));
    world.run(&["f"]).fails(7);
    assert_eq!((world.drive.items().len(), world.drive.record().count(Op::Finalize)), (2, 1));
}

#[test]
fn a_listing_that_does_not_say_how_large_a_file_is_has_storage_asked() {
    for odd in [json!(null), json!("3"), json!(-3), json!({})] {
        let world = World::new();
        let id = world.drive.put_file("f", None, b"abc").unwrap();
        let entry = json!({ "_id": id, "name": "f", "type": "file", "size": odd });
        let listing = json!({ "root": [entry], "truncated": false });
        world.drive.fault(Fault::new(Op::Tree, answer(200, &listing)));
        world.file_of("f", "new");
        let ran = later(&world, &["f", "--if-exists", "skip"]);
        assert_eq!((ran.ran.ok().id(), ran.count(Op::Start)), (id.clone(), 0), "{listing}");
        world.file_of("f", "longer");
        assert_ne!(world.run(&["f", "--if-exists", "skip"]).ok().id(), id, "{listing}");
        // Where it does not say either, nothing is sent.
        world.drive.fault(Fault::new(Op::GetObject, Action::status(403, "")));
        let ran = later(&world, &["f", "--if-exists", "skip"]);
        ran.ran.fails(1).says("what the item holds");
        assert_eq!(ran.count(Op::Start), 0);
    }
}

#[test]
fn a_full_page_that_does_not_say_whether_it_is_all_is_searched_beyond() {
    let world = World::new();
    let id = world.drive.put_file("f", None, b"abc").unwrap();
    world.file_of("f", "abc");
    let node = |n: u32| json!({ "_id": format!("{n:024x}"), "name": n.to_string(), "type": "file" });
    for (count, searches) in [(499, 0), (500, 1)] {
        let root: Vec<Value> = (0..count).map(node).collect();
        world.drive.fault(Fault::once(Op::Tree, answer(200, json!({ "root": root }))));
        let ran = later(&world, &["f", "--if-exists", "fail"]);
        assert_eq!(ran.count(Op::Search), searches, "{count}");
        assert_eq!(ran.ran.code, Some(if searches == 1 { 5 } else { 0 }), "{id}");
    }
}

#[test]
fn a_parent_that_cannot_be_read_is_not_the_root() {
    let world = World::with(Options { page_limit: 0, ..Options::default() });
    world.drive.put_file("other", None, b"abc").unwrap();
    world.file_of("f", "abc");
    let hit =
        json!({ "_id": "0123456789abcdef01234567", "name": "f", "type": "file", "size": 3, "parent": 7 });
    world.drive.fault(Fault::new(Op::Search, answer(200, json!({ "hits": [hit], "totalHits": 1 }))));
    world.run(&["f", "--if-exists", "skip"]).fails(5).says("cannot tell whether");
}

#[test]
fn a_workspace_without_a_name_is_an_error_before_anything_is_sent() {
    for odd in [
        json!({}),
        json!({ "slug": null }),
        json!({ "slug": "" }),
        json!({ "error": "no" }),
        json!(["local"]),
    ] {
        let world = World::new();
        world.file_of("f", "abc");
        world.drive.fault(Fault::new(Op::Workspace, answer(200, &odd)));
        let ran = later(&world, &["f", "-o", "url"]);
        ran.ran.fails(1).says("unexpected answer");
        assert_eq!(ran.count(Op::Start), 0, "{odd}");
    }
}

#[test]
fn signed_urls_and_a_start_that_come_as_bare_lists_are_none() {
    for (op, odd) in [
        (Op::Urls, json!([["http://127.0.0.1:1/"], null])),
        (Op::Urls, json!({ "error": "Something went wrong" })),
        (Op::Start, json!(["u", "k"])),
    ] {
        let world = World::new();
        world.file_of("f", "abc");
        world.drive.fault(Fault::new(op, answer(200, &odd)));
        world.run(&["f"]).fails(1);
        assert_eq!(world.drive.record().count(Op::PutPart), 0, "{odd}");
    }
}

#[test]
fn a_folder_that_was_made_without_saying_so_is_looked_for() {
    for odd in [json!({}), json!({ "error": "Something went wrong" }), json!([])] {
        let world = World::new();
        folder_of(&world);
        let done = Action::AnswerAfterWork { code: 200, headers: Vec::new(), body: odd.to_string() };
        world.drive.fault(Fault::once(Op::Folders, done));
        world.run(&["-r", "d"]).ok();
        assert_eq!((world.drive.items().len(), world.drive.record().count(Op::Folders)), (2, 1), "{odd}");
    }
}
