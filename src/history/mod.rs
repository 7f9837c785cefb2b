//! Histories of operations, and the checkers that judge them.

pub mod key;
