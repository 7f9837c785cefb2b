//! What a kv server tells about itself: at its terminal, to `client watch`, and as measures. Looks
//! only; changes nothing.

use std::time::Duration;

use crate::kv::command::{Key, Value};
use crate::kv::replica::Replica;
use crate::protocol::counts::Counts;
use crate::protocol::server::{Role, Server, role_name};
use crate::protocol::status::{self, CopyStatus, Load, StatusReply, StatusRequest};
use crate::protocol::view::Phase;
use crate::time::Timestamp;
use crate::types::{Incarnation, OperationNumber, ServerId};

/// What can be asked at the server's own terminal.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Command {
    /// What `status` shows.
    Status,
    /// A bounded number of entries of the store in key order, from this position on.
    Entries(Position),
    /// What is measured of the present.
    Measure,
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
    /// To `Measure`.
    Measures(Box<Measures>),
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
    /// Bytes that the copy takes, as `kv::memory` estimates them.
    pub memory: usize,
    /// Bytes that it may take, here and at the peer; none without a limit.
    pub memory_max: Option<usize>,
}

/// What is measured of a kv server at one moment. What has happened up to then is in
/// [`Outbox::counts`](crate::protocol::Outbox::counts).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Measures {
    /// What `status` shows.
    pub status: Status,
    /// The epoch of its view; 0 before the first one.
    pub epoch: u64,
    /// Another server may be taken away: see [`Server::readiness`].
    pub ready: Result<(), String>,
    /// A view server that hears this process was heard within dead-after.
    pub heard: bool,
    /// Bytes of text in all keys and values.
    pub bytes: usize,
    /// Sessions in the table.
    pub sessions: usize,
    /// Bytes of the operations that are remembered or wait, roughly.
    pub log_bytes: usize,
    /// Primary: operations that are numbered and not acknowledged by the other copy.
    pub lag: u64,
    /// Primary: how long the oldest of them that was sent waits.
    pub delay: Duration,
    /// Primary: a read lease is in force.
    pub has_lease: bool,
    /// Primary: keys that are on their way to a joiner, or there, and all keys; none without one.
    pub transfer: Option<(usize, usize)>,
}

impl Server {
    pub(super) fn status(&self) -> Status {
        let record = self.membership.record();
        let me = self.config.incarnation;
        let role = role_name(me, &self.role, record).to_owned();
        let view = self.view().number;
        let peer = match &self.role {
            Role::Primary(primary) => primary.peer().map(|peer| peer.id.clone()),
            Role::Backup(_) | Role::Joining(_) => {
                record.map(|record| record.view.primary.id.clone())
            }
            Role::Idle(_) => None,
        };
        let eligible = record.is_some_and(|record| record.is_eligible(me));
        let (keys, operations, synced) = match &self.role {
            Role::Idle(None) => (0, OperationNumber(0), false),
            Role::Idle(Some(copy)) => {
                (copy.replica.store().len(), copy.replica.applied(), eligible)
            }
            Role::Joining(joining) => {
                let applied = joining.following().map(|backup| backup.replica().applied());
                (joining.keys(), applied.unwrap_or_default(), false)
            }
            Role::Backup(backup) => {
                (backup.replica().store().len(), backup.replica().applied(), eligible)
            }
            Role::Primary(primary) => {
                let replica = primary.replica();
                (replica.store().len(), replica.applied(), eligible && primary.is_synced())
            }
        };
        let id = self.config.id.clone();
        let memory = self.inspect().replica.map_or(0, Replica::memory);
        let limits = &self.config.limits;
        let memory_max = match &self.role {
            Role::Primary(primary) => primary.room(limits).limit,
            Role::Idle(_) | Role::Joining(_) | Role::Backup(_) => limits.memory_bytes,
        };
        let incarnation = me;
        Status { id, incarnation, role, view, peer, synced, keys, operations, memory, memory_max }
    }

    /// Whether the cluster would lose nothing if the next server were restarted now, as far as this
    /// one knows; otherwise why not. That is what a rolling update waits for, one server after the
    /// other:
    /// a primary that serves and a synced backup are where they shall be; a joiner is not, and
    /// neither is a spare that the view server does not hear, or that a cluster with one copy only
    /// waits for: whoever went on would stop the last copy.
    ///
    /// A primary and a backup stay ready without the view server: the service goes on.
    ///
    /// # Errors
    /// With the reason, for people.
    pub fn readiness(&self, now: Timestamp) -> Result<(), String> {
        let record = self.membership.record();
        let view = record.map(|record| &record.view);
        let me = self.config.incarnation;
        let refuse = |reason: &str| Err(reason.to_owned());
        match &self.role {
            Role::Primary(primary) if primary.has_diverged() => {
                refuse("the other copy differs and must be replaced")
            }
            Role::Primary(_) => Ok(()),
            Role::Backup(_) if record.is_some_and(|record| record.is_eligible(me)) => Ok(()),
            Role::Backup(_) => refuse("a backup that is not synced yet"),
            Role::Joining(_) => refuse("joining: the state is being received"),
            Role::Idle(_) if !self.membership.is_heard(now) => {
                refuse("a spare that hears nothing of the view server")
            }
            Role::Idle(_) if view.is_some_and(|view| view.primary.incarnation == me) => {
                refuse("a proposed primary that does not serve yet")
            }
            Role::Idle(_)
                if record.is_some_and(|record| record.phase == Phase::Active)
                    && view.is_some_and(|view| view.backup.is_some()) =>
            {
                Ok(())
            }
            Role::Idle(_) => refuse("a spare of a cluster that lacks a backup"),
        }
    }

    pub(super) fn measures(&self, now: Timestamp) -> Measures {
        let replica = self.inspect().replica;
        let (lag, delay, has_lease, transfer) = match &self.role {
            Role::Primary(primary) => primary.measures(now),
            Role::Idle(_) | Role::Joining(_) | Role::Backup(_) => (0, Duration::ZERO, false, None),
        };
        Measures {
            status: self.status(),
            epoch: self.view().epoch.0,
            ready: self.readiness(now),
            heard: self.membership.is_heard(now),
            bytes: replica.map_or(0, |replica| replica.store().bytes()),
            sessions: replica.map_or(0, |replica| replica.sessions().len()),
            log_bytes: replica.map_or(0, Replica::log_bytes),
            lag,
            delay,
            has_lease,
            transfer,
        }
    }

    pub(super) fn status_reply(
        &self,
        request: &StatusRequest,
        counts: &Counts,
    ) -> Option<StatusReply> {
        let load = Load::within(request.budget()?, counts);
        let Status { id, incarnation, role, view, peer, synced, keys, operations, .. } =
            self.status();
        let copy = CopyStatus { id, incarnation, role, view, peer, synced, keys, operations, load };
        let status = status::Status::Server(Box::new(copy));
        Some(StatusReply { client: request.client, id: request.id, status })
    }

    pub(super) fn entries(&self, position: &Position) -> Answer {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        let mut index = position.index;
        let Some(replica) = self.inspect().replica else {
            return Answer::Entries { entries, next: None };
        };
        let mut found = replica.store().first_from(position.key.as_ref());
        if found.is_some_and(|(key, _)| Some(key) != position.key.as_ref()) {
            index = 0;
        }
        while let Some((key, list)) = found {
            if bytes >= self.config.limits.page_bytes {
                let next = Position { key: Some(key.clone()), index };
                return Answer::Entries { entries, next: Some(next) };
            }
            let mut values = Vec::new();
            for value in list.values().iter().skip(index) {
                if bytes >= self.config.limits.page_bytes && !values.is_empty() {
                    break;
                }
                bytes += 16 + value.0.len();
                values.push(value.clone());
            }
            bytes += key.0.len();
            let end = index + values.len();
            let is_whole = end >= list.values().len();
            entries.push((key.clone(), index, values, is_whole));
            if is_whole {
                index = 0;
                found = replica.store().first_after(Some(key));
            } else {
                index = end;
            }
        }
        Answer::Entries { entries, next: None }
    }
}
