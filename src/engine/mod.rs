//! The transfer engine: takes jobs, returns outcomes, and reports events. It knows nothing of the command line,
//! configuration files or terminals.

mod concurrency;
mod content;
mod context;
mod create;
mod directory;
mod earlier_runs;
mod endpoint_hint;
mod file_lock;
mod finalize;
mod finished_files;
mod folders;
mod hedge;
mod if_exists;
mod keyed_mutex;
mod object_attempts;
mod parts;
mod reconcile;
mod resume;
mod run;
mod session;
pub mod state;
mod stopper;
mod upload;
mod urls;
mod verify;

pub use self::context::Options;
pub use self::run::run;
pub use self::stopper::Stopper;
