//! The API calls.

use std::time::Duration;

use local_drive::{FinalizeRepeat, Mode, Op, Options, UrlShape};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{bench, plain, two_parts};

const START: &str = "/drive/files/upload/multipart/start";
const URLS: &str = "/drive/files/upload/multipart/presigned-urls";
const FINALIZE: &str = "/drive/files/upload/multipart/finalize";

#[test]
fn uploaded_file_has_an_item_and_can_be_downloaded() {
    let bench = plain();
    let (first, second) = two_parts();
    let whole = [first.as_slice(), &second].concat();
    let item = bench.upload("a b.txt", &[&first, &second]);
    let keys: Vec<&str> = item.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(&keys[..8], ["_id", "name", "type", "owner", "createdAt", "updatedAt", "mimeType", "size"]);
    let id = item["_id"].as_str().unwrap();
    assert_eq!(bench.drive.items(), std::slice::from_ref(&item));
    assert!(bench.drive.object(id).unwrap() == whole);
    assert_eq!(bench.drive.object_len(id).unwrap(), whole.len() as u64);
    assert_eq!(bench.drive.object_sha256(id).unwrap().len(), 64);
    assert_eq!(bench.get(&format!("/drive/files/{id}")), (200, item.clone()));

    let (_, download) = bench.get(&format!("/drive/files/{id}/download"));
    let url = download["url"].as_str().unwrap();
    let range = format!("bytes={}-{}", first.len() - 3, first.len() + 2);
    let reply = bench.send(bench.http.get(url).header("range", range)).unwrap();
    assert_eq!(reply.status, 206);
    assert_eq!(reply.text.as_bytes(), &whole[first.len() - 3..first.len() + 3]);
    bench.drive.expire_urls();
    assert_eq!(bench.send(bench.http.get(url)).unwrap().status, 403);
}

#[test]
fn finalize_with_missing_parts_creates_a_shorter_object() {
    let bench = plain();
    let (first, second) = two_parts();
    let started = bench.start("short", first.len() + second.len(), 2);
    let etag = bench.put(&started.urls[0], &first).etag().to_owned();
    bench.put(&started.urls[1], &second);
    let (status, item) = bench.finalize(&started, &[etag]);
    assert_eq!((status, item["size"].as_u64()), (201, Some((first.len() + second.len()) as u64)));
    assert_eq!(bench.drive.object_len(item["_id"].as_str().unwrap()).unwrap(), first.len() as u64);
}

#[test]
fn second_finalize_creates_a_second_item_or_fails() {
    for (repeat, status, items) in [(FinalizeRepeat::SecondItem, 201, 2), (FinalizeRepeat::Refuse, 404, 1)] {
        let bench = bench(Options { finalize_repeat: repeat, ..Options::default() });
        let started = bench.start("twice", 1, 1);
        let etags = [bench.put(&started.urls[0], b"x").etag().to_owned()];
        assert_eq!(bench.finalize(&started, &etags).0, 201);
        assert_eq!(bench.finalize(&started, &etags).0, status);
        assert_eq!(bench.drive.items().len(), items);
    }
}

#[test]
fn signed_urls_have_three_shapes() {
    let reply = |shape, shuffle| {
        let bench = bench(Options { shape, shuffle, ..Options::default() });
        let body = json!({ "fileName": "a", "fileSize": 1, "mimeType": "text/plain" });
        let (_, mut ids) = bench.post(START, &body);
        ids["parts"] = json!(20);
        bench.post(URLS, &ids).1
    };
    assert!(reply(UrlShape::Strings, true)["urls"][19].as_str().unwrap().contains("partNumber=20&"));
    let object = &reply(UrlShape::Objects, false)["parts"][19];
    assert_eq!(object["PartNumber"], 20);
    assert!(object["signedUrl"].is_string());
    let shuffled = reply(UrlShape::UrlObjects, true);
    let numbers: Vec<u64> = shuffled["urls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| part["partNumber"].as_u64().unwrap())
        .collect();
    assert!(!numbers.is_sorted());
    for part in shuffled["urls"].as_array().unwrap() {
        assert!(part["url"].as_str().unwrap().contains(&format!("partNumber={}&", part["partNumber"])));
    }
}

#[test]
fn unknown_token_is_401_and_integration_key_403() {
    let bench = plain();
    let url = format!("{}/workspace/info", bench.drive.api_url());
    let status = |request: reqwest::RequestBuilder| bench.send(request).unwrap().status;
    assert_eq!(status(bench.http.get(&url)), 401);
    assert_eq!(status(bench.http.get(&url).bearer_auth("cp_pat_other")), 401);
    assert_eq!(status(bench.http.get(&url).bearer_auth("cp_key_other")), 403);
    let (status, info) = bench.get("/workspace/info");
    assert_eq!((status, info["slug"].is_string()), (200, true));
}

#[test]
fn malformed_calls_are_400_and_unknown_ids_404() {
    let bench = plain();
    let file = bench.drive.put_file("f", None, b"x").unwrap();
    let unknown = "0123456789abcdef01234567";
    let start = |change: &dyn Fn(&mut Value)| {
        let mut body = json!({ "fileName": "a", "fileSize": 1, "mimeType": "text/plain" });
        change(&mut body);
        let (status, reply) = bench.post(START, &body);
        assert!(status == 201 || reply["statusCode"] == status, "{reply}");
        status
    };
    assert_eq!(start(&|_| {}), 201);
    for missing in ["fileName", "fileSize", "mimeType"] {
        assert_eq!(start(&|body| drop(body.as_object_mut().unwrap().remove(missing))), 400, "{missing}");
    }
    assert_eq!(start(&|body| body["fileSize"] = json!(-1)), 400);
    assert_eq!(start(&|body| body["parentId"] = Value::Null), 400);
    assert_eq!(start(&|body| body["parentId"] = json!("nope")), 400);
    assert_eq!(start(&|body| body["parentId"] = json!(file)), 400);
    assert_eq!(start(&|body| body["parentId"] = json!(unknown)), 404);

    let ids = bench.start("a", 1, 1).ids;
    for parts in [json!(0), json!(10_001), json!("3"), Value::Null] {
        let mut body = ids.clone();
        body["parts"] = parts;
        assert_eq!(bench.post(URLS, &body).0, 400);
    }
    assert_eq!(bench.post(URLS, &json!({ "uploadId": "x", "fileKey": "y", "parts": 1 })).0, 404);
    let mut body = ids;
    for parts in
        [json!([]), json!([{ "partNumber": 1 }]), json!([{ "partNumber": 0, "eTag": "x" }]), json!(1)]
    {
        body["parts"] = parts;
        assert_eq!(bench.post(FINALIZE, &body).0, 400);
    }

    assert_eq!(bench.post("/drive/folders", &json!({})).0, 400);
    assert_eq!(bench.get("/drive/files/nope").0, 400);
    assert_eq!(bench.get(&format!("/drive/files/{unknown}")).0, 404);
    assert_eq!(bench.get("/drive/tree?depth=11").0, 400);
    assert_eq!(bench.get(&format!("/drive/tree?parentId={unknown}")).0, 404);
    assert_eq!(bench.get("/drive/search?limit=5").0, 400);
    assert_eq!(bench.get("/drive/search?q=a&limit=51").0, 400);
    assert_eq!(bench.get("/nothing").0, 404);
}

#[test]
fn tree_is_paged_and_search_finds_by_name() {
    let bench = bench(Options { page_limit: 4, ..Options::default() });
    let (status, folder) = bench.post("/drive/folders", &json!({ "name": "photos" }));
    assert_eq!((status, &folder["type"]), (201, &json!("folder")));
    let id = folder["_id"].as_str().unwrap();
    for number in 0..6 {
        bench.drive.put_file(&format!("IMG {number}.jpg"), Some(id), b"x").unwrap();
    }
    bench.drive.make_folder("empty", None);
    let (_, tree) = bench.get("/drive/tree");
    assert_eq!((&tree["totalItems"], &tree["truncated"]), (&json!(2), &json!(true)));
    assert_eq!(tree["nextParentIds"], json!([id]));
    assert_eq!(tree["root"][0]["hasChildren"], true);
    let (_, inside) = bench.get(&format!("/drive/tree?parentId={id}&depth=1"));
    assert_eq!((inside["root"].as_array().unwrap().len(), &inside["truncated"]), (4, &json!(true)));
    assert_eq!(inside["root"][0]["parent"], id);
    let (_, found) = bench.get("/drive/search?q=img%205&limit=3");
    assert_eq!((&found["totalHits"], &found["hits"][0]["name"]), (&json!(1), &json!("IMG 5.jpg")));
}

#[test]
fn headers_and_items_are_dated_with_the_drives_clock() {
    let offset = jiff::SignedDuration::from_hours(48);
    let bench = bench(Options { clock_offset: offset, ..Options::default() });
    let ahead =
        |time: jiff::Timestamp| (time.duration_since(jiff::Timestamp::now()) - offset).as_secs().abs() < 60;
    let reply = bench.try_api(Method::GET, "/workspace/info", None).unwrap();
    let date = reply.headers["date"].to_str().unwrap();
    assert!(ahead(jiff::fmt::rfc2822::parse(date).unwrap().timestamp()), "{date}");
    let item = bench.upload("a", &[b"x"]);
    assert!(ahead(item["createdAt"].as_str().unwrap().parse().unwrap()));
}

#[test]
fn start_above_the_quota_is_403() {
    let bench = bench(Options { quota: Some(10), ..Options::default() });
    let body = |size: u64| json!({ "fileName": "a", "fileSize": size, "mimeType": "text/plain" });
    assert_eq!(bench.post(START, &body(8)).0, 201);
    assert_eq!(bench.post(START, &body(3)).0, 403);
}

#[test]
fn discard_mode_keeps_etag_and_length() {
    let bench = bench(Options { mode: Mode::Discard, ..Options::default() });
    let item = bench.upload("a", &[b"hello"]);
    let id = item["_id"].as_str().unwrap();
    assert_eq!(bench.drive.object_len(id).unwrap(), 5);
    assert!(bench.drive.object(id).is_err());
    let put = bench.drive.record();
    assert_eq!(put.requests_of(Op::PutPart).next().unwrap().body_bytes, 5);
}

#[test]
fn sink_mode_reports_encrypted_etags() {
    let bench = bench(Options { mode: Mode::Sink, ..Options::default() });
    let reply = bench.put(&bench.start("a", 5, 1).urls[0], b"hello");
    assert_eq!(reply.headers["x-amz-server-side-encryption"], "aws:kms");
    let item = bench.upload("b", &[b"hello"]);
    assert_eq!(bench.drive.object_len(item["_id"].as_str().unwrap()).unwrap(), 5);
}

#[test]
fn drives_with_the_same_data_folder_are_separate_and_leave_their_files() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { data: Some(folder.path().to_owned()), ..Options::default() };
    let (one, two) = (bench(options.clone()), bench(options));
    let item = one.upload("a", &[b"one"]);
    two.upload("a", &[b"two"]);
    assert_eq!(one.drive.object(item["_id"].as_str().unwrap()).unwrap(), b"one");
    assert_eq!(two.drive.items().len(), 1);
    drop((one, two));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn latency_delays_every_call() {
    let bench = bench(Options { latency: Duration::from_millis(50), ..Options::default() });
    bench.get("/workspace/info");
    let record = bench.drive.record();
    let call = &record.requests[0];
    assert!(call.end.unwrap() - call.start >= Duration::from_millis(50));
}
