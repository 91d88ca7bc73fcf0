//! `--include` and `--exclude`: which files to upload.

use std::path::Path;

use globset::{Glob, GlobBuilder};
use regex::Regex;
use unicode_normalization::UnicodeNormalization as _;

use super::name;

/// One glob from the command line.
#[derive(Debug, Clone)]
pub struct Filter {
    /// The glob as typed.
    glob: String,
    regex: Regex,
    includes: bool,
    /// The glob has a `/`: it matches the path below the given directory, not a name at any depth.
    matches_path: bool,
    /// The glob ends with `/`: it matches directories only.
    directories_only: bool,
}

/// All filters, in the order given. The last match wins.
#[derive(Debug, Clone, Default)]
pub struct Filters {
    all: Vec<Filter>,
    /// Exclude entries that no filter matches.
    selective: bool,
}

impl Filter {
    /// Parses an `--include` glob.
    /// The error is the reason why the glob is invalid.
    pub fn include(glob: &str) -> Result<Self, String> {
        Self::new(glob, true)
    }

    /// Parses an `--exclude` glob.
    /// The error is the reason why the glob is invalid.
    pub fn exclude(glob: &str) -> Result<Self, String> {
        Self::new(glob, false)
    }

    fn new(glob: &str, includes: bool) -> Result<Self, String> {
        // In a glob `\` escapes: `build\*.o` is the name `build*.o`, which Windows does not allow, so the user means a
        // directory.
        if std::path::is_separator('\\') && glob.contains('\\') {
            return Err("globs separate directories with / on Windows too, not with \\".to_owned());
        }
        let anchored = glob.strip_prefix("./").or(glob.strip_prefix('/'));
        let below = anchored.unwrap_or(glob);
        let pattern = below.strip_suffix('/').unwrap_or(below);
        let nothing = || "it matches nothing: a glob is a name or a path, such as *.jpg or /build".to_owned();
        // No component of a path below a directory looks like this.
        if pattern.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(nothing());
        }
        // Names are sent in NFC, but macOS returns them in NFD, so both sides are normalized before they are compared.
        let composed: String = pattern.nfc().collect();
        let parsed = GlobBuilder::new(&composed)
            .literal_separator(true)
            // Where `\` does not separate directories.
            .backslash_escape(true)
            .build()
            .map_err(|error| error.kind().to_string())?;
        // globset translates `[/]` to this. A name has no `/`, so the glob would match nothing.
        if parsed.regex().contains(r"[^\s\S]") {
            return Err(nothing());
        }
        let regex = Regex::new(&unicode_regex(&parsed)).map_err(|error| error.to_string())?;
        Ok(Self {
            glob: glob.to_owned(),
            regex,
            includes,
            matches_path: anchored.is_some() || pattern.contains('/'),
            directories_only: below.ends_with('/'),
        })
    }

    fn matches(&self, path: &str, is_dir: bool) -> bool {
        if self.directories_only && !is_dir {
            return false;
        }
        let name = path.rsplit('/').next().unwrap_or(path);
        self.regex.is_match(if self.matches_path { path } else { name })
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        (&self.glob, self.includes) == (&other.glob, other.includes)
    }
}

impl Filters {
    /// Combines the globs of a profile and those of the command line, which come later. If either begins with an include,
    /// entries that no glob matches are excluded.
    pub fn new(profile: Vec<Filter>, command_line: Vec<Filter>) -> Self {
        let begins = |filters: &[Filter]| filters.first().is_some_and(|first| first.includes);
        let selective = begins(&profile) || begins(&command_line);
        Self { all: profile.into_iter().chain(command_line).collect(), selective }
    }

    /// The globs as typed, each with whether it is an include.
    pub fn typed(&self) -> impl Iterator<Item = (&str, bool)> {
        self.all.iter().map(|filter| (filter.glob.as_str(), filter.includes))
    }

    /// Whether to upload an entry, given its path below the given directory (for a given file: its name).
    ///
    /// For a directory: whether to create its folder even if nothing in it is uploaded.
    pub fn includes(&self, below: &Path, is_dir: bool) -> bool {
        self.last_match(below, is_dir).unwrap_or(!self.selective)
    }

    /// Whether to walk into a directory. Entries in it may match even if the directory itself does not.
    pub fn enters(&self, below: &Path) -> bool {
        self.last_match(below, true) != Some(false)
    }

    /// Whether the last filter that matches includes the entry. A filter that matches a directory applies to everything in it.
    fn last_match(&self, below: &Path, is_dir: bool) -> Option<bool> {
        if self.all.is_empty() {
            return None;
        }
        // Compares names as they are sent, with `/` on every system.
        let names: Vec<String> = below.iter().map(|part| name::sent(part).0).collect();
        let path = names.join("/");
        let matches = |filter: &&Filter| {
            let directories = path.match_indices('/').map(|(end, _)| &path[..end]);
            filter.matches(&path, is_dir) || directories.into_iter().any(|dir| filter.matches(dir, true))
        };
        self.all.iter().rev().find(matches).map(|filter| filter.includes)
    }
}

/// Turns the glob's regular expression into one over characters. globset's expression matches bytes and has each byte of
/// a non-ASCII character as `\xHH`: `?` would match half of an `é`, and `[é]` would never match.
fn unicode_regex(glob: &Glob) -> String {
    let mut over_bytes = glob.regex().trim_start_matches("(?-u)").chars();
    let mut regex = b"(?s)".to_vec();
    while let Some(c) = over_bytes.next() {
        match (c, over_bytes.as_str().get(..3)) {
            ('\\', Some(hex)) if hex.starts_with('x') => {
                // globset always writes two hex digits.
                regex.extend(u8::from_str_radix(&hex[1..], 16));
                over_bytes.nth(2);
            }
            ('\\', _) => {
                regex.push(b'\\');
                regex.extend(over_bytes.next().map(String::from).unwrap_or_default().bytes());
            }
            _ => regex.extend(String::from(c).bytes()),
        }
    }
    String::from_utf8_lossy(&regex).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Globs, with a `-` before those that exclude.
    fn filters(globs: &[&str]) -> Filters {
        let filter = |glob: &&str| match glob.strip_prefix('-') {
            Some(glob) => Filter::exclude(glob).unwrap(),
            None => Filter::include(glob).unwrap(),
        };
        Filters::new(Vec::new(), globs.iter().map(filter).collect())
    }

    #[test]
    fn the_last_match_wins_and_the_first_filter_says_what_happens_to_the_rest() {
        for (globs, path, sent) in [
            (&[][..], ".hidden", true),
            (&["*.jpg"], "a/b.jpg", true),
            (&["*.jpg"], "a/b.png", false),
            (&["-*.png"], "a/b.png", false),
            (&["-*.png"], "a/b.jpg", true),
            (&["*.jpg", "-secret*"], "secret.jpg", false),
            (&["*.jpg", "-secret*"], "b.png", false),
            (&["-secret*", "*.jpg"], "secret.jpg", true),
            (&["-*.log", "keep.log"], "keep.log", true),
            (&["-*.log", "keep.log"], "b.png", true),
            // A glob without `/` matches a name at any depth, one with it the path below the directory.
            (&["-b"], "a/b", false),
            (&["-/b"], "a/b", true),
            (&["-/b"], "b", false),
            (&["-./b"], "b", false),
            (&["-./b"], "a/b", true),
            (&["a/*.txt"], "a/x.txt", true),
            (&["a/*.txt"], "a/b/x.txt", false),
            (&["a/**/*.txt"], "a/b/x.txt", true),
            (&["a/*.txt"], "c/a/x.txt", false),
            (&["*"], "a/b/c", true),
            // One that matches a directory holds for all in it, until a later one says otherwise.
            (&["photos"], "photos/2026/a.jpg", true),
            (&["photos", "-*.tmp"], "photos/2026/a.tmp", false),
            (&["photos/2025"], "photos/2026/a.jpg", false),
            (&["-build", "build/keep"], "build/keep", true),
            (&["-build/"], "a/build/x", false),
            (&["-build/"], "a/build", true),
        ] {
            assert_eq!(filters(globs).includes(Path::new(path), false), sent, "{globs:?} {path}");
        }
    }

    #[test]
    fn the_globs_of_a_profile_come_before_those_of_the_command_line() {
        let filter = |glob: &str| filters(&[glob]).all;
        for (profile, command_line, path, sent) in [
            ("-*.tmp", "-*.log", "a.tmp", false),
            ("-*.tmp", "a.tmp", "a.tmp", true),
            // Whichever begins with an include leaves out the rest.
            ("-*.tmp", "*.jpg", "a.png", false),
            ("-*.tmp", "*.jpg", "a.jpg", true),
            ("*.jpg", "-b.jpg", "a.png", false),
            ("*.jpg", "-b.jpg", "a.jpg", true),
            ("*.jpg", "-b.jpg", "b.jpg", false),
        ] {
            let filters = Filters::new(filter(profile), filter(command_line));
            assert_eq!(filters.includes(Path::new(path), false), sent, "{profile} {command_line} {path}");
        }
    }

    #[test]
    fn a_glob_is_a_glob_and_no_line_of_gitignore() {
        for (glob, matching, other) in [
            ("notes ", "notes ", "notes"),
            (" notes", " notes", "notes"),
            (" ", " ", "x"),
            ("notes\t", "notes\t", "notes"),
            ("notes\r", "notes\r", "notes"),
            ("notes\n", "notes\n", "notes"),
            ("#x", "#x", "y"),
            ("!x", "!x", "x"),
            ("[!x]", "a", "x"),
            ("{a,b}.txt", "b.txt", "c.txt"),
            ("Cafe\u{301}*", "Caf\u{e9}.txt", "Cafe.txt"),
            ("Caf\u{e9}*", "Cafe\u{301}.txt", "Cafe.txt"),
            ("[\u{e9}]", "e\u{301}", "e"),
            ("\u{e4}/?", "a\u{308}/\u{e9}", "a/x"),
            ("caf?", "cafe\u{301}", "caf"),
            ("[a-\u{fc}]", "\u{e9}", "\u{fd}"),
            ("{\u{e9},\u{1F600}}?.txt", "\u{1F600}\u{fc}.txt", "x\u{fc}.txt"),
            ("a?b", "a\nb", "ab"),
            #[cfg(unix)]
            ("\\!x", "!x", "\\!x"),
            #[cfg(unix)]
            ("a\\ ", "a ", "a"),
            #[cfg(unix)]
            ("a\\\\x41", "a\\x41", "aA"),
        ] {
            let (include, exclude) =
                (filters(&[glob]), Filters::new(Vec::new(), vec![Filter::exclude(glob).unwrap()]));
            assert!(include.includes(Path::new(matching), false), "{glob:?} {matching:?}");
            assert!(!exclude.includes(Path::new(matching), false), "{glob:?} {matching:?}");
            assert!(!include.includes(Path::new(other), false), "{glob:?} {other:?}");
            assert!(exclude.includes(Path::new(other), false), "{glob:?} {other:?}");
        }
    }

    #[test]
    fn a_directory_is_entered_unless_it_is_excluded() {
        for (globs, path, entered, made) in [
            (&["*.jpg"][..], "photos", true, false),
            (&["photos"], "photos/a", true, true),
            (&["-photos"], "a/photos", false, false),
            (&["-photos/"], "photos", false, false),
            (&["*.jpg", "-photos"], "photos", false, false),
            (&["-build", "build/keep.txt"], "build", false, false),
            (&["-*.jpg"], "photos", true, true),
        ] {
            assert_eq!(filters(globs).enters(Path::new(path)), entered, "{globs:?} {path}");
            assert_eq!(filters(globs).includes(Path::new(path), true), made, "{globs:?} {path}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn names_that_are_no_unicode_match_as_they_are_sent() {
        use std::os::unix::ffi::OsStrExt;
        let path = Path::new(std::ffi::OsStr::from_bytes(b"a/\xff.txt"));
        assert!(!filters(&["-*.txt"]).includes(path, false));
        assert!(!filters(&["-%FF.txt"]).includes(path, false));
        assert!(filters(&["-*.jpg"]).includes(path, false));
    }

    #[test]
    fn what_is_no_glob_is_refused() {
        for glob in
            ["", "/", "./", "//", ".", "..", "../a", "a/../b", "a//b", "a/./b", "a[/]b", "a[", "{a", "a\\"]
        {
            assert!(Filter::include(glob).is_err(), "{glob:?}");
            assert!(Filter::exclude(glob).is_err(), "{glob:?}");
        }
    }
}
