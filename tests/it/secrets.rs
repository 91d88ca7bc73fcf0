//! The token and the queries of signed URLs must not appear in the output, at any verbosity, in any log format, in any
//! error, nor when a server echoes them. [`Ran`](crate::support::Ran) checks the runs of all tests. These tests make
//! sure that there is something to find.

use local_drive::{Action, Fault, Op};
use serde_json::json;

use crate::mock_server::MockServer;
use crate::program::{is_windows, not_under_wine};
use crate::support::{PART, Ran, World, refusal, response};

/// All verbosities and formats.
const FORMATS: [&[&str]; 9] = [
    &[],
    &["-q"],
    &["-v"],
    &["-vv"],
    &["-vvvv"],
    &["--log-format", "json"],
    &["--log-format", "json", "-vv"],
    &["--progress", "plain", "-vv"],
    &["--progress", "bar", "--color", "always", "-vv"],
];

const SIGNATURE: &str = "5ec7e75ec7e75ec7e75ec7e75ec7e75ec7e75ec7e75ec7e75ec7e75ec7e75ec7";

/// A signed URL like Amazon's. Nothing listens on its port.
fn signed() -> String {
    format!(
        "http://127.0.0.1:9/bucket/key?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDSECRET%2F20260601&\
         X-Amz-Date=20260601T000000Z&X-Amz-Expires=3600&X-Amz-Signature={SIGNATURE}&x-id=UploadPart"
    )
}

/// The text of a careless server.
fn echo(token: &str) -> String {
    format!(
        "Authorization: Bearer {token} is wrong for <{}> (\"{}\"); X-Amz-Signature={SIGNATURE}&X-Amz-Credential=AKIDSECRET, \
         x-amz-signature%3D{SIGNATURE} [{token}]",
        signed(),
        signed().replace('&', "&amp;")
    )
}

/// Runs with every verbosity and format, and checks that no secret is in the output.
fn run_in_every_format(world: &World, args: &[&str]) -> Vec<Ran> {
    let runs: Vec<_> = FORMATS.iter().map(|flags| world.run(&[flags, args].concat())).collect();
    for (ran, flags) in runs.iter().zip(FORMATS) {
        for secret in [world.drive.token(), SIGNATURE, "AKIDSECRET", "cp_pat_"] {
            assert!(!ran.stdout.contains(secret) && !ran.stderr.contains(secret), "{flags:?}: {ran:#?}");
        }
    }
    runs
}

#[test]
fn a_successful_run_prints_no_secret() {
    let world = World::new();
    world.file("f", 2 * PART + 1);
    for ran in run_in_every_format(&world, &["f"]) {
        ran.ok();
    }
}

#[test]
fn the_highest_verbosity_shows_every_request_without_its_query() {
    let world = World::new();
    world.file("f", PART + 1);
    let ran = world.run(&["-vv", "f"]);
    let storage = world.drive.storage_addr().to_string();
    ran.ok().says("PUT").says(&storage).says("multipart/start").says("presigned-urls").says("finalize");
    ran.says_nothing_of("X-Amz").says_nothing_of("uploadId=");
}

#[test]
fn secrets_echoed_by_the_api_are_masked() {
    for op in [Op::Start, Op::Urls, Op::Finalize] {
        for status in [400, 401, 403, 404, 409, 429, 503] {
            let world = World::new();
            world.file("f", 10);
            world.drive.fault(Fault::new(op, refusal(status, &echo(world.drive.token()))));
            // Reconciling takes a while, so only two formats are tested.
            let formats: &[&[&str]] = &[&["-vv"], &["--log-format", "json", "-vv"]];
            for flags in formats {
                let ran = world.run(&[*flags, &["f", "--retry-for", "0", "--no-resume"]].concat());
                for secret in [SIGNATURE, "AKIDSECRET"] {
                    assert!(!ran.stderr.contains(secret), "{op:?} {status}: {ran:#?}");
                }
                assert_ne!(ran.code, Some(0));
            }
        }
    }
}

#[test]
fn secrets_echoed_by_the_api_are_masked_in_every_format_and_shape() {
    let world = World::new();
    world.file("f", 10);
    let words = echo(world.drive.token());
    for body in [
        json!({ "message": words }),
        json!({ "code": words, "error": words }),
        json!({ "message": [words, words] }),
        json!({ "error": { "message": words } }),
        json!({ "uploadId": { words.clone(): words } }),
        json!(words),
    ] {
        for status in [201, 400] {
            let fault = world.drive.fault(Fault::new(Op::Start, response(status, &body)));
            for ran in run_in_every_format(&world, &["f"]) {
                ran.ends(1);
            }
            world.drive.clear_fault(fault);
        }
    }
}

#[test]
fn secrets_echoed_by_storage_are_masked() {
    let world = World::new();
    world.file("f", 10);
    let words = echo(world.drive.token());
    let escaped = words.replace('&', "&amp;").replace('<', "&lt;");
    for message in [escaped, format!("<![CDATA[{words}]]>")] {
        let error = Action::S3Error { status: 403, code: "SignatureDoesNotMatch".into(), message };
        let fault = world.drive.fault(Fault::new(Op::PutPart, error));
        for ran in run_in_every_format(&world, &["f"]) {
            ran.ends(1).says("SignatureDoesNotMatch");
        }
        world.drive.clear_fault(fault);
    }
}

#[test]
fn a_failed_part_is_reported_without_its_query() {
    let world = World::new();
    world.file("f", 10);
    for urls in [json!([signed()]), json!([signed(), signed()]), json!([signed().replace("http", "gopher")])]
    {
        let fault = world.drive.fault(Fault::new(Op::Urls, response(201, json!({ "urls": urls }))));
        for ran in run_in_every_format(&world, &["f", "--retry-for", "0"]) {
            assert!(matches!(ran.code, Some(1 | 7)), "{ran:#?}");
        }
        world.drive.clear_fault(fault);
    }
}

#[test]
fn signed_urls_in_an_invalid_response_are_not_quoted() {
    let world = World::new();
    world.file("f", 10);
    for body in [
        json!({ "parts": [signed()], "urls": 1 }),
        json!({ "parts": [{ "signedUrl": signed(), "PartNumber": signed() }] }),
        json!({ "parts": signed() }),
        json!({ signed(): signed() }),
        json!(signed()),
    ] {
        let fault = world.drive.fault(Fault::new(Op::Urls, response(201, &body)));
        for ran in run_in_every_format(&world, &["f"]) {
            ran.ends(1);
        }
        world.drive.clear_fault(fault);
    }
}

#[test]
fn a_retry_prints_no_secret() {
    let world = World::new();
    world.file("f", 10);
    for flags in [&["-vv"][..], &["--log-format", "json", "-vv"], &["--progress", "plain"]] {
        let words = echo(world.drive.token());
        for op in [Op::Start, Op::PutPart] {
            world.drive.fault(Fault::once(op, refusal(503, &words)));
        }
        world.drive.fault(Fault::once(Op::Urls, Action::Reset));
        let ran = world.run(&[flags, &["f"]].concat());
        assert!(!ran.ok().stderr.contains(SIGNATURE), "{ran:#?}");
    }
}

#[test]
fn an_unreachable_service_is_reported_without_the_token() {
    not_under_wine!("Wine cannot check certificates as rustls-platform-verifier needs it");
    let mut world = World::new();
    world.file("f", 10);
    for url in ["http://127.0.0.1:9", "https://127.0.0.1:9", "https://no-such-host.invalid/x"] {
        world.set("COPERA_API_URL", url);
        for ran in run_in_every_format(&world, &["f", "--retry-for", "0"]) {
            ran.ends(7);
        }
    }
    let server = MockServer::responding("garbage\r\n\r\n");
    world.set("COPERA_API_URL", server.url());
    for ran in run_in_every_format(&world, &["f", "--retry-for", "0"]) {
        ran.ends(7);
    }
}

#[test]
fn a_token_that_is_invalid_in_a_header_is_refused_and_not_shown() {
    let mut world = World::new();
    world.file("f", 10);
    for token in ["cp_pat_two words", "cp_pat_new\nline", "cp_pat_ümlaut", "cp_pat_\u{1}"] {
        world.set("COPERA_TOKEN", token);
        let ran = world.run(&["-vv", "f"]);
        ran.fails(2).says("COPERA_TOKEN").says_nothing_of("cp_pat_two").says_nothing_of("mlaut");
        assert!(!ran.stderr.contains("line"), "{ran:#?}");
    }
    assert_eq!(world.drive.record().count(Op::Any), 0);
}

#[test]
fn an_invalid_configuration_is_not_quoted() {
    let world = World::new();
    world.file("f", 10);
    for text in [
        "[profiles.default]\ntoken = \"cp_pat_hidden\n",
        "[profiles.default]\ntoken = cp_pat_hidden\n",
        "[profiles.default]\ntoken = [\"cp_pat_hidden\"]\n",
        "cp_pat_hidden",
        "[profiles.default]\ntoken = \"cp_pat_hidden\"\ntoken = \"cp_pat_hidden\"\n",
    ] {
        world.file_of(".copera.toml", text);
        world.run(&["-vv", "f"]).fails(2).says(".copera.toml").says_nothing_of("cp_pat_hidden");
    }
}

#[test]
fn no_state_file_contains_the_token_or_a_signature() {
    let world = World::new();
    world.file("f", 2 * PART);
    world.drive.fault(Fault::new(Op::PutPart, Action::internal_error()).part(2));
    world.run(&["f", "--retry-for", "0"]).fails(7);
    let mut read = 0;
    let mut folders = vec![world.state_dir()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            read += 1;
            let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            for secret in [world.drive.token(), "X-Amz-", "cp_pat"] {
                assert!(!text.contains(secret), "{}", path.display());
            }
            #[cfg(unix)]
            if !is_windows() {
                use std::os::unix::fs::PermissionsExt as _;
                let mode = std::fs::metadata(&path).unwrap().permissions().mode();
                assert_eq!(mode & 0o077, 0, "{}", path.display());
            }
        }
    }
    assert!(read > 0, "no file was checked");
}
