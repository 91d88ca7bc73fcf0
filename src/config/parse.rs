//! Parses one configuration file. Errors name file, line and key, and never quote the file: it may hold a token.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::location::{ConfigFile, Location, Sourced};
use super::profile::{AccountOptions, Profile, keys};
use crate::error::Error;
use crate::options::TransferOptions;
use crate::units::toml as value;

/// What one file sets.
#[derive(Debug, Default)]
pub(super) struct Layer {
    /// `default_profile`
    pub default_profile: Option<Sourced<String>>,
    /// `[api] base_url`
    pub base_url: Option<Sourced<String>>,
    /// `[profiles.NAME]`
    pub profiles: BTreeMap<String, Profile>,
    pub warnings: Vec<String>,
}

impl Layer {
    /// Whether any profile has a token.
    pub(super) fn holds_token(&self) -> bool {
        self.profiles.values().any(|profile| profile.account.token.is_some())
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Top {
    #[serde(deserialize_with = "value::optional_text")]
    default_profile: Option<String>,
    api: Api,
}

#[derive(Default, Deserialize)]
#[serde(default, expecting = "a table")]
struct Api {
    #[serde(deserialize_with = "value::optional_text")]
    base_url: Option<String>,
}

/// Parses the text of a file.
pub(super) fn parse(text: &str, file: &Arc<ConfigFile>) -> Result<Layer, Error> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let parser = Parser { text, file };
    let table = DeTable::parse(text).map_err(|error| {
        let location = parser.location(&error.span().unwrap_or_default());
        Error::usage(format!("{location}: {}", error.message()))
    })?;
    let (top, ignored) = parser.read::<Top>(&table, "")?;
    let profiles = table.get_ref().get("profiles");
    for path in ignored.iter().filter(|path| *path != "profiles") {
        let known = match path.starts_with("api.") {
            true => "[api] may set base_url",
            false => "the top level may set default_profile, [api] and [profiles.NAME]",
        };
        parser.unknown(&table, "", path, known)?;
    }
    let sourced = |value: Option<String>, path| {
        value.map(|value| Sourced { value, location: parser.location(&key_span(table.get_ref(), path)) })
    };
    let mut layer = Layer {
        default_profile: sourced(top.default_profile, "default_profile"),
        base_url: sourced(top.api.base_url, "api.base_url"),
        ..Layer::default()
    };
    let Some(profiles) = profiles else { return Ok(layer) };
    let profiles = parser.table(profiles, &key_span(table.get_ref(), "profiles"), "profiles")?;
    for (name, entry) in profiles.get_ref() {
        let path = format!("profiles.{}", name.get_ref());
        let entry = parser.table(entry, &name.span(), &path)?;
        let profile = parser.profile(&entry, &path, &mut layer.warnings)?;
        layer.profiles.insert(name.get_ref().to_string(), profile);
    }
    Ok(layer)
}

struct Parser<'a> {
    text: &'a str,
    file: &'a Arc<ConfigFile>,
}

type Table<'a> = Spanned<DeTable<'a>>;

impl Parser<'_> {
    /// Deserializes the table at `path`. Also returns the paths of its keys that `T` does not have.
    fn read<T: DeserializeOwned>(
        &self,
        table: &Table<'_>,
        path: &str,
    ) -> Result<(T, BTreeSet<String>), Error> {
        let mut ignored = BTreeSet::new();
        let read = serde_ignored::deserialize(Deserializer::from(table.clone()), |key| {
            ignored.insert(key.to_string());
        });
        let value = read.map_err(|error| {
            let span = error.span().unwrap_or_default();
            let entry = entry_at(table.get_ref(), path, span.start);
            let (name, span) = entry.unwrap_or_else(|| (path.to_owned(), span));
            // serde's message of a wrong type quotes the value.
            let message = match error.message().rsplit_once("expected ") {
                Some((_, expected)) => format!("must be {expected}"),
                None => error.message().to_owned(),
            };
            Error::usage(format!("{}: {name}: {message}", self.location(&span)))
        })?;
        Ok((value, ignored))
    }

    fn profile(&self, table: &Table<'_>, path: &str, warnings: &mut Vec<String>) -> Result<Profile, Error> {
        let (mut account, not_account) = self.read::<AccountOptions>(table, path)?;
        let (transfer, not_transfer) = self.read::<TransferOptions>(table, path)?;
        for key in not_account.intersection(&not_transfer) {
            let known = format!("a profile may set {}", keys().collect::<Vec<_>>().join(", "));
            self.unknown(table, &format!("{path}."), key, &known)?;
        }
        let mut locations: BTreeMap<String, Location> = table
            .get_ref()
            .keys()
            .map(|key| (key.get_ref().to_string(), self.location(&key.span())))
            .collect();
        // Otherwise a repository could run any command on the machine of a user who uploads from it.
        if self.file.project
            && account.token_command.take().is_some()
            && let Some(location) = locations.remove("token_command")
        {
            warnings.push(format!(
                "{location}: {path}.token_command is ignored, because anybody may have written a file in the working directory"
            ));
        }
        Ok(Profile { account, transfer, locations })
    }

    fn table<'a>(
        &self,
        value: &Spanned<DeValue<'a>>,
        key: &Range<usize>,
        path: &str,
    ) -> Result<Table<'a>, Error> {
        let table = value.get_ref().as_table().map(|table| Spanned::new(value.span(), table.clone()));
        table.ok_or_else(|| Error::usage(format!("{}: {path}: must be a table", self.location(key))))
    }

    /// The error for an unknown key, unless the file may have some.
    fn unknown(&self, table: &Table<'_>, prefix: &str, key: &str, known: &str) -> Result<(), Error> {
        if !self.file.is_strict() {
            return Ok(());
        }
        let location = self.location(&key_span(table.get_ref(), key));
        Err(Error::usage_hint(format!("{location}: unknown key `{prefix}{key}`"), known))
    }

    fn location(&self, span: &Range<usize>) -> Location {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Location { file: Arc::clone(self.file), line }
    }
}

/// The span of the key at `path`.
fn key_span(table: &DeTable<'_>, path: &str) -> Range<usize> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let entry = table.iter().find(|(key, _)| key.get_ref() == first);
    match (entry, rest) {
        (Some((_, value)), Some(rest)) if value.get_ref().is_table() => {
            value.get_ref().as_table().map(|table| key_span(table, rest)).unwrap_or_default()
        }
        (Some((key, _)), _) => key.span(),
        (None, _) => Range::default(),
    }
}

/// The path and the span of the key whose value is at this offset.
fn entry_at(table: &DeTable<'_>, path: &str, offset: usize) -> Option<(String, Range<usize>)> {
    table.iter().find_map(|(key, value)| {
        let name =
            if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
        let inner = value.get_ref().as_table().and_then(|inner| entry_at(inner, &name, offset));
        inner.or_else(|| value.span().contains(&offset).then(|| (name, key.span())))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn read(text: &str, strict: bool, project: bool) -> Result<Layer, Error> {
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
        assert_eq!(profile.account.token.as_ref().unwrap().expose(), "t");
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
            let told = format!("{error} {error:?}");
            assert!(told.contains("f.toml:2: ") && !told.contains("secret"), "{told}");
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
        assert!(layer.profiles["a"].account.token_command.is_none());
        assert!(layer.warnings[0].starts_with("f.toml:2: profiles.a.token_command is ignored"));
        assert!(
            read("profiles.a.token_command = 'pass'", false, false).unwrap().profiles["a"]
                .account
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
