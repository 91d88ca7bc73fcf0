//! Wildcards in paths of the command line. On Unix the shell expands them; on Windows every program does so itself.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};

use regex::Regex;

/// Expands `*` and `?` in paths on Windows, which does not allow them in names. Paths that match nothing stay as they
/// are. On other systems the shell has done this, and whatever it left is a name.
pub fn expand_wildcards(paths: Vec<OsString>) -> Vec<OsString> {
    match cfg!(windows) {
        true => paths.into_iter().flat_map(expand).collect(),
        false => paths,
    }
}

/// The error of opening a path. Windows calls a name with wildcards invalid; to the user, no file matches it.
pub fn opening_error(path: &Path, error: io::Error) -> io::Error {
    // ERROR_INVALID_NAME, ERROR_FILE_NOT_FOUND.
    match error.raw_os_error() {
        Some(123) if cfg!(windows) && path.components().any(is_pattern) => io::Error::from_raw_os_error(2),
        _ => error,
    }
}

/// Only names count: a path that begins with `\\?\` has no wildcard there.
fn is_pattern(component: Component<'_>) -> bool {
    matches!(component, Component::Normal(name) if name.to_string_lossy().contains(['*', '?']))
}

/// The paths that match, in order of name.
fn expand(pattern: OsString) -> Vec<OsString> {
    let path = Path::new(&pattern);
    if !path.components().any(is_pattern) || path.symlink_metadata().is_ok() {
        return vec![pattern];
    }
    let mut found = vec![PathBuf::new()];
    for component in path.components() {
        match component {
            Component::Normal(name) if is_pattern(component) => {
                found = found.iter().flat_map(|directory| matches(directory, name)).collect();
            }
            _ => found.iter_mut().for_each(|path| path.push(component)),
        }
    }
    // `photos*/` stands for the contents of directories, as `photos/` does.
    if pattern.to_string_lossy().ends_with(std::path::is_separator) {
        found.retain(|path| path.is_dir());
        found.iter_mut().for_each(|path| path.push(""));
    }
    found.retain(|path| path.symlink_metadata().is_ok());
    match found.is_empty() {
        true => vec![pattern],
        false => found.into_iter().map(PathBuf::into_os_string).collect(),
    }
}

/// The entries of a directory whose names match, in order. Windows does not distinguish upper and lower case.
fn matches(directory: &Path, pattern: &OsStr) -> Vec<PathBuf> {
    let pattern: String = pattern
        .to_string_lossy()
        .to_lowercase()
        .chars()
        .map(|c| match c {
            '*' => ".*".to_owned(),
            '?' => ".".to_owned(),
            c => regex::escape(c.encode_utf8(&mut [0; 4])),
        })
        .collect();
    // Too long to be a name.
    let Ok(pattern) = Regex::new(&format!("(?s)^{pattern}$")) else { return Vec::new() };
    let listed = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    // A directory that cannot be read has no matches, as in a shell.
    let entries = std::fs::read_dir(listed).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name())
        .filter(|name| pattern.is_match(&name.to_string_lossy().to_lowercase()))
        .collect();
    names.sort();
    names.into_iter().map(|name| directory.join(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_names_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.JPG", "a.jpg", "c[1].png", ".hidden.jpg", "2025/x.txt", "2026/x.txt", "2026/yy.txt"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        for (pattern, found) in [
            ("*.jpg", &[".hidden.jpg", "a.jpg", "b.JPG"][..]),
            ("?.jpg", &["a.jpg", "b.JPG"]),
            ("c[1]*", &["c[1].png"]),
            ("[ab].jp?", &["[ab].jp?"]),
            ("20??/x.txt", &["2025/x.txt", "2026/x.txt"]),
            ("*/yy.*", &["2026/yy.txt"]),
            ("*/", &["2025/", "2026/"]),
            ("./a*", &["./a.jpg"]),
            ("*.gif", &["*.gif"]),
            ("a.jpg", &["a.jpg"]),
        ] {
            let expected: Vec<_> = found.iter().map(|path| folder.path().join(path)).collect();
            let pattern = folder.path().join(pattern);
            let paths = expand(pattern.into_os_string());
            assert_eq!(paths.iter().map(PathBuf::from).collect::<Vec<_>>(), expected);
        }
    }
}
