//! The command line and its messages: mistakes are reported before anything is sent.

use std::ffi::OsString;

use local_drive::{Action, Fault, Op};

use crate::directories::plant;
use crate::program::unix_only;
use crate::support::{PART, Ran, World, response};
#[cfg(unix)]
use crate::terminal::Terminal;

fn lines_with<'a>(ran: &'a Ran, start: &str) -> Vec<&'a str> {
    ran.stderr.lines().filter(|line| line.starts_with(start)).collect()
}

#[test]
fn standard_input_with_other_paths_is_refused_before_anything_is_sent() {
    let world = World::new();
    world.file("report.pdf", 1);
    for args in [
        &["-", "report.pdf"][..],
        &["report.pdf", "-", "-n", "x"],
        &["-", "-", "-n", "x"],
        &["-", "-"],
        &["-r", ".", "-"],
        &["--dry-run", "-", "report.pdf"],
        &["-o", "report", "-", "report.pdf"],
    ] {
        world.run(args).fails(2);
    }
    world.run(&["-", "report.pdf"]).fails(2).says("standard input").says("./-");
    world.run(&["a", "report.pdf", "-n", "x"]).fails(2).says("--name is for one file");
    world.run(&["-"]).fails(2).says("--name").says_nothing_of("error: : ");
    assert_eq!(world.drive.record().count(Op::Any), 0);
}

#[test]
fn an_empty_path_is_refused_before_anything_is_sent() {
    let world = World::new();
    world.file("f", 1);
    for args in [&["", "f"][..], &["f", ""], &[""], &["--dry-run", ""]] {
        world.run(args).fails(2).says("empty").says_nothing_of(": :");
    }
    assert_eq!(world.drive.record().count(Op::Any), 0);
}

#[test]
fn a_file_name_that_looks_like_an_option_gets_a_tip() {
    let world = World::new();
    for name in ["-odd.txt", "-jobs.txt", "-report.pdf", "--odd", "-n.txt", "-part-size=1"] {
        world.file(name, 1);
        let ran = world.run(&[name]);
        ran.fails(2).says(&format!("`./{name}`")).says("`--`");
        std::fs::remove_file(world.work().join(name)).unwrap();
    }
    // The file need not exist, because the refused value shows the intention.
    world.run(&["-odd.txt"]).fails(2).says("`./-odd.txt`");
    world.run(&["-o", "dd.txt", "f"]).fails(2).says_nothing_of("./-o");
    world.run(&["-oxml", "f"]).fails(2).says_nothing_of("./-o");
    assert_eq!(world.drive.record().count(Op::Any), 0);
    world.file("-odd.txt", 1);
    world.run(&["--", "-odd.txt"]).ok();
    world.run(&["./-odd.txt"]).ok();
}

#[test]
fn a_dry_run_names_each_error_and_ends_with_totals() {
    let world = World::new();
    plant(&world, &["a/x", "b/x", "c/x", "d/x", "e/x", "f"]);
    let ran = world.run(&["--dry-run", "a", "b", "c", "d", "e", "f"]);
    ran.ends(9);
    assert_eq!(lines_with(&ran, "error: ").len(), 5, "{ran:#?}");
    assert!(ran.stderr.trim_end().ends_with("1 file, 1 B"), "{ran:#?}");
    for size in ["f1", "f2", "f3", "f4", "f5"] {
        world.sparse(size, 60 << 30);
    }
    let ran = world.run(&["--dry-run", "--part-size", "5MiB", "f1", "f2", "f3", "f4", "f5"]);
    ran.fails(2);
    assert_eq!(lines_with(&ran, "error: ").len(), 5, "{ran:#?}");

    let ran = world.run(&["--dry-run", "-r", "a", "b/"]);
    assert_eq!(ran.ok().json_lines().len(), 2);
    assert!(ran.stderr.trim_end().ends_with("2 files, 6 B, 1 folder"), "{ran:#?}");
    let ran = world.run(&["--dry-run", "-r", "a", "--include", "*.jpg"]);
    assert_eq!(ran.ok().stdout, "");
    ran.says("nothing matches");
    assert_eq!(world.run(&["--dry-run", "-q", "-r", "a"]).ok().stderr, "");
    assert_eq!(world.drive.record().count(Op::Any), 0);
}

#[cfg(unix)]
#[test]
fn only_three_of_many_skipped_links_are_named() {
    unix_only!("Windows links differ");
    let world = World::new();
    plant(&world, &["d/f"]);
    (0..20).for_each(|n| std::os::unix::fs::symlink("f", world.work().join(format!("d/link{n}"))).unwrap());
    for args in [&["-r", "d"][..], &["-r", "d", "--dry-run"]] {
        let ran = world.run(args);
        let warnings = lines_with(ran.ok(), "warning: ");
        assert_eq!(warnings.len(), 4, "{ran:#?}");
        assert!(warnings[3].contains("17 more") && warnings[3].contains("-v"), "{ran:#?}");
        let ran = world.run(&[&["-v"], args].concat());
        assert_eq!(lines_with(ran.ok(), "warning: ").len(), 20, "{ran:#?}");
        let ran = world.run(&[&["--log-format", "json"], args].concat());
        assert_eq!(ran.ok().stderr.matches("\"event\":\"warning\"").count(), 20, "{ran:#?}");
        assert_eq!(world.run(&[&["-q"], args].concat()).ok().stderr, "");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn only_three_of_many_names_that_are_not_unicode_are_named() {
    unix_only!("Windows names are UTF-16");
    use std::os::unix::ffi::OsStringExt as _;
    let world = World::new();
    plant(&world, &["d/f"]);
    (0..9).for_each(|n| {
        world.file_of(OsString::from_vec(format!("d/{n}").bytes().chain([0xff]).collect()), "x");
    });
    let ran = world.run(&["-r", "d"]);
    assert_eq!(lines_with(ran.ok(), "warning: ").len(), 4, "{ran:#?}");
    ran.says("6 more");
}

#[test]
fn only_quiet_suppresses_the_summary() {
    let world = World::new();
    (0..2).for_each(|n| drop(world.file(format!("f{n}"), 1)));
    for progress in ["none", "plain", "auto", "bar"] {
        world.run(&["f0", "--progress", progress]).ok().says("uploaded f0: 1 B");
        world.run(&["f0", "f1", "--progress", progress]).ok().says("uploaded 2 files");
        assert_eq!(world.run(&["f0", "f1", "-q", "--progress", progress]).ok().stderr, "");
    }
}

#[cfg(unix)]
#[test]
fn progress_bar_draws_bars_in_ci_and_on_a_dumb_terminal() {
    unix_only!("the test needs a Unix terminal");
    for (progress, drawn) in [("bar", true), ("auto", false)] {
        for (name, value) in [("CI", "true"), ("TERM", "dumb"), ("TERM", "")] {
            let world = World::new();
            world.file("f", 2 * PART);
            world.drive.fault(Fault::new(Op::PutPart, Action::Stall { after: 0 }));
            let mut command = world.command(&["f", "--progress", progress, "--color", "never"]);
            command.env("TERM", "xterm").env(name, value);
            let terminal = Terminal::start(command, world.drive.token());
            let parts = |record: &local_drive::Record| record.parts_in_flight() == 2;
            world.drive.wait_until(crate::support::CAP, parts).unwrap();
            if drawn {
                terminal.shows("part 1");
            }
            terminal.running().signal("TERM");
            let ran = terminal.wait();
            assert_eq!(ran.ends(143).stderr.contains("\u{1b}["), drawn, "{name}={value}: {ran:#?}");
        }
    }
    // Without a terminal, progress is printed as lines.
    let world = World::new();
    world.file("f", 1);
    assert!(!world.run(&["f", "--progress", "bar"]).ok().stderr.contains('\u{1b}'));
}

#[test]
fn clicolor_force_forces_colors_unless_it_is_0() {
    for (value, coloured) in [("0", false), ("", false), ("1", true), ("yes", true)] {
        let mut world = World::new();
        world.set("CLICOLOR_FORCE", value);
        for args in [&["missing"][..], &["--no-such-option"], &["-h"], &["--color", "auto", "missing"]] {
            let ran = world.run(args);
            let text = format!("{}{}", ran.stdout, ran.stderr);
            assert_eq!(text.contains('\u{1b}'), coloured, "{value:?} {args:?}: {ran:#?}");
        }
        let ran = world.run(&["--color", "always", "missing"]);
        assert!(ran.stderr.contains('\u{1b}'), "{ran:#?}");
        world.set("NO_COLOR", "1");
        assert!(!world.run(&["missing"]).stderr.contains('\u{1b}'));
    }
}

#[cfg(unix)]
#[test]
fn clicolor_force_0_changes_nothing_on_a_terminal() {
    unix_only!("the test needs a Unix terminal");
    for (vars, coloured) in [
        (&[("CLICOLOR_FORCE", "0")][..], true),
        (&[("CLICOLOR_FORCE", "0"), ("TERM", "dumb")], false),
        (&[("CLICOLOR_FORCE", "0"), ("CLICOLOR", "0")], false),
        (&[("CLICOLOR_FORCE", "0"), ("NO_COLOR", "1")], false),
    ] {
        let world = World::new();
        for args in [&["missing"][..], &["--no-such-option"]] {
            let mut command = world.command(args);
            command.env("TERM", "xterm").envs(vars.iter().copied());
            let ran = Terminal::start(command, world.drive.token()).wait();
            assert_eq!(ran.stderr.contains("\u{1b}["), coloured, "{vars:?} {args:?}: {ran:#?}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_fifo_is_refused_with_a_hint() {
    unix_only!("Windows has no FIFOs");
    let world = World::new();
    world.fifo("fifo");
    world.run(&["fifo"]).fails(8).says("FIFO").says("hint: ").says("copera-upload - --name NAME");
    world.run(&["--dry-run", "fifo"]).fails(8).says("copera-upload - --name NAME");
    let command = world.bash("\"$0\" \"$@\" <(echo hello)", &["-q"]);
    world.spawn_command(command).wait().fails(8).says("copera-upload - --name NAME");
    assert_eq!(world.drive.record().count(Op::Any), 0);
}

#[test]
fn a_huge_retry_after_is_not_reported_as_a_time() {
    let told = |ran: &Ran, code| {
        ran.fails(code).says("hint: ").says_nothing_of("try again in");
        let digits = ran.stderr.split(|c: char| !c.is_ascii_digit()).map(str::len).max();
        assert!(digits < Some(5), "{ran:#?}");
    };
    for (status, code) in [(429, 6), (503, 7)] {
        for wish in ["18446744073709551615", "1e300", "99999999999", "Wed, 01 Dec 9999 00:00:00 GMT"] {
            let world = World::new();
            world.file("f", 1);
            let headers = vec![("Retry-After".to_owned(), wish.to_owned())];
            let action = Action::Status { code: status, headers, body: String::new() };
            world.drive.fault(Fault::new(Op::Start, action));
            told(&world.run(&["f"]), code);
        }
    }
    let world = World::new();
    world.file("f", 1);
    let body = r#"{"statusCode":429,"message":"slowly","retryAfter":1e18}"#;
    world.drive.fault(Fault::new(Op::Start, response(429, body)));
    told(&world.run(&["f"]), 6);
}
