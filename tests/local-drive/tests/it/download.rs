//! Download URLs: responses like those of Amazon S3, and faults.

use std::time::{Duration, Instant};

use local_drive::{Action, Fault, Mode, Op, Options};
use reqwest::header::HeaderMap;

use crate::support::{Bench, CAP, MIB5, Reply, bench, plain, two_parts};

fn url(bench: &Bench, id: &str) -> String {
    let (status, response) = bench.get(&format!("/drive/files/{id}/download"));
    assert_eq!(status, 200, "{response}");
    response["url"].as_str().unwrap().to_owned()
}

fn try_get(bench: &Bench, id: &str, range: Option<&str>) -> reqwest::Result<Reply> {
    let request = bench.http.get(url(bench, id));
    bench.send(match range {
        Some(range) => request.header("range", range),
        None => request,
    })
}

fn get(bench: &Bench, id: &str, range: &str) -> Reply {
    try_get(bench, id, Some(range)).unwrap()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers[name].to_str().unwrap()
}

#[test]
fn one_byte_range_returns_size_and_multipart_etag() {
    let bench = plain();
    let (first, second) = two_parts();
    let item = bench.upload("a", &[&first, &second]);
    let reply = get(&bench, item["_id"].as_str().unwrap(), "bytes=0-0");
    assert_eq!((reply.status, reply.text.len()), (206, 1));
    assert_eq!(header(&reply.headers, "content-range"), format!("bytes 0-0/{}", MIB5 + second.len()));
    assert_eq!(header(&reply.headers, "content-length"), "1");
    assert_eq!(reply.etag(), "\"c22a517fa0a3fd589b15a95e22c1033b-2\"");
    assert!(!reply.headers.contains_key("x-amz-server-side-encryption"));
    let item = bench.upload("b", &[b"hello"]);
    let reply = get(&bench, item["_id"].as_str().unwrap(), "bytes=1-");
    assert_eq!((reply.status, reply.text.as_str()), (206, "ello"));
    assert_eq!(
        reply.etag(),
        "\"62109206880d38a4010a98e11243924a-1\"",
        "the ETag of a single part has a suffix too"
    );
}

#[test]
fn unsatisfiable_range_and_any_range_of_an_empty_object_are_416() {
    let bench = plain();
    let full = bench.drive.put_file("f", None, b"abc").unwrap();
    let empty = bench.drive.put_file("e", None, b"").unwrap();
    for (id, range) in
        [(&full, "bytes=3-"), (&full, "bytes=9-10"), (&empty, "bytes=0-0"), (&empty, "bytes=-1")]
    {
        let reply = get(&bench, id, range);
        assert_eq!((reply.status, reply.code()), (416, "InvalidRange"), "{range}");
    }
    let reply = try_get(&bench, &empty, None).unwrap();
    assert_eq!((reply.status, reply.text.as_str()), (200, ""));
    assert!(reply.etag().ends_with("-1\""));
}

#[test]
fn download_url_expires() {
    let bench = bench(Options { url_lifetime: Duration::from_secs(60), ..Options::default() });
    let id = bench.drive.put_file("f", None, b"abc").unwrap();
    let url = url(&bench, &id);
    assert_eq!(bench.send(bench.http.get(&url)).unwrap().status, 200);
    bench.drive.advance_clock(Duration::from_secs(61));
    let reply = bench.send(bench.http.get(&url)).unwrap();
    assert_eq!((reply.status, reply.code()), (403, "AccessDenied"));
    assert!(reply.text.contains("Request has expired"));
}

#[test]
fn get_refuses_unsigned_headers_and_wrong_signatures() {
    let bench = plain();
    let id = bench.drive.put_file("f", None, b"abc").unwrap();
    for (name, value) in [("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="), ("x-amz-checksum-mode", "ENABLED")] {
        let reply = bench.send(bench.http.get(url(&bench, &id)).header(name, value)).unwrap();
        assert_eq!((reply.status, reply.code()), (403, "AccessDenied"));
        assert!(reply.text.contains(&format!("<HeadersNotSigned>{name}</HeadersNotSigned>")));
    }
    let reply = bench.send(bench.http.get(url(&bench, &id)).bearer_auth("cp_pat_x")).unwrap();
    assert_eq!((reply.status, reply.code()), (400, "InvalidArgument"));
    let tampered = url(&bench, &id).replace("GetObject", "PutObject");
    assert_eq!(bench.send(bench.http.get(tampered)).unwrap().code(), "SignatureDoesNotMatch");
    assert_eq!(bench.send(bench.http.put(url(&bench, &id))).unwrap().status, 403, "signed for GET");
}

#[test]
fn folders_and_unknown_ids_have_no_download_url() {
    let bench = plain();
    let folder = bench.drive.make_folder("d", None);
    for (id, status) in [(folder.as_str(), 404), ("0123456789abcdef01234567", 404), ("nope", 400)] {
        assert_eq!(bench.get(&format!("/drive/files/{id}/download")).0, status);
    }
}

#[test]
fn encrypted_object_has_an_encryption_header_and_no_md5() {
    for options in
        [Options { kms: true, ..Options::default() }, Options { mode: Mode::Sink, ..Options::default() }]
    {
        let bench = bench(options);
        let item = bench.upload("a", &[b"hello"]);
        let reply = get(&bench, item["_id"].as_str().unwrap(), "bytes=0-0");
        assert_eq!(reply.status, 206);
        assert_ne!(reply.etag(), "\"62109206880d38a4010a98e11243924a-1\"");
        assert!(reply.etag().ends_with("-1\""), "{}", reply.etag());
        assert_eq!(header(&reply.headers, "x-amz-server-side-encryption"), "aws:kms");
    }
}

#[test]
fn discarded_bytes_are_downloaded_as_zeros() {
    let bench = bench(Options { mode: Mode::Discard, ..Options::default() });
    let id = bench.drive.put_file("f", None, &[7; 100_000]).unwrap();
    let reply = try_get(&bench, &id, None).unwrap();
    assert!(reply.text.len() == 100_000 && reply.text.bytes().all(|byte| byte == 0));
}

#[test]
fn replace_object_changes_bytes_but_not_the_item() {
    let bench = plain();
    let id = bench.drive.put_file("f", None, b"abc").unwrap();
    let before = get(&bench, &id, "bytes=0-0").etag().to_owned();
    bench.drive.replace_object(&id, b"abcd").unwrap();
    let reply = get(&bench, &id, "bytes=0-0");
    assert_eq!(header(&reply.headers, "content-range"), "bytes 0-0/4");
    assert_ne!(reply.etag(), before);
    assert_eq!(bench.drive.items()[0]["size"], 3, "the item has changed");
}

#[test]
fn get_faults_change_status_etag_or_bytes() {
    let bench = plain();
    let id = bench.drive.put_file("f", None, b"abc").unwrap();
    let etag = get(&bench, &id, "bytes=0-0").etag().to_owned();
    let once = |action| bench.drive.fault(Fault::once(Op::GetObject, action));
    once(Action::status(502, "<html>"));
    assert_eq!(get(&bench, &id, "bytes=0-0").status, 502);
    once(Action::slow_down());
    assert_eq!(get(&bench, &id, "bytes=0-0").code(), "SlowDown");
    once(Action::ExpiredUrl);
    assert_eq!(get(&bench, &id, "bytes=0-0").code(), "AccessDenied");
    once(Action::Reset);
    assert!(try_get(&bench, &id, None).is_err());
    once(Action::WrongEtag);
    let reply = get(&bench, &id, "bytes=0-0");
    assert!(reply.status == 206 && reply.etag() != etag && !reply.etag().contains('-'), "{}", reply.etag());
    once(Action::Kms);
    assert_eq!(header(&get(&bench, &id, "bytes=0-0").headers, "x-amz-server-side-encryption"), "aws:kms");
    once(Action::CorruptStored);
    let reply = try_get(&bench, &id, None).unwrap();
    assert_eq!((reply.text.as_str(), reply.etag()), ("`bc", etag.as_str()));
    assert_eq!(try_get(&bench, &id, None).unwrap().text, "abc");
}

#[test]
fn get_faults_reset_truncate_slow_or_stall_the_body() {
    let bench = plain();
    let id = bench.drive.put_file("f", None, &[b'x'; 300_000]).unwrap();
    let gets = || {
        let record = bench.drive.record();
        record.requests_of(Op::GetObject).map(|get| get.body_bytes).collect::<Vec<_>>()
    };
    bench.drive.fault(Fault::once(Op::GetObject, Action::ResetAfter(100_000)));
    assert!(try_get(&bench, &id, None).is_err());
    bench.drive.fault(Fault::once(Op::GetObject, Action::TruncateResponse));
    assert!(try_get(&bench, &id, None).is_err());
    assert_eq!(gets()[0], 100_000);

    bench.drive.fault(Fault::once(Op::GetObject, Action::SlowRead { bytes_per_second: 1_500_000 }));
    let begun = Instant::now();
    assert_eq!(try_get(&bench, &id, None).unwrap().text.len(), 300_000);
    assert!(begun.elapsed() >= Duration::from_millis(150));

    let stall = bench.drive.fault(Fault::once(Op::GetObject, Action::Stall { after: 70_000 }));
    std::thread::scope(|scope| {
        let whole = scope.spawn(|| try_get(&bench, &id, None).unwrap().text.len());
        bench
            .drive
            .wait_until(CAP, |record| {
                record.requests_of(Op::GetObject).last().is_some_and(|get| get.body_bytes == 70_000)
            })
            .unwrap();
        bench.drive.clear_fault(stall);
        assert_eq!(whole.join().unwrap(), 300_000);
    });
}
