//! Counts the bytes of a request body or of an object, and applies faults to them: slow, stalled, reset, corrupt.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use http_body_util::BodyExt as _;
use hyper::body::Body;

use crate::body::AnyError;
use crate::drive::Shared;
use crate::fault::{Action, FaultId};
use crate::net::{Conn, Lost};
use crate::record::Entry;

/// Whether a body ended early, and why.
#[derive(Default)]
pub(crate) struct Outcome {
    lost: AtomicBool,
    timed_out: AtomicBool,
}

impl Outcome {
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    pub(crate) fn has_timed_out(&self) -> bool {
        self.timed_out.load(Ordering::SeqCst)
    }
}

struct Meter<B> {
    body: B,
    /// The rest of a chunk that was cut at the limit.
    rest: Option<Bytes>,
    read: u64,
    /// Where a reset or stall happens.
    limit: Option<u64>,
    ended: bool,
    fault: Option<(FaultId, Action)>,
    shared: Arc<Shared>,
    conn: Arc<Conn>,
    entry: Arc<Entry>,
    outcome: Arc<Outcome>,
}

/// Wraps a body in a stream that counts it and applies the fault.
pub(crate) fn meter<B>(
    body: B,
    fault: Option<(FaultId, Action)>,
    shared: Arc<Shared>,
    conn: Arc<Conn>,
    entry: Arc<Entry>,
) -> (impl Stream<Item = Result<Bytes, AnyError>> + Send + use<B>, Arc<Outcome>)
where
    B: Body<Data = Bytes, Error: Into<AnyError>> + Send + Unpin,
{
    let max_read = match &fault {
        // A step every 50 ms.
        Some((_, Action::SlowRead { bytes_per_second })) => (*bytes_per_second / 20).max(1),
        _ => u64::MAX,
    };
    conn.set_max_read(usize::try_from(max_read).unwrap_or(usize::MAX));
    let limit = match &fault {
        Some((_, Action::ResetAfter(limit) | Action::Stall { after: limit })) => Some(*limit),
        _ => None,
    };
    let outcome = Arc::new(Outcome::default());
    let meter = Meter {
        body,
        rest: None,
        read: 0,
        limit,
        ended: false,
        fault,
        shared,
        conn,
        entry,
        outcome: Arc::clone(&outcome),
    };
    let stream = stream::unfold(meter, |mut meter| async move {
        let item = meter.next().await?;
        if item.is_err() {
            meter.ended = true;
        }
        Some((item, meter))
    });
    (stream, outcome)
}

impl<B: Body<Data = Bytes, Error: Into<AnyError>> + Send + Unpin> Meter<B> {
    async fn next(&mut self) -> Option<Result<Bytes, AnyError>> {
        if self.ended {
            return None;
        }
        if self.limit == Some(self.read) {
            self.limit = None;
            if let Err(error) = self.apply().await {
                return Some(Err(error));
            }
        }
        let chunk = match self.rest.take() {
            Some(rest) => rest,
            None => match self.receive().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => {
                    self.ended = true;
                    // The body is shorter than the limit, so the fault applies at its end.
                    if self.limit.take().is_some()
                        && let Err(error) = self.apply().await
                    {
                        return Some(Err(error));
                    }
                    return None;
                }
                Err(error) => return Some(Err(error)),
            },
        };
        Some(self.pass(chunk).await)
    }

    /// Cuts a chunk at the limit, counts it, and applies faults of its bytes.
    async fn pass(&mut self, mut chunk: Bytes) -> Result<Bytes, AnyError> {
        if let Some(limit) = self.limit
            && let Ok(left) = usize::try_from(limit - self.read)
            && left < chunk.len()
        {
            self.rest = Some(chunk.split_off(left));
        }
        let first = self.read == 0;
        self.read += chunk.len() as u64;
        self.entry.body_bytes(chunk.len() as u64);
        match &self.fault {
            Some((_, Action::SlowRead { bytes_per_second })) => {
                let seconds = chunk.len() as f64 / (*bytes_per_second).max(1) as f64;
                tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            }
            Some((_, Action::CorruptStored)) if first && !chunk.is_empty() => {
                let mut corrupt = BytesMut::from(chunk);
                if let Some(byte) = corrupt.first_mut() {
                    *byte ^= 1;
                }
                chunk = corrupt.freeze();
            }
            _ => {}
        }
        Ok(chunk)
    }

    /// Waits for the next chunk. Like S3, gives up on an idle socket.
    async fn receive(&mut self) -> Result<Option<Bytes>, AnyError> {
        loop {
            let frame = tokio::time::timeout(self.shared.options.body_timeout, self.body.frame()).await;
            match frame {
                Err(elapsed) => {
                    self.outcome.timed_out.store(true, Ordering::SeqCst);
                    return Err(elapsed.into());
                }
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => {
                    self.outcome.lost.store(true, Ordering::SeqCst);
                    return Err(error.into());
                }
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// Applies the fault at the limit.
    async fn apply(&mut self) -> Result<(), AnyError> {
        match &self.fault {
            Some((id, Action::Stall { .. })) => {
                tokio::select! {
                    () = self.shared.faults.until_cleared(*id) => Ok(()),
                    () = self.conn.closed() => {
                        self.outcome.lost.store(true, Ordering::SeqCst);
                        Err(Lost.into())
                    }
                }
            }
            Some((_, Action::ResetAfter(_))) => {
                self.outcome.lost.store(true, Ordering::SeqCst);
                Err(self.conn.reset().into())
            }
            _ => Ok(()),
        }
    }
}
