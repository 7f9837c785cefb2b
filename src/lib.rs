//! pbkv: a linearizable primary/backup key-value store over UDP.
//!
//! A *view server* pings the kv servers and decides who is primary and who is backup. The primary
//! numbers every `put`, `append` and `remove`, replicates it to the backup, and acknowledges it only
//! when the backup holds it. When the primary dies, the backup takes over with everything that was
//! ever acknowledged, and a spare becomes the new backup. Messages are JSON in UDP datagrams.
//!
//! ```text
//!    bin       flags -> configuration -> run                     viewserver, kvserver, client
//!     |
//!    cli       what people see: consoles, parsing, answers
//!     |
//!    runtime   the only place with tokio, sockets, clocks, files: one loop drives any process
//!     |
//!    protocol  WHO says WHAT WHEN: view server, kv server and client as pure state machines,
//!     |        and the transport that packs their messages into datagrams
//!     |
//!    kv        WHAT is replicated: commands, store, sessions, log, transfer
//!     |
//!    types, time, config, hosts
//! ```
//!
//! Imports go downward only, and the reading order is upward: [`types`], [`time`], [`config`],
//! [`hosts`], [`kv`], [`protocol`], [`runtime`], [`cli`]. Everything in [`kv`] and [`protocol`] is a
//! function of what it is given; the same code runs on real sockets and in the simulated cluster of
//! the tests.
//!
//! To use a cluster from a program, see [`Client`].

pub mod cli;
pub mod config;
pub mod history;
pub mod hosts;
pub mod kv;
pub mod protocol;
pub mod runtime;
pub mod sequence;
pub mod time;
pub mod types;

pub use runtime::Client;
