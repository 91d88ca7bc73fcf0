//! Signals, job control and process groups.

use std::process::{Child, Command};
#[cfg(unix)]
use std::sync::atomic::{AtomicBool, Ordering};

/// Signals that the process inherited as ignored, which should stay ignored: SIGHUP under `nohup`, SIGINT in a background
/// job of a script (POSIX shell, "Asynchronous Lists"). Bit n-1 is signal n. 0 if the system does not report them.
#[cfg(unix)]
pub fn ignored_signals() -> u64 {
    // proc(5): SigIgn is the mask, in hexadecimal. Only Linux has the file.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Blocks signals that would stop or kill the program when it writes: to the terminal in the background with `stty tostop`
/// (SIGTTOU), and to a file at the limit of `ulimit -f` (SIGXFSZ; the write fails with EFBIG). Also blocks SIGCONT for all
/// threads but the one that calls [`receive_sigcont`].
///
/// Blocked instead of ignored, because commands that this program runs would inherit that (std unblocks all signals for
/// them). Call it before there are other threads, which inherit the mask.
pub fn block_signals() {
    #[cfg(unix)]
    let _ = mask(libc::SIG_BLOCK, &[libc::SIGTTOU, libc::SIGXFSZ, libc::SIGCONT]);
}

/// Runs `act` with SIGTTOU unblocked, which stops the program if it changes the terminal in the background.
pub fn with_sigttou<T>(act: impl FnOnce() -> T) -> T {
    #[cfg(unix)]
    let before = mask(libc::SIG_UNBLOCK, &[libc::SIGTTOU]);
    let done = act();
    #[cfg(unix)]
    if before {
        mask(libc::SIG_BLOCK, &[libc::SIGTTOU]);
    }
    done
}

/// Blocks or unblocks signals for this thread. Returns whether the first one was blocked before.
#[cfg(unix)]
fn mask(how: libc::c_int, signals: &[libc::c_int]) -> bool {
    use std::mem::zeroed;
    // SAFETY: sigemptyset makes the zeroed sets valid, and the calls access nothing else. They fail only for signals and
    // values of `how` that do not exist.
    #[expect(
        unsafe_code,
        reason = "no safe wrapper of pthread_sigmask is among the dependencies; see SAFETY"
    )]
    unsafe {
        let (mut set, mut before): (libc::sigset_t, libc::sigset_t) = (zeroed(), zeroed());
        libc::sigemptyset(&raw mut set);
        libc::sigemptyset(&raw mut before);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        libc::pthread_sigmask(how, &raw const set, &raw mut before);
        signals.first().is_some_and(|signal| libc::sigismember(&raw const before, *signal) == 1)
    }
}

/// Whether the program is in the foreground of the terminal on stderr, so that it may draw there. True without a terminal
/// or job control.
pub fn in_foreground() -> bool {
    #[cfg(unix)]
    let in_background = rustix::termios::tcgetpgrp(std::io::stderr())
        .is_ok_and(|foreground| foreground != rustix::process::getpgrp());
    #[cfg(not(unix))]
    let in_background = false;
    !in_background
}

/// Whether the program was continued after a stop. Other programs may have written to the terminal meanwhile.
#[cfg(unix)]
static CONTINUED: AtomicBool = AtomicBool::new(false);

/// Makes this thread receive SIGCONT, so that [`was_continued`] is true before it does anything else after a stop.
pub fn receive_sigcont() {
    #[cfg(unix)]
    {
        extern "C" fn note(_signal: libc::c_int) {
            CONTINUED.store(true, Ordering::Relaxed);
        }
        // SAFETY: a signal handler may store to an atomic (signal-safety(7)). A zeroed sigaction is valid.
        #[expect(unsafe_code, reason = "no safe wrapper of sigaction is among the dependencies; see SAFETY")]
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = note as extern "C" fn(libc::c_int) as libc::sighandler_t;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(libc::SIGCONT, &raw const action, std::ptr::null_mut());
        }
        mask(libc::SIG_UNBLOCK, &[libc::SIGCONT]);
    }
}

/// Whether the program was continued after a stop since the last call.
pub fn was_continued() -> bool {
    #[cfg(unix)]
    return CONTINUED.swap(false, Ordering::Relaxed);
    #[cfg(not(unix))]
    false
}

/// Stops the program like Ctrl-Z without a handler. Returns when it is continued.
#[cfg(unix)]
pub fn stop() {
    // SAFETY: a zeroed sigaction is valid, with SIG_DFL as its handler. The previous handler is restored. `raise` sends the
    // signal to this thread, so it takes effect before the next line.
    #[expect(unsafe_code, reason = "no safe wrapper of sigaction is among the dependencies; see SAFETY")]
    unsafe {
        let (mut before, mut default): (libc::sigaction, libc::sigaction) =
            (std::mem::zeroed(), std::mem::zeroed());
        default.sa_sigaction = libc::SIG_DFL;
        if libc::sigaction(libc::SIGTSTP, &raw const default, &raw mut before) == 0 {
            libc::raise(libc::SIGTSTP);
            libc::sigaction(libc::SIGTSTP, &raw const before, std::ptr::null_mut());
        }
    }
}

/// Makes a command start in a new process group, on systems that have them.
pub fn new_process_group(command: &mut Command) {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    #[cfg(not(unix))]
    let _ = command;
}

/// Kills a child from [`new_process_group`] and everything it started. It must not have been waited for.
pub fn kill_process_group(child: &Child) {
    #[cfg(unix)]
    if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    #[cfg(not(unix))]
    let _ = child;
}
