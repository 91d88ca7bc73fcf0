//! What is needed to send one part.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::event::{Attempt, PartProgress};
use crate::secret::SignedUrl;
use crate::source::Source;

/// One part to send.
pub struct Put<'a> {
    /// Where to.
    pub url: &'a SignedUrl,
    /// From which file.
    pub source: &'a Arc<Source>,
    /// Offset and length in bytes.
    pub range: (u64, u64),
    /// Told how far it is.
    pub meter: &'a PartProgress,
    /// As which of the part's connections.
    pub attempt: Attempt,
    /// Told what goes over the wire, repeats included.
    pub sent: &'a AtomicU64,
    /// On a new connection, with the host's name looked up again.
    pub fresh: bool,
    /// The answer may take so many times the stall time-out.
    pub answer_patience: u32,
}
