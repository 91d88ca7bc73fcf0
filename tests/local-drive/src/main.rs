//! The drive as a program: serves until it is stopped, or for as long as a command runs.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use jiff::SignedDuration;
use local_drive::{ExternalS3, Fault, LocalDrive, Mode, Options, S3, UrlShape, parse_size};

const EXAMPLES: &str = "\
Examples:
  local-drive copera-upload report.pdf       run one command against a fresh drive
  local-drive sh -c './nightly-backup.sh'    rehearse a script offline
  local-drive                                serve until Ctrl-C, printing what to export
  local-drive --fault put-part:s3=503/SlowDown:probability=0.2 copera-upload big.iso
  local-drive --fault finalize:lost:times=1 copera-upload report.pdf
  local-drive --tls copera-upload big.iso
  local-drive --url-lifetime 2 --fault put-part:slow=1MiB copera-upload big.iso

Faults: OP[:CONDITION…]:ACTION, parts in any order
  OP          start urls finalize folders tree search file download workspace
              put-part get-object any-api any
  CONDITION   part=N  skip=N  times=N  probability=0.0-1.0
  ACTION      status=CODE [body=TEXT] [retry-after=SECONDS]   answer this instead
              s3=STATUS/CODE      S3's XML error instead, e.g. s3=503/SlowDown
              delay=DURATION      later, e.g. 500ms, 2s
              reset               TCP reset; reset-after=BYTES of the body
              lost                do it, then reset; close: do it, then close
              after-work=CODE     do it, then answer this
              stall=BYTES         read so much, then nothing more
              hang                do it, never answer
              slow=BYTES          read so much a second
              wrong-etag corrupt truncate endless kms expired no-such-upload
              redirect=URL        must be last: it may contain colons
  For get-object, stall, reset-after, slow and corrupt are about the bytes that
  are sent; wrong-etag and kms give the object another ETag.

With COMMAND the exit status is its own (128 + the signal's number when one
killed it; 127 if it is not found, 126 if it cannot be run). COPERA_API_URL and
COPERA_TOKEN are set for it, and with --tls SSL_CERT_FILE.";

/// A Copera Drive on this machine, for tests and rehearsals.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
struct Cli {
    /// Folder where the parts are stored and left [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Another S3 server behind the drive, e.g. http://127.0.0.1:9000
    #[arg(long, value_name = "ENDPOINT", value_parser = parse_endpoint)]
    #[arg(requires_all = ["s3_access_key", "s3_secret_key"])]
    s3: Option<String>,

    /// Its bucket, which is created if it does not exist
    #[arg(long, requires = "s3", default_value = "copera-drive")]
    s3_bucket: String,

    // No `requires = "s3"` on what comes from the environment: for clap a variable is as good as an option.
    /// Its access key
    #[arg(long, env = "AWS_ACCESS_KEY_ID")]
    s3_access_key: Option<String>,

    /// Its secret key
    #[arg(long, env = "AWS_SECRET_ACCESS_KEY", hide_env_values = true)]
    s3_secret_key: Option<String>,

    /// Its region
    #[arg(long, env = "AWS_REGION", default_value = "us-east-1")]
    s3_region: String,

    /// How the signed URLs are answered
    #[arg(long, value_enum, default_value = "objects")]
    shape: Shape,

    /// Signed URLs in any order
    #[arg(long)]
    shuffle: bool,

    /// How long a signed URL lives
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    url_lifetime: u64,

    /// Added to every API call
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0)]
    latency: u64,

    /// Hash the bytes and throw them away, for benches
    #[arg(long)]
    discard: bool,

    /// Throw the bytes away as they come: ETags are no MD5, as in an encrypted bucket
    #[arg(long, conflicts_with = "discard")]
    sink: bool,

    /// Answer as a bucket encrypted with KMS: ETags are no MD5, and a header says so
    #[arg(long)]
    kms: bool,

    /// A request that goes wrong; may be repeated
    #[arg(long, value_name = "SPEC", value_parser = |spec: &str| spec.parse::<Fault>())]
    fault: Vec<Fault>,

    /// Of the faults' dice
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// What the workspace holds at most, e.g. 20GiB
    #[arg(long, value_name = "SIZE", value_parser = |size: &str| parse_size(size))]
    quota: Option<u64>,

    /// Seconds that the drive's clock is ahead of this machine's
    #[arg(long, value_name = "SECONDS", default_value_t = 0, allow_hyphen_values = true)]
    clock_offset: i64,

    /// The address to listen on; other machines' uploads then need --allow-http
    #[arg(long, value_name = "IPV4", default_value_t = Ipv4Addr::LOCALHOST)]
    address: Ipv4Addr,

    /// Speak https, with certificates under a CA of the drive's own; COMMAND gets it as SSL_CERT_FILE
    #[arg(long)]
    tls: bool,

    /// Where to write that CA's certificate (PEM) [default: a temporary file]
    #[arg(long, value_name = "FILE", requires = "tls")]
    tls_ca: Option<PathBuf>,

    /// Set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL and S3_BUCKET too, for other
    /// programs that speak S3
    #[arg(long)]
    aws: bool,

    /// The API's port [default: a free one]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,

    /// Runs for as long as this does [default: serves until Ctrl-C]
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Shape {
    Strings,
    Objects,
    UrlObjects,
}

fn main() -> ExitCode {
    // Not by returning the error: Debug adds a backtrace where RUST_BACKTRACE is set, which helps nobody who has
    // mistyped a port.
    start(&Cli::parse()).unwrap_or_else(|error| {
        print_error(&error);
        ExitCode::FAILURE
    })
}

fn start(cli: &Cli) -> anyhow::Result<ExitCode> {
    let drive = LocalDrive::start(options(cli))?;
    for fault in &cli.fault {
        drive.fault(fault.clone());
    }
    let ca = Ca::of(&drive, cli.tls_ca.as_deref())?;
    let variables = variables(&drive, ca.as_ref(), cli.aws);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match cli.command.split_first() {
        Some((program, arguments)) => {
            runtime.block_on(run(variables, program, arguments, || print_summary(&drive, cli)))
        }
        None => runtime.block_on(serve(&variables)),
    }
}

#[expect(clippy::print_stderr, reason = "the one place that says why the drive ends")]
fn print_error(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}

/// Says what the command uploaded and where it is now. On stderr: stdout is the command's.
#[expect(clippy::print_stderr, reason = "the last words of the drive as a program")]
fn print_summary(drive: &LocalDrive, cli: &Cli) {
    let items = drive.items();
    let files: Vec<_> = items.iter().filter(|item| item["type"] == "file").collect();
    let bytes: u64 = files.iter().filter_map(|file| file["size"].as_u64()).sum();
    let what = match files.as_slice() {
        [] => return eprintln!("local-drive: no file was uploaded"),
        [file] => format!(
            "{} ({bytes} bytes) was uploaded to this machine's own drive, as item {}",
            file["name"].as_str().unwrap_or_default().escape_debug(),
            file["_id"].as_str().unwrap_or_default()
        ),
        files => format!("{} files ({bytes} bytes) were uploaded to this machine's own drive", files.len()),
    };
    let place = match (&cli.s3, &cli.data) {
        (Some(endpoint), _) => format!("stored in the bucket {} at {endpoint}", cli.s3_bucket),
        _ if cli.discard || cli.sink => "the bytes were discarded, as requested".to_owned(),
        (None, Some(_)) => format!("stored in {}, one file per part", drive.folder().display()),
        (None, None) => "the drive has ended and its files are deleted; keep them with --data DIR".to_owned(),
    };
    eprintln!("local-drive: {what}\nlocal-drive: {place}");
}

/// An environment variable for whoever uses the drive.
type Variable = (&'static str, String);

/// The file with the CA's certificate; one that nobody asked for goes with the drive.
enum Ca {
    Asked(PathBuf),
    Temporary(tempfile::NamedTempFile),
}

impl Ca {
    fn of(drive: &LocalDrive, path: Option<&Path>) -> anyhow::Result<Option<Self>> {
        let Some(pem) = drive.ca_pem() else { return Ok(None) };
        let ca = match path {
            Some(path) => Self::Asked(std::path::absolute(path)?),
            None => {
                Self::Temporary(tempfile::Builder::new().prefix("local-drive-ca-").suffix(".pem").tempfile()?)
            }
        };
        std::fs::write(ca.path(), pem).with_context(|| format!("cannot write {}", ca.path().display()))?;
        Ok(Some(ca))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Asked(path) => path,
            Self::Temporary(file) => file.path(),
        }
    }
}

fn variables(drive: &LocalDrive, ca: Option<&Ca>, aws: bool) -> Vec<Variable> {
    let mut variables = vec![("COPERA_API_URL", drive.api_url()), ("COPERA_TOKEN", drive.token().to_owned())];
    if let Some(ca) = ca {
        let path = ca.path().display().to_string();
        variables.push(("SSL_CERT_FILE", path.clone()));
        if aws {
            variables.push(("AWS_CA_BUNDLE", path));
        }
    }
    if aws {
        variables.extend(drive.s3_environment());
    }
    variables
}

fn options(cli: &Cli) -> Options {
    let s3 = match &cli.s3 {
        None => S3::Embedded,
        Some(endpoint) => S3::External(ExternalS3 {
            endpoint: endpoint.clone(),
            bucket: cli.s3_bucket.clone(),
            access_key: cli.s3_access_key.clone().unwrap_or_default(),
            secret_key: cli.s3_secret_key.clone().unwrap_or_default(),
            region: cli.s3_region.clone(),
        }),
    };
    Options {
        shape: match cli.shape {
            Shape::Strings => UrlShape::Strings,
            Shape::Objects => UrlShape::Objects,
            Shape::UrlObjects => UrlShape::UrlObjects,
        },
        shuffle: cli.shuffle,
        url_lifetime: Duration::from_secs(cli.url_lifetime),
        clock_offset: SignedDuration::from_secs(cli.clock_offset),
        data: cli.data.clone(),
        mode: match (cli.discard, cli.sink) {
            (true, _) => Mode::Discard,
            (_, true) => Mode::Sink,
            _ => Mode::Keep,
        },
        kms: cli.kms,
        s3,
        quota: cli.quota,
        latency: Duration::from_millis(cli.latency),
        seed: cli.seed,
        address: cli.address,
        tls: cli.tls,
        api_port: cli.port,
        ..Options::default()
    }
}

/// An address that requests can be made of; anything else would fail with each of them.
fn parse_endpoint(text: &str) -> anyhow::Result<String> {
    let url = reqwest::Url::parse(text)?;
    anyhow::ensure!(matches!(url.scheme(), "http" | "https") && url.has_host(), "not an http or https URL");
    anyhow::ensure!(url.path() == "/" && url.query().is_none(), "only scheme, host and port");
    Ok(text.to_owned())
}

/// Runs the command with the drive's address and token. A terminal's Ctrl-C goes to the command itself, which may
/// want to end in order, so the drive waits for it; a TERM is sent to the drive alone, so it is passed on.
async fn run(
    variables: Vec<Variable>,
    program: &OsString,
    arguments: &[OsString],
    ended: impl FnOnce(),
) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new()?;
    let spawned =
        tokio::process::Command::new(program).args(arguments).envs(variables).kill_on_drop(true).spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            // As env, nohup and timeout do.
            let code = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
            print_error(&anyhow::Error::from(error).context(format!("cannot run {}", program.display())));
            return Ok(ExitCode::from(code));
        }
    };
    loop {
        tokio::select! {
            status = child.wait() => {
                ended();
                return Ok(exit_code(status?));
            }
            term = signals.next() => if term { pass_on_term(&child) },
        }
    }
}

async fn serve(variables: &[Variable]) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new()?;
    print_exports(variables)?;
    signals.next().await;
    Ok(ExitCode::SUCCESS)
}

fn print_exports(variables: &[Variable]) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    for (name, value) in variables {
        writeln!(out, "export {name}={value}")?;
    }
    out.flush()
}

#[cfg(unix)]
fn exit_code(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

#[cfg(not(unix))]
fn exit_code(status: ExitStatus) -> ExitCode {
    ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

#[cfg(unix)]
fn pass_on_term(child: &tokio::process::Child) {
    let id = child.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
    if let Some(id) = id {
        // Gone already is as good.
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
    }
}

#[cfg(not(unix))]
fn pass_on_term(_: &tokio::process::Child) {}

/// Ctrl-C and TERM.
struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// The next of them; whether it is TERM.
    async fn next(&mut self) -> bool {
        tokio::select! {
            _ = self.interrupt.recv() => false,
            _ = self.terminate.recv() => true,
        }
    }
}

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {})
    }

    async fn next(&mut self) -> bool {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        false
    }
}
