//! Open connections without a request: kept from an earlier part, or opened in advance.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper::Uri;
use tokio::sync::oneshot;

use super::connect::{Connection, open, origin};
use super::transfer_stats::TransferStats;
use crate::dial::{Connector, TransferError};
use crate::mutex::lock;

/// S3 closes a connection that has been idle for about 5 s.
const MAX_IDLE: Duration = Duration::from_secs(4);

/// An idle connection that is not ready within this time is discarded.
const READY_WITHIN: Duration = Duration::from_millis(100);

/// Which connection is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A new one.
    New,
    /// An idle one, if there is any.
    Any,
    /// The fastest for this many bytes, on a path with headroom: an idle one, unless a new one would be faster.
    Fastest(u64),
}

/// A pool of connections, by origin.
pub struct ConnectionPool {
    connector: Arc<Connector>,
    stats: TransferStats,
    unused: Mutex<HashMap<String, Unused>>,
}

/// The result of opening a connection in advance, and when it arrived.
type Opened = (Result<Connection, TransferError>, Instant);

/// The unused connections to one origin.
#[derive(Default)]
struct Unused {
    /// Each with the time since when it is idle.
    idle: Vec<(Connection, Instant)>,
    /// Opened or being opened in advance, each with the time when this began.
    preconnected: Vec<(oneshot::Receiver<Opened>, Instant)>,
}

impl ConnectionPool {
    /// An empty pool.
    pub fn new(connector: Arc<Connector>, stats: TransferStats) -> Self {
        Self { connector, stats, unused: Mutex::default() }
    }

    /// A connection to the URL's host: an idle one that is still alive, or a new one.
    pub async fn get(&self, uri: &Uri, wanted: Wanted) -> Result<Connection, TransferError> {
        let (origin, asked) = (origin(uri), Instant::now());
        if wanted != Wanted::New {
            while let Some(mut connection) = self.take_idle(&origin, wanted) {
                // It is ready at once, unless the last request is incomplete.
                let ready = tokio::time::timeout(READY_WITHIN, connection.sender.ready()).await;
                if matches!(ready, Ok(Ok(()))) {
                    connection.reused = true;
                    return Ok(connection);
                }
            }
            while let Some(receiver) = self.take_preconnected(&origin) {
                match receiver.await {
                    Ok((Ok(mut connection), since))
                        if since.elapsed() < MAX_IDLE && !connection.sender.is_closed() =>
                    {
                        connection.reused = true;
                        return Ok(connection);
                    }
                    // A failure from before this call may be minutes old and does not count.
                    Ok((Err(error), at)) if at >= asked => return Err(error),
                    _ => {}
                }
            }
        }
        open(&self.connector, uri).await
    }

    /// Opens connections to the URL's host until `wanted` are idle or being opened.
    pub fn preconnect(&self, uri: &Uri, wanted: usize) {
        let mut unused = lock(&self.unused);
        let unused = unused.entry(origin(uri)).or_default();
        unused
            .idle
            .retain(|(connection, since)| since.elapsed() < MAX_IDLE && !connection.sender.is_closed());
        unused.preconnected.retain(|(_, begun)| begun.elapsed() < MAX_IDLE);
        for _ in unused.idle.len() + unused.preconnected.len()..wanted {
            let (sender, receiver) = oneshot::channel();
            let (connector, uri, stats) = (Arc::clone(&self.connector), uri.clone(), self.stats.clone());
            tokio::spawn(async move {
                let opened = open(&connector, &uri).await;
                if let Ok(connection) = &opened {
                    stats.note_connected(connection.connect_time);
                }
                // If no part waits for it any more, this closes it.
                let _ = sender.send((opened, Instant::now()));
            });
            unused.preconnected.push((receiver, Instant::now()));
        }
    }

    /// Keeps a connection after a complete response.
    pub fn keep(&self, connection: Connection) {
        if !connection.sender.is_closed() {
            let mut unused = lock(&self.unused);
            let idle = &mut unused.entry(connection.origin.clone()).or_default().idle;
            idle.retain(|(_, since)| since.elapsed() < MAX_IDLE);
            idle.push((connection, Instant::now()));
        }
    }

    /// The fastest idle connection, if it is recent enough.
    fn take_idle(&self, origin: &str, wanted: Wanted) -> Option<Connection> {
        let mut unused = lock(&self.unused);
        let idle = &mut unused.get_mut(origin)?.idle;
        idle.retain(|(_, since)| since.elapsed() < MAX_IDLE);
        let fastest = (0..idle.len()).max_by(|a, b| idle[*a].0.rate.total_cmp(&idle[*b].0.rate))?;
        if let Wanted::Fastest(size) = wanted
            && idle[fastest].0.is_slow_for(size)
        {
            // Those without a rate have not sent a large part yet.
            idle.retain(|(connection, _)| connection.rate == 0.0);
            return idle.pop().map(|(connection, _)| connection);
        }
        Some(idle.swap_remove(fastest).0)
    }

    /// The oldest connection that was opened in advance.
    fn take_preconnected(&self, origin: &str) -> Option<oneshot::Receiver<Opened>> {
        let mut unused = lock(&self.unused);
        let preconnected = &mut unused.get_mut(origin)?.preconnected;
        (!preconnected.is_empty()).then(|| preconnected.remove(0).0)
    }
}
