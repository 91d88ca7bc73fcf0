//! The command line.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use jiff::SignedDuration;
use local_drive::{ExternalS3, Fault, Mode, Options, S3, UrlShape, parse_size};

const EXAMPLES: &str = "\
Examples:
  local-drive copera-upload report.pdf       run one command against a fresh drive
  local-drive sh -c './nightly-backup.sh'    rehearse a script offline
  local-drive                                serve until Ctrl-C, printing what to export
  local-drive --fault put-part:s3=503/SlowDown:probability=0.2 copera-upload big.iso
  local-drive --fault finalize:lost:times=1 copera-upload report.pdf
  local-drive --tls copera-upload big.iso
  local-drive --url-lifetime 2 --fault put-part:slow=1MiB copera-upload big.iso

Faults: OP[:CONDITION…]:ACTION, conditions and action in any order
  OP          start urls finalize folders tree search file download workspace
              put-part get-object any-api any
  CONDITION   part=N  skip=N  times=N  probability=0.0-1.0
  ACTION      status=CODE [retry-after=SECONDS] [body=TEXT]   respond with this
              s3=STATUS/CODE      respond with an S3 error, e.g. 503/SlowDown
              delay=DURATION      work and respond later, e.g. 500ms, 2s
              reset               TCP reset
              reset-after=BYTES   TCP reset after this much of the body
              lost                do the work, then reset
              close               do the work, then close
              after-work=CODE     do the work, then respond with this
              stall=BYTES         stop reading after this much of the body
              hang                do the work, never respond
              slow=BYTES          read this much per second
              wrong-etag corrupt truncate endless kms expired no-such-upload
              redirect=URL
  Everything behind body= and redirect= belongs to the value, colons too.
  On get-object, stall, reset-after, slow and corrupt apply to the response
  body, and wrong-etag and kms change the ETag of the object.

The exit status is that of COMMAND (128 plus the signal number if a signal
killed it, 127 if it is not found, 126 if it cannot be run). COMMAND gets
COPERA_API_URL and COPERA_TOKEN, and SSL_CERT_FILE with --tls.";

/// A Copera Drive on this machine, for tests and rehearsals
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// Keep the parts in this folder [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    /// Use an external S3 server, e.g. http://127.0.0.1:9000
    #[arg(long, value_name = "ENDPOINT", value_parser = parse_endpoint)]
    #[arg(requires_all = ["s3_access_key", "s3_secret_key"])]
    pub(crate) s3: Option<String>,

    /// Bucket on the S3 server, created if missing
    #[arg(long, requires = "s3", default_value = "copera-drive")]
    pub(crate) s3_bucket: String,

    // No `requires = "s3"` on options with a variable: for clap, a variable counts as an option.
    /// Access key of the S3 server
    #[arg(long, env = "AWS_ACCESS_KEY_ID")]
    s3_access_key: Option<String>,

    /// Secret key of the S3 server
    #[arg(long, env = "AWS_SECRET_ACCESS_KEY", hide_env_values = true)]
    s3_secret_key: Option<String>,

    /// Region of the S3 server
    #[arg(long, env = "AWS_REGION", default_value = "us-east-1")]
    s3_region: String,

    /// JSON shape of the reply with the signed URLs
    #[arg(long, value_enum, default_value = "objects")]
    shape: Shape,

    /// Shuffle the signed URLs
    #[arg(long)]
    shuffle: bool,

    /// Lifetime of signed URLs
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    url_lifetime: u64,

    /// Delay of every API call
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0)]
    latency: u64,

    /// Hash the bytes, then discard them, for benchmarks
    #[arg(long)]
    pub(crate) discard: bool,

    /// Discard the bytes without hashing: ETags are not MD5s, as with KMS encryption
    #[arg(long, conflicts_with = "discard")]
    pub(crate) sink: bool,

    /// Emulate a bucket with KMS encryption: ETags are not MD5s, and a header says so
    #[arg(long)]
    kms: bool,

    /// Make requests fail; may be repeated
    #[arg(long, value_name = "SPEC", value_parser = |spec: &str| spec.parse::<Fault>())]
    pub(crate) fault: Vec<Fault>,

    /// Seed of fault probabilities and of --shuffle
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Capacity of the workspace, e.g. 20GiB
    #[arg(long, value_name = "SIZE", value_parser = |size: &str| parse_size(size))]
    quota: Option<u64>,

    /// How far the drive's clock is ahead of this machine's
    #[arg(long, value_name = "SECONDS", default_value_t = 0, allow_hyphen_values = true)]
    clock_offset: i64,

    /// Address to listen on; uploads from other machines need --allow-http
    #[arg(long, value_name = "IPV4", default_value_t = Ipv4Addr::LOCALHOST)]
    address: Ipv4Addr,

    /// Use https with a new CA; COMMAND gets its certificate as SSL_CERT_FILE
    #[arg(long)]
    pub(crate) tls: bool,

    /// Write the CA certificate (PEM) to this file [default: a temporary file]
    #[arg(long, value_name = "FILE", requires = "tls")]
    pub(crate) tls_ca: Option<PathBuf>,

    /// Also set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL and S3_BUCKET, for other S3
    /// programs
    #[arg(long)]
    pub(crate) aws: bool,

    /// Port of the API [default: a free one]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,

    /// Run this command, then stop [default: serve until Ctrl-C]
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<OsString>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Shape {
    Strings,
    Objects,
    UrlObjects,
}

impl Cli {
    /// The options of the drive.
    pub(crate) fn options(&self) -> Options {
        let s3 = match &self.s3 {
            None => S3::Embedded,
            Some(endpoint) => S3::External(ExternalS3 {
                endpoint: endpoint.clone(),
                bucket: self.s3_bucket.clone(),
                access_key: self.s3_access_key.clone().unwrap_or_default(),
                secret_key: self.s3_secret_key.clone().unwrap_or_default(),
                region: self.s3_region.clone(),
            }),
        };
        Options {
            shape: match self.shape {
                Shape::Strings => UrlShape::Strings,
                Shape::Objects => UrlShape::Objects,
                Shape::UrlObjects => UrlShape::UrlObjects,
            },
            shuffle: self.shuffle,
            url_lifetime: Duration::from_secs(self.url_lifetime),
            clock_offset: SignedDuration::from_secs(self.clock_offset),
            data: self.data.clone(),
            mode: match (self.discard, self.sink) {
                (true, _) => Mode::Discard,
                (_, true) => Mode::Sink,
                _ => Mode::Keep,
            },
            kms: self.kms,
            s3,
            quota: self.quota,
            latency: Duration::from_millis(self.latency),
            seed: self.seed,
            address: self.address,
            tls: self.tls,
            api_port: self.port,
            ..Options::default()
        }
    }
}

/// Accepts only an endpoint that requests can be sent to.
fn parse_endpoint(text: &str) -> anyhow::Result<String> {
    let url = reqwest::Url::parse(text)?;
    anyhow::ensure!(matches!(url.scheme(), "http" | "https") && url.has_host(), "not an http or https URL");
    anyhow::ensure!(url.path() == "/" && url.query().is_none(), "only scheme, host and port");
    Ok(text.to_owned())
}
