//! What the two servers share: settings, clock, faults, record, items, and the storage behind them.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;

use crate::clock::Clock;
use crate::external::External;
use crate::fault::Faults;
use crate::items::Items;
use crate::options::Options;
use crate::record::Recorder;
use crate::sigv4::{Credentials, Signer};
use crate::store::{Refusal, Store};
use crate::tls::Tls;

/// Where the parts are.
pub(crate) enum Backend {
    Embedded(Arc<Store>),
    External(External),
}

/// The drive, as its requests see it.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) token: String,
    pub(crate) clock: Clock,
    pub(crate) faults: Faults,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) items: Items,
    pub(crate) backend: Backend,
    pub(crate) s3s: Option<s3s::service::S3Service>,
    pub(crate) credentials: Credentials,
    pub(crate) bucket: String,
    /// `https`, if it is spoken.
    pub(crate) tls: Option<Tls>,
    /// Scheme, host and port of the storage, known once it listens.
    pub(crate) endpoint: OnceLock<String>,
    /// The network is pulled: connections end with a reset.
    pub(crate) down: AtomicBool,
    /// URLs dated up to this second are expired, whatever their lifetime.
    pub(crate) revoked: AtomicI64,
    /// The latest date on a URL.
    pub(crate) signed: AtomicI64,
    /// One finalize at a time: completing on another S3 server takes a while, and a repeat has to see its end.
    pub(crate) finalizing: tokio::sync::Mutex<()>,
}

impl Shared {
    pub(crate) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// A signer for now. Right after [`Shared::revoke`] its date is a second ahead: dates have whole seconds, and
    /// a URL asked for in the second of the revocation has to be another one than those revoked.
    pub(crate) fn signer(&self) -> Signer {
        let now = self.clock.now();
        let earliest = self.revoked.load(Ordering::SeqCst).saturating_add(1);
        let date = Timestamp::from_second(now.as_second().max(earliest)).unwrap_or(now);
        self.signed.fetch_max(date.as_second(), Ordering::SeqCst);
        let endpoint = self.endpoint.get().map(String::as_str).unwrap_or_default();
        Signer::new(endpoint, &self.credentials, date)
    }

    /// Makes every URL signed so far expired.
    pub(crate) fn revoke(&self) {
        self.revoked.fetch_max(self.signed.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    pub(crate) fn was_revoked(&self, date: Timestamp) -> bool {
        date.as_second() <= self.revoked.load(Ordering::SeqCst)
    }

    pub(crate) fn rename_etag(&self, upload_id: &str, part: u32, etag: &str) {
        if let Backend::Embedded(store) = &self.backend {
            store.rename_etag(upload_id, part, etag);
        }
    }

    pub(crate) async fn create_upload(&self, key: &str) -> Result<String, Refusal> {
        match &self.backend {
            Backend::Embedded(store) => Ok(store.create(key)),
            Backend::External(external) => external.create(&self.signer(), key).await,
        }
    }

    pub(crate) async fn complete_upload(
        &self,
        upload_id: &str,
        key: &str,
        parts: &[(u32, String)],
    ) -> Result<(), Refusal> {
        match &self.backend {
            Backend::Embedded(store) => store.complete(upload_id, key, parts).map(drop),
            Backend::External(external) => external.complete(&self.signer(), upload_id, key, parts).await,
        }
    }
}
