//! The drive's API: its calls, and the shapes on its wire.

mod client;
mod gate;
pub mod wire;

pub use client::{Caller, Drive, Options, SignedParts};
