//! Puts files into Copera Drive: the whole program, of which `main.rs` is the shell.
//!
//! Data goes one way: `cli` → `settings` → `plan` → `engine` → `output`, with events to `report` on the side.

pub mod api;
pub mod error;
pub mod outcome;
pub mod output;
pub mod report;
pub mod retry;
pub mod secret;
pub mod settings;
