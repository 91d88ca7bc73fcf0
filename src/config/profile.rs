//! Profiles: what they may set, and where each value is set.

use std::collections::BTreeMap;

use conflate::Merge as _;
use serde::Deserialize;
use serde::de::Deserializer;

use super::location::{Location, Sourced};
use crate::options::TransferOptions;
use crate::secret::Token;
use crate::units::toml;

/// What a profile sets about the account.
#[derive(Debug, Clone, Default, Deserialize, conflate::Merge)]
#[merge(strategy = conflate::option::overwrite_none)]
#[serde(default)]
pub struct AccountOptions {
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
}

fn token<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Token>, D::Error> {
    let text = toml::optional_text(deserializer)?;
    Ok(text.map(|text| Token::new(&text)).filter(|token| !token.is_empty()))
}

/// A profile, from one file or merged from several.
#[derive(Debug, Clone, Default)]
pub struct Profile {
    pub account: AccountOptions,
    pub transfer: TransferOptions,
    /// Where each key is set.
    pub locations: BTreeMap<String, Location>,
}

/// The keys that a profile may have: the account's, then the transfer options.
pub fn keys() -> impl Iterator<Item = String> {
    ["token", "token_command", "parent", "to", "api_url"]
        .map(str::to_owned)
        .into_iter()
        .chain(TransferOptions::keys())
}

impl Profile {
    /// Adds what this profile lacks from one of a file with lower precedence.
    pub fn merge(&mut self, lower: Self) {
        self.account.merge(lower.account);
        self.transfer.merge(lower.transfer);
        for (key, location) in lower.locations {
            self.locations.entry(key).or_insert(location);
        }
    }

    pub fn token(&self) -> Option<Sourced<Token>> {
        self.sourced("token", &self.account.token)
    }

    pub fn token_command(&self) -> Option<Sourced<String>> {
        self.sourced("token_command", &self.account.token_command)
    }

    pub fn parent(&self) -> Option<Sourced<String>> {
        self.sourced("parent", &self.account.parent)
    }

    pub fn to(&self) -> Option<Sourced<String>> {
        self.sourced("to", &self.account.to)
    }

    pub fn api_url(&self) -> Option<Sourced<String>> {
        self.sourced("api_url", &self.account.api_url)
    }

    fn sourced<T: Clone>(&self, key: &str, value: &Option<T>) -> Option<Sourced<T>> {
        Some(Sourced { value: value.clone()?, location: self.locations.get(key)?.clone() })
    }
}
