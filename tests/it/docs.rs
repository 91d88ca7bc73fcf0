//! Checks README and docs against the program. Every command runs, or is marked `not-run` with a reason and checked
//! without running it. Links must resolve, and options and messages must exist.

mod page;
#[cfg(unix)]
mod stage;

use std::collections::BTreeSet;

use clap::CommandFactory as _;
use copera_upload::cli::Cli;
use page::{Block, Mode, Page, Spot, root};

const LANGUAGES: [&str; 8] = ["sh", "console", "text", "yaml", "toml", "ini", "crontab", "json"];

/// The blocks of these languages on all pages.
fn blocks(languages: &[&str]) -> Vec<Block> {
    page::all()
        .into_iter()
        .flat_map(|page| page.blocks)
        .filter(|block| languages.contains(&block.language.as_str()))
        .collect()
}

fn assert_none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn links_and_anchors_resolve() {
    let pages = page::all();
    let mut broken = Vec::new();
    for page in &pages {
        for link in page.links.iter().filter(|link| !link.text.starts_with("https://")) {
            let (file, anchor) = link.text.split_once('#').unwrap_or((&link.text, ""));
            let directory = page.name.rsplit_once('/').map_or("", |(directory, _)| directory);
            let mut target = root().join(directory);
            match file {
                "" => target.push(page.name.rsplit('/').next().unwrap()),
                file => target.push(file),
            }
            let has_anchor = |target: &Page| target.anchors.iter().any(|known| known == anchor);
            let target = target.canonicalize();
            let found = target.is_ok_and(|target| {
                let same =
                    |page: &&Page| root().join(&page.name).canonicalize().is_ok_and(|path| path == target);
                anchor.is_empty() || pages.iter().find(same).is_some_and(has_anchor)
            });
            if !found {
                broken.push(format!("{}:{}: {}", page.name, link.line, link.text));
            }
        }
    }
    assert_none(broken);
}

#[test]
fn readme_is_short_and_every_block_has_a_language() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.lines().count() <= 220, "README.md has {} lines", readme.lines().count());
    let blocks = page::all().into_iter().flat_map(|page| page.blocks);
    let unknown = blocks.filter(|block| !LANGUAGES.contains(&block.language.as_str()));
    assert_none(unknown.map(|block| format!("{}: `{}`", block.place, block.language)).collect());
}

#[test]
fn options_in_the_text_exist() {
    let ours = Cli::command().render_long_help().to_string();
    let drives = drive_help();
    let known: BTreeSet<_> = [&ours, &drives].into_iter().flat_map(|help| long_options(help)).collect();
    let mut unknown = Vec::new();
    for page in page::all() {
        // Options without a program are those of copera-upload.
        let is_ours = |code: &&Spot| {
            let ours = ["copera-upload ", "local-drive "];
            code.text.starts_with('-') || ours.iter().any(|name| code.text.starts_with(name))
        };
        for code in page.code.iter().filter(is_ours) {
            let options = long_options(&code.text).filter(|option| !known.contains(option));
            unknown.extend(options.map(|option| format!("{}:{}: {option}", page.name, code.line)));
        }
    }
    assert_none(unknown);
}

#[test]
fn paths_in_the_text_exist() {
    const PLACES: [&str; 8] =
        ["src/", "tests/", "docs/", "benches/", "packaging/", "completions/", ".ci/", ".github/"];
    let mut missing = Vec::new();
    for page in page::all() {
        for code in &page.code {
            let is_path = PLACES.iter().any(|place| code.text.starts_with(place)) && !code.text.contains(' ');
            if is_path && !root().join(&code.text).exists() {
                missing.push(format!("{}:{}: {}", page.name, code.line, code.text));
            }
        }
    }
    assert_none(missing);
}

fn long_options(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|character: char| !character.is_ascii_alphanumeric() && character != '-');
    words.filter(|word| word.strip_prefix("--").is_some_and(|name| name.starts_with(char::is_alphabetic)))
}

/// The help of the local drive, which is built with the tests of the whole workspace.
fn drive_help() -> String {
    let drive = assert_cmd::cargo::cargo_bin!("copera-upload")
        .with_file_name(format!("local-drive{}", std::env::consts::EXE_SUFFIX));
    let output = std::process::Command::new(&drive).arg("--help").output();
    let output = output.unwrap_or_else(|error| {
        panic!("{}: {error}; build it with `cargo test --workspace`", drive.display())
    });
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn messages_on_the_troubleshooting_page_exist_in_the_program() {
    let mut source = String::new();
    for entry in walkdir::WalkDir::new(root().join("src")) {
        let path = entry.unwrap().into_path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            source += &std::fs::read_to_string(path).unwrap();
        }
    }
    let pages = page::all();
    let page = pages.iter().find(|page| page.name == "docs/troubleshooting.md").unwrap();
    assert!(!page.first_column.is_empty());
    // A number is an HTTP status, and the text after it comes from the server.
    let is_status = |text: &str| text.starts_with(|character: char| character.is_ascii_digit());
    let unknown = page.first_column.iter().filter(|message| {
        let mut pieces = message.text.split('…');
        !is_status(&message.text) && !pieces.all(|piece| source.contains(piece.trim()))
    });
    assert_none(unknown.map(|message| format!("{}:{}: {}", page.name, message.line, message.text)).collect());
}

#[test]
fn blocks_marked_ci_match_the_ci_script() {
    let script = std::fs::read_to_string(root().join(".ci/run")).unwrap();
    let begins: Vec<_> = script
        .lines()
        .filter_map(|line| line.split_once("readme_command '")?.1.split_once('\''))
        .map(|(begin, _)| begin)
        .collect();
    assert_eq!(begins.len(), 2, "{begins:?}");
    let mut commands = Vec::new();
    for block in blocks(&["sh"]).into_iter().filter(|block| block.mode == Mode::Ci) {
        assert!(block.place.starts_with("README.md"), "{}: .ci/run reads README.md only", block.place);
        commands.extend(block.text.lines().map(str::to_owned));
    }
    let is_run = |command: &&String| begins.iter().any(|begin| command.starts_with(begin));
    assert_eq!(commands.iter().filter(is_run).count(), 2, "{commands:?}");
    assert_eq!(commands.len(), 2, "{commands:?}");
}

#[test]
fn options_in_blocks_that_are_not_run_exist() {
    let mut wrong = Vec::new();
    for block in blocks(&["sh", "yaml", "crontab", "ini"]) {
        for arguments in invocations(&block.text) {
            let parsed =
                Cli::parse_args(std::iter::once("copera-upload".to_owned()).chain(arguments.clone()));
            if let Err(error) = parsed.map(drop) {
                wrong.push(format!("{}: {arguments:?}: {error}", block.place));
            }
        }
        let words = block.text.split_whitespace();
        for word in words.filter(|word| word.starts_with("benches/") || word.starts_with("packaging/")) {
            if !root().join(word).exists() && !word.contains('*') {
                wrong.push(format!("{}: no such file: {word}", block.place));
            }
        }
    }
    assert_none(wrong);
}

/// The arguments of each `copera-upload` in a shell script.
fn invocations(text: &str) -> Vec<Vec<String>> {
    let text = text.replace("\\\n", " ");
    let mut found = Vec::new();
    for line in text.lines() {
        for (at, name) in line.match_indices("copera-upload ") {
            // A command is at the start of a line, or after white space, a parenthesis or a directory.
            let before = line[..at].chars().next_back();
            let is_comment = line.trim_start().starts_with('#');
            if is_comment || !before.is_none_or(|before| matches!(before, ' ' | '(' | '/' | '\'')) {
                continue;
            }
            // In `tap copera-upload` or `install copera-upload`, the name is an argument.
            let command = line[..at].trim_end_matches(|character: char| !character.is_whitespace());
            if command.trim_end().ends_with("install") || line[..at].ends_with("--repository ") {
                continue;
            }
            // Ends at the closing quote or parenthesis, or at the end of the line.
            let rest = &line[at + name.len()..];
            let rest = rest.split(['|', ';', '>', '<']).next().unwrap_or_default();
            let words = (0..=rest.len())
                .rev()
                .filter(|end| rest.is_char_boundary(*end))
                .find_map(|end| shlex::split(&rest[..end]))
                .unwrap_or_default();
            let ends = words.iter().position(|word| ["&&", "||", "&"].contains(&word.as_str()));
            let words = words[..ends.unwrap_or(words.len())].iter();
            found.push(words.map(|word| word.trim_end_matches(')').to_owned()).collect());
        }
    }
    found
}

#[cfg(unix)]
mod run {
    use std::collections::BTreeMap;
    use std::process::Command;
    use std::sync::Mutex;

    use saphyr::{LoadableYamlNode as _, Yaml};

    use super::page::{Block, Mode, root};
    use super::stage::{Stage, complaint};
    use super::{assert_none, blocks};

    /// Whether a program is installed. If not, prints that the block is skipped.
    #[expect(clippy::print_stderr, reason = "see above")]
    fn has(program: &str, place: &str) -> bool {
        let found = Command::new(program).arg("--version").output().is_ok();
        if !found {
            eprintln!("{place}: {program} is not installed: skipped");
        }
        found
    }

    #[test]
    fn commands_do_what_the_pages_show() {
        let blocks = blocks(&["sh", "console"]).into_iter();
        let queue: Mutex<Vec<Block>> = Mutex::new(
            blocks.filter(|block| !block.text.contains("jq ") || has("jq", &block.place)).collect(),
        );
        let complaints = Mutex::new(Vec::new());
        let work = || {
            while let Some(block) = { queue.lock().unwrap().pop() } {
                complaints.lock().unwrap().extend(complaint(&block));
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(work))));
        assert_none(complaints.into_inner().unwrap());
    }

    #[test]
    fn shell_scripts_have_valid_syntax() {
        for block in blocks(&["sh"]) {
            let output = Command::new("bash").args(["-n", "-c", &block.text]).output().unwrap();
            assert!(output.status.success(), "{}: {}", block.place, String::from_utf8_lossy(&output.stderr));
        }
    }

    #[test]
    fn configuration_examples_are_accepted() {
        for block in blocks(&["toml"]) {
            let stage = Stage::new();
            stage.write("config.toml", &block.text);
            let ran = stage.run("sh", "copera-upload --config config.toml --dry-run report.pdf");
            assert_eq!(ran.code, Some(0), "{}: {ran:#?}", block.place);
        }
    }

    #[test]
    fn cron_lines_run() {
        for block in blocks(&["crontab"]) {
            for line in block.text.lines().filter(|line| !line.starts_with('#')) {
                let command = line.splitn(6, ' ').nth(5).unwrap().replace("\\%", "%");
                let ran = Stage::new().run("sh", &command);
                // cron sends mail if a job prints anything.
                assert_eq!((ran.code, &*ran.stdout, &*ran.stderr), (Some(0), "", ""), "{}", block.place);
            }
        }
    }

    #[test]
    fn systemd_units_run() {
        for block in blocks(&["ini"]) {
            for line in block.text.lines() {
                assert!(
                    line.is_empty() || line.starts_with(['[', '#']) || line.contains('='),
                    "{}: {line}",
                    block.place
                );
                let Some(command) = line.strip_prefix("ExecStart=") else { continue };
                let ran = Stage::new().run("sh", &command.replace("$$", "$").replace("%%", "%"));
                assert_eq!(ran.code, Some(0), "{}: {ran:#?}", block.place);
            }
        }
    }

    #[test]
    fn ci_jobs_run_and_use_existing_inputs_of_the_action() {
        let action = std::fs::read_to_string(root().join(".github/actions/upload/action.yml")).unwrap();
        let action = Yaml::load_from_str(&action).unwrap();
        let inputs: BTreeMap<_, _> = entries(&action[0]["inputs"]).into_iter().collect();
        for block in blocks(&["yaml"]) {
            let documents = Yaml::load_from_str(&block.text).unwrap();
            let mut jobs = Vec::new();
            documents.iter().for_each(|document| visit(document, &mut jobs));
            assert!(!jobs.is_empty(), "{}: nothing to check", block.place);
            for job in jobs {
                match job {
                    Job::Action { reference, with } => {
                        let own = concat!(
                            "copera-ai/copera-upload/.github/actions/upload@v",
                            env!("CARGO_PKG_VERSION")
                        );
                        assert_eq!(reference, own, "{}", block.place);
                        for name in with {
                            assert!(inputs.contains_key(&name), "{}: unknown input: {name}", block.place);
                        }
                    }
                    Job::Script(script) => {
                        let output = Command::new("bash").args(["-n", "-c", &script]).output().unwrap();
                        assert!(output.status.success(), "{}: {script}", block.place);
                        // Commands that install something must not run here.
                        if block.mode == Mode::Run(0) && !script.contains("install") {
                            let ran = Stage::new().run("bash", &script);
                            assert_eq!(ran.code, Some(0), "{}: {ran:#?}", block.place);
                        }
                    }
                }
            }
        }
    }

    enum Job {
        /// A step that uses the action, with its input names.
        Action { reference: String, with: Vec<String> },
        /// Shell commands.
        Script(String),
    }

    fn entries<'a>(yaml: &'a Yaml<'a>) -> Vec<(String, &'a Yaml<'a>)> {
        let mapping = yaml.as_mapping().into_iter().flatten();
        mapping.filter_map(|(key, value)| Some((key.as_str()?.to_owned(), value))).collect()
    }

    fn visit(yaml: &Yaml<'_>, jobs: &mut Vec<Job>) {
        for (key, value) in entries(yaml) {
            match (&*key, value.as_str(), value.as_sequence()) {
                ("uses", Some(reference), _) if reference.contains("copera-upload") => {
                    let with = entries(&yaml["with"]).into_iter().map(|(name, _)| name).collect();
                    jobs.push(Job::Action { reference: reference.to_owned(), with });
                }
                ("run", Some(script), _) => jobs.push(Job::Script(script.to_owned())),
                ("script" | "before_script", _, Some(lines)) => {
                    let lines: Vec<_> = lines.iter().filter_map(Yaml::as_str).collect();
                    jobs.push(Job::Script(lines.join("\n")));
                }
                _ => visit(value, jobs),
            }
        }
        yaml.as_sequence().into_iter().flatten().for_each(|item| visit(item, jobs));
    }
}
