//! Requests that S3 refuses, with Amazon's error codes.

use std::time::Duration;

use local_drive::{LocalDrive, Op, Options, S3};
use serde_json::json;

use crate::support::{Bench, bench, plain};

fn one(bench: &Bench) -> String {
    bench.start("a", 4, 1).urls.remove(0)
}

#[test]
fn valid_signature_stores_the_part_and_returns_its_quoted_md5() {
    let bench = plain();
    let started = bench.start("ä & b+c.txt", 5, 1);
    let reply = bench.put(&started.urls[0], b"hello");
    assert_eq!((reply.status, reply.etag()), (200, "\"5d41402abc4b2a76b9719d911017c592\""));
    let stored = bench.drive.record().stored_parts(started.upload_id());
    assert_eq!(stored.iter().map(|part| (part.number, part.size)).collect::<Vec<_>>(), [(1, 5)]);
    assert_eq!(bench.drive.uploads()[0].parts, stored);
}

#[test]
fn tampered_url_is_refused_with_signature_does_not_match() {
    let bench = plain();
    for (from, to) in [
        ("partNumber=1", "partNumber=2"),
        ("X-Amz-Expires=3600", "X-Amz-Expires=9999"),
        ("/drive/", "/other/"),
    ] {
        let url = one(&bench);
        assert!(url.contains(from));
        let reply = bench.put(&url.replace(from, to), b"x");
        assert_eq!((reply.status, reply.code()), (403, "SignatureDoesNotMatch"), "{to}");
        assert!(reply.text.contains("<RequestId>"), "{}", reply.text);
    }
    assert_eq!(bench.drive.record().stored_count(), 0);
}

#[test]
fn signature_is_checked_with_the_drives_clock() {
    for hours in [-30, 30] {
        let offset = Options { clock_offset: jiff::SignedDuration::from_hours(hours), ..Options::default() };
        let bench = bench(offset);
        let url = one(&bench);
        assert_eq!(bench.put(&url, b"x").status, 200);
        let reply = bench.put(&url.replace("partNumber=1", "partNumber=2"), b"x");
        assert_eq!((reply.status, reply.code()), (403, "SignatureDoesNotMatch"));
    }
}

#[test]
fn expired_url_is_refused_with_request_has_expired() {
    let bench = plain();
    let url = one(&bench);
    bench.drive.advance_clock(Duration::from_secs(3590));
    assert_eq!(bench.put(&url, b"x").status, 200);
    bench.drive.advance_clock(Duration::from_secs(20));
    let reply = bench.put(&url, b"x");
    assert_eq!((reply.status, reply.code()), (403, "AccessDenied"));
    for text in [
        "<Message>Request has expired</Message>",
        "<Expires>",
        "<ServerTime>",
        "<X-Amz-Expires>3600</X-Amz-Expires>",
    ] {
        assert!(reply.text.contains(text), "{text} in {}", reply.text);
    }
}

#[test]
fn expire_urls_expires_old_urls_but_not_new_ones() {
    let bench = plain();
    let started = bench.start("a", 1, 1);
    for _ in 0..3 {
        let old = bench.urls(&started.ids, 1).remove(0);
        bench.drive.expire_urls();
        assert_eq!(bench.put(&old, b"x").code(), "AccessDenied");
        let new = bench.urls(&started.ids, 1).remove(0);
        assert_eq!(bench.put(&new, b"x").status, 200);
    }
}

#[test]
fn unsigned_header_is_refused_with_headers_not_signed() {
    let bench = plain();
    for (name, value) in [("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="), ("x-amz-acl", "private")] {
        let reply = bench.send(bench.http.put(one(&bench)).header(name, value).body("x")).unwrap();
        assert_eq!((reply.status, reply.code()), (403, "AccessDenied"));
        assert!(
            reply.text.contains(&format!("<HeadersNotSigned>{name}</HeadersNotSigned>")),
            "{}",
            reply.text
        );
    }
}

#[test]
fn authorization_header_on_a_presigned_url_is_refused_and_echoed() {
    let bench = plain();
    let reply = bench.send(bench.http.put(one(&bench)).bearer_auth("cp_pat_x").body("x")).unwrap();
    assert_eq!((reply.status, reply.code()), (400, "InvalidArgument"));
    assert!(reply.text.contains("Only one auth mechanism allowed"));
    assert!(reply.text.contains("<ArgumentValue>Bearer cp_pat_x</ArgumentValue>"));
}

#[test]
fn missing_content_length_is_411_and_chunked_encoding_501() {
    let bench = plain();
    let head = bench.put_head(&one(&bench), "Connection: close\r\n");
    assert!(bench.raw(&head, b"").unwrap().contains("<Code>MissingContentLength</Code>"));
    let head = bench.put_head(&one(&bench), "Connection: close\r\nTransfer-Encoding: chunked\r\n");
    let response = bench.raw(&head, b"1\r\nx\r\n0\r\n\r\n").unwrap();
    assert!(
        response.starts_with("HTTP/1.1 501") && response.contains("<Code>NotImplemented</Code>"),
        "{response}"
    );
}

#[test]
fn body_shorter_than_content_length_stores_nothing() {
    let bench = plain();
    let head = bench.put_head(&one(&bench), "Content-Length: 10\r\n");
    drop(bench.raw_open(&head, b"half").unwrap());
    let lost = |record: &local_drive::Record| {
        record.requests_of(Op::PutPart).any(|put| put.end.is_some() && put.status.is_none())
    };
    bench.drive.wait_until(crate::support::CAP, lost).unwrap();
    assert_eq!(bench.drive.record().stored_count(), 0);
}

#[test]
fn part_above_5_gib_or_number_10000_is_refused_before_its_body() {
    let options = Options { drain_refused: false, ..Options::default() };
    let bench = bench(options);
    let head = bench.put_head(&one(&bench), "Content-Length: 5368709121\r\n");
    assert!(bench.raw(&head, b"").unwrap().contains("<Code>EntityTooLarge</Code>"));
    for number in ["0", "10001", "x"] {
        let url = one(&bench).replace("partNumber=1", &format!("partNumber={number}"));
        assert_eq!(bench.put(&url, b"x").code(), "InvalidArgument");
    }
}

#[test]
fn anonymous_request_is_refused() {
    let bench = plain();
    let url = one(&bench);
    let reply = bench.send(bench.http.get(url.split('?').next().unwrap())).unwrap();
    assert_eq!((reply.status, reply.code()), (403, "AccessDenied"));
}

#[test]
fn finalize_refuses_parts_that_s3_refuses() {
    let bench = plain();
    let started = bench.start("a", 2, 2);
    let etags: Vec<String> =
        started.urls.iter().map(|url| bench.put(url, b"x").etag().trim_matches('"').to_owned()).collect();
    let message = |etags: &[String]| {
        let (status, reply) = bench.finalize(&started, etags);
        assert_eq!(
            (status, &reply["statusCode"], &reply["error"]),
            (400, &json!(400), &json!("Bad Request"))
        );
        reply["message"].as_str().unwrap().split(':').next().unwrap().to_owned()
    };
    assert_eq!(message(&etags), "EntityTooSmall");
    assert_eq!(message(&["00".into()]), "InvalidPart");
    assert_eq!(message(&[etags[0].clone(), etags[1].clone(), etags[0].clone()]), "InvalidPart");
    let mut body = Bench::finalize_body(&started, &etags);
    body["parts"].as_array_mut().unwrap().reverse();
    let (_, reply) = bench.post("/drive/files/upload/multipart/finalize", &body);
    assert!(reply["message"].as_str().unwrap().starts_with("InvalidPartOrder"), "{reply}");
}

#[test]
fn aborted_upload_is_refused_with_no_such_upload() {
    let bench = plain();
    let started = bench.start("a", 1, 1);
    let etag = bench.put(&started.urls[0], b"x").etag().to_owned();
    bench.drive.abort_upload(started.upload_id()).unwrap();
    let reply = bench.put(&started.urls[0], b"x");
    assert_eq!((reply.status, reply.code()), (404, "NoSuchUpload"));
    assert_eq!(bench.finalize(&started, &[etag]).0, 404);
}

/// The external server is the embedded storage of a second drive.
#[test]
fn upload_to_an_external_server_can_be_completed_read_and_aborted() {
    let far = LocalDrive::start(Options::default()).unwrap();
    let external = local_drive::ExternalS3 {
        endpoint: format!("http://{}", far.storage_addr()),
        bucket: "some-bucket".into(),
        access_key: "AKIALOCALDRIVE000000".into(),
        secret_key: "local-drive-secret-key-of-no-value-at-all".into(),
        region: "us-east-1".into(),
    };
    let bench = bench(Options { s3: S3::External(external), ..Options::default() });
    let item = bench.upload("far.txt", &[b"far away"]);
    let id = item["_id"].as_str().unwrap();
    assert_eq!(bench.drive.object(id).unwrap(), b"far away");
    assert_eq!(bench.drive.object_len(id).unwrap(), 8);
    assert_eq!(far.record().count(Op::PutPart), 1);
    let started = bench.start("gone", 1, 1);
    bench.drive.abort_upload(started.upload_id()).unwrap();
    assert_eq!(bench.put(&started.urls[0], b"x").code(), "NoSuchUpload");
}
