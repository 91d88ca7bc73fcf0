//! The transfer engine: takes jobs, returns outcomes, and reports events. It knows nothing of the command line,
//! configuration files or terminals.

mod activity;
mod content;
mod context;
mod controller;
mod create_outcome;
mod directory;
mod elastic;
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
mod permits;
mod reconcile;
mod resume;
mod run;
mod session;
mod stopper;
mod throughput;
mod upload;
mod urls;
mod window;

pub use self::context::Options;
pub use self::run::run;
pub use self::stopper::Stopper;
pub use self::urls::Rules;
