//! The example configuration and the keys. Merging is tested with `settings`.

use super::parse::parse;
use super::profile::{Values, keys};
use super::*;

const EXAMPLE: &str = include_str!("../config.example.toml");

/// The example with all its settings. A setting that is commented out begins with `#` and no space.
fn uncommented() -> String {
    EXAMPLE
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .fold(String::new(), |mut text, line| {
            text.push_str(line);
            text.push('\n');
            text
        })
}

/// A valid value of a key, in TOML.
pub(crate) fn example_value(key: &str) -> &'static str {
    match key {
        "part_size" => "'8MiB'",
        "api_url" => "'https://own.example'",
        "if_exists" => "'skip'",
        "output" => "'id'",
        "progress" => "'plain'",
        "verify" => "'full'",
        flag if flag.starts_with("no_") => "true",
        _ => "'8'",
    }
}

fn parse_strictly(text: &str) -> Values {
    let file = ConfigFile { path: "f".into(), shown: "f".into(), project: false, must_exist: false };
    parse(text, &Arc::new(file)).unwrap()
}

#[test]
fn the_example_is_valid_with_and_without_its_commented_settings() {
    parse_strictly(EXAMPLE);
    let layer = parse_strictly(&uncommented());
    assert!(layer.default_profile.is_some() && layer.base_url.is_some());
    assert!(layer.warnings.is_empty());
}

#[test]
fn the_example_has_every_key() {
    let text = uncommented();
    for key in keys().chain(["default_profile", "base_url"].map(str::to_owned)) {
        assert!(text.lines().any(|line| line.split('=').next().is_some_and(|k| k.trim() == key)), "{key}");
    }
}

#[test]
fn every_key_is_known_and_merged() {
    let profile = |text: &str| parse_strictly(text).profiles.remove("p").unwrap_or_default();
    for key in keys() {
        let text = format!("profiles.p.{key} = {}", example_value(&key));
        for (mut merged, lower) in
            [(profile(&text), Profile::default()), (Profile::default(), profile(&text))]
        {
            merged.merge(lower);
            assert_eq!(format!("{merged:?}").matches("Some(").count(), 1, "{key}: {merged:?}");
            assert!(merged.locations.keys().eq([&key]));
        }
    }
}
