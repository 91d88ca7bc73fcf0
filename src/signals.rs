//! Signals: the first Ctrl-C stops the run, the second ends the process at once. Ctrl-Z stops the process after the
//! progress was erased.

use std::sync::Arc;

use crate::engine::Stopper;
use crate::error::Signal;
use crate::event::Reporter;

/// Listens for signals as long as the runtime lives. The first one stops the engine. The second one calls `before_exit`
/// and ends the process.
pub fn listen(stopper: Stopper, reporter: Arc<dyn Reporter>, before_exit: impl FnOnce() + Send + 'static) {
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        // The system's default action stays in place.
        Err(_) => return,
    };
    tokio::spawn(async move {
        stopper.stop(signals.next(&*reporter).await);
        let second = signals.next(&*reporter).await;
        before_exit();
        exit(second);
    });
}

#[expect(clippy::exit, reason = "a user who asks twice does not want to wait for an orderly end")]
fn exit(signal: Signal) {
    std::process::exit(i32::from(signal.exit_code()));
}

#[cfg(unix)]
struct Signals {
    interrupt: Option<tokio::signal::unix::Signal>,
    terminate: Option<tokio::signal::unix::Signal>,
    hangup: Option<tokio::signal::unix::Signal>,
    /// Ctrl-Z.
    pause: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let ignored = crate::platform::ignored_signals();
        // `nohup` and shells' background jobs have signals ignored on purpose.
        let unless_ignored = |kind: SignalKind| {
            let is_ignored = ignored >> (kind.as_raw_value() - 1) & 1 == 1;
            (!is_ignored).then(|| signal(kind)).transpose()
        };
        Ok(Self {
            interrupt: unless_ignored(SignalKind::interrupt())?,
            terminate: unless_ignored(SignalKind::terminate())?,
            hangup: unless_ignored(SignalKind::hangup())?,
            pause: unless_ignored(SignalKind::from_raw(libc::SIGTSTP))?,
        })
    }

    async fn next(&mut self, reporter: &dyn Reporter) -> Signal {
        async fn one(signal: &mut Option<tokio::signal::unix::Signal>) {
            match signal {
                Some(signal) => drop(signal.recv().await),
                None => std::future::pending().await,
            }
        }
        loop {
            return tokio::select! {
                () = one(&mut self.interrupt) => Signal::Interrupt,
                () = one(&mut self.terminate) => Signal::Terminate,
                () = one(&mut self.hangup) => Signal::Hangup,
                () = one(&mut self.pause) => {
                    reporter.pause(&mut crate::platform::stop);
                    continue;
                }
            };
        }
    }
}

#[cfg(windows)]
struct Signals {
    interrupt: tokio::signal::windows::CtrlC,
    terminate: tokio::signal::windows::CtrlBreak,
    hangup: tokio::signal::windows::CtrlClose,
}

#[cfg(windows)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close};
        Ok(Self { interrupt: ctrl_c()?, terminate: ctrl_break()?, hangup: ctrl_close()? })
    }

    async fn next(&mut self, _: &dyn Reporter) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.hangup.recv() => Signal::Hangup,
        }
    }
}
