//! Requests on the wire: no header that S3 would refuse, no token sent to storage or after a redirect, no more parts in
//! flight and connections than allowed.

use std::collections::BTreeSet;

use local_drive::{Action, Fault, Op, Options, Record};

use crate::halfway::state_files;
use crate::mock_server::MockServer;
use crate::support::{CAP, MIB, PART, World, response};

#[test]
fn a_put_has_only_the_headers_host_and_content_length() {
    let world = World::new();
    world.file("f", PART + 1);
    world.file("empty", 0);
    world.run(&["f", "empty"]).ok();
    let record = world.drive.record();
    assert_eq!(record.count(Op::PutPart), 3);
    let host = world.drive.storage_addr().to_string();
    for put in record.requests_of(Op::PutPart) {
        let names: BTreeSet<_> = put.headers.keys().map(|name| name.as_str()).collect();
        assert_eq!(names, ["content-length", "host"].into());
        assert_eq!(put.headers.len(), 2);
        assert_eq!(put.headers["host"], host);
        assert_eq!(put.headers["content-length"], put.body_bytes.to_string());
    }
}

#[test]
fn calls_have_a_user_agent_and_json() {
    let world = World::new();
    world.file("f", 1);
    world.run(&["f"]).ok();
    for call in world.drive.record().requests_of(Op::AnyApi) {
        assert_eq!(call.headers["user-agent"], concat!("copera-upload/", env!("CARGO_PKG_VERSION")));
        assert_eq!(call.headers["content-type"], "application/json");
        assert!(call.path.starts_with("/public/v1/drive/files/upload/multipart/"), "{}", call.path);
    }
}

#[test]
fn connections_to_storage_are_reused() {
    let world = World::new();
    world.file("f", 12 * PART);
    world.run(&["f", "-j", "2"]).ok();
    let record = world.drive.record();
    assert_eq!(record.count(Op::PutPart), 12);
    assert!(record.connections_accepted_on_storage() <= 2, "{}", record.connections_accepted_on_storage());
}

#[test]
fn the_next_run_connects_to_storage_before_the_api_responds() {
    let world = World::new();
    world.file("f", 20);
    world.run(&["f"]).ok();
    let before = world.drive.record().connections_accepted_on_storage();
    let hang = world.drive.fault(Fault::new(Op::Start, Action::HangAfterBody));
    let running = world.spawn(&["f"]);
    let connected = |record: &Record| record.connections_accepted_on_storage() > before;
    world.drive.wait_until(CAP, connected).unwrap();
    assert_eq!(world.drive.record().count(Op::Urls), 1, "only the first run has requested URLs");
    world.drive.clear_fault(hang);
    running.kill();
}

#[test]
fn a_wrong_storage_host_of_an_earlier_run_is_harmless() {
    let world = World::new();
    world.file("f", 20);
    world.run(&["f"]).ok();
    let kept = state_files(&world, "storage").pop().unwrap();
    let true_host = std::fs::read_to_string(&kept).unwrap();
    for guess in ["http://127.0.0.1:1/\n", "http://storage.example/\n", "no host", ""] {
        std::fs::write(&kept, guess).unwrap();
        world.run(&["f"]).ok();
        assert_eq!(std::fs::read_to_string(&kept).unwrap(), true_host, "after {guess:?}");
    }
    std::fs::remove_file(&kept).unwrap();
    world.run(&["f", "--no-resume"]).ok();
    assert!(!kept.exists(), "--no-resume must not store the host");
}

#[test]
fn concurrency_1_sends_one_part_at_a_time() {
    let world = World::new();
    world.file("f", 4 * PART);
    world.file("g", PART);
    world.run(&["-j", "1", "f", "g"]).ok();
    let record = world.drive.record();
    assert_eq!((record.count(Op::PutPart), record.max_parts_in_flight()), (5, 1));
}

#[test]
fn concurrency_limits_the_parts_of_all_files() {
    let world = World::new();
    for name in ["a", "b", "c"] {
        world.file(name, 3 * PART);
    }
    let hang = world.drive.fault(Fault::new(Op::PutPart, Action::HangAfterBody).times(3));
    let running = world.spawn(&["-j", "3", "a", "b", "c"]);
    world.drive.wait_until(CAP, |record| record.parts_in_flight() == 3).unwrap();
    world.drive.clear_fault(hang);
    running.wait().ok();
    let record = world.drive.record();
    assert_eq!((record.count(Op::PutPart), record.max_parts_in_flight()), (9, 3));
}

#[test]
fn parts_are_sent_concurrently_by_default() {
    let world = World::new();
    world.file("f", 4 * PART);
    let hang = world.drive.fault(Fault::new(Op::PutPart, Action::HangAfterBody).times(4));
    let running = world.spawn(&["f"]);
    world.drive.wait_until(CAP, |record| record.parts_in_flight() == 4).unwrap();
    world.drive.clear_fault(hang);
    running.wait().ok();
}

#[test]
fn the_rate_limit_applies_to_all_parts() {
    let world = World::new();
    world.file("f", 2 * PART);
    let begun = std::time::Instant::now();
    world.run(&["f", "--limit-rate", "8MiB"]).ok();
    let least = 10.0 / 8.0 * 0.6;
    assert!(begun.elapsed().as_secs_f64() > least, "{:?} for 10 MiB at 8 MiB/s", begun.elapsed());
}

#[test]
fn the_token_is_not_sent_after_a_redirect() {
    for op in [Op::Start, Op::Urls, Op::Finalize] {
        for code in [301, 302, 303, 307, 308] {
            let (world, server) = (World::new(), MockServer::new());
            world.file("f", 10);
            let headers = vec![("location".to_owned(), format!("{}/elsewhere", server.url()))];
            world.drive.fault(Fault::new(op, Action::Status { code, headers, body: String::new() }));
            let ran = world.run(&["f", "--retry-for", "0"]);
            ran.fails(1).says(&code.to_string()).says("hint: ").says("redirect");
            assert_eq!(server.requests(), [""; 0], "{op:?} {code}");
            assert_eq!(world.drive.record().count(op), 1);
        }
    }
}

#[test]
fn a_redirect_of_storage_is_not_followed() {
    let (world, server) = (World::new(), MockServer::new());
    world.file("f", 10);
    world.drive.fault(Fault::new(Op::PutPart, Action::Redirect { to: format!("{}/x", server.url()) }));
    world.run(&["f", "--retry-for", "0"]).fails(1).says("307");
    assert_eq!(server.requests(), [""; 0]);
}

#[test]
fn storage_on_another_host_gets_the_part_without_the_token() {
    let world = World::new();
    let etag = "47bce5c74f589f4867dbd57e9ca9f808"; // The MD5 of "aaa".
    let server = MockServer::responding(format!(
        "HTTP/1.1 200 OK\r\nETag: \"{etag}\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    ));
    world.file_of("f", "aaa");
    let url = format!("{}/b/k%20ey?X-Amz-Signature=5ec7e7&x=%2F%C3%A9", server.url());
    world.drive.fault(Fault::once(Op::Urls, response(201, serde_json::json!({ "urls": [url] }))));
    world.drive.fault(Fault::once(Op::Finalize, response(201, r#"{"_id":"1"}"#)));
    world.run(&["f"]).ok();
    let heard = server.requests();
    assert_eq!(heard.len(), 1);
    let wanted = format!(
        "PUT /b/k%20ey?X-Amz-Signature=5ec7e7&x=%2F%C3%A9 HTTP/1.1\r\nhost: {}\r\ncontent-length: 3\r\n\r\naaa",
        server.url().trim_start_matches("http://")
    );
    assert_eq!(heard[0], wanted, "the request must match the signed URL and have no other headers");
}

#[test]
fn a_base_url_without_a_path_gets_the_default_path() {
    let mut world = World::new();
    world.file("f", 1);
    let bare = world.drive.api_url().replace("/public/v1", "");
    world.set("COPERA_API_URL", &bare);
    world.run(&["f"]).ok();
    world.unset("COPERA_API_URL");
    world.run(&["f", "--api-url", &format!("{bare}/")]).ok();
    world.run(&["f", "--api-url", &format!("{bare}/public/v1/")]).ok();
}

#[test]
fn a_proxy_from_the_environment_is_used() {
    let mut world = World::new();
    let proxy =
        MockServer::responding("HTTP/1.1 418 I'm a teapot\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    world.file("f", MIB);
    world.set("http_proxy", proxy.url());
    world.set("COPERA_API_URL", "http://api.test/public/v1");
    world.run(&["f", "--allow-http", "--retry-for", "0"]).fails(1).says("418");
    // The first connection only checks whether the proxy is reachable.
    let heard: Vec<_> = proxy.requests().into_iter().filter(|request| !request.is_empty()).collect();
    assert_eq!(heard.len(), 1);
    assert!(heard[0].starts_with("POST http://api.test/public/v1/drive/files/upload/"), "{}", heard[0]);
}

#[test]
fn a_slow_api_response_is_awaited() {
    let options = Options { latency: std::time::Duration::from_millis(300), ..Options::default() };
    let world = World::with(options);
    world.file("f", 1);
    world.run(&["f", "--stall-timeout", "100ms", "--retry-for", "0"]).ok();
}
