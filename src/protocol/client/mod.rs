//! Finds the primary, and carries operations to it: the pure core of the client.
//!
//! Every command is answered exactly once, at its deadline at the latest. Writes go through a
//! session, which makes them happen exactly once however often they are sent; reads change nothing
//! and are simply repeated. A write is called "not executed" only if no datagram of it was sent.
//!
//! Reading order: `failure`, `finder` (who is primary), `requests` (repetition), `session`
//! (numbers), `read` (long lists), `calls` (who waits for what), `answers` (what comes back),
//! `events` (what those who wait may be told).
//! Sockets, clocks and the handle that people use are in `runtime`.

mod answers;
mod calls;
mod events;
mod failure;
mod finder;
mod fresh;
mod read;
mod requests;
mod servers;
mod session;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

pub use self::events::Event;
pub use self::failure::{Failure, FailureOutcome, FailureReason};

use self::calls::{Calls, Task};
use self::finder::{Finder, Need, Switch};
use self::fresh::FreshViews;
use self::read::{Read, Stage, Wanted};
use self::requests::{Ids, Purpose, Requests};
use self::session::{Phase, Session};
use crate::config::Limits;
use crate::kv::command::{self, Key, Value, check_keys};
use crate::protocol::message::{Ask, KeysPage, Message, SnapshotCursor, SnapshotPage};
use crate::protocol::view::Shown;
use crate::protocol::{Effect, Outbox, Process};
use crate::time::Timestamp;
use crate::types::{CallId, Incarnation};

/// Reads in flight; more wait for their turn.
const READS_IN_FLIGHT: usize = 1024;

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
    /// Put, append, remove, cas, incr or mput: exactly once.
    Write(command::Command),
    /// Read a list.
    Get(Key),
    /// Read several lists, all as they are at one instant.
    Mget(Vec<Key>),
    /// Find out whether there is a list.
    Exists(Key),
    /// Find out how long a list is.
    Len(Key),
    /// Read keys in order, as many as one answer holds.
    Keys {
        /// How they begin.
        prefix: Key,
        /// The last key that is already known; none to begin.
        start_after: Option<Key>,
    },
    /// Read all lists as they are at one instant, as many as one answer holds; the first ones, or
    /// those that follow.
    Snapshot(Option<SnapshotCursor>),
    /// Ask the view server who is primary and backup now.
    View,
}

impl Action {
    /// What is known of its effect when nobody waits for the answer any more: a write may have left
    /// before, and what is sent stays sent.
    #[must_use]
    pub fn if_abandoned(&self) -> FailureOutcome {
        match self {
            Action::Write(_) => FailureOutcome::Unknown,
            Action::Get(_)
            | Action::Mget(_)
            | Action::Exists(_)
            | Action::Len(_)
            | Action::Keys { .. }
            | Action::Snapshot(_)
            | Action::View => FailureOutcome::NotExecuted,
        }
    }
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
    /// The lists in the order of the keys asked for; none for a missing key.
    Lists(Vec<Option<Vec<Value>>>),
    /// Whether the key is there.
    Exists(bool),
    /// The length of the list; 0 for a missing key.
    Length(u64),
    /// Keys in order.
    Keys(KeysPage),
    /// Lists as they were at one instant.
    Snapshot(Box<SnapshotPage>),
    /// The `incr` was executed, once; this was the number then.
    Number(i64),
    /// The `cas` was executed, once, and found another list, of so many elements (0: the key was
    /// missing). It has changed nothing.
    Mismatch(u64),
    /// The view.
    View(Box<Shown>),
}

/// Position of a call among all calls of this client.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Ticket(u64);

/// Finds the primary, and carries operations to it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ClientProcess {
    limits: Limits,
    ids: Ids,
    finder: Finder,
    requests: Requests,
    session: Session,
    calls: Calls,
    fresh: FreshViews,
}

impl ClientProcess {
    /// A client that starts at `now`. It sends nothing before it is asked for something.
    #[must_use]
    pub fn new(_now: Timestamp, config: ClientConfig) -> Self {
        let ClientConfig { incarnation, view_server, limits } = config;
        ClientProcess {
            limits,
            ids: Ids { client: incarnation, last: 0 },
            finder: Finder::new(view_server),
            requests: Requests::default(),
            session: Session::new(incarnation, limits.session_window.max(1)),
            calls: Calls::default(),
            fresh: FreshViews::new(incarnation, view_server),
        }
    }

    /// What exceeds a limit is refused before anything is sent.
    fn check_size(&self, action: &Action) -> Result<(), FailureReason> {
        let one = |key: &Key| check_keys(std::slice::from_ref(key), &self.limits);
        match action {
            Action::Write(command) => command.check(&self.limits),
            Action::Get(key) | Action::Exists(key) | Action::Len(key) => one(key),
            Action::Mget(keys) => check_keys(keys, &self.limits),
            Action::Keys { prefix, start_after } => {
                one(prefix).and_then(|()| start_after.iter().try_for_each(one))
            }
            Action::Snapshot(_) | Action::View => Ok(()),
        }
        .map_err(FailureReason::from)
    }

    /// The deadline of the call is over.
    fn expire(&mut self, ticket: Ticket, outbox: &mut Outbox<Answer>) {
        let Some(call) = self.calls.finish(ticket) else { return };
        let reason = self.finder.reason(call.called);
        let failure = match call.task {
            Task::QueuedWrite(_) | Task::QueuedRead { .. } => Failure::not_executed(reason),
            Task::SentWrite(number) => {
                // It may still happen, and later writes need its number: it is repeated until it
                // is answered, although nobody waits.
                if let Some(request) = self.session.abandon(number) {
                    self.requests.calm(request);
                }
                Failure::unknown(reason)
            }
            Task::Reading(read) => {
                for request in read.requests() {
                    self.requests.forget(request);
                }
                Failure::not_executed(reason)
            }
            Task::View(request) => {
                self.fresh.forget(request);
                Failure::not_executed(self.finder.silent())
            }
        };
        outbox.push(Effect::Answer(call.call, Err(failure)));
    }

    /// Sends what can be sent, and asks for the primary if that is due. Ends every handler.
    fn pump(&mut self, now: Timestamp, outbox: &mut Outbox<Answer>) {
        // Writes without a caller block the window, and new ones wait. Giving the session up is
        // safe: those callers were told that the outcome is unknown, which stays true if a copy on
        // its way is executed later; their numbers belong to a session that is never used again,
        // so no new write can be taken for one of them.
        if self.session.is_stuck() && self.calls.first_write().is_some() {
            self.give_up_session(outbox);
        }
        if let Some(to) = self.finder.trusted() {
            self.send_writes(now, to, outbox);
            self.send_reads(now, to, outbox);
        }
        if let Phase::Opening(request) = self.session.phase
            && self.calls.first_write().is_none()
        {
            // Nobody waits for it. The nonce stays, and brings the same session the next time.
            self.requests.forget(request);
            self.session.phase = Phase::Closed;
        }
        if self.ask_due().is_some_and(|due| due <= now) {
            let need = self.need();
            self.finder.ask(now, need, &mut self.ids, outbox);
        }
    }

    fn send_writes(&mut self, now: Timestamp, to: SocketAddr, outbox: &mut Outbox<Answer>) {
        while self.calls.first_write().is_some() {
            match self.session.phase {
                Phase::Closed => {
                    let open = (Purpose::Open, Ask::Open { nonce: self.session.nonce() });
                    let request = self.requests.send(now, &mut self.ids, to, open, outbox);
                    self.session.phase = Phase::Opening(request);
                    return;
                }
                Phase::Opening(_) => return,
                Phase::Open(_) => {
                    let Some(origin) = self.session.next() else { return };
                    let Some((ticket, command)) = self.calls.take_write(origin.number) else {
                        return;
                    };
                    let write = (Purpose::Write(origin.number), Ask::Write { origin, command });
                    let request = self.requests.send(now, &mut self.ids, to, write, outbox);
                    self.session.sent(request, ticket);
                }
            }
        }
    }

    fn send_reads(&mut self, now: Timestamp, to: SocketAddr, outbox: &mut Outbox<Answer>) {
        while self.calls.reading() < READS_IN_FLIGHT
            && let Some((ticket, wanted, alone)) = self.calls.first_read()
            // A read sees the earlier writes of its session, those included that have no number
            // yet: it waits until they have one.
            && self.calls.first_write().is_none_or(|write| write > ticket)
        {
            let after = if alone { None } else { self.session.seen_by_reads() };
            let first = (Purpose::FirstPage(ticket), wanted.ask(after));
            let request = self.requests.send(now, &mut self.ids, to, first, outbox);
            self.calls.read_sent(ticket, Read { wanted, after, stage: Stage::First(request) });
        }
    }

    /// Ends the session. Callers that wait for a write of it are told that its outcome is unknown;
    /// reads that were to see one of its writes do so no more, for they would wait for ever.
    fn give_up_session(&mut self, outbox: &mut Outbox<Answer>) {
        let Some((id, unanswered)) = self.session.give_up() else { return };
        for write in unanswered {
            self.requests.forget(write.request);
            if let Some(ticket) = write.waiting {
                let failure = Failure::unknown(FailureReason::SessionExpired);
                self.calls.answer(ticket, Err(failure), outbox);
            }
        }
        for ticket in self.calls.reads_after(id) {
            self.read_again(ticket, true);
        }
    }

    /// Puts a read back to where it began.
    fn read_again(&mut self, ticket: Ticket, alone: bool) {
        for request in self.calls.requeue_read(ticket, alone) {
            self.requests.forget(request);
        }
    }

    fn redirect(&mut self, now: Timestamp, switch: Option<Switch>, outbox: &mut Outbox<Answer>) {
        if let Some(Switch { to, not_before }) = switch {
            self.requests.redirect(now, to, not_before, outbox);
        }
    }

    fn need(&self) -> Need {
        Need { awaited: self.calls.need_primary(), oldest: self.requests.oldest() }
    }

    fn ask_due(&self) -> Option<Timestamp> {
        self.finder.ask_due(self.need())
    }

    /// The oldest thing that a waiting caller may want to be told and that was not taken yet. What
    /// nobody takes is forgotten.
    pub fn take_event(&mut self) -> Option<Event> {
        self.finder.events.take()
    }
}

impl Process for ClientProcess {
    type Command = Command;
    type Answer = Answer;

    fn handle_message(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        message: Message,
        outbox: &mut Outbox<Answer>,
    ) {
        // Ports are reused, and answers come late: what does not name this client and something
        // that it still waits for is none of its business.
        match message {
            Message::Reply(reply) if reply.client == self.ids.client => {
                self.on_reply(now, from, reply, outbox);
            }
            Message::ViewReply(reply) if reply.client == self.ids.client => {
                self.on_view_reply(now, *reply, outbox);
            }
            Message::Reply(_)
            | Message::ViewReply(_)
            | Message::GetView(_)
            | Message::ViewAnswer(_)
            | Message::ClientRequest(_)
            | Message::Success(_)
            | Message::Fail(_)
            | Message::Probe(_)
            | Message::ProbeAnswer(_)
            | Message::Announce(_)
            | Message::Refused(_)
            | Message::Ping(_)
            | Message::Pong(_)
            | Message::Replicate(_)
            | Message::Ack(_)
            | Message::NewerView(_)
            | Message::Offer(_)
            | Message::Verdict(_)
            | Message::Transfer(_)
            | Message::TransferAck(_)
            | Message::ViewRequest(_)
            | Message::Request(_)
            | Message::StatusRequest(_)
            | Message::StatusReply(_) => return,
        }
        self.pump(now, outbox);
    }

    fn handle_command(
        &mut self,
        now: Timestamp,
        call: CallId,
        command: Command,
        outbox: &mut Outbox<Answer>,
    ) {
        if let Err(reason) = self.check_size(&command.action) {
            outbox.push(Effect::Answer(call, Err(Failure::not_executed(reason))));
            return;
        }
        let ticket = self.calls.next_ticket();
        let read = |wanted| Task::QueuedRead { wanted, alone: false };
        let task = match command.action {
            Action::Write(command) => Task::QueuedWrite(command),
            Action::Get(key) => read(Wanted::List(key)),
            Action::Mget(keys) => read(Wanted::Lists(keys)),
            Action::Exists(key) => read(Wanted::Existence(key)),
            Action::Len(key) => read(Wanted::Length(key)),
            Action::Keys { prefix, start_after } => read(Wanted::Keys(prefix, start_after)),
            Action::Snapshot(cursor) => read(Wanted::Snapshot(cursor)),
            Action::View => Task::View(self.fresh.ask(now, &mut self.ids, ticket, outbox)),
        };
        self.calls.begin(now, ticket, call, command.deadline, task);
        self.pump(now, outbox);
    }

    fn handle_timeout(&mut self, now: Timestamp, outbox: &mut Outbox<Answer>) {
        for ticket in self.calls.overdue(now) {
            self.expire(ticket, outbox);
        }
        if let Some(to) = self.finder.target() {
            self.requests.retransmit_due(now, to, outbox);
        }
        self.fresh.retransmit_due(now, outbox);
        self.pump(now, outbox);
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        [
            self.calls.poll_timeout(),
            self.requests.poll_timeout(),
            self.fresh.poll_timeout(),
            self.ask_due(),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}
