//! Differences between operating systems. What a system cannot do has a fallback. Without reports about TCP, for example,
//! bytes that the kernel accepted count as sent.

mod files;
mod identity;
mod process;
mod tcp;
mod wildcards;

pub use files::*;
pub use identity::{Identity, is_replaced, may_be_written};
pub use process::*;
pub use tcp::*;
pub use wildcards::*;
