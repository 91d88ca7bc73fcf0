//! Proxies for the API and storage, set with the variables that curl uses.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use local_drive::Options;

use crate::proxy::{Proxy, Rules};
use crate::support::{MIB, World};

/// Far less than `--retry-for`, which limits the retries of transient failures.
const AT_ONCE: Duration = Duration::from_secs(60);

/// A drive with `https`.
fn world() -> World {
    let mut world = World::with(Options { tls: true, ..Options::default() });
    let ca = world.file_of("ca.pem", world.drive.ca_pem().unwrap());
    world.set("SSL_CERT_FILE", ca);
    world
}

/// A proxy of each kind, with the part of its URL before host and port.
fn all_kinds(world: &World) -> Vec<(&'static str, Proxy)> {
    let user = Some("Basic dXNlcjpzZXNhbWU=");
    let socks_user = Some(("user", "sesame"));
    let tls = world.drive.tls_config();
    vec![
        ("http://", Proxy::new(Rules::default())),
        ("", Proxy::new(Rules::default())),
        ("http://user:sesame@", Proxy::new(Rules { credentials: user, ..Rules::default() })),
        ("https://", Proxy::new(Rules { tls: tls.clone(), ..Rules::default() })),
        ("https://user:sesame@", Proxy::new(Rules { credentials: user, tls, ..Rules::default() })),
        ("socks5://", Proxy::new(Rules { socks: Some((None, 0)), ..Rules::default() })),
        ("socks5h://", Proxy::new(Rules { socks: Some((None, 0)), ..Rules::default() })),
        ("socks5h://user:sesame@", Proxy::new(Rules { socks: Some((socks_user, 0)), ..Rules::default() })),
    ]
}

#[test]
fn the_api_and_storage_use_proxies_of_every_kind() {
    let mut world = world();
    let file = world.file("f", 11 * MIB);
    for (before, proxy) in all_kinds(&world) {
        world.set("HTTPS_PROXY", proxy.url(before));
        let ran = world.run(&["-vv".as_ref(), file.as_os_str()]);
        world.assert_stored(&ran.ok().says_nothing_of("sesame").id(), &file);
        let scheme = before.find("://").map_or("http://", |end| &before[..end + 3]);
        let note = format!("note: using the proxy {} (HTTPS_PROXY)", proxy.url(scheme));
        assert_eq!(ran.stderr.matches(&note).count(), 1, "{note}: {}", ran.stderr);
        assert_eq!(proxy.targets().len(), 2, "{before}: {:?}", proxy.targets());
    }
}

#[test]
fn plain_http_uses_proxies_of_every_kind_too() {
    let (mut world, secure) = (World::new(), world());
    world.set("SSL_CERT_FILE", secure.work().join("ca.pem"));
    let file = world.file("f", 11 * MIB);
    for (before, proxy) in all_kinds(&secure) {
        world.set("HTTP_PROXY", proxy.url(before));
        let ran = world.run(&["-vv".as_ref(), file.as_os_str()]);
        world.assert_stored(&ran.ok().says_nothing_of("sesame").id(), &file);
        let asked = proxy.targets();
        let storage =
            asked.iter().filter(|place| place.contains(&world.drive.storage_addr().to_string())).count();
        assert!(storage > 0 && storage < asked.len(), "{before}: {asked:?}");
    }
}

#[test]
fn each_variable_is_read_and_surrounding_white_space_is_ignored() {
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        let (mut world, proxy) = (world(), Proxy::new(Rules::default()));
        world.set(variable, format!(" {}\r\n", proxy.url("http://")));
        let file = world.file("f", 1000);
        world.run(&[&file]).ok();
        assert_eq!(proxy.targets().len(), 2, "{variable}: {:?}", proxy.targets());
    }
}

#[test]
fn an_invalid_proxy_is_a_usage_error_and_nothing_is_sent() {
    for variable in ["HTTPS_PROXY", "http_proxy", "ALL_PROXY"] {
        for value in
            ["socks://127.0.0.1:1", "ftp://user:sesame@h", "not a url", "http://[::1", "http://u%ff:sesame@h"]
        {
            let mut world = world();
            world.set(variable, value);
            let file = world.file("f", 1000);
            let ran = world.run(&[&file]);
            ran.fails(2).says(variable).says("hint:").says_nothing_of("sesame");
            assert!(world.drive.record().requests.is_empty(), "{variable}={value}");
        }
    }
}

#[test]
fn login_uses_the_same_variables() {
    let mut world = world();
    world.set("HTTPS_PROXY", "socks://127.0.0.1:1");
    let mut command = world.upload(&["--login"]);
    command.write_stdin(format!("{}\n", world.drive.token())).assert().code(2);
    assert!(world.drive.record().requests.is_empty());

    let proxy = Proxy::new(Rules::default());
    world.set("HTTPS_PROXY", proxy.url("http://"));
    let mut command = world.upload(&["--login", "-v"]);
    let told = predicates::str::contains("using the proxy").count(1);
    command.write_stdin(format!("{}\n", world.drive.token())).assert().success().stderr(told);
    assert_eq!(proxy.targets().len(), 1);
}

#[test]
fn hosts_in_no_proxy_are_reached_directly() {
    for list in ["example.com,127.0.0.1", "*", "127.0.0.0/8", "localhost, 127.0.0.1\r\n"] {
        let (mut world, proxy) = (world(), Proxy::new(Rules::default()));
        world.set("HTTPS_PROXY", proxy.url("http://"));
        world.set("no_proxy", list);
        let file = world.file("f", 1000);
        world.run(&[file.as_os_str(), "-v".as_ref()]).ok().says_nothing_of("using the proxy");
        assert!(proxy.targets().is_empty(), "{list}: {:?}", proxy.targets());
    }
}

#[test]
fn a_port_in_no_proxy_limits_the_entry_to_that_port() {
    let (mut world, proxy) = (world(), Proxy::new(Rules::default()));
    world.set("HTTPS_PROXY", proxy.url("http://"));
    let storage = world.drive.storage_addr().to_string();
    world.set("NO_PROXY", storage.clone());
    let file = world.file("f", 1000);
    world.run(&[&file]).ok();
    assert!(proxy.targets().len() == 1 && proxy.targets()[0] != storage, "{:?}", proxy.targets());
}

#[test]
fn a_percent_sign_without_hex_digits_is_literal_in_credentials() {
    let mut world = world();
    let file = world.file("f", 1000);
    // us%zzer:sesame%
    let http = Rules { credentials: Some("Basic dXMlenplcjpzZXNhbWUl"), ..Rules::default() };
    let socks = Rules { socks: Some((Some(("us%zzer", "sesame%")), 0)), ..Rules::default() };
    for (scheme, rules) in [("http", http), ("socks5h", socks)] {
        let proxy = Proxy::new(rules);
        world.set("HTTPS_PROXY", proxy.url(&format!("{scheme}://us%zzer:sesame%@")));
        world.assert_stored(&world.run(&[&file]).ok().says_nothing_of("sesame").id(), &file);
        assert_eq!(proxy.targets().len(), 2, "{scheme}: {:?}", proxy.targets());
    }
}

#[test]
fn a_backslash_belongs_to_the_user_and_a_slash_there_is_a_usage_error() {
    let mut world = World::new();
    // corp\user:sesame
    let proxy = Proxy::new(Rules { credentials: Some("Basic Y29ycFx1c2VyOnNlc2FtZQ=="), ..Rules::default() });
    let file = world.file("f", 1000);
    world.set("HTTP_PROXY", proxy.url("http://corp\\user:sesame@"));
    world.run(&[&file]).ok();
    for user in ["us/er:sesame", "us?er:sesame", "us#er:sesame", "user:12/sesame"] {
        world.set("HTTP_PROXY", proxy.url(&format!("http://{user}@")));
        world.run(&[&file]).fails(2).says("HTTP_PROXY").says("%2F").says_nothing_of("sesame");
    }
}

#[test]
fn a_wrong_password_is_tried_once_and_ends_the_run() {
    let mut world = world();
    let tls = world.drive.tls_config();
    let rules = Rules { credentials: Some("Basic dXNlcjpzZXNhbWU="), ..Rules::default() };
    let socks = Rules { socks: Some((Some(("user", "sesame")), 0)), ..Rules::default() };
    for n in 0..60 {
        world.file_of(format!("f{n}"), n.to_string());
    }
    for (before, rules) in [
        ("http://user:wrong-sesame@", rules.clone()),
        ("http://", rules.clone()),
        ("https://user:wrong-sesame@", Rules { tls, ..rules }),
        ("socks5h://user:wrong-sesame@", socks.clone()),
        ("socks5://", socks),
    ] {
        let proxy = Proxy::new(rules);
        world.set("HTTPS_PROXY", proxy.url(before));
        let begun = Instant::now();
        let ran = world.run(&["-vv", "-r", "."]);
        ran.fails(1).says("HTTPS_PROXY").says("percent-encode").says_nothing_of("sesame");
        assert_eq!(proxy.count(), 1, "{before}");
        assert!(begun.elapsed() < AT_ONCE);
    }
}

#[test]
fn a_wrong_password_for_plain_http_ends_the_run_too() {
    let mut world = World::new();
    let proxy = Proxy::new(Rules { credentials: Some("Basic dXNlcjpzZXNhbWU="), ..Rules::default() });
    world.set("HTTP_PROXY", proxy.url("http://user:wrong-sesame@"));
    let file = world.file("f", 1000);
    let ran = world.run(&["-vv".as_ref(), file.as_os_str()]);
    ran.fails(1).says("407").says("HTTP_PROXY").says("percent-encode").says_nothing_of("sesame");
    assert_eq!(proxy.count(), 1);
}

#[test]
fn a_refusal_by_a_plain_http_proxy_is_not_reported_as_one_of_the_server() {
    // Requests: start, signed URLs, part.
    for (response, words) in [
        ("403 Forbidden", "the proxy refused"),
        ("405 Method Not Allowed", "the proxy refused"),
        ("407 Proxy Authentication Required", "user name and password"),
    ] {
        for from in [1, 3] {
            let mut world = World::new();
            let proxy = Proxy::new(Rules { response: Some((from, response)), ..Rules::default() });
            world.set("HTTP_PROXY", proxy.url("http://"));
            let file = world.file("f", 1000);
            let ran = world.run(&[&file]);
            ran.fails(1).says(words).says(&response[..3]).says("HTTP_PROXY").says("hint:");
            assert_eq!(proxy.count(), from);
        }
    }
}

#[test]
fn a_refusal_by_a_proxy_ends_the_run_at_once() {
    let refusals = ["403 Forbidden", "405 Method Not Allowed", "511 Network Authentication Required"];
    // The API comes first, with two connections. The first one only checks whether the proxy is reachable.
    for (from, response) in refusals.iter().flat_map(|response| [(1, *response), (3, *response)]) {
        let (mut world, proxy) =
            (world(), Proxy::new(Rules { response: Some((from, response)), ..Rules::default() }));
        world.set("HTTPS_PROXY", proxy.url("http://"));
        let file = world.file("f", 1000);
        let begun = Instant::now();
        let ran = world.run(&[&file]);
        ran.fails(1).says(&response[..3]).says("the proxy refused").says("HTTPS_PROXY").says("hint:");
        assert!(begun.elapsed() < AT_ONCE, "{response} from {from}");
        assert_eq!(proxy.targets().len(), if from == 1 { 1 } else { 2 }, "{response} from {from}");
    }
    for reply in [2, 7] {
        let mut world = world();
        let proxy = Proxy::new(Rules { socks: Some((None, reply)), ..Rules::default() });
        world.set("HTTPS_PROXY", proxy.url("socks5h://"));
        let file = world.file("f", 1000);
        world.run(&[&file]).fails(1).says("the proxy refused").says("HTTPS_PROXY");
        assert_eq!(proxy.count(), 1);
    }
}

#[test]
fn a_proxy_that_is_unavailable_is_retried() {
    let (mut world, proxy) =
        (world(), Proxy::new(Rules { response: Some((1, "503 Service Unavailable")), ..Rules::default() }));
    world.set("HTTPS_PROXY", proxy.url("http://"));
    let file = world.file("f", 1000);
    world
        .run(&["--max-retries".as_ref(), "2".as_ref(), file.as_os_str()])
        .fails(7)
        .says("503")
        .says("HTTPS_PROXY");
    assert_eq!(proxy.count(), 3);
}

#[test]
fn an_unreachable_proxy_for_plain_http_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (mut world, variable) in [(world(), "HTTPS_PROXY"), (World::new(), "HTTP_PROXY")] {
        for before in ["http://user:sesame@", "https://", "socks5h://"] {
            world.set(variable, format!("{before}{free}"));
            let file = world.file("f", 1000);
            let ran = world.run(&["--retry-for".as_ref(), "0".as_ref(), file.as_os_str()]);
            ran.fails(7).says(&free.to_string()).says(variable).says_nothing_of("sesame");
        }
    }
}
