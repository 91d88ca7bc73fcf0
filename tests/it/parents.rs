//! `--parent`: the ID or address of a folder, from the command line, a variable or a profile.

use local_drive::{Action, Fault, Op};

use crate::directories::plant;
use crate::support::{Ran, World, refusal};

/// Uploads with this parent on the command line, in the variable and in a profile.
fn in_each_place(world: &mut World, parent: &str, check: impl Fn(&Ran, &str)) {
    check(&world.run(&["f", "--parent", parent]), "--parent");
    world.set("COPERA_PARENT_ID", parent);
    check(&world.run(&["f"]), "COPERA_PARENT_ID");
    world.set("COPERA_PARENT_ID", "");
    let text = toml::Table::from_iter([("parent".to_owned(), parent.into())]).to_string();
    world.file_of(".copera.toml", format!("[profiles.default]\n{text}"));
    check(&world.run(&["f"]), ".copera.toml:2");
    std::fs::remove_file(world.work().join(".copera.toml")).unwrap();
}

#[test]
fn ids_and_addresses_of_folders_are_accepted() {
    let mut world = World::new();
    world.file("f", 1);
    let id = world.drive.make_folder("Reports", None);
    for parent in [
        format!(" {id}\n"),
        format!("{id}\r"),
        format!("https://app.copera.ai/acme/drive/f/{id}"),
        format!("https://app.copera.ai/acme/drive/f/{id}/"),
        format!(" https://APP.copera.ai/acme/drive/f/{id}?view=list&sort=name#top\n"),
    ] {
        in_each_place(&mut world, &parent, |ran, _| assert_eq!(ran.ok().json()["parent"], id, "{parent:?}"));
    }
}

#[test]
fn other_addresses_are_refused_with_the_reason() {
    let mut world = World::new();
    world.file("f", 1);
    let id = world.drive.make_folder("Reports", None);
    for (parent, reason) in [
        (format!("https://app.copera.ai/acme/drive/c/{id}"), "address of a file"),
        ("https://app.copera.ai/acme/drive".to_owned(), "not the address of a folder"),
        (format!("https://example.com/acme/drive/f/{id}"), "app.copera.ai"),
        (format!("http://app.copera.ai/acme/drive/f/{id}"), "https://app.copera.ai"),
        ("https://[".to_owned(), "not a valid URL"),
        ("file:///tmp/x".to_owned(), "app.copera.ai"),
    ] {
        in_each_place(&mut world, &parent, |ran, place| {
            ran.fails(2).says(reason).says(place).says("hint: --parent takes");
        });
    }
    assert_eq!(world.drive.record().count(Op::Any), 0);
}

#[test]
fn any_other_text_is_checked_by_the_service() {
    let mut world = World::new();
    world.file("f", 1);
    for parent in ["photos", "a b", "Reports/2026"] {
        in_each_place(&mut world, parent, |ran, _| {
            ran.fails(1).says("400").says("hint: --parent takes");
        });
    }
    assert_eq!(world.drive.record().count(Op::Start), 9);
    world.run(&["f", "-p", " "]).fails(2).says("--parent");
    world.set("COPERA_PROFILE", " default\r\n");
    // A blank variable counts as unset.
    world.set("COPERA_PARENT_ID", " \n");
    assert_eq!(world.run(&["f"]).ok().json().get("parent"), None);
}

#[test]
fn a_404_without_a_parent_is_not_a_missing_folder() {
    for (args, op) in [
        (&["f"][..], Op::Start),
        (&["f", "--if-exists", "skip"], Op::Tree),
        (&["-r", "d"], Op::Tree),
        (&["-r", "d"], Op::Folders),
    ] {
        let world = World::new();
        plant(&world, &["f", "d/g"]);
        world.drive.fault(Fault::new(op, refusal(404, "Cannot find it")));
        let ran = world.run(args);
        ran.fails(1).says("404").says("Cannot find it").says("--api-url").says_nothing_of("--parent");
        let id = world.drive.make_folder("Reports", None);
        world.run(&[&["-p", &id], args].concat()).fails(3).says("404").says("--parent");
    }
    let world = World::new();
    world.file("f", 1);
    world.drive.fault(Fault::new(Op::Workspace, refusal(404, "Cannot find it")));
    world.run(&["f", "-o", "url"]).fails(1).says("404").says("--api-url");
}

#[test]
fn a_full_workspace_is_not_reported_as_a_token_error() {
    for (status, message) in [
        (403, "Storage quota exceeded"),
        (403, "No space left in your workspace"),
        (403, "Not enough storage"),
        (413, "The workspace is out of storage space"),
        (402, "Your storage is full"),
        (400, "Workspace quota reached"),
        (507, "Insufficient Storage"),
        (507, ""),
    ] {
        let world = World::new();
        world.file("f", 1);
        world.drive.fault(Fault::new(Op::Start, refusal(status, message)));
        let ran = world.run(&["f", "--retry-for", "5s"]);
        ran.fails(1).says(&status.to_string()).says(message).says("hint: the workspace is full");
        ran.says_nothing_of("may be").says_nothing_of("ACCESS_DRIVE");
        assert_eq!(world.drive.record().count(Op::Start), 1, "no retry helps");
    }
    for (status, message, code) in [
        (403, "You have no access to this storage", 4),
        (403, "Not a member of this workspace", 4),
        (401, "Token quota exceeded", 4),
        (429, "API quota exceeded", 6),
        (409, "Quota of names exceeded", 5),
    ] {
        let world = World::new();
        world.file("f", 1);
        world.drive.fault(Fault::new(Op::Start, refusal(status, message)));
        world.run(&["f", "--retry-for", "0"]).fails(code).says(message).says_nothing_of("is full");
    }
    let world = World::new();
    world.file("f", 1);
    let code = "QuotaExceeded".to_owned();
    let full = Action::S3Error { status: 403, code, message: "Bucket quota exceeded".to_owned() };
    world.drive.fault(Fault::new(Op::PutPart, full));
    world.run(&["f"]).fails(1).says("hint: the workspace is full");
}
