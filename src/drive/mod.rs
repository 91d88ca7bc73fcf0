//! The drive's API: calls and wire formats.

mod call_limiter;
mod calls;
mod client;
mod clock;
mod http_client;
pub(crate) mod wire;

pub(crate) use self::calls::SignedParts;
pub(crate) use self::client::{Drive, Options, RetryObserver};
pub use self::wire::parse_urls;
