use super::*;
use crate::item::Item;

#[test]
fn all_three_shapes_of_the_signed_urls_are_read_in_any_order() {
    for body in [
        r#"{"urls":["u1","u\u0032"]}"#,
        r#"{"parts":[{"signedUrl":"u2","PartNumber":2},{"PartNumber":1,"x":{"y":[]},"signedUrl":"u1"}]}"#,
        r#"{"urls":[{"url":"u2","partNumber":2},{"url":"u1","partNumber":1}],"more":1}"#,
    ] {
        assert_eq!(parse_urls(body.as_bytes(), 2).unwrap(), ["u1", "u2"], "{body}");
    }
}

#[test]
fn a_missing_doubled_or_surplus_part_is_an_error_that_says_so() {
    for (body, complaint) in [
        (r#"{"urls":["u1"]}"#, "no URL for part 2 of 2"),
        (r#"{"urls":["u1","u2","u3"]}"#, "URL for part 3, and the file has 2"),
        (
            r#"{"parts":[{"signedUrl":"a","PartNumber":1},{"signedUrl":"b","PartNumber":1}]}"#,
            "two URLs for part 1",
        ),
        (r#"{"parts":[{"signedUrl":"a","PartNumber":0}]}"#, "URL for part 0"),
        (r#"{"parts":[{"signedUrl":"","PartNumber":1}]}"#, "part 1 is empty"),
        (r#"{"parts":[{"signedUrl":"secret"}]}"#, "is not known (entry 1)"),
        (r#"{"parts":[{"signedUrl":"a","PartNumber":1},{"PartNumber":2}]}"#, "is not known (entry 2)"),
        (r#"{"parts":[{"signedUrl":"secret","PartNumber":"one"}]}"#, "is not known"),
        (r#"{"parts":[{"signedUrl":"a","PartNumber":-1}]}"#, "is not known"),
        (r#"{"urls":null}"#, "neither"),
        (r#"{"urls":["#, "ends too early"),
        ("[]", "no JSON object"),
    ] {
        let error = parse_urls(body.as_bytes(), 2).unwrap_err();
        assert!(error.contains(complaint) && !error.contains("secret"), "{body}: {error}");
    }
}

#[test]
fn error_bodies_are_read_in_all_their_shapes() {
    let said = |body: &str| {
        let error = parse_error(body.as_bytes());
        (error.code, error.message, error.retry_after)
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        said(r#"{"statusCode":403,"error":"Forbidden","message":"You may not"}"#),
        (None, some("You may not"), None)
    );
    assert_eq!(said(r#"{"code":"E_QUOTA","error":"no space"}"#), (some("E_QUOTA"), some("no space"), None));
    assert_eq!(
        said(r#"{"message":["a","b"],"retryAfter":1.5}"#),
        (None, some("a; b"), Some(Duration::from_millis(1500)))
    );
    assert_eq!(
        said(r#"{"message":7,"error":{"message":"deep"},"retryAfter":-1}"#),
        (None, some("deep"), None)
    );
    assert_eq!(said("<html>"), (None, None, None));
    assert_eq!(said(""), (None, None, None));
}

#[test]
fn an_item_keeps_its_text_and_gives_its_id() {
    let item = |text: &str| Item::new(serde_json::from_str(text).unwrap());
    let text = r#"{"z":1.50,"_id":"a1","id":"b","size":"odd"}"#;
    let read = item(text).unwrap();
    assert_eq!((read.id(), read.compact().get()), ("a1", text));
    assert_eq!(item(r#"{"id":"b"}"#).unwrap().id(), "b");
    assert_eq!(item(r#"{"_id":7,"id":"b","name":[],"type":{}}"#).unwrap().id(), "b");
    for none in ["{}", "[]", r#"["a","b","c","d"]"#, "null", r#"{"_id":7}"#, r#"{"_id":""}"#] {
        assert!(item(none).is_none(), "{none}");
    }
}

#[test]
fn a_listing_must_be_one_and_says_whether_it_is_all() {
    let tree = |body: &str| parse::<Tree>(body.as_bytes()).map(|tree| tree.truncated).ok();
    let (file, odd) = (r#"{"_id":"1","name":"f","type":"file"}"#, r#"{"_id":"1","name":"f"}"#);
    assert_eq!(tree(r#"{"root":[]}"#), Some(false));
    assert_eq!(tree(&format!(r#" {{"root":[{file}],"truncated":null}}"#)), Some(false));
    assert_eq!(tree(&format!(r#"{{"root":[{file}],"truncated":true}}"#)), Some(true));
    assert_eq!(tree(&format!(r#"{{"root":[{file},{odd}],"truncated":false}}"#)), Some(true));
    assert_eq!(tree(&format!(r#"{{"root":[{}]}}"#, [file; 500].join(","))), Some(true));
    for none in
        ["{}", "[[]]", "[[],false]", "", "null", r#"{"root":[1]}"#, r#"{"root":{}}"#, r#"{"error":"x"}"#]
    {
        assert_eq!(tree(none), None, "{none}");
    }
    let hits = |body: &str| parse::<Hits>(body.as_bytes()).map(|hits| hits.complete).ok();
    assert_eq!(hits(r#"{"hits":[],"totalHits":0}"#), Some(true));
    assert_eq!(hits(&format!(r#"{{"hits":[{file}],"totalHits":2}}"#)), Some(false));
    assert_eq!(hits(&format!(r#"{{"hits":[{odd}],"totalHits":1}}"#)), Some(false));
    assert_eq!(hits(r#"{"hits":[]}"#), Some(false));
    for none in ["{}", "[[],0]", r#"{"totalHits":0}"#, r#"{"hits":[null],"totalHits":1}"#] {
        assert_eq!(hits(none), None, "{none}");
    }
}

#[test]
fn a_parent_is_read_in_all_its_shapes_and_is_no_root_when_it_cannot_be() {
    let parent = |text: &str| serde_json::from_str::<Node>(text).unwrap().parent().map(str::to_owned);
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(parent("{}"), None);
    assert_eq!(parent(r#"{"parent":null}"#), None);
    assert_eq!(parent(r#"{"parent":"p"}"#), some("p"));
    assert_eq!(parent(r#"{"parentId":"p"}"#), some("p"));
    assert_eq!(parent(r#"{"parent":{"_id":"p"}}"#), some("p"));
    assert_eq!(parent(r#"{"parent":7,"parentId":"p"}"#), some("p"));
    assert_eq!(parent(r#"{"parent":{"name":"x"}}"#), some(""));
}

#[test]
fn a_message_about_a_download_url_never_quotes_it() {
    for body in [r#"{"url":["https://h/k?secret"]}"#, r#"{"link":"https://h/k?secret"}"#, r#"{"url":""}"#] {
        let error = parse::<Download>(body.as_bytes()).unwrap_err();
        assert!(!error.contains("secret"), "{error}");
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_taken(body in proptest::collection::vec(0u8.., 0..300), count in 0u32..5) {
        let _ = (parse_urls(&body, count), parse_error(&body));
        let _ = serde_json::from_slice::<Tree>(&body);
    }

    #[test]
    fn anything_like_an_answer_is_taken(
        body in r#"(\{|\}|\[|\]|,|:|"parts"|"urls"|"signedUrl"|"PartNumber"|"message"|"retryAfter"|1|-2|1e999|null|"x"){0,30}"#,
        count in 0u32..5,
    ) {
        let _ = (parse_urls(body.as_bytes(), count), parse_error(body.as_bytes()));
        let _ = serde_json::from_str::<Tree>(&body);
    }
}
