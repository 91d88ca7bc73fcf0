//! Editing texts of all forms. The integration tests cover files and links.

use super::*;

const EXAMPLE: &str = include_str!("../config.example.toml");

fn save(text: &str, profile: &str, api_url: Option<&str>) -> (String, bool) {
    let token = Token::new("new");
    edit(text, &Entry { profile, token: &token, api_url, is_default: false }).unwrap()
}

/// The parsed text, with one line for each value of each profile.
fn values(text: &str) -> Vec<String> {
    let table: toml::Table = text.parse().unwrap();
    let mut lines = Vec::new();
    for (profile, keys) in table.get("profiles").and_then(toml::Value::as_table).into_iter().flatten() {
        lines.extend(keys.as_table().unwrap().iter().map(|(key, value)| format!("{profile}.{key}={value}")));
    }
    lines
}

#[test]
fn an_empty_text_gets_a_profile() {
    assert_eq!(save("", "default", None).0, "[profiles.default]\ntoken = \"new\"\n");
    assert_eq!(
        save("", "a b", Some("https://x")).0,
        "[profiles.\"a b\"]\ntoken = \"new\"\napi_url = \"https://x\"\n"
    );
    let token = Token::new("new");
    let entry = Entry { profile: "work", token: &token, api_url: None, is_default: true };
    assert_eq!(
        edit("# mine\n", &entry).unwrap().0,
        "default_profile = \"work\"\n# mine\n\n[profiles.work]\ntoken = \"new\"\n"
    );
}

#[test]
fn a_replaced_token_keeps_its_place_and_comment() {
    let text = "# top\n[profiles.a]   # mine\nparent = 'p' # folder\n\ntoken   =  'old'  # from June\nretry_for=9\n# end\n";
    let (made, replaced) = save(text, "a", None);
    assert_eq!(made, text.replace("'old'", "\"new\""));
    assert!(replaced);
    for same in [text.replace("'old'", "'new'"), text.replace("'old'", "''")] {
        assert!(!save(&same, "a", None).1, "{same}");
    }
}

#[test]
fn every_form_of_profile_gets_the_token_and_loses_nothing() {
    for text in [
        "[profiles.a]\nparent = 'p'\n\n[profiles.b]\nparent = 'q'\n",
        "[profiles.a]\nparent = 'p'",
        "[profiles]\na = { parent = 'p' }\nb.parent = 'q'\n",
        "[profiles]\na.parent = 'p'\n[profiles.c]\nparent = 'r'\n",
        "profiles = { a = { parent = 'p' } }\n",
        "profiles.a.parent = 'p'\n",
        "profiles.a.parent = 'p'\n[api]\nbase_url = 'https://x'\n",
        "[profiles.b]\nparent = 'q'\n[api]\n# end of api\n\n[profiles.a]\nparent = 'p'\n# the end",
        "\u{feff}[profiles.a]\r\nparent = 'p'\r\n",
        "[profiles.'a']\nparent = 'p'\n",
        "[profiles]\n[profiles.b]\n",
        "[api]\nbase_url = 'https://x'\n# the end\n",
    ] {
        for profile in ["a", "new one"] {
            let (made, _) = save(text, profile, Some("https://y"));
            let mut wanted = values(text);
            let name = if profile == "a" { "a" } else { "new one" };
            wanted.extend([format!("{name}.api_url=\"https://y\""), format!("{name}.token=\"new\"")]);
            let mut found = values(&made);
            wanted.sort();
            found.sort();
            assert_eq!(found, wanted, "{text:?} became {made:?}");
            let comments = |text: &str| text.lines().filter(|line| line.contains('#')).count();
            assert_eq!(comments(&made), comments(text), "{made:?}");
        }
    }
}

#[test]
fn comments_stay_with_their_profile() {
    let (made, _) = save(EXAMPLE, "new", None);
    assert_eq!(made, format!("{EXAMPLE}\n[profiles.new]\ntoken = \"new\"\n"));
    let (made, _) = save(EXAMPLE, "default", None);
    assert_eq!(made, EXAMPLE.replace("[profiles.default]\n", "[profiles.default]\ntoken = \"new\"\n"));
    let (made, _) = save("[profiles.a]\n# about a\n[api]\n# about the api\n", "b", None);
    assert_eq!(made, "[profiles.a]\n# about a\n[api]\n# about the api\n\n[profiles.b]\ntoken = \"new\"\n");
}
