//! The drive as a test holds it: synchronous, on a runtime of its own.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use jiff::SignedDuration;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::api::BASE;
use crate::clock::Clock;
use crate::drive::{Backend, Shared};
use crate::external::External;
use crate::fault::{Fault, FaultId, Faults};
use crate::items::{FileInfo, Items};
use crate::net::{Port, Server};
use crate::options::{Options, S3};
use crate::record::{Record, Recorder, StoredPart};
use crate::s3;
use crate::sigv4::{Credentials, hex};
use crate::store::Store;
use crate::tls::Tls;

/// The embedded storage's bucket.
const BUCKET: &str = "copera-drive-local";

/// A multipart upload that is neither completed nor aborted.
#[derive(Clone, Debug)]
pub struct OpenUpload {
    /// Its id.
    pub upload_id: String,
    /// Its object's key.
    pub file_key: String,
    /// What it has, ascending.
    pub parts: Vec<StoredPart>,
}

/// A drive that runs until it is dropped.
pub struct LocalDrive {
    shared: Arc<Shared>,
    api: Port,
    storage: Port,
    runtime: Option<Runtime>,
    /// The parts' folder, removed at the end, after the runtime.
    folder: TempDir,
}

impl LocalDrive {
    /// Starts a drive; it listens when this returns.
    pub fn start(options: Options) -> anyhow::Result<Self> {
        // A folder of its own in the one that was given: two drives on one folder do not mix either.
        let folder = match &options.data {
            Some(data) => {
                std::fs::create_dir_all(data).with_context(|| format!("cannot create {}", data.display()))?;
                tempfile::Builder::new().prefix("drive-").disable_cleanup(true).tempdir_in(data)?
            }
            None => tempfile::tempdir()?,
        };
        let recorder = Arc::new(Recorder::default());
        let endpoint = OnceLock::new();
        let (backend, s3s, credentials, bucket) = match &options.s3 {
            S3::Embedded => {
                let credentials = Credentials {
                    access_key: "AKIALOCALDRIVE000000".into(),
                    secret_key: "local-drive-secret-key-of-no-value-at-all".into(),
                    region: "us-east-1".into(),
                };
                let store = Arc::new(Store::new(folder.path(), options.mode, options.kms));
                let service = s3::service(Arc::clone(&store), Arc::clone(&recorder), &credentials);
                (Backend::Embedded(store), Some(service), credentials, BUCKET.to_owned())
            }
            S3::External(external) => {
                let credentials = Credentials {
                    access_key: external.access_key.clone(),
                    secret_key: external.secret_key.clone(),
                    region: external.region.clone(),
                };
                endpoint.get_or_init(|| external.endpoint.trim_end_matches('/').to_owned());
                let bucket = external.bucket.clone();
                (Backend::External(External::new(&bucket)?), None, credentials, bucket)
            }
        };
        let shared = Arc::new(Shared {
            token: "cp_pat_local0drive0test0token0of0no0value".into(),
            clock: Clock::new(options.clock_offset),
            faults: Faults::new(options.seed),
            recorder,
            items: Items::default(),
            backend,
            s3s,
            credentials,
            bucket,
            tls: options
                .tls
                .then(|| Tls::new(options.address, options.certificate_shifted_days))
                .transpose()?,
            endpoint,
            down: AtomicBool::new(false),
            revoked: AtomicI64::new(0),
            signed: AtomicI64::new(0),
            finalizing: tokio::sync::Mutex::new(()),
            options,
        });
        let runtime =
            tokio::runtime::Builder::new_multi_thread().thread_name("local-drive").enable_all().build()?;
        let (api, storage) = {
            let _inside = runtime.enter();
            let open = |server, port: Option<u16>| {
                let address = SocketAddr::from((shared.options.address, port.unwrap_or(0)));
                Port::open(server, address, &shared).with_context(|| format!("cannot listen on {address}"))
            };
            let storage = open(Server::Storage, shared.options.storage_port)?;
            (open(Server::Api, shared.options.api_port)?, storage)
        };
        shared.endpoint.get_or_init(|| format!("{}://{}", shared.scheme(), storage.address));
        let drive = Self { shared, api, storage, runtime: Some(runtime), folder };
        if let S3::External(external) = &drive.shared.options.s3 {
            let shared = Arc::clone(&drive.shared);
            let prepared = drive.wait_for(async move {
                match &shared.backend {
                    Backend::External(external) => {
                        external.prepare(&shared.signer(), &shared.credentials.region).await
                    }
                    Backend::Embedded(_) => Ok(()),
                }
            })?;
            prepared.with_context(|| {
                format!("cannot use the bucket {} at {}", external.bucket, external.endpoint)
            })?;
        }
        Ok(drive)
    }

    /// Where the embedded storage keeps the parts.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// For `COPERA_API_URL`.
    pub fn api_url(&self) -> String {
        format!("{}://{}{BASE}", self.shared.scheme(), self.api.address)
    }

    /// The CA that signed the drive's certificate, if it speaks `https`: PEM.
    pub fn ca_pem(&self) -> Option<&str> {
        self.shared.tls.as_ref().map(|tls| tls.ca_pem.as_str())
    }

    /// What another server on this machine speaks TLS with, under the same CA.
    pub fn tls_config(&self) -> Option<Arc<rustls::ServerConfig>> {
        self.shared.tls.as_ref().map(|tls| Arc::clone(&tls.config))
    }

    /// What other S3 programs have to know to reach the storage themselves, as environment variables: the usual
    /// `AWS_` ones, and `S3_BUCKET`.
    pub fn s3_environment(&self) -> Vec<(&'static str, String)> {
        let credentials = self.shared.credentials();
        let endpoint = self.shared.endpoint.get().cloned().unwrap_or_default();
        vec![
            ("AWS_ACCESS_KEY_ID", credentials.access_key.clone()),
            ("AWS_SECRET_ACCESS_KEY", credentials.secret_key.clone()),
            ("AWS_REGION", credentials.region.clone()),
            ("AWS_ENDPOINT_URL", endpoint),
            ("S3_BUCKET", self.shared.bucket.clone()),
        ]
    }

    /// For `COPERA_TOKEN`.
    pub fn token(&self) -> &str {
        &self.shared.token
    }

    /// Where the embedded storage listens.
    pub fn storage_addr(&self) -> SocketAddr {
        self.storage.address
    }

    /// All items, flat, in the order of their making, as the service answers them.
    pub fn items(&self) -> Vec<Value> {
        self.shared.items.all().iter().map(crate::items::Item::json).collect()
    }

    /// The items that are in no folder.
    pub fn root_items(&self) -> Vec<Value> {
        let items = self.shared.items.all();
        items.iter().filter(|item| item.parent.is_none()).map(crate::items::Item::json).collect()
    }

    /// Makes a folder, past the API.
    pub fn make_folder(&self, name: &str, parent: Option<&str>) -> String {
        self.shared.items.add(name, parent.map(str::to_owned), self.shared.clock.now(), None).id
    }

    /// Makes a file, past the API. It is stored in one part (not on an external S3 server).
    pub fn put_file(&self, name: &str, parent: Option<&str>, bytes: &[u8]) -> anyhow::Result<String> {
        let now = self.shared.clock.now();
        let key = format!("drive/{}/put", crate::items::new_id(now));
        let size = self.put_object(&key, bytes)?;
        let file = FileInfo { mime: "application/octet-stream".into(), size, key };
        Ok(self.shared.items.add(name, parent.map(str::to_owned), now, Some(file)).id)
    }

    /// Deletes an item, as a user would in the browser.
    pub fn remove_item(&self, id: &str) {
        self.shared.items.remove(id);
    }

    /// Moves an item into another folder, as a user would in the browser.
    pub fn move_item(&self, id: &str, parent: Option<&str>) {
        self.shared.items.move_to(id, parent);
    }

    /// Gives a file other bytes, past the API; its item stays as it is.
    pub fn replace_object(&self, file_id: &str, bytes: &[u8]) -> anyhow::Result<()> {
        self.put_object(&self.key_of(file_id)?, bytes).map(drop)
    }

    fn put_object(&self, key: &str, bytes: &[u8]) -> anyhow::Result<u64> {
        let Backend::Embedded(store) = &self.shared.backend else {
            anyhow::bail!("files are put into the embedded storage only");
        };
        let upload = store.create(key);
        let stored = (|| {
            let mut part = store.begin_part(&upload, key, 1)?;
            part.write(bytes)?;
            let etag = part.finish()?.etag;
            store.complete(&upload, key, &[(1, etag)])
        })();
        Ok(stored.map_err(|refusal| anyhow::anyhow!("cannot store it: {refusal:?}"))?.size)
    }

    /// A file's bytes, as the storage has them.
    pub fn object(&self, file_id: &str) -> anyhow::Result<Vec<u8>> {
        self.fold_object(file_id, Vec::new(), |bytes, chunk| bytes.extend_from_slice(chunk))
    }

    /// The SHA-256 of a file's bytes, in hexadecimal.
    pub fn object_sha256(&self, file_id: &str) -> anyhow::Result<String> {
        let hash = self.fold_object(file_id, Sha256::new(), |hash, chunk| hash.update(chunk))?;
        Ok(hex(&hash.finalize()))
    }

    /// How many bytes the storage has of a file: what counts, whatever size the item claims.
    pub fn object_len(&self, file_id: &str) -> anyhow::Result<u64> {
        if let Backend::Embedded(store) = &self.shared.backend {
            let object = store.object(&self.key_of(file_id)?);
            return Ok(object.map_err(|refusal| anyhow::anyhow!("no object: {refusal:?}"))?.size);
        }
        self.fold_object(file_id, 0, |length, chunk| *length += chunk.len() as u64)
    }

    /// Multipart uploads that are open on the embedded storage.
    pub fn uploads(&self) -> Vec<OpenUpload> {
        let Backend::Embedded(store) = &self.shared.backend else { return Vec::new() };
        let uploads = store.uploads().into_iter();
        uploads.map(|(upload_id, file_key, parts)| OpenUpload { upload_id, file_key, parts }).collect()
    }

    /// Sets a fault.
    pub fn fault(&self, fault: Fault) -> FaultId {
        self.shared.faults.set(fault)
    }

    /// How often a fault was used; 0 once it is cleared.
    pub fn fault_used(&self, id: FaultId) -> u64 {
        self.shared.faults.used(id)
    }

    /// Clears one fault; a request that it stalls goes on.
    pub fn clear_fault(&self, id: FaultId) {
        self.shared.faults.clear(Some(id));
    }

    /// Clears all faults.
    pub fn clear_faults(&self) {
        self.shared.faults.clear(None);
    }

    /// Every URL signed so far is expired from now on.
    pub fn expire_urls(&self) {
        self.shared.revoke();
    }

    /// The storage forgets an upload: later PUTs get 404 `NoSuchUpload`.
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

    /// The embedded storage forgets all uploads.
    pub fn abort_all_uploads(&self) {
        if let Backend::Embedded(store) = &self.shared.backend {
            store.abort_all();
        }
    }

    /// Pulls the network: nothing listens and all connections are reset. What the drive knows stays.
    pub fn stop_listening(&self) -> anyhow::Result<()> {
        self.shared.down.store(true, Ordering::SeqCst);
        self.api.stop()?;
        Ok(self.storage.stop()?)
    }

    /// Plugs it in again, on the same ports.
    pub fn listen_again(&self) -> anyhow::Result<()> {
        self.shared.down.store(false, Ordering::SeqCst);
        self.api.listen()?;
        Ok(self.storage.listen()?)
    }

    /// Moves the drive's clock on.
    pub fn advance_clock(&self, by: Duration) {
        self.shared.clock.advance(SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX));
    }

    /// Everything that happened so far.
    pub fn record(&self) -> Record {
        self.shared.recorder.snapshot()
    }

    /// Waits until the record is as wanted, by event; an error after `cap`. The question must not ask the drive
    /// itself: the record is locked meanwhile.
    pub fn wait_until(&self, cap: Duration, done: impl FnMut(&Record) -> bool) -> anyhow::Result<()> {
        self.shared.recorder.wait_until(cap, done)
    }

    fn key_of(&self, file_id: &str) -> anyhow::Result<String> {
        let item = self.shared.items.get(file_id).context("no such item")?;
        Ok(item.file.context("it is a folder")?.key)
    }

    fn fold_object<T: Send + 'static>(
        &self,
        file_id: &str,
        mut state: T,
        step: fn(&mut T, &[u8]),
    ) -> anyhow::Result<T> {
        let key = self.key_of(file_id)?;
        let shared = Arc::clone(&self.shared);
        self.wait_for(async move {
            match &shared.backend {
                Backend::Embedded(store) => {
                    let object =
                        store.object(&key).map_err(|refusal| anyhow::anyhow!("no object: {refusal:?}"))?;
                    let files = object.files().context("this drive discards what it is sent")?;
                    let mut bytes = std::pin::pin!(s3::read(files, 0, object.size));
                    while let Some(chunk) = bytes.try_next().await? {
                        step(&mut state, &chunk);
                    }
                }
                Backend::External(external) => {
                    let mut response = external.read(&shared.signer(), &key).await?;
                    while let Some(chunk) = response.chunk().await? {
                        step(&mut state, &chunk);
                    }
                }
            }
            Ok(state)
        })?
    }

    /// Runs something on the drive's runtime. By a channel and not `block_on`, which panics when the test itself
    /// runs on a tokio runtime.
    fn wait_for<T: Send + 'static>(
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
            store.leave_files();
        }
        // On a thread of its own: a runtime must not be ended from inside another, where a test may be.
        if let Some(runtime) = self.runtime.take() {
            let ending = std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(2)));
            let _ = ending.join();
        }
    }
}
