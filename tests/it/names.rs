//! Names: whatever a file may be called, it gets into the drive under that name, composed and readable.

use std::ffi::{OsStr, OsString};

use local_drive::Op;

use crate::program::unix_only;
use crate::support::{World, sha256_of};
use crate::trees::plant;

/// Uploads a file called `local`, given as `./local`; the drive has to call it `name`.
#[track_caller]
fn arrives_as(local: impl AsRef<OsStr>, name: &str) {
    let world = World::new();
    let path = world.file(local.as_ref(), 1000);
    let mut given = OsString::from("./");
    given.push(local.as_ref());
    let ran = world.run(&[given]);
    let item = ran.ok().json();
    assert_eq!(item["name"], name);
    assert_eq!(world.drive.object_sha256(&ran.id()).unwrap(), sha256_of(&path));
}

#[test]
fn names_in_any_script_arrive_as_they_are() {
    for name in ["résumé.txt", "報告書 2026.pdf", "отчёт", "עברית", "😀👨‍👩‍👧.png", "Ⅷ ﬁ ½", "İstanbul ß"]
    {
        arrives_as(name, name);
    }
}

#[test]
fn decomposed_names_arrive_composed() {
    arrives_as("re\u{301}sume\u{301}.txt", "r\u{e9}sum\u{e9}.txt");
    arrives_as("\u{1112}\u{1161}\u{11ab}", "\u{d55c}");
}

#[test]
fn names_with_white_space_and_quotes_arrive_as_they_are() {
    unix_only!("no file can have such names there");
    for name in
        [" ", " two  spaces ", "tab\there", "a\nb\r\nc", "\"quoted\"", "it's", "back\\slash", "`$(x)`;&|*?"]
    {
        arrives_as(name, name);
    }
}

#[test]
fn names_that_mean_something_to_urls_or_json_arrive_as_they_are() {
    unix_only!("no file can have such names there");
    for name in
        ["100%", "%41", "a?b=c&d#e", "a+b", "a:b", "{\"_id\":1}", "\u{1}\u{7f}", "..hidden", "...", "null"]
    {
        arrives_as(name, name);
    }
}

#[test]
fn a_name_of_255_bytes_arrives_as_it_is() {
    arrives_as("n".repeat(255), &"n".repeat(255));
    let wide = format!("{}b", "é".repeat(127));
    assert_eq!(wide.len(), 255);
    arrives_as(&wide, &wide);
}

#[test]
fn a_name_that_begins_with_a_dash_can_be_given_behind_two_dashes() {
    let world = World::new();
    for name in ["-x", "--help", "-", "-o"] {
        world.file(name, 10);
    }
    assert_eq!(world.run(&["--", "-x"]).ok().json()["name"], "-x");
    assert_eq!(world.run(&["-q", "--", "--help"]).ok().json()["name"], "--help");
    assert_eq!(world.run(&["./-o"]).ok().json()["name"], "-o");
    assert_eq!(world.run(&["./-"]).ok().json()["name"], "-");
}

// Other systems' file systems do not take such names.
#[cfg(target_os = "linux")]
#[test]
fn undecodable_bytes_arrive_as_percent_codes_with_a_warning() {
    unix_only!("names are UTF-16 there");
    use std::os::unix::ffi::OsStrExt as _;

    let world = World::new();
    let name = OsStr::from_bytes(b"caf\xe9 \xf0\x9f.txt");
    let path = world.file(name, 100);
    let ran = world.run(&[name]);
    assert_eq!(ran.ok().json()["name"], "caf%E9 %F0%9F.txt");
    ran.says("caf%E9 %F0%9F.txt");
    world.assert_stored(&ran.id(), &path);

    let ran = world.run(&[OsStr::new("-n"), OsStr::from_bytes(b"\xff"), name]);
    assert_eq!(ran.ok().json()["name"], "%FF");
    ran.says("%FF");

    let missing = world.run(&[OsStr::from_bytes(b"no\xff")]);
    missing.fails(8).says("error: no%FF: ");
}

#[test]
fn a_given_name_is_sent_composed_and_nothing_else_is_done_to_it() {
    let world = World::new();
    world.file("f.bin", 10);
    let named =
        |name: &str| world.run(&["f.bin".to_owned(), format!("--name={name}")]).ok().json()["name"].clone();
    assert_eq!(named("Caf\u{65}\u{301}"), "Caf\u{e9}");
    assert_eq!(named(" a b.pdf"), " a b.pdf");
    assert_eq!(named("-n"), "-n");
    let long = "x".repeat(2000);
    assert_eq!(named(&long), long);
}

fn type_of(world: &World, args: &[&str]) -> String {
    let before = world.drive.record().count(Op::Start);
    let ran = world.run(args);
    ran.ok();
    let record = world.drive.record();
    let start = record.requests_of(Op::Start).nth(before).unwrap().json.clone().unwrap();
    assert_eq!(ran.json()["mimeType"], start["mimeType"]);
    start["mimeType"].as_str().unwrap().to_owned()
}

#[test]
fn the_type_is_guessed_by_extension_then_by_content() {
    let world = World::new();
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
    for (name, content, kind) in [
        ("a.pdf", &b"no pdf"[..], "application/pdf"),
        ("A.JPG", b"", "image/jpeg"),
        ("a.tar.gz", b"x", "application/gzip"),
        ("a.csv", b"x", "text/csv"),
        ("no-extension", png, "image/png"),
        ("odd.extension-of-mine", png, "image/png"),
        ("pdf", b"%PDF-1.7\n", "application/pdf"),
        ("words", b"only words", "application/octet-stream"),
        ("nothing", b"", "application/octet-stream"),
    ] {
        world.file_of(name, content);
        assert_eq!(type_of(&world, &[name]), kind, "{name}");
    }
}

#[test]
fn a_given_name_has_its_say_in_the_type_and_a_given_type_the_last_word() {
    let world = World::new();
    world.file_of("a.pdf", "x");
    assert_eq!(type_of(&world, &["a.pdf", "-n", "b.txt"]), "text/plain");
    assert_eq!(type_of(&world, &["a.pdf", "-n", "b"]), "application/pdf");
    assert_eq!(type_of(&world, &["a.pdf", "--mime-type", "x-a/b+c; d=e"]), "x-a/b+c; d=e");
}

#[test]
fn a_path_of_more_than_260_characters_is_uploaded() {
    let world = World::new();
    let deep = ["a".repeat(60), "b".repeat(60), "c".repeat(60), "d".repeat(60), "e".repeat(60)].join("/");
    let path = format!("{deep}/file.txt");
    plant(&world, &[&path]);
    world.run(&[path.as_str()]).ok();
    world.run(&["-r", &"a".repeat(60)]).ok();
    assert_eq!(world.drive.items().iter().filter(|item| item["name"] == "file.txt").count(), 2);
}

#[test]
fn the_name_of_a_windows_device_is_a_name_of_a_file() {
    let world = World::new();
    for name in ["CON", "NUL", "com1"] {
        world.run(&[name]).fails(8);
    }
    assert_eq!(world.drive.items().len(), 0);
}
