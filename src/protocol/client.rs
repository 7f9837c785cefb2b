//! stub: the real one is being written; this is its interface.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::config::Limits;
use crate::kv::command::{self, Key, Value};
use crate::protocol::message::Message;
use crate::protocol::view::Shown;
use crate::protocol::{Outbox, Process};
use crate::time::Timestamp;
use crate::types::{CallId, Incarnation};

/// How a client is set up.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Random bits drawn when the client is made.
    pub incarnation: Incarnation,
    /// Whom to ask for the view.
    pub view_server: SocketAddr,
    /// Bounds.
    pub limits: Limits,
}

/// An operation, and how long its caller will wait for it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Command {
    /// What to do.
    pub action: Action,
    /// From the moment of the call.
    pub deadline: Duration,
}

/// See [`Command`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Action {
    /// Put, append or remove: exactly once.
    Write(command::Command),
    /// Read a list.
    Get(Key),
    /// Ask the view server who is primary and backup now.
    View,
}

/// The answer to a [`Command`].
pub type Answer = Result<Completed, Failure>;

/// What a completed operation yields.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Completed {
    /// The write was executed, once.
    Written,
    /// The list; none for a missing key.
    List(Option<Vec<Value>>),
    /// The view.
    View(Shown),
}

/// Why an operation could not be completed, and whether it may have happened.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Failure {
    /// What is known of its effect.
    pub outcome: FailureOutcome,
    /// Why.
    pub reason: FailureReason,
}

/// See [`Failure`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FailureOutcome {
    /// It certainly did not happen, and never will.
    NotExecuted,
    /// It may have happened, or may still happen.
    Unknown,
}

/// See [`Failure`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum FailureReason {
    /// The view server, and every other server known, did not answer before the deadline.
    ViewServerSilent(SocketAddr),
    /// There was no primary before the deadline. Says what the view server waits for.
    NoPrimary(String),
    /// The primary did not answer before the deadline.
    PrimarySilent(String),
    /// The session was evicted while the operation was in flight.
    SessionExpired,
    /// Key longer than the limit.
    KeyTooLarge {
        /// Bytes it has.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Value longer than the limit.
    ValueTooLarge {
        /// Bytes it has.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The client was closed.
    Closed,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.reason)
    }
}

impl std::error::Error for Failure {}

/// Finds the primary, and carries operations to it.
pub struct ClientProcess {}

impl ClientProcess {
    /// A client that starts at `now`.
    #[must_use]
    pub fn new(now: Timestamp, config: ClientConfig) -> Self {
        let _ = (now, config);
        ClientProcess {}
    }
}

impl Process for ClientProcess {
    type Command = Command;
    type Answer = Answer;
    fn handle_message(&mut self, _: Timestamp, _: SocketAddr, _: Message, _: &mut Outbox<Answer>) {}
    fn handle_command(&mut self, _: Timestamp, _: CallId, _: Command, _: &mut Outbox<Answer>) {}
    fn handle_timeout(&mut self, _: Timestamp, _: &mut Outbox<Answer>) {}
    fn poll_timeout(&self) -> Option<Timestamp> {
        None
    }
}
