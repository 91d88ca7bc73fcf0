//! What the drive was asked and what it answered, for tests to look at and to wait for.
//!
//! Everything changes under one lock with a condition variable beside it, so that waiting is by event: no polling,
//! no sleeping. At one notice for every chunk of a body (about 200 KiB) that costs nothing worth measuring.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::HeaderMap;

use crate::fault::Op;

/// One request, as it was received and answered.
#[derive(Clone, Debug)]
pub struct RequestRecord {
    /// What it was about.
    pub op: Op,
    /// HTTP method.
    pub method: String,
    /// Path; an API call's query is kept, a signed URL's is not.
    pub path: String,
    /// Of a part.
    pub part: Option<u32>,
    /// Of a part.
    pub upload_id: Option<String>,
    /// As received.
    pub headers: HeaderMap,
    /// An API call's JSON, when it was any.
    pub json: Option<serde_json::Value>,
    /// Body bytes read so far.
    pub body_bytes: u64,
    /// The answer's status; `None` while there is none, and for ever when it was lost.
    pub status: Option<u16>,
    /// When its headers were there.
    pub start: Instant,
    /// When what it asked for was done (or refused), whether or not anybody still waited for the answer.
    pub worked: Option<Instant>,
    /// When it was answered or lost.
    pub end: Option<Instant>,
}

/// A part that the storage holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPart {
    /// Its number.
    pub number: u32,
    /// As the storage keeps it, without quotes.
    pub etag: String,
    /// In bytes.
    pub size: u64,
}

/// Everything so far.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// All requests, to both servers, in the order of their arrival.
    pub requests: Vec<RequestRecord>,
    stored: HashMap<String, BTreeMap<u32, StoredPart>>,
    in_flight: usize,
    max_in_flight: usize,
    connections: u64,
    open_connections: usize,
    part_bytes: u64,
}

impl Record {
    /// How many requests of this kind ([`Op::Any`]: of all kinds, [`Op::AnyApi`]: all API calls).
    pub fn count(&self, op: Op) -> usize {
        self.requests_of(op).count()
    }

    /// The requests of this kind, as for [`Record::count`].
    pub fn requests_of(&self, op: Op) -> impl Iterator<Item = &RequestRecord> {
        self.requests.iter().filter(move |request| op.covers(request.op))
    }

    /// The PUTs of one part.
    pub fn puts_of_part(&self, upload_id: &str, part: u32) -> Vec<&RequestRecord> {
        self.requests_of(Op::PutPart)
            .filter(|put| put.part == Some(part) && put.upload_id.as_deref() == Some(upload_id))
            .collect()
    }

    /// The parts that were stored for an upload, ascending; they stay here when it is completed or aborted.
    pub fn stored_parts(&self, upload_id: &str) -> Vec<StoredPart> {
        self.stored.get(upload_id).map(|parts| parts.values().cloned().collect()).unwrap_or_default()
    }

    /// How many parts were stored, of all uploads.
    pub fn stored_count(&self) -> usize {
        self.stored.values().map(BTreeMap::len).sum()
    }

    /// PUTs that have begun and are neither answered nor lost.
    pub fn parts_in_flight(&self) -> usize {
        self.in_flight
    }

    /// The most PUTs that were under way at one time.
    pub fn max_parts_in_flight(&self) -> usize {
        self.max_in_flight
    }

    /// TCP connections that the storage has accepted.
    pub fn connections_accepted_on_storage(&self) -> u64 {
        self.connections
    }

    /// TCP connections to the storage that are open.
    pub fn connections_open_on_storage(&self) -> usize {
        self.open_connections
    }

    /// Body bytes of parts that the storage has read, repeats and lost ones included.
    pub fn bytes_received_on_storage(&self) -> u64 {
        self.part_bytes
    }
}

/// The record that is being written.
#[derive(Default)]
pub(crate) struct Recorder {
    record: Mutex<Record>,
    changed: Condvar,
}

impl Recorder {
    /// Changes the record and wakes who waits.
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
        cap: Duration,
        mut done: impl FnMut(&Record) -> bool,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + cap;
        let mut record = self.lock();
        while !done(&record) {
            let left = until.saturating_duration_since(Instant::now());
            anyhow::ensure!(
                !left.is_zero(),
                "not seen within {cap:?}; {} requests, the last of them {:?}",
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

    /// A request has begun. It ends when the entry is dropped, however that comes about.
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

/// One request's line in the record, while it lasts.
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

    /// Notes, from wherever the work is done, that it is. Does not keep the entry open: the work may outlast it.
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

    pub(crate) fn answered(&self, status: u16) {
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
