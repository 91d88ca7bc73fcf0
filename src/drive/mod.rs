//! The drive's API: its calls, and the shapes on its wire.

mod client;
mod gate;
pub mod wire;

pub use client::{Drive, Options, RetryObserver, SignedParts};
