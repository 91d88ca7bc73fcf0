//! The drive's API: its calls and the shapes on its wire.

pub mod wire;
