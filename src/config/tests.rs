//! The example configuration, which must not go stale. How files meet each other is tested with `settings`.

use std::sync::Arc;

use super::profile::{ConfigFile, keys};
use super::*;

const EXAMPLE: &str = include_str!("../config.example.toml");

/// The example with every commented setting made real: a comment that is one begins with `#` and no space.
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

#[test]
fn the_example_parses_as_it_is_and_with_every_line_uncommented() {
    let source = || Arc::new(ConfigFile { shown: "example".into(), project: false });
    file::parse(EXAMPLE, source(), true).unwrap();
    let layer = file::parse(&uncommented(), source(), true).unwrap();
    assert!(layer.default_profile.is_some() && layer.base_url.is_some());
    assert!(layer.warnings.is_empty());
}

#[test]
fn the_example_names_every_key() {
    let text = uncommented();
    for key in keys().chain(["default_profile", "base_url"].map(str::to_owned)) {
        assert!(text.lines().any(|line| line.split('=').next().is_some_and(|k| k.trim() == key)), "{key}");
    }
}

#[test]
fn every_key_is_known_and_merged() {
    let profile = |text: &str| {
        let source = Arc::new(ConfigFile { shown: text.into(), project: false });
        file::parse(text, source, true).unwrap().profiles.remove("p").unwrap_or_default()
    };
    for key in keys() {
        let value = match key.as_str() {
            "no_resume" | "no_checksum" => "true",
            "part_size" => "'8MiB'",
            _ => "'8'",
        };
        let text = format!("profiles.p.{key} = {value}");
        for (mut merged, lower) in
            [(profile(&text), Profile::default()), (Profile::default(), profile(&text))]
        {
            merged.merge(lower);
            assert_eq!(format!("{merged:?}").matches("Some(").count(), 1, "{key}: {merged:?}");
            assert!(merged.locations.keys().eq([&key]));
        }
    }
}
