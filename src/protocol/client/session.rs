//! The client's side of a session: numbers, the window, and what is not answered yet.
//!
//! Kept here: writes are numbered from 1 without gaps, each when it is first sent; and
//! `acknowledged` never passes an unanswered request, because servers forget the results up to
//! there. A write whose caller has given up stays unanswered, for the later ones need its number.
//! Counterpart: `kv::session`.

use super::Ticket;
use crate::kv::command::Origin;
use crate::sequence::Sequence;
use crate::types::{Incarnation, RequestId, RequestNumber, SessionId};

/// A sequence of sessions, of which the last one is in use.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Session {
    client: Incarnation,
    /// Limit on numbers after `acknowledged`.
    window: u64,
    /// Sessions given up so far: tells their nonces apart.
    given_up: u64,
    pub(super) phase: Phase,
}

/// See [`Session`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Phase {
    /// There is none. Left when the first write wants to be sent.
    Closed,
    /// This request asks for one. Left with its answer, or back when nobody waits any more.
    Opening(RequestId),
    /// In use. Left when the servers have forgotten it, or when it is stuck.
    Open(Open),
}

/// A session in use.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Open {
    pub(super) id: SessionId,
    /// The last number given.
    highest: RequestNumber,
    unanswered: Sequence<RequestNumber, Unanswered>,
    /// How many of the unanswered have a caller that waits.
    awaited: usize,
}

/// A write that was sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Unanswered {
    pub(super) request: RequestId,
    /// Who waits for it; none once its deadline is over.
    pub(super) waiting: Option<Ticket>,
}

impl Session {
    pub(super) fn new(client: Incarnation, window: u64) -> Self {
        Session { client, window, given_up: 0, phase: Phase::Closed }
    }

    /// Names the session that is to be opened next: random to others, yet a function of the
    /// client's own random bits. Not used again once that session was given up: a repeated nonce
    /// would bring the old session back, with its numbers.
    pub(super) fn nonce(&self) -> u64 {
        let mut mixed =
            self.client.0.wrapping_add((self.given_up + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn opened(&mut self, id: SessionId) {
        self.phase = Phase::Open(Open {
            id,
            highest: RequestNumber(0),
            unanswered: Sequence::default(),
            awaited: 0,
        });
    }

    /// What the next write must carry; none while there is no session or its window is full.
    pub(super) fn next(&self) -> Option<Origin> {
        let open = self.open()?;
        let (number, acknowledged) = (open.highest.next(), open.acknowledged());
        // Counted from `acknowledged`, not by unanswered ones: the servers keep every result after
        // it, those that arrived here included.
        (number.0 - acknowledged.0 <= self.window).then_some(Origin {
            session: open.id,
            number,
            acknowledged,
        })
    }

    /// The write that [`Session::next`] named was sent.
    pub(super) fn sent(&mut self, request: RequestId, waiting: Ticket) {
        if let Phase::Open(open) = &mut self.phase {
            open.highest = open.highest.next();
            open.unanswered.push(open.highest, Unanswered { request, waiting: Some(waiting) });
            open.awaited += 1;
        }
    }

    /// A write was answered. Returns who waits for it.
    pub(super) fn answered(&mut self, number: RequestNumber) -> Option<Ticket> {
        let Phase::Open(open) = &mut self.phase else { return None };
        let waiting = open.unanswered.remove(number)?.waiting;
        open.awaited -= usize::from(waiting.is_some());
        waiting
    }

    /// Nobody waits for this write any more. Returns the request, which must still be repeated.
    pub(super) fn abandon(&mut self, number: RequestNumber) -> Option<RequestId> {
        let Phase::Open(open) = &mut self.phase else { return None };
        let unanswered = open.unanswered.get_mut(number)?;
        open.awaited -= usize::from(unanswered.waiting.take().is_some());
        Some(unanswered.request)
    }

    /// The window is full of writes for which nobody waits.
    pub(super) fn is_stuck(&self) -> bool {
        self.open().is_some_and(|open| open.awaited == 0) && self.next().is_none()
    }

    /// What a read must see at least: everything sent so far.
    pub(super) fn seen_by_reads(&self) -> Option<(SessionId, RequestNumber)> {
        let open = self.open()?;
        (open.highest > RequestNumber(0)).then_some((open.id, open.highest))
    }

    /// Ends the session in use. Returns its name and its unanswered writes in order.
    pub(super) fn give_up(&mut self) -> Option<(SessionId, Vec<Unanswered>)> {
        match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Open(open) => {
                self.given_up += 1;
                Some((open.id, open.unanswered.iter().map(|(_, write)| *write).collect()))
            }
            Phase::Closed | Phase::Opening(_) => None,
        }
    }

    /// The session in use.
    pub(super) fn id(&self) -> Option<SessionId> {
        self.open().map(|open| open.id)
    }

    fn open(&self) -> Option<&Open> {
        match &self.phase {
            Phase::Open(open) => Some(open),
            Phase::Closed | Phase::Opening(_) => None,
        }
    }
}

impl Open {
    /// Every request up to here has been answered.
    fn acknowledged(&self) -> RequestNumber {
        match self.unanswered.first() {
            Some((first, _)) => RequestNumber(first.0 - 1),
            None => self.highest,
        }
    }
}
