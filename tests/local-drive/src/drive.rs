//! State that both servers share: options, clock, faults, record, items, and the storage backend.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use jiff::Timestamp;
use rusty_s3::{Bucket, Credentials};

use crate::clock::Clock;
use crate::external::External;
use crate::fault::Faults;
use crate::items::Items;
use crate::options::Options;
use crate::presign::Signer;
use crate::record::Recorder;
use crate::store::{Refusal, Store};
use crate::tls::Tls;

/// Where parts are stored.
pub(crate) enum Backend {
    Embedded(Arc<Store>),
    External(External),
}

/// The state of a drive, for its request handlers.
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
    pub(crate) bucket: Bucket,
    /// For `https`.
    pub(crate) tls: Option<Tls>,
    /// Scheme, host and port of the storage.
    pub(crate) endpoint: String,
    /// The network is down: connections end with a reset.
    pub(crate) down: AtomicBool,
    /// URLs signed up to this second have expired, whatever their lifetime.
    pub(crate) revoked: AtomicI64,
    /// The latest date of a URL.
    pub(crate) signed: AtomicI64,
    /// Serializes finalize calls: on an external server one takes a while, and a repeat must see its result.
    pub(crate) finalizing: tokio::sync::Mutex<()>,
}

impl Shared {
    /// A signer for the current time. Dates have whole seconds, so right after [`Shared::revoke`] its date is one
    /// second ahead. Otherwise a new URL would equal a revoked one.
    pub(crate) fn signer(&self) -> Signer<'_> {
        let now = self.clock.now();
        let earliest = self.revoked.load(Ordering::SeqCst).saturating_add(1);
        let date = Timestamp::from_second(now.as_second().max(earliest)).unwrap_or(now);
        self.signed.fetch_max(date.as_second(), Ordering::SeqCst);
        Signer { bucket: &self.bucket, credentials: &self.credentials, date }
    }

    /// Expires all URLs signed so far.
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
