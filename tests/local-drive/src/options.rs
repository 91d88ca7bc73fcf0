//! Options of a drive. The defaults suit most tests.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;

/// JSON shape of the reply with the signed URLs. Clients must accept all three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UrlShape {
    /// `{"urls":["https://…", …]}`: position i is part i+1.
    Strings,
    /// `{"parts":[{"signedUrl":"https://…","PartNumber":1}, …]}`, as the real service replies.
    #[default]
    Objects,
    /// `{"urls":[{"url":"https://…","partNumber":1}, …]}`.
    UrlObjects,
}

/// What the embedded storage does with the bytes of parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Keeps them in files, so that objects can be read.
    #[default]
    Keep,
    /// Hashes and discards them, for benchmarks.
    Discard,
    /// Discards them without hashing, for benchmarks of the client alone: hashing would take CPU time from it.
    /// ETags are not MD5s, as in a bucket with KMS encryption.
    Sink,
}

/// What a second finalize of an upload does. The behavior of the real service is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FinalizeRepeat {
    /// Creates a second item with the same content. This is the worst case.
    #[default]
    SecondItem,
    /// Fails with 404.
    Refuse,
}

/// The S3 server behind the drive.
#[derive(Clone, Debug, Default)]
pub enum S3 {
    /// The S3 server of this crate. Supports all faults, controls and records.
    #[default]
    Embedded,
    /// An external one, such as Garage, MinIO or Amazon S3. Clients send parts there directly, so faults and records
    /// of parts, `expire_urls` and `stop_listening` have no effect on them.
    External(ExternalS3),
}

/// How to reach an external S3 server, with path-style URLs.
#[derive(Clone)]
pub struct ExternalS3 {
    /// `http://127.0.0.1:9000`
    pub endpoint: String,
    /// Bucket. Created if missing.
    pub bucket: String,
    /// Access key ID.
    pub access_key: String,
    /// Secret access key.
    pub secret_key: String,
    /// Region, for example `us-east-1`.
    pub region: String,
}

impl std::fmt::Debug for ExternalS3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keeps the secret key out of logs and panics.
        f.debug_struct("ExternalS3")
            .field("endpoint", &self.endpoint)
            .field("bucket", &self.bucket)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// Options of a drive.
#[derive(Clone, Debug)]
pub struct Options {
    /// JSON shape of the reply with the signed URLs.
    pub shape: UrlShape,
    /// Shuffles the parts of that reply. No effect on [`UrlShape::Strings`], where the order gives the number.
    pub shuffle: bool,
    /// Lifetime of signed URLs (`X-Amz-Expires`), in whole seconds.
    pub url_lifetime: Duration,
    /// How far the drive's clock is ahead of the machine's.
    pub clock_offset: SignedDuration,
    /// The drive creates a folder inside this one and leaves the parts there. Without it, the folder is temporary and
    /// is deleted with the drive.
    pub data: Option<PathBuf>,
    /// What to do with the bytes of parts.
    pub mode: Mode,
    /// Emulates a bucket with KMS encryption: ETags of parts and objects are not MD5s, and a header says so.
    pub kms: bool,
    /// The S3 server behind the drive.
    pub s3: S3,
    /// What a second finalize does.
    pub finalize_repeat: FinalizeRepeat,
    /// Most items in one reply of the tree.
    pub page_limit: usize,
    /// Capacity of the workspace in bytes. A start that would exceed it fails with 403.
    pub quota: Option<u64>,
    /// Delay of every API call, before its work.
    pub latency: Duration,
    /// Seed of fault probabilities and of the shuffle.
    pub seed: u64,
    /// The address that both servers listen on.
    pub address: Ipv4Addr,
    /// Port of the API. `None`: a free one.
    pub api_port: Option<u16>,
    /// Port of the storage. `None`: a free one.
    pub storage_port: Option<u16>,
    /// Both servers use `https`, with a certificate of a new CA.
    pub tls: bool,
    /// Shifts the validity of the certificate, which is from yesterday for a month, by this many days.
    pub certificate_shifted_days: i32,
    /// Closes idle connections of the storage after this time, like S3.
    pub idle_timeout: Duration,
    /// Responds with 400 `RequestTimeout` if no byte of a body arrives for this time, like S3.
    pub body_timeout: Duration,
    /// `SO_RCVBUF` of storage connections. By default, the kernel buffers megabytes, which hides a stall.
    pub receive_buffer: Option<u32>,
    /// Reads the body of a refused request to its end, so that the client sees the response. Otherwise the storage
    /// responds immediately and closes the connection, as real servers may do. The client may then see a reset.
    pub drain_refused: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            shape: UrlShape::default(),
            shuffle: false,
            url_lifetime: Duration::from_secs(3600),
            clock_offset: SignedDuration::ZERO,
            data: None,
            mode: Mode::default(),
            kms: false,
            s3: S3::default(),
            finalize_repeat: FinalizeRepeat::default(),
            page_limit: 500,
            quota: None,
            latency: Duration::ZERO,
            seed: 1,
            address: Ipv4Addr::LOCALHOST,
            api_port: None,
            storage_port: None,
            tls: false,
            certificate_shifted_days: 0,
            idle_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(20),
            receive_buffer: None,
            drain_refused: true,
        }
    }
}
