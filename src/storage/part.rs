//! The parameters of one attempt at a part.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::event::{Attempt, PartProgress};
use crate::secret::SignedUrl;
use crate::source::Source;

/// One attempt at a part.
pub struct Put<'a> {
    pub url: &'a SignedUrl,
    pub source: &'a Arc<Source>,
    /// Offset and length in bytes.
    pub range: (u64, u64),
    /// Receives the number of acknowledged bytes.
    pub progress: &'a PartProgress,
    /// Which of the part's connections this is.
    pub attempt: Attempt,
    /// Counts bytes sent, including those sent again.
    pub sent: &'a AtomicU64,
    /// Called once the connection has all bytes, which is some round trips before the response.
    pub on_handed: &'a (dyn Fn() + Sync),
    /// Use a new connection, and resolve the host again.
    pub new_connection: bool,
    /// The response may take this many times the stall timeout.
    pub response_timeout_factor: u32,
}
