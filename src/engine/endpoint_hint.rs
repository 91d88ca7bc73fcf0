//! Where storage is: known from the first signed URL on, and from earlier runs, so that connections to it open
//! while the API still answers.
//!
//! A guess, and no more: nothing is sent until a signed URL says where to, and one to elsewhere opens its own
//! connection.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::Uri;
use sha2::{Digest as _, Sha256};

use super::urls::{Rules, check};
use crate::checksum::hex;
use crate::http;
use crate::limited::read_file;
use crate::platform;
use crate::secret::SignedUrl;

/// A host's name has 253 characters at most (RFC 1035); this is what is read of the file.
const LONGEST: u64 = 300;

/// See the module.
pub(super) struct EndpointHint {
    /// Where it is kept for later runs; `None`: nowhere.
    file: Option<PathBuf>,
    known: Mutex<Option<Uri>>,
}

impl EndpointHint {
    /// The host of this API's storage, kept in `folder`. What an earlier run knew is known a moment later.
    pub(super) fn new(folder: Option<PathBuf>, api: &str, rules: Rules) -> Arc<Self> {
        let name = format!("{}.storage", &hex(&Sha256::digest(api))[..40]);
        let file = folder.map(|folder| folder.join(name));
        let host = Arc::new(Self { file, known: Mutex::default() });
        if host.file.is_some() {
            let read = Arc::clone(&host);
            tokio::task::spawn_blocking(move || read.read(rules));
        }
        host
    }

    fn read(&self, rules: Rules) {
        let Some((bytes, _)) = self.file.as_ref().and_then(|file| read_file(file, LONGEST).ok()) else {
            return;
        };
        let text = String::from_utf8_lossy(&bytes);
        let host = text.lines().next().filter(|host| check(host, rules).is_ok());
        let Some(host) = host.and_then(|host| host.parse().ok()) else { return };
        self.known().get_or_insert(host);
    }

    /// The host, as a URL without a path, if it is known.
    pub(super) fn get(&self) -> Option<Uri> {
        self.known().clone()
    }

    /// A signed URL says that it is this. Kept for later runs if that is news.
    pub(super) fn learn(self: &Arc<Self>, url: &SignedUrl) -> Option<Uri> {
        let uri: Uri = url.expose().parse().ok()?;
        let host: Uri = format!("{}://{}", uri.scheme_str()?, http::host_and_port(&uri)).parse().ok()?;
        let news = self.known().replace(host.clone()).is_none_or(|before| before != host);
        if news && let Some(file) = self.file.clone() {
            let text = format!("{host}\n");
            // A disk that does not take it costs the next run a moment.
            tokio::task::spawn_blocking(move || {
                // Beside its place first: another run reads the whole name or the one before.
                let new = file.with_extension(format!("{}.new", std::process::id()));
                let written = platform::open_private(&new).and_then(|mut new| new.write_all(text.as_bytes()));
                if written.and_then(|()| std::fs::rename(&new, &file)).is_err() {
                    let _ = std::fs::remove_file(&new);
                }
            });
        }
        Some(host)
    }

    fn known(&self) -> MutexGuard<'_, Option<Uri>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
