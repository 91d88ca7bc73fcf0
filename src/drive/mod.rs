//! The drive's API: calls and wire formats.

mod client;
mod gate;
pub(crate) mod wire;

pub(crate) use self::client::{Drive, Options, RetryObserver, SignedParts};
pub use self::wire::parse_urls;
