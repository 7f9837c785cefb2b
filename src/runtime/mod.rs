//! The only place with sockets, clocks and files: one task drives one protocol process.
//!
//! ```text
//!   Client, cli          Handle::call -----> Calls
//!                                              |
//!   network  <--> socket <--> event_loop::run (one task, one turn after the other)
//!                                |    ^
//!                 handle_... , now    effects
//!                                v    |
//!                          protocol::Process          record_file (view server only)
//! ```
//!
//! Kept here: effects are carried out in the order in which the process asked for them, and what
//! the view server must remember is durable before anything that follows from it is sent (I13).
//! Nothing here decides anything: who is alive, who is primary and when to send again is the
//! process's business.
//!
//! # What happens on an error
//!
//! | error | what is done |
//! | --- | --- |
//! | a datagram cannot be decoded | the transport counts and drops it |
//! | a datagram is not sealed, or not by who may | counted, and a warning now and then ([`guard`]) |
//! | more arrives than can be handled | what servers say goes first; the rest waits within bounds and is then dropped ([`arrivals`]) |
//! | sending fails | `debug!`, dropped: whoever needs it sends it again |
//! | the send buffer stays full | waited for a few milliseconds a turn, then dropped likewise |
//! | receiving fails (also `ConnectionReset`, `ConnectionRefused`) | `debug!`, ignored |
//! | binding fails | [`BindError`]: address, cause and remedy; the caller ends with exit code 1 |
//! | whoever asks for metrics misbehaves | the connection is closed ([`http`]) |
//! | the record cannot be read at start | [`RecordError`]: file, cause and remedy |
//! | there is no room for the record | said once; the loop waits for it and does nothing else |
//! | the record cannot be written otherwise | [`RunError::Record`]: the loop ends and sends nothing more |
//! | the process gives up | [`RunError::Stopped`], after everything before it was sent |
//! | an invariant is broken | panic, also in release |
//!
//! # Where the time of one put goes
//!
//! Nanoseconds in the cores and the codec for one operation (16-byte key, 100-byte value), measured
//! by `tests/cost` on two virtual cores: the first column when operations come one by one, the
//! second when 32 share a turn.
//!
//! | step | alone | of 32 |
//! | --- | --- | --- |
//! | client: number, encode, pack | 550 | 410 |
//! | primary: decode, number, encode for the backup | 1120 | 620 |
//! | backup: decode, apply, digest, acknowledge | 1380 | 520 |
//! | primary: apply, compare digests, encode the answer | 1100 | 400 |
//! | client: decode, wake the caller | 480 | 380 |
//! | all | 4630 | 2330 |
//! | of which transport and codec (JSON, checksums, packing) | 3650 | 1460 |
//!
//! The rest of an operation's time belongs to the system: sending a datagram over loopback and
//! taking it costs 4 to 5 microseconds of processor time (of a primary with 64 clients, half of all
//! that it does is `sendto`), waking a process that sleeps 20 to 25 microseconds of waiting, four
//! times. That is why datagrams are shared, why a batch gathers while another is under way, why no
//! turn of the loop takes much, so that others work on its beginning meanwhile, and why a server
//! looks out for work before it sleeps ([`spin`]).
//!
//! Reading order: [`event_loop`], [`arrivals`], [`calls`], `outgoing`, [`guard`], [`clock`],
//! [`socket`], [`spin`], [`record_file`], [`key_file`], [`client`], [`observer`], [`http`].

pub mod arrivals;
pub mod calls;
pub mod client;
pub mod clock;
pub mod event_loop;
pub mod guard;
pub mod http;
pub mod key_file;
pub mod observer;
mod outgoing;
pub mod record_file;
pub mod socket;
pub mod spin;

use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read};

use crate::protocol::transport::Secret;

pub use calls::{Calls, Handle, Totals, channel};
pub use client::{Client, ClientOptions, ConnectError};
pub use clock::now;
pub use event_loop::{RunError, run, run_over};
pub use guard::limits_under_seal;
pub use observer::Observer;
pub use record_file::{RecordError, RecordFile};
pub use socket::{BindError, DatagramSocket, bind};
pub use spin::Spin;

/// 64 bits that no other process has drawn, for incarnations and nonces. Not for secrets.
#[must_use]
pub fn random_u64() -> u64 {
    // The standard library keys each hasher with randomness of the operating system, and with
    // another key every time, so that the hash of nothing is as random as the key.
    RandomState::new().build_hasher().finish()
}

/// What nobody else can know, from the operating system.
///
/// # Errors
/// When the system gives no randomness.
pub fn secret() -> io::Result<Secret> {
    let mut bytes = [[0; 8]; 2];
    File::open("/dev/urandom")?.read_exact(bytes.as_flattened_mut())?;
    Ok(Secret(bytes.map(u64::from_le_bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_differ_from_one_draw_and_one_thread_to_the_next() {
        let mut drawn: Vec<u64> = (0..100).map(|_| random_u64()).collect();
        let elsewhere = std::thread::spawn(|| (0..100).map(|_| random_u64()).collect::<Vec<_>>());
        drawn.extend(elsewhere.join().unwrap());
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), 200);
    }

    #[test]
    fn every_secret_is_another_one() {
        assert_ne!(secret().unwrap().0, secret().unwrap().0);
    }
}
