//! How many parts are in flight.
//!
//! `window` turns samples of the network into a rate, a queue and losses; `controller` decides on a number; `permits`
//! hands out that many. `throughput` is what hedging compares a part with.

mod controller;
mod elastic;
mod permits;
mod throughput;
mod window;

pub(super) use self::elastic::Elastic;
pub(super) use self::permits::{Permit, Permits, SAMPLE_INTERVAL};
#[cfg(test)]
pub(super) use self::throughput::Throughput;
