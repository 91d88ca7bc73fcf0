//! Responses that no service should send. They cause a clear error with the right exit code within a short time, and no
//! panic (which `Ran` checks).

use std::time::{Duration, Instant};

use local_drive::{Action, Fault, Op};
use serde_json::json;

use crate::mock_server::MockServer;
use crate::support::{MIB, World, response};

/// Far more than any of these runs needs, even for a debug build on a busy machine.
const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_start_without_both_ids_is_an_error() {
    for odd in [
        json!({}),
        json!([]),
        json!(null),
        json!(17),
        json!("text"),
        json!({ "uploadId": "u" }),
        json!({ "fileKey": "k" }),
        json!({ "uploadId": 1, "fileKey": "k" }),
        json!({ "uploadId": null, "fileKey": null }),
        json!({ "uploadId": "", "fileKey": "" }),
        json!({ "uploadId": ["u"], "fileKey": { "k": 1 } }),
    ] {
        let world = World::new();
        world.file("f", 10);
        world.drive.fault(Fault::new(Op::Start, response(201, &odd)));
        world.run(&["f"]).fails(1).says("error: f: could not start the upload");
        assert_eq!(world.drive.record().count(Op::Any), 1, "{odd}");
    }
}

#[test]
fn a_successful_response_with_html_or_no_or_truncated_json_is_an_error() {
    for body in
        ["<!doctype html><title>Sign in</title>", "", "   ", "{\"uploadId\":\"u\"", "\u{feff}{}", "[[[["]
    {
        for op in [Op::Start, Op::Urls] {
            let world = World::new();
            world.file("f", 10);
            world.drive.fault(Fault::new(op, Action::status(200, body)));
            world.run(&["f"]).fails(1).says("error: f: ").says_nothing_of("doctype");
            assert_eq!(world.drive.record().count(op), 1, "{body}");
        }
    }
}

#[test]
fn deep_nesting_is_an_error_and_not_a_stack_overflow() {
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    for (op, body) in [
        (Op::Start, format!(r#"{{"uploadId":"u","fileKey":"k","x":{deep}}}"#)),
        (Op::Urls, format!(r#"{{"urls":{deep}}}"#)),
        (Op::Start, deep.clone()),
    ] {
        let world = World::new();
        world.file("f", 10);
        world.drive.fault(Fault::new(op, response(201, body)));
        world.run(&["f"]).fails(1);
    }
    let world = World::new();
    world.file("f", 10);
    world.drive.fault(Fault::new(Op::Start, response(400, format!(r#"{{"message":{deep}}}"#))));
    world.run(&["f"]).fails(1).says("400");
}

#[test]
fn a_finalize_response_without_an_item_is_reconciled() {
    for body in ["<html>", "", "{}", "[]", "null", r#"{"_id":7}"#, r#"{"_id":"","id":null}"#, r#"{"_id":"x""#]
    {
        let world = World::new();
        let path = world.file("f", 10);
        let done = Action::StatusAfterWork { code: 200, headers: Vec::new(), body: body.into() };
        world.drive.fault(Fault::once(Op::Finalize, done));
        let id = world.run(&["f"]).ok().id();
        assert_eq!(world.only_item()["_id"], id, "{body}");
        world.assert_stored(&id, &path);
        assert_eq!(world.drive.record().count(Op::Finalize), 1);
    }
}

#[test]
fn an_item_with_unusual_fields_is_accepted() {
    for item in [
        json!({ "_id": "1" }),
        json!({ "_id": "1", "size": "big", "createdAt": 7, "parent": { "_id": 7 }, "name": null }),
        json!({ "_id": "1", "name": "f", "size": -1, "type": null }),
        json!({ "_id": "1", "size": 1e300, "parent": [] }),
    ] {
        let world = World::new();
        world.file("f", 10);
        world.drive.fault(Fault::once(Op::Finalize, response(201, &item)));
        assert_eq!(world.run(&["f"]).ok().json(), item);
    }
    for item in [json!({ "_id": "1", "name": 7 }), json!({ "_id": "1", "type": ["file"], "id": 2 })] {
        let world = World::new();
        world.file("f", 10);
        world.drive.fault(Fault::once(Op::Finalize, response(201, &item)));
        assert_eq!(world.run(&["f"]).ok().json(), item, "only the ID matters");
    }
}

#[test]
fn an_endless_api_response_is_not_read_to_its_end() {
    for op in [Op::Start, Op::Urls] {
        let world = World::new();
        world.file("f", 10);
        world.drive.fault(Fault::new(op, Action::EndlessBody));
        let begun = Instant::now();
        world.run(&["f", "--retry-for", "0"]).fails(1).says("larger than");
        assert!(begun.elapsed() < SOON);
    }
}

#[test]
fn an_endless_storage_response_is_not_read_to_its_end() {
    let world = World::new();
    let path = world.file("f", 10);
    world.drive.fault(Fault::once(Op::PutPart, Action::EndlessBody));
    let begun = Instant::now();
    let id = world.run(&["f"]).ok().id();
    assert!(begun.elapsed() < SOON);
    world.assert_stored(&id, &path);
}

#[test]
fn a_truncated_response_is_a_network_error() {
    for op in [Op::Start, Op::Urls] {
        let world = World::new();
        let path = world.file("f", 10);
        let fault = world.drive.fault(Fault::new(op, Action::TruncateResponse));
        world.run(&["f", "--retry-for", "0"]).fails(7);
        world.drive.clear_fault(fault);
        world.drive.fault(Fault::once(op, Action::TruncateResponse));
        world.assert_stored(&world.run(&["f"]).ok().id(), &path);
    }
}

#[test]
fn a_part_response_without_an_etag_is_an_error() {
    for headers in
        [vec![], vec![("etag".to_owned(), String::new())], vec![("etag".to_owned(), "\"\"".to_owned())]]
    {
        let world = World::new();
        world.file("f", 10);
        let ok = Action::Status { code: 200, headers, body: String::new() };
        world.drive.fault(Fault::new(Op::PutPart, ok));
        world.run(&["f", "--retry-for", "0"]).fails(1).says("ETag");
        assert_eq!(world.drive.record().count(Op::Finalize), 0);
    }
}

#[test]
fn a_part_response_other_than_200_is_an_error() {
    for code in [201, 204, 206] {
        let world = World::new();
        world.file("f", 10);
        world.drive.fault(Fault::new(Op::PutPart, Action::status(code, "")));
        world.run(&["f", "--retry-for", "0"]).fails(1).says(&code.to_string());
    }
}

/// Runs against a service that sends these bytes on every connection.
fn against(bytes: &[u8]) -> crate::support::Ran {
    let mut world = World::new();
    let server = MockServer::responding(bytes);
    world.file("f", 10);
    world.set("COPERA_API_URL", server.url());
    let begun = Instant::now();
    let ran = world.run(&["f", "--retry-for", "0"]);
    assert!(begun.elapsed() < SOON);
    ran
}

#[test]
fn a_response_that_is_not_http_is_a_network_error() {
    for bytes in [
        &b""[..],
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 999999 What\r\n\r\n",
        b"HTTP/1.1 200",
    ] {
        against(bytes).fails(7).says("error: f: ");
    }
    let header = [b"HTTP/1.1 200 OK\r\nX: ", "a".repeat(2 * MIB as usize).as_bytes()].concat();
    against(&header).fails(7);
}

#[test]
fn unusual_but_valid_http_is_accepted() {
    against(b"HTTP/1.1 400 \xe9\xe8\r\nServer: \xff\xfe\r\nContent-Type: \xff\r\n\r\n\xff\xfe\xfd")
        .fails(1)
        .says("400");
    against(b"HTTP/1.0 429 Slow\r\nRetry-After: soon\r\n\r\n{\"retryAfter\":\"later\"}").fails(6);
    against(b"HTTP/1.1 503 X\r\nRetry-After: 99999999999999999999999999\r\n\r\n").fails(7);
    against(b"HTTP/1.1 429 X\r\n\r\n{\"retryAfter\":1e308}").fails(6);
    against(b"HTTP/1.1 429 X\r\n\r\n{\"retryAfter\":-5,\"message\":[1,null]}").fails(6);
    against(b"HTTP/1.1 600 X\r\n\r\n").ends(7);
}

#[test]
fn a_very_long_error_message_is_shortened() {
    let world = World::new();
    world.file("f", 10);
    let body = json!({ "message": "long ".repeat(400_000) });
    world.drive.fault(Fault::new(Op::Start, response(400, body)));
    let ran = world.run(&["f"]);
    ran.fails(1).says("400").says("long long");
    assert!(ran.stderr.len() < 20_000, "{} bytes on stderr", ran.stderr.len());
}

#[test]
fn invalid_dates_are_harmless() {
    let storage = MockServer::responding(
        "HTTP/1.1 200 OK\r\nETag: \"no-md5\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    );
    let dates = ["", "yesterday", "Sun, 06 Nov 1994 08:49:37 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"];
    let signed = ["", "20260601T000000Z", "99991231T235959Z", "00000000T000000Z", "soon"];
    for (date, signed) in dates.into_iter().flat_map(|date| signed.map(|signed| (date, signed))) {
        for expires in ["0", "3600", "18446744073709551615", "-1", "x"] {
            let url = format!("{}/k?X-Amz-Date={signed}&X-Amz-Expires={expires}", storage.url());
            // The same response for every call. It has the fields that each call needs.
            let all = json!({ "uploadId": "u", "fileKey": "k", "urls": [url], "_id": "1" }).to_string();
            let length = all.len();
            against(
                format!("HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{all}")
                    .as_bytes(),
            )
            .ok();
        }
    }
}

#[test]
fn a_response_with_150_headers_is_read() {
    let mut response = b"HTTP/1.1 400 Bad Request\r\n".to_vec();
    for n in 0..150 {
        response.extend(format!("X-Header-{n}: value\r\n").bytes());
    }
    response.extend(b"Content-Length: 0\r\n\r\n");
    against(&response).fails(1).says("400");
    let world = World::new();
    world.file("f", 10);
    let server = MockServer::responding(response);
    let url = format!("{}/b/k?X-Amz-Signature=5ec7e7", server.url());
    world
        .drive
        .fault(Fault::once(Op::Urls, crate::support::response(201, serde_json::json!({ "urls": [url] }))));
    world.run(&["f", "--retry-for", "0"]).fails(1).says("400");
}

#[test]
fn a_web_page_as_response_hints_at_a_captive_portal() {
    for page in ["<!DOCTYPE html><html><body>Welcome to our WiFi</body></html>", " \n<HTML>Sign in</HTML>"] {
        for op in [Op::Start, Op::Urls, Op::PutPart] {
            let world = World::new();
            world.file("f", 10);
            world.drive.fault(Fault::new(op, Action::status(200, page)));
            world.run(&["f"]).fails(1).says("a web page").says("hint: sign in to the network");
        }
    }
    for op in [Op::Start, Op::PutPart] {
        let world = World::new();
        world.file("f", 10);
        world.drive.fault(Fault::new(op, Action::status(511, "<html>Sign in</html>")));
        world.run(&["f"]).fails(1).says("511").says("hint: sign in to the network");
        assert_eq!(world.drive.record().count(op), 1);
    }
}

#[test]
fn a_413_of_a_proxy_hints_at_a_smaller_part_size() {
    let world = World::new();
    world.file("f", 10);
    let page = "<html>413 Request Entity Too Large</html>";
    world.drive.fault(Fault::new(Op::PutPart, Action::status(413, page)));
    world.run(&["f"]).fails(1).says("413").says("--part-size").says_nothing_of("out of space");
}
