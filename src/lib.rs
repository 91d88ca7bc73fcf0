//! Puts files into Copera Drive: the whole program, of which `main.rs` is the shell.
//!
//! Data goes one way: `cli` → `settings` → `plan` → `engine` → `output`, with events to `report` on the side.

pub mod api;
pub mod checksum;
pub mod engine;
pub mod error;
pub mod http;
pub mod outcome;
pub mod plan;
pub mod platform;
pub mod report;
pub mod retry;
pub mod secret;
pub mod settings;
pub mod source;
pub mod storage;
pub mod tls;
pub mod units;
pub mod work;
