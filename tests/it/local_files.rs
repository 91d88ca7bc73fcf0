//! A problem with one file does not stop the others. Dry runs.

use local_drive::{Action, Fault, Op};

use crate::program::unix_only;
use crate::support::{PART, World, refusal};

#[cfg(unix)]
#[test]
fn a_path_that_is_not_a_file_fails_with_its_own_code_and_the_rest_is_uploaded() {
    unix_only!("Windows has no FIFOs");
    let world = World::new();
    world.file("good", 10);
    world.file("better", PART + 1);
    std::fs::create_dir(world.work().join("folder")).unwrap();
    world.fifo("fifo");
    let ran = world.run(&["missing", "good", "folder", "fifo", "better"]);
    ran.ends(9).says("error: missing: ").says("error: folder: ").says("error: fifo: ").says("FIFO");
    let mut names: Vec<_> = ran.json_lines().iter().map(|item| item["name"].to_string()).collect();
    names.sort();
    assert_eq!(names, ["\"better\"", "\"good\""]);
    assert_eq!(world.drive.items().len(), 2);
}

#[cfg(unix)]
#[test]
fn a_common_exit_code_of_all_files_is_that_of_the_run() {
    let world = World::new();
    std::fs::create_dir(world.work().join("folder")).unwrap();
    world.fifo("fifo");
    world.run(&["missing"]).fails(8);
    world.run(&["fifo"]).fails(8);
    world.run(&["/dev/null"]).fails(8);
    world.run(&["missing", "fifo", "/dev/null"]).fails(8);
    world.run(&["folder"]).fails(2);
    world.run(&["folder", ".", "/"]).fails(2);
    world.run(&["missing", "folder"]).fails(1);
    world.run(&["good/", "missing"]).fails(8);
    assert_eq!(world.drive.record().count(Op::Any), 0, "unexpected requests");
}

#[test]
fn a_file_rejected_by_the_service_does_not_stop_the_others() {
    let world = World::new();
    for name in ["a", "b", "c"] {
        world.file(name, 10);
    }
    world.drive.fault(Fault::once(Op::Start, refusal(400, "Not this one")));
    let ran = world.run(&["a", "b", "c"]);
    ran.ends(9).says("Not this one");
    assert_eq!((ran.json_lines().len(), world.drive.items().len()), (2, 2));
}

#[test]
fn a_common_exit_code_of_all_rejected_files_is_that_of_the_run() {
    let world = World::new();
    world.file("a", 10);
    world.file("b", 10);
    world.drive.fault(Fault::new(Op::Start, Action::rate_limited(60)));
    world.run(&["a", "b", "--retry-for", "0"]).fails(6);
}

#[cfg(unix)]
#[test]
fn an_unreadable_file_is_exit_code_8() {
    use std::os::unix::fs::PermissionsExt as _;

    let world = World::new();
    let path = world.file("f", 10);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::File::open(&path).is_ok() {
        // The superuser can read every file.
        return;
    }
    world.run(&["f"]).fails(8).says("error: f: ");
}

/// Files in `/proc` have size 0 and content; those in `/sys` have size 4096 and less content.
#[cfg(target_os = "linux")]
#[test]
fn a_file_with_a_wrong_size_is_exit_code_8_with_a_hint() {
    let world = World::new();
    let wrong = ["/proc/cpuinfo", "/proc/self/status", "/sys/kernel/mm/transparent_hugepage/enabled"];
    for path in wrong.into_iter().filter(|path| std::path::Path::new(path).exists()) {
        world.run(&[path]).fails(8).says("| copera-upload - --name");
        world.run(&["--dry-run", path, "--mime-type", "text/plain"]);
    }
    world.run(&["-r", "/proc/sys/kernel/random"]).says("uuid: is longer than the 0 bytes");
    assert_eq!(world.drive.record().count(Op::Finalize), 0);
}

#[cfg(unix)]
#[test]
fn a_link_to_a_file_is_uploaded_under_the_name_of_the_link() {
    let world = World::new();
    let path = world.file("target", 1000);
    std::os::unix::fs::symlink("target", world.work().join("link")).unwrap();
    std::os::unix::fs::symlink("nowhere", world.work().join("dangling")).unwrap();
    let ran = world.run(&["link"]);
    assert_eq!(ran.ok().json()["name"], "link");
    world.assert_stored(&ran.id(), &path);
    world.run(&["dangling"]).fails(8);
}

#[test]
fn a_dry_run_prints_the_plan_and_needs_no_network_and_no_token() {
    let mut world = World::new();
    world.unset("COPERA_TOKEN");
    world.unset("COPERA_API_URL");
    world.file("a b.pdf", 10);
    world.file("empty", 0);
    world.sparse("big.mov", 1 << 40);
    let ran = world.run(&["--dry-run", "./a b.pdf", "empty", "big.mov"]);
    let wanted = concat!(
        r#"{"path":"./a b.pdf","name":"a b.pdf","size":10,"mime_type":"application/pdf","part_size":5242880,"parts":1}"#,
        "\n",
        r#"{"path":"empty","name":"empty","size":0,"mime_type":"application/octet-stream","part_size":5242880,"parts":1}"#,
    );
    assert_eq!(
        ran.ok().stdout.lines().filter(|line| !line.contains("big.mov")).collect::<Vec<_>>().join("\n"),
        wanted
    );
    let big = &ran.json_lines()[1];
    assert_eq!((&big["size"], &big["mime_type"]), (&(1_u64 << 40).into(), &"video/quicktime".into()));
    let (size, parts) = (big["part_size"].as_u64().unwrap(), big["parts"].as_u64().unwrap());
    assert!(parts <= 10_000 && size * parts >= 1 << 40 && size * (parts - 1) < 1 << 40, "{big}");
    assert_eq!(world.drive.record().count(Op::Any), 0);
    assert!(!world.state_dir().exists(), "a record was written");
}

#[test]
fn a_dry_run_reports_files_that_would_fail() {
    let world = World::new();
    world.file("f", 10);
    let ran = world.run(&["--dry-run", "f", "missing"]);
    ran.ends(9).says("error: missing: ");
    assert_eq!(ran.json()["path"], "f");
    world.run(&["--dry-run", "missing"]).fails(8);
    let ran = world.run(&["--dry-run", "f", "-n", "other.txt", "--mime-type", "a/b", "--part-size", "1GiB"]);
    let wanted =
        r#"{"path":"f","name":"other.txt","size":10,"mime_type":"a/b","part_size":1073741824,"parts":1}"#;
    assert_eq!(ran.ok().stdout, format!("{wanted}\n"));
    assert_eq!(world.drive.record().count(Op::Any), 0);
}

#[test]
fn help_version_and_generated_files_need_no_configuration() {
    let mut world = World::new();
    world.unset("COPERA_TOKEN");
    world.unset("COPERA_API_URL");
    let short = world.run(&["-h"]);
    let long = world.run(&["--help"]);
    assert!(short.ok().stdout.len() < long.ok().stdout.len());
    assert_eq!(world.run(&["-V"]).ok().stdout, concat!("copera-upload ", env!("CARGO_PKG_VERSION"), "\n"));
    let details = world.run(&["--version", "-v"]);
    for line in ["commit: ", "target: ", "features: "] {
        assert!(details.ok().stdout.contains(line), "{details:?}");
    }
    assert!(world.run(&["--generate", "man"]).ok().stdout.starts_with(".ie"));
}
