//! Runs a command and forwards signals to it.

use std::ffi::OsString;
use std::process::{ExitCode, ExitStatus};

use crate::{Variable, print_error};

/// Runs the command with the drive's address and token. Ctrl-C in a terminal reaches the command too, so the drive
/// waits for it to end. SIGTERM reaches only the drive, so the drive forwards it.
pub(crate) async fn run(
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
            // Like env, nohup and timeout.
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
            term = signals.next() => if term { forward_term(&child) },
        }
    }
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
fn forward_term(child: &tokio::process::Child) {
    let id = child.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
    if let Some(id) = id {
        // This fails only if the command has ended.
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
    }
}

#[cfg(not(unix))]
fn forward_term(_: &tokio::process::Child) {}

/// SIGINT and SIGTERM.
pub(crate) struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    pub(crate) fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for a signal. Returns whether it is SIGTERM.
    pub(crate) async fn next(&mut self) -> bool {
        tokio::select! {
            _ = self.interrupt.recv() => false,
            _ = self.terminate.recv() => true,
        }
    }
}

#[cfg(not(unix))]
impl Signals {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {})
    }

    pub(crate) async fn next(&mut self) -> bool {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        false
    }
}
