//! The query of a URL, decoded.

use hyper::Uri;
use reqwest::Url;

/// Names and values in the order of the URL.
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    pub(crate) fn of(uri: &Uri) -> Self {
        // `Url` decodes only absolute URLs. The host does not matter.
        let url = Url::parse(&format!("http://localhost/?{}", uri.query().unwrap_or_default()));
        url.map_or_else(|_| Self { pairs: Vec::new() }, |url| Self::of_url(&url))
    }

    pub(crate) fn of_url(url: &Url) -> Self {
        let pairs = url.query_pairs();
        Self { pairs: pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect() }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All parameters, sorted by name and value.
    pub(crate) fn sorted(&self) -> Vec<(&str, &str)> {
        let mut pairs: Vec<_> =
            self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        pairs.sort_unstable();
        pairs
    }
}
