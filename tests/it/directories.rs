//! Directories: the folders and files they become, each created once.

use std::collections::BTreeMap;
use std::path::Path;

use local_drive::{Action, Fault, Op, Options};
use serde_json::Value;

use crate::halfway::{assert_warns, later, records};
use crate::program::{not_under_wine, slashed};
use crate::support::{PART, World, refusal};

/// Creates directories, which end with `/`, and files whose content is their path.
pub fn plant(world: &World, entries: &[&str]) {
    for entry in entries {
        let path = world.work().join(entry);
        let folder = if entry.ends_with('/') { path.as_path() } else { path.parent().unwrap() };
        std::fs::create_dir_all(folder).unwrap();
        if !entry.ends_with('/') {
            std::fs::write(&path, entry).unwrap();
        }
    }
}

/// How often each path exists in the drive. Folders end with `/`.
pub fn there(world: &World) -> BTreeMap<String, usize> {
    let items = world.drive.items();
    let by_id: BTreeMap<&str, &Value> =
        items.iter().map(|item| (item["_id"].as_str().unwrap(), item)).collect();
    let mut paths = BTreeMap::new();
    for item in &items {
        let mut path = item["name"].as_str().unwrap().to_owned();
        let mut at = item;
        while let Some(parent) = at["parent"].as_str() {
            at = by_id[parent];
            path = format!("{}/{path}", at["name"].as_str().unwrap());
        }
        if item["type"] == "folder" {
            path.push('/');
        }
        *paths.entry(path).or_default() += 1;
    }
    paths
}

#[track_caller]
pub fn assert_there_once(world: &World, paths: &[&str]) {
    let expected: BTreeMap<String, usize> = paths.iter().map(|path| ((*path).to_owned(), 1)).collect();
    assert_eq!(there(world), expected);
}

/// Checks the content of each file.
fn assert_contents(world: &World) {
    for item in world.drive.items().iter().filter(|item| item["type"] == "file") {
        let bytes = world.drive.object(item["_id"].as_str().unwrap()).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.ends_with(item["name"].as_str().unwrap()), "{text}: {item}");
    }
}

const TREE: [&str; 8] = [
    "photos/",
    "photos/.hidden",
    "photos/2024/",
    "photos/2024/a.jpg",
    "photos/2024/may/",
    "photos/2024/may/b.jpg",
    "photos/empty/",
    "photos/z.txt",
];

#[test]
fn a_tree_is_uploaded_with_each_folder_created_once() {
    let world = World::new();
    plant(&world, &TREE);
    let ran = world.run(&["-r", "photos"]);
    assert_eq!(ran.ok().json_lines().len(), 4);
    ran.says("uploaded 4 files");
    assert_there_once(&world, &TREE);
    assert_contents(&world);
    let record = world.drive.record();
    assert_eq!((record.count(Op::Folders), record.count(Op::Start)), (4, 4));
    // Only the target is listed, because new folders are empty.
    assert_eq!(record.count(Op::Tree), 1);
    assert_eq!(records(&world).len(), 0);
}

#[test]
fn a_trailing_slash_or_dot_uploads_only_the_contents() {
    for path in ["photos/", "photos/.", "."] {
        let world = World::new();
        plant(&world, &["photos/a/b.txt"]);
        let parent = world.drive.make_folder("target", None);
        world.run(&["-r", path, "-p", &parent]).ok();
        let expected: &[&str] = match path {
            "." => &["target/", "target/photos/", "target/photos/a/", "target/photos/a/b.txt"],
            _ => &["target/", "target/a/", "target/a/b.txt"],
        };
        assert_there_once(&world, expected);
    }
}

#[test]
fn a_second_run_with_skip_sends_nothing_and_prints_the_items() {
    let world = World::new();
    plant(&world, &TREE);
    let first = world.run(&["-r", "photos", "-o", "id"]);
    let again = later(&world, &["-r", "photos", "-o", "id", "--if-exists", "skip"]);
    let sorted = |text: &str| {
        let mut ids: Vec<_> = text.lines().map(str::to_owned).collect();
        ids.sort();
        ids
    };
    assert_eq!(sorted(&again.ran.ok().stdout), sorted(&first.ok().stdout));
    again.ran.says("skipped 4");
    assert_eq!((again.count(Op::Folders), again.count(Op::Start), again.count(Op::PutPart)), (0, 0, 0));
    assert_there_once(&world, &TREE);
}

#[test]
fn folders_created_without_files_are_reported() {
    let world = World::new();
    plant(&world, &["photos/empty/"]);
    world.run(&["-r", "photos"]).ok().says("no file to upload; created 2 folders");
    world.run(&["-r", "photos"]).ok().says("nothing to upload");
    plant(&world, &["more/"]);
    let ran = world.run(&["-r", "more", "--log-format", "json"]);
    ran.ok().says("\"folders_created\":1");
}

#[test]
fn without_skip_files_are_uploaded_again_and_folders_reused() {
    let world = World::new();
    plant(&world, &TREE);
    world.run(&["-r", "photos"]).ok();
    world.run(&["-r", "photos"]).ok();
    let twice = |path: &str| if path.ends_with('/') { 1 } else { 2 };
    assert_eq!(there(&world), TREE.iter().map(|path| ((*path).to_owned(), twice(path))).collect());
}

#[test]
fn a_second_run_with_skip_sends_only_missing_files() {
    let world = World::new();
    plant(&world, &TREE[..4]);
    world.run(&["-r", "photos"]).ok();
    plant(&world, &TREE);
    let again = later(&world, &["-r", "photos", "--if-exists", "skip", "-o", "report"]);
    let mut statuses: Vec<_> = again
        .ran
        .ok()
        .json_lines()
        .iter()
        .map(|row| format!("{} {}", slashed(&row["path"]), row["status"].as_str().unwrap()))
        .collect();
    statuses.sort();
    assert_eq!(
        statuses,
        [
            "photos/.hidden skipped",
            "photos/2024/a.jpg skipped",
            "photos/2024/may/b.jpg uploaded",
            "photos/z.txt uploaded"
        ]
    );
    assert_there_once(&world, &TREE);
}

#[test]
fn two_directories_with_equal_names_become_one_folder() {
    let world = World::new();
    plant(&world, &["one/src/a/x", "two/src/a/y", "two/src/b/"]);
    world.run(&["-r", "one/src", "two/src"]).ok();
    assert_there_once(&world, &["src/", "src/a/", "src/a/x", "src/a/y", "src/b/"]);
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_equal_in_nfc_become_one_folder() {
    let world = World::new();
    plant(&world, &["d/Cafe\u{301}/x", "d/Café/y"]);
    world.run(&["-r", "d"]).ok();
    assert_there_once(&world, &["d/", "d/Café/", "d/Café/x", "d/Café/y"]);
}

#[test]
fn a_very_deep_tree_is_uploaded() {
    let world = World::new();
    let deep = format!("{}leaf", "d/".repeat(150));
    plant(&world, &[&deep]);
    world.run(&["-r", "d"]).ok();
    let paths = there(&world);
    assert_eq!((paths.len(), paths[&deep]), (151, 1));
}

#[test]
fn a_folder_whose_response_was_lost_is_not_created_twice() {
    let after_work = Action::StatusAfterWork { code: 502, headers: Vec::new(), body: "<html>".into() };
    for action in [Action::ResetAfterWork, Action::CloseAfterWork, after_work, Action::TruncateResponse] {
        let world = World::new();
        plant(&world, &TREE);
        world.drive.fault(Fault::once(Op::Folders, action).skip(1));
        world.run(&["-r", "photos"]).ok();
        assert_there_once(&world, &TREE);
    }
}

#[test]
fn a_transient_failure_of_folder_creation_is_retried() {
    for action in [Action::status(503, ""), Action::rate_limited(0), Action::Reset] {
        let world = World::new();
        plant(&world, &TREE);
        world.drive.fault(Fault::new(Op::Folders, action).times(2));
        world.run(&["-r", "photos"]).ok();
        assert_there_once(&world, &TREE);
    }
}

#[test]
fn a_target_with_too_many_items_is_searched_for_the_folder() {
    let world = World::with(Options { page_limit: 3, ..Options::default() });
    plant(&world, &["photos/new/a"]);
    for name in ["1", "2", "3", "4", "photos"] {
        world.drive.make_folder(name, None);
    }
    let ran = world.run(&["-r", "photos"]);
    ran.ok();
    assert_eq!(there(&world)["photos/"], 1);
    assert_eq!(there(&world)["photos/new/a"], 1);
}

#[test]
fn a_folder_is_not_created_if_the_search_is_incomplete() {
    let world = World::with(Options { page_limit: 3, ..Options::default() });
    plant(&world, &["photos/a"]);
    // The search returns fewer folders than have the name, and none of them is in the target.
    let elsewhere = world.drive.make_folder("elsewhere", None);
    for _ in 0..60 {
        world.drive.make_folder("photos", Some(&elsewhere));
    }
    ["1", "2", "3", "photos"].iter().for_each(|name| drop(world.drive.make_folder(name, None)));
    let before = world.drive.items().len();
    world.run(&["-r", "photos"]).fails(1).says("cannot tell whether").says("--parent");
    assert_eq!(world.drive.items().len(), before);
}

#[test]
fn a_rejected_folder_fails_only_its_contents() {
    let world = World::new();
    plant(&world, &["d/a/x", "d/b"]);
    world.drive.fault(Fault::once(Op::Folders, refusal(403, "not allowed here")).skip(1));
    let ran = world.run(&["-r", "d", "-o", "report"]);
    let rows = ran.ends(9).json_lines();
    let failed: Vec<_> = rows.iter().filter(|row| row["status"] == "failed").collect();
    // The row of the folder and that of its file.
    assert_eq!((rows.len(), failed.len()), (3, 2), "{rows:#?}");
    assert!(failed.iter().all(|row| row["error"]["code"] == "auth"), "{failed:#?}");
    ran.says("not allowed here").says("failed 1, folders failed 1");
    let told = ran.stderr.lines().filter(|line| line.starts_with("error: ")).count();
    assert_eq!(told, 1, "{ran:#?}");
    assert_there_once(&world, &["d/", "d/b"]);
    assert_eq!(world.drive.record().count(Op::Folders), 2, "a rejected call was repeated");
}

#[test]
fn a_missing_target_is_exit_code_3() {
    let world = World::new();
    plant(&world, &TREE);
    world.run(&["-r", "photos", "-p", "665f1c2ab3d4e5f60718293a"]).fails(3);
}

#[test]
fn a_rejected_token_is_not_tried_for_each_file() {
    let world = World::new();
    let names: Vec<String> = (0..300).map(|n| format!("d/{n}")).collect();
    plant(&world, &names.iter().map(String::as_str).collect::<Vec<_>>());
    world.drive.fault(Fault::new(Op::Start, refusal(401, "Token expired")));
    let ran = world.run(&["-r", "d/", "-o", "report"]);
    let rows = ran.ends(4).json_lines();
    assert_eq!(rows.len(), 300);
    assert!(rows.iter().all(|row| row["error"]["code"] == "auth"));
    assert!(world.drive.record().count(Op::Start) <= 48, "{}", world.drive.record().count(Op::Start));
}

#[test]
fn a_directory_without_r_is_a_usage_error_that_names_r() {
    let world = World::new();
    plant(&world, &["d/a", "f"]);
    world.run(&["d"]).fails(2).says("-r ");
    let ran = world.run(&["d", "f"]);
    assert_eq!(ran.ends(9).json()["name"], "f");
    world.run(&["-r", "d", "-n", "name"]).fails(2).says("--name");
}

#[cfg(unix)]
#[test]
fn special_files_and_links_are_failures_or_warnings_and_the_rest_is_uploaded() {
    not_under_wine!("Wine shows the targets of links");
    let world = World::new();
    plant(&world, &["d/deep/f", "d/g"]);
    let _socket = std::os::unix::net::UnixListener::bind(world.work().join("d/socket")).unwrap();
    std::os::unix::fs::symlink("nowhere", world.work().join("d/dangling")).unwrap();
    std::os::unix::fs::symlink("..", world.work().join("d/deep/loop")).unwrap();
    let rows = |args: &[&str]| {
        let ran = world.run(&[&["-r", "d", "-o", "report", "--if-exists", "skip"], args].concat());
        let mut rows: Vec<_> = ran
            .ends(9)
            .json_lines()
            .iter()
            .map(|row| {
                let code = row["error"]["code"].as_str().unwrap_or_default();
                format!("{} {} {code}", row["path"].as_str().unwrap(), row["status"].as_str().unwrap())
            })
            .collect();
        rows.sort();
        (ran, rows)
    };
    let (ran, without) = rows(&[]);
    assert_eq!(without, ["d/deep/f uploaded ", "d/g uploaded ", "d/socket failed local_file"]);
    assert_warns(&ran, "d/dangling: is a link");
    assert_warns(&ran, "d/deep/loop: is a link");
    let (_, with) = rows(&["-L"]);
    assert_eq!(
        with,
        [
            "d/dangling failed local_file",
            "d/deep/f skipped ",
            "d/deep/loop failed local_file",
            "d/g skipped ",
            "d/socket failed local_file"
        ]
    );
    assert_there_once(&world, &["d/", "d/deep/", "d/deep/f", "d/g"]);
}

#[cfg(unix)]
#[test]
fn links_are_followed_out_of_the_tree_with_follow_symlinks() {
    let world = World::new();
    plant(&world, &["d/", "outside/x", "y"]);
    std::os::unix::fs::symlink("../outside", world.work().join("d/album")).unwrap();
    std::os::unix::fs::symlink("../y", world.work().join("d/file")).unwrap();
    world.run(&["-r", "-L", "d"]).ok();
    assert_there_once(&world, &["d/", "d/album/", "d/album/x", "d/file"]);
}

#[test]
fn filters_select_files_and_the_last_match_wins() {
    let world = World::new();
    plant(&world, &["d/a.jpg", "d/b.txt", "d/x/c.jpg", "d/x/secret.jpg", "d/empty/", "d/node_modules/m.jpg"]);
    world.run(&["-r", "d", "--include", "*.jpg", "--exclude", "secret*", "--exclude", "node_modules"]).ok();
    assert_there_once(&world, &["d/", "d/a.jpg", "d/x/", "d/x/c.jpg"]);
    let ran = world.run(&["d/b.txt", "d/a.jpg", "--exclude", "*.txt"]);
    assert_eq!(ran.code, Some(0));
    assert_warns(&ran, "d/b.txt: skipped");
    assert_there_once(&world, &["d/", "d/a.jpg", "d/x/", "d/x/c.jpg", "a.jpg"]);
    world.run(&["-r", "d", "--include", "a["]).fails(2);
}

#[test]
fn a_dry_run_of_a_tree_plans_each_file_without_requests() {
    let mut world = World::new();
    world.unset("COPERA_TOKEN");
    plant(&world, &TREE);
    let lines = world.run(&["-r", "photos", "--dry-run"]).ok().json_lines();
    let mut paths: Vec<_> = lines.iter().map(|line| slashed(&line["path"])).collect();
    paths.sort();
    assert_eq!(paths, ["photos/.hidden", "photos/2024/a.jpg", "photos/2024/may/b.jpg", "photos/z.txt"]);
    assert_eq!(world.drive.record().requests.len(), 0);
}

#[cfg(unix)]
#[test]
fn a_tree_resumes_after_ctrl_c_without_sending_finished_files_again() {
    not_under_wine!("Wine has no Ctrl-C without a console");
    let world = World::new();
    plant(&world, &["d/a/small"]);
    let large = world.file("d/large.bin", 5 * PART);
    world.drive.fault(Fault::new(Op::PutPart, Action::Stall { after: 0 }).part(4));
    let running = world.spawn(&["-r", "d", "-j2"]);
    let waits = |record: &local_drive::Record| record.stored_count() == 5 && record.parts_in_flight() == 1;
    world.drive.wait_until(crate::support::CAP, waits).unwrap();
    crate::halfway::wait_for("parts on record", || crate::halfway::parts_on_record(&world) >= 4);
    running.signal("INT");
    running.wait().ends(130).says("run the same command again to resume");
    world.drive.clear_faults();
    let again = later(&world, &["-r", "d", "-j2"]);
    again.ran.ok();
    assert_eq!((again.parts(), again.count(Op::PutPart)), (vec![4], 1));
    assert_there_once(&world, &["d/", "d/a/", "d/a/small", "d/large.bin"]);
    assert_stored(&world, "large.bin", &large);
}

fn assert_stored(world: &World, name: &str, path: &Path) {
    let items = world.drive.items();
    let item = items.iter().find(|item| item["name"] == name).unwrap();
    world.assert_stored(item["_id"].as_str().unwrap(), path);
}
