//! WHO says WHAT WHEN: the three processes as pure state machines.
//!
//! Nothing here knows a socket, a clock, a file or randomness. Time comes in as an argument;
//! everything that shall happen goes out as an [`Effect`], in order. The same code runs on real
//! sockets (`runtime`), in a simulated cluster and in a model checker (`tests`).
//!
//! Reading order: [`view`], [`message`], [`status`], [`codec`], [`transport`], [`seal`],
//! [`round_trip`], [`counts`], [`sources`], then [`view_server`], [`server`], [`client`] and
//! [`asking`], which never import each
//! other.

pub mod asking;
pub mod client;
pub mod codec;
pub mod counts;
pub mod message;
pub mod round_trip;
pub mod seal;
pub mod server;
pub mod sources;
pub mod status;
pub mod transport;
pub mod view;
pub mod view_server;

use std::net::SocketAddr;

use crate::protocol::counts::Counts;
use crate::protocol::message::{Message, Request};
use crate::protocol::view_server::DurableRecord;
use crate::time::Timestamp;
use crate::types::CallId;

/// A protocol process: view server, kv server or client.
///
/// The driver calls a handler for each thing that happens, carries out the effects in order, then
/// asks [`Process::poll_timeout`] when to call [`Process::handle_timeout`]. `now` never decreases
/// from one call to the next.
pub trait Process {
    /// What a local caller may ask.
    type Command;
    /// What it is told in return, by [`Effect::Answer`].
    type Answer;

    /// A message has arrived. `from` is where to answer; it proves nothing about who sent it.
    fn handle_message(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        message: Message,
        outbox: &mut Outbox<Self::Answer>,
    );

    /// Whether a server is known to be at this address: what comes from there is handled before
    /// everything else. A hint, which decides nothing.
    fn is_peer(&self, from: SocketAddr) -> bool {
        let _ = from;
        false
    }

    /// A local caller asks for something. It is answered once, now or later.
    fn handle_command(
        &mut self,
        now: Timestamp,
        call: CallId,
        command: Self::Command,
        outbox: &mut Outbox<Self::Answer>,
    );

    /// The time that [`Process::poll_timeout`] named has come. Calling it early does nothing.
    fn handle_timeout(&mut self, now: Timestamp, outbox: &mut Outbox<Self::Answer>);

    /// When to call [`Process::handle_timeout`] next. May name a time in the past: what has
    /// gathered while several messages were handled leaves at once, together. Changes with every
    /// call of a handler; after `handle_timeout(now)` it is later than `now`.
    fn poll_timeout(&self) -> Option<Timestamp>;
}

/// Something that a process wants done.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Effect<A> {
    /// Send a message. It may be lost; whoever needs it sends it again.
    Send {
        /// Where to.
        to: SocketAddr,
        /// What.
        message: Message,
    },
    /// Send an answer only if the clock, *read after the handler has returned*, shows less than
    /// `before`; otherwise give the request back to [`Process::handle_message`]. A time taken
    /// before the value was read would prove nothing: the process may have been stopped in between
    /// (D48). A look at the clock that comes later than the reading proves that the lease was in
    /// force when the value was read.
    SendBefore {
        /// End of the lease on this process's clock.
        before: Timestamp,
        /// Where to.
        to: SocketAddr,
        /// The answer.
        message: Message,
        /// What it answers.
        request: Box<Request>,
    },
    /// Make the view server's record durable before any later effect is carried out. If that is
    /// impossible the process must end.
    Persist(Box<DurableRecord>),
    /// Tell a local caller.
    Answer(CallId, A),
    /// The process cannot go on: end it, with this explanation and exit code 1.
    Stop(String),
}

/// Collects the effects of one or more handler calls, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outbox<A> {
    effects: Vec<Effect<A>>,
    /// What has happened, for whoever watches the process. Stays when the effects are taken out.
    pub counts: Counts,
}

impl<A> Default for Outbox<A> {
    fn default() -> Self {
        Outbox { effects: Vec::new(), counts: Counts::default() }
    }
}

impl<A> Outbox<A> {
    /// Adds a message to be sent.
    pub fn send(&mut self, to: SocketAddr, message: Message) {
        self.effects.push(Effect::Send { to, message });
    }

    /// Adds any effect.
    pub fn push(&mut self, effect: Effect<A>) {
        self.effects.push(effect);
    }

    /// Takes everything out, in order, and keeps the memory.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Effect<A>> {
        self.effects.drain(..)
    }

    /// Whether nothing is to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.effects.is_empty()
    }
}
