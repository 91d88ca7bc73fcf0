use super::*;

fn binding() -> Binding {
    Binding { api: "a".into(), account: "b".into(), parent: None, name: "n".into(), path: "/p".into() }
}

fn identity() -> Identity {
    Identity { id: None, size: 30, mtime: 4, ctime: Some(5) }
}

fn receipt(number: u32) -> Receipt {
    let etag = Etag::from(format!("{number:032x}"));
    Receipt { etag: etag.clone(), md5: Some(etag) }
}

type Opened = (Journal, Option<Recorded>, Option<String>);

/// Another test that starts a process holds a copy of every lock until that process runs.
fn open(journals: &Journals) -> Opened {
    loop {
        match journals.open(binding()) {
            Err(OpenError::Busy(_)) => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

fn filled(journals: &Journals) -> Recorded {
    let (mut journal, recorded, warning) = open(journals);
    assert!(recorded.is_none() && warning.is_none());
    let upload = Upload { upload_id: "u".into(), file_key: "k".into() };
    journal.begin(identity(), 10, upload, 99, true).unwrap();
    for number in [2, 1, 3] {
        journal.part(number, &receipt(number), true).unwrap();
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
fn what_was_recorded_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let journals = Journals::new(folder.path().join("a/b"));
    let recorded = filled(&journals);
    assert_eq!(recorded.parts.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(recorded.parts[&3], receipt(3));
    assert_eq!((recorded.head.started, recorded.finalizing), (99, false));

    let (mut journal, ..) = open(&journals);
    journal.finalizing(true).unwrap();
    journal.compared(Identity { mtime: 7, ..identity() }).unwrap();
    drop(journal);
    let (journal, recorded, _) = open(&journals);
    let recorded = recorded.unwrap();
    assert!(recorded.finalizing && recorded.head.identity.mtime == 7);
    drop(journal);
    let (mut journal, ..) = open(&journals);
    journal.not_finalized(true).unwrap();
    drop(journal);
    let (journal, recorded, _) = open(&journals);
    assert!(!recorded.unwrap().finalizing);
    journal.remove();
    assert!(open(&journals).1.is_none());
}

#[test]
fn a_record_in_use_is_busy_and_another_bindings_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let journals = Journals::new(folder.path().to_owned());
    let held = open(&journals);
    assert!(matches!(journals.open(binding()), Err(OpenError::Busy(_))));
    assert!(journals.open(Binding { name: "other".into(), ..binding() }).is_ok());
    drop(held);
    open(&journals);
}

#[cfg(unix)]
#[test]
fn only_the_user_may_read_a_record() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let journals = Journals::new(folder.path().join("state"));
    filled(&journals);
    let (path, _) = text(&folder.path().join("state"));
    assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_record_of_another_version_is_a_warning_and_a_new_start() {
    let folder = tempfile::tempdir().unwrap();
    let journals = Journals::new(folder.path().to_owned());
    let mut recorded = filled(&journals);
    recorded.head.format = 2;
    let (path, _) = text(folder.path());
    std::fs::write(path, line(&Entry::Head(recorded.head)).unwrap()).unwrap();
    let (_, recorded, warning) = open(&journals);
    assert!(recorded.is_none() && warning.is_some());
}

#[test]
fn old_records_are_cleaned_away_and_held_ones_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let journals = Journals::new(folder.path().to_owned());
    filled(&journals);
    journals.clean(SystemTime::now());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let later = SystemTime::now() + KEPT + Duration::from_secs(60);
    let held = open(&journals);
    journals.clean(later);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    drop(held);
    journals.clean(later);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Whatever remains of a record, what is read from it is true: the same upload, and parts that were
/// recorded with just these receipts.
fn assert_true(text: &[u8], whole: &Recorded) {
    if let Ok(Some(read)) = read(text, &binding()) {
        assert_eq!(read.head, whole.head);
        for (number, receipt) in &read.parts {
            assert_eq!(whole.parts.get(number), Some(receipt));
        }
    }
}

#[test]
fn a_record_torn_at_any_byte_says_nothing_wrong_and_can_be_added_to() {
    let folder = tempfile::tempdir().unwrap();
    let journals = Journals::new(folder.path().to_owned());
    let whole = filled(&journals);
    let (path, full) = text(folder.path());
    for length in 0..=full.len() {
        assert_true(&full[..length], &whole);
        std::fs::write(&path, &full[..length]).unwrap();
        let (mut journal, before, _) = open(&journals);
        if let Some(before) = before {
            journal.part(7, &receipt(7), true).unwrap();
            drop(journal);
            let after = open(&journals).1.unwrap();
            assert_eq!(after.parts.len(), before.parts.len() + 1, "torn at {length}");
        }
    }
}

proptest::proptest! {
    #[test]
    fn a_damaged_record_says_nothing_wrong(
        damage in proptest::collection::vec((0usize..2000, 0u8..), 1..12),
        cut in 0usize..2000,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let journals = Journals::new(folder.path().to_owned());
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
    fn any_bytes_are_taken_for_a_record(bytes in proptest::collection::vec(0u8.., 0..300)) {
        proptest::prop_assert!(!matches!(read(&bytes, &binding()), Ok(Some(_))));
    }
}
