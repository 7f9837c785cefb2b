//! The production loop, end to end, in virtual time.
//!
//! What runs here is everything that the binaries run below their command lines: the loop with its
//! timers, its batches and its look at the lease, the transport, the processes, the record on a
//! real disk, and [`pbkv::Client`]. turmoil supplies hosts, time, latency, crashes and partitions;
//! loss, duplicates, stragglers and full send buffers are our own (`socket`), because turmoil never
//! duplicates, and loses by breaking a link for everything that is under way on it.
//!
//! A seed names one run for ever: every datagram, sent or received, and its time are the same when
//! it is run again (a test of its own). That takes no special build of tokio: every `select!` of the
//! loop is biased, incarnations come from the seed, and the clocks are functions of virtual time.
//!
//! Not done here: the search through thousands of seeds and all the faults there are. That is
//! `tests/cluster`, which is faster because it leaves the loop out. Nothing is stopped here between
//! a look at the clock and what follows from it; for that, see the tests of the loop itself.

mod cluster;
mod durable;
mod failover;
mod history;
mod lossy;
mod partition;
mod socket;
mod timers;
