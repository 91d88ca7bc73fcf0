//! Parses one configuration file. Errors name file, line and key, and never quote the file, which may contain a token.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, Deserializer};

use super::location::{ConfigFile, Location, Sourced};
use super::profile::{Profile, ProfileOptions, Values, keys};
use crate::error::Error;

/// Parses the text of a file.
pub(super) fn parse(text: &str, file: &Arc<ConfigFile>) -> Result<Values, Error> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let table = DeTable::parse(text).map_err(|error| {
        let location = locate(text, file, &error.span().unwrap_or_default());
        Error::usage(format!("{location}: {}", error.message()))
    })?;
    let top = Section { text, file, table, prefix: String::new() };
    let mut values = Values { default_profile: top.text("default_profile")?, ..Values::default() };
    top.reject_unknown(
        |key| ["default_profile", "api", "profiles"].contains(&key),
        || "the top level may set default_profile, [api] and [profiles.NAME]".to_owned(),
    )?;
    if let Some(api) = top.section("api")? {
        values.base_url = api.text("base_url")?;
        api.reject_unknown(|key| key == "base_url", || "[api] may set base_url".to_owned())?;
    }
    if let Some(profiles) = top.section("profiles")? {
        for name in profiles.table.get_ref().keys() {
            if let Some(section) = profiles.section(name.get_ref())? {
                let profile = section.profile(&mut values.warnings)?;
                values.profiles.insert(name.get_ref().to_string(), profile);
            }
        }
    }
    Ok(values)
}

/// A table of the file.
struct Section<'a> {
    text: &'a str,
    file: &'a Arc<ConfigFile>,
    table: Spanned<DeTable<'a>>,
    /// What precedes a key of the table in messages, such as `profiles.work.`.
    prefix: String,
}

impl Section<'_> {
    /// The table at a key, if there is one.
    fn section(&self, key: &str) -> Result<Option<Self>, Error> {
        let Some(value) = self.table.get_ref().get(key) else { return Ok(None) };
        let table = value.get_ref().as_table().map(|table| Spanned::new(value.span(), table.clone()));
        let table = table.ok_or_else(|| self.error(key, "must be a table"))?;
        let prefix = format!("{}{key}.", self.prefix);
        Ok(Some(Self { text: self.text, file: self.file, table, prefix }))
    }

    /// The string at a key. An empty one counts as unset, as in the official CLI.
    fn text(&self, key: &str) -> Result<Option<Sourced<String>>, Error> {
        let Some(value) = self.table.get_ref().get(key) else { return Ok(None) };
        let text = value.get_ref().as_str().ok_or_else(|| self.error(key, "must be a string"))?;
        let sourced = || Sourced { value: text.to_owned(), location: self.location(key) };
        Ok((!text.is_empty()).then(sourced))
    }

    /// Deserializes the table.
    fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        T::deserialize(Deserializer::from(self.table.clone())).map_err(|error| {
            let at = error.span().unwrap_or_default().start;
            let entry = self.table.get_ref().iter().find(|(_, value)| value.span().contains(&at));
            let key = entry.map_or("", |(key, _)| key.get_ref());
            // serde's message of a wrong type quotes the value.
            match error.message().rsplit_once("expected ") {
                Some((_, expected)) => self.error(key, &format!("must be {expected}")),
                None => self.error(key, error.message()),
            }
        })
    }

    /// Fails for the first unknown key, unless the file may have some.
    fn reject_unknown(
        &self,
        is_known: impl Fn(&str) -> bool,
        hint: impl FnOnce() -> String,
    ) -> Result<(), Error> {
        let mut keys = self.table.get_ref().keys().map(|key| key.get_ref());
        match keys.find(|key| self.file.is_strict() && !is_known(key)) {
            Some(key) => {
                let message = format!("{}: unknown key `{}{key}`", self.location(key), self.prefix);
                Err(Error::usage_hint(message, hint()))
            }
            None => Ok(()),
        }
    }

    fn profile(&self, warnings: &mut Vec<String>) -> Result<Profile, Error> {
        let mut options: ProfileOptions = self.read()?;
        let transfer = self.read()?;
        let known: Vec<_> = keys().collect();
        self.reject_unknown(
            |key| known.iter().any(|known| known == key),
            || format!("a profile may set {}", known.join(", ")),
        )?;
        let keys = self.table.get_ref().keys().map(|key| key.get_ref().to_string());
        let mut locations: BTreeMap<_, _> = keys.map(|key| (key.clone(), self.location(&key))).collect();
        // Otherwise a repository could run commands on the machine of a user who uploads from it.
        if self.file.project
            && options.token_command.take().is_some()
            && let Some(location) = locations.remove("token_command")
        {
            warnings.push(format!(
                "{location}: {}token_command is ignored, because a file in the working directory is not trusted",
                self.prefix
            ));
        }
        Ok(Profile { options, transfer, locations })
    }

    fn error(&self, key: &str, message: &str) -> Error {
        Error::usage(format!("{}: {}{key}: {message}", self.location(key), self.prefix))
    }

    fn location(&self, key: &str) -> Location {
        let key = self.table.get_ref().keys().find(|found| found.get_ref() == key);
        locate(self.text, self.file, &key.map_or(self.table.span(), Spanned::span))
    }
}

fn locate(text: &str, file: &Arc<ConfigFile>, span: &Range<usize>) -> Location {
    let before = text.as_bytes().get(..span.start).unwrap_or_default();
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    Location { file: Arc::clone(file), line }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn read(text: &str, strict: bool, project: bool) -> Result<Values, Error> {
        let path = if strict { "f.toml" } else { ".copera.toml" }.into();
        parse(text, &Arc::new(ConfigFile { path, shown: "f.toml".into(), project, must_exist: false }))
    }

    #[test]
    fn known_keys_are_read_with_their_lines() {
        let text = "\u{feff}default_profile = 'work'\n[api]\nbase_url = 'https://x'\n[profiles.work]\ntoken = ' t\\n'\n\
                    part_size = \"16MiB\"\nconcurrency = 0x8\nretry_for = 90\nlimit_rate = 1_000\nno_resume = true\n";
        let text = text.replace("' t\\n'", "\" t\\n\"");
        let layer = read(&text, true, false).unwrap();
        assert_eq!(layer.default_profile.unwrap().value, "work");
        let url = layer.base_url.unwrap();
        assert_eq!((url.value.as_str(), url.location.to_string()), ("https://x", "f.toml:3".into()));
        let profile = &layer.profiles["work"];
        assert_eq!((profile.transfer.part_size, profile.locations["part_size"].line), (Some(16 << 20), 6));
        assert_eq!(profile.transfer.concurrency.unwrap(), 8);
        assert_eq!(profile.transfer.retry_for.unwrap(), Duration::from_secs(90));
        assert_eq!(profile.transfer.limit_rate.unwrap(), 1000);
        assert!(profile.transfer.no_resume.unwrap());
        assert_eq!(profile.options.token.as_ref().unwrap().expose(), "t");
    }

    #[test]
    fn unknown_keys_are_ignored_in_shared_files_and_errors_elsewhere() {
        for (text, named) in [
            ("x = 1", "f.toml:1: unknown key `x`"),
            ("\n[output]\nformat = 'auto'", "f.toml:2: unknown key `output`"),
            ("[api]\n\ntimeout = '30s'", "f.toml:3: unknown key `api.timeout`"),
            ("[profiles.a]\nboard_id = 'b'", "f.toml:2: unknown key `profiles.a.board_id`"),
            ("[profiles.a]\npart-size = '8MiB'", "f.toml:2: unknown key `profiles.a.part-size`"),
            ("profiles.a.allow_http = true", "f.toml:1: unknown key `profiles.a.allow_http`"),
            ("[profiles.'a.b']\n\n'c.d' = 1", "f.toml:3: unknown key `profiles.a.b.c.d`"),
        ] {
            assert!(read(text, false, true).is_ok(), "{text}");
            let error = read(text, true, false).unwrap_err();
            assert_eq!((error.to_string().as_str(), error.exit_code()), (named, 2));
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn wrong_types_and_values_of_our_keys_are_errors_everywhere() {
        for (text, message) in [
            ("default_profile = 1", "f.toml:1: default_profile: must be a string"),
            ("api = 'x'", "f.toml:1: api: must be a table"),
            ("[api]\nbase_url = []", "f.toml:2: api.base_url: must be a string"),
            ("[profiles]\na = 1", "f.toml:2: profiles.a: must be a table"),
            ("[profiles.a]\ntoken = 12345", "f.toml:2: profiles.a.token: must be a string"),
            ("[profiles.a]\nparent = ''", "f.toml:2: profiles.a.parent: must not be empty"),
            ("[profiles.a]\nno_resume = 'yes'", "f.toml:2: profiles.a.no_resume: must be true or false"),
            (
                "[profiles.a]\npart_size = 1.5",
                "f.toml:2: profiles.a.part_size: must be a string or an integer",
            ),
            ("[profiles.a]\npart_size = 1", "f.toml:2: profiles.a.part_size: a part is 5MiB to 5GiB"),
            (
                "[profiles.a]\nconcurrency = -1",
                "f.toml:2: profiles.a.concurrency: the number of parts in flight is 1 to 64",
            ),
        ] {
            for strict in [true, false] {
                let error = read(text, strict, false).unwrap_err();
                assert_eq!((error.to_string().as_str(), error.exit_code()), (message, 2));
            }
        }
    }

    #[test]
    fn errors_name_the_line_of_invalid_toml_and_never_quote_it() {
        for text in [
            "[profiles.a]\ntoken = \"cp_pat_secret",
            "[profiles.a]\ntoken = cp_pat_secret",
            "[profiles.a]\ntoken = 'cp_pat_secret' 'x'",
            "[profiles.a]\ntoken = \"cp_pat_secret\\q\"",
            "[profiles.a]\ntoken = ['cp_pat_secret']",
        ] {
            let error = read(text, false, false).unwrap_err();
            let message = format!("{error} {error:?}");
            assert!(message.contains("f.toml:2: ") && !message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn duplicate_keys_are_errors() {
        for text in ["[profiles.a]\nparent = 'x'\nparent = 'y'", "[profiles.a]\n\n[profiles.a]"] {
            let error = read(text, false, false).unwrap_err();
            assert_eq!((error.to_string().as_str(), error.exit_code()), ("f.toml:3: duplicate key", 2));
        }
    }

    #[test]
    fn empty_strings_count_as_unset() {
        let layer = read("default_profile=''\napi.base_url=''\nprofiles.a.token=''", true, false).unwrap();
        assert!(layer.default_profile.is_none() && layer.base_url.is_none() && !layer.holds_token());
    }

    #[test]
    fn the_token_command_of_a_project_file_is_ignored() {
        let layer = read("[profiles.a]\ntoken_command = 'rm -r ~'", false, true).unwrap();
        assert!(layer.profiles["a"].options.token_command.is_none());
        assert!(layer.warnings[0].starts_with("f.toml:2: profiles.a.token_command is ignored"));
        assert!(
            read("profiles.a.token_command = 'pass'", false, false).unwrap().profiles["a"]
                .options
                .token_command
                .is_some()
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "[\\[\\]a-z.='\"\n0-9\u{e9}]{0,60}") {
            let _ = read(&text, true, false);
        }
    }
}
