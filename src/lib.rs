//! Uploads files to Copera Drive. `main.rs` is a thin shell around this crate.
//!
//! Data flows one way: `cli` → `settings` → `plan` → `engine` → `output`, with events to `progress` on the side.
//! `tests/it/layers.rs` holds the layers and fails on an import that goes up.

pub mod checksum;
pub(crate) mod circuit_breaker;
pub mod cli;
pub(crate) mod config;
pub(crate) mod dial;
pub(crate) mod disk;
pub mod drive;
pub(crate) mod engine;
pub mod environment;
pub(crate) mod error;
pub(crate) mod etag;
pub(crate) mod event;
pub(crate) mod file_context;
pub(crate) mod format;
pub(crate) mod http;
pub(crate) mod item;
pub(crate) mod limited;
pub(crate) mod limits;
pub(crate) mod login;
pub(crate) mod mutex;
pub(crate) mod options;
pub(crate) mod outcome;
pub(crate) mod output;
pub mod plan;
pub mod platform;
pub(crate) mod progress;
pub(crate) mod proxy;
pub(crate) mod retry;
pub mod run;
pub mod secret;
pub(crate) mod settings;
pub(crate) mod setup;
pub(crate) mod signals;
pub(crate) mod source;
pub(crate) mod spool;
pub(crate) mod storage;
pub(crate) mod tls;
pub(crate) mod units;
