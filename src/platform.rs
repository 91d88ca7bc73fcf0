//! The one corner for what differs between systems. Everything here has a fallback that is honest, if
//! poorer: a system that cannot say what its network has taken is believed about what it was handed.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use tokio::net::TcpStream;

mod identity;

pub use identity::{Identity, is_replaced, may_be_written};

/// Reads at `offset` without moving a shared position. May read less than asked; 0 is the file's end.
///
/// # Errors
/// Those of the system's read.
pub fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        #[cfg(unix)]
        let read = std::os::unix::fs::FileExt::read_at(file, buffer, offset);
        #[cfg(windows)]
        let read = std::os::windows::fs::FileExt::seek_read(file, buffer, offset);
        match read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// As [`read_at`], but only what is in memory already: `None` when the disk would have to be waited for, or
/// when the system cannot tell.
#[cfg(target_os = "linux")]
pub fn read_at_if_cached(file: &File, buffer: &mut [u8], offset: u64) -> Option<usize> {
    // RWF_NOWAIT (preadv2(2), Linux 4.14): EAGAIN instead of sleeping; EOPNOTSUPP where a file system has no
    // such way. Every error is left for the waiting read to tell.
    let mut slices = [io::IoSliceMut::new(buffer)];
    rustix::io::preadv2(file, &mut slices, offset, rustix::io::ReadWriteFlags::NOWAIT).ok()
}

/// As [`read_at`], but only what is in memory already: `None` when the disk would have to be waited for, or
/// when the system cannot tell.
#[cfg(not(target_os = "linux"))]
pub fn read_at_if_cached(_file: &File, _buffer: &mut [u8], _offset: u64) -> Option<usize> {
    None
}

/// Has the system fetch a range of a file from the disk, without waiting for it. A wish; a system without such a
/// way reads when it is asked to.
pub fn read_ahead(file: &File, offset: u64, length: u64) {
    #[cfg(target_os = "linux")]
    if let Some(length) = std::num::NonZeroU64::new(length) {
        let _ = rustix::fs::fadvise(file, offset, Some(length), rustix::fs::Advice::WillNeed);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, offset, length);
}

/// Bytes that the kernel may hold beyond what it has sent but not had acknowledged. Without this bound it
/// takes megabytes, and on a thin line "handed over" runs minutes ahead of the truth.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT_IN_KERNEL: u32 = 128 * 1024;

/// Sets a storage connection up: no delay for small writes, little unsent data in the kernel, and probes that
/// find out about a peer that is gone. All of it is a wish: a system that refuses has its defaults.
pub fn prepare(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_keepalive(
        &socket2::TcpKeepalive::new()
            .with_time(Duration::from_secs(15))
            .with_interval(Duration::from_secs(5)),
    );
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if tells_of_tcp() {
        let _ = socket.set_tcp_notsent_lowat(UNSENT_IN_KERNEL);
    }
}

/// Whether what TCP has measured is asked for. `COPERA_UPLOAD_NO_TCP_INFO=1` makes Linux behave as the systems that
/// do not tell, for trying out on emulated lines what happens there.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn tells_of_tcp() -> bool {
    static TELLS: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *TELLS.get_or_init(|| std::env::var_os("COPERA_UPLOAD_NO_TCP_INFO").is_none_or(|value| value.is_empty()))
}

/// Bytes handed to the kernel that the peer has not acknowledged yet; `None` where the system does not say.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn unacked_bytes(stream: &TcpStream) -> Option<u64> {
    use rustix::ioctl::{Getter, ioctl};
    if !tells_of_tcp() {
        return None;
    }
    // tcp(7): SIOCOUTQ, the same number as TIOCOUTQ, "returns the amount of unsent data in the socket send
    // queue", which counts what is sent and not acknowledged too (tcp_ioctl: write_seq - snd_una).
    // SAFETY: TIOCOUTQ writes one C int and touches nothing else.
    #[expect(unsafe_code, reason = "no safe wrapper for this ioctl exists; see SAFETY")]
    let queued = unsafe {
        let getter = Getter::<{ libc::TIOCOUTQ as rustix::ioctl::Opcode }, libc::c_int>::new();
        ioctl(stream, getter)
    };
    u64::try_from(queued.ok()?).ok()
}

/// Bytes handed to the kernel that the peer has not acknowledged yet; `None` where the system does not say.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn unacked_bytes(_stream: &TcpStream) -> Option<u64> {
    None
}

/// What a connection's TCP has measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpInfo {
    /// The round trip of late (RFC 6298's SRTT).
    pub smoothed_rtt: Duration,
    /// The shortest round trip: the way without a queue.
    pub min_rtt: Duration,
    /// Packets sent again since it was opened.
    pub retransmits: u64,
}

/// What the connection's TCP has measured; `None` where the system does not say.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn tcp_info(stream: &TcpStream) -> Option<TcpInfo> {
    use std::os::fd::AsRawFd as _;
    if !tells_of_tcp() {
        return None;
    }
    // linux/tcp.h, struct tcp_info: fields are only ever added at its end, and not every libc's copy has
    // them all. After eight bytes come 32-bit words: tcpi_rtt at byte 68, tcpi_total_retrans at
    // 100, tcpi_min_rtt at 148, times in microseconds. A kernel without the last (before 4.6) gives fewer bytes.
    const RTT: usize = 68 / 4;
    const TOTAL_RETRANS: usize = 100 / 4;
    const MIN_RTT: usize = 148 / 4;
    let mut info = [0_u32; MIN_RTT + 1];
    let size = size_of_val(&info) as libc::socklen_t;
    let mut length = size;
    // SAFETY: getsockopt writes at most `length` bytes to `info`, which is that long, and the length it wrote.
    #[expect(unsafe_code, reason = "no safe wrapper for TCP_INFO exists; see SAFETY")]
    let failed = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    // Nothing was measured yet: 0, and for the shortest the largest number (tcp_min_rtt's start, ~0U).
    let known = failed == 0 && length == size && info[RTT] > 0 && info[MIN_RTT] < u32::MAX;
    let micros = |word: usize| Duration::from_micros(u64::from(info[word]));
    let resent = u64::from(info[TOTAL_RETRANS]);
    known.then(|| TcpInfo { smoothed_rtt: micros(RTT), min_rtt: micros(MIN_RTT), retransmits: resent })
}

/// What the connection's TCP has measured; `None` where the system does not say.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn tcp_info(_stream: &TcpStream) -> Option<TcpInfo> {
    None
}

/// Opens (or creates) a file that only this user may read, for reading and writing.
///
/// # Errors
/// Those of the system's open.
pub fn open_private(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    // Not for appending: Windows refuses to shorten a file that is open so.
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    open_in_time(|| options.open(path))
}

/// As [`open_private`]; `true`: the file was there already.
///
/// # Errors
/// Those of the system's open.
pub fn open_or_create_private(path: &Path) -> io::Result<(File, bool)> {
    let mut options = File::options();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok((open_private(path)?, true)),
        created => Ok((created?, false)),
    }
}

/// Opens (or creates) a file that only this user may read, for reading and for writing at its end.
///
/// # Errors
/// Those of the system's open.
pub fn append_private(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Has the process that a command starts lead a group of its own, where systems have such groups.
pub fn lead_a_group(command: &mut Command) {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    #[cfg(not(unix))]
    let _ = command;
}

/// Kills the group that a child leads, which must not have been waited for: all that it started.
pub fn kill_group(child: &Child) {
    #[cfg(unix)]
    if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    #[cfg(not(unix))]
    let _ = child;
}

/// Makes a folder, and those above it, that only this user may enter.
///
/// # Errors
/// Those of the system.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Waits until no other run holds this folder, and holds it until the file is dropped. `None`: there are no such
/// locks here (Windows opens no folders; some network file systems refuse).
pub fn lock_dir(path: &Path) -> Option<File> {
    let folder = if cfg!(unix) { open_in_time(|| File::open(path)).ok()? } else { return None };
    folder.lock().ok().map(|()| folder)
}

/// Has a folder's list of names on the disk, after a rename: a wish, which some file systems refuse. Windows
/// opens no folders.
pub fn sync_dir(path: &Path) {
    #[cfg(unix)]
    let _ = File::open(path).and_then(|folder| folder.sync_all());
    #[cfg(not(unix))]
    let _ = path;
}

/// What [`kind_of`] calls a named pipe.
pub const FIFO: &str = "a FIFO";

/// What to call something that is neither a file nor a directory.
#[cfg(unix)]
pub fn kind_of(kind: std::fs::FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    if kind.is_fifo() {
        FIFO
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_block_device() || kind.is_char_device() {
        "a device"
    } else {
        "something special"
    }
}

/// What to call something that is neither a file nor a directory.
#[cfg(not(unix))]
pub fn kind_of(_: std::fs::FileType) -> &'static str {
    "something special"
}

/// Opens a file for reading. Opening a FIFO does not wait until somebody writes to it; reading one that nobody has
/// open for writing is at its end at once.
///
/// # Errors
/// Those of the system.
pub fn open_without_waiting(path: &Path) -> io::Result<File> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;

        use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
        let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
        let file = File::options().read(true).custom_flags(nonblocking).open(path)?;
        // Reading waits again: a writer may be slow.
        fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
        Ok(file)
    }
    #[cfg(not(unix))]
    File::open(path)
}

/// Whether this is the null device, which holds nothing and is never full.
#[cfg(unix)]
pub fn is_null_device(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let is_device = metadata.file_type().is_char_device();
    is_device && std::fs::metadata("/dev/null").is_ok_and(|null| null.rdev() == metadata.rdev())
}

/// Whether this is the null device, which holds nothing and is never full. Windows' `NUL` has no metadata.
#[cfg(not(unix))]
pub fn is_null_device(_: &std::fs::Metadata) -> bool {
    false
}

/// The path of a file without links, `.` and `..`: equal for all ways that lead to it.
///
/// # Errors
/// Those of the system.
pub fn canonical(path: &Path) -> io::Result<PathBuf> {
    let path = std::fs::canonicalize(path)?;
    // Windows answers with its verbatim form, `\\?\C:\folder\file`, which nobody types.
    #[cfg(windows)]
    if let Some(plain) = path.to_str().and_then(|text| text.strip_prefix(r"\\?\"))
        && plain.as_bytes().get(1) == Some(&b':')
    {
        return Ok(plain.into());
    }
    Ok(path)
}

/// Standard input's handle, as a file of its own; `None` where it cannot be had.
pub fn stdin_as_file() -> Option<File> {
    #[cfg(unix)]
    let handle = std::os::fd::AsFd::as_fd(&io::stdin()).try_clone_to_owned();
    #[cfg(windows)]
    let handle = std::os::windows::io::AsHandle::as_handle(&io::stdin()).try_clone_to_owned();
    handle.ok().map(File::from)
}

/// Whether a write failed because nobody reads the pipe any more.
pub fn is_broken_pipe(error: &io::Error) -> bool {
    // ERROR_PIPE_NOT_CONNECTED: a pipe whose other end has been disconnected. std has no kind for it.
    const NOT_CONNECTED: i32 = 233;
    error.kind() == io::ErrorKind::BrokenPipe || cfg!(windows) && error.raw_os_error() == Some(NOT_CONNECTED)
}

/// Signals that this process was started with ignored, as the caller wants them to stay: SIGHUP under `nohup`,
/// SIGINT in a script's background job (POSIX shell, "Asynchronous Lists"). Bit n-1 is signal n; 0 where the
/// system does not say.
#[cfg(unix)]
pub fn ignored_signals() -> u64 {
    // proc(5): SigIgn is such a mask, in hexadecimal. Elsewhere than on Linux there is no such file.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Lets writes go on that would stop or kill the program: to the terminal from the background where `stty tostop`
/// is set (SIGTTOU), and to a file that is as large as `ulimit -f` allows (SIGXFSZ; the write fails with EFBIG). And
/// leaves SIGCONT to the thread that calls [`take_continue`].
///
/// The signals are blocked, not ignored, because commands that this program runs inherit what is ignored (std unblocks
/// all signals for them). To be called before there is a second thread, for threads inherit what is blocked.
pub fn write_undisturbed() {
    #[cfg(unix)]
    let _ = mask(libc::SIG_BLOCK, &[libc::SIGTTOU, libc::SIGXFSZ, libc::SIGCONT]);
}

/// Runs what may stop the program while it is in the background, as changing the terminal's modes should.
pub fn stoppable<T>(act: impl FnOnce() -> T) -> T {
    #[cfg(unix)]
    let before = mask(libc::SIG_UNBLOCK, &[libc::SIGTTOU]);
    let done = act();
    #[cfg(unix)]
    if before {
        mask(libc::SIG_BLOCK, &[libc::SIGTTOU]);
    }
    done
}

/// Blocks or unblocks signals for this thread. Whether the first of them was blocked before.
#[cfg(unix)]
fn mask(how: libc::c_int, signals: &[libc::c_int]) -> bool {
    use std::mem::zeroed;
    // SAFETY: a zeroed sigset_t is memory for one, which sigemptyset makes valid; the calls touch nothing else. They
    // fail only for a signal or a way that does not exist.
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

/// Whether the program may draw on the terminal that stderr is: whether it is in the foreground there. Also where
/// there is no job control, or no terminal.
pub fn in_foreground() -> bool {
    #[cfg(unix)]
    let elsewhere = rustix::termios::tcgetpgrp(io::stderr())
        .is_ok_and(|foreground| foreground != rustix::process::getpgrp());
    #[cfg(not(unix))]
    let elsewhere = false;
    !elsewhere
}

/// The program was continued after a stop; what others wrote meanwhile is on the terminal.
#[cfg(unix)]
static CONTINUED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Has this thread hear of every continuation after a stop before it does anything else: see [`was_continued`].
pub fn take_continue() {
    #[cfg(unix)]
    {
        extern "C" fn note(_signal: libc::c_int) {
            CONTINUED.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        // SAFETY: `note` does what a signal handler may (signal-safety(7)): it stores into an atomic. A zeroed
        // sigaction is a valid one.
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

/// Whether the program was continued after a stop since this was last asked.
pub fn was_continued() -> bool {
    #[cfg(unix)]
    return CONTINUED.swap(false, std::sync::atomic::Ordering::Relaxed);
    #[cfg(not(unix))]
    false
}

/// Stops the program as Ctrl-Z does where nobody listens to it, and comes back when it is continued.
#[cfg(unix)]
pub fn stop() {
    // SAFETY: a zeroed sigaction is a valid one, and its handler 0 is SIG_DFL. The handler that was there comes back
    // as it was. `raise` sends the signal to this thread, so it acts before the next line does.
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

/// Sees to it that the program may have `wanted` files open. How many it may where the system does not allow that.
pub fn allow_open_files(wanted: u64) -> Option<u64> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let current = current.filter(|current| *current < wanted)?;
        let more = maximum.map_or(wanted, |maximum| maximum.min(wanted));
        let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(more), maximum });
        Some(if raised.is_ok() { more } else { current }).filter(|allowed| *allowed < wanted)
    }
    #[cfg(not(unix))]
    {
        let _ = wanted;
        None
    }
}

/// How many files the program has open now, those included that it was started with.
pub fn open_files() -> usize {
    #[cfg(unix)]
    // One of them is the folder itself while it is read. Without it, the three streams.
    return std::fs::read_dir("/dev/fd").map_or(3, |entries| entries.count().saturating_sub(1));
    #[cfg(not(unix))]
    0
}

/// Whether something could not be opened because too many files are open, in this program or on the whole system.
pub fn is_out_of_files(error: &io::Error) -> bool {
    #[cfg(unix)]
    let numbers = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE].map(rustix::io::Errno::raw_os_error);
    #[cfg(windows)]
    // ERROR_TOO_MANY_OPEN_FILES, WSAEMFILE.
    let numbers = [4, 10024];
    error.raw_os_error().is_some_and(|number| numbers.contains(&number))
}

/// How long something that cannot be opened because too many files are open is tried again: others close theirs.
const OPENED_WITHIN: Duration = Duration::from_secs(10);

/// Opens something, again and again for a while as long as too many files are open. Waits, so not for a thread of the
/// runtime.
///
/// # Errors
/// Those of `open`.
pub fn open_in_time<T>(mut open: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let until = std::time::Instant::now() + OPENED_WITHIN;
    loop {
        match open() {
            Err(error) if is_out_of_files(&error) && std::time::Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(20));
            }
            opened => return opened,
        }
    }
}
