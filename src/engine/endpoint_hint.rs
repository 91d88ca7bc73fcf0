//! The storage host, known from the first signed URL or from an earlier run. Connections to it are opened while waiting
//! for the API.
//!
//! It is only a hint: nothing is sent until a signed URL names the host, and a URL to another host opens its own
//! connection.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use hyper::Uri;
use sha2::{Digest as _, Sha256};

use super::urls::check;
use crate::checksum::hex;
use crate::http;
use crate::limited::read_file;
use crate::mutex::lock;
use crate::platform;
use crate::secret::SignedUrl;

/// Limit on the size of the file. A host name has at most 253 characters (RFC 1035).
const MAX_SIZE: u64 = 300;

/// The last known host.
pub(super) struct EndpointHint {
    /// Where it is kept for later runs, if anywhere.
    file: Option<PathBuf>,
    known: Mutex<Option<Uri>>,
}

impl EndpointHint {
    /// The storage host of this API, kept in `folder`. The host from an earlier run is read in the background.
    pub(super) fn new(folder: Option<&Path>, api: &str, allow_http: bool) -> Arc<Self> {
        let name = format!("{}.storage", &hex(&Sha256::digest(api))[..40]);
        let file = folder.map(|folder| folder.join(name));
        let hint = Arc::new(Self { file, known: Mutex::default() });
        if hint.file.is_some() {
            let read = Arc::clone(&hint);
            tokio::task::spawn_blocking(move || read.read(allow_http));
        }
        hint
    }

    fn read(&self, allow_http: bool) {
        let Some((bytes, _)) = self.file.as_ref().and_then(|file| read_file(file, MAX_SIZE).ok()) else {
            return;
        };
        let text = String::from_utf8_lossy(&bytes);
        let host = text.lines().next().filter(|host| check(host, allow_http).is_ok());
        let Some(host) = host.and_then(|host| host.parse().ok()) else { return };
        lock(&self.known).get_or_insert(host);
    }

    /// The host as a URL without a path, if known.
    pub(super) fn get(&self) -> Option<Uri> {
        lock(&self.known).clone()
    }

    /// Learns the host from a signed URL, and keeps it for later runs if it is new.
    pub(super) fn learn(self: &Arc<Self>, url: &SignedUrl) -> Option<Uri> {
        let uri: Uri = url.expose().parse().ok()?;
        let host: Uri = format!("{}://{}", uri.scheme_str()?, http::host_and_port(&uri)).parse().ok()?;
        let is_new = lock(&self.known).replace(host.clone()).is_none_or(|before| before != host);
        if is_new && let Some(file) = self.file.clone() {
            let text = format!("{host}\n");
            // If it cannot be written, the next run starts slightly slower.
            tokio::task::spawn_blocking(move || {
                // Written to a temporary file first: other runs read either the old name or the new one.
                let new = file.with_extension(format!("{}.new", std::process::id()));
                let written = platform::open_private(&new).and_then(|mut new| new.write_all(text.as_bytes()));
                if written.and_then(|()| std::fs::rename(&new, &file)).is_err() {
                    let _ = std::fs::remove_file(&new);
                }
            });
        }
        Some(host)
    }
}
