//! The response with the signed URLs: all known shapes are accepted, and incomplete ones refused.

use local_drive::{Fault, Op, Options, UrlShape};
use serde_json::{Value, json};

use crate::mock_server::MockServer;
use crate::support::{PART, Ran, World, response};

#[test]
fn signed_urls_are_accepted_in_every_shape_and_order() {
    for (shape, shuffle) in [
        (UrlShape::Strings, false),
        (UrlShape::Objects, false),
        (UrlShape::Objects, true),
        (UrlShape::UrlObjects, false),
        (UrlShape::UrlObjects, true),
    ] {
        let world = World::with(Options { shape, shuffle, ..Options::default() });
        let path = world.file("f", 5 * PART + 7);
        let id = world.run(&["f"]).ok().id();
        world.assert_stored(&id, &path);
    }
}

/// Runs for a file of three parts with these signed URLs. Requires exit code 1 before anything is sent.
fn refuses(urls: impl Into<Value>) -> Ran {
    let world = World::new();
    world.file("f", 2 * PART + 1);
    world.drive.fault(Fault::new(Op::Urls, response(201, urls.into())));
    let ran = world.run(&["f"]);
    ran.fails(1).says("error: f: ").says("signed URLs");
    let record = world.drive.record();
    assert_eq!((record.count(Op::PutPart), record.count(Op::Finalize)), (0, 0));
    assert_eq!(record.count(Op::Urls), 1, "the request was repeated");
    ran
}

/// A URL that must not be shown.
fn url(part: u32) -> String {
    format!("http://127.0.0.1:9/b/k?X-Amz-Signature=5ec7e7&partNumber={part}")
}

fn objects(parts: &[u32]) -> Value {
    parts.iter().map(|part| json!({ "signedUrl": url(*part), "PartNumber": part })).collect()
}

#[test]
fn a_missing_part_is_an_error_that_names_it() {
    refuses(json!({ "parts": objects(&[1, 3]) })).says("part 2 of 3");
    refuses(json!({ "urls": [url(1), url(2)] })).says("part 3 of 3");
    refuses(json!({ "parts": [] })).says("part 1 of 3");
}

#[test]
fn a_duplicate_part_is_an_error_that_names_it() {
    refuses(json!({ "parts": objects(&[1, 2, 2, 3]) })).says("two URLs for part 2");
    refuses(json!({ "parts": objects(&[3, 2, 3]) })).says("two URLs for part 3");
}

#[test]
fn an_unexpected_part_is_an_error_that_names_it() {
    refuses(json!({ "parts": objects(&[1, 2, 3, 4]) })).says("part 4");
    refuses(json!({ "parts": objects(&[0, 1, 2]) })).says("part 0");
    refuses(json!({ "urls": [url(1), url(2), url(3), url(4)] })).says("part 4");
    refuses(json!({ "parts": objects(&[1, 2, 4_000_000_000]) })).says("part 4000000000");
}

#[test]
fn an_unknown_shape_is_an_error() {
    for odd in [
        json!([]),
        json!({}),
        json!({ "urls": null }),
        json!({ "urls": "http://127.0.0.1:9/" }),
        json!({ "urls": { "1": url(1) } }),
        json!({ "urls": [1, 2, 3] }),
        json!({ "parts": [{ "PartNumber": 1 }] }),
        json!({ "parts": [{ "signedUrl": url(1) }] }),
        json!({ "parts": [{ "signedUrl": url(1), "PartNumber": "1" }] }),
        json!({ "parts": [{ "signedUrl": 1, "PartNumber": 1 }] }),
        json!(null),
        json!("text"),
    ] {
        refuses(odd).says("unexpected answer from the service: ");
    }
    refuses(json!({ "message": "come back in May" })).says("come back in May");
}

#[test]
fn an_invalid_signed_url_is_an_error_before_any_put() {
    for odd in [
        "",
        "nowhere",
        "/relative?X-Amz-Signature=5ec7e7",
        "ftp://127.0.0.1/x",
        "file:///etc/passwd",
        "http://",
    ] {
        refuses(json!({ "urls": [url(1), odd, url(3)] }));
    }
}

#[test]
fn a_signed_url_with_plain_http_to_another_host_is_refused() {
    let far = "http://storage.example/b/k?X-Amz-Signature=5ec7e7";
    refuses(json!({ "urls": [far, far, far] })).says("storage.example").says("--allow-http");
}

#[test]
fn credentials_in_a_signed_url_are_neither_shown_nor_sent_nor_stored() {
    let world = World::new();
    world.file("f", 10);
    let server =
        MockServer::responding("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let url = format!("{}/b/k?X-Amz-Signature=5ec7e7", server.url().replace("://", "://user:sesame@"));
    world.drive.fault(Fault::once(Op::Urls, response(201, serde_json::json!({ "urls": [url] }))));
    world.run(&["f", "-vv"]).fails(1).says("/b/k").says_nothing_of("sesame");
    assert!(server.requests().iter().all(|request| !request.contains("sesame")), "{:?}", server.requests());
    for kept in std::fs::read_dir(world.state_dir()).unwrap().flatten() {
        let text = std::fs::read_to_string(kept.path()).unwrap_or_default();
        assert!(!text.contains("sesame"), "{}", kept.path().display());
    }
}

#[test]
fn a_signed_url_with_an_invalid_host_is_an_error_at_once() {
    for host in ["a..b", &format!("{}.example", "a".repeat(64))] {
        let world = World::new();
        world.file("f", 10);
        let urls = serde_json::json!({ "urls": [format!("https://{host}/k?X-Amz-Signature=5ec7e7")] });
        world.drive.fault(Fault::once(Op::Urls, response(201, urls)));
        world.run(&["f"]).fails(1).says(host);
    }
}
