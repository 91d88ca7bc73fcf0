//! The program from the outside.

mod generate;
