//! The drive as its users meet it: over HTTP, and as a program.

// clippy.toml allows this in `#[test]` functions only, not in what they share.
#![expect(clippy::unwrap_used, reason = "a test ends where its expectation does")]

mod api;
mod download;
mod external;
mod faults;
mod network;
mod program;
mod strict;
mod support;
