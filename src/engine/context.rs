//! What all files of a run share.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::elastic::Elastic;
use super::endpoint_hint::EndpointHint;
use super::folders::Folders;
use super::hedge::Hedging;
use super::journal::JournalStore;
use super::keyed_lock::KeyedMutex;
use super::ledger::Ledger;
use super::peers::Peers;
use super::permits::Permits;
use super::urls::Rules;
use crate::circuit_breaker::CircuitBreaker;
use crate::disk::Disk;
use crate::drive::Drive;
use crate::error::Error;
use crate::event::Reporter;
use crate::file_context::FileContext;
use crate::limits::Limits;
use crate::options::IfExists;
use crate::retry::RetryPolicy;
use crate::storage::Storage;

/// What the engine works with.
pub struct Options {
    /// The API.
    pub drive: Drive,
    /// Storage.
    pub storage: Storage,
    /// Where records and their locks are; `None`: nowhere.
    pub journals: Option<JournalStore>,
    /// The folder for what is remembered between runs whether or not they keep records; `None`: there is none.
    pub state_dir: Option<PathBuf>,
    /// Records are read and kept, and not only locked.
    pub resume: bool,
    /// Other runs on this machine.
    pub peers: Arc<Peers>,
    /// The API's URL, to bind records to.
    pub api: String,
    /// The account's hash, to bind records to.
    pub account: String,
    /// How long to keep trying.
    pub policy: RetryPolicy,
    /// Bytes a part, if the user said so.
    pub part_size: Option<u64>,
    /// Parts in flight, if the user said so.
    pub concurrency: Option<usize>,
    /// What the system has room for.
    pub limits: Limits,
    /// Bytes a second that storage is sent, if the user said so.
    pub limit_rate: Option<u64>,
    /// What to do about a file that is there already.
    pub if_exists: IfExists,
    /// What signed URLs may look like.
    pub rules: Rules,
    /// Told what happens.
    pub reporter: Arc<dyn Reporter>,
}

/// What all files share.
pub(super) struct Context {
    pub(super) drive: Arc<Drive>,
    pub(super) storage: Storage,
    /// Whether storage is believed to be there.
    pub(super) storage_breaker: CircuitBreaker,
    pub(super) endpoint: Arc<EndpointHint>,
    pub(super) permits: Arc<Permits>,
    pub(super) hedging: Hedging,
    pub(super) journals: Option<JournalStore>,
    pub(super) ledger: Ledger,
    pub(super) state: Option<JournalStore>,
    pub(super) resume: bool,
    pub(super) peers: Arc<Peers>,
    pub(super) api: String,
    pub(super) account: String,
    pub(super) policy: RetryPolicy,
    pub(super) part_size: Option<u64>,
    pub(super) if_exists: IfExists,
    pub(super) rules: Rules,
    pub(super) folders: Folders,
    pub(super) bulk: Elastic,
    /// For what is asked of input files besides their parts.
    pub(super) disk: Disk,
    /// Operations that are stuck at a disk: so many more files may be under way.
    pub(super) stuck: watch::Sender<usize>,
    /// There is more than one file.
    pub(super) several: AtomicBool,
    /// One upload at a time for each name in each folder.
    pub(super) keyed_lock: KeyedMutex<u64>,
    /// Items that this run has made, or found for one of its files: none of them stands for another file. Hashes of their
    /// ids, some ten bytes a file.
    pub(super) taken: Mutex<HashSet<u64>>,
    pub(super) hasher: RandomState,
    pub(super) reporter: Arc<dyn Reporter>,
}

impl Context {
    /// Opens connections for a file's parts while the API still answers, if it is known where to.
    pub(super) fn preconnect(&self, parts: usize, endpoint: Option<hyper::Uri>) {
        if let Some(endpoint) = endpoint {
            self.storage.preconnect(&endpoint, self.permits.initial().min(parts));
        }
    }

    /// An error of this file's, so that its advice is true.
    pub(super) fn with_advice(&self, work: &FileContext, error: Error) -> Error {
        if work.unrecorded.load(Ordering::Relaxed) {
            Error::Unrecorded(Box::new(error))
        } else if self.several.load(Ordering::Relaxed) && self.if_exists == IfExists::Upload {
            Error::OneOfSeveral(Box::new(error))
        } else {
            error
        }
    }

    pub(super) fn is_made_here(&self, id: &str) -> bool {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.contains(&self.hasher.hash_one(id))
    }

    pub(super) fn note_made(&self, id: &str) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.insert(self.hasher.hash_one(id));
    }
}
