//! `--include` and `--exclude`: which entries of a directory are sent. The globs are gitignore's, as ripgrep's
//! `-g` has them.

use std::path::Path;

use ignore::overrides::{Override, OverrideBuilder};

/// One glob of the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    glob: String,
    /// What matches is sent; else it is not.
    includes: bool,
}

/// All globs, in their order: the last that matches wins.
#[derive(Debug, Clone)]
pub struct Filters(Override);

impl Filter {
    /// An `--include`.
    ///
    /// # Errors
    /// What is wrong with the glob.
    pub fn include(glob: &str) -> Result<Self, String> {
        Self::checked(glob, true)
    }

    /// An `--exclude`.
    ///
    /// # Errors
    /// What is wrong with the glob.
    pub fn exclude(glob: &str) -> Result<Self, String> {
        Self::checked(glob, false)
    }

    fn checked(glob: &str, includes: bool) -> Result<Self, String> {
        let glob = match glob.strip_prefix("./") {
            Some(below) => format!("/{below}"),
            None => glob.to_owned(),
        };
        if glob.trim_matches('/').trim().is_empty() {
            return Err("it matches nothing: a glob is a name or a path, such as *.jpg or /build".to_owned());
        }
        let filter = Self { glob, includes };
        Filters::new(std::slice::from_ref(&filter))?;
        Ok(filter)
    }

    /// As a line of gitignore, in which `!` and `#` at the beginning have a meaning of their own.
    fn line(&self) -> String {
        match self.includes {
            true if self.glob.starts_with(['!', '#']) => format!("\\{}", self.glob),
            true => self.glob.clone(),
            false => format!("!{}", self.glob),
        }
    }
}

impl Filters {
    /// Filters by these globs.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub fn new(filters: &[Filter]) -> Result<Self, String> {
        let mut globs = OverrideBuilder::new("");
        for filter in filters {
            globs.add(&filter.line()).map_err(|error| error.to_string())?;
        }
        globs.build().map(Self).map_err(|error| error.to_string())
    }

    /// Whether an entry is sent, or, of a directory, entered: by its path below the given directory.
    pub fn admit(&self, below: &Path, is_dir: bool) -> bool {
        !self.0.matched(below, is_dir).is_ignore()
    }

    /// Whether only what an include matches is sent.
    pub fn are_choosy(&self) -> bool {
        self.0.num_whitelists() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(globs: &[&str]) -> Filters {
        let filter = |glob: &&str| match glob.strip_prefix('-') {
            Some(glob) => Filter::exclude(glob).unwrap(),
            None => Filter::include(glob).unwrap(),
        };
        Filters::new(&globs.iter().map(filter).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn the_last_match_wins_and_an_include_makes_choosy() {
        for (globs, path, sent) in [
            (&[][..], ".hidden", true),
            (&["*.jpg"], "a/b.jpg", true),
            (&["*.jpg"], "a/b.png", false),
            (&["-*.png"], "a/b.png", false),
            (&["-*.png"], "a/b.jpg", true),
            (&["*.jpg", "-secret*"], "secret.jpg", false),
            (&["-secret*", "*.jpg"], "secret.jpg", true),
            // A glob without `/` matches a name at any depth, one with it the path below the directory.
            (&["-b"], "a/b", false),
            (&["-/b"], "a/b", true),
            (&["-./b"], "b", false),
            (&["-./b"], "a/b", true),
            (&["a/*.txt"], "a/x.txt", true),
            (&["a/*.txt"], "a/b/x.txt", false),
            (&["a/**/*.txt"], "a/b/x.txt", true),
            (&["a/*.txt"], "c/a/x.txt", false),
            // Signs with a meaning in gitignore have none here.
            (&["#x"], "#x", true),
            (&["#x"], "y", false),
            (&["!x"], "!x", true),
            (&["-!x"], "!x", false),
            (&["-#x"], "#x", false),
        ] {
            assert_eq!(filters(globs).admit(Path::new(path), false), sent, "{globs:?} {path}");
        }
        assert!(filters(&["-a", "b"]).are_choosy() && !filters(&["-a"]).are_choosy());
    }

    #[test]
    fn directories_are_entered_unless_they_are_excluded() {
        assert!(filters(&["*.jpg"]).admit(Path::new("photos"), true));
        assert!(!filters(&["-photos"]).admit(Path::new("a/photos"), true));
        assert!(!filters(&["-photos/"]).admit(Path::new("photos"), true));
        assert!(filters(&["-photos/"]).admit(Path::new("photos"), false));
    }

    #[cfg(unix)]
    #[test]
    fn names_that_are_no_unicode_are_matched_too() {
        use std::os::unix::ffi::OsStrExt;
        let path = Path::new(std::ffi::OsStr::from_bytes(b"a/\xff.txt"));
        assert!(!filters(&["-*.txt"]).admit(path, false));
        assert!(filters(&["-*.jpg"]).admit(path, false));
    }

    #[test]
    fn what_is_no_glob_is_refused() {
        for glob in ["", " ", "/", "./", "a[", "{a", "a\\"] {
            assert!(Filter::include(glob).is_err(), "{glob:?}");
            assert!(Filter::exclude(glob).is_err(), "{glob:?}");
        }
    }
}
