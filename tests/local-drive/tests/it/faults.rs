//! Faults of API calls and PUTs.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use local_drive::{Action, Fault, Op, Options, Record};
use reqwest::Method;
use serde_json::json;

use crate::support::{Bench, CAP, bench, plain};

const FINALIZE: &str = "/drive/files/upload/multipart/finalize";

fn ready(bench: &Bench) -> (crate::support::Started, Vec<String>) {
    let started = bench.start("a", 5, 1);
    let etags = vec![bench.put(&started.urls[0], b"hello").etag().to_owned()];
    (started, etags)
}

fn try_finalize(bench: &Bench) -> reqwest::Result<crate::support::Reply> {
    let (started, etags) = ready(bench);
    bench.try_api(Method::POST, FINALIZE, Some(&Bench::finalize_body(&started, &etags)))
}

/// Whether a connection reset is among the causes of an error.
fn is_reset(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::ConnectionReset
        {
            return true;
        }
        cause = error.source();
    }
    false
}

#[test]
fn status_and_s3_error_faults_store_nothing() {
    let bench = plain();
    let started = bench.start("a", 5, 1);
    bench.drive.fault(Fault::once(Op::PutPart, Action::slow_down()));
    bench.drive.fault(Fault::once(Op::PutPart, Action::status(502, "<html>Bad Gateway</html>")));
    bench.drive.fault(Fault::once(Op::PutPart, Action::ExpiredUrl));
    bench.drive.fault(Fault::once(Op::PutPart, Action::NoSuchUpload));
    bench.drive.fault(Fault::once(Op::PutPart, Action::Redirect { to: "http://127.0.0.1:1/".into() }));
    let mut seen = Vec::new();
    for _ in 0..5 {
        let reply = bench.put(&started.urls[0], &[7; 3_000_000]);
        seen.push((reply.status, reply.code().to_owned()));
    }
    let seen: Vec<(u16, &str)> = seen.iter().map(|(status, code)| (*status, code.as_str())).collect();
    assert_eq!(seen, [(503, "SlowDown"), (502, ""), (403, "AccessDenied"), (404, "NoSuchUpload"), (307, "")]);
    assert_eq!(bench.drive.record().stored_count(), 0);
    assert_eq!(bench.put(&started.urls[0], b"hello").status, 200);
}

#[test]
fn rate_limit_has_retry_after() {
    let bench = plain();
    bench.drive.fault(Fault::once(Op::AnyApi, Action::rate_limited(2)));
    let reply = bench.try_api(Method::GET, "/drive/tree", None).unwrap();
    assert_eq!((reply.status, reply.headers["retry-after"].to_str().unwrap()), (429, "2"));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&reply.text).unwrap()["retryAfter"], 2);
}

#[test]
fn reset_stores_nothing() {
    let bench = plain();
    let started = bench.start("a", 5, 1);
    for action in [Action::Reset, Action::ResetAfter(1000), Action::ResetAfter(1 << 30)] {
        let id = bench.drive.fault(Fault::once(Op::PutPart, action));
        // The body fits into the kernel's buffers, so the client waits for the response.
        let error = bench.try_put(&started.urls[0], &[1; 5000]).err().unwrap();
        assert!(is_reset(&error), "{error:?}");
        assert_eq!(bench.drive.fault_used(id), 1);
    }
    let record = bench.drive.record();
    let bytes: Vec<u64> = record.requests_of(Op::PutPart).map(|put| put.body_bytes).collect();
    assert_eq!(bytes, [0, 1000, 5000]);
    assert_eq!((record.stored_count(), record.parts_in_flight()), (0, 0));
    assert!(record.requests_of(Op::PutPart).all(|put| put.status.is_none()));
}

#[test]
fn lost_response_of_finalize_leaves_the_item() {
    for (action, reset) in [(Action::ResetAfterWork, true), (Action::CloseAfterWork, false)] {
        let bench = plain();
        bench.drive.fault(Fault::once(Op::Finalize, action));
        let error = try_finalize(&bench).err().unwrap();
        assert_eq!(is_reset(&error), reset, "{error:?}");
        assert_eq!(bench.drive.items().len(), 1);
    }
}

#[test]
fn status_after_work_leaves_the_item() {
    let bench = plain();
    let action = Action::StatusAfterWork { code: 502, headers: Vec::new(), body: String::new() };
    bench.drive.fault(Fault::once(Op::Finalize, action));
    assert_eq!(try_finalize(&bench).unwrap().status, 502);
    assert_eq!(bench.drive.items().len(), 1);
}

#[test]
fn hanging_finalize_responds_when_the_fault_is_cleared() {
    let bench = plain();
    let (started, etags) = ready(&bench);
    let fault = bench.drive.fault(Fault::new(Op::Finalize, Action::HangAfterBody));
    let status = std::thread::scope(|scope| {
        let call = scope.spawn(|| bench.finalize(&started, &etags).0);
        bench.drive.wait_until(CAP, |record| record.count(Op::Finalize) == 1).unwrap();
        bench.drive.clear_fault(fault);
        call.join().unwrap()
    });
    assert_eq!((status, bench.drive.items().len()), (201, 1));
}

#[test]
fn delayed_call_is_completed_after_its_client_disconnects() {
    let bench = plain();
    bench.drive.fault(Fault::once(Op::Folders, Action::Delay(Duration::from_secs(1))));
    let url = bench.drive.api_url();
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let (token, body) = (bench.drive.token(), json!({ "name": "late" }).to_string());
    let length = body.len();
    let head = format!(
        "POST /{path}/drive/folders HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    let mut client = TcpStream::connect(host).unwrap();
    client.write_all(format!("{head}{body}").as_bytes()).unwrap();
    bench.drive.wait_until(CAP, |record| record.requests.len() == 1).unwrap();
    drop(client);
    bench.drive.wait_until(CAP, |record| record.requests[0].worked.is_some()).unwrap();
    assert!(bench.drive.record().requests[0].status.is_none());
    assert_eq!(bench.drive.items().len(), 1);
}

#[test]
fn stalled_part_continues_when_the_fault_is_cleared() {
    let bench = plain();
    let started = bench.start("a", 5, 1);
    let fault = bench.drive.fault(Fault::new(Op::PutPart, Action::Stall { after: 1000 }));
    let reply = std::thread::scope(|scope| {
        let put = scope.spawn(|| bench.put(&started.urls[0], &[1; 2_000_000]));
        bench.drive.wait_until(CAP, |record| record.bytes_received_on_storage() == 1000).unwrap();
        assert_eq!(bench.drive.record().parts_in_flight(), 1);
        bench.drive.clear_fault(fault);
        put.join().unwrap()
    });
    assert_eq!(reply.status, 200);
    assert_eq!(bench.drive.record().stored_parts(started.upload_id())[0].size, 2_000_000);
}

#[test]
fn stalled_part_ends_when_its_client_disconnects() {
    let bench = plain();
    let started = bench.start("a", 5, 1);
    bench.drive.fault(Fault::new(Op::PutPart, Action::Stall { after: 10 }));
    let head = bench.put_head(&started.urls[0], "Content-Length: 100000\r\n");
    let socket = bench.raw_open(&head, &[1; 50_000]).unwrap();
    bench.drive.wait_until(CAP, |record| record.bytes_received_on_storage() == 10).unwrap();
    drop(socket);
    let idle = |record: &Record| record.parts_in_flight() == 0 && record.connections_open_on_storage() == 0;
    bench.drive.wait_until(CAP, idle).unwrap();
    assert_eq!(bench.drive.record().bytes_received_on_storage(), 10);
}

#[test]
fn stalled_client_gets_request_timeout() {
    let bench = bench(Options { body_timeout: Duration::from_millis(100), ..Options::default() });
    let started = bench.start("a", 5, 1);
    let head = bench.put_head(&started.urls[0], "Content-Length: 10\r\n");
    let response = bench.raw(&head, b"half").unwrap();
    assert!(
        response.starts_with("HTTP/1.1 400") && response.contains("<Code>RequestTimeout</Code>"),
        "{response}"
    );
    assert_eq!(bench.drive.record().stored_count(), 0);
}

#[test]
fn slow_read_limits_the_rate() {
    let bench = plain();
    let started = bench.start("a", 5, 1);
    bench.drive.fault(Fault::once(Op::PutPart, Action::SlowRead { bytes_per_second: 100_000 }));
    assert_eq!(bench.put(&started.urls[0], &[1; 20_000]).status, 200);
    let record = bench.drive.record();
    let put = record.requests_of(Op::PutPart).next().unwrap();
    assert!(put.end.unwrap() - put.start >= Duration::from_millis(190));
}

#[test]
fn wrong_etag_keeps_the_bytes_and_corruption_changes_the_etag() {
    let bench = plain();
    let started = bench.start("a", 5, 1);
    let right = "\"5d41402abc4b2a76b9719d911017c592\"";
    bench.drive.fault(Fault::once(Op::PutPart, Action::WrongEtag));
    assert_ne!(bench.put(&started.urls[0], b"hello").etag(), right);
    assert_eq!(bench.drive.record().stored_parts(started.upload_id())[0].etag, right.trim_matches('"'));
    bench.drive.fault(Fault::once(Op::PutPart, Action::CorruptStored));
    let corrupt = bench.put(&started.urls[0], b"hello").etag().to_owned();
    assert_ne!(corrupt, right);
    let (_, item) = bench.finalize(&started, &[corrupt]);
    assert_eq!(bench.drive.object(item["_id"].as_str().unwrap()).unwrap(), b"iello");
}

#[test]
fn kms_etag_is_not_an_md5_and_can_be_finalized() {
    let bench = plain();
    let started = bench.start("a", 5, 1);
    bench.drive.fault(Fault::once(Op::PutPart, Action::Kms));
    let reply = bench.put(&started.urls[0], b"hello");
    assert_eq!(reply.headers["x-amz-server-side-encryption"], "aws:kms");
    assert_ne!(reply.etag(), "\"5d41402abc4b2a76b9719d911017c592\"");
    assert_eq!(bench.finalize(&started, &[reply.etag().to_owned()]).0, 201);
}

#[test]
fn truncated_response_fails_and_endless_one_does_not_end() {
    let bench = plain();
    bench.drive.fault(Fault::once(Op::Tree, Action::TruncateResponse));
    assert!(bench.try_api(Method::GET, "/drive/tree", None).is_err());
    bench.drive.fault(Fault::once(Op::Tree, Action::EndlessBody));
    let url = format!("{}/drive/tree", bench.drive.api_url());
    let read = bench.runtime.block_on(async {
        let mut response = bench.http.get(url).bearer_auth(bench.drive.token()).send().await.unwrap();
        let mut read = 0;
        while read < 1_000_000 {
            read += response.chunk().await.unwrap().unwrap().len();
        }
        read
    });
    assert!(read >= 1_000_000);
}
