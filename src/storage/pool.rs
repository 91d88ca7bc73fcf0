//! Connections that wait for a part: kept from the one before, or opened ahead while something else is waited for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::Uri;
use tokio::sync::oneshot;

use super::connect::{Connection, open, origin};
use crate::dial::{Connector, TransferError};

/// S3 closes a connection that is idle for about 5 s; one that is nearly that old is not worth the race.
const IDLE_MOST: Duration = Duration::from_secs(4);

/// A kept connection is ready for its next part within this, or never.
const READY_WITHIN: Duration = Duration::from_millis(100);

/// See the module.
pub struct ConnectionPool {
    dialer: Arc<Connector>,
    waiting: Mutex<HashMap<String, Waiting>>,
}

/// What came of a connection that was opened ahead, and when.
type Opened = (Result<Connection, TransferError>, Instant);

/// To one host.
#[derive(Default)]
struct Waiting {
    /// Since when they are idle.
    idle: Vec<(Connection, Instant)>,
    /// Opened ahead: there or on their way.
    ahead: Vec<(oneshot::Receiver<Opened>, Instant)>,
}

impl ConnectionPool {
    /// None open yet.
    pub fn new(dialer: Arc<Connector>) -> Self {
        Self { dialer, waiting: Mutex::default() }
    }

    /// A connection to the URL's host: one that waits and still lives, or a new one (always, if `fresh`).
    ///
    /// # Errors
    /// Those of [`open`].
    pub async fn get(&self, uri: &Uri, fresh: bool) -> Result<Connection, TransferError> {
        let (origin, asked) = (origin(uri), Instant::now());
        if !fresh {
            while let Some(mut connection) = self.take_idle(&origin) {
                // Ready in no time, or the one before left something behind.
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
                    // What failed before it was asked for says what was, perhaps minutes ago, and not what is.
                    Ok((Err(trouble), at)) if at >= asked => return Err(trouble),
                    _ => {}
                }
            }
        }
        open(&self.dialer, uri).await
    }

    /// Opens so many connections to the URL's host, if not as many are waiting or on their way already.
    pub fn preconnect(&self, uri: &Uri, wanted: usize) {
        let mut waiting = self.waiting();
        let waiting = waiting.entry(origin(uri)).or_default();
        waiting
            .idle
            .retain(|(connection, since)| since.elapsed() < IDLE_MOST && !connection.sender.is_closed());
        waiting.ahead.retain(|(_, begun)| begun.elapsed() < IDLE_MOST);
        for _ in waiting.idle.len() + waiting.ahead.len()..wanted {
            let (tell, coming) = oneshot::channel();
            let (dialer, uri) = (Arc::clone(&self.dialer), uri.clone());
            tokio::spawn(async move {
                let opened = open(&dialer, &uri).await;
                // Nobody waits for it any more: then it closes.
                let _ = tell.send((opened, Instant::now()));
            });
            waiting.ahead.push((coming, Instant::now()));
        }
    }

    /// Keeps a connection whose request is answered in full.
    pub fn keep(&self, connection: Connection) {
        if !connection.sender.is_closed() {
            let mut waiting = self.waiting();
            let idle = &mut waiting.entry(connection.origin.clone()).or_default().idle;
            idle.retain(|(_, since)| since.elapsed() < IDLE_MOST);
            idle.push((connection, Instant::now()));
        }
    }

    /// The youngest idle connection, if it is young enough.
    fn take_idle(&self, origin: &str) -> Option<Connection> {
        let (connection, since) = self.waiting().get_mut(origin)?.idle.pop()?;
        (since.elapsed() < IDLE_MOST).then_some(connection)
    }

    /// The one that was begun first.
    fn take_ahead(&self, origin: &str) -> Option<oneshot::Receiver<Opened>> {
        let mut waiting = self.waiting();
        let ahead = &mut waiting.get_mut(origin)?.ahead;
        (!ahead.is_empty()).then(|| ahead.remove(0).0)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
