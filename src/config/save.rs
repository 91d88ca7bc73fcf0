//! Saves a token in a configuration file. Everything else in the file stays as it is, including comments and order. After
//! an interruption there is either the old file or the new one.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use toml_edit::{DocumentMut, InlineTable, Item, RawString, Table, TableLike, Value};

use super::files::read_text;
use super::location::ConfigFile;
use super::parse::parse;
use crate::error::Error;
use crate::platform;
use crate::secret::Token;

/// Some editors put it at the beginning of a file.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// What to save.
#[derive(Debug)]
pub struct Entry<'a> {
    pub profile: &'a str,
    pub token: &'a Token,
    /// The API of the profile, if it has to be set.
    pub api_url: Option<&'a str>,
    /// Whether to make the profile the `default_profile`.
    pub is_default: bool,
}

/// A file that can be written. Checked before the user is asked for a token.
#[derive(Debug)]
pub struct Target {
    file: Arc<ConfigFile>,
    /// With all links resolved.
    path: PathBuf,
}

impl Target {
    /// Resolves links. The file does not have to exist.
    /// Fails for a link to nothing, and for what is not a regular file.
    pub fn new(file: Arc<ConfigFile>) -> anyhow::Result<Self> {
        let path =
            resolve_links(&file.path).with_context(|| format!("cannot save a token in {}", file.shown))?;
        Ok(Self { file, path })
    }

    /// The name of the file in messages.
    pub fn shown(&self) -> &str {
        &self.file.shown
    }

    /// Saves the entry. Returns whether it replaced another token.
    /// Fails if the file cannot be read, parsed or written. It is unchanged then.
    pub fn save(&self, entry: &Entry<'_>) -> anyhow::Result<bool> {
        let cannot = || format!("cannot save the token in {}", self.file.shown);
        // The second of two logins at the same time reads what the first one has written.
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let _lock = platform::create_private_dir(folder).ok().and_then(|()| platform::lock_dir(folder));
        let (text, metadata) = match read_text(&self.path) {
            Ok((text, _)) => (text, fs::metadata(&self.path).ok()),
            Err(error) if error.kind() == ErrorKind::NotFound => (String::new(), None),
            Err(error) => return Err(error).with_context(cannot),
        };
        // The file may have changed. The errors of this parser do not quote it.
        parse(&text, &self.file)?;
        let (new, replaced) = edit(&text, entry).context("it is not TOML").with_context(cannot)?;
        let new = with_format_of(&text, new);
        write(&self.path, &new, metadata.as_ref()).with_context(cannot).map_err(|error| {
            let hint =
                "check that its directory is writable and the disk not full; --config names another file";
            Error::config(error, Some(hint))
        })?;
        Ok(replaced)
    }
}

fn resolve_links(path: &Path) -> anyhow::Result<PathBuf> {
    let resolved = match fs::canonicalize(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            ensure!(fs::symlink_metadata(path).is_err(), "it is a link to a file that does not exist");
            path.to_owned()
        }
        resolved => resolved?,
    };
    // Saving would replace a device.
    ensure!(!fs::metadata(&resolved).is_ok_and(|metadata| !metadata.is_file()), "it is not a regular file");
    Ok(resolved)
}

/// The text with the entry in it, and whether the entry replaced another token. `None` if the text is not TOML.
fn edit(text: &str, entry: &Entry<'_>) -> Option<(String, bool)> {
    let mut document: DocumentMut = text.parse().ok()?;
    let trailing = document.trailing().as_str().unwrap_or_default().to_owned();
    // Separate the new table from what is before it by a blank line.
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
        let item =
            if inline { Item::Value(InlineTable::new().into()) } else { Item::Table(last_table(before)) };
        profiles.insert(entry.profile, item);
    }
    let profile = profiles.get_mut(entry.profile)?.as_table_like_mut()?;
    let replaced = put(profile, "token", entry.token.expose());
    if let Some(url) = entry.api_url {
        put(profile, "api_url", url);
    }
    if is_new && !inline {
        // The trailing comments are in front of the new table now.
        document.set_trailing(RawString::default());
    }
    Some((document.to_string(), replaced))
}

/// The new text with the byte order mark and line ends of the old one, which the TOML parser drops.
fn with_format_of(old: &str, new: String) -> String {
    let new = if old.contains("\r\n") { new.replace("\r\n", "\n").replace('\n', "\r\n") } else { new };
    match old.starts_with(BYTE_ORDER_MARK) && !new.starts_with(BYTE_ORDER_MARK) {
        true => format!("{BYTE_ORDER_MARK}{new}"),
        false => new,
    }
}

/// A table after all others, with this text in front of it.
fn last_table(before: String) -> Table {
    let mut table = Table::new();
    table.set_position(Some(isize::MAX));
    table.decor_mut().set_prefix(before);
    table
}

/// Sets a key. An existing one keeps its place and comment. Returns whether it had another value.
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

/// Replaces the file atomically: writes a temporary file beside it, syncs it and renames it.
fn write(path: &Path, text: &str, old: Option<&Metadata>) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    platform::create_private_dir(folder)?;
    // tempfile creates it with mode 0600.
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

/// Gives the new file the owner of the old one, for root may edit another user's file, and a mode that is not wider.
#[cfg(unix)]
fn keep_owner_and_mode(file: &fs::File, old: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
        // Only root may do this. Otherwise the file is ours, and just as private.
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
