//! The drive as a program: serves while a command runs, or until it is stopped.

mod cli;
mod command;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use local_drive::LocalDrive;

use crate::cli::Cli;
use crate::command::{Signals, run};

fn main() -> ExitCode {
    // Returning the error would print a backtrace if RUST_BACKTRACE is set, also for a mistyped port.
    start(&Cli::parse()).unwrap_or_else(|error| {
        print_error(&error);
        ExitCode::FAILURE
    })
}

fn start(cli: &Cli) -> anyhow::Result<ExitCode> {
    let drive = LocalDrive::start(cli.options())?;
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

#[expect(clippy::print_stderr, reason = "the only place that prints errors")]
fn print_error(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}

/// Prints what the command uploaded and where it is stored. Stdout belongs to the command, so this goes to stderr.
#[expect(clippy::print_stderr, reason = "the only place that prints the summary")]
fn print_summary(drive: &LocalDrive, cli: &Cli) {
    let items = drive.items();
    let files: Vec<_> = items.iter().filter(|item| item["type"] == "file").collect();
    let bytes: u64 = files.iter().filter_map(|file| file["size"].as_u64()).sum();
    let what = match files.as_slice() {
        [] => return eprintln!("local-drive: no file was uploaded"),
        [file] => format!(
            "{} ({bytes} bytes) was uploaded to the local drive as item {}",
            file["name"].as_str().unwrap_or_default().escape_debug(),
            file["_id"].as_str().unwrap_or_default()
        ),
        files => format!("{} files ({bytes} bytes) were uploaded to the local drive", files.len()),
    };
    let place = match (&cli.s3, &cli.data) {
        (Some(endpoint), _) => format!("stored in the bucket {} at {endpoint}", cli.s3_bucket),
        _ if cli.discard || cli.sink => "the bytes were discarded, as requested".to_owned(),
        (None, Some(_)) => format!("stored in {}, one file per part", drive.folder().display()),
        (None, None) => "the drive has stopped and deleted its files; keep them with --data DIR".to_owned(),
    };
    eprintln!("local-drive: {what}\nlocal-drive: {place}");
}

/// An environment variable for users of the drive.
type Variable = (&'static str, String);

/// The file with the CA certificate.
enum Ca {
    Requested(PathBuf),
    Temporary(tempfile::NamedTempFile),
}

impl Ca {
    fn of(drive: &LocalDrive, path: Option<&Path>) -> anyhow::Result<Option<Self>> {
        let Some(pem) = drive.ca_pem() else { return Ok(None) };
        let ca = match path {
            Some(path) => Self::Requested(std::path::absolute(path)?),
            None => {
                Self::Temporary(tempfile::Builder::new().prefix("local-drive-ca-").suffix(".pem").tempfile()?)
            }
        };
        std::fs::write(ca.path(), pem).with_context(|| format!("cannot write {}", ca.path().display()))?;
        Ok(Some(ca))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Requested(path) => path,
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
