//! Signals: the first Ctrl-C stops the run, the second ends the process at once. Ctrl-Z stops the process after the
//! progress was erased.

use std::sync::Arc;
#[cfg(unix)]
use std::task::Poll;

use crate::engine::Stopper;
use crate::error::Signal;
use crate::event::Reporter;

/// Listens for signals as long as the runtime lives. The first one stops the engine. The second one ends the process.
#[expect(clippy::exit, reason = "a user who asks twice does not want to wait for an orderly end")]
pub fn listen(stopper: Stopper, reporter: Arc<dyn Reporter>) {
    // After an error, the system's default action stays in place.
    let Ok(mut signals) = Signals::new() else { return };
    tokio::spawn(async move {
        stopper.stop(signals.next(&*reporter).await);
        let second = signals.next(&*reporter).await;
        reporter.clear();
        std::process::exit(i32::from(second.exit_code()));
    });
}

/// Whether a signal ends the run or pauses it.
#[cfg(unix)]
#[derive(Clone, Copy)]
enum Effect {
    Stop(Signal),
    /// Ctrl-Z.
    Pause,
}

#[cfg(unix)]
struct Signals(Vec<(Effect, tokio::signal::unix::Signal)>);

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let ignored = crate::platform::ignored_signals();
        let mut signals = Vec::new();
        for (effect, kind) in [
            (Effect::Stop(Signal::Interrupt), SignalKind::interrupt()),
            (Effect::Stop(Signal::Terminate), SignalKind::terminate()),
            (Effect::Stop(Signal::Hangup), SignalKind::hangup()),
            (Effect::Pause, SignalKind::from_raw(libc::SIGTSTP)),
        ] {
            // `nohup` and shells' background jobs have signals ignored on purpose.
            if ignored >> (kind.as_raw_value() - 1) & 1 == 0 {
                signals.push((effect, signal(kind)?));
            }
        }
        Ok(Self(signals))
    }

    async fn next(&mut self, reporter: &dyn Reporter) -> Signal {
        loop {
            let received = std::future::poll_fn(|context| {
                let first = self
                    .0
                    .iter_mut()
                    .find_map(|(effect, signal)| signal.poll_recv(context).is_ready().then_some(*effect));
                first.map_or(Poll::Pending, Poll::Ready)
            });
            match received.await {
                Effect::Stop(signal) => return signal,
                Effect::Pause => reporter.pause(&mut crate::platform::stop),
            }
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
