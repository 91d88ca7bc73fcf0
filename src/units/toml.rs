//! The values of [`units`](super) in TOML files: strings as on the command line, or integers. Errors say what is expected and never
//! quote the value, because a message must not quote a token that is in the wrong place.

use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IntoDeserializer as _};

use super::{parse_concurrency, parse_duration, parse_part_size, parse_rate, parse_retries, parse_timeout};

fn value<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    parse: fn(&str) -> Result<T, String>,
) -> Result<Option<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "must be a string or an integer")]
    enum Value {
        Text(String),
        Number(i64),
    }
    let text = match Value::deserialize(deserializer)? {
        Value::Text(text) => text,
        Value::Number(number) => number.to_string(),
    };
    parse(&text).map(Some).map_err(D::Error::custom)
}

macro_rules! values {
    ($($name:ident: $type:ty = $parse:ident,)*) => {$(
        #[doc = concat!("Deserializes a value for `", stringify!($parse), "`.")]
        pub fn $name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<$type>, D::Error> {
            value(deserializer, $parse)
        }
    )*};
}
values! {
    concurrency: usize = parse_concurrency,
    part_size: u64 = parse_part_size,
    rate: u64 = parse_rate,
    duration: Duration = parse_duration,
    timeout: Duration = parse_timeout,
    retries: u32 = parse_retries,
}

/// One of the values of an option.
pub fn choice<'de, D: Deserializer<'de>, T: clap::ValueEnum>(deserializer: D) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(deserializer).unwrap_or_default();
    T::from_str(&text, false).map(Some).map_err(|_| {
        let values = T::value_variants().iter().filter_map(T::to_possible_value);
        let names: Vec<_> = values.map(|value| value.get_name().to_owned()).collect();
        D::Error::custom(format!("must be one of {}", names.join(", ")))
    })
}

/// One of the values of an option, `true` or `false`.
pub fn choice_or_flag<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: clap::ValueEnum + From<bool>,
{
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "must be a string, true or false")]
    enum Value {
        Flag(bool),
        Text(String),
    }
    match Value::deserialize(deserializer)? {
        Value::Flag(flag) => Ok(Some(flag.into())),
        Value::Text(text) => choice(text.into_deserializer()),
    }
}

/// A string or a list of strings.
pub fn list<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    parse: fn(&str) -> Result<T, String>,
) -> Result<Option<Vec<T>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "must be a string or a list of strings")]
    enum List {
        One(String),
        Several(Vec<String>),
    }
    let texts = match List::deserialize(deserializer)? {
        List::One(text) => vec![text],
        List::Several(texts) => texts,
    };
    texts.iter().map(|text| parse(text)).collect::<Result<_, _>>().map(Some).map_err(D::Error::custom)
}

/// `true` or `false`.
pub fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    bool::deserialize(deserializer).map(Some).map_err(|_| D::Error::custom("must be true or false"))
}

/// A string that is not empty.
pub fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    match optional_text(deserializer)? {
        None => Err(D::Error::custom("must not be empty")),
        text => Ok(text),
    }
}

/// A string. An empty one counts as unset, as in the official CLI.
pub fn optional_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer).map_err(|_| D::Error::custom("must be a string"))?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}
