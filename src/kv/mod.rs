//! WHAT is replicated: commands, the store, the sessions, and a copy of all of it.
//!
//! No network, no time, no randomness: the same operations in the same order give the same state
//! and the same digest, everywhere.
//!
//! Reading order: [`command`], [`session`], [`transfer`].

pub mod command;
pub mod session;
pub mod transfer;
