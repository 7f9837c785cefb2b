//! A cluster of the production cores, simulated: seeded network, virtual time, every fault there
//! is.
//!
//! The processes and their transports (hence the codec) are the ones that ship; only sockets,
//! clocks and the disk are replaced. Reading order: `clock`, `random`, `network`, `driver` (one
//! process, as the runtime drives it), `harness` (the world), `plan` (what a seed draws), `nemesis`
//! (what breaks), `workload` (what clients ask), `invariants`, `run` (the two phases), `fuzz`; `scenarios` and
//! `regressions` are directed.

mod clock;
mod counts;
mod driver;
mod fuzz;
mod harness;
mod invariants;
mod nemesis;
mod network;
mod observe;
mod plain;
mod plan;
mod random;
mod regressions;
mod run;
mod scenarios;
mod special;
mod trace;
mod twins;
mod workload;
