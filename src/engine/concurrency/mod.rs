//! How many parts are in flight.
//!
//! `window` turns samples of the network into a rate, a queue and losses. `controller` computes a limit from them.
//! `permits` hands out that many permits. `throughput` and `resend_budget` serve hedging: the progress of all parts, with
//! which a part is compared, and a limit on bytes that are sent twice.

mod controller;
mod lending_semaphore;
mod permits;
mod rate_budget;
mod resend_budget;
mod throughput;
mod window;

pub(super) use self::lending_semaphore::LendingSemaphore;
pub(super) use self::permits::{Permit, Permits, SAMPLE_INTERVAL};
#[cfg(test)]
pub(super) use self::throughput::Throughput;
