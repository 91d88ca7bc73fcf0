//! A request's query, decoded.

use hyper::Uri;

/// Names and values in the order in which they were sent.
#[derive(Clone)]
pub(crate) struct Query {
    pub(crate) pairs: Vec<(String, String)>,
}

impl Query {
    pub(crate) fn of(uri: &Uri) -> Self {
        // `Url` needs a host to decode the rest; which one does not matter.
        let url = format!("http://localhost/?{}", uri.query().unwrap_or_default());
        let pairs = reqwest::Url::parse(&url)
            .map(|url| {
                url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
            })
            .unwrap_or_default();
        Self { pairs }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}
