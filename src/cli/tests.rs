use super::args::Generate;
use super::*;
use crate::plan::filter::Filter;
use clap::error::ErrorKind;
use std::time::Duration;

fn parse(args: &[&str]) -> Result<Cli, clap::Error> {
    Cli::parse_args([&["copera-upload"], args].concat())
}

#[test]
fn the_definition_is_valid() {
    Cli::command().debug_assert();
}

#[test]
fn everything_can_be_given_at_once() {
    let cli = parse(&[
        "-p",
        "id",
        "-n",
        "name",
        "--mime-type",
        "a/b",
        "-j",
        "8",
        "--part-size",
        "8MiB",
        "--limit-rate",
        "1M/s",
        "--retry-for",
        "1h",
        "--max-retries",
        "3",
        "--connect-timeout",
        "5",
        "--stall-timeout",
        "1m",
        "--no-resume",
        "--no-checksum",
        "--profile",
        "work",
        "--config",
        "c.toml",
        "--api-url",
        "https://x",
        "--allow-http",
        "--cacert",
        "ca.pem",
        "-o",
        "id",
        "-vv",
        "--progress",
        "plain",
        "--log-format",
        "json",
        "--color",
        "never",
        "--dry-run",
        "file",
    ])
    .unwrap();
    assert_eq!(
        (cli.transfer.concurrency, cli.transfer.part_size, cli.transfer.limit_rate),
        (Some(8), Some(8 << 20), Some(1 << 20))
    );
    assert_eq!((cli.transfer.retry_for, cli.display.verbose), (Some(Duration::from_secs(3600)), 2));
    assert_eq!(cli.paths, ["file"]);
}

#[test]
fn invalid_command_lines_are_exit_code_2() {
    use ErrorKind::{
        ArgumentConflict, InvalidValue, MissingRequiredArgument, UnknownArgument, ValueValidation,
    };
    for (args, kind) in [
        (&[][..], MissingRequiredArgument),
        (&["-q", "-v", "f"], ArgumentConflict),
        (&["-j", "0", "f"], ValueValidation),
        (&["-j", "65", "f"], ValueValidation),
        (&["--part-size", "5MB", "f"], ValueValidation),
        (&["--limit-rate", "0", "f"], ValueValidation),
        (&["--retry-for", "soon", "f"], ValueValidation),
        (&["--stall-timeout", "0", "f"], ValueValidation),
        (&["--mime-type", "pdf", "f"], ValueValidation),
        (&["-o", "xml", "f"], InvalidValue),
        (&["--include", "a[", "f"], ValueValidation),
        (&["--exclude", "", "f"], ValueValidation),
        (&["--login", "f"], ArgumentConflict),
        (&["--login", "--dry-run"], ArgumentConflict),
        (&["--login", "--generate", "man"], ArgumentConflict),
        // Does not exist on purpose.
        (&["--token", "t", "f"], UnknownArgument),
    ] {
        let error = parse(args).unwrap_err();
        assert_eq!((error.kind(), error.exit_code()), (kind, 2), "{args:?}: {error}");
    }
    let error = parse(&["--part-size", "1", "f"]).unwrap_err().to_string();
    assert!(error.contains("5MiB to 5GiB"), "{error}");
}

#[test]
fn the_last_value_wins_and_paths_accumulate() {
    let cli =
        parse(&["-j", "2", "a", "-o", "id", "-j4", "--no-resume", "--no-resume", "b", "-v", "-v"]).unwrap();
    assert_eq!((cli.transfer.concurrency, cli.display.verbose), (Some(4), 2));
    assert_eq!(cli.paths, ["a", "b"]);
    assert_eq!(parse(&["--", "-n"]).unwrap().paths, ["-n"]);
    assert_eq!(parse(&["-"]).unwrap().paths, ["-"]);
}

#[test]
fn filters_keep_their_order() {
    let cli = parse(&["--exclude", "a", "--include=b", "d", "--exclude", "c", "--include", "b"]).unwrap();
    let (include, exclude) = (|g| Filter::include(g).unwrap(), |g| Filter::exclude(g).unwrap());
    assert_eq!(cli.filters, [exclude("a"), include("b"), exclude("c"), include("b")]);
}

#[test]
fn generating_and_logging_in_need_no_path() {
    assert!(parse(&["--login", "--profile", "work"]).unwrap().login);
    assert_eq!(parse(&["--generate", "complete-zsh"]).unwrap().generate, Some(Generate::CompleteZsh));
}

#[cfg(unix)]
#[test]
fn paths_and_names_need_not_be_unicode() {
    use std::os::unix::ffi::OsStringExt;
    let odd = OsString::from_vec(b"a\xff".to_vec());
    let cli = Cli::parse_args(["x".into(), odd.clone(), "-n".into(), odd.clone()]).unwrap();
    assert_eq!((cli.paths, cli.name), (vec![odd.clone()], Some(odd)));
}

#[test]
fn help_has_all_headings_and_long_help_has_more() {
    let short = Cli::command().render_help().to_string();
    let long = Cli::command().render_long_help().to_string();
    let mut at = 0;
    for heading in ["Destination:", "Transfer:", "Account:", "Output:", "Other:"] {
        let found = short.find(&format!("\n{heading}\n")).expect(heading);
        assert!(found > at, "{heading}");
        at = found;
        assert!(long.contains(&format!("\n{heading}\n")));
    }
    assert!(!short.contains("\nOptions:"), "{short}");
    for part in ["Examples:", "Exit codes:", "Environment:"] {
        assert!(long.contains(part) && !short.contains(part));
    }
}

#[test]
fn given_has_the_keys_of_the_transfer_options_that_were_given() {
    let cli = parse(&["--part-size", "8MiB", "--no-resume", "f"]).unwrap();
    assert_eq!(cli.given, ["part_size", "no_resume"]);
    assert_eq!((cli.transfer.no_resume, cli.transfer.no_checksum), (Some(true), None));
}
