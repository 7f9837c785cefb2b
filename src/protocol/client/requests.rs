//! What was sent to the primary and is not answered: when to send it again, and to whom.
//!
//! Kept here: a request is frozen when it is first sent, so that every repetition has the same
//! bytes (exactly-once needs that); and what the network or a refusal throws back is repeated at a
//! bounded rate. Which requests there are, and what an answer means, is decided in `mod.rs`.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Answer, Ticket};
use crate::protocol::Outbox;
use crate::protocol::message::{Ask, Message, Request};
use crate::protocol::round_trip::RoundTrip;
use crate::sequence::Sequence;
use crate::time::{Timestamp, earlier};
use crate::types::{Incarnation, RequestId, RequestNumber};

/// Longest wait after a refusal (`not_primary`, `busy`); the wait doubles up to here.
const LONGEST_REFUSED: Duration = Duration::from_millis(200);

/// Time in which the answers to several writes arrive that were executed together.
const HURRY: Duration = Duration::from_millis(5);

/// Far enough in the backoff for the longest waiting time.
const CALM: u32 = 16;

/// Gives out request ids, which views asked for and requests share.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Ids {
    pub(super) client: Incarnation,
    pub(super) last: u64,
}

impl Ids {
    pub(super) fn next(&mut self) -> RequestId {
        self.last += 1;
        RequestId(self.last)
    }
}

/// What a request is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Purpose {
    /// Opens the session.
    Open,
    /// Is this write of the present session.
    Write(RequestNumber),
    /// Reads a list from its beginning.
    FirstPage(Ticket),
    /// Reads a later part of a list.
    Page(Ticket),
}

/// Why the primary did not take a request: decides how soon it is worth another try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    NotPrimary,
    Busy,
}

/// A request that was sent at least once.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct InFlight {
    request: Request,
    pub(super) purpose: Purpose,
    first_sent: Timestamp,
    last_sent: Timestamp,
    /// Sendings so far, for Karn's rule.
    sendings: u32,
    /// Position in the backoff; begins anew at another primary.
    attempt: u32,
    /// Refusals since it was first sent to this primary.
    refusals: u32,
    /// Where it was sent last.
    to: SocketAddr,
    /// It was sent to others, too.
    elsewhere: bool,
    due: Timestamp,
}

impl InFlight {
    /// Who has answered: whom it was sent to, if that was only one (a server with several
    /// addresses may answer from another one than it was asked at); else the answer's source.
    pub(super) fn answerer(&self, from: SocketAddr) -> SocketAddr {
        if self.elsewhere { from } else { self.to }
    }
}

/// All requests in flight, in the order of their first sending, with their timers.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Requests {
    round_trip: RoundTrip,
    in_flight: Sequence<RequestId, InFlight>,
    /// Nothing is due earlier. Known exactly only after a look at everything in flight, which is
    /// rarely needed: nearly every request is answered long before it is due.
    none_due_before: Option<Timestamp>,
}

impl Requests {
    /// Sends a new request.
    pub(super) fn send(
        &mut self,
        now: Timestamp,
        ids: &mut Ids,
        to: SocketAddr,
        (purpose, ask): (Purpose, Ask),
        outbox: &mut Outbox<Answer>,
    ) -> RequestId {
        let id = ids.next();
        let entry = InFlight {
            request: Request { client: ids.client, id, ask },
            purpose,
            first_sent: now,
            last_sent: now,
            sendings: 0,
            attempt: 0,
            refusals: 0,
            to,
            elsewhere: false,
            due: now,
        };
        self.in_flight.push(id, entry);
        self.transmit(now, id, to, outbox);
        id
    }

    fn transmit(
        &mut self,
        now: Timestamp,
        id: RequestId,
        to: SocketAddr,
        outbox: &mut Outbox<Answer>,
    ) {
        let Some(entry) = self.in_flight.get_mut(id) else { return };
        entry.elsewhere |= entry.to != to;
        entry.to = to;
        entry.last_sent = now;
        entry.sendings = entry.sendings.saturating_add(1);
        entry.due =
            now + self.round_trip.timeout(entry.attempt, entry.request.client.0.wrapping_add(id.0));
        entry.attempt = entry.attempt.saturating_add(1);
        self.none_due_before = earlier(self.none_due_before, Some(entry.due));
        outbox.send(to, Message::Request(entry.request.clone()));
    }

    /// Sends again whatever has waited long enough.
    pub(super) fn retransmit_due(
        &mut self,
        now: Timestamp,
        to: SocketAddr,
        outbox: &mut Outbox<Answer>,
    ) {
        if self.none_due_before.is_none_or(|earliest| earliest > now) {
            return;
        }
        let due = self.in_flight.iter().filter(|(_, entry)| entry.due <= now);
        let due: Vec<RequestId> = due.map(|(id, _)| id).collect();
        for id in due {
            self.transmit(now, id, to, outbox);
        }
        self.none_due_before = self.in_flight.iter().map(|(_, entry)| entry.due).min();
    }

    /// There is another primary: sends everything to it in order, at once or at the given time.
    pub(super) fn redirect(
        &mut self,
        now: Timestamp,
        to: SocketAddr,
        not_before: Option<Timestamp>,
        outbox: &mut Outbox<Answer>,
    ) {
        let ids: Vec<RequestId> = self.in_flight.iter().map(|(id, _)| id).collect();
        for id in ids {
            if let Some(entry) = self.in_flight.get_mut(id) {
                entry.attempt = 0;
                entry.refusals = 0;
            }
            match not_before {
                Some(time) => self.schedule(id, time),
                None => self.transmit(now, id, to, outbox),
            }
        }
    }

    fn schedule(&mut self, id: RequestId, due: Timestamp) {
        if let Some(entry) = self.in_flight.get_mut(id) {
            entry.due = due;
            self.none_due_before = earlier(self.none_due_before, Some(due));
        }
    }

    /// The primary refused it: to be sent again, but not at once.
    pub(super) fn put_off(&mut self, now: Timestamp, id: RequestId, refusal: Refusal) {
        let Some(entry) = self.in_flight.get_mut(id) else { return };
        let shortest = match refusal {
            Refusal::NotPrimary => Duration::from_millis(10),
            Refusal::Busy => Duration::from_millis(20),
        };
        let wait = shortest.saturating_mul(1 << entry.refusals.min(8)).min(LONGEST_REFUSED);
        entry.refusals = entry.refusals.saturating_add(1);
        self.schedule(id, now + wait);
    }

    /// Nobody waits for it any more: from now on it is repeated at the lowest rate.
    pub(super) fn calm(&mut self, id: RequestId) {
        if let Some(entry) = self.in_flight.get_mut(id) {
            entry.attempt = CALM;
        }
    }

    pub(super) fn get(&self, id: RequestId) -> Option<&InFlight> {
        self.in_flight.get(id)
    }

    /// It is answered: measures the round trip if the answer tells it.
    pub(super) fn answered(&mut self, now: Timestamp, id: RequestId) {
        let Some(entry) = self.forget(id) else { return };
        if entry.sendings == 1 {
            self.round_trip.sample(now.since(entry.first_sent));
        } else if matches!(entry.purpose, Purpose::Write(_)) {
            self.hurry_after(now, id, entry.last_sent);
        }
    }

    /// A write was lost, repeated then, and is answered now. Later writes that had arrived before
    /// that may have been of no use, because writes are executed in order. Each alone would wait
    /// for its own backoff, and only the lowest of them would get through: so all follow soon, in
    /// order, unless they turn out to be answered as well.
    fn hurry_after(&mut self, now: Timestamp, id: RequestId, sent: Timestamp) {
        let due = now + self.round_trip.smoothed().clamp(HURRY, RoundTrip::INITIAL);
        for (_, entry) in self.in_flight.iter_mut().filter(|(later, _)| *later > id) {
            if matches!(entry.purpose, Purpose::Write(_))
                && entry.last_sent < sent
                && entry.due > due
            {
                entry.attempt = 0;
                entry.due = due;
                self.none_due_before = earlier(self.none_due_before, Some(due));
            }
        }
    }

    /// Never sends it again.
    pub(super) fn forget(&mut self, id: RequestId) -> Option<InFlight> {
        let entry = self.in_flight.remove(id);
        if self.in_flight.is_empty() {
            self.none_due_before = None;
        }
        entry
    }

    /// When the oldest unanswered request was first sent.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.in_flight.first().map(|(_, entry)| entry.first_sent)
    }

    /// May be earlier than the first timer.
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.none_due_before
    }
}
