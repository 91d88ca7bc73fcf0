//! The program from the outside: the real binary against a drive on loopback.

// clippy.toml allows this in `#[test]` functions only, not in what they share.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where its expectation does"
)]

mod basics;
mod changes;
mod chaos;
mod expiry;
mod finalize;
mod generate;
mod halfway;
mod integrity;
mod outage;
mod records;
mod resume;
mod retries;
mod retry_after;
mod signals;
mod stalls;
mod stuck;
mod support;
#[expect(dead_code, reason = "soon")]
mod trap;
