//! A drive as tests use it: synchronous, with a runtime of its own.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use jiff::SignedDuration;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::api::BASE;
use crate::drive::{Backend, Shared};
use crate::fault::{Fault, FaultId};
use crate::net::Port;
use crate::record::{Record, StoredPart};

/// A multipart upload that is neither completed nor aborted.
#[derive(Clone, Debug)]
pub struct OpenUpload {
    /// Upload ID.
    pub upload_id: String,
    /// Key of the object.
    pub file_key: String,
    /// Stored parts, in ascending order.
    pub parts: Vec<StoredPart>,
}

/// A drive that runs until it is dropped.
pub struct LocalDrive {
    pub(crate) shared: Arc<Shared>,
    pub(crate) api: Port,
    pub(crate) storage: Port,
    pub(crate) runtime: Option<Runtime>,
    /// Holds the parts. Dropped last, after the runtime.
    pub(crate) folder: TempDir,
}

impl LocalDrive {
    /// Where the embedded storage keeps the parts.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The value for `COPERA_API_URL`.
    pub fn api_url(&self) -> String {
        let scheme = if self.shared.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{BASE}", self.api.address)
    }

    /// The value for `COPERA_TOKEN`.
    pub fn token(&self) -> &str {
        &self.shared.token
    }

    /// The address of the embedded storage.
    pub fn storage_addr(&self) -> SocketAddr {
        self.storage.address
    }

    /// With TLS, the CA of the drive's certificate, as PEM.
    pub fn ca_pem(&self) -> Option<&str> {
        self.shared.tls.as_ref().map(|tls| tls.ca_pem.as_str())
    }

    /// With TLS, a configuration for other servers on this machine, under the same CA.
    pub fn tls_config(&self) -> Option<Arc<rustls::ServerConfig>> {
        self.shared.tls.as_ref().map(|tls| Arc::clone(&tls.config))
    }

    /// Environment variables with which other S3 programs reach the storage: the usual `AWS_` ones, and `S3_BUCKET`.
    pub fn s3_environment(&self) -> Vec<(&'static str, String)> {
        let Shared { credentials, bucket, endpoint, .. } = &*self.shared;
        vec![
            ("AWS_ACCESS_KEY_ID", credentials.key().to_owned()),
            ("AWS_SECRET_ACCESS_KEY", credentials.secret().to_owned()),
            ("AWS_REGION", bucket.region().to_owned()),
            ("AWS_ENDPOINT_URL", endpoint.clone()),
            ("S3_BUCKET", bucket.name().to_owned()),
        ]
    }

    /// Open multipart uploads on the embedded storage.
    pub fn uploads(&self) -> Vec<OpenUpload> {
        let Backend::Embedded(store) = &self.shared.backend else { return Vec::new() };
        let uploads = store.uploads().into_iter();
        uploads.map(|(upload_id, file_key, parts)| OpenUpload { upload_id, file_key, parts }).collect()
    }

    /// Sets a fault.
    pub fn fault(&self, fault: Fault) -> FaultId {
        self.shared.faults.set(fault)
    }

    /// How often a fault was used. 0 after it is cleared.
    pub fn fault_used(&self, id: FaultId) -> u64 {
        self.shared.faults.used(id)
    }

    /// Clears a fault. A request that it stalls continues.
    pub fn clear_fault(&self, id: FaultId) {
        self.shared.faults.clear(Some(id));
    }

    /// Clears all faults.
    pub fn clear_faults(&self) {
        self.shared.faults.clear(None);
    }

    /// Expires all URLs signed so far.
    pub fn expire_urls(&self) {
        self.shared.revoke();
    }

    /// Aborts a multipart upload on the storage. Later PUTs get 404 `NoSuchUpload`.
    pub fn abort_upload(&self, upload_id: &str) -> anyhow::Result<()> {
        let result = match &self.shared.backend {
            Backend::Embedded(store) => store.abort(upload_id),
            Backend::External(_) => {
                let session = self.shared.items.session(upload_id).context("no such upload")?;
                let (shared, id) = (Arc::clone(&self.shared), upload_id.to_owned());
                self.wait_for(async move {
                    match &shared.backend {
                        Backend::External(external) => {
                            external.abort(&shared.signer(), &id, &session.key).await
                        }
                        Backend::Embedded(_) => Ok(()),
                    }
                })?
            }
        };
        result.map_err(|refusal| anyhow::anyhow!("cannot abort: {refusal:?}"))
    }

    /// Aborts all multipart uploads on the embedded storage.
    pub fn abort_all_uploads(&self) {
        if let Backend::Embedded(store) = &self.shared.backend {
            store.abort_all();
        }
    }

    /// Takes the network down: closes the listening sockets and resets all connections. The drive's state remains.
    pub fn stop_listening(&self) -> anyhow::Result<()> {
        self.shared.down.store(true, Ordering::SeqCst);
        self.api.stop()?;
        Ok(self.storage.stop()?)
    }

    /// Brings the network up again, on the same ports.
    pub fn listen_again(&self) -> anyhow::Result<()> {
        self.shared.down.store(false, Ordering::SeqCst);
        self.api.listen()?;
        Ok(self.storage.listen()?)
    }

    /// Advances the drive's clock.
    pub fn advance_clock(&self, by: Duration) {
        self.shared.clock.advance(SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX));
    }

    /// A copy of the record.
    pub fn record(&self) -> Record {
        self.shared.recorder.snapshot()
    }

    /// Waits until the record satisfies a condition. An error after `timeout`. The condition must not call the
    /// drive, because the record is locked while it runs.
    pub fn wait_until(&self, timeout: Duration, done: impl FnMut(&Record) -> bool) -> anyhow::Result<()> {
        self.shared.recorder.wait_until(timeout, done)
    }

    /// Runs a future on the drive's runtime. `block_on` would panic in a test that runs on a tokio runtime itself.
    pub(crate) fn wait_for<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let (done, wait) = std::sync::mpsc::channel();
        let runtime = self.runtime.as_ref().context("the drive has ended")?;
        runtime.spawn(async move {
            let _ = done.send(future.await);
        });
        wait.recv().context("the drive has ended")
    }
}

impl Drop for LocalDrive {
    fn drop(&mut self) {
        if let (Backend::Embedded(store), true) = (&self.shared.backend, self.shared.options.data.is_some()) {
            store.keep_files();
        }
        // A runtime must not be shut down inside another one, and the test may run in one.
        if let Some(runtime) = self.runtime.take() {
            let shutdown = std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(2)));
            let _ = shutdown.join();
        }
    }
}
