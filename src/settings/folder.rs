//! The target folder: `--parent`, its ID or its address in the browser, and `--to`, a path below it.

use reqwest::Url;
use unicode_normalization::UnicodeNormalization as _;

use crate::error::Error;
use crate::plan::name;

/// The host of the pages of folders and files.
const APP_HOST: &str = "app.copera.ai";

const HINT: &str = "--parent takes the ID of a folder or its address in the browser: \
                    https://app.copera.ai/<workspace>/drive/f/<id>";

/// The ID of a folder from its ID or address. `from` names the option, variable or location in errors. The service
/// checks whether the folder exists.
/// Fails with [`Error::usage`] for a blank text, and for an address that is not one of a folder.
pub(super) fn parse_parent(text: &str, from: &str) -> Result<String, Error> {
    let text = text.trim();
    let wrong = |why: &str| Error::usage_hint(format!("{from}: {why}"), HINT);
    if text.is_empty() {
        return Err(wrong("it is empty"));
    }
    if text.contains("://") {
        let url = Url::parse(text).map_err(|error| wrong(&format!("it is not a valid URL ({error})")))?;
        return folder_of(&url).map_err(|why| wrong(&why));
    }
    Ok(text.to_owned())
}

/// The names in a path below the parent, as they are sent. `from` names the option, variable or location in errors.
/// Fails with [`Error::usage`] for a blank text, `.`, `..` and an address.
pub(super) fn parse_to(text: &str, from: &str) -> Result<Vec<String>, Error> {
    if text.trim().is_empty() {
        return Err(Error::usage_hint(format!("{from}: it is empty"), "`/` is the parent itself"));
    }
    if text.contains("://") {
        let hint = "--parent takes the address of a folder, --to its path, such as Reports/2026";
        return Err(Error::usage_hint(format!("{from}: it is an address"), hint));
    }
    let names = text.split('/').filter(|name| !name.is_empty());
    let names: Vec<String> = names.map(|name| name.nfc().collect()).collect();
    if let Some(name) = names.iter().find(|name| matches!(name.as_str(), "." | "..")) {
        return Err(Error::usage(format!(
            "{from}: the path has `{name}` in it, which is not the name of a folder"
        )));
    }
    match names.iter().find_map(|name| Some((name, name::check(name).err()?))) {
        Some((name, why)) => Err(Error::usage(format!("{from}: `{name}` {why}"))),
        None => Ok(names),
    }
}

fn folder_of(url: &Url) -> Result<String, String> {
    let is_plain = url.port().is_none() && url.username().is_empty() && url.password().is_none();
    if url.scheme() != "https" || url.host_str() != Some(APP_HOST) || !is_plain {
        return Err(format!("the address does not begin with https://{APP_HOST}/"));
    }
    let path: Vec<&str> = url.path().split('/').filter(|segment| !segment.is_empty()).collect();
    match path[..] {
        [_, "drive", "f", id] => Ok(id.to_owned()),
        [_, "drive", "c", _] => Err("this is the address of a file".to_owned()),
        _ => Err("this is not the address of a folder".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "665f1c2ab3d4e5f60718293a";

    #[test]
    fn ids_and_addresses_of_folders_are_accepted() {
        for text in [
            ID.to_owned(),
            format!("  {ID}\r\n"),
            format!("https://app.copera.ai/acme/drive/f/{ID}"),
            format!("https://app.copera.ai/acme/drive/f/{ID}/"),
            format!(" https://app.copera.ai/acme/drive/f/{ID}?view=list&sort=name#top "),
        ] {
            assert_eq!(parse_parent(&text, "--parent").unwrap(), ID, "{text:?}");
        }
        for text in ["short", "a b", "Reports/2026"] {
            assert_eq!(parse_parent(text, "--parent").unwrap(), text, "the service judges it");
        }
    }

    #[test]
    fn other_addresses_are_refused_with_the_reason() {
        for (text, why) in [
            ("", "empty"),
            (" \t", "empty"),
            ("file:///tmp/x", "does not begin with https"),
            ("https://u:p@app.copera.ai/acme/drive/f/1", "does not begin with https"),
            ("https://app.copera.ai:8443/acme/drive/f/1", "does not begin with https"),
            ("https://app.copera.ai/acme/drive/f/1/2", "not the address of a folder"),
            ("https://app.copera.ai/acme/drive/c/665f1c2ab3d4e5f60718293a", "of a file"),
            ("https://app.copera.ai/acme/drive", "not the address of a folder"),
            ("https://app.copera.ai/acme/drive/f/", "not the address of a folder"),
            ("http://app.copera.ai/acme/drive/f/665f1c2ab3d4e5f60718293a", "does not begin with https"),
            ("https://example.com/acme/drive/f/665f1c2ab3d4e5f60718293a", "does not begin with https"),
            ("https://app.copera.ai.example.com/a/drive/f/1", "does not begin with https"),
            ("https://", "not a valid URL"),
        ] {
            let message = parse_parent(text, "COPERA_PARENT_ID").unwrap_err().to_string();
            assert!(
                message.starts_with("COPERA_PARENT_ID: ") && message.contains(why),
                "{text:?}: {message}"
            );
        }
    }

    #[test]
    fn a_path_is_split_into_names() {
        for (text, names) in [
            ("Reports", &["Reports"][..]),
            ("/Reports//2026/", &["Reports", "2026"]),
            ("/", &[]),
            ("//", &[]),
            (" a /b c", &[" a ", "b c"]),
            ("Cafe\u{301}/...", &["Café", "..."]),
        ] {
            assert_eq!(parse_to(text, "--to").unwrap(), names, "{text:?}");
        }
        for (text, why) in [
            ("", "empty"),
            (" \t", "empty"),
            ("a/../b", "`..`"),
            ("./a", "`.`"),
            ("a\0", "NUL"),
            ("https://app.copera.ai/acme/drive/f/1", "address"),
        ] {
            let error = parse_to(text, "COPERA_TO").unwrap_err();
            assert_eq!(error.exit_code(), 2);
            let message = error.to_string();
            assert!(message.starts_with("COPERA_TO: ") && message.contains(why), "{text:?}: {message}");
        }
    }
}
