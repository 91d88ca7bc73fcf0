use super::*;
use crate::options::IfExists;

fn run_key() -> RunKey {
    RunKey {
        api: "https://api".into(),
        account: "a".into(),
        parent: None,
        to: Vec::new(),
        name: None,
        paths: vec!["p".into()],
        list: None,
        directory: None,
        recursive: true,
        relative: false,
        follow_symlinks: false,
        filters: Vec::new(),
        if_exists: IfExists::Upload,
    }
}

fn file_key(path: &str) -> FileKey {
    FileKey { path: path.into(), target: vec![path.into()] }
}

fn finished(path: &str, id: u32) -> FinishedFile {
    let item = RawValue::from_string(format!(r#"{{"_id":"{id}","name":"{path}" }}"#)).unwrap();
    let identity = Identity { id: None, size: 7, mtime: 1, ctime: Some(i128::MAX) };
    let etag = Some("e-1".into());
    FinishedFile { key: file_key(path), identity, part_size: 5, etag, parent: Some("f".into()), item }
}

fn taken(record: &RunRecord, path: &str) -> Option<String> {
    record.take(&file_key(path)).map(|finished| finished.item.get().to_owned())
}

#[test]
fn the_next_run_takes_each_entry_once_and_the_latest_first() {
    let folder = tempfile::tempdir().unwrap();
    let record = RunRecord::open(folder.path(), &run_key()).unwrap();
    assert!(record.is_empty());
    for (path, id) in [("a", 1), ("b", 2), ("a", 3)] {
        record.add(&finished(path, id)).unwrap();
    }
    assert_eq!(taken(&record, "a"), None, "this run does not repeat its own");
    drop(record);
    let record = RunRecord::open(folder.path(), &run_key()).unwrap();
    assert!(!record.is_empty());
    let ids: Vec<_> = ["a", "a", "a", "b", "c"].iter().map(|path| taken(&record, path)).collect();
    let item = |path: &str, id: u32| Some(format!(r#"{{"_id":"{id}","name":"{path}" }}"#));
    assert_eq!(ids, [item("a", 3), item("a", 1), None, item("b", 2), None]);
    assert_eq!(
        record.take(&FileKey { target: vec!["x".into(), "b".into()], ..file_key("b") }).map(drop),
        None
    );
    RunRecord::remove(folder.path(), &run_key());
    drop(record);
    assert!(RunRecord::open(folder.path(), &run_key()).unwrap().is_empty());
}

#[test]
fn an_empty_record_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    drop(RunRecord::open(folder.path(), &run_key()).unwrap());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

proptest::proptest! {
    #[test]
    fn a_line_cut_anywhere_does_not_affect_others(keep in 0_usize..200) {
        let folder = tempfile::tempdir().unwrap();
        let record = RunRecord::open(folder.path(), &run_key()).unwrap();
        record.add(&finished("a", 1)).unwrap();
        let before = lock(&record.lock).file.metadata().unwrap().len();
        record.add(&finished("b", 2)).unwrap();
        let whole = lock(&record.lock).file.metadata().unwrap().len();
        let cut = (before + keep as u64).min(whole - 1);
        lock(&record.lock).file.set_len(cut).unwrap();
        record.add(&finished("c", 3)).unwrap();
        drop(record);
        let record = RunRecord::open(folder.path(), &run_key()).unwrap();
        let found = ["a", "b", "c"].map(|path| taken(&record, path).is_some());
        proptest::prop_assert_eq!(found, [true, cut == whole - 1 && found[1], true]);
    }
}
