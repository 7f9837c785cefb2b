//! WHAT is replicated: commands, the store, the sessions, and a copy of all of it.
//!
//! No network, no time, no randomness: the same operations in the same order give the same state
//! and the same digest, everywhere (invariant I11).
//!
//! Reading order: [`command`], [`digest`], [`table`], [`store`], [`execute`], [`session`], [`replica`],
//! [`transfer`], [`snapshot`].

pub mod command;
pub mod digest;
pub mod execute;
pub mod memory;
pub mod replica;
pub mod session;
pub mod snapshot;
pub mod store;
pub mod table;
pub mod transfer;
