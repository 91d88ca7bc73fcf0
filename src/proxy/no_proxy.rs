//! `NO_PROXY`: hosts that are reached directly.

use std::net::IpAddr;

use ipnet::IpNet;
use reqwest::Url;

/// The entries of the list.
#[derive(Debug, Clone, Default)]
pub struct NoProxy(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    host: HostPattern,
    /// `None`: any.
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostPattern {
    Any,
    Network(IpNet),
    /// The domain and everything below it.
    Domain(String),
    /// Everything below the domain, but not the domain itself (`*.domain`).
    Below(String),
}

impl NoProxy {
    /// Parses a list separated by commas or white space, as curl does. An invalid entry exempts nothing.
    pub fn parse(list: &str) -> Self {
        let entries = list.split(|c: char| c == ',' || c.is_whitespace()).filter(|entry| !entry.is_empty());
        Self(entries.filter_map(Entry::parse).collect())
    }

    /// Whether to reach a host directly on this port. IPv6 addresses are in brackets, as in URLs.
    pub fn covers(&self, host: &str, port: u16) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let host = normalize(host);
        let address = host.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        self.0.iter().any(|entry| {
            let right_host = match (&entry.host, address) {
                (HostPattern::Any, _) => true,
                (HostPattern::Network(network), Some(address)) => network.contains(&address),
                (HostPattern::Domain(domain), None) => host == *domain || is_below(&host, domain),
                (HostPattern::Below(domain), None) => is_below(&host, domain),
                _ => false,
            };
            right_host && entry.port.is_none_or(|wanted| wanted == port)
        })
    }
}

fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|above| above.ends_with('.'))
}

impl Entry {
    fn parse(text: &str) -> Option<Self> {
        // An IPv6 address without brackets: its colons do not separate a port.
        if let Some(network) = network(text) {
            return Some(Self { host: HostPattern::Network(network), port: None });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port.parse().ok()?)),
            _ => (text, None),
        };
        let host = if host == "*" {
            HostPattern::Any
        } else if let Some(network) = network(host) {
            HostPattern::Network(network)
        } else if let Some(domain) = host.strip_prefix("*.") {
            HostPattern::Below(domain_of(domain)?)
        } else {
            HostPattern::Domain(domain_of(host.trim_start_matches('.'))?)
        };
        Some(Self { host, port })
    }
}

/// An address or a network, in brackets or not. macOS writes its own list without trailing zeros (`169.254/16`).
fn network(text: &str) -> Option<IpNet> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length.trim_end_matches(']'))),
        None => (text, None),
    };
    if text.starts_with('[') != text.contains(']') {
        return None;
    }
    let mut address = address.trim_start_matches('[').trim_end_matches(']').to_owned();
    if length.is_some() && !address.contains(':') {
        for _ in address.split('.').count()..4 {
            address.push_str(".0");
        }
    }
    let address: IpAddr = address.parse().ok()?;
    let network = match length {
        // A mapped IPv4 address counts as IPv4; networks have a form of their own.
        None => IpNet::from(address.to_canonical()),
        Some(length) => IpNet::new(address, length.parse().ok()?).ok()?,
    };
    Some(network.trunc())
}

/// A name as in URLs: lower case, with other than ASCII characters encoded.
fn domain_of(name: &str) -> Option<String> {
    let url = Url::parse(&format!("http://{name}")).ok()?;
    (url.path() == "/" && url.port().is_none() && url.username().is_empty())
        .then(|| url.host_str().map(normalize))
        .flatten()
}

fn normalize(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_entry_exempts_its_hosts_and_no_others() {
        for (list, covered, not_covered) in [
            ("*", &["a.example:443", "10.0.0.1:80", "[::1]:80"][..], &[][..]),
            ("*:8443", &["a.example:8443"], &["a.example:443"]),
            (
                "example.com",
                &["example.com:443", "a.b.example.com:80", "EXAMPLE.com.:1"],
                &["notexample.com:443", "example.com.evil:443", "10.0.0.1:443"],
            ),
            (".example.com", &["example.com:443", "a.example.com:443"], &["notexample.com:443"]),
            ("*.example.com", &["a.example.com:443"], &["example.com:443", "notexample.com:443"]),
            ("*.example.com:81", &["a.example.com:81"], &["a.example.com:82"]),
            ("Example.COM.:8080", &["a.example.com:8080"], &["example.com:80"]),
            ("bücher.example", &["xn--bcher-kva.example:443"], &[]),
            ("127.0.0.1", &["127.0.0.1:5", "[::ffff:127.0.0.1]:5"], &["127.0.0.2:5", "localhost:5"]),
            ("127.0.0.1:90", &["127.0.0.1:90"], &["127.0.0.1:91"]),
            ("10.0.0.0/8", &["10.255.1.2:443"], &["11.0.0.1:443"]),
            ("10.1.2.3/8:443", &["10.255.1.2:443"], &["10.255.1.2:80"]),
            ("169.254/16", &["169.254.169.254:80"], &["169.255.0.1:80"]),
            ("::1", &["[::1]:80"], &["[::2]:80"]),
            ("[::1]", &["[::1]:80"], &["[::2]:80"]),
            ("[::1]:81", &["[::1]:81"], &["[::1]:80"]),
            ("fd00::/8", &["[fd12::3]:80"], &["[fe80::1]:80"]),
            ("[fd00::/8]:443", &["[fd12::3]:443"], &["[fd12::3]:80"]),
            ("[fd00::]/8:443", &["[fd12::3]:443"], &["[fd12::3]:80"]),
            (
                "a.example,\t10.0.0.1 ,, b.example\r\n",
                &["a.example:1", "10.0.0.1:1", "b.example:1"],
                &["c:1"],
            ),
        ] {
            let list = NoProxy::parse(list);
            let covers = |url: &&str| {
                let (host, port) = url.rsplit_once(':').unwrap();
                list.covers(host, port.parse().unwrap())
            };
            assert!(covered.iter().all(covers), "{list:?} covers too little of {covered:?}");
            assert!(!not_covered.iter().any(covers), "{list:?} covers some of {not_covered:?}");
        }
    }

    #[test]
    fn an_entry_that_makes_no_sense_exempts_nothing() {
        for list in ["10.0.0.0/33", "host:port", "http://host", "host/path", "[::1", "*a*", ":80", "."] {
            let parsed = NoProxy::parse(list);
            for host in ["host", "10.0.0.1", "[::1]", "a", "http"] {
                assert!(!parsed.covers(host, 80), "{list}: {parsed:?}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn any_list_is_read_without_panicking(list in "[-a-z0-9.:/*\\[\\],é ]{0,40}") {
            NoProxy::parse(&list).covers("a.example", 443);
        }
    }
}
