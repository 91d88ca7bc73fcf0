//! `--to`: the path of the folder to upload into.

use local_drive::{Action, Fault, Op, Options};

use crate::directories::{assert_there_once, plant};
use crate::halfway::later;
use crate::support::{World, refusal};

#[test]
fn missing_folders_are_created_once_and_existing_ones_reused() {
    let world = World::new();
    plant(&world, &["a", "b"]);
    let reports = world.drive.make_folder("Reports", None);
    let first = later(&world, &["a", "--to", "Reports/2026"]);
    first.ran.ok();
    assert_eq!(first.count(Op::Folders), 1);
    let again = later(&world, &["b", "--to", "/Reports//2026/"]);
    again.ran.ok();
    assert_eq!(again.count(Op::Folders), 0);
    assert_there_once(&world, &["Reports/", "Reports/2026/", "Reports/2026/a", "Reports/2026/b"]);
    world.run(&["a", "--parent", &reports, "-t", "2026/q1"]).ok();
    assert!(crate::directories::there(&world).contains_key("Reports/2026/q1/a"));
}

#[test]
fn the_option_overrides_the_variable_and_the_variable_the_profile() {
    let mut world = World::new();
    world.file("f", 1);
    world.file_of(".copera.toml", "[profiles.default]\nto = 'profile'");
    let path = |world: &World, args: &[&str]| {
        let plan = world.run(&[&["f", "--dry-run"], args].concat());
        plan.ok().json().get("to").map(|to| to.as_str().unwrap().to_owned())
    };
    assert_eq!(path(&world, &[]).as_deref(), Some("profile"));
    world.set("COPERA_TO", " variable/2\n");
    assert_eq!(path(&world, &[]).as_deref(), Some("variable/2"));
    assert_eq!(path(&world, &["--to", "option"]).as_deref(), Some("option"));
    assert_eq!(path(&world, &["--to", "/"]), None);
    world.set("COPERA_TO", "");
    assert_eq!(path(&world, &[]).as_deref(), Some("profile"));
}

#[test]
fn an_invalid_path_is_refused_before_anything_is_sent() {
    let mut world = World::new();
    world.file("f", 1);
    for (to, why) in [
        ("a/../b", "`..`"),
        (".", "`.`"),
        ("", "empty"),
        ("https://app.copera.ai/acme/drive/f/665f1c2ab3d4e5f60718293a", "--parent takes the address"),
    ] {
        world.run(&["f", "--to", to]).fails(2).says("--to").says(why);
    }
    world.set("COPERA_TO", "..");
    world.run(&["f"]).fails(2).says("COPERA_TO").says("`..`");
    world.unset("COPERA_TO");
    world.file_of(".copera.toml", "[profiles.default]\nto = '..'");
    world.run(&["f"]).fails(2).says(".copera.toml:2").says("profiles.default.to").says("`..`");
    assert_eq!(world.drive.record().count(Op::Any), 0);
}

#[test]
fn the_oldest_of_several_folders_is_used_with_a_warning() {
    for page_limit in [Options::default().page_limit, 1] {
        let world = World::with(Options { page_limit, ..Options::default() });
        plant(&world, &["f", "d/g"]);
        let folders = ["Other", "d", "d"].map(|name| world.drive.make_folder(name, None));
        let oldest = &folders[1];
        let ran = world.run(&["f", "--to", "d"]);
        assert_eq!(&ran.ok().json()["parent"], oldest.as_str());
        ran.says("warning: --to d: several folders are named `d`; using the oldest").says(oldest);
        let ran = world.run(&["-r", "d"]);
        assert_eq!(&ran.ok().json()["parent"], oldest.as_str());
        ran.says("warning: d: several folders are named `d`");
    }
}

#[test]
fn no_folder_is_created_without_a_file() {
    let world = World::new();
    plant(&world, &["d/", "e/f"]);
    world.run(&["missing", "--to", "new"]).fails(8);
    world.run(&["d", "--to", "new"]).fails(2);
    world.run(&["e/f", "--to", "new", "--exclude", "f"]).ok();
    world.run(&["-r", "e", "--to", "new", "--include", "*.jpg"]).ok();
    world.run(&["e/f", "--to", "new", "--dry-run"]).ok();
    assert_eq!(world.drive.record().count(Op::Folders), 0);
    // An empty directory needs its folders.
    world.run(&["-r", "d", "--to", "new"]).ok();
    assert_there_once(&world, &["new/", "new/d/"]);
}

#[cfg(unix)]
#[test]
fn no_folder_is_created_for_an_unreadable_file() {
    crate::program::unix_only!("permissions");
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    let path = world.file("f", 1);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::File::open(&path).is_ok() {
        return; // The superuser can read every file.
    }
    world.run(&["f", "--to", "new"]).fails(8);
    assert_eq!(world.drive.record().count(Op::Folders), 0);
}

#[test]
fn a_folder_that_cannot_be_created_is_one_error_for_all_files() {
    for args in
        [&["a", "b", "--to", "x/y", "-o", "report"][..], &["-r", "empty", "--to", "x/y", "-o", "report"]]
    {
        let world = World::new();
        plant(&world, &["a", "b", "empty/"]);
        world.drive.fault(Fault::new(Op::Folders, refusal(403, "No access")));
        let ran = world.run(args);
        ran.ends(4).says("--to x").says("No access");
        assert_eq!(ran.stderr.matches("No access").count(), 1, "{}", ran.stderr);
        assert_eq!(world.drive.record().count(Op::Start), 0);
    }
}

#[test]
fn a_404_with_to_is_exit_code_3() {
    let world = World::new();
    world.file("f", 1);
    world.drive.fault(Fault::new(Op::Tree, refusal(404, "Cannot find it")));
    world.run(&["f", "--to", "a"]).fails(3).says("404");
}

#[test]
fn concurrent_runs_create_folders_once() {
    let world = World::new();
    plant(&world, &["a", "b", "c"]);
    world.drive.fault(Fault::new(Op::Folders, Action::Delay(std::time::Duration::from_millis(300))));
    let runs = ["a", "b", "c"].map(|file| world.spawn(&[file, "--to", "x/y"]));
    for run in runs {
        run.wait().ok();
    }
    assert_there_once(&world, &["x/", "x/y/", "x/y/a", "x/y/b", "x/y/c"]);
}
