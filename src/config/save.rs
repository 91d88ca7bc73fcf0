//! A token put into a configuration file, and nothing else in it touched: comments, order and other keys stay.

use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml_edit::{DocumentMut, Item, Table, TableLike, value};

use super::file;
use super::profile::Source;
use crate::error::Error;
use crate::platform;
use crate::secret::Token;

/// What is saved in a profile.
#[derive(Debug)]
pub struct Login<'a> {
    /// The profile's name.
    pub profile: &'a str,
    /// Its token.
    pub token: &'a Token,
    /// Its API, where it is another than the files say without it.
    pub api_url: Option<&'a str>,
}

/// Puts a token into the file, which is made if it is not there, and is only the user's to read afterwards.
/// The file is replaced in one step: whoever reads it meanwhile sees the old one or the new one, and so does
/// everybody after a power cut. Whether there was another token before is the answer.
///
/// # Errors
/// [`Error::Usage`] when the file cannot be read, understood or written.
pub fn save(path: &Path, login: &Login<'_>) -> Result<bool, Error> {
    let shown = path.display().to_string();
    let cannot = |what: &str, error: &dyn std::fmt::Display| {
        Error::usage_hint(
            format!("cannot {what} {shown}: {error}"),
            "the token was not saved; name another file with --config, or set COPERA_TOKEN",
        )
    };
    // A link stays a link: some keep their configuration elsewhere.
    let target = match fs::canonicalize(path) {
        Ok(target) => target,
        Err(error) if error.kind() == ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(cannot("find", &error)),
    };
    let before = match fs::read_to_string(&target) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(cannot("read", &error)),
    };
    let (after, replaced) = edit(&before, login).map_err(|why| cannot("change", &why))?;
    // What was made of it has to say what was meant, whatever form the file had.
    let source = Arc::new(Source { shown: shown.clone(), project: false });
    let saved = file::parse(&after, source, false)?;
    let profile = saved.profiles.get(login.profile);
    if profile.and_then(|profile| profile.token.as_ref()).is_none_or(|set| set.value != *login.token) {
        return Err(cannot("change", &"its form is not one that this program can add a token to"));
    }
    write(&target, &after).map_err(|error| cannot("write", &error))?;
    Ok(replaced)
}

/// The text with the token in it, and whether there was another one.
fn edit(text: &str, login: &Login<'_>) -> Result<(String, bool), String> {
    let mut document: DocumentMut =
        text.parse().map_err(|error: toml_edit::TomlError| error.message().to_owned())?;
    let profiles = under(document.as_table_mut(), "profiles", true)?;
    let profile = under(profiles, login.profile, false)?;
    let mut set = |key: &str, new: &str| {
        let old = profile.get(key).and_then(Item::as_str).unwrap_or_default().to_owned();
        // An old value's place and comment stay.
        match profile.get_mut(key).and_then(Item::as_value_mut) {
            Some(there) => {
                let decor = there.decor().clone();
                *there = new.into();
                *there.decor_mut() = decor;
            }
            None => drop(profile.insert(key, value(new))),
        }
        !old.is_empty() && old != new
    };
    if let Some(url) = login.api_url {
        set("api_url", url);
    }
    let replaced = set("token", login.token.expose());
    Ok((document.to_string(), replaced))
}

/// The table of that name, made if it is not there. One that only holds others gets no header of its own.
fn under<'a>(
    table: &'a mut dyn TableLike,
    name: &str,
    holds_tables: bool,
) -> Result<&'a mut dyn TableLike, String> {
    let item = table.entry(name).or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(holds_tables);
        Item::Table(table)
    });
    item.as_table_like_mut().ok_or_else(|| format!("`{name}` is no table"))
}

fn write(target: &Path, text: &str) -> io::Result<()> {
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    platform::create_private_dir(&folder)?;
    // Made with mode 0600.
    let mut file = tempfile::Builder::new().prefix(".copera-upload-").tempfile_in(&folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(target).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(text: &str, profile: &str) -> (String, bool) {
        let token = Token::new("cp_pat_new");
        edit(text, &Login { profile, token: &token, api_url: None }).unwrap()
    }

    #[test]
    fn an_empty_file_gets_the_profile_alone() {
        let (text, replaced) = edited("", "default");
        assert_eq!((text.as_str(), replaced), ("[profiles.default]\ntoken = \"cp_pat_new\"\n", false));
    }

    #[test]
    fn comments_order_and_other_keys_stay() {
        let before = "# mine\ndefault_profile = 'work' # the usual\n\n[profiles.work]\n# old\ntoken = 'cp_pat_old' # of May\n\
                      parent = 'x'\n\n[api]\nbase_url = 'https://api.copera.ai'\n";
        let (text, replaced) = edited(before, "work");
        assert_eq!(text, before.replace("'cp_pat_old'", "\"cp_pat_new\""));
        assert!(replaced);
        let (text, replaced) = edited(before, "new");
        assert!(!replaced && text.starts_with(before.split("[api]").next().unwrap()), "{text}");
    }

    #[test]
    fn every_way_to_write_a_profile_is_understood() {
        for (before, profile) in [
            ("profiles = { a = { parent = 'x' } }\n", "a"),
            ("profiles.a.parent = 'x'\n", "a"),
            ("[profiles]\na = { parent = 'x' }\n", "a"),
            ("[profiles]\n[profiles.a]\nparent = 'x'\n", "a"),
            ("[profiles.\"of my own\"]\nparent = 'x'\n", "of my own"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("config.toml");
            fs::write(&path, before).unwrap();
            let token = Token::new("cp_pat_new");
            save(&path, &Login { profile, token: &token, api_url: Some("https://h/v") }).unwrap();
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains("'x'") && text.contains("https://h/v"), "{text}");
        }
    }

    #[test]
    fn the_commented_example_can_be_logged_into() {
        let (text, _) = edited(include_str!("../config.example.toml"), "default");
        assert!(text.contains("[profiles.default]\ntoken = \"cp_pat_new\"\n"), "{text}");
        assert_eq!(text.replace("token = \"cp_pat_new\"\n", ""), include_str!("../config.example.toml"));
    }

    proptest::proptest! {
        #[test]
        fn whatever_the_token_and_the_name_are_they_are_read_back(token in "[!-~]{1,40}", profile in "\\PC{1,12}") {
            let token = Token::new(&token);
            let (text, _) = edit("", &Login { profile: &profile, token: &token, api_url: None }).unwrap();
            let source = Arc::new(Source { shown: "f".into(), project: false });
            let layer = file::parse(&text, source, true).unwrap();
            proptest::prop_assert!(layer.profiles[&profile].token.as_ref().unwrap().value == token);
        }
    }
}
