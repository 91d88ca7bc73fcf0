use super::*;
use crate::drive::wire::Upload;
use crate::etag::Etag;

fn key() -> UploadKey {
    UploadKey { api: "a".into(), account: "b".into(), parent: None, name: "n".into(), path: "/p".into() }
}

fn identity() -> Identity {
    Identity { id: None, size: 30, mtime: 4, ctime: Some(5) }
}

fn started() -> StartedUpload {
    let upload = Upload { upload_id: "u".into(), file_key: "k".into() };
    StartedUpload { upload, identity: identity(), part_size: 10, started_at: 99, mime_type: "a/b".into() }
}

fn completed_part(number: u32) -> CompletedPart {
    let etag = Etag::from(format!("{number:032x}"));
    CompletedPart { etag: etag.clone(), md5: Some(etag) }
}

type Opened = (Journal, Option<Recorded>, Option<String>);

/// Another test that starts a process holds a copy of every lock until that process runs.
fn open(journals: &JournalStore) -> Opened {
    loop {
        match journals.open(&key()).unwrap() {
            None => std::thread::yield_now(),
            Some(opened) => return opened,
        }
    }
}

fn filled(journals: &JournalStore) -> Recorded {
    let (mut journal, recorded, warning) = open(journals);
    assert!(recorded.is_none() && warning.is_none());
    journal.begin(&started(), &BTreeMap::from([(2, completed_part(2))]), false, true).unwrap();
    for number in [1, 3] {
        journal.add_part(number, &completed_part(number), true).unwrap();
    }
    drop(journal);
    open(journals).1.unwrap()
}

fn text(folder: &Path) -> (PathBuf, Vec<u8>) {
    let path = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read(&path).unwrap();
    (path, text)
}

#[test]
fn a_record_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let journals = JournalStore::new(folder.path().join("a/b"));
    let recorded = filled(&journals);
    assert_eq!(recorded.parts.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(recorded.parts[&3], completed_part(3));
    assert_eq!((recorded.started.started_at, recorded.finalizing), (99, false));

    let (mut journal, ..) = open(&journals);
    journal.set_finalizing(true, true).unwrap();
    journal.set_identity(Identity { mtime: 7, ..identity() }).unwrap();
    drop(journal);
    let (journal, recorded, _) = open(&journals);
    let recorded = recorded.unwrap();
    assert!(recorded.finalizing && recorded.started.identity.mtime == 7);
    drop(journal);
    let (mut journal, ..) = open(&journals);
    journal.set_finalizing(false, true).unwrap();
    drop(journal);
    let (journal, recorded, _) = open(&journals);
    let recorded = recorded.unwrap();
    assert!(!recorded.finalizing);
    assert_eq!(recorded.started.mime_type, "a/b");
    journal.remove();
    assert!(open(&journals).1.is_none());
}

#[test]
fn a_record_is_locked_and_one_with_another_key_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let journals = JournalStore::new(folder.path().to_owned());
    let held = open(&journals);
    assert!(journals.open(&key()).unwrap().is_none());
    assert!(journals.open(&UploadKey { name: "other".into(), ..key() }).unwrap().is_some());
    drop(held);
    open(&journals);
}

#[cfg(unix)]
#[test]
fn only_the_user_may_read_a_record() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let journals = JournalStore::new(folder.path().join("state"));
    filled(&journals);
    let (path, _) = text(&folder.path().join("state"));
    assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_record_of_another_version_causes_a_warning_and_is_emptied() {
    let folder = tempfile::tempdir().unwrap();
    let journals = JournalStore::new(folder.path().to_owned());
    filled(&journals);
    let (path, content) = text(folder.path());
    let head = String::from_utf8(content).unwrap().lines().next().unwrap()[17..].to_owned();
    std::fs::write(path, record::with_checksum(&head.replace("\"format\":2", "\"format\":1"))).unwrap();
    let (_, recorded, warning) = open(&journals);
    assert!(recorded.is_none() && warning.is_some());
}

#[test]
fn expired_records_are_removed_unless_they_are_locked() {
    let folder = tempfile::tempdir().unwrap();
    let journals = JournalStore::new(folder.path().to_owned());
    filled(&journals);
    journals.remove_expired(SystemTime::now());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let later = SystemTime::now() + MAX_AGE + Duration::from_secs(60);
    let held = open(&journals);
    journals.remove_expired(later);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    drop(held);
    journals.remove_expired(later);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Whatever remains of a record, what is read from it is true: the same upload, and parts that were
/// recorded with just these receipts.
fn assert_true(text: &[u8], whole: &Recorded) {
    if let Ok((read, _)) = record::parse(text) {
        assert_eq!((&read.key, &read.started), (&whole.key, &whole.started));
        for (number, completed_part) in &read.parts {
            assert_eq!(whole.parts.get(number), Some(completed_part));
        }
    }
}

#[test]
fn a_record_torn_at_any_byte_has_no_wrong_content_and_can_be_appended_to() {
    let folder = tempfile::tempdir().unwrap();
    let journals = JournalStore::new(folder.path().to_owned());
    let whole = filled(&journals);
    let (path, full) = text(folder.path());
    for length in 0..=full.len() {
        assert_true(&full[..length], &whole);
        std::fs::write(&path, &full[..length]).unwrap();
        let (mut journal, before, _) = open(&journals);
        if let Some(before) = before {
            journal.add_part(7, &completed_part(7), true).unwrap();
            drop(journal);
            let after = open(&journals).1.unwrap();
            assert_eq!(after.parts.len(), before.parts.len() + 1, "torn at {length}");
        }
    }
}

/// Something that is written to a record after it was begun.
#[derive(Debug, Clone, Copy)]
enum Write {
    Part(u32),
    Finalizing,
    NotFinalized,
}

/// What remains of a write that failed: so many thousandths of it.
type Torn = Option<usize>;

fn writes() -> impl proptest::strategy::Strategy<Value = Vec<(Write, Torn)>> {
    use proptest::prelude::*;
    let write = prop_oneof![
        3 => (1u32..50).prop_map(Write::Part),
        1 => Just(Write::Finalizing),
        1 => Just(Write::NotFinalized),
    ];
    proptest::collection::vec((write, proptest::option::of(0usize..1000)), 0..20)
}

/// Writes, or leaves what a disk leaves that becomes full, or a machine that stops, in the middle of it.
fn write(journal: &mut Journal, path: &Path, write: Write, torn: Torn) {
    let before = std::fs::read(path).unwrap();
    match write {
        Write::Part(number) => journal.add_part(number, &completed_part(number), false),
        Write::Finalizing => journal.set_finalizing(true, false),
        Write::NotFinalized => journal.set_finalizing(false, false),
    }
    .unwrap();
    let Some(torn) = torn else { return };
    let mut after = std::fs::read(path).unwrap();
    let first = before.iter().zip(&after).position(|(before, after)| before != after);
    match first {
        // In place.
        Some(first) => {
            let last = before.iter().zip(&after).rposition(|(before, after)| before != after).unwrap();
            let kept = first + (last + 1 - first) * torn / 1000;
            after[kept..].copy_from_slice(&before[kept..]);
        }
        None => {
            after.truncate(before.len() + (after.len() - before.len()) * torn / 1000);
            journal.torn = true;
        }
    }
    std::fs::write(path, after).unwrap();
}

proptest::proptest! {
    #[test]
    fn complete_lines_are_read_whatever_was_torn_before(
        writes in writes(),
        again in proptest::collection::vec(proptest::bool::ANY, 20),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let journals = JournalStore::new(folder.path().to_owned());
        let mut journal = open(&journals).0;
        journal.begin(&started(), &BTreeMap::new(), false, false).unwrap();
        let path = folder.path().join(key().file_name());
        let (mut parts, mut finalizing) = (Vec::new(), Some(false));
        for ((what, torn), again) in writes.into_iter().zip(again) {
            write(&mut journal, &path, what, torn);
            match (what, torn) {
                (Write::Part(number), None) => parts.push(number),
                (Write::Part(_), Some(_)) => {}
                (Write::Finalizing, None) => finalizing = Some(true),
                (Write::NotFinalized, None) => finalizing = Some(false),
                // The one before or this one; and what cannot be read counts as begun.
                (Write::Finalizing, Some(_)) => finalizing = finalizing.filter(|begun| *begun),
                (Write::NotFinalized, Some(_)) => finalizing = finalizing.filter(|begun| !*begun),
            }
            if again {
                drop(journal);
                journal = open(&journals).0;
            }
        }
        drop(journal);
        let recorded = open(&journals).1.unwrap();
        proptest::prop_assert!(parts.iter().all(|number| recorded.parts.contains_key(number)));
        proptest::prop_assert!(recorded.parts.iter().all(|(number, read)| *read == completed_part(*number)));
        if let Some(finalizing) = finalizing {
            proptest::prop_assert_eq!(recorded.finalizing, finalizing);
        }
    }

    #[test]
    fn a_damaged_record_has_no_wrong_content(
        damage in proptest::collection::vec((0usize..2000, 0u8..), 1..12),
        cut in 0usize..2000,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let journals = JournalStore::new(folder.path().to_owned());
        let whole = filled(&journals);
        let mut text = text(folder.path()).1;
        for (at, byte) in damage {
            let at = at % text.len();
            text[at] = byte;
        }
        assert_true(&text, &whole);
        text.drain(..cut % text.len());
        assert_true(&text, &whole);
    }

    #[test]
    fn any_bytes_are_parsed(bytes in proptest::collection::vec(0u8.., 0..300)) {
        proptest::prop_assert!(record::parse(&bytes).is_err());
    }
}
