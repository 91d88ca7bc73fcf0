//! The transfer engine: takes jobs, returns outcomes, and reports events. It knows nothing of the command line,
//! configuration files or terminals.

mod activity;
mod concurrency;
mod content;
mod context;
mod create;
mod directory;
mod endpoint_hint;
mod existing;
mod file_lock;
mod finalize;
mod folders;
mod hedge;
pub mod journal;
mod journal_handle;
mod keyed_lock;
mod ledger;
mod lock_file;
mod parts;
pub mod peers;
mod reconcile;
mod resume;
mod run;
mod session;
mod stopper;
mod upload;
mod urls;

pub use self::context::Options;
pub use self::run::run;
pub use self::stopper::Stopper;
pub use self::urls::Rules;
