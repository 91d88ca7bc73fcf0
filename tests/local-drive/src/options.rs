//! What a drive can be told at its start. Plain data; every field has a default that a plain test wants.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;

/// How the reply with the signed URLs looks. All three have been seen or are to be tolerated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UrlShape {
    /// `{"urls":["https://…", …]}`: position i is part i+1.
    Strings,
    /// `{"parts":[{"signedUrl":"https://…","PartNumber":1}, …]}`: what the real service answers.
    #[default]
    Objects,
    /// `{"urls":[{"url":"https://…","partNumber":1}, …]}`.
    UrlObjects,
}

/// What becomes of the parts' bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Kept in files, so that objects can be read back.
    #[default]
    Keep,
    /// Hashed for the ETag and thrown away: for benches.
    Discard,
    /// Thrown away as they come, for benches of the sender alone: hashing as S3 does takes this machine's
    /// processors from it. The ETags are no MD5, and say so as those of an encrypted bucket do.
    Sink,
}

/// What a finalize of an upload that is already finalized does. The real service's answer is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FinalizeRepeat {
    /// It makes a second item with the same content: the worst that a service may do.
    #[default]
    SecondItem,
    /// It is refused with 404.
    Refuse,
}

/// The S3 server behind the drive.
#[derive(Clone, Debug, Default)]
pub enum S3 {
    /// The one inside this crate: all faults, controls and records work.
    #[default]
    Embedded,
    /// Another one (Garage, MinIO, Amazon). Its parts are sent past the drive, so faults on them, their records,
    /// `expire_urls` and the network switch do nothing there.
    External(ExternalS3),
}

/// How to reach another S3 server; path-style addresses.
#[derive(Clone)]
pub struct ExternalS3 {
    /// `http://127.0.0.1:9000`
    pub endpoint: String,
    /// Its bucket; it is made if it does not exist.
    pub bucket: String,
    /// Access key id.
    pub access_key: String,
    /// Secret access key.
    pub secret_key: String,
    /// `us-east-1`, or what the server was set up with.
    pub region: String,
}

impl std::fmt::Debug for ExternalS3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The secret key stays out of logs and panics.
        f.debug_struct("ExternalS3")
            .field("endpoint", &self.endpoint)
            .field("bucket", &self.bucket)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// A drive's settings.
#[derive(Clone, Debug)]
pub struct Options {
    /// Shape of the reply with the signed URLs.
    pub shape: UrlShape,
    /// Parts of that reply in any order (not for [`UrlShape::Strings`], where the order is the number).
    pub shuffle: bool,
    /// `X-Amz-Expires`, whole seconds.
    pub url_lifetime: Duration,
    /// How far the drive's clock is ahead of this machine's.
    pub clock_offset: SignedDuration,
    /// Folder in which the drive makes one of its own, and leaves the parts there as they came; else a temporary
    /// one that is removed with the drive.
    pub data: Option<PathBuf>,
    /// Keep the bytes or not.
    pub mode: Mode,
    /// The embedded storage answers as a bucket encrypted with KMS: ETags of parts and objects are no MD5, and a
    /// header says so.
    pub kms: bool,
    /// The S3 server.
    pub s3: S3,
    /// A second finalize.
    pub finalize_repeat: FinalizeRepeat,
    /// Tree items in one response.
    pub page_limit: usize,
    /// Bytes that the workspace may hold; a start that would pass it is refused with 403.
    pub quota: Option<u64>,
    /// Added to every API call, before its work.
    pub latency: Duration,
    /// Of the faults' dice and the shuffle.
    pub seed: u64,
    /// The address that both listen on: another than loopback for a client beyond a network.
    pub address: Ipv4Addr,
    /// The API's port; else one that is free.
    pub api_port: Option<u16>,
    /// The storage's port; else one that is free.
    pub storage_port: Option<u16>,
    /// Both speak `https`, with certificates under a CA of the drive's own.
    pub tls: bool,
    /// The certificate is valid so many days later (or earlier, below 0) than from yesterday for a month.
    pub certificate_shifted_days: i32,
    /// Connections without a request are closed after this, as S3 does.
    pub idle_timeout: Duration,
    /// A body that brings nothing for this long gets 400 `RequestTimeout`, as S3 does.
    pub body_timeout: Duration,
    /// `SO_RCVBUF` of storage connections. The kernel else takes megabytes that nobody reads, which hides a stall.
    pub receive_buffer: Option<u32>,
    /// A refused request's body is read to its end before the answer, so that the client surely sees it. Without
    /// this the answer comes at once and the connection is closed, which real servers do too and which a client
    /// may see as a reset.
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
