//! The body of one PUT: exactly a part's bytes, read from the file when the connection asks for them.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::Sleep;

use super::buffers::{BUFFER, Buffers, PooledBuffer};
use super::gate::{KEEP_ALIVE_BYTES, Pass, Permission};
use super::limiter::Limiter;
use crate::checksum;
use crate::disk::Disk;
use crate::error::Error;
use crate::mutex::lock;
use crate::source::Source;

/// Bytes to prefetch from a slow disk with each read. The kernel prefetches at one position per file, but parts are read
/// at several.
const READ_AHEAD: u64 = 1024 * 1024;

/// The state of a body, shared with its [`StallDetector`](super::stall_detector::StallDetector).
#[derive(Default)]
pub struct BodyState {
    handed: AtomicU64,
    /// The connection could accept more, but the body waits for the disk or the limiter.
    locally_limited: AtomicBool,
    /// The gate holds the body.
    held: AtomicBool,
    /// Notified when the last byte has been handed over.
    pub all_handed: Notify,
    error: Mutex<Option<Error>>,
    md5: Mutex<Option<checksum::Stream>>,
}

impl BodyState {
    /// With a stream, the bytes are hashed.
    pub fn new(md5: Option<checksum::Stream>) -> Self {
        Self { md5: Mutex::new(md5), ..Self::default() }
    }

    /// Bytes handed to the connection so far.
    pub fn handed(&self) -> u64 {
        self.handed.load(Ordering::Relaxed)
    }

    /// Whether the body waits for the disk or the limiter, and not for the network.
    pub fn is_locally_limited(&self) -> bool {
        self.locally_limited.load(Ordering::Relaxed)
    }

    /// Whether the gate holds the body.
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    /// The error of the file, if it ended the body.
    pub fn take_error(&self) -> Option<Error> {
        lock(&self.error).take()
    }

    /// The MD5 of the bytes handed over, if they were hashed.
    pub fn take_md5(&self) -> Option<String> {
        let stream = lock(&self.md5).take();
        stream.map(checksum::Stream::finish)
    }
}

/// A chunk that is being read from disk.
type Reading = dyn Future<Output = Result<(PooledBuffer, Result<usize, Error>), Error>> + Send;

/// Reads `length` bytes from `offset`, one buffer at a time.
pub struct PartBody {
    source: Arc<Source>,
    offset: u64,
    left: u64,
    buffers: Buffers,
    limiter: Limiter,
    /// `None` if the body is never held, or has no bytes left.
    pass: Option<Pass>,
    state: Arc<BodyState>,
    disk: Disk,
    reading: Option<Pin<Box<Reading>>>,
    pause: Option<Pin<Box<Sleep>>>,
    allowed: usize,
    /// The last poll returned a chunk.
    has_yielded: bool,
}

impl PartBody {
    /// A body of exactly `length` bytes.
    pub fn new(
        source: Arc<Source>,
        (offset, length): (u64, u64),
        buffers: Buffers,
        limiter: Limiter,
        pass: Option<Pass>,
        state: Arc<BodyState>,
        disk: Disk,
    ) -> Self {
        Self {
            disk,
            source,
            offset,
            left: length,
            buffers,
            limiter,
            pass,
            state,
            reading: None,
            pause: None,
            allowed: 0,
            has_yielded: false,
        }
    }

    fn hand_over(&mut self, buffer: PooledBuffer, read: usize) -> Bytes {
        let chunk = buffer.share(read);
        let length = read as u64;
        self.offset += length;
        self.left -= length;
        self.allowed = self.allowed.saturating_sub(read);
        self.state.handed.fetch_add(length, Ordering::Relaxed);
        if let Some(stream) = &*lock(&self.state.md5) {
            stream.push(chunk.clone());
            if self.left == 0 {
                stream.end();
            }
        }
        if self.left == 0 {
            self.pass = None;
            self.state.all_handed.notify_one();
        }
        chunk
    }

    fn fail(&mut self, error: Error) -> std::io::Error {
        let text = error.to_string();
        *lock(&self.state.error) = Some(error);
        std::io::Error::other(text)
    }

    /// Bytes that may be sent now: as many as the limiter allows, or a full buffer.
    fn poll_allowed(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        if self.allowed == 0 {
            let want = usize::try_from(self.left).unwrap_or(BUFFER).min(BUFFER);
            let (allowed, pause) = self.limiter.reserve(want);
            self.allowed = allowed;
            self.pause = pause.map(|until| Box::pin(tokio::time::sleep_until(until.into())));
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        Poll::Ready(self.allowed)
    }
}

impl Body for PartBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        // Lets the other bodies run after each chunk. Hashing is only fast if several parts advance together, and a socket
        // with much free buffer would otherwise accept megabytes of one part.
        if std::mem::take(&mut this.has_yielded) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let frame = this.poll_next(cx);
        this.has_yielded = frame.is_ready();
        this.state.locally_limited.store(frame.is_pending(), Ordering::Relaxed);
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

impl PartBody {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let turn = match &mut self.pass {
            Some(pass) if self.reading.is_none() => pass.poll(cx),
            _ => Poll::Ready(Permission::Open),
        };
        self.state.held.store(turn != Poll::Ready(Permission::Open), Ordering::Relaxed);
        let turn = ready!(turn);
        let allowed = ready!(self.poll_allowed(cx));
        if self.reading.is_none() {
            let allowed = if turn == Permission::KeepAlive { allowed.min(KEEP_ALIVE_BYTES) } else { allowed };
            // Bytes in the page cache are read on this thread. Passing each chunk to another thread costs more than the read.
            let mut buffer = self.buffers.take();
            let length = allowed.min(usize::try_from(self.left).unwrap_or(BUFFER));
            if let Some(read) = self.source.read_at_if_cached(buffer.writable(length), self.offset) {
                return Poll::Ready(Some(Ok(Frame::data(self.hand_over(buffer, read)))));
            }
            let (source, offset) = (Arc::clone(&self.source), self.offset);
            let ahead = self.left.min(READ_AHEAD);
            let disk = self.disk.clone();
            self.reading = Some(Box::pin(async move {
                let read = disk.run(move || {
                    source.read_ahead(offset, ahead);
                    let read = source.read_at(buffer.writable(length), offset);
                    (buffer, read)
                });
                read.await
            }));
        }
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        let read = ready!(reading.as_mut().poll(cx));
        self.reading = None;
        let read = match read {
            Ok((buffer, Ok(read))) => Ok(self.hand_over(buffer, read)),
            Ok((_, Err(error))) => Err(self.fail(error)),
            Err(error) => Err(self.fail(error)),
        };
        Poll::Ready(Some(read.map(Frame::data)))
    }
}
