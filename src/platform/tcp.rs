//! TCP: settings and measurements of a connection.

use std::time::Duration;

use tokio::net::TcpStream;

/// Limit on unsent bytes in the kernel. Without it the kernel accepts megabytes, which take minutes to send on a slow
/// connection.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT_IN_KERNEL: u32 = 128 * 1024;

/// The initial size of the send buffer if the kernel does not report what the peer has acknowledged. Otherwise it could be
/// megabytes, and whole parts would seem sent. It grows if it limits the rate.
const SEND_BUFFER: u64 = 256 * 1024;

/// The size of the send buffer of a new connection if that is all that is known about the bytes in it: the system does
/// not report which of them the peer has acknowledged.
pub fn opaque_send_buffer() -> Option<u64> {
    (!uses_tcp_info()).then_some(SEND_BUFFER)
}

/// Sets the size of the send buffer in bytes, as far as the system allows.
pub fn set_send_buffer(stream: &TcpStream, size: u64) {
    // Linux doubles the number, to make room for its own bookkeeping (socket(7)).
    let size = if cfg!(any(target_os = "linux", target_os = "android")) { size / 2 } else { size };
    let _ = socket2::SockRef::from(stream).set_send_buffer_size(usize::try_from(size).unwrap_or(usize::MAX));
}

/// Configures a storage connection: no delay of small writes, few unsent bytes in the kernel, keepalive probes. A system
/// that refuses keeps its defaults.
pub fn configure_socket(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_keepalive(
        &socket2::TcpKeepalive::new()
            .with_time(Duration::from_secs(15))
            .with_interval(Duration::from_secs(5)),
    );
    if let Some(size) = opaque_send_buffer() {
        set_send_buffer(stream, size);
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if uses_tcp_info() {
        let _ = socket.set_tcp_notsent_lowat(UNSENT_IN_KERNEL);
    }
}

/// Makes the kernel drop unsent bytes when the connection is closed. It would otherwise send them for nothing.
pub fn discard_unsent(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Whether to use what the kernel reports about TCP. `COPERA_UPLOAD_NO_TCP_INFO=1` makes Linux behave like systems that
/// report nothing, to measure them on emulated networks.
fn uses_tcp_info() -> bool {
    static USES: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    cfg!(any(target_os = "linux", target_os = "android"))
        && *USES.get_or_init(|| {
            std::env::var_os("COPERA_UPLOAD_NO_TCP_INFO").is_none_or(|value| value.is_empty())
        })
}

/// Bytes in the kernel that the peer has not acknowledged. `None` if the system does not report them.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn unacked_bytes(stream: &TcpStream) -> Option<u64> {
    use rustix::ioctl::{Getter, ioctl};
    if !uses_tcp_info() {
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

/// Bytes in the kernel that the peer has not acknowledged. `None` if the system does not report them.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn unacked_bytes(_stream: &TcpStream) -> Option<u64> {
    None
}

/// The name of the connection's congestion control. `None` if the system does not report it.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn congestion_control(stream: &TcpStream) -> Option<Vec<u8>> {
    let name = socket2::SockRef::from(stream).tcp_congestion().ok()?;
    // The kernel pads it with zeros to TCP_CA_NAME_MAX.
    Some(name.into_iter().take_while(|byte| *byte != 0).collect())
}

/// The name of the connection's congestion control. `None` if the system does not report it.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn congestion_control(_stream: &TcpStream) -> Option<Vec<u8>> {
    None
}

/// Changes the congestion control if the kernel has this one and allows it. Does nothing on other systems.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn set_congestion_control(stream: &TcpStream, name: &[u8]) {
    if uses_tcp_info() {
        let _ = socket2::SockRef::from(stream).set_tcp_congestion(name);
    }
}

/// Changes the congestion control if the kernel has this one and allows it. Does nothing on other systems.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn set_congestion_control(_stream: &TcpStream, _name: &[u8]) {}

/// Measurements of TCP on a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TcpInfo {
    /// SRTT (RFC 6298).
    pub smoothed_rtt: Duration,
    /// The shortest round trip, without queueing.
    pub min_rtt: Duration,
    /// Packets retransmitted since the connection was opened.
    pub retransmits: u64,
    /// The time in which there was data to send.
    pub busy: Duration,
    /// The part of it in which the receiver's window was full. Zero before Linux 4.10.
    pub receiver_limited: Duration,
}

impl TcpInfo {
    /// The part of the round-trip time that is spent in queues.
    pub fn queue(&self) -> Duration {
        self.smoothed_rtt.saturating_sub(self.min_rtt)
    }
}

/// Measurements of TCP on a connection. `None` if the system does not report them.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn tcp_info(stream: &TcpStream) -> Option<TcpInfo> {
    use std::os::fd::AsRawFd as _;
    if !uses_tcp_info() {
        return None;
    }
    // struct tcp_info of linux/tcp.h, which not every libc has whole. Fields are only added at its end. After eight bytes
    // come 32-bit words: tcpi_rtt at byte 68, tcpi_total_retrans at 100, tcpi_min_rtt at 148, and 64-bit words:
    // tcpi_busy_time at 168, tcpi_rwnd_limited at 176, times in microseconds. Older kernels return fewer bytes; before 4.6
    // tcpi_min_rtt is not among them.
    const RTT: usize = 68 / 4;
    const TOTAL_RETRANS: usize = 100 / 4;
    const MIN_RTT: usize = 148 / 4;
    const BUSY_TIME: usize = 168 / 4;
    const RWND_LIMITED: usize = 176 / 4;
    let mut info = [0_u32; RWND_LIMITED + 2];
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
    // Before the first measurement, RTT is 0 and the minimum is ~0U.
    let long_enough = length as usize >= (MIN_RTT + 1) * size_of::<u32>();
    let known = failed == 0 && long_enough && info[RTT] > 0 && info[MIN_RTT] < u32::MAX;
    let micros = |word: usize| Duration::from_micros(u64::from(info[word]));
    let long_micros = |word: usize| {
        let [a, b, c, d] = info[word].to_ne_bytes();
        let [e, f, g, h] = info[word + 1].to_ne_bytes();
        Duration::from_micros(u64::from_ne_bytes([a, b, c, d, e, f, g, h]))
    };
    known.then(|| TcpInfo {
        smoothed_rtt: micros(RTT),
        min_rtt: micros(MIN_RTT),
        retransmits: info[TOTAL_RETRANS].into(),
        busy: long_micros(BUSY_TIME),
        receiver_limited: long_micros(RWND_LIMITED),
    })
}

/// Measurements of TCP on a connection. `None` if the system does not report them.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn tcp_info(_stream: &TcpStream) -> Option<TcpInfo> {
    None
}
