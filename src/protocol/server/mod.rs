//! stub: the real one is being written; this is its interface.

use std::net::SocketAddr;

use crate::config::Limits;
use crate::kv::command::{Key, Value};
use crate::protocol::message::Message;
use crate::protocol::{Outbox, Process};
use crate::time::Timestamp;
use crate::types::{CallId, Incarnation, OperationNumber, ServerId};

/// How a kv server is set up.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Its name.
    pub id: ServerId,
    /// Random bits drawn at process start.
    pub incarnation: Incarnation,
    /// Where it announces itself.
    pub view_server: SocketAddr,
    /// Where others reach it, if it knows better than the source address of its datagrams shows.
    pub advertise: Option<SocketAddr>,
    /// Bounds.
    pub limits: Limits,
}

/// What can be asked at the server's own terminal.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Command {
    /// What `status` shows.
    Status,
    /// A bounded number of entries of the store in key order, from this position on.
    Entries(Position),
}

/// A place in the store: element `index` of the list under `key` (or of the first one after it).
/// The default is the beginning.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Position {
    /// None: the first key.
    pub key: Option<Key>,
    /// First element that has not been shown yet.
    pub index: usize,
}

/// The answer to a [`Command`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Answer {
    /// To `Status`.
    Status(Status),
    /// To `Entries`.
    Entries {
        /// Parts of lists: key, index of the first element, elements, and whether the list ends here.
        entries: Vec<(Key, usize, Vec<Value>, bool)>,
        /// Where to go on; none at the end.
        next: Option<Position>,
    },
}

/// What `status` shows.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Status {
    /// Name.
    pub id: ServerId,
    /// Process.
    pub incarnation: Incarnation,
    /// `primary`, `backup`, `joining`, `spare`, or `proposed primary`.
    pub role: String,
    /// View number; 0 before the first view.
    pub view: u64,
    /// The other one of the pair (or the joiner), if any.
    pub peer: Option<ServerId>,
    /// It holds every acknowledged operation, and so does its backup, as far as it knows.
    pub synced: bool,
    /// Number of keys.
    pub keys: usize,
    /// Last applied operation.
    pub operations: OperationNumber,
}

/// One copy of the store.
pub struct Server {}

impl Server {
    /// A server that starts at `now` and holds nothing.
    #[must_use]
    pub fn new(now: Timestamp, config: ServerConfig) -> Self {
        let _ = (now, config);
        Server {}
    }
}

impl Process for Server {
    type Command = Command;
    type Answer = Answer;
    fn handle_message(&mut self, _: Timestamp, _: SocketAddr, _: Message, _: &mut Outbox<Answer>) {}
    fn handle_command(&mut self, _: Timestamp, _: CallId, _: Command, _: &mut Outbox<Answer>) {}
    fn handle_timeout(&mut self, _: Timestamp, _: &mut Outbox<Answer>) {}
    fn poll_timeout(&self) -> Option<Timestamp> {
        None
    }
}
