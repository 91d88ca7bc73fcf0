//! The store against values from other programs, and its error codes.

use super::*;
use crate::part::hex;

fn put(store: &Store, upload: &str, number: u32, bytes: &[u8]) -> (u32, String) {
    let mut part = store.begin_part(upload, "k", number).unwrap();
    part.write(bytes).unwrap();
    (number, part.finish().unwrap().etag)
}

/// The program uses the same MD5 crate as this store, so this compares with another crate.
#[test]
fn etag_is_the_md5_of_another_crate_at_every_block_boundary() {
    use md5::Digest as _;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path(), Mode::Discard, false);
    let upload = store.create("k");
    let bytes: Vec<u8> = (0..100_000_u32).map(|index| u8::try_from(index * 7 % 256).unwrap()).collect();
    for length in (0..260).chain([4095, 4096, 65_537, 100_000]) {
        let mut part = store.begin_part(&upload, "k", 1).unwrap();
        for chunk in bytes[..length].chunks(999) {
            part.write(chunk).unwrap();
        }
        let expected = hex(&md5::Md5::digest(&bytes[..length]));
        assert_eq!(part.finish().unwrap().etag, expected, "{length}");
    }
}

#[test]
fn last_put_to_finish_wins_and_one_file_remains() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path(), Mode::Keep, false);
    let upload = store.create("k");
    let mut slow = store.begin_part(&upload, "k", 1).unwrap();
    put(&store, &upload, 1, b"quick");
    slow.write(b"slow").unwrap();
    slow.finish().unwrap();
    let parts = store.list(&upload, "k").unwrap();
    assert_eq!(parts.iter().map(|part| part.size).collect::<Vec<_>>(), [4]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn incomplete_part_and_part_of_an_aborted_upload_leave_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path(), Mode::Keep, false);
    let upload = store.create("k");
    let mut broken = store.begin_part(&upload, "k", 1).unwrap();
    broken.write(b"half").unwrap();
    drop(broken);
    let late = store.begin_part(&upload, "k", 2).unwrap();
    store.abort(&upload).unwrap();
    assert_eq!(late.finish().unwrap_err(), Refusal::NoSuchUpload);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// The expected values are from `md5sum` and `xxd -r -p`.
#[test]
fn etag_of_an_object_is_the_md5_of_the_md5s_and_the_number_of_parts() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path(), Mode::Discard, false);
    let etag = |parts: &[&[u8]]| {
        let upload = store.create("k");
        let parts: Vec<_> =
            (1..).zip(parts).map(|(number, bytes)| put(&store, &upload, number, bytes)).collect();
        store.complete(&upload, "k", &parts).unwrap().etag
    };
    assert_eq!(etag(&[b"hello"]), "62109206880d38a4010a98e11243924a-1");
    assert_eq!(etag(&[b""]), "59adb24ef3cdbe0297f05b395827453f-1");
    assert_eq!(etag(&[&[0; MIN_PART as usize], b"end"]), "76b2438ee89d0d54dbb3eb6005874976-2");
    let encrypted = Store::new(folder.path(), Mode::Discard, true);
    let upload = encrypted.create("k");
    let part = put(&encrypted, &upload, 1, b"hello");
    assert_ne!(part.1, "5d41402abc4b2a76b9719d911017c592");
    let object = encrypted.complete(&upload, "k", &[part]).unwrap();
    assert!(
        object.encrypted
            && object.etag.ends_with("-1")
            && object.etag != "62109206880d38a4010a98e11243924a-1"
    );
}

#[test]
fn complete_checks_order_etag_and_size_like_s3() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path(), Mode::Discard, false);
    let upload = store.create("k");
    let first = put(&store, &upload, 1, b"small");
    let second = put(&store, &upload, 2, b"end");
    let complete = |parts: &[(u32, String)]| store.complete(&upload, "k", parts).map(|object| object.size);
    assert_eq!(complete(&[]), Err(Refusal::MalformedXml));
    assert_eq!(complete(&[second.clone(), first.clone()]), Err(Refusal::InvalidPartOrder));
    assert_eq!(complete(&[(1, second.1.clone())]), Err(Refusal::InvalidPart));
    assert_eq!(complete(&[(3, first.1.clone())]), Err(Refusal::InvalidPart));
    assert_eq!(complete(&[first.clone(), second]), Err(Refusal::EntityTooSmall { number: 1, size: 5 }));
    assert_eq!(complete(&[first]), Ok(5), "missing parts are no error");
}
