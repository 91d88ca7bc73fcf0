//! What files and profiles may set, and where each value is set.

use std::collections::BTreeMap;

use conflate::Merge as _;
use serde::Deserialize;
use serde::de::Deserializer;

use super::location::{Location, Sourced};
use crate::options::{IfExists, OutputMode, ProgressMode, TransferOptions};
use crate::plan::filter::Filter;
use crate::secret::Token;
use crate::units::toml;

/// What a profile sets besides the transfer options.
#[derive(Debug, Clone, Default, Deserialize, conflate::Merge)]
#[merge(strategy = conflate::option::overwrite_none)]
#[serde(default)]
pub struct ProfileOptions {
    #[serde(deserialize_with = "token")]
    pub token: Option<Token>,
    #[serde(deserialize_with = "toml::text")]
    pub token_command: Option<String>,
    #[serde(deserialize_with = "toml::text")]
    pub parent: Option<String>,
    #[serde(deserialize_with = "toml::text")]
    pub to: Option<String>,
    #[serde(deserialize_with = "toml::text")]
    pub api_url: Option<String>,
    #[serde(deserialize_with = "toml::choice")]
    pub if_exists: Option<IfExists>,
    #[serde(deserialize_with = "toml::choice")]
    pub output: Option<OutputMode>,
    #[serde(deserialize_with = "toml::choice")]
    pub progress: Option<ProgressMode>,
    #[serde(deserialize_with = "include")]
    pub include: Option<Vec<Filter>>,
    #[serde(deserialize_with = "exclude")]
    pub exclude: Option<Vec<Filter>>,
}

fn include<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Filter>>, D::Error> {
    toml::list(deserializer, Filter::include)
}

fn exclude<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Filter>>, D::Error> {
    toml::list(deserializer, Filter::exclude)
}

fn token<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Token>, D::Error> {
    let text = toml::optional_text(deserializer)?;
    Ok(text.map(|text| Token::new(&text)).filter(|token| !token.is_empty()))
}

/// The values of one file or of several merged ones, before a profile is chosen.
#[derive(Debug, Default)]
pub(super) struct Values {
    /// `default_profile`
    pub default_profile: Option<Sourced<String>>,
    /// `[api] base_url`
    pub base_url: Option<Sourced<String>>,
    /// `[profiles.NAME]`
    pub profiles: BTreeMap<String, Profile>,
    pub warnings: Vec<String>,
}

impl Values {
    /// Adds the values of a file with higher precedence.
    pub(super) fn override_with(&mut self, mut higher: Self) {
        self.warnings.append(&mut higher.warnings);
        self.default_profile = higher.default_profile.or(self.default_profile.take());
        self.base_url = higher.base_url.or(self.base_url.take());
        for (name, mut profile) in higher.profiles {
            if let Some(lower) = self.profiles.remove(&name) {
                profile.merge(lower);
            }
            self.profiles.insert(name, profile);
        }
    }

    /// Whether any profile has a token.
    pub(super) fn holds_token(&self) -> bool {
        self.profiles.values().any(|profile| profile.options.token.is_some())
    }
}

/// A profile, from one file or merged from several.
#[derive(Debug, Clone, Default)]
pub struct Profile {
    pub options: ProfileOptions,
    pub transfer: TransferOptions,
    /// Where each key is set.
    pub locations: BTreeMap<String, Location>,
}

/// Keys of options whose command-line form overrides them.
pub const OVERRIDABLE: [&str; 3] = ["if_exists", "output", "progress"];

/// The keys that a profile may have. The transfer options come last.
pub fn keys() -> impl Iterator<Item = String> {
    ["token", "token_command", "parent", "to", "api_url", "include", "exclude"]
        .into_iter()
        .chain(OVERRIDABLE)
        .map(str::to_owned)
        .chain(TransferOptions::keys())
}

impl Profile {
    /// Adds what this profile lacks from one of a file with lower precedence.
    pub fn merge(&mut self, lower: Self) {
        self.options.merge(lower.options);
        self.transfer.merge(lower.transfer);
        for (key, location) in lower.locations {
            self.locations.entry(key).or_insert(location);
        }
    }

    pub fn token(&self) -> Option<Sourced<Token>> {
        self.sourced("token", &self.options.token)
    }

    pub fn token_command(&self) -> Option<Sourced<String>> {
        self.sourced("token_command", &self.options.token_command)
    }

    pub fn api_url(&self) -> Option<Sourced<String>> {
        self.sourced("api_url", &self.options.api_url)
    }

    /// The globs of `include` and `exclude`. Within one file they keep the order of the two keys, otherwise `include`
    /// comes first.
    pub fn filters(&self) -> Vec<Filter> {
        let [include, exclude] =
            [&self.options.include, &self.options.exclude].map(|globs| globs.iter().flatten());
        let is_excluded_first = match (self.locations.get("include"), self.locations.get("exclude")) {
            (Some(include), Some(exclude)) => include.same_file(exclude) && exclude.line < include.line,
            _ => false,
        };
        if is_excluded_first {
            exclude.chain(include).cloned().collect()
        } else {
            include.chain(exclude).cloned().collect()
        }
    }

    /// The value of a key, with its location.
    pub fn sourced<T: Clone>(&self, key: &str, value: &Option<T>) -> Option<Sourced<T>> {
        Some(Sourced { value: value.clone()?, location: self.locations.get(key)?.clone() })
    }
}
