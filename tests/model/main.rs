//! Model checking of the production cores: small worlds, every order of events.
//!
//! Nothing of the protocol is written here a second time. A state holds real [`Server`] processes,
//! the set of all messages ever sent, the records that were ever durable, and what clients asked
//! and were told. The decisions are those of a real view server: see [`ruling`].
//!
//! What is abstracted, and why it hides nothing that is looked for:
//!
//! * The network is a set that is never emptied: every message may arrive at any time, any number
//!   of times, in any order, or never. Loss, duplicates, reordering and ghosts come with that.
//! * Clocks stand still, except for a bounded number of timer events. A retransmission repeats what
//!   is still in the set, so nothing is lost by that; what a retransmission may say *differently*
//!   (a newer barrier) is what the timer events are for. Silence and stalls need time: the view
//!   server's own clock runs freely within a ruling, and the timed walks let all clocks run. Where
//!   there are leases, what passes within a ruling passes for the servers, too.
//! * Servers remember only those of their pongs that a ping in the network names. No other can make
//!   a difference, and equal states stay equal however many pings were heard.
//! * An answer reaches its client at once. That makes operations as short as they can be, which
//!   leaves a wrong history the fewest excuses; a lost answer is a request that arrives again.
//! * A crash and the restart after it are one event: a process that is down is one whose messages
//!   are not chosen.
//!
//! Reading order: `world` (a state and its events), `clients`, `ruling`, `leases`, `properties`,
//! `bounded` (exhaustive search by stateright), `walk` (biased random walks), `heal`, `timed`, `runs`.
//!
//! [`Server`]: pbkv::protocol::server::Server

mod bounded;
mod clients;
mod heal;
mod leases;
mod properties;
mod ruling;
mod runs;
mod timed;
mod walk;
mod world;
