//! The program from the outside: the real binary against a drive on loopback.

// clippy.toml allows this in `#[test]` functions only, not in what they share.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where its expectation does"
)]

mod answers;
mod basics;
mod config;
mod errors;
mod generate;
mod local_files;
mod memory;
mod names;
mod results;
mod secrets;
mod support;
mod trap;
mod urls;
mod wire;
