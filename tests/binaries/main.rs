//! The real binaries on loopback, as a person or a script meets them: every line of the contract,
//! and what must hold when processes die, stop, come back, and lose each other's datagrams.
//!
//! One module a subject; each test starts its own processes on ports that the system chooses, so
//! they run in parallel. What can be checked without processes is tested beside the code.
#![allow(clippy::unwrap_used, reason = "a test may panic; that is how it fails")]

#[path = "../support/mod.rs"]
mod support;

mod client_commands;
mod data_loss;
mod disk;
mod dumping;
mod failover;
mod histories;
mod hostile;
mod keys;
mod launching;
mod measuring;
mod memory;
mod metrics;
mod more_commands;
mod nemesis;
mod network;
mod operating;
mod overload;
mod pauses;
mod proxy_itself;
mod python_client;
mod restarts;
mod screens;
mod server_commands;
mod sizes;
mod stuck_readers;
mod switchover;
mod typing_ahead;
mod view_server;
mod wire;
