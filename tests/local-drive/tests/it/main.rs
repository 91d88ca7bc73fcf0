//! The drive as its users meet it: over HTTP, and as a program.

mod api;
mod faults;
mod network;
mod program;
mod strict;
mod support;
