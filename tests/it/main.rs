//! Integration tests: the real program against a local drive.
#![cfg_attr(not(unix), allow(unused_imports, dead_code, reason = "some tests are for Unix only"))]
// clippy.toml allows this in `#[test]` functions, but not in helpers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation ends the test"
)]

mod again;
mod answers;
mod basics;
mod bounds;
mod changes;
mod chaos;
#[cfg(unix)]
mod completions;
mod config;
mod docs;
mod errors;
mod existing;
mod expiry;
mod filters;
mod finalize;
mod generate;
mod halfway;
mod integrity;
mod layers;
mod limits;
mod lists;
mod local_files;
mod login;
mod malformed;
mod many;
mod memory;
mod names;
mod outage;
mod parents;
mod pipes;
mod program;
mod proxies;
mod proxy;
mod ran;
mod reconcile;
mod records;
mod results;
mod resume;
mod retries;
mod retry_after;
mod secrets;
mod signals;
mod stalls;
mod stuck;
mod support;
mod terminal;
mod tls;
mod to;
mod together;
mod trap;
mod trees;
mod urls;
mod usage;
mod verify;
mod wildcards;
mod wire;
