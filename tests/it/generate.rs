//! `completions/` and `docs/options.md` match the definition of the command line.

use std::fmt::Write as _;
use std::path::Path;

use clap::{Arg, Command, CommandFactory as _};
use copera_upload::cli::Cli;
use copera_upload::cli::generate::{FILES, generate};

/// With this variable, the tests write the files instead of comparing them.
const WRITE: &str = "COPERA_UPLOAD_WRITE_COMPLETIONS";

fn compare(name: &str, generated: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os(WRITE).is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, generated).unwrap();
    }
    // A checkout on Windows may have CRLF line ends.
    let committed = std::fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
    assert!(
        committed == generated,
        "{name} differs from the definition of the command line; regenerate it with\n    \
         {WRITE}=1 cargo test --workspace --test it generate"
    );
}

#[test]
fn completions_and_man_page_match_the_command_line() {
    for (name, what) in FILES {
        let mut generated = Vec::new();
        generate(what, &mut generated).unwrap();
        compare(&format!("completions/{name}"), &String::from_utf8(generated).unwrap());
    }
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("completions");
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), FILES.len(), "completions/ has an extra file");
}

#[test]
fn options_page_matches_the_command_line() {
    compare("docs/options.md", &options_page(&Cli::command()));
}

const INTRODUCTION: &str = "\
<!-- Generated from src/cli/args.rs by tests/it/generate.rs; see CONTRIBUTING.md. -->

# Options

`copera-upload [OPTIONS] <PATH>...`

This page has the text of `copera-upload --help`. The [guide](guide.md) explains the options in context.
If an option is given more than once, the last one counts.
";

/// The help as a page of the documentation, with a section for each group and a heading for each option.
fn options_page(command: &Command) -> String {
    let mut page = INTRODUCTION.to_owned();
    for argument in command.get_positionals() {
        write!(page, "\n## Paths\n\n{}", description(argument)).unwrap();
    }
    let mut group = "";
    for argument in command.get_opts().filter(|argument| !argument.is_hide_set()) {
        let heading = argument.get_help_heading().unwrap();
        if heading != group {
            group = heading;
            write!(page, "\n## {heading}\n").unwrap();
        }
        write!(page, "\n### `{}`\n\n{}", usage(argument), description(argument)).unwrap();
    }
    // Sections of `after_long_help` are separated by blank lines and begin with a heading.
    for section in command.get_after_long_help().unwrap().to_string().split("\n\n") {
        let (heading, lines) = section.split_once(":\n").unwrap();
        let lines = lines.lines().map(|line| line.strip_prefix("  ").unwrap_or(line));
        write!(page, "\n## {heading}\n\n{}", fenced(heading, lines.collect())).unwrap();
    }
    page
}

/// `-p, --parent <ID>`
fn usage(argument: &Arg) -> String {
    let short = argument.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
    let names = argument.get_value_names().filter(|_| argument.get_action().takes_values());
    let value = names.map(|names| match argument.is_require_equals_set() {
        true => format!("[=<{}>]", names[0]),
        false => format!(" <{}>", names[0]),
    });
    let value = value.unwrap_or_default();
    format!("{short}--{}{value}", argument.get_long().unwrap())
}

/// The long help and facts about the values. `[env: …]` and `[default: …]` are in the first line of the help.
fn description(argument: &Arg) -> String {
    let help = argument.get_long_help().or(argument.get_help()).unwrap().to_string();
    let (mut first, rest) =
        help.split_once("\n\n").map_or((help.as_str(), None), |(first, rest)| (first, Some(rest)));
    let mut facts = String::new();
    while let Some((before, fact)) = first.strip_suffix(']').and_then(|text| text.rsplit_once(" [")) {
        first = before;
        let (name, value) = fact.split_once(": ").unwrap();
        facts = match name {
            "env" => format!("- Environment variable: `{value}`\n{facts}"),
            _ => format!("- Default: {value}\n{facts}"),
        };
    }
    // The values of a flag are true and false.
    let values = argument.get_possible_values().into_iter();
    for value in values.filter(|_| argument.get_action().takes_values()) {
        let help = value.get_help().map(|help| format!(": {}", as_markdown(&help.to_string())));
        let help = help.unwrap_or_default();
        writeln!(facts, "- `{}`{help}", value.get_name()).unwrap();
    }
    for value in argument.get_default_values() {
        writeln!(facts, "- Default: `{}`", value.to_string_lossy()).unwrap();
    }
    let paragraphs = [Some(first), rest].into_iter().flatten().map(as_markdown);
    let paragraphs: Vec<_> = paragraphs.map(|text| format!("{}.", text.trim_end_matches('.'))).collect();
    let facts = if facts.is_empty() { facts } else { format!("\n{facts}") };
    format!("{}\n{facts}", paragraphs.join("\n\n"))
}

/// Marks options, globs and variables as code where the help does not.
fn as_markdown(text: &str) -> String {
    let mark = |word: &str| {
        let bare = word.trim_start_matches('(').trim_end_matches([',', '.', ';', ')']);
        let is_code = bare.starts_with('-') || bare.contains(['*', '<', '_']);
        if is_code { word.replacen(bare, &format!("`{bare}`"), 1) } else { word.to_owned() }
    };
    // Every other piece is code already.
    let pieces = text.split('`').enumerate().map(|(index, piece)| match index % 2 {
        0 => piece.split(' ').map(mark).collect::<Vec<_>>().join(" "),
        _ => piece.to_owned(),
    });
    pieces.collect::<Vec<_>>().join("`")
}

/// A section as a fenced block. Examples become a script whose comments say what they do.
fn fenced(heading: &str, lines: Vec<&str>) -> String {
    if heading != "Examples" {
        return format!("```text\n{}\n```\n", lines.join("\n"));
    }
    let script = lines.chunks(2).map(|pair| format!("# {}\n{}\n", pair[1].trim(), pair[0]));
    format!("```sh\n{}```\n", script.collect::<Vec<_>>().join("\n"))
}
