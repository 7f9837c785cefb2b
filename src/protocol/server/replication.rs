//! The sending half of replication: numbered operations and barriers to one peer, in order, again
//! and again until they are acknowledged. The receiving half is [`super::backup`].
//!
//! Kept here: a barrier number that was sent once is never given to a later read (D23), and bytes
//! in flight are bounded by a window. What is acknowledged is cumulative, so that an old or
//! duplicated acknowledgement is harmless.
//!
//! Whatever waits is probed several times a ping interval, each time with a barrier number of its
//! own, so that loss alone does not look like a stalled peer; only after dead-after do the probes
//! become rarer.

use std::collections::VecDeque;
use std::time::Duration;

use crate::config::{Limits, Timing};
use crate::kv::command::Operation;
use crate::kv::replica::Replica;
use crate::protocol::Outbox;
use crate::protocol::message::{Ack, Link, Message, Replicate};
use crate::protocol::round_trip::RoundTrip;
use crate::protocol::view::Member;
use crate::time::{Timestamp, earlier};
use crate::types::OperationNumber;

/// How long a batch gathers, at most, while an earlier one is under way. Its acknowledgement ends the
/// waiting, so that there are few datagrams and few wake-ups when there is much to do; only after
/// a loss does it last so long.
const GATHER: Duration = Duration::from_millis(1);

/// The least that one operation adds to a message, in bytes.
const OPERATION_BYTES: usize = 128;

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
    window: Window,
    barrier_sent: u64,
    barrier_acked: u64,
    /// A barrier number was drawn and has not left yet.
    barrier_due: bool,
    /// When something last left that was new.
    flushed: Timestamp,
    /// Something gathers until what is under way is acknowledged.
    gathering: bool,
    round_trip: RoundTrip,
    attempt: u32,
    /// When to send again; set while anything is in flight.
    retry_at: Option<Timestamp>,
    /// When the first waiting operations were last sent again, and how often: one loss is not
    /// answered by many copies, however often the peer is probed.
    resent: Timestamp,
    resends: u32,
    /// What the peer owes, and since when.
    patience: Patience,
    /// When a message that is larger than a datagram was last sent: its receiver fetches the rest
    /// by itself, and encoding it costs as much as everything else together.
    large_sent: Timestamp,
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
            window: Window::new(),
            barrier_sent: 0,
            barrier_acked: 0,
            barrier_due: false,
            flushed: Timestamp::ZERO,
            gathering: false,
            round_trip: RoundTrip::default(),
            attempt: 0,
            retry_at: None,
            resent: Timestamp::ZERO,
            resends: 0,
            patience: Patience::new(now),
            large_sent: Timestamp::ZERO,
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
        self.gathering = false;
        self.attempt = 0;
        self.retry_at = None;
        self.patience.forgive(now);
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
            if !self.is_waiting() {
                self.patience.begin_contact(now);
            }
            self.barrier_sent += 1;
            self.barrier_due = true;
        }
        self.barrier_sent
    }

    fn is_waiting(&self) -> bool {
        self.acked < self.sent || self.barrier_acked < self.barrier_sent
    }

    /// Whether the peer owes an acknowledgement for too long.
    #[must_use]
    pub fn is_stalled(&self, now: Timestamp, dead_after: Duration) -> bool {
        self.is_waiting() && self.patience.is_over(now, dead_after, self.acked < self.sent)
    }

    /// This process was stopped: its own pause is not the peer's.
    pub fn forgive(&mut self, now: Timestamp) {
        self.patience.forgive(now);
    }

    /// When to call [`Pipeline::on_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        earlier(self.gathering.then(|| self.flushed + GATHER), self.retry_at)
    }

    /// Whether something new was sent and is not acknowledged.
    fn is_under_way(&self) -> bool {
        let barrier_left = self.barrier_sent - u64::from(self.barrier_due);
        self.acked < self.sent || self.barrier_acked < barrier_left
    }

    /// Sends what was never sent, as far as the window allows; unless something is under way, and
    /// what is there does not fill a message.
    pub fn flush<A>(
        &mut self,
        now: Timestamp,
        replica: &Replica,
        to: &Wire<'_>,
        outbox: &mut Outbox<A>,
    ) {
        let unsent = replica.last().0.saturating_sub(self.sent.0);
        let is_full = unsent >= (to.message_bytes() / OPERATION_BYTES) as u64;
        self.gathering = (unsent > 0 || self.barrier_due)
            && !is_full
            && self.is_under_way()
            && now < self.flushed + GATHER;
        if self.gathering {
            return;
        }
        if unsent > 0 || self.barrier_due {
            self.flushed = now;
        }
        while self.sent < replica.last() && self.window.has_room(self.flight_bytes, to.limits) {
            if !self.is_waiting() {
                self.patience.begin_contact(now);
            }
            if self.acked == self.sent {
                self.patience.begin_progress(now);
            }
            let first = self.sent.next();
            let (last, bytes) = self.send_from(now, first, replica, to, outbox);
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
        now: Timestamp,
        first: OperationNumber,
        replica: &Replica,
        to: &Wire<'_>,
        outbox: &mut Outbox<A>,
    ) -> (OperationNumber, usize) {
        let budget = to.message_bytes();
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
            self.large_sent = now;
        } else {
            outbox.send(to.peer.address, to.replicate(first, operations, self));
            self.barrier_due = false;
        }
        (last, bytes)
    }

    fn arm(&mut self, now: Timestamp, to: &Wire<'_>) {
        if self.retry_at.is_none() {
            let wait = self.round_trip.timeout(self.attempt, to.link.from.0);
            self.retry_at = Some(now + self.patience.limit(now, wait, to.timing));
        }
    }

    /// Nothing new was acknowledged for a while: sends the first waiting operations again, or
    /// merely a barrier.
    pub fn on_timeout<A>(
        &mut self,
        now: Timestamp,
        replica: &Replica,
        to: &Wire<'_>,
        outbox: &mut Outbox<A>,
    ) {
        if self.gathering && self.flushed + GATHER <= now {
            self.flush(now, replica, to, outbox);
        }
        if self.retry_at.is_none_or(|at| at > now) {
            return;
        }
        self.attempt = self.attempt.saturating_add(1);
        self.retry_at = None;
        // A number of its own: only the echo of a probe sent now shows that the peer is there now.
        outbox.counts.probes += 1;
        self.barrier_sent += 1;
        self.barrier_due = true;
        let patience = self.round_trip.timeout(self.resends, to.link.from.0);
        if self.flights.front().is_some_and(|first| now.since(first.sent) >= patience)
            && now.since(self.resent) >= patience
        {
            self.resends = self.resends.saturating_add(1);
            self.send_again(now, replica, to, outbox);
        }
        if self.barrier_due {
            outbox.send(to.peer.address, to.replicate(self.sent.next(), Vec::new(), self));
            // The number has left: a read that comes from now on needs another one (D23).
            self.barrier_due = false;
        }
        self.arm(now, to);
    }

    /// Sends the first operations that wait again, unless the peer is still fetching them.
    fn send_again<A>(
        &mut self,
        now: Timestamp,
        replica: &Replica,
        to: &Wire<'_>,
        outbox: &mut Outbox<A>,
    ) {
        let first = replica.operation(self.acked.next());
        let large = first.filter(|operation| operation.size() > to.message_bytes());
        let patience = large.map_or(Duration::ZERO, |operation| patience_for(operation.size()));
        if self.acked == self.sent || now.since(self.large_sent) < patience {
            return;
        }
        for flight in &mut self.flights {
            flight.once = false;
        }
        self.window.on_loss(now, self.round_trip.smoothed());
        self.resent = now;
        outbox.counts.resent_replicates += 1;
        self.send_from(now, self.acked.next(), replica, to, outbox);
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
        let progress = ack.applied > self.acked;
        let news = progress || ack.barrier > self.barrier_acked;
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
            self.window.on_arrival(flight.bytes, to.limits);
            self.flights.pop_front();
        }
        if !self.is_under_way() {
            // Nothing is to be waited for, whenever it left.
            self.flushed = Timestamp::ZERO;
        }
        if news {
            self.patience.begin_contact(now);
            if progress {
                self.attempt = 0;
                self.resends = 0;
                self.patience.begin_progress(now);
                self.retry_at = None;
            }
            if self.is_waiting() {
                self.arm(now, to);
            } else {
                self.retry_at = None;
            }
        }
        let gap = ack.received > self.acked && self.acked < self.sent;
        if gap && now.since(self.resent) >= self.round_trip.smoothed() {
            self.send_again(now, replica, to, outbox);
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

    /// Operations that are numbered but not acknowledged by this peer.
    #[must_use]
    pub fn lag(&self, replica: &Replica) -> u64 {
        replica.last().0 - self.acked.0
    }

    /// How long the oldest message that was sent waits for its acknowledgement; zero without one.
    #[must_use]
    pub fn delay(&self, now: Timestamp) -> Duration {
        self.flights.front().map_or(Duration::ZERO, |flight| now.since(flight.sent))
    }
}

/// How long a message of so many bytes is left to its receiver, who fetches it in pieces, before it
/// is encoded again: at 4 MB a second.
#[must_use]
pub fn patience_for(bytes: usize) -> Duration {
    Duration::from_micros(bytes as u64 / 4)
}

/// How many bytes may be in flight: few at first, more with everything that arrives, half after a
/// loss. A peer's receive buffer may be far smaller than the largest window, and what overflows it
/// takes pings and acknowledgements with it (D38).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Window {
    bytes: usize,
    halved: Timestamp,
}

impl Window {
    const FIRST: usize = 64 << 10;
    const LEAST: usize = 16 << 10;

    /// A cautious beginning.
    #[must_use]
    pub fn new() -> Window {
        Window { bytes: Window::FIRST, halved: Timestamp::ZERO }
    }

    /// Whether more may be sent.
    #[must_use]
    pub fn has_room(&self, in_flight: usize, limits: &Limits) -> bool {
        in_flight < self.bytes.min(limits.window_bytes)
    }

    /// So many bytes have arrived.
    pub fn on_arrival(&mut self, bytes: usize, limits: &Limits) {
        self.bytes = (self.bytes + bytes).min(limits.window_bytes);
    }

    /// Something was lost. What is lost together counts once.
    pub fn on_loss(&mut self, now: Timestamp, round_trip: Duration) {
        if now.since(self.halved) >= round_trip {
            self.halved = now;
            self.bytes = (self.bytes / 2).max(Window::LEAST);
        }
    }
}

/// What a peer owes, and since when.
///
/// A peer of which nothing new is heard for dead-after is stalled. One that echoes barriers or
/// probes but makes no progress may be fetching something large, and is given ten times as long:
/// after that, large messages do not get through to it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Patience {
    contact: Timestamp,
    progress: Timestamp,
}

impl Patience {
    /// Begins now.
    #[must_use]
    pub fn new(now: Timestamp) -> Patience {
        Patience { contact: now, progress: now }
    }

    /// Something new was heard, or something began to wait.
    pub fn begin_contact(&mut self, now: Timestamp) {
        self.contact = now;
    }

    /// Something was applied, or something to be applied began to wait.
    pub fn begin_progress(&mut self, now: Timestamp) {
        self.progress = now;
    }

    /// Everything begins anew.
    pub fn forgive(&mut self, now: Timestamp) {
        *self = Patience::new(now);
    }

    /// Whether it is over, with or without something that waits to be applied.
    #[must_use]
    pub fn is_over(&self, now: Timestamp, dead_after: Duration, owes_progress: bool) -> bool {
        now.since(self.contact) >= dead_after
            || (owes_progress && now.since(self.progress) >= dead_after * 10)
    }

    /// How long to wait before the next probe: never long while the peer can still be judged.
    #[must_use]
    pub fn limit(&self, now: Timestamp, wait: Duration, timing: &Timing) -> Duration {
        if now.since(self.contact) < timing.dead_after() {
            wait.min(timing.ping_interval() / 4)
        } else {
            wait
        }
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
    /// Timing of the cluster.
    pub timing: &'a Timing,
    /// See [`Replicate::flip`].
    pub flip: OperationNumber,
}

impl Wire<'_> {
    /// How much of text goes into one message, so that its JSON fits a datagram as a rule.
    #[must_use]
    pub fn message_bytes(&self) -> usize {
        self.limits.datagram_bytes_to(self.peer.address) * 3 / 4
    }

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
