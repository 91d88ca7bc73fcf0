//! Differences between operating systems, with a fallback for what a system lacks. If it reports nothing about TCP, for
//! example, bytes that the kernel has accepted count as sent.

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
