//! The record of requests and responses, which tests inspect and wait for.
//!
//! A lock with a condition variable protects it, so that waiting needs no polling. One notification per chunk of a
//! body (about 200 KiB) costs too little to measure.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::HeaderMap;
use hyper::http::request::Parts;

use crate::fault::Op;

/// A request and its response.
#[derive(Clone, Debug)]
pub struct RequestRecord {
    /// Operation.
    pub op: Op,
    /// HTTP method.
    pub method: String,
    /// Path, with the query of API calls and without the query of signed URLs.
    pub path: String,
    /// Part number of a PUT of a part.
    pub part: Option<u32>,
    /// Upload ID of a PUT of a part.
    pub upload_id: Option<String>,
    /// Request headers.
    pub headers: HeaderMap,
    /// JSON body of an API call.
    pub json: Option<serde_json::Value>,
    /// Body bytes read so far.
    pub body_bytes: u64,
    /// Status of the response. `None` before it is sent, and if it is never sent.
    pub status: Option<u16>,
    /// When the headers arrived.
    pub start: Instant,
    /// When the work was done or refused, even if the client had disconnected.
    pub worked: Option<Instant>,
    /// When the request ended, with or without a response.
    pub end: Option<Instant>,
}

impl RequestRecord {
    pub(crate) fn new(op: Op, head: &Parts, path: String) -> Self {
        Self {
            op,
            method: head.method.to_string(),
            path,
            part: None,
            upload_id: None,
            headers: head.headers.clone(),
            json: None,
            body_bytes: 0,
            status: None,
            start: Instant::now(),
            worked: None,
            end: None,
        }
    }
}

/// A part that the storage holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPart {
    /// Part number.
    pub number: u32,
    /// ETag without quotes.
    pub etag: String,
    /// Size in bytes.
    pub size: u64,
}

/// The requests so far.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Requests to both servers, in the order of arrival.
    pub requests: Vec<RequestRecord>,
    stored: HashMap<String, BTreeMap<u32, StoredPart>>,
    in_flight: usize,
    max_in_flight: usize,
    connections: u64,
    open_connections: usize,
    part_bytes: u64,
}

impl Record {
    /// Number of requests of this kind. [`Op::Any`] counts all requests, [`Op::AnyApi`] all API calls.
    pub fn count(&self, op: Op) -> usize {
        self.requests_of(op).count()
    }

    /// Requests of this kind, as in [`Record::count`].
    pub fn requests_of(&self, op: Op) -> impl Iterator<Item = &RequestRecord> {
        self.requests.iter().filter(move |request| op.covers(request.op))
    }

    /// PUTs of one part.
    pub fn puts_of_part(&self, upload_id: &str, part: u32) -> Vec<&RequestRecord> {
        self.requests_of(Op::PutPart)
            .filter(|put| put.part == Some(part) && put.upload_id.as_deref() == Some(upload_id))
            .collect()
    }

    /// Parts stored for an upload, in ascending order, also after it is completed or aborted.
    pub fn stored_parts(&self, upload_id: &str) -> Vec<StoredPart> {
        self.stored.get(upload_id).map(|parts| parts.values().cloned().collect()).unwrap_or_default()
    }

    /// Number of stored parts of all uploads.
    pub fn stored_count(&self) -> usize {
        self.stored.values().map(BTreeMap::len).sum()
    }

    /// PUTs of parts in progress.
    pub fn parts_in_flight(&self) -> usize {
        self.in_flight
    }

    /// The most PUTs of parts in progress at one time.
    pub fn max_parts_in_flight(&self) -> usize {
        self.max_in_flight
    }

    /// TCP connections accepted by the storage.
    pub fn connections_accepted_on_storage(&self) -> u64 {
        self.connections
    }

    /// Open TCP connections of the storage.
    pub fn connections_open_on_storage(&self) -> usize {
        self.open_connections
    }

    /// Bytes of parts received by the storage, including retries and aborted PUTs.
    pub fn bytes_received_on_storage(&self) -> u64 {
        self.part_bytes
    }
}

/// Writes the record.
#[derive(Default)]
pub(crate) struct Recorder {
    record: Mutex<Record>,
    changed: Condvar,
}

impl Recorder {
    /// Changes the record and wakes waiting tests.
    fn change<T>(&self, change: impl FnOnce(&mut Record) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    pub(crate) fn snapshot(&self) -> Record {
        self.lock().clone()
    }

    pub(crate) fn wait_until(
        &self,
        timeout: Duration,
        mut done: impl FnMut(&Record) -> bool,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + timeout;
        let mut record = self.lock();
        while !done(&record) {
            let left = until.saturating_duration_since(Instant::now());
            anyhow::ensure!(
                !left.is_zero(),
                "condition not met within {timeout:?}; {} requests, the last one {:?}",
                record.requests.len(),
                record.requests.last().map(|request| (request.op, request.part, request.status))
            );
            record = self.changed.wait_timeout(record, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    pub(crate) fn connection_opened(&self) {
        self.change(|record| {
            record.connections += 1;
            record.open_connections += 1;
        });
    }

    pub(crate) fn connection_closed(&self) {
        self.change(|record| record.open_connections = record.open_connections.saturating_sub(1));
    }

    pub(crate) fn stored(&self, upload_id: &str, part: StoredPart) {
        self.change(|record| {
            record.stored.entry(upload_id.to_owned()).or_default().insert(part.number, part);
        });
    }

    /// Adds a request. It ends when the entry is dropped.
    pub(crate) fn begin(self: &Arc<Self>, request: RequestRecord) -> Entry {
        let is_part = request.op == Op::PutPart;
        let index = self.change(|record| {
            if is_part {
                record.in_flight += 1;
                record.max_in_flight = record.max_in_flight.max(record.in_flight);
            }
            record.requests.push(request);
            record.requests.len() - 1
        });
        Entry { recorder: Arc::clone(self), index, is_part }
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request in progress.
pub(crate) struct Entry {
    recorder: Arc<Recorder>,
    index: usize,
    is_part: bool,
}

impl Entry {
    pub(crate) fn body_bytes(&self, bytes: u64) {
        self.recorder.change(|record| {
            if self.is_part {
                record.part_bytes += bytes;
            }
            if let Some(request) = record.requests.get_mut(self.index) {
                request.body_bytes += bytes;
            }
        });
    }

    pub(crate) fn json(&self, json: serde_json::Value) {
        self.change(|request| request.json = Some(json));
    }

    /// Returns a function that records the end of the work. The work may outlast the entry.
    pub(crate) fn work(&self) -> impl FnOnce() + Send + use<> {
        let (recorder, index) = (Arc::clone(&self.recorder), self.index);
        move || {
            recorder.change(|record| {
                if let Some(request) = record.requests.get_mut(index) {
                    request.worked = Some(Instant::now());
                }
            });
        }
    }

    pub(crate) fn responded(&self, status: u16) {
        self.change(|request| request.status = Some(status));
    }

    fn change(&self, change: impl FnOnce(&mut RequestRecord)) {
        self.recorder.change(|record| record.requests.get_mut(self.index).map(change));
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let is_part = self.is_part;
        self.recorder.change(|record| {
            if is_part {
                record.in_flight = record.in_flight.saturating_sub(1);
            }
            if let Some(request) = record.requests.get_mut(self.index) {
                request.end = Some(Instant::now());
            }
        });
    }
}
