//! Files in the state directory: records for later runs, and locks between runs at the same time.
//!
//! | file | content | lock |
//! |---|---|---|
//! | `*.upload` | the record of one upload: [`journal`], in the format of [`record`] | exclusive, during the file's upload |
//! | `*.lock` | nothing | a [`target_lock`], see below |
//! | `*.finished` | the files that runs of a command have finished: [`run_record`] | exclusive, during a run |
//! | `*.run` | nothing | exclusive, during a run: a command runs once at a time ([`peers`]) |
//! | `*.activity`, `*.entry`, `*.runs` | the items that active runs have created: [`activity_log`] | shared by all runs |
//! | `*.items` | which upload created which item: [`ledger`] | exclusive, while an item is claimed |
//!
//! A run first locks its command. Each file then locks its record (with `--no-resume` it is neither read nor written) and
//! its target, a name in a folder of the drive. The lock on a target is exclusive for folders and with `--if-exists`,
//! otherwise shared. If one of the two is not available, the file releases the other and waits without a lock, so runs
//! cannot deadlock. The system releases all locks when a process ends.
//!
//! Synced to disk are: all entries of an upload's record, unless the file has one part (`journal`); the finished files of
//! a run every few seconds (`run_record`).

mod activity_log;
mod journal;
mod journal_handle;
mod ledger;
mod lock_file;
mod peers;
mod record;
mod run_record;
mod target_lock;

pub use self::journal::{Journal, JournalStore};
pub use self::journal_handle::JournalHandle;
pub use self::ledger::{Creator, Creators, Ledger};
pub use self::lock_file::{LockFile, Mode};
pub use self::peers::{MAX_SHORT_TRIES, Peers, RETRY_LOCK, RunKey};
pub use self::record::{Recorded, StartedUpload, UploadKey, absolute_text, account, canonical_text};
pub use self::run_record::{FileKey, FinishedFile, RunRecord};
pub use self::target_lock::{Snapshot, TargetLock, source_id};
