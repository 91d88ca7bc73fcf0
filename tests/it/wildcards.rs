//! Wildcards: expanded by the program on Windows, and by the shell elsewhere.

use crate::directories::{assert_there_once, plant};
use crate::program::{is_windows, slashed};
use crate::support::World;

#[test]
fn wildcards_in_paths_are_expanded_on_windows_only() {
    let world = World::new();
    plant(&world, &["b.JPG", "a.jpg", "c.png", "2025/x.txt", "2026/x.txt", "2026/y.txt"]);
    let patterns = ["*.jpg", "20??/x.*", "c.png"];
    if !is_windows() {
        world.run(&patterns).ends(9);
        assert_there_once(&world, &["c.png"]);
        return;
    }
    let planned = world.run(&[&["--dry-run", "--to=d"], &patterns[..]].concat()).ok().json_lines();
    let paths: Vec<_> = planned.iter().map(|line| slashed(&line["path"])).collect();
    assert_eq!(paths, ["2025/x.txt", "2026/x.txt", "a.jpg", "b.JPG", "c.png"]);
    world.run(&["*.jpg", "-n", "one.jpg"]).fails(2);
    world.run(&["20*\\"]).fails(2);
    world.run(&["20*\\", "-r", "--exclude", "x.*"]).ok();
    world.run(&["*.JPG", "-q"]).ok();
    assert_there_once(&world, &["y.txt", "a.jpg", "b.JPG"]);
}

#[test]
fn a_pattern_that_matches_nothing_is_a_missing_file() {
    let world = World::new();
    for pattern in ["*.jpg", "no/such?/*"] {
        let ran = world.run(&[pattern]);
        ran.fails(8).says(&format!("error: {pattern}: ")).says("(os error 2)");
    }
}

#[test]
fn a_backslash_in_a_glob_is_an_error_on_windows() {
    let world = World::new();
    plant(&world, &["d/build/x.o", "d/a.txt"]);
    let ran = world.run(&["-r", "d/", "--exclude", "build\\*.o"]);
    if is_windows() {
        ran.fails(2).says("globs separate directories with / on Windows too");
        assert_there_once(&world, &[]);
    } else {
        ran.ok();
        assert_there_once(&world, &["build/", "build/x.o", "a.txt"]);
    }
}
