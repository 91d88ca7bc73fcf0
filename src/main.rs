//! Parse, run, print, end.
fn main() {}
