//! The kv server core, driven by hand: messages and virtual time go in, effects come out.
//!
//! The bench hands messages over directly and can drop, hold back, duplicate, reorder and replay
//! any of them; records come in pings as the view server would send them. Checked at every step:
//! time advances, one view has one serving server, what the primary has applied is at its backup,
//! and both copies have the same digest at the same operation.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test names the one variant it expects")]

mod bench;
mod commands;
mod counting;
mod joining;
mod leases;
mod memory;
mod plain;
mod promises;
mod reading;
mod replicating;
mod sessions;
mod snapshots;
mod strangers;
mod transferring;
mod views;
