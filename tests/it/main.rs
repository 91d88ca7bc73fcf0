//! Integration tests: the real program against a local drive.
#![cfg_attr(not(unix), allow(unused_imports, dead_code, reason = "some tests are for Unix only"))]
// clippy.toml allows this in `#[test]` functions, but not in helpers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation ends the test"
)]

mod bad_responses;
mod basics;
mod changes;
mod chaos;
#[cfg(unix)]
mod completions;
mod concurrent_directories;
mod concurrent_runs;
mod config;
mod directories;
mod docs;
mod errors;
mod existing;
mod expiry;
mod filters;
mod finalize;
mod generate;
mod halfway;
mod hedging;
mod input_limits;
mod integrity;
mod layers;
mod limits;
mod lists;
mod local_files;
mod login;
mod login_prompt;
mod malformed;
mod many_files;
mod memory;
mod mock_server;
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
mod rerun;
mod results;
mod resume;
mod retries;
mod retry_after;
mod secrets;
mod signals;
mod stalls;
mod support;
mod terminal;
mod tls;
mod to;
mod urls;
mod usage;
mod verify;
mod wildcards;
mod wire;
