//! One configuration file's text, read into what it sets. Errors name file, line and key, and never show a
//! line of the file: it may hold a token.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::profile::{ConfigFile, KEYS, Location, Profile, Sourced};
use crate::error::Error;
use crate::secret::Token;
use crate::units::{
    parse_concurrency, parse_duration, parse_part_size, parse_rate, parse_retries, parse_timeout,
};

/// What one file sets.
#[derive(Debug, Default)]
pub(super) struct Layer {
    /// `default_profile`
    pub default_profile: Option<Sourced<String>>,
    /// `[api] base_url`
    pub base_url: Option<Sourced<String>>,
    /// `[profiles.NAME]`
    pub profiles: BTreeMap<String, Profile>,
    /// What to warn of.
    pub warnings: Vec<String>,
}

impl Layer {
    /// Whether it holds a token, in whichever profile.
    pub(super) fn holds_token(&self) -> bool {
        self.profiles.values().any(|profile| profile.token.is_some())
    }
}

/// Reads one file's text. With `strict`, a key that is not ours is an error; else it is the official CLI's
/// business and passed over.
pub(super) fn parse(text: &str, source: Arc<ConfigFile>, strict: bool) -> Result<Layer, Error> {
    let reader = Reader { text, source, strict };
    let text = text.strip_prefix('\u{feff}').map_or(text, |rest| rest);
    let reader = Reader { text, ..reader };
    let table = DeTable::parse(text).map_err(|error| {
        let line = reader.line(&error.span().unwrap_or_default());
        Error::usage(format!("{}:{line}: {}", reader.source.shown, error.message()))
    })?;
    reader.top(table.get_ref())
}

/// A value and the whole name of its key, for messages.
struct Entry<'a> {
    value: &'a DeValue<'a>,
    name: String,
    place: Location,
}

struct Reader<'t> {
    text: &'t str,
    source: Arc<ConfigFile>,
    strict: bool,
}

impl Reader<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    fn top(&self, table: &DeTable<'_>) -> Result<Layer, Error> {
        let mut layer = Layer::default();
        for (key, value) in table {
            let entry = self.entry("", key, value);
            match &**key.get_ref() {
                "default_profile" => layer.default_profile = entry.shared_text()?,
                "api" => {
                    for (key, value) in entry.table()? {
                        let entry = self.entry("api.", key, value);
                        match &**key.get_ref() {
                            "base_url" => layer.base_url = entry.shared_text()?,
                            _ => self.unknown(&entry, "under [api] there is `base_url`")?,
                        }
                    }
                }
                "profiles" => {
                    for (name, value) in entry.table()? {
                        let entry = self.entry("profiles.", name, value);
                        let profile = self.profile(&entry, &mut layer.warnings)?;
                        layer.profiles.insert(name.get_ref().to_string(), profile);
                    }
                }
                _ => {
                    self.unknown(&entry, "at the top there are `default_profile`, [api] and [profiles.NAME]")?
                }
            }
        }
        Ok(layer)
    }

    fn profile(&self, entry: &Entry<'_>, warnings: &mut Vec<String>) -> Result<Profile, Error> {
        let mut profile = Profile::default();
        let prefix = format!("{}.", entry.name);
        for (key, value) in entry.table()? {
            let entry = self.entry(&prefix, key, value);
            match &**key.get_ref() {
                "token" => {
                    let token = entry.text()?;
                    profile.token = entry.set(Token::new(&token)).filter(|token| !token.value.is_empty());
                }
                // A repository could have any command run by whoever uploads from it.
                "token_command" if self.source.project => warnings.push(format!(
                    "{}: {} is not read from a file in the working directory, which may be anybody's",
                    entry.place, entry.name
                )),
                "token_command" => profile.token_command = entry.own_text()?,
                "parent" => profile.parent = entry.own_text()?,
                "api_url" => profile.api_url = entry.own_text()?,
                "concurrency" => profile.concurrency = entry.read(parse_concurrency)?,
                "part_size" => profile.part_size = entry.read(parse_part_size)?,
                "limit_rate" => profile.limit_rate = entry.read(parse_rate)?,
                "retry_for" => profile.retry_for = entry.read(parse_duration)?,
                "max_retries" => profile.max_retries = entry.read(parse_retries)?,
                "connect_timeout" => profile.connect_timeout = entry.read(parse_timeout)?,
                "stall_timeout" => profile.stall_timeout = entry.read(parse_timeout)?,
                "no_resume" => profile.no_resume = entry.flag()?,
                "no_checksum" => profile.no_checksum = entry.flag()?,
                _ => self.unknown(&entry, &format!("a profile may set {}", KEYS.join(", ")))?,
            }
        }
        Ok(profile)
    }

    fn entry<'a>(
        &self,
        prefix: &str,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &'a Spanned<DeValue<'a>>,
    ) -> Entry<'a> {
        let place = Location { file: Arc::clone(&self.source), line: self.line(&key.span()) };
        Entry { value: value.get_ref(), name: format!("{prefix}{}", key.get_ref()), place }
    }

    fn unknown(&self, entry: &Entry<'_>, known: &str) -> Result<(), Error> {
        if self.strict {
            Err(Error::usage_hint(format!("{}: unknown key `{}`", entry.place, entry.name), known))
        } else {
            Ok(())
        }
    }
}

impl<'a> Entry<'a> {
    fn error(&self, why: &str) -> Error {
        Error::usage(format!("{}: {}: {why}", self.place, self.name))
    }

    fn wrong(&self, wanted: &str) -> Error {
        self.error(&format!("must be {wanted}, not {}", kind(self.value)))
    }

    #[allow(clippy::unnecessary_wraps, reason = "every key of a profile is an Option")]
    fn set<T>(&self, value: T) -> Option<Sourced<T>> {
        Some(Sourced { value, place: self.place.clone() })
    }

    fn table(&self) -> Result<&'a DeTable<'a>, Error> {
        self.value.as_table().ok_or_else(|| self.wrong("a table"))
    }

    fn text(&self) -> Result<String, Error> {
        self.value.as_str().map(str::to_owned).ok_or_else(|| self.wrong("a string"))
    }

    /// Text of a key that the official CLI has as well: an empty one counts as not set, as it does there.
    fn shared_text(&self) -> Result<Option<Sourced<String>>, Error> {
        Ok(self.set(self.text()?).filter(|text| !text.value.is_empty()))
    }

    /// Text of a key that is ours alone.
    fn own_text(&self) -> Result<Option<Sourced<String>>, Error> {
        match self.text()? {
            text if text.is_empty() => Err(self.error("must not be empty")),
            text => Ok(self.set(text)),
        }
    }

    fn flag(&self) -> Result<Option<Sourced<bool>>, Error> {
        self.value.as_bool().map(|flag| self.set(flag)).ok_or_else(|| self.wrong("true or false"))
    }

    /// A value as it would be typed on the command line, in a string or as an integer.
    fn read<T>(&self, parse: impl Fn(&str) -> Result<T, String>) -> Result<Option<Sourced<T>>, Error> {
        let text = match self.value {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
                .map_err(|_| self.error("the number is too large"))?
                .to_string(),
            _ => return Err(self.wrong("a string or an integer")),
        };
        parse(&text).map(|value| self.set(value)).map_err(|why| self.error(&why))
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn read(text: &str, strict: bool, project: bool) -> Result<Layer, Error> {
        parse(text, Arc::new(ConfigFile { shown: "f.toml".into(), project }), strict)
    }

    #[test]
    fn all_that_is_ours_is_read_with_its_line() {
        let text = "\u{feff}default_profile = 'work'\n[api]\nbase_url = 'https://x'\n[profiles.work]\ntoken = ' t\\n'\n\
                    part_size = \"16MiB\"\nconcurrency = 0x8\nretry_for = 90\nlimit_rate = 1_000\nno_resume = true\n";
        let text = text.replace("' t\\n'", "\" t\\n\"");
        let layer = read(&text, true, false).unwrap();
        assert_eq!(layer.default_profile.unwrap().value, "work");
        let url = layer.base_url.unwrap();
        assert_eq!((url.value.as_str(), url.place.to_string()), ("https://x", "f.toml:3".into()));
        let profile = &layer.profiles["work"];
        let part_size = profile.part_size.as_ref().unwrap();
        assert_eq!((part_size.value, part_size.place.line), (16 << 20, 6));
        assert_eq!(profile.concurrency.as_ref().unwrap().value, 8);
        assert_eq!(profile.retry_for.as_ref().unwrap().value, Duration::from_secs(90));
        assert_eq!(profile.limit_rate.as_ref().unwrap().value, 1000);
        assert!(profile.no_resume.as_ref().unwrap().value);
        assert_eq!(profile.token.as_ref().unwrap().value.expose(), "t");
    }

    #[test]
    fn foreign_keys_are_passed_over_in_shared_files_and_errors_in_ours() {
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
            ("default_profile = 1", "f.toml:1: default_profile: must be a string, not an integer"),
            ("api = 'x'", "f.toml:1: api: must be a table, not a string"),
            ("[api]\nbase_url = []", "f.toml:2: api.base_url: must be a string, not an array"),
            ("[profiles]\na = 1", "f.toml:2: profiles.a: must be a table, not an integer"),
            ("[profiles.a]\ntoken = 12345", "f.toml:2: profiles.a.token: must be a string, not an integer"),
            ("[profiles.a]\nparent = ''", "f.toml:2: profiles.a.parent: must not be empty"),
            (
                "[profiles.a]\nno_resume = 'yes'",
                "f.toml:2: profiles.a.no_resume: must be true or false, not a string",
            ),
            (
                "[profiles.a]\npart_size = 1.5",
                "f.toml:2: profiles.a.part_size: must be a string or an integer, not a float",
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
    fn broken_files_are_told_by_line_and_never_shown() {
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
    fn a_key_that_is_there_twice_is_an_error() {
        for text in ["[profiles.a]\nparent = 'x'\nparent = 'y'", "[profiles.a]\n\n[profiles.a]"] {
            let error = read(text, false, false).unwrap_err();
            assert_eq!((error.to_string().as_str(), error.exit_code()), ("f.toml:3: duplicate key", 2));
        }
    }

    #[test]
    fn what_is_empty_and_shared_counts_as_not_set() {
        let layer = read("default_profile=''\napi.base_url=''\nprofiles.a.token=''", true, false).unwrap();
        assert!(layer.default_profile.is_none() && layer.base_url.is_none() && !layer.holds_token());
    }

    #[test]
    fn a_projects_token_command_is_not_read() {
        let layer = read("[profiles.a]\ntoken_command = 'rm -r ~'", false, true).unwrap();
        assert!(layer.profiles["a"].token_command.is_none());
        assert!(layer.warnings[0].starts_with("f.toml:2: profiles.a.token_command is not read"));
        assert!(
            read("profiles.a.token_command = 'pass'", false, false).unwrap().profiles["a"]
                .token_command
                .is_some()
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "[\\[\\]a-z.='\"\n0-9\u{e9}]{0,60}") {
            let _ = read(&text, true, false);
        }
    }
}
