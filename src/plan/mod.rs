//! From paths to jobs: what each file is, what it will be called, how it is cut. Reads the file system (and
//! of a file at most its first bytes), never the network.

pub mod mime;
pub mod name;
pub mod parts;

use std::ffi::OsStr;
use std::fs::{self, FileType};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::settings::{Destination, Settings};

pub use parts::Parts;

/// One file to upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Where it is.
    pub path: PathBuf,
    /// The path as given, undecodable bytes as `%XX`: what messages and reports show.
    pub shown: String,
    /// Its name in the drive.
    pub name: String,
    /// What kind of file it is.
    pub mime_type: String,
    /// Its bytes, when it was looked at.
    pub size: u64,
    /// The folder it goes to; `None`: the drive's root.
    pub parent: Option<String>,
    /// What to warn of before it is sent.
    pub warnings: Vec<String>,
}

/// One PATH of the command line, and what it turned out to be.
#[derive(Debug)]
pub struct Planned {
    /// The path as given, undecodable bytes as `%XX`.
    pub shown: String,
    /// The job, or why there is none.
    pub job: Result<Job, Error>,
}

/// The jobs of a run, one for each PATH in its order. Each is looked at when it is asked for, and one that
/// cannot be uploaded does not stop the others.
pub fn jobs(settings: &Settings) -> impl Iterator<Item = Planned> + '_ {
    settings
        .paths
        .iter()
        .map(|path| Planned { shown: name::decode(path).0, job: job(path, &settings.destination) })
}

/// What one PATH stands for. Errors do not repeat the path.
pub fn job(path: &OsStr, destination: &Destination) -> Result<Job, Error> {
    if path.is_empty() {
        return Err(Error::usage("an empty path names no file"));
    }
    if path == "-" {
        return Err(Error::usage_hint(
            "standard input is not uploaded yet",
            "write it to a file first; a file that is called `-` is given as ./-",
        ));
    }
    let (shown, _) = name::decode(path);
    let path = Path::new(path);
    let size = regular_file(path)?;
    let mut warnings = Vec::new();
    let name = match &destination.name {
        Some(name) => name.clone(),
        None => {
            let own = path
                .file_name()
                .ok_or_else(|| Error::usage("has no file name of its own; give one with --name"))?;
            let (name, lossy) = name::sent(own);
            if lossy {
                warnings.push(format!("the file's name is not valid Unicode; it is sent as {name}"));
            }
            name
        }
    };
    let mime_type = match &destination.mime_type {
        Some(given) => given.clone(),
        None => mime::guess(&name, path, size).map_err(|e| Error::local("open the file", e))?,
    };
    let parent = destination.parent.clone();
    Ok(Job { path: path.to_owned(), shown, name, mime_type, size, parent, warnings })
}

/// The size of what must be a regular file. A link is followed; nothing is opened, since opening a FIFO
/// waits until somebody writes to it, and opening a device can do anything.
fn regular_file(path: &Path) -> Result<u64, Error> {
    let metadata = fs::metadata(path).map_err(|error| {
        let dangling = error.kind() == ErrorKind::NotFound && path.is_symlink();
        Error::local(if dangling { "open the file that the link points to" } else { "open the file" }, error)
    })?;
    let kind = metadata.file_type();
    if kind.is_file() {
        Ok(metadata.len())
    } else if kind.is_dir() {
        Err(Error::usage_hint("is a directory, and directories are not uploaded yet", "give the files in it"))
    } else {
        Err(Error::NotAFile { kind: special(kind) })
    }
}

#[cfg(unix)]
fn special(kind: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_block_device() || kind.is_char_device() {
        "a device"
    } else {
        "something special"
    }
}

#[cfg(not(unix))]
fn special(_: FileType) -> &'static str {
    "something special"
}

/// The line of `--dry-run` for one job: JSON, without a line break.
pub fn dry_run_line(job: &Job, parts: &Parts) -> Result<String, Error> {
    #[derive(serde::Serialize)]
    struct Line<'a> {
        path: &'a str,
        name: &'a str,
        size: u64,
        mime_type: &'a str,
        part_size: u64,
        parts: u32,
    }
    let line = Line {
        path: &job.shown,
        name: &job.name,
        size: parts.size,
        mime_type: &job.mime_type,
        part_size: parts.part_size,
        parts: parts.count,
    };
    serde_json::to_string(&line)
        .map_err(|e| Error::Internal(format!("the plan cannot be written as JSON: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(path: impl AsRef<Path>) -> Result<Job, Error> {
        job(path.as_ref().as_os_str(), &Destination::default())
    }

    #[test]
    fn a_file_becomes_a_job() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("re\u{301}sume\u{301}.txt");
        std::fs::write(&path, "hello").unwrap();
        let destination = Destination { parent: Some("p".into()), ..Destination::default() };
        let job = job(path.as_os_str(), &destination).unwrap();
        assert_eq!(
            (job.name.as_str(), job.size, job.mime_type.as_str(), job.parent.as_deref()),
            ("résumé.txt", 5, "text/plain", Some("p"))
        );
        assert_eq!(job.shown, path.to_str().unwrap());
        assert_eq!(job.warnings, [""; 0]);

        let line = dry_run_line(&job, &Parts::plan(5, None).unwrap()).unwrap();
        let expected = format!(
            r#"{{"path":{},"name":"résumé.txt","size":5,"mime_type":"text/plain","part_size":5242880,"parts":1}}"#,
            serde_json::to_string(&job.shown).unwrap()
        );
        assert_eq!(line, expected);
    }

    #[test]
    fn a_given_name_and_type_are_taken() {
        let file = tempfile::Builder::new().suffix(".txt").tempfile().unwrap();
        let destination = Destination {
            name: Some("a.pdf".into()),
            mime_type: Some("x/y".into()),
            ..Destination::default()
        };
        let job = job(file.path().as_os_str(), &destination).unwrap();
        assert_eq!((job.name.as_str(), job.mime_type.as_str()), ("a.pdf", "x/y"));
    }

    #[test]
    fn what_is_no_file_says_so_with_its_own_exit_code() {
        let dir = tempfile::tempdir().unwrap();
        for (path, exit) in [
            (dir.path().to_owned(), 2),
            (dir.path().join(".."), 2),
            (PathBuf::from("/"), 2),
            (PathBuf::from(""), 2),
            (PathBuf::from("-"), 2),
            (dir.path().join("missing"), 8),
        ] {
            let error = plan(&path).unwrap_err();
            assert_eq!(error.exit_code(), exit, "{path:?}: {error}");
        }
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
    fn links_are_followed_and_keep_their_own_name() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("target"), "12345").unwrap();
        std::os::unix::fs::symlink("target", dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("dangling")).unwrap();
        let job = plan(dir.path().join("link")).unwrap();
        assert_eq!((job.name.as_str(), job.size), ("link", 5));
        let error = plan(dir.path().join("dangling")).unwrap_err();
        assert!(error.to_string().contains("the link points to") && error.exit_code() == 8);
    }

    // Other systems' file systems do not take such a name.
    #[cfg(target_os = "linux")]
    #[test]
    fn undecodable_names_are_escaped_with_a_warning() {
        use std::os::unix::ffi::OsStrExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(OsStr::from_bytes(b"a\xff.txt"));
        std::fs::write(&path, "x").unwrap();
        let job = plan(&path).unwrap();
        assert_eq!(
            (job.name.as_str(), job.mime_type.as_str(), job.path.as_path()),
            ("a%FF.txt", "text/plain", &*path)
        );
        assert!(job.shown.ends_with("/a%FF.txt"));
        assert_eq!(job.warnings.len(), 1);
    }
}
