//! The environment for commands of the documentation: a drive, and the files that the pages use.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::page::{Block, Mode};
use crate::ran::Ran;
use crate::support::World;

/// The folder ID in all examples. Commands get the ID of an existing folder instead.
const EXAMPLE_ID: &str = "665f1c2ab3d4e5f60718293a";

/// Substitutes for other programs in the examples. Only their output matters.
const STANDINS: [(&str, &str); 3] = [
    ("pg_dump", "echo 'CREATE TABLE shop (id int);'"),
    ("pass", "echo \"$COPERA_TOKEN\""),
    // The working directory is not a repository.
    ("git", "printf 'src/main.c\\0report.pdf\\0'"),
];

/// Files in the working directory and their sizes.
const FILES: [(&str, usize); 18] = [
    ("report.pdf", 300 * 1024),
    ("build.zip", 10_000),
    ("backup.tar", 20_000),
    // Two parts suffice for faults in the middle and are small enough for a rate limit.
    ("big.iso", 6 * 1024 * 1024),
    ("holiday.mov", 50_000),
    ("january.csv", 1_000),
    ("february.csv", 2_000),
    ("-odd.txt", 10),
    ("photos/beach.jpg", 30_000),
    ("photos/draft.tmp", 10),
    ("photos/2026/snow.jpg", 40_000),
    ("src/main.c", 500),
    ("src/build.log", 500),
    ("src/node_modules/lib/index.js", 500),
    ("dist/app.tar.gz", 9_000),
    ("dist/notes.txt", 900),
    ("backups/db.dump", 7_000),
    ("home/backup/db.dump", 7_000),
];

/// The environment of one block.
pub struct Stage {
    world: World,
    folder: String,
}

impl Stage {
    pub fn new() -> Self {
        let mut world = World::new();
        let work = world.work();
        for (name, size) in FILES {
            let path = work.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, name.bytes().cycle().take(size).collect::<Vec<_>>()).unwrap();
        }
        std::fs::create_dir(work.join("bin")).unwrap();
        for (name, script) in STANDINS {
            executable(&work.join("bin").join(name), script);
        }
        executable(&work.join("nightly-backup.sh"), "copera-upload -q -o id backup.tar");
        std::fs::write(work.join("list.txt"), "photos/beach.jpg\nsrc/main.c\n").unwrap();
        std::fs::write(work.join("token"), world.drive.token()).unwrap();
        let home = work.join("home");
        std::fs::create_dir_all(home.join(".local/bin")).unwrap();
        symlink(program(), home.join(".local/bin/copera-upload")).unwrap();
        let inherited = std::env::var_os("PATH").unwrap();
        let path = [work.join("bin"), program().parent().unwrap().to_owned()];
        let path = path.into_iter().chain(std::env::split_paths(&inherited));
        world.set("PATH", std::env::join_paths(path).unwrap());
        world.set("HOME", &home);
        // CI systems and systemd set these.
        world.set("CI_COMMIT_SHA", "4f2a9c1");
        world.set("CREDENTIALS_DIRECTORY", &work);
        let folder = world.drive.make_folder("Reports", None);
        Self { world, folder }
    }

    /// Runs a script. Its stdin is the token, for `--login`.
    pub fn run(&self, shell: &str, script: &str) -> Ran {
        let script = script.replace(EXAMPLE_ID, &self.folder).replace("/var/backups/", "backups/");
        let hermetic = self.world.command::<&str>(&[]);
        let mut command = Command::new(shell);
        command.env_clear().current_dir(self.world.work());
        for (name, value) in hermetic.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        let token = std::fs::File::open(self.world.work().join("token")).unwrap();
        command.args(["-eu", "-c", &script]).stdin(token).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.world.spawn_with(command).wait()
    }

    /// Writes a file in the working directory.
    pub fn write(&self, name: &str, text: &str) {
        self.world.file_of(name, text);
    }
}

/// The program under test.
pub fn program() -> PathBuf {
    assert_cmd::cargo::cargo_bin!("copera-upload").to_owned()
}

fn executable(path: &Path, script: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs a block. Returns a complaint if it does not do what the page shows.
pub fn complaint(block: &Block) -> Option<String> {
    let Mode::Run(expected) = block.mode else { return None };
    let complain = |what: &str, ran: &Ran| Some(format!("{}: {what}: {ran:#?}", block.place));
    let stage = Stage::new();
    if block.language == "sh" {
        let ran = stage.run("sh", &block.text);
        return if ran.code == Some(expected) { None } else { complain("another exit code", &ran) };
    }
    for (command, shown) in transcript(&block.text) {
        let ran = stage.run("sh", &command);
        // A transcript has both streams. Their order depends on the terminal.
        let orders = [[&*ran.stdout, &*ran.stderr], [&*ran.stderr, &*ran.stdout]];
        if !orders.iter().any(|streams| is_like(&streams.concat(), &shown)) {
            return complain(&format!("`{command}` prints something else"), &ran);
        }
    }
    None
}

/// The commands of a `console` block with their outputs.
fn transcript(text: &str) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command.to_owned(), String::new())),
            (None, Some((_, shown))) => *shown += line,
            (None, None) => panic!("a console block must begin with a command: {text}"),
        }
    }
    commands
}

/// Whether output matches the page. `…` matches anything. IDs, times and layout may differ.
fn is_like(output: &str, shown: &str) -> bool {
    let output = shape(output);
    let pieces: Vec<_> = shown.split('…').map(shape).collect();
    let [first, middle @ .., last] = pieces.as_slice() else { return output == shape(shown) };
    let Some(rest) = output.strip_prefix(first.as_str()).and_then(|rest| rest.strip_suffix(last.as_str()))
    else {
        return false;
    };
    let after =
        |rest: &'_ str, piece: &String| rest.find(piece).map(|at| rest[at + piece.len()..].to_owned());
    middle.iter().try_fold(rest.to_owned(), |rest, piece| after(&rest, piece)).is_some()
}

/// The text without white space. `#` replaces each run of hexadecimal digits and dots that has a digit.
fn shape(text: &str) -> String {
    let is_part = |character: char| character.is_ascii_hexdigit() || character == '.';
    let mut shape = String::new();
    for word in text.split_whitespace() {
        for run in word.split_inclusive(|character| !is_part(character)) {
            let digits = run.trim_end_matches(|character| !is_part(character));
            if digits.contains(|character: char| character.is_ascii_digit()) {
                shape.push('#');
                shape.push_str(&run[digits.len()..]);
            } else {
                shape.push_str(run);
            }
        }
    }
    // `8ms` and `1.2s` are both times. Without a time there is no rate.
    let rates = ["(#MiB/s)", "(#KiB/s)", "(#B/s)"];
    rates.iter().fold(shape.replace("#ms", "#s"), |shape, rate| shape.replace(rate, ""))
}
