//! Uploads files to Copera Drive. `main.rs` is a thin shell around this crate.
//!
//! Data flows one way: `cli` → `settings` → `plan` → `engine` → `output`, with events to `progress` on the side.
//! `tests/it/layers.rs` holds the layers and fails on an import that goes up.

pub mod checksum;
pub mod circuit_breaker;
pub mod cli;
pub mod config;
pub mod dial;
pub mod disk;
pub mod drive;
pub mod engine;
pub mod environment;
pub mod error;
pub mod file_context;
pub mod format;
pub mod generate;
pub mod http;
pub mod limited;
pub mod limits;
pub mod login;
pub mod outcome;
pub mod output;
pub mod plan;
pub mod platform;
pub mod progress;
pub mod proxy;
pub mod retry;
pub mod run;
pub mod secret;
pub mod settings;
pub mod signals;
pub mod source;
pub mod spool;
pub mod storage;
pub mod tls;
pub mod units;
