//! A token into a configuration file: what else is in it, comments and order included, stays as it is, and
//! whatever interrupts the writing leaves either the old file or the new one.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, InlineTable, Item, RawString, Table, TableLike, Value};

use super::FilePlace;
use super::file;
use super::files::read_text;
use crate::error::{Error, chain};
use crate::platform;
use crate::secret::Token;

/// The mark that some editors begin a file with.
const BOM: char = '\u{feff}';

/// What is to stand in the file.
#[derive(Debug)]
pub struct Entry<'a> {
    /// The profile's name.
    pub profile: &'a str,
    /// Its token.
    pub token: &'a Token,
    /// Its API, if it must be named.
    pub api_url: Option<&'a str>,
    /// It is to be the `default_profile`.
    pub is_default: bool,
}

/// A file that can be written, found out before anybody is asked for a token.
#[derive(Debug)]
pub struct Target {
    place: FilePlace,
    /// Where the file itself is, behind all links.
    path: PathBuf,
}

impl Target {
    /// Looks where the file is, or will be.
    ///
    /// # Errors
    /// [`Error::Usage`] for a link to nothing, and for what is no regular file.
    pub fn new(place: FilePlace) -> Result<Self, Error> {
        let cannot = |why: &str| Error::usage(format!("cannot save a token in {}: {why}", place.shown));
        let path = match fs::canonicalize(&place.path) {
            Ok(path) => path,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if fs::symlink_metadata(&place.path).is_ok() {
                    return Err(cannot("it is a link to a file that is not there"));
                }
                place.path.clone()
            }
            Err(error) => return Err(cannot(&error.to_string())),
        };
        // Renaming over a device would replace it.
        if fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(cannot("it is no regular file"));
        }
        Ok(Self { place, path })
    }

    /// As messages name it.
    pub fn shown(&self) -> &str {
        &self.place.shown
    }

    /// Saves the entry and says whether it replaced another token.
    ///
    /// # Errors
    /// [`Error::Usage`] when the file cannot be read, understood or written; then it is as it was.
    pub fn save(&self, entry: &Entry<'_>) -> Result<bool, Error> {
        let shown = &self.place.shown;
        // Two logins at once: the second reads what the first has written.
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let _lock = platform::create_private_dir(folder).ok().and_then(|()| platform::lock_dir(folder));
        let (text, metadata) = match read_text(&self.path) {
            Ok((text, _)) => (text, fs::metadata(&self.path).ok()),
            Err(error) if error.kind() == ErrorKind::NotFound => (String::new(), None),
            Err(error) => {
                return Err(Error::usage(format!("cannot read the configuration file {shown}: {error}")));
            }
        };
        // It may have changed since it was looked at; by our own reader, whose errors show no line of it.
        file::parse(&text, self.place.source(), self.place.strict())?;
        let (new, replaced) = edited(&text, entry)
            .ok_or_else(|| Error::usage(format!("cannot save a token in {shown}: it is no TOML")))?;
        let text = as_before(&text, new);
        write(&self.path, &text, metadata.as_ref()).map_err(|error| {
            Error::usage_hint(
                format!("cannot save the token in {shown}: {}", chain(&error)),
                "its directory must be writable and its disk not full; --config names another file",
            )
        })?;
        Ok(replaced)
    }
}

/// The text with the entry in it, and whether it had another token; `None`: it is no TOML.
fn edited(text: &str, entry: &Entry<'_>) -> Option<(String, bool)> {
    let mut document: DocumentMut = text.parse().ok()?;
    let trailing = document.trailing().as_str().unwrap_or_default().to_owned();
    // A blank line before the new table, if anything is.
    let before = if text.is_empty() && !entry.is_default { trailing } else { trailing + "\n" };
    let root = document.as_table_mut();
    if entry.is_default {
        put(root, "default_profile", entry.profile);
    }
    let profiles = root.entry("profiles").or_insert_with(|| {
        let mut profiles = Table::new();
        profiles.set_implicit(true);
        Item::Table(profiles)
    });
    let inline = profiles.is_inline_table();
    let profiles = profiles.as_table_like_mut()?;
    let is_new = !profiles.contains_key(entry.profile);
    if is_new {
        let item = if inline { Item::Value(InlineTable::new().into()) } else { Item::Table(at_end(before)) };
        profiles.insert(entry.profile, item);
    }
    let profile = profiles.get_mut(entry.profile)?.as_table_like_mut()?;
    let replaced = put(profile, "token", entry.token.expose());
    if let Some(url) = entry.api_url {
        put(profile, "api_url", url);
    }
    if is_new && !inline {
        // What stood at the end stands before the new table now.
        document.set_trailing(RawString::default());
    }
    Some((document.to_string(), replaced))
}

/// The new text with the old one's byte order mark and line ends, which TOML's reader drops.
fn as_before(old: &str, new: String) -> String {
    let new = if old.contains("\r\n") { new.replace("\r\n", "\n").replace('\n', "\r\n") } else { new };
    match old.strip_prefix(BOM) {
        Some(_) if !new.starts_with(BOM) => format!("{BOM}{new}"),
        _ => new,
    }
}

/// A table behind all others. The comments at the file's end are left with what they follow.
fn at_end(before: String) -> Table {
    let mut table = Table::new();
    table.set_position(Some(isize::MAX));
    table.decor_mut().set_prefix(before);
    table
}

/// Sets a key, in its place and with its comment where it is there; says whether it had another value.
fn put(table: &mut dyn TableLike, key: &str, text: &str) -> bool {
    let mut value = Value::from(text);
    let old = table.get(key).and_then(Item::as_value);
    let other = old.is_some_and(|old| old.as_str() != Some(text) && old.as_str() != Some(""));
    if let Some(old) = old {
        *value.decor_mut() = old.decor().clone();
    }
    match table.get_mut(key) {
        Some(item) => *item = Item::Value(value),
        None => drop(table.insert(key, Item::Value(value))),
    }
    other
}

/// Writes the file whole or not at all: beside the old one, to the disk, then in its place.
fn write(path: &Path, text: &str, old: Option<&Metadata>) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    platform::create_private_dir(folder)?;
    // Made with mode 0600.
    let mut file = tempfile::Builder::new().prefix(".copera-upload-").tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    if let Some(old) = old {
        keep_owner_and_mode(file.as_file(), old)?;
    }
    file.as_file().sync_all()?;
    file.persist(path)?;
    platform::sync_dir(folder);
    Ok(())
}

/// The new file belongs to whom the old one did (root may be at work on somebody's file), and is no more open.
#[cfg(unix)]
fn keep_owner_and_mode(file: &fs::File, old: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
        // Nobody but root may give a file away; then it is ours, and as private.
        let _ = fchown(file, Some(old.uid()), Some(old.gid()));
    }
    file.set_permissions(fs::Permissions::from_mode(old.permissions().mode() & 0o600))
}

#[cfg(not(unix))]
fn keep_owner_and_mode(_: &fs::File, _: &Metadata) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
#[path = "save_tests.rs"]
mod tests;
