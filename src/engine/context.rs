//! The state that all files of a run share.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::concurrency::{LendingSemaphore, Permits};
use super::endpoint_hint::EndpointHint;
use super::finished_files::FinishedFiles;
use super::folders::Folders;
use super::hedge::Hedging;
use super::keyed_mutex::KeyedMutex;
use super::state::{JournalStore, Ledger, Peers, RunRecord, UploadKey};
use crate::circuit_breaker::CircuitBreaker;
use crate::disk::Disk;
use crate::drive::Drive;
use crate::error::Error;
use crate::event::Reporter;
use crate::file_context::FileContext;
use crate::limits::Limits;
use crate::mutex::lock;
use crate::options::{IfExists, Verify};
use crate::retry::RetryPolicy;
use crate::storage::Storage;

/// Files of more than one part that are uploaded at a time: enough to keep the network busy while some are started or
/// finalized, and few enough that after an interruption most files are finished or not started.
const MAX_LARGE_FILES: usize = 8;

/// What the engine needs.
pub struct Options {
    pub drive: Arc<Drive>,
    pub storage: Storage,
    /// Where records and other state are kept between runs, if anywhere.
    pub journals: Option<JournalStore>,
    /// The record of files that runs of this command have finished, unless the command is about a single file.
    pub finished: Option<Arc<RunRecord>>,
    /// Read and write records. Otherwise they are only locked.
    pub resume: bool,
    /// Other runs on this machine.
    pub peers: Arc<Peers>,
    /// The API's URL, part of a record's key.
    pub api: String,
    /// The hash of the account, part of a record's key.
    pub account: String,
    pub policy: RetryPolicy,
    /// Given by the user.
    pub part_size: Option<u64>,
    /// Given by the user.
    pub concurrency: Option<usize>,
    /// Imposed by the system.
    pub limits: Limits,
    /// Bytes per second, given by the user.
    pub limit_rate: Option<u64>,
    pub if_exists: IfExists,
    /// `--verify`.
    pub verify: Option<Verify>,
    /// The user named a folder with `--parent` or `--to`.
    pub folder_given: bool,
    /// Allow plain HTTP to other machines.
    pub allow_http: bool,
    pub reporter: Arc<dyn Reporter>,
}

/// Shared by all files.
pub(super) struct Context {
    pub(super) options: Options,
    /// The circuit breaker for storage.
    pub(super) storage_breaker: CircuitBreaker,
    pub(super) endpoint: Arc<EndpointHint>,
    pub(super) permits: Arc<Permits>,
    pub(super) hedging: Hedging,
    pub(super) ledger: Ledger,
    pub(super) finished: Option<Arc<FinishedFiles>>,
    pub(super) folders: Folders,
    /// Limits the files of several parts that are in progress.
    pub(super) large_files: LendingSemaphore,
    /// For operations on input files other than reading parts.
    pub(super) disk: Disk,
    /// The number of disk operations that hang. As many additional files may be in progress.
    pub(super) stuck: watch::Sender<usize>,
    /// One upload at a time for each name in each folder.
    pub(super) target_locks: KeyedMutex<u64>,
    /// Hashes of the IDs of items that this run created or used for one of its files, so that they are not used for another.
    /// About ten bytes per file.
    pub(super) used_items: Mutex<HashSet<u64>>,
    pub(super) hasher: RandomState,
}

impl Context {
    /// The context of a run.
    pub(super) fn new(options: Options) -> Self {
        let folder = options.journals.as_ref().map(JournalStore::folder);
        let with_files = options.if_exists != IfExists::Upload;
        let ledger = Ledger::new(folder, &options.api);
        Self {
            storage_breaker: CircuitBreaker::default(),
            endpoint: EndpointHint::new(folder.filter(|_| options.resume), &options.api, options.allow_http),
            permits: Permits::new(options.concurrency, options.limit_rate, options.limits.parts),
            hedging: Hedging::default(),
            ledger: if with_files { ledger.with_wrong_items() } else { ledger },
            finished: options.finished.clone().map(FinishedFiles::new).map(Arc::new),
            folders: Folders::new(
                Arc::clone(&options.drive),
                Arc::clone(&options.peers),
                options.policy,
                Arc::clone(&options.reporter),
                with_files,
            ),
            large_files: LendingSemaphore::new(MAX_LARGE_FILES),
            disk: Disk::default(),
            stuck: watch::Sender::new(0),
            target_locks: KeyedMutex::default(),
            used_items: Mutex::default(),
            hasher: RandomState::new(),
            options,
        }
    }

    /// Opens connections to the storage host, if it is known, while waiting for the API.
    pub(super) fn preconnect(&self, parts: usize, endpoint: Option<hyper::Uri>) {
        if let Some(endpoint) = endpoint {
            self.options.storage.preconnect(&endpoint, self.permits.expected().min(parts));
        }
    }

    /// The key of a file's record.
    pub(super) fn upload_key(&self, parent: Option<String>, name: &str, path: String) -> UploadKey {
        let Options { api, account, .. } = &self.options;
        UploadKey { api: api.clone(), account: account.clone(), parent, name: name.to_owned(), path }
    }

    /// Marks an error of a file that has no record, so that its hint fits.
    pub(super) fn mark_unrecorded(&self, file: &FileContext, error: Error) -> Error {
        if file.unrecorded.load(Ordering::Relaxed) { Error::Unrecorded(Box::new(error)) } else { error }
    }

    /// Whether this run created the item or used it for one of its files.
    pub(super) fn is_used_item(&self, id: &str) -> bool {
        let used = lock(&self.used_items);
        used.contains(&self.hasher.hash_one(id))
    }

    /// Notes that the item is used for a file.
    pub(super) fn note_used_item(&self, id: &str) {
        let mut used = lock(&self.used_items);
        used.insert(self.hasher.hash_one(id));
    }
}
