//! The sending half of replication: numbered operations and barriers to one peer, in order, again
//! and again until they are acknowledged. The receiving half is [`super::backup`].
//!
//! Kept here: a barrier number that was sent once is never given to a later read (D23), and bytes
//! in flight are bounded by a window. What is acknowledged is cumulative, so that an old or
//! duplicated acknowledgement is harmless.

use std::collections::VecDeque;

use crate::config::Limits;
use crate::kv::command::Operation;
use crate::kv::replica::Replica;
use crate::protocol::Outbox;
use crate::protocol::message::{Ack, Link, Message, Replicate};
use crate::protocol::round_trip::RoundTrip;
use crate::protocol::view::Member;
use crate::time::Timestamp;
use crate::types::OperationNumber;

/// One message in flight.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Flight {
    /// Its last operation.
    last: OperationNumber,
    bytes: usize,
    sent: Timestamp,
    /// Sent once: only then does its acknowledgement tell a round trip (Karn's rule).
    once: bool,
}

/// Operations and barriers to one peer, in one view.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Pipeline {
    /// Everything up to here is applied by the peer.
    acked: OperationNumber,
    /// Everything up to here was sent at least once in this view.
    sent: OperationNumber,
    flights: VecDeque<Flight>,
    flight_bytes: usize,
    barrier_sent: u64,
    barrier_acked: u64,
    /// A barrier number was drawn and has not left yet.
    barrier_due: bool,
    round_trip: RoundTrip,
    attempt: u32,
    /// When to send again; set while anything is in flight.
    retry_at: Option<Timestamp>,
    /// When a gap was last filled, so that one loss is not answered by many copies.
    gap_filled: Timestamp,
    /// The last acknowledgement of something new, or the moment something began to wait.
    progress: Timestamp,
    /// The peer's digest differed at the same operation number. Nothing it says counts any more.
    diverged: bool,
}

impl Pipeline {
    /// A pipeline to a peer that holds everything up to `acked`.
    #[must_use]
    pub fn new(now: Timestamp, acked: OperationNumber) -> Pipeline {
        Pipeline {
            acked,
            sent: acked,
            flights: VecDeque::new(),
            flight_bytes: 0,
            barrier_sent: 0,
            barrier_acked: 0,
            barrier_due: false,
            round_trip: RoundTrip::default(),
            attempt: 0,
            retry_at: None,
            gap_filled: Timestamp::ZERO,
            progress: now,
            diverged: false,
        }
    }

    /// The same peer in a newer view: it drops what was sent in the old one, so everything that is
    /// not acknowledged leaves again, and barriers begin anew.
    pub fn enter_view(&mut self, now: Timestamp) {
        self.sent = self.acked;
        self.flights.clear();
        self.flight_bytes = 0;
        self.barrier_acked = self.barrier_sent;
        self.attempt = 0;
        self.retry_at = None;
        self.progress = now;
        self.draw_barrier(now);
    }

    /// Everything up to here is applied by the peer.
    #[must_use]
    pub fn acked(&self) -> OperationNumber {
        self.acked
    }

    /// The highest barrier that the peer has confirmed.
    #[must_use]
    pub fn confirmed(&self) -> u64 {
        self.barrier_acked
    }

    /// Whether the peer's copy was seen to differ.
    #[must_use]
    pub fn has_diverged(&self) -> bool {
        self.diverged
    }

    /// Draws a barrier number that was never sent: what its confirmation proves lies after now.
    pub fn draw_barrier(&mut self, now: Timestamp) -> u64 {
        if !self.barrier_due {
            self.begin_waiting(now);
            self.barrier_sent += 1;
            self.barrier_due = true;
        }
        self.barrier_sent
    }

    fn is_waiting(&self) -> bool {
        self.acked < self.sent || self.barrier_acked < self.barrier_sent
    }

    fn begin_waiting(&mut self, now: Timestamp) {
        if !self.is_waiting() {
            self.progress = now;
        }
    }

    /// Since when the peer has made no progress while something was waiting for it.
    #[must_use]
    pub fn waiting_since(&self) -> Option<Timestamp> {
        self.is_waiting().then_some(self.progress)
    }

    /// This process was stopped: its own pause is not the peer's.
    pub fn forgive(&mut self, now: Timestamp) {
        self.progress = now;
    }

    /// When to call [`Pipeline::on_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.retry_at
    }

    /// Sends what was never sent, as far as the window allows.
    pub fn flush<A>(
        &mut self,
        now: Timestamp,
        replica: &Replica,
        to: &Wire<'_>,
        outbox: &mut Outbox<A>,
    ) {
        while self.sent < replica.last() && self.flight_bytes < to.limits.window_bytes {
            self.begin_waiting(now);
            let first = self.sent.next();
            let (last, bytes) = self.send_from(first, replica, to, outbox);
            self.sent = last;
            self.flight_bytes += bytes;
            self.flights.push_back(Flight { last, bytes, sent: now, once: true });
            self.arm(now, to);
        }
        if self.barrier_due {
            outbox.send(to.peer.address, to.replicate(self.sent.next(), Vec::new(), self));
            self.barrier_due = false;
            self.arm(now, to);
        }
    }

    /// Sends one message of operations from `first` on; returns the last one in it and its size.
    fn send_from<A>(
        &mut self,
        first: OperationNumber,
        replica: &Replica,
        to: &Wire<'_>,
        outbox: &mut Outbox<A>,
    ) -> (OperationNumber, usize) {
        let budget = to.limits.datagram_bytes_to(to.peer.address) * 3 / 4;
        let (mut operations, mut bytes, mut last) = (Vec::new(), 0, first);
        let mut number = first;
        while let Some(operation) = replica.operation(number) {
            if !operations.is_empty() && bytes + operation.size() > budget {
                break;
            }
            bytes += operation.size();
            operations.push(operation.clone());
            last = number;
            number = number.next();
        }
        assert!(!operations.is_empty(), "what is not acknowledged is still in the log");
        if bytes > budget {
            // Larger than a datagram: it travels in pieces, and the pieces of two sendings fit
            // together only if the bytes are the same. So nothing that changes may ride along.
            let message = Replicate { link: to.link, first, operations, barrier: 0, flip: to.flip };
            outbox.send(to.peer.address, Message::Replicate(message));
        } else {
            outbox.send(to.peer.address, to.replicate(first, operations, self));
            self.barrier_due = false;
        }
        (last, bytes)
    }

    fn arm(&mut self, now: Timestamp, to: &Wire<'_>) {
        if self.retry_at.is_none() {
            self.retry_at = Some(now + self.round_trip.timeout(self.attempt, to.link.from.0));
        }
    }

    /// Nothing new was acknowledged for a while: sends the first waiting message again.
    pub fn on_timeout<A>(
        &mut self,
        now: Timestamp,
        replica: &Replica,
        to: &Wire<'_>,
        outbox: &mut Outbox<A>,
    ) {
        if self.retry_at.is_none_or(|at| at > now) {
            return;
        }
        self.attempt = self.attempt.saturating_add(1);
        self.retry_at = None;
        if self.acked < self.sent {
            self.send_again(replica, to, outbox);
        } else {
            outbox.send(to.peer.address, to.replicate(self.sent.next(), Vec::new(), self));
            // The number has left: a read that comes from now on needs another one (D23).
            self.barrier_due = false;
        }
        self.arm(now, to);
    }

    fn send_again<A>(&mut self, replica: &Replica, to: &Wire<'_>, outbox: &mut Outbox<A>) {
        for flight in &mut self.flights {
            flight.once = false;
        }
        self.send_from(self.acked.next(), replica, to, outbox);
    }

    /// Takes an acknowledgement of this view. Returns whether it told anything new.
    pub fn on_ack<A>(
        &mut self,
        now: Timestamp,
        ack: &Ack,
        replica: &Replica,
        to: &Wire<'_>,
        outbox: &mut Outbox<A>,
    ) -> bool {
        // A peer may be ahead of what was sent in this view (it got it in the view before), never
        // of what was numbered.
        if ack.applied > replica.last() || ack.barrier > self.barrier_sent {
            self.diverged = true;
            return false;
        }
        let news = ack.applied > self.acked || ack.barrier > self.barrier_acked;
        self.acked = self.acked.max(ack.applied);
        self.sent = self.sent.max(self.acked);
        self.barrier_acked = self.barrier_acked.max(ack.barrier);
        while let Some(flight) = self.flights.front() {
            if flight.last > self.acked {
                break;
            }
            if flight.once {
                self.round_trip.sample(now.since(flight.sent));
            }
            self.flight_bytes -= flight.bytes;
            self.flights.pop_front();
        }
        if news {
            self.attempt = 0;
            self.progress = now;
            self.retry_at = None;
            if self.is_waiting() {
                self.arm(now, to);
            }
        }
        let gap = ack.received > self.acked && self.acked < self.sent;
        if gap && now.since(self.gap_filled) >= self.round_trip.smoothed() {
            self.gap_filled = now;
            self.send_again(replica, to, outbox);
        }
        news
    }

    /// Compares the peer's digest with ours at the same operation, once we have applied it.
    /// Returns whether they differ.
    pub fn compare(&mut self, ack: &Ack, replica: &Replica) -> bool {
        if replica.digest_at(ack.applied).is_some_and(|ours| ours != ack.digest) {
            self.diverged = true;
        }
        self.diverged
    }

    /// Bytes (roughly) and operations that are numbered but not acknowledged by this peer.
    #[must_use]
    pub fn lag(&self, replica: &Replica) -> u64 {
        replica.last().0 - self.acked.0
    }
}

/// What every message to the peer needs.
pub struct Wire<'a> {
    /// Header.
    pub link: Link,
    /// The receiver.
    pub peer: &'a Member,
    /// Bounds.
    pub limits: &'a Limits,
    /// See [`Replicate::flip`].
    pub flip: OperationNumber,
}

impl Wire<'_> {
    fn replicate(
        &self,
        first: OperationNumber,
        operations: Vec<Operation>,
        pipeline: &Pipeline,
    ) -> Message {
        let (link, flip) = (self.link, self.flip);
        Message::Replicate(Replicate {
            link,
            first,
            operations,
            barrier: pipeline.barrier_sent,
            flip,
        })
    }
}
