//! What the primary knows of requests beyond the replicated session table: which ones are numbered
//! but not applied yet, which came before their turn, and who waits for an answer.
//!
//! Kept here: a request is looked up in the table *and* in the pending log before it is numbered,
//! so that no duplicate is ever logged; requests of a session are numbered in order, none skipped
//! (D28). All of it is volatile: after a failover the clients ask again.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;

use crate::config::Limits;
use crate::kv::command::{Command, Key, Operation, OperationResult, Origin};
use crate::kv::memory;
use crate::kv::replica::{Applied, Replica};
use crate::kv::session::Standing;
use crate::protocol::Outbox;
use crate::protocol::counts::{Arrival, Aside};
use crate::protocol::message::{
    Fail, FailReason, Message, Outcome, PlainResult, Reply, Request, Success,
};
use crate::sequence::Sequence;
use crate::time::Timestamp;
use crate::types::{Incarnation, OperationNumber, RequestId, RequestNumber, SessionId, ViewId};

/// Who asked, and in which form the answer is expected.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Asker {
    /// The client library.
    Client {
        /// Where to answer.
        to: SocketAddr,
        /// The client.
        client: Incarnation,
        /// Echoed.
        id: RequestId,
        /// For the counts.
        arrival: Aside<Arrival>,
    },
    /// Somebody who sent the plain form.
    Plain {
        /// Where to answer.
        to: SocketAddr,
        /// Echoed.
        command: String,
        /// Echoed.
        key: Key,
        /// For the counts.
        arrival: Aside<Arrival>,
    },
}

impl Asker {
    /// Whoever sent this.
    #[must_use]
    pub fn of(now: Timestamp, from: SocketAddr, request: &Request) -> Asker {
        let arrival = Aside(Arrival { at: now, kind: (&request.ask).into() });
        Asker::Client { to: from, client: request.client, id: request.id, arrival }
    }

    /// Answers, and counts that.
    pub fn tell<A>(&self, now: Timestamp, view: ViewId, outcome: Outcome, outbox: &mut Outbox<A>) {
        outbox.counts.answer(now, self.arrival(), (&outcome).into());
        let (to, message) = self.answer(view, outcome);
        outbox.send(to, message);
    }

    /// When the request arrived, and what it asks for.
    #[must_use]
    pub fn arrival(&self) -> Arrival {
        match self {
            Asker::Client { arrival, .. } | Asker::Plain { arrival, .. } => arrival.0,
        }
    }

    /// The answer in the form that is expected, and where it goes.
    #[must_use]
    pub fn answer(&self, view: ViewId, outcome: Outcome) -> (SocketAddr, Message) {
        match self {
            Asker::Client { to, client, id, .. } => {
                let reply = Reply { client: *client, id: *id, view, outcome };
                (*to, Message::Reply(reply))
            }
            Asker::Plain { to, command, key, .. } => {
                let success = |value, result| {
                    let (command, key) = (command.clone(), key.clone());
                    Message::Success(Success { command, key, value, result })
                };
                let number = |number| success(None, Some(PlainResult::Number(number)));
                let truth = |truth| success(None, Some(PlainResult::Truth(truth)));
                let refusal = |detail: &str| {
                    plain_failure(FailReason::Refused, view, Some(detail.to_owned()))
                };
                let message = match outcome {
                    Outcome::Done if command == "cas" => truth(true),
                    Outcome::Done | Outcome::Opened(_) => success(None, None),
                    Outcome::Missing => success(Some(None), None),
                    Outcome::Page(page) => success(Some(Some(page.values)), None),
                    Outcome::Mismatch(_) => truth(false),
                    Outcome::Length(length) if command == "exists" => truth(length > 0),
                    Outcome::Length(length) => number(i64::try_from(length).unwrap_or(i64::MAX)),
                    Outcome::Number(sum) => number(sum),
                    Outcome::NotANumber => refusal("the list is not one decimal number"),
                    Outcome::Overflow => refusal("the sum is beyond 64 bits"),
                    Outcome::Keys(_)
                    | Outcome::Pages(_)
                    | Outcome::Snapshot(_)
                    | Outcome::SnapshotRefused(_) => plain_failure(FailReason::Invalid, view, None),
                    Outcome::NotPrimary(shown) => Message::Fail(Fail {
                        reason: FailReason::NotPrimary,
                        detail: None,
                        number: shown.view.number,
                        primary: shown.primary.as_ref().map(|primary| primary.id.clone()),
                        primary_address: shown.primary.map(|primary| primary.address),
                    }),
                    Outcome::OutOfMemory => plain_failure(FailReason::OutOfMemory, view, None),
                    Outcome::Busy | Outcome::GenerationChanged | Outcome::SessionExpired => {
                        plain_failure(FailReason::Busy, view, None)
                    }
                };
                (*to, message)
            }
        }
    }
}

/// A `fail` of a server that is primary.
#[must_use]
pub fn plain_failure(reason: FailReason, view: ViewId, detail: Option<String>) -> Message {
    let number = view.number;
    Message::Fail(Fail { reason, detail, number, primary: None, primary_address: None })
}

/// Memory that a copy may take here and at the other end, and what is taken beside the copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// The smallest limit that is known; none without one.
    pub limit: Option<usize>,
    /// Bytes that are kept for the reader of a snapshot.
    pub besides: usize,
}

impl Room {
    /// Whether the command may be executed: what makes the store no larger always may.
    #[must_use]
    pub fn has(self, command: &Command, replica: &Replica) -> bool {
        let Some(limit) = self.limit else { return true };
        let growth = memory::growth(replica.store(), command);
        growth == 0 || replica.memory() + self.besides + growth <= limit
    }
}

/// What becomes of a write that has arrived.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reception {
    /// Nothing to say: it is numbered and waits for its commit, or waits for its turn, or exceeds a
    /// limit that every client keeps.
    Waits,
    /// Nothing to say: it came before, and waits, or its client has long got the answer.
    Repeated,
    /// It was executed before.
    Answered(Outcome),
    /// Its session is not known here. Before that is said, this server must prove that it is still
    /// the primary: the session may have been opened at another.
    UnknownSession,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Turn {
    /// The last request that is numbered, applied or not.
    logged: RequestNumber,
    /// Requests after a gap.
    early: BTreeMap<RequestNumber, (Origin, Command, Asker)>,
}

/// See the module's text.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Intake {
    turns: BTreeMap<SessionId, Turn>,
    early_bytes: usize,
    /// Numbered `open` operations that are not applied yet, by nonce.
    opening: BTreeMap<u64, OperationNumber>,
    /// Who waits for which operation.
    askers: Sequence<OperationNumber, Asker>,
}

impl Intake {
    /// Numbers a write that belongs to no session.
    pub fn on_plain(&mut self, command: Command, asker: Asker, replica: &mut Replica) {
        let number = replica.push(Operation::Write { origin: None, command });
        self.askers.push(number, asker);
    }

    /// Opens a session, unless that is done or under way.
    pub fn on_open(
        &mut self,
        nonce: u64,
        asker: Asker,
        view: ViewId,
        limits: &Limits,
        replica: &mut Replica,
    ) -> Reception {
        if let Some(session) = replica.sessions().with_nonce(nonce) {
            return Reception::Answered(Outcome::Opened(session));
        }
        let Entry::Vacant(opening) = self.opening.entry(nonce) else { return Reception::Repeated };
        let capacity = limits.session_capacity;
        let number = replica.push(Operation::Open { nonce, epoch: view.epoch, capacity });
        opening.insert(number);
        self.askers.push(number, asker);
        Reception::Waits
    }

    /// Numbers a write of a session, if it is its turn and was not numbered before.
    pub fn on_write(
        &mut self,
        origin: Origin,
        command: Command,
        asker: Asker,
        limits: &Limits,
        room: Room,
        replica: &mut Replica,
    ) -> Reception {
        let command_fits = command.check(limits).is_ok();
        let unacknowledged = origin.number.0.saturating_sub(origin.acknowledged.0);
        if !command_fits || unacknowledged > limits.session_window {
            // Nothing that our own client sends. The one could not be replicated in one message,
            // the other would make the session keep results without a bound.
            return Reception::Waits;
        }
        match replica.sessions().standing(origin.session, origin.number) {
            Standing::Unknown => return Reception::UnknownSession,
            Standing::Executed(result) => return Reception::Answered(outcome(result)),
            Standing::Acknowledged => return Reception::Repeated,
            Standing::Next | Standing::Early => {}
        }
        let executed =
            replica.sessions().get(origin.session).map_or(RequestNumber(0), |known| known.executed);
        let turn = self.turns.entry(origin.session).or_default();
        turn.logged = turn.logged.max(executed);
        if origin.number <= turn.logged {
            return Reception::Repeated;
        }
        if origin.number > turn.logged.next() {
            let in_window = origin.number.0 - executed.0 <= limits.session_window;
            if turn.early.contains_key(&origin.number) {
                return Reception::Repeated;
            }
            if in_window {
                self.keep_early(origin, command, asker, limits.backlog_bytes);
            }
            return Reception::Waits;
        }
        let mut next = Some((origin, command, asker));
        while let Some((origin, command, asker)) = next {
            turn.logged = origin.number;
            // Refused as the result of its own number, which is replicated like any other:
            // 1. a copy of the request is delayed .. 2. another one is refused, and the client
            // says "not executed" .. 3. there is room again .. 4. the first copy would be executed.
            let command = if room.has(&command, replica) { command } else { Command::Refused };
            let number = replica.push(Operation::Write { origin: Some(origin), command });
            self.askers.push(number, asker);
            next = turn.early.remove(&turn.logged.next());
            if let Some((_, command, _)) = &next {
                self.early_bytes -= command.size();
            }
        }
        Reception::Waits
    }

    /// Keeps what came before its turn. Where there is no room, the oldest sessions make it: one of
    /// them may belong to a client that died between two requests, and its gap is never filled.
    fn keep_early(&mut self, origin: Origin, command: Command, asker: Asker, limit: usize) {
        let size = command.size();
        let others = self.turns.iter_mut().filter(|(session, _)| **session != origin.session);
        for (_, turn) in others {
            if self.early_bytes + size <= limit {
                break;
            }
            let early = std::mem::take(&mut turn.early);
            self.early_bytes -= early.values().map(|(_, command, _)| command.size()).sum::<usize>();
        }
        if self.early_bytes + size <= limit {
            self.early_bytes += size;
            let turn = self.turns.entry(origin.session).or_default();
            turn.early.insert(origin.number, (origin, command, asker));
        }
    }

    /// An operation was applied: forgets what was pending of it. Returns who waits for it, and the
    /// answer.
    pub fn on_applied(&mut self, applied: &Applied) -> Option<(Asker, Outcome)> {
        match &applied.operation {
            Operation::Open { nonce, .. } => {
                self.opening.remove(nonce);
            }
            Operation::Write { origin: Some(origin), .. } => {
                if let Some(turn) = self.turns.get(&origin.session)
                    && turn.logged <= origin.number
                    && turn.early.is_empty()
                {
                    self.turns.remove(&origin.session);
                }
            }
            Operation::Write { origin: None, .. } => {}
        }
        for evicted in &applied.evicted {
            if let Some(turn) = self.turns.remove(evicted) {
                let early = turn.early.values();
                self.early_bytes -= early.map(|(_, command, _)| command.size()).sum::<usize>();
            }
        }
        let asker = self.askers.remove(applied.number)?;
        Some((asker, outcome(applied.result)))
    }
}

fn outcome(result: OperationResult) -> Outcome {
    match result {
        OperationResult::Opened(session) => Outcome::Opened(session),
        OperationResult::Done => Outcome::Done,
        OperationResult::Number(number) => Outcome::Number(number),
        OperationResult::Mismatch(length) => Outcome::Mismatch(length),
        OperationResult::NotANumber => Outcome::NotANumber,
        OperationResult::Overflow => Outcome::Overflow,
        OperationResult::OutOfMemory => Outcome::OutOfMemory,
        OperationResult::SessionExpired => Outcome::SessionExpired,
    }
}
