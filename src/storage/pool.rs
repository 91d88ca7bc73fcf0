//! Open connections without a request: kept from an earlier part, or opened in advance.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::Uri;
use tokio::sync::oneshot;

use super::connect::{Connection, open, origin};
use crate::dial::{Connector, TransferError};

/// S3 closes a connection that is idle for about 5 s. An older one is not worth the risk.
const IDLE_MOST: Duration = Duration::from_secs(4);

/// A kept connection that is not ready within this time never will be.
const READY_WITHIN: Duration = Duration::from_millis(100);

/// What connection is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A new one.
    New,
    /// An idle one, if there is any.
    Any,
    /// For so many bytes on a path with headroom: an idle one, unless a new one would be faster.
    Fast(u64),
}

/// A pool of connections, by origin.
pub struct ConnectionPool {
    connector: Arc<Connector>,
    waiting: Mutex<HashMap<String, Waiting>>,
}

/// The result of opening a connection in advance, and when it arrived.
type Opened = (Result<Connection, TransferError>, Instant);

/// The connections to one origin.
#[derive(Default)]
struct Waiting {
    /// With the time since when each is idle.
    idle: Vec<(Connection, Instant)>,
    /// Opened in advance: ready or being opened.
    ahead: Vec<(oneshot::Receiver<Opened>, Instant)>,
}

impl ConnectionPool {
    /// An empty pool.
    pub fn new(connector: Arc<Connector>) -> Self {
        Self { connector, waiting: Mutex::default() }
    }

    /// A connection to the URL's host: an idle one that is still alive, or a new one.
    ///
    /// # Errors
    /// Those of [`open`].
    pub async fn get(&self, uri: &Uri, wanted: Wanted) -> Result<Connection, TransferError> {
        let (origin, asked) = (origin(uri), Instant::now());
        if wanted != Wanted::New {
            while let Some(mut connection) = self.take_idle(&origin, wanted) {
                // It is ready immediately, unless the last request left something behind.
                let ready = tokio::time::timeout(READY_WITHIN, connection.sender.ready()).await;
                if matches!(ready, Ok(Ok(()))) {
                    connection.reused = true;
                    return Ok(connection);
                }
            }
            while let Some(coming) = self.take_ahead(&origin) {
                match coming.await {
                    Ok((Ok(mut connection), since))
                        if since.elapsed() < IDLE_MOST && !connection.sender.is_closed() =>
                    {
                        connection.reused = true;
                        return Ok(connection);
                    }
                    // An earlier failure does not count, it may be minutes old.
                    Ok((Err(trouble), at)) if at >= asked => return Err(trouble),
                    _ => {}
                }
            }
        }
        open(&self.connector, uri).await
    }

    /// Opens connections to the URL's host until `wanted` are idle or being opened.
    pub fn preconnect(&self, uri: &Uri, wanted: usize) {
        let mut waiting = self.waiting();
        let waiting = waiting.entry(origin(uri)).or_default();
        waiting
            .idle
            .retain(|(connection, since)| since.elapsed() < IDLE_MOST && !connection.sender.is_closed());
        waiting.ahead.retain(|(_, begun)| begun.elapsed() < IDLE_MOST);
        for _ in waiting.idle.len() + waiting.ahead.len()..wanted {
            let (tell, coming) = oneshot::channel();
            let (connector, uri) = (Arc::clone(&self.connector), uri.clone());
            tokio::spawn(async move {
                let opened = open(&connector, &uri).await;
                // If nobody waits any more, this closes it.
                let _ = tell.send((opened, Instant::now()));
            });
            waiting.ahead.push((coming, Instant::now()));
        }
    }

    /// Keeps a connection after a complete response.
    pub fn keep(&self, connection: Connection) {
        if !connection.sender.is_closed() {
            let mut waiting = self.waiting();
            let idle = &mut waiting.entry(connection.origin.clone()).or_default().idle;
            idle.retain(|(_, since)| since.elapsed() < IDLE_MOST);
            idle.push((connection, Instant::now()));
        }
    }

    /// The fastest idle connection, if it is recent enough.
    fn take_idle(&self, origin: &str, wanted: Wanted) -> Option<Connection> {
        let mut waiting = self.waiting();
        let idle = &mut waiting.get_mut(origin)?.idle;
        idle.retain(|(_, since)| since.elapsed() < IDLE_MOST);
        let fastest = (0..idle.len()).max_by(|a, b| idle[*a].0.rate.total_cmp(&idle[*b].0.rate))?;
        if let Wanted::Fast(size) = wanted
            && idle[fastest].0.is_slow_for(size)
        {
            // None of them is worth keeping.
            idle.clear();
            return None;
        }
        Some(idle.swap_remove(fastest).0)
    }

    /// The connection that was opened first.
    fn take_ahead(&self, origin: &str) -> Option<oneshot::Receiver<Opened>> {
        let mut waiting = self.waiting();
        let ahead = &mut waiting.get_mut(origin)?.ahead;
        (!ahead.is_empty()).then(|| ahead.remove(0).0)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
