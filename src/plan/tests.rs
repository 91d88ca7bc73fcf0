use std::path::Path;

use super::*;

fn selection(paths: &[&Path]) -> Selection {
    Selection {
        paths: paths.iter().map(|path| path.as_os_str().to_owned()).collect(),
        recursive: true,
        relative: false,
        follow_symlinks: false,
        filters: Filters::default(),
        destination: Destination { parent: Some("p".into()), ..Destination::default() },
    }
}

fn only(selection: Selection) -> Planned {
    let mut steps: Vec<Step> = steps(selection, None).collect();
    assert_eq!(steps.len(), 1, "{steps:?}");
    match steps.remove(0) {
        Step::File(planned) => planned,
        other => panic!("{other:?}"),
    }
}

fn plan(path: &Path) -> Result<Job, Error> {
    only(Selection { recursive: false, ..selection(&[path]) }).job
}

/// A tree as lines, sorted: folders with a `/` behind them, failures with `!`, warnings with `?`.
fn tree(selection: Selection) -> Vec<String> {
    fn place(at: &Parent) -> String {
        match at {
            Parent::Existing(id) => id.clone().unwrap_or_default(),
            Parent::New(folder) => format!("{}/{}", place(&folder.parent), folder.name),
        }
    }
    let mut lines: Vec<String> = steps(selection, None)
        .map(|step| match step {
            Step::Folder(folder) => format!("{}/", place(&Parent::New(folder))),
            Step::File(Planned { job: Ok(job), .. }) => format!("{}/{}", place(&job.parent), job.name),
            Step::File(Planned { shown, job: Err(error) }) => format!("!{shown}: {error}"),
            Step::Warning { shown, .. } => format!("?{shown}"),
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn a_file_becomes_a_job() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("re\u{301}sume\u{301}.txt");
    std::fs::write(&path, "hello").unwrap();
    let Planned { shown, job } = only(selection(&[&path]));
    let job = job.unwrap();
    assert_eq!(
        (job.name.as_str(), job.size, job.parent),
        ("résumé.txt", Some(5), Parent::Existing(Some("p".into())))
    );
    assert_eq!((shown.as_str(), job.warnings), (path.to_str().unwrap(), Vec::new()));
}

#[test]
fn a_plan_is_a_line_of_json() {
    let line =
        dry_run_line("d/a", "a", &Parent::Existing(None), "text/plain", &Parts::plan(5, None).unwrap())
            .unwrap();
    assert_eq!(
        line,
        r#"{"path":"d/a","name":"a","size":5,"mime_type":"text/plain","part_size":5242880,"parts":1}"#
    );
}

#[test]
fn a_given_name_and_type_are_taken() {
    let file = tempfile::Builder::new().suffix(".txt").tempfile().unwrap();
    let mut selection = selection(&[file.path()]);
    selection.destination.name = Some("a.pdf".into());
    selection.destination.mime_type = Some("x/y".into());
    let job = only(selection).job.unwrap();
    assert_eq!((job.name.as_str(), job.mime_type.as_deref()), ("a.pdf", Some("x/y")));
}

#[test]
fn what_is_no_file_says_so_with_its_own_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    for (path, exit) in [
        (dir.path().to_owned(), 2),
        (dir.path().join(".."), 2),
        (PathBuf::from("/"), 2),
        (PathBuf::from("-"), 2),
        (dir.path().join("missing"), 8),
    ] {
        let error = plan(&path).unwrap_err();
        assert_eq!(error.exit_code(), exit, "{path:?}: {error}");
    }
    assert!(plan(dir.path()).unwrap_err().hint().unwrap().starts_with("-r "));
}

#[test]
fn a_directory_becomes_a_folder_and_with_a_slash_its_contents_go_to_the_target() {
    let dir = tempfile::tempdir().unwrap();
    let photos = dir.path().join("photos");
    std::fs::create_dir_all(photos.join("2024/empty")).unwrap();
    for name in [".hidden", "2024/a.jpg", "b.jpg"] {
        std::fs::write(photos.join(name), name).unwrap();
    }
    let whole = [
        "p/photos/",
        "p/photos/.hidden",
        "p/photos/2024/",
        "p/photos/2024/a.jpg",
        "p/photos/2024/empty/",
        "p/photos/b.jpg",
    ];
    assert_eq!(tree(selection(&[&photos])), whole);
    let contents: Vec<String> = whole[1..].iter().map(|line| line.replacen("p/photos/", "p/", 1)).collect();
    for end in ["", ".", "./", "../photos/", "2024/.."] {
        let path = PathBuf::from(format!("{}/{end}", photos.display()));
        assert_eq!(tree(selection(&[&path])), contents, "{path:?}");
    }
}

#[test]
fn with_an_include_folders_come_with_their_files_and_an_excluded_one_is_not_entered() {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["d/a", "d/b", "d/c"] {
        std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        std::fs::write(dir.path().join(folder).join("x.jpg"), "").unwrap();
        std::fs::write(dir.path().join(folder).join("y.txt"), "").unwrap();
    }
    let root = dir.path().join("d");
    let filtered = |filters: &[filter::Filter]| {
        tree(Selection { filters: Filters::new(Vec::new(), filters.to_vec()), ..selection(&[&root]) })
    };
    let (include, exclude) =
        (|g| filter::Filter::include(g).unwrap(), |g| filter::Filter::exclude(g).unwrap());
    assert_eq!(filtered(&[include("*.jpg"), exclude("b")]), ["p/d/a/x.jpg", "p/d/c/x.jpg"]);
    assert_eq!(
        filtered(&[exclude("*.jpg"), exclude("/b"), exclude("c/")]),
        ["p/d/", "p/d/a/", "p/d/a/y.txt"]
    );
}

#[cfg(unix)]
#[test]
fn odd_entries_of_a_directory_are_reported_and_the_others_are_uploaded() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("d");
    std::fs::create_dir_all(root.join("deep")).unwrap();
    std::fs::write(dir.path().join("outside"), "").unwrap();
    std::fs::write(root.join("file"), "").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    for (link, to) in [("dangling", "nowhere"), ("out", "../outside"), ("deep/loop", "../../d")] {
        std::os::unix::fs::symlink(to, root.join(link)).unwrap();
    }
    let shown = |name: &str| root.join(name).display().to_string();
    let mut expected = vec![
        format!("!{}: is a socket, not a regular file", shown("socket")),
        format!("?{}", shown("dangling")),
        format!("?{}", shown("deep/loop")),
        format!("?{}", shown("out")),
        "p/d/".into(),
        "p/d/deep/".into(),
        "p/d/file".into(),
    ];
    assert_eq!(tree(selection(&[&root])), expected);

    expected[1..4].clone_from_slice(&[
        format!("!{}: could not read it", shown("dangling")),
        format!(
            "!{}: is a link to {}, a directory that contains it: a loop",
            shown("deep/loop"),
            root.display()
        ),
        "p/d/out".into(),
    ]);
    expected.sort();
    assert_eq!(tree(Selection { follow_symlinks: true, ..selection(&[&root]) }), expected);
}

#[cfg(unix)]
#[test]
fn special_files_are_told_without_being_opened() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    let status = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(status.success());
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    for (path, words) in [
        (fifo, "is a FIFO, not a regular file"),
        (dir.path().join("socket"), "is a socket, not a regular file"),
        (PathBuf::from("/dev/null"), "is a device, not a regular file"),
    ] {
        let error = plan(&path).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.exit_code()), (words, 8));
    }
}

#[cfg(unix)]
#[test]
fn links_that_are_given_are_followed_and_keep_their_own_name() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("target"), "12345").unwrap();
    std::os::unix::fs::symlink("target", dir.path().join("link")).unwrap();
    std::os::unix::fs::symlink("nowhere", dir.path().join("dangling")).unwrap();
    let job = plan(&dir.path().join("link")).unwrap();
    assert_eq!((job.name.as_str(), job.size), ("link", Some(5)));
    let error = plan(&dir.path().join("dangling")).unwrap_err();
    assert!(error.to_string().contains("the link points to") && error.exit_code() == 8);

    std::fs::create_dir(dir.path().join("real")).unwrap();
    std::fs::write(dir.path().join("real/f"), "").unwrap();
    std::os::unix::fs::symlink("real", dir.path().join("album")).unwrap();
    assert_eq!(tree(selection(&[&dir.path().join("album")])), ["p/album/", "p/album/f"]);
}

// Other systems' file systems do not take such a name.
#[cfg(target_os = "linux")]
#[test]
fn undecodable_names_are_escaped_with_a_warning() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let odd = OsStr::from_bytes(b"a\xff.txt");
    std::fs::create_dir(dir.path().join("d")).unwrap();
    std::fs::write(dir.path().join("d").join(odd), "x").unwrap();
    let Planned { shown, job } = only(selection(&[&dir.path().join("d").join(odd)]));
    let job = job.unwrap();
    assert_eq!((job.name.as_str(), job.warnings.len()), ("a%FF.txt", 1));
    assert!(shown.ends_with("/d/a%FF.txt"));
    assert_eq!(tree(selection(&[&dir.path().join("d")])), ["p/d/", "p/d/a%FF.txt"]);
}

#[test]
fn to_is_a_path_of_folders_below_the_parent() {
    let file = tempfile::Builder::new().prefix("f").tempfile().unwrap();
    let mut selection = selection(&[file.path()]);
    selection.destination.to = vec!["Reports".into(), "2026".into()];
    let job = only(selection).job.unwrap();
    let folders: Vec<_> = job.parent.folders().map(|folder| (&*folder.name, &*folder.shown)).collect();
    assert_eq!(folders, [("2026", "--to Reports/2026"), ("Reports", "--to Reports")]);
    assert_eq!(job.parent.existing_id(), Some("p"));
    let line = dry_run_line("f", "f", &job.parent, "text/plain", &Parts::plan(5, None).unwrap()).unwrap();
    assert!(line.contains(r#""name":"f","to":"Reports/2026","size":5"#), "{line}");
}

#[test]
fn only_a_path_below_the_working_directory_keeps_its_directories() {
    for good in ["a", "a/b", "./a/./b", "a//b/", ".", "a..b/...c"] {
        assert!(check_relative(Path::new(good)).is_ok(), "{good}");
    }
    for (bad, why) in [("/a", "absolute"), ("a/../b", "`..`"), ("..", "`..`"), ("/", "absolute")] {
        let error = check_relative(Path::new(bad)).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains(why), "{bad}: {error}");
    }
}
