//! Names of any kind arrive unchanged, except for NFC.

use std::ffi::{OsStr, OsString};

use local_drive::Op;

use crate::directories::plant;
use crate::program::unix_only;
use crate::support::{World, sha256_of};

/// Uploads a file with the name `local`, given as `./local`, and checks that the item has the name `name`.
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
fn names_in_any_script_arrive_unchanged() {
    for name in ["résumé.txt", "報告書 2026.pdf", "отчёт", "עברית", "😀👨‍👩‍👧.png", "Ⅷ ﬁ ½", "İstanbul ß"]
    {
        arrives_as(name, name);
    }
}

#[test]
fn decomposed_names_arrive_in_nfc() {
    arrives_as("re\u{301}sume\u{301}.txt", "r\u{e9}sum\u{e9}.txt");
    arrives_as("\u{1112}\u{1161}\u{11ab}", "\u{d55c}");
}

#[test]
fn names_with_white_space_and_quotes_arrive_unchanged() {
    unix_only!("Windows does not allow such names");
    for name in
        [" ", " two  spaces ", "tab\there", "a\nb\r\nc", "\"quoted\"", "it's", "back\\slash", "`$(x)`;&|*?"]
    {
        arrives_as(name, name);
    }
}

#[test]
fn names_with_special_characters_of_urls_and_json_arrive_unchanged() {
    unix_only!("Windows does not allow such names");
    for name in
        ["100%", "%41", "a?b=c&d#e", "a+b", "a:b", "{\"_id\":1}", "\u{1}\u{7f}", "..hidden", "...", "null"]
    {
        arrives_as(name, name);
    }
}

#[test]
fn a_name_of_255_bytes_arrives_unchanged() {
    arrives_as("n".repeat(255), &"n".repeat(255));
    let wide = format!("{}b", "é".repeat(127));
    assert_eq!(wide.len(), 255);
    arrives_as(&wide, &wide);
}

#[test]
fn a_name_with_a_leading_dash_can_follow_two_dashes() {
    let world = World::new();
    for name in ["-x", "--help", "-", "-o"] {
        world.file(name, 10);
    }
    assert_eq!(world.run(&["--", "-x"]).ok().json()["name"], "-x");
    assert_eq!(world.run(&["-q", "--", "--help"]).ok().json()["name"], "--help");
    assert_eq!(world.run(&["./-o"]).ok().json()["name"], "-o");
    assert_eq!(world.run(&["./-"]).ok().json()["name"], "-");
}

// File systems of other systems refuse such names.
#[cfg(target_os = "linux")]
#[test]
fn undecodable_bytes_arrive_percent_encoded_with_a_warning() {
    unix_only!("Windows names are UTF-16");
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
fn the_name_option_is_sent_in_nfc_and_otherwise_unchanged() {
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
fn the_mime_type_is_guessed_by_extension_and_then_by_content() {
    let world = World::new();
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
    for (name, content, kind) in [
        ("a.pdf", &b"not a PDF"[..], "application/pdf"),
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
fn the_mime_type_follows_the_name_option_and_is_overridden_by_mime_type() {
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
fn a_windows_device_name_is_treated_as_a_file_name() {
    let world = World::new();
    for name in ["CON", "NUL", "com1"] {
        world.run(&[name]).fails(8);
    }
    assert_eq!(world.drive.items().len(), 0);
}
