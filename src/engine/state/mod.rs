//! Files in the state directory: what a run leaves for later ones, and how runs at the same time keep out of each other's
//! way.
//!
//! | file | content | lock |
//! |---|---|---|
//! | `*.upload` | the record of one upload: [`record`], [`journal`] | exclusive, during the file's upload |
//! | `*.lock` | nothing; stands in for the record under `--no-resume`, or is a [`target_lock`] | see below |
//! | `*.finished` | what runs of a command have finished: [`run_record`] | exclusive, during a run |
//! | `*.run` | nothing | exclusive, during a run: a command runs once at a time ([`peers`]) |
//! | `*.activity`, `*.entry`, `*.runs` | what active runs have created: [`activity_log`] | shared by all runs |
//! | `*.items` | which upload created which item: [`ledger`] | exclusive, while an item is claimed |
//!
//! A run takes the lock on its command first. A file then takes the lock on its record (or the stand-in) and the lock on
//! its target, a name in a folder of the drive. The lock on a target is exclusive for folders and with `--if-exists`,
//! otherwise shared. If one of the two is taken, the file releases the other and waits without a lock, so runs cannot
//! deadlock. The system releases all locks when a process ends.

mod activity_log;
mod journal;
mod journal_handle;
mod ledger;
mod lock_file;
mod peers;
mod record;
mod run_record;
mod target_lock;

pub use self::journal::{Journal, JournalStore, OpenError};
pub use self::journal_handle::JournalHandle;
pub use self::ledger::{Ledger, Maker, Makers};
pub use self::lock_file::{LockFile, Mode};
pub use self::peers::{Peers, RETRY_LOCK, RunKey, SHORT_WAIT};
pub use self::record::{Begun, Header, Recorded, UploadKey, absolute_text, account, path_texts};
pub use self::run_record::{FileKey, FinishedFile, RunRecord};
pub use self::target_lock::{Snapshot, Target, TargetLock, source_number};
