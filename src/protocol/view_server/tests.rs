//! The view server's core against fake servers in virtual time. The [`bench`] checks on every
//! outbox what must hold always; the tests tell stories and look at what came of them.

mod asking;
mod bench;
mod changes;
mod drain;
mod explain;
mod identity;
mod joins;
mod leases;
mod recovery;
mod reset;
mod strangers;
mod superseded;
mod switchover;
mod views;
