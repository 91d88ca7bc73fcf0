//! Sockets of storage connections, which count the bytes that the peer has received.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::mutex::lock;
use crate::platform::{self, TcpInfo};

/// Queries a socket as long as it is open.
#[derive(Debug, Clone, Default)]
pub struct Probe {
    stream: Weak<TcpStream>,
    counters: Arc<Counters>,
}

/// A send buffer holds at most what is sent in this time. Progress is late by as much.
const BUFFER_TIME: Duration = Duration::from_millis(500);
/// In bytes.
const MAX_SEND_BUFFER: u64 = 2 * 1024 * 1024;

/// If a send buffer was full this recently, it is still nearly full.
const FULL_FOR: Duration = Duration::from_secs(1);

/// The counters of a socket. If the system reports nothing about the bytes in the send buffer, they are estimated from
/// its size.
#[derive(Debug)]
struct Counters {
    opened: Instant,
    /// Bytes handed to the kernel.
    written: AtomicU64,
    /// The send buffer is full: the last write was refused.
    full: AtomicBool,
    /// When it was last full, in milliseconds after `opened`.
    last_full: AtomicU64,
    bbr: Mutex<Bbr>,
    /// The size of the send buffer; 0 if the system reports what is in it.
    buffer: AtomicU64,
    /// The rate that [`Probe::fit_send_buffer`] was last called with, in bytes per second.
    last_rate: AtomicU64,
    /// The highest estimate of the bytes that have left the send buffer.
    sent: AtomicU64,
}

/// The name of BBR in Linux.
const BBR: &[u8] = b"bbr";

/// Whether a connection uses BBR.
#[derive(Debug)]
enum Bbr {
    Unused,
    /// Since when, and the congestion control before.
    Used {
        before: Option<Vec<u8>>,
        since: Instant,
    },
    Ended,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            opened: Instant::now(),
            written: AtomicU64::new(0),
            full: AtomicBool::new(false),
            last_full: AtomicU64::new(0),
            bbr: Mutex::new(Bbr::Unused),
            buffer: AtomicU64::new(platform::opaque_send_buffer().unwrap_or(0)),
            last_rate: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        }
    }
}

impl Counters {
    fn add_written(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
        self.full.store(false, Ordering::Relaxed);
    }

    fn set_full(&self) {
        self.full.store(true, Ordering::Relaxed);
        self.last_full.store(self.now(), Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// An estimate of the bytes that have left the send buffer: all but a full buffer. A buffer that was not full
    /// recently, because the body waits for the disk or a limit, counts as empty.
    fn sent(&self) -> u64 {
        let buffer = self.buffer.load(Ordering::Relaxed);
        let written = self.written.load(Ordering::Relaxed);
        let last = self.last_full.load(Ordering::Relaxed);
        let since = Duration::from_millis(self.now().saturating_sub(last));
        let is_full = self.full.load(Ordering::Relaxed) || last > 0 && since < FULL_FOR;
        let sent = written.saturating_sub(if is_full { buffer } else { 0 });
        self.sent.fetch_max(sent, Ordering::Relaxed).max(sent)
    }
}

/// Bytes that a socket has sent since it was opened, including TLS and headers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SentBytes {
    /// Acknowledged by the peer or, if the system does not report that, no longer in the send buffer.
    pub acked: u64,
    /// Handed to the kernel, but not acknowledged.
    pub unacked: u64,
}

impl Probe {
    /// The current counters.
    pub fn sent_bytes(&self) -> SentBytes {
        if platform::opaque_send_buffer().is_some() {
            return SentBytes { acked: self.counters.sent(), unacked: 0 };
        }
        let written = self.counters.written.load(Ordering::Relaxed);
        let unacked = self.stream.upgrade().and_then(|stream| platform::unacked_bytes(&stream));
        let unacked = unacked.unwrap_or(0).min(written);
        SentBytes { acked: written - unacked, unacked }
    }

    /// Enlarges a send buffer of which only the size is known, if it limits this rate (bytes per second) and that of the
    /// last call. One measurement says little: the first bytes fill buffers on the path, however slow it is.
    pub fn fit_send_buffer(&self, rate: f64) {
        let buffer = self.counters.buffer.load(Ordering::Relaxed);
        let last_rate = self.counters.last_rate.swap(rate as u64, Ordering::Relaxed) as f64;
        let wanted = ((rate.min(last_rate) * BUFFER_TIME.as_secs_f64()) as u64).min(MAX_SEND_BUFFER);
        if buffer > 0
            && wanted > buffer
            && let Some(stream) = self.stream.upgrade()
        {
            platform::set_send_buffer(&stream, wanted);
            self.counters.buffer.store(wanted, Ordering::Relaxed);
        }
    }

    /// Changes the connection to BBR if the system has it, once.
    pub fn use_bbr(&self) {
        let mut bbr = lock(&self.counters.bbr);
        if matches!(*bbr, Bbr::Unused)
            && let Some(stream) = self.stream.upgrade()
        {
            *bbr = Bbr::Used { before: platform::congestion_control(&stream), since: Instant::now() };
            platform::set_congestion_control(&stream, BBR);
        }
    }

    /// Starts BBR, or starts it again. Its startup doubles the rate with each round trip until the path is full. CUBIC, and
    /// BBR once it runs, need seconds to use freed capacity.
    pub fn restart_bbr(&self) {
        self.use_bbr();
        if matches!(*lock(&self.counters.bbr), Bbr::Used { .. })
            && let Some(stream) = self.stream.upgrade()
            && platform::congestion_control(&stream).as_deref() == Some(BBR)
        {
            // Linux ignores a change to the congestion control in use, so this goes through Reno, which every kernel has.
            platform::set_congestion_control(&stream, b"reno");
            platform::set_congestion_control(&stream, BBR);
        }
    }

    /// Changes a connection that has used BBR for this long back to the congestion control that it had before, for good.
    pub fn end_bbr(&self, used_for: Duration) {
        let mut bbr = lock(&self.counters.bbr);
        if let Bbr::Used { before: Some(before), since } = &*bbr
            && since.elapsed() >= used_for
            && let Some(stream) = self.stream.upgrade()
        {
            platform::set_congestion_control(&stream, before);
            *bbr = Bbr::Ended;
        }
    }

    /// What TCP has measured, if the system reports it.
    pub fn tcp_info(&self) -> Option<TcpInfo> {
        platform::tcp_info(&*self.stream.upgrade()?)
    }

    /// Makes the kernel drop unsent bytes when the connection is closed.
    pub fn discard_unsent(&self) {
        if let Some(stream) = self.stream.upgrade() {
            platform::discard_unsent(&stream);
        }
    }
}

/// A TCP stream that counts the bytes handed to the kernel.
pub struct Socket {
    stream: Arc<TcpStream>,
    counters: Arc<Counters>,
}

impl Socket {
    /// Counts what is sent from now on.
    pub fn new(stream: TcpStream) -> Self {
        Self { stream: Arc::new(stream), counters: Arc::default() }
    }

    /// Queries this socket.
    pub fn probe(&self) -> Probe {
        Probe { stream: Arc::downgrade(&self.stream), counters: Arc::clone(&self.counters) }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.stream.try_read(buf.initialize_unfilled()) {
                Ok(read) => {
                    buf.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_write_vectored(bufs) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.counters.set_full(),
                written => {
                    if let Ok(written) = written {
                        self.counters.add_written(written);
                    }
                    return Poll::Ready(written);
                }
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(socket2::SockRef::from(&*self.stream).shutdown(std::net::Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_send_buffer_grows_to_what_two_rates_in_a_row_need() -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let socket = Socket::new(TcpStream::connect(listener.local_addr()?).await?);
        socket.counters.buffer.store(1000, Ordering::Relaxed);
        let size_after = |rate| {
            socket.probe().fit_send_buffer(rate);
            socket.counters.buffer.load(Ordering::Relaxed)
        };
        assert_eq!(size_after(1e6), 1000, "the first bytes fill buffers on the path");
        assert_eq!(size_after(1e5), 50_000);
        assert_eq!(size_after(1e3), 50_000, "it does not shrink");
        Ok(())
    }
}
