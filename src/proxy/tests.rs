use super::*;

fn resolve(variables: &[(&'static str, &str)]) -> Result<Proxies, Error> {
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, OsString::from(*value))).collect();
    Proxies::resolve(&variables, &mut Vec::new())
}

fn found(proxies: &Proxies, url: &'static str) -> String {
    proxies.find(&Uri::from_static(url)).map_or("direct".to_owned(), |proxy| proxy.to_string())
}

#[test]
fn each_scheme_has_its_variable_and_all_proxy_fills_in() {
    for (variables, http, https) in [
        (&[][..], "direct", "direct"),
        (&[("HTTPS_PROXY", "http://p:1")][..], "direct", "http://p:1 (HTTPS_PROXY)"),
        (&[("HTTP_PROXY", "http://p:1")], "http://p:1 (HTTP_PROXY)", "direct"),
        (&[("ALL_PROXY", "p:1")], "http://p:1 (ALL_PROXY)", "http://p:1 (ALL_PROXY)"),
        (
            &[("all_proxy", "socks5://p"), ("https_proxy", "https://q")],
            "socks5://p:1080 (all_proxy)",
            "https://q:443 (https_proxy)",
        ),
        (&[("https_proxy", "low:1"), ("HTTPS_PROXY", "up:1")], "direct", "http://low:1 (https_proxy)"),
        (&[("https_proxy", " \r\n"), ("HTTPS_PROXY", "up:1")], "direct", "http://up:1 (HTTPS_PROXY)"),
        (&[("ALL_PROXY", "p:1"), ("NO_PROXY", "h")], "direct", "direct"),
        (
            &[("HTTPS_PROXY", "p:1"), ("HTTP_PROXY", "q:2"), ("ALL_PROXY", "socks://unused")],
            "http://q:2 (HTTP_PROXY)",
            "http://p:1 (HTTPS_PROXY)",
        ),
    ] {
        let proxies = resolve(variables).unwrap();
        assert_eq!(found(&proxies, "http://h/x"), http, "{variables:?}");
        assert_eq!(found(&proxies, "https://h/x"), https, "{variables:?}");
    }
}

#[test]
fn white_space_around_a_value_does_not_count() {
    for value in ["http://p:3128", " http://p:3128", "http://p:3128\r", "\thttp://p:3128/\r\n", "p:3128\n"] {
        let proxies = resolve(&[("HTTPS_PROXY", value)]).unwrap();
        assert_eq!(found(&proxies, "https://h/"), "http://p:3128 (HTTPS_PROXY)", "{value:?}");
    }
}

#[test]
fn what_is_no_proxy_is_a_usage_error_that_names_the_variable_and_hides_the_password() {
    let long = format!("socks5://{}:x@h", "u".repeat(256));
    for value in [
        "socks://h:1080",
        "socks4://h:1080",
        "ftp://h",
        "file:///etc",
        "not a url",
        "http://[::1",
        "http://",
        "http://:3128",
        "http:/h",
        "http://h:99999",
        "http://h:port",
        "socks5://",
        "http://h:3128\n\thttp://g:3128",
        "http://a..b:3128",
        "://h",
        &long,
        "ftp://user:sesame@h",
        "http://user:ses#sesame@h",
        "http://user:ses/sesame@h:x",
        "http://user:open sesame@h",
        "user:sesame@h:x",
        "http://user:sesame%ff@h",
        "socks5h://us%e9r:sesame@h",
    ] {
        let error = resolve(&[("https_proxy", value)]).unwrap_err();
        let told = format!("{error} {}", error.hint().unwrap_or_default());
        assert_eq!(error.exit_code(), 2, "{value}");
        assert!(told.starts_with("https_proxy `") && !told.contains("sesame"), "{value}: {told}");
    }
}

#[test]
fn user_and_password_are_decoded_and_shown_nowhere() {
    let http = resolve(&[("HTTPS_PROXY", "http://us%65r:ses%40me@h:1")]).unwrap();
    let proxy = http.find(&Uri::from_static("https://x/")).unwrap();
    // user:ses@me
    assert_eq!(proxy.basic_auth().unwrap(), "Basic dXNlcjpzZXNAbWU=");
    assert_eq!(format!("{http:?}").matches("ses").count(), 0, "{http:?}");
    let literal = resolve(&[("HTTPS_PROXY", "http://us%zz:ses%4@h:1")]).unwrap();
    // us%zz:ses%4
    let proxy = literal.find(&Uri::from_static("https://x/")).unwrap();
    assert_eq!(proxy.basic_auth().unwrap(), "Basic dXMleno6c2VzJTQ=");
    let socks = resolve(&[("ALL_PROXY", "socks5h://user:ses%40me@h")]).unwrap();
    let proxy = socks.find(&Uri::from_static("https://x/")).unwrap();
    assert_eq!(proxy.socks_auth(), Some(("user", "ses@me")));
    assert!(!proxy.to_string().contains("user"));
}

#[test]
fn a_cgi_programs_http_proxy_is_a_stranger_s_and_not_used() {
    let mut warnings = Vec::new();
    let variables = [("HTTP_PROXY", "evil:1".into()), ("HTTPS_PROXY", "p:1".into()), (CGI, "GET".into())];
    let proxies = Proxies::resolve(&variables, &mut warnings).unwrap();
    assert_eq!(found(&proxies, "http://h/"), "direct");
    assert_eq!(found(&proxies, "https://h/"), "http://p:1 (HTTPS_PROXY)");
    assert!(warnings.len() == 1 && warnings[0].starts_with("HTTP_PROXY"), "{warnings:?}");
}
