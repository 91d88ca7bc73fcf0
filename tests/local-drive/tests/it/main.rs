//! Tests of the drive over HTTP and as a program.

// clippy.toml allows this in `#[test]` functions, but not in helpers.
#![expect(clippy::unwrap_used, reason = "a failed expectation ends the test")]

mod api;
mod download;
mod external;
mod faults;
mod network;
mod program;
mod strict;
mod support;
