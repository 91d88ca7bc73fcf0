//! Starts a drive: storage backend, certificates, runtime, ports.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64};

use anyhow::Context as _;
use rusty_s3::{Bucket, Credentials, UrlStyle};
use tempfile::TempDir;

use crate::clock::Clock;
use crate::drive::{Backend, Shared};
use crate::external::External;
use crate::fault::Faults;
use crate::items::Items;
use crate::local::LocalDrive;
use crate::net::{Port, Server, bind};
use crate::options::{ExternalS3, Options, S3};
use crate::record::Recorder;
use crate::s3;
use crate::store::Store;
use crate::tls::Tls;

impl LocalDrive {
    /// Starts a drive. It listens when this returns.
    pub fn start(options: Options) -> anyhow::Result<Self> {
        let folder = create_folder(&options)?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().thread_name("local-drive").enable_all().build()?;
        let inside = runtime.enter();
        let listen = |server, port: Option<u16>| {
            let address = SocketAddr::from((options.address, port.unwrap_or(0)));
            bind(server, address, &options).with_context(|| format!("cannot listen on {address}"))
        };
        let storage = listen(Server::Storage, options.storage_port)?;
        let api = listen(Server::Api, options.api_port)?;

        let tls =
            options.tls.then(|| Tls::new(options.address, options.certificate_shifted_days)).transpose()?;
        let s3 = match &options.s3 {
            S3::External(external) => external.clone(),
            S3::Embedded => {
                let scheme = if options.tls { "https" } else { "http" };
                embedded(&format!("{scheme}://{}", storage.local_addr()?))
            }
        };
        let endpoint = s3.endpoint.trim_end_matches('/').to_owned();
        let bucket = Bucket::new(endpoint.parse()?, UrlStyle::Path, s3.bucket, s3.region)?;
        let credentials = Credentials::new(s3.access_key, s3.secret_key);
        let recorder = Arc::new(Recorder::default());
        let (backend, s3s) = match &options.s3 {
            S3::External(_) => (Backend::External(External::new()?), None),
            S3::Embedded => {
                let store = Arc::new(Store::new(folder.path(), options.mode, options.kms));
                let service = s3::service(Arc::clone(&store), Arc::clone(&recorder), &credentials);
                (Backend::Embedded(store), Some(service))
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
            tls,
            endpoint,
            down: AtomicBool::new(false),
            revoked: AtomicI64::new(0),
            signed: AtomicI64::new(0),
            finalizing: tokio::sync::Mutex::new(()),
            options,
        });
        let storage = Port::serve(Server::Storage, storage, &shared)?;
        let api = Port::serve(Server::Api, api, &shared)?;
        drop(inside);
        let drive = Self { shared, api, storage, runtime: Some(runtime), folder };
        drive.prepare_external()?;
        Ok(drive)
    }

    fn prepare_external(&self) -> anyhow::Result<()> {
        let shared = Arc::clone(&self.shared);
        self.wait_for(async move {
            match &shared.backend {
                Backend::External(external) => external.prepare(&shared.signer()).await,
                Backend::Embedded(_) => Ok(()),
            }
        })?
        .with_context(|| {
            format!("cannot use the bucket {} at {}", self.shared.bucket.name(), self.shared.endpoint)
        })
    }
}

/// Creates a folder for this drive alone, so that two drives can share `Options::data`.
fn create_folder(options: &Options) -> anyhow::Result<TempDir> {
    let Some(data) = &options.data else { return Ok(tempfile::tempdir()?) };
    std::fs::create_dir_all(data).with_context(|| format!("cannot create {}", data.display()))?;
    Ok(tempfile::Builder::new().prefix("drive-").disable_cleanup(true).tempdir_in(data)?)
}

fn embedded(endpoint: &str) -> ExternalS3 {
    ExternalS3 {
        endpoint: endpoint.to_owned(),
        bucket: "copera-drive-local".into(),
        access_key: "AKIALOCALDRIVE000000".into(),
        secret_key: "local-drive-secret-key-of-no-value-at-all".into(),
        region: "us-east-1".into(),
    }
}
