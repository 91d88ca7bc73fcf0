//! `--include` and `--exclude`: excluded files are never sent, whatever their names.

use local_drive::Op;

use crate::directories::{assert_there_once, plant};
use crate::program::unix_only;
use crate::support::{Ran, World};

/// Uploads the content of `d` with these filters, and checks what arrives.
#[track_caller]
fn sends(entries: &[&str], filters: &[&str], sent: &[&str]) {
    let world = World::new();
    plant(&world, entries);
    world.run(&[&["-r", "d/"], filters].concat()).ok();
    assert_there_once(&world, sent);
}

#[test]
fn the_first_filter_sets_the_default() {
    let tree = ["d/a.log", "d/keep.log", "d/b.txt", "d/sub/c.log", "d/empty/"];
    let kept = ["keep.log", "b.txt", "sub/", "empty/"];
    sends(&tree, &["--exclude", "*.log", "--include", "keep.log"], &kept);
    sends(&tree, &["--include", "*.log"], &["a.log", "keep.log", "sub/", "sub/c.log"]);
    sends(&tree, &["--include=*.log", "--exclude=keep.log"], &["a.log", "sub/", "sub/c.log"]);
    // Order counts across both options.
    sends(&tree, &["--include", "keep.log", "--exclude", "*.log"], &[]);
}

#[test]
fn an_excluded_folder_is_skipped_and_an_included_one_is_sent_whole() {
    let tree = ["d/build/keep.txt", "d/build/x.o", "d/src/a.rs", "d/src/deep/b.tmp", "d/src/empty/"];
    let filters = ["--exclude", "build", "--include", "build/keep.txt"];
    sends(&tree, &filters, &["src/", "src/a.rs", "src/deep/", "src/deep/b.tmp", "src/empty/"]);
    let all = ["src/", "src/a.rs", "src/deep/", "src/deep/b.tmp", "src/empty/"];
    sends(&tree, &["--include", "src"], &all);
    sends(
        &tree,
        &["--include", "src", "--exclude", "*.tmp"],
        &["src/", "src/a.rs", "src/deep/", "src/empty/"],
    );
    sends(&tree, &["--exclude", "*.tmp", "--include", "src", "--exclude", "build"], &all);
    sends(&tree, &["--exclude", "src/", "--exclude", "*.o"], &["build/", "build/keep.txt"]);
    sends(&tree, &["--include", "deep/b.tmp"], &[]);
    sends(&tree, &["--include", "src/*/*.tmp"], &["src/", "src/deep/", "src/deep/b.tmp"]);
    sends(&tree, &["--include", "src/*.tmp"], &[]);
}

#[test]
fn filters_compare_names_in_nfc() {
    let (composed, decomposed) = ("r\u{e9}sum\u{e9}.txt", "re\u{301}sume\u{301}.txt");
    for glob in [composed, decomposed, "r?sum?.*", "[r][\u{e9}]*", "r[e\u{301}]sum*"] {
        for name in [composed, decomposed] {
            let file = format!("d/{name}");
            sends(&[&file, "d/b.txt"], &["--exclude", glob], &["b.txt"]);
            sends(&[&file, "d/b.txt"], &["--include", glob], &[composed]);
            let below = format!("d/{name}/x");
            sends(
                &[&below, "d/b.txt"],
                &["--exclude", &format!("{glob}/x")],
                &["b.txt", &format!("{composed}/")],
            );
        }
    }
}

#[test]
fn globs_have_no_gitignore_syntax() {
    unix_only!("Windows does not allow such names");
    for (glob, name, other) in [
        ("notes ", "notes ", "notes"),
        ("notes", "notes", "notes "),
        (" ", " ", "x"),
        ("notes\t", "notes\t", "notes"),
        ("notes\r", "notes\r", "notes"),
        ("notes\n", "notes\n", "notes"),
        ("#notes", "#notes", "notes"),
        ("!notes", "!notes", "notes"),
        ("\\!notes", "!notes", "\\!notes"),
        ("no\\*es", "no*es", "notes"),
        ("*.log ", "a.log ", "a.log"),
        ("no*es", "no\nes", "no"),
        ("{a,b}[!x]", "az", "ax"),
    ] {
        let (file, kept) = (format!("d/{name}"), format!("d/{other}"));
        sends(&[&file, &kept], &["--exclude", glob], &[other]);
        sends(&[&file, &kept], &["--include", glob], &[name]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_name_that_is_not_unicode_is_filtered_in_its_sent_form() {
    unix_only!("Windows names are UTF-16");
    use std::os::unix::ffi::OsStrExt as _;
    for glob in ["a%FF.txt", "*.txt", "a*"] {
        let world = World::new();
        plant(&world, &["d/b.jpg"]);
        world.file_of(std::ffi::OsStr::from_bytes(b"d/a\xff.txt"), "x");
        world.run(&["-r", "d/", "--exclude", glob]).ok();
        assert_there_once(&world, &["b.jpg"]);
    }
}

/// Warnings on stderr.
fn warnings(ran: &Ran) -> Vec<&str> {
    ran.stderr.lines().filter(|line| line.starts_with("warning: ")).collect()
}

#[test]
fn files_on_the_command_line_are_filtered_with_a_warning() {
    let world = World::new();
    plant(&world, &["a.log", "sub/b.log", "c.txt"]);
    let ran = world.run(&["a.log", "sub/b.log", "c.txt", "--exclude", "*.log", "-o", "report"]);
    let rows = ran.ok().json_lines();
    assert_eq!((rows.len(), &rows[0]["path"]), (1, &"c.txt".into()), "{ran:#?}");
    ran.says("warning: a.log: skipped").says("warning: sub/b.log: skipped").says("--exclude");
    assert_there_once(&world, &["c.txt"]);

    // If no file is left, the run succeeds and says so.
    let before = world.drive.record().count(Op::Any);
    let ran = world.run(&["a.log", "--include", "*.txt"]);
    assert_eq!(ran.ok().stdout, "");
    ran.says("warning: a.log: skipped").says("in a configuration file").says("nothing to upload");
    assert_eq!(world.drive.record().count(Op::Any), before);

    // Folders in the path do not count, and neither does `--name`.
    world.run(&["sub/b.log", "--exclude", "sub", "--exclude", "*.txt", "--name", "b.txt"]).ok();
    assert_there_once(&world, &["b.txt", "c.txt"]);
}

#[test]
fn each_excluded_file_on_the_command_line_is_named() {
    let world = World::new();
    let names: Vec<String> = (0..8).map(|n| format!("{n}.log")).collect();
    names.iter().for_each(|name| drop(world.file(name, 1)));
    for args in [&["--exclude", "*.log"][..], &["--exclude", "*.log", "--dry-run"]] {
        let args: Vec<&str> = names.iter().map(String::as_str).chain(args.iter().copied()).collect();
        let ran = world.run(&args);
        assert_eq!(warnings(ran.ok()).len(), 8, "{ran:#?}");
    }
}

#[cfg(unix)]
#[test]
fn excluded_files_are_not_read() {
    unix_only!("Windows has no FIFOs");
    let world = World::new();
    plant(&world, &["d/a", "d/build/x"]);
    std::os::unix::fs::symlink("nowhere", world.work().join("d/dangling")).unwrap();
    std::os::unix::fs::symlink("../d", world.work().join("d/loop")).unwrap();
    world.fifo("d/fifo");
    let ran = world.run(&["-rL", "d", "--exclude", "dangling", "--exclude", "loop", "--exclude", "fifo"]);
    assert_eq!(ran.ok().stderr.matches("error").count(), 0, "{ran:#?}");
    world.run(&["d/fifo", "--exclude", "fifo"]).ok().says("warning: d/fifo: skipped");
    world.run(&["-rL", "d", "--include", "a", "--exclude", "loop"]).ok();
    world.run(&["-rL", "d/", "--exclude", "x"]).ends(9).says("error: d/dangling").says("error: d/loop");
}

#[test]
fn an_invalid_glob_is_shown_as_typed() {
    let world = World::new();
    world.file("f", 1);
    for option in ["--include", "--exclude"] {
        for glob in ["[", "a[b", "{x", "", "/", "../a"] {
            let ran = world.run(&[option, glob, "f"]);
            ran.fails(2).says(&format!("invalid value '{glob}' for '{option} <GLOB>'"));
            assert!(!ran.stderr.contains('!'), "{ran:#?}");
        }
    }
    assert_eq!(world.drive.record().count(Op::Any), 0);
}
