//! stub: the real one is being written; this is its interface.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Timing;
use crate::protocol::message::Message;
use crate::protocol::view::{Record, Shown};
use crate::protocol::{Outbox, Process};
use crate::time::Timestamp;
use crate::types::{CallId, Incarnation, ServerId};

/// What stands in the view server's state file.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct DurableRecord {
    /// The newest record.
    pub record: Record,
    /// Advertised addresses of all known servers.
    pub addresses: BTreeMap<ServerId, SocketAddr>,
}

/// How a view server is set up.
#[derive(Clone, Debug)]
pub struct ViewServerConfig {
    /// Random bits drawn at process start.
    pub incarnation: Incarnation,
    /// Timing of the cluster.
    pub timing: Timing,
    /// Servers of the hosts file, if there is one.
    pub hosts: BTreeMap<ServerId, SocketAddr>,
}

/// What can be asked at the view server's own terminal.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Command {
    /// Who is primary and backup now? Answered when each has been heard from or replaced.
    View,
    /// Everything the view server knows of the servers.
    Status,
    /// What would `Reset` do? Changes nothing.
    PrepareReset,
    /// Give up all data and begin an empty history.
    Reset,
}

/// The answer to a [`Command`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Answer {
    /// To `View`.
    View(Shown),
    /// To `Status`.
    Status(Status),
    /// To `PrepareReset`: what would be lost and who may still hold it; ask for confirmation.
    ResetPrepared(String),
    /// To `PrepareReset` and `Reset`: not allowed, because (an eligible server answers, ...).
    ResetRefused(String),
    /// To `Reset`: a new epoch has begun.
    ResetDone(String),
}

/// What `status` shows.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Status {
    /// The view as shown to clients; holds the view number and what is waited for.
    pub shown: Shown,
    /// One entry a known server, in order of their ids.
    pub servers: Vec<ServerStatus>,
}

/// One line of `status`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ServerStatus {
    /// Name.
    pub id: ServerId,
    /// `primary`, `backup`, `joining`, `spare`; `proposed primary` during a promotion.
    pub role: String,
    /// Heard from within dead-after.
    pub alive: bool,
    /// Since the last pong; none if it was never heard from.
    pub silent: Option<Duration>,
    /// Process, if known.
    pub incarnation: Option<Incarnation>,
    /// Where it is reached.
    pub address: SocketAddr,
    /// It holds every acknowledged operation.
    pub synced: bool,
}

/// Decides views.
pub struct ViewServer {}

impl ViewServer {
    /// A view server that starts at `now`, with its durable record if it has one.
    #[must_use]
    pub fn new(now: Timestamp, config: ViewServerConfig, durable: Option<DurableRecord>) -> Self {
        let _ = (now, config, durable);
        ViewServer {}
    }
}

impl Process for ViewServer {
    type Command = Command;
    type Answer = Answer;
    fn handle_message(&mut self, _: Timestamp, _: SocketAddr, _: Message, _: &mut Outbox<Answer>) {}
    fn handle_command(&mut self, _: Timestamp, _: CallId, _: Command, _: &mut Outbox<Answer>) {}
    fn handle_timeout(&mut self, _: Timestamp, _: &mut Outbox<Answer>) {}
    fn poll_timeout(&self) -> Option<Timestamp> {
        None
    }
}
