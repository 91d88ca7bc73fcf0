//! stdout has the item as the service returned it, in the requested form, and nothing else.

use std::process::Stdio;

use local_drive::{Action, Fault, Op};

use crate::support::{PART, Ran, World};

/// Unusual fields, numbers and order.
const ODD: &str = r#"{"zeta":[],"_id":"665f1c2ab3d4e5f60718293a","rev":1.50,"big":12345678901234567890123,"e":1E+3,"id":"other","name":"é 😀 \"q\" <&> /","type":"file","createdAt":"2026-06-01T00:00:00.000Z","owner":{"_id":"x","a":{"z":null,"b":false}},"a":""}"#;

fn finalize_response(body: impl Into<String>) -> Fault {
    Fault::once(Op::Finalize, Action::StatusAfterWork { code: 201, headers: Vec::new(), body: body.into() })
}

fn run_with_response(body: &str, args: &[&str]) -> Ran {
    let world = World::new();
    world.file("f", 3);
    world.drive.fault(finalize_response(body));
    world.run(&[&["f"], args].concat())
}

#[test]
fn the_item_is_printed_on_one_line_as_the_service_returned_it() {
    assert_eq!(run_with_response(ODD, &[]).ok().stdout, format!("{ODD}\n"));
    assert_eq!(run_with_response(ODD, &["-o", "json"]).ok().stdout, format!("{ODD}\n"));
    // Only white space between tokens may change.
    let spread = ODD.replace(":[]", " : [\n ]").replace(",\"", " ,\r\n\t\"");
    assert_eq!(run_with_response(&format!("\n{spread} \n"), &[]).ok().stdout, format!("{ODD}\n"));
}

#[test]
fn output_id_prints_only_the_id() {
    assert_eq!(run_with_response(ODD, &["-o", "id"]).ok().stdout, "665f1c2ab3d4e5f60718293a\n");
    // Without `_id`, `id` counts, the name in the SDK.
    let sdk = r#"{"id":"5f2b8c9d1e4a3b0012c4d5e6","fileSize":3}"#;
    assert_eq!(run_with_response(sdk, &["--output=id"]).ok().stdout, "5f2b8c9d1e4a3b0012c4d5e6\n");
}

#[test]
fn output_none_prints_nothing() {
    let ran = run_with_response(ODD, &["-o", "none"]);
    assert_eq!(ran.ok().stdout, "");
}

#[test]
fn several_files_print_one_line_each() {
    let world = World::new();
    let names = ["a", "b", "c"];
    names.iter().for_each(|name| drop(world.file(name, 10)));
    let ran = world.run(&["-o", "id", "a", "b", "c"]);
    let mut printed: Vec<_> = ran.ok().stdout.lines().map(str::to_owned).collect();
    let mut there: Vec<_> =
        world.drive.items().iter().map(|item| item["_id"].as_str().unwrap().to_owned()).collect();
    printed.sort();
    there.sort();
    assert_eq!(printed, there);
}

#[test]
fn verbose_and_json_logs_do_not_affect_stdout() {
    for args in [&["-vv"][..], &["--log-format", "json", "-v"], &["-q"], &["--progress", "bar"]] {
        let world = World::new();
        world.file("f", PART + 1);
        let ran = world.run(&[&["f"], args].concat());
        assert_eq!(ran.ok().json()["name"], "f", "{args:?}");
    }
}

#[test]
fn quiet_prints_nothing_on_success() {
    let world = World::new();
    world.file("f", PART + 1);
    let ran = world.run(&["-q", "f"]);
    assert_eq!((ran.ok().id(), ran.stderr.as_str()), (world.only_item()["_id"].as_str().unwrap().into(), ""));
}

#[test]
fn each_result_is_printed_when_its_file_is_done() {
    use std::io::{BufRead as _, BufReader};

    let world = World::new();
    world.file("first", 10);
    world.file("second", PART);
    let stall = world.drive.fault(Fault::once(Op::Finalize, Action::HangAfterBody).skip(1));
    let mut command = world.command(&["-o", "id", "first", "second"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut running = command.spawn().unwrap();
    let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(running.try_wait().unwrap().is_none(), "the program ended before the second file was done");
    assert!(world.drive.items().iter().any(|item| item["_id"] == *first));
    world.drive.clear_fault(stall);
    assert!(lines.next().unwrap().is_ok());
    assert!(running.wait().unwrap().success());
}

#[test]
fn a_closed_stdout_does_not_end_the_upload() {
    let world = World::new();
    world.file("a", PART + 1);
    world.file("b", PART + 1);
    let mut command = world.command(&["a", "b"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped());
    let ran = world.spawn_with(command).wait();
    assert_eq!(world.drive.items().len(), 2, "{ran:#?}");
    ran.ok().says_nothing_of("error:");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_behind_stdout_is_an_error_after_the_upload() {
    let world = World::new();
    world.file("f", 10);
    let mut command = world.command(&["f"]);
    let full = std::fs::File::create("/dev/full").unwrap();
    command.stdin(Stdio::null()).stdout(full).stderr(Stdio::piped());
    let ran = world.spawn_with(command).wait();
    world.only_item();
    ran.ends(1);
    assert!(ran.stderr.starts_with("error: ") || ran.stderr.contains("\nerror: "), "{ran:#?}");
}

#[test]
fn the_report_has_a_row_for_every_file() {
    let world = World::new();
    world.file("f", 10);
    let ran = world.run(&["-o", "report", "f", "missing"]);
    ran.ends(9);
    let mut rows: Vec<serde_json::Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    rows.sort_by_key(|row| row["path"].to_string());
    assert_eq!((&rows[0]["path"], &rows[0]["status"]), (&"f".into(), &"uploaded".into()));
    assert_eq!((&rows[0]["item"]["name"], &rows[0]["sent_bytes"]), (&"f".into(), &10.into()));
    assert_eq!((&rows[1]["path"], &rows[1]["status"]), (&"missing".into(), &"failed".into()));
    assert_eq!(
        (&rows[1]["error"]["code"], &rows[1]["error"]["exit_code"]),
        (&"local_file".into(), &8.into())
    );
    assert_eq!(rows.len(), 2);
}

#[test]
fn output_url_prints_page_urls_and_requests_the_workspace_once() {
    let world = World::new();
    ["a", "b", "c"].iter().for_each(|name| drop(world.file(name, 3)));
    let ran = world.run(&["-o", "url", "a", "b", "c"]);
    let mut printed: Vec<_> = ran.ok().stdout.lines().map(str::to_owned).collect();
    let mut pages: Vec<_> = world
        .drive
        .items()
        .iter()
        .map(|item| format!("https://app.copera.ai/local/drive/c/{}", item["_id"].as_str().unwrap()))
        .collect();
    printed.sort();
    pages.sort();
    assert_eq!(printed, pages);
    assert_eq!(world.drive.record().count(Op::Workspace), 1);
}

#[test]
fn an_unknown_workspace_name_is_an_error_before_anything_is_sent() {
    for response in [
        Action::status(403, r#"{"message":"Missing scope"}"#),
        Action::status(200, r#"{"slug":""}"#),
        Action::status(200, "{}"),
    ] {
        let world = World::new();
        world.file("f", 3);
        world.drive.fault(Fault::new(Op::Workspace, response));
        let ran = world.run(&["-o", "url", "f"]);
        assert!([Some(1), Some(4)].contains(&ran.code), "{ran:#?}");
        ran.says("could not get the workspace's name");
        assert_eq!(world.drive.record().count(Op::Start), 0);
    }
}
