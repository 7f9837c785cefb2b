//! State transfer: [`Sender`] at the primary, [`Joining`] at the joiner.
//!
//! The joiner offers what it holds. If the primary's own history has the same digest at the same
//! operation, the copy is kept and only what came later is replicated; otherwise it is wiped and
//! the state is streamed while the primary serves. After that the joiner follows like a backup,
//! though nothing waits for it yet. A new attempt is a new view, hence a new `since`; pieces of
//! another attempt are ignored (I10).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::config::{Limits, Timing};
use crate::kv::replica::{Applied, Replica};
use crate::kv::transfer::{Growing, Item, Walk};
use crate::protocol::Outbox;
use crate::protocol::counts::Aside;
use crate::protocol::message::{Link, Message, Offer, Transfer, TransferAck, Verdict};
use crate::protocol::round_trip::RoundTrip;
use crate::protocol::server::backup::Backup;
use crate::protocol::server::progress::Progress;
use crate::protocol::server::replication::{Patience, Pipeline, Window, Wire, patience_for};
use crate::time::{Timestamp, earlier};
use crate::types::{OperationNumber, ViewId};

/// Messages of a stream that may wait for an earlier one at the joiner.
const EARLY_MESSAGES: u64 = 1024;

/// Bytes of a stream that leave in one turn, of the walk, and as many of effects: whoever waits for
/// an answer, and the view server, would otherwise wait for a whole window.
const TURN_BYTES: usize = 32 << 10;

/// Whoever was asked something so recently is likely to be asked more.
const BUSY: Duration = Duration::from_millis(10);

/// While clients are served, a part of the walk leaves when the one before has been acknowledged, or
/// after so long. Sender and joiner then work in turns, and where they share processors with
/// clients, nobody waits for longer than one part; all of them at once, somebody would wait until
/// the system takes a processor from one of them, which is milliseconds.
const PACE: Duration = Duration::from_millis(1);

/// The primary's half of one attempt.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Sender {
    stage: Stage,
    /// What the joiner owes before it follows, and since when.
    patience: Patience,
    /// The joiner ended with another digest than ours.
    diverged: bool,
    /// The joiner may not take as much memory as the state does.
    too_small: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Stage {
    /// Entered with the view; left when the joiner's offer arrives.
    AwaitingOffer,
    /// The joiner's copy was refused; left when it has confirmed the end of the stream.
    Streaming(Box<Stream>),
    /// The joiner holds a complete copy and follows.
    Following {
        pipeline: Pipeline,
        /// The verdict, for an offer that is repeated.
        kept: bool,
        /// The joiner has shown that it follows. A verdict may be lost: until then an offered copy
        /// is not in this lineage yet, whatever it holds.
        confirmed: bool,
    },
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Stream {
    walk: Walk,
    /// Items in the order of their effects, not yet in a message.
    ready: VecDeque<Item>,
    ready_bytes: usize,
    /// Messages that are not acknowledged, oldest first, with the sequence number of the first.
    flights: VecDeque<Flight>,
    first_flight: u64,
    flight_bytes: usize,
    window: Window,
    round_trip: RoundTrip,
    attempt: u32,
    retry_at: Option<Timestamp>,
    /// When the first message in flight was last sent again, and how often: one loss is not
    /// answered by many copies, however often the joiner is probed.
    resent: Timestamp,
    resends: u32,
    probe_sent: u64,
    probe_acked: u64,
    /// The operation at which the walk ended.
    ended: Option<OperationNumber>,
    /// For people.
    progress: Aside<Progress>,
    /// When more leaves, if there is room for it: at once, but not before what has arrived meanwhile
    /// is handled.
    next_at: Option<Timestamp>,
    /// When a part last left, and when a client last asked for anything.
    flushed: Timestamp,
    asked: Timestamp,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Flight {
    items: Vec<Item>,
    bytes: usize,
    sent: Timestamp,
    once: bool,
}

impl Sender {
    /// A new attempt.
    #[must_use]
    pub fn new(now: Timestamp) -> Sender {
        Sender {
            stage: Stage::AwaitingOffer,
            patience: Patience::new(now),
            diverged: false,
            too_small: false,
        }
    }

    /// The joiner's pipeline, once it holds a complete copy: it becomes the backup's.
    #[must_use]
    pub fn into_pipeline(self) -> Option<Pipeline> {
        match self.stage {
            Stage::Following { pipeline, .. } => Some(pipeline),
            Stage::AwaitingOffer | Stage::Streaming(_) => None,
        }
    }

    /// Whether the joiner lacks no more than a window: it can become backup.
    #[must_use]
    pub fn is_caught_up(&self, replica: &Replica, limits: &Limits) -> bool {
        match &self.stage {
            Stage::Following { pipeline, confirmed, .. } => {
                *confirmed
                    && !pipeline.has_diverged()
                    && pipeline.lag(replica) <= limits.pending_operations as u64 / 16
            }
            Stage::AwaitingOffer | Stage::Streaming(_) => false,
        }
    }

    /// Keys of this copy that are on their way to the joiner, or there, and all keys.
    #[must_use]
    pub fn progress(&self, replica: &Replica) -> (usize, usize) {
        let all = replica.store().len();
        match &self.stage {
            Stage::AwaitingOffer => (0, all),
            // Keys may have vanished since they were visited.
            Stage::Streaming(stream) if stream.ended.is_none() => {
                (stream.progress.0.walked().min(all), all)
            }
            Stage::Streaming(_) | Stage::Following { .. } => (all, all),
        }
    }

    /// The joiner's pipeline, to look at.
    #[must_use]
    pub fn followed(&self) -> Option<&Pipeline> {
        match &self.stage {
            Stage::Following { pipeline, .. } => Some(pipeline),
            Stage::AwaitingOffer | Stage::Streaming(_) => None,
        }
    }

    /// Whether the joiner's copy was seen to differ.
    #[must_use]
    pub fn has_diverged(&self) -> bool {
        match &self.stage {
            Stage::Following { pipeline, .. } => pipeline.has_diverged(),
            Stage::AwaitingOffer | Stage::Streaming(_) => self.diverged,
        }
    }

    /// Whether the joiner has come no closer for too long.
    #[must_use]
    pub fn is_stalled(&self, now: Timestamp, dead_after: Duration) -> bool {
        match &self.stage {
            Stage::AwaitingOffer | Stage::Streaming(_) => {
                self.too_small || self.patience.is_over(now, dead_after, true)
            }
            Stage::Following { pipeline, .. } => pipeline.is_stalled(now, dead_after),
        }
    }

    /// This process was stopped: its own pause is not the joiner's.
    pub fn forgive(&mut self, now: Timestamp) {
        self.patience.forgive(now);
        if let Stage::Following { pipeline, .. } = &mut self.stage {
            pipeline.forgive(now);
        }
    }

    /// Whether so much waits for the joiner that writes must slow down.
    #[must_use]
    pub fn is_full(&self, replica: &Replica, limits: &Limits) -> bool {
        match &self.stage {
            Stage::AwaitingOffer => false,
            Stage::Streaming(stream) => {
                stream.ready_bytes > limits.backlog_bytes
                    || stream.ended.is_some() && replica.log_bytes() > 2 * limits.backlog_bytes
            }
            Stage::Following { pipeline, .. } => {
                pipeline.lag(replica) > limits.pending_operations as u64
                    || replica.log_bytes() > 2 * limits.backlog_bytes
            }
        }
    }

    /// Operations up to here are no longer needed for this joiner.
    #[must_use]
    pub fn holds(&self, replica: &Replica) -> OperationNumber {
        match &self.stage {
            // The offer may name any operation of the history.
            Stage::AwaitingOffer => replica.applied(),
            Stage::Streaming(stream) => stream.ended.unwrap_or(replica.applied()),
            Stage::Following { pipeline, .. } => pipeline.acked(),
        }
    }

    /// An operation was applied: what it changes of the things already streamed follows them.
    pub fn on_applied(&mut self, applied: &Applied, replica: &Replica) {
        if let Stage::Streaming(stream) = &mut self.stage
            && stream.ended.is_none()
        {
            let mut items = Vec::new();
            stream.walk.on_applied(applied, replica, &mut items);
            stream.extend(items);
        }
    }

    /// A client asks for something: whatever takes long gives way for a while.
    pub fn on_asked(&mut self, now: Timestamp) {
        if let Stage::Streaming(stream) = &mut self.stage {
            stream.asked = now;
        }
    }

    /// The joiner has no room for the state: nothing is sent, and another one is to be preferred.
    /// Returns whether that is new.
    pub fn turn_away(&mut self) -> bool {
        match self.stage {
            Stage::AwaitingOffer => !std::mem::replace(&mut self.too_small, true),
            Stage::Streaming(_) | Stage::Following { .. } => false,
        }
    }

    /// See [`Sender::turn_away`].
    #[must_use]
    pub fn is_turned_away(&self) -> bool {
        self.too_small
    }

    /// The joiner is there.
    pub fn on_offer<A>(
        &mut self,
        now: Timestamp,
        offer: &Offer,
        replica: &Replica,
        to: &Wire<'_>,
        outbox: &mut Outbox<A>,
    ) {
        let keep = match &self.stage {
            Stage::AwaitingOffer => {
                self.patience.forgive(now);
                let same = offer.copy.filter(|(applied, digest)| {
                    // Every later operation must still be there to be replicated.
                    *applied >= replica.forgotten() && replica.digest_at(*applied) == Some(*digest)
                });
                self.stage = match same {
                    Some((applied, _)) => {
                        let mut pipeline = Pipeline::new(now, applied);
                        pipeline.draw_barrier(now);
                        Stage::Following { pipeline, kept: true, confirmed: false }
                    }
                    None => Stage::Streaming(Box::new(Stream::new())),
                };
                same.is_some()
            }
            Stage::Streaming(_) => false,
            Stage::Following { kept, .. } => *kept,
        };
        outbox.send(to.peer.address, Message::Verdict(Verdict { link: to.link, keep }));
    }

    /// The joiner has applied messages of the stream.
    pub fn on_transfer_ack<A>(
        &mut self,
        now: Timestamp,
        ack: &TransferAck,
        to: &Wire<'_>,
        outbox: &mut Outbox<A>,
    ) {
        let Stage::Streaming(stream) = &mut self.stage else { return };
        if ack.diverged {
            self.diverged = true;
            return;
        }
        if ack.probe > stream.probe_acked {
            stream.probe_acked = ack.probe.min(stream.probe_sent);
            self.patience.begin_contact(now);
        }
        if !stream.on_ack(now, ack.sequence, to, &self.patience) {
            stream.fill_gap(now, to, outbox);
            return;
        }
        self.patience.forgive(now);
        if let Some(ended) = stream.ended
            && stream.flights.is_empty()
            && stream.ready.is_empty()
        {
            let pipeline = Pipeline::new(now, ended);
            self.stage = Stage::Following { pipeline, kept: false, confirmed: true };
        }
    }

    /// The pipeline of a joiner that follows, for an acknowledgement that shows that it does.
    pub fn pipeline(&mut self) -> Option<&mut Pipeline> {
        match &mut self.stage {
            Stage::Following { pipeline, confirmed, .. } => {
                *confirmed = true;
                Some(pipeline)
            }
            Stage::AwaitingOffer | Stage::Streaming(_) => None,
        }
    }

    /// Sends as much as the window allows.
    pub fn flush<A>(
        &mut self,
        now: Timestamp,
        replica: &Replica,
        to: &Wire<'_>,
        outbox: &mut Outbox<A>,
    ) {
        match &mut self.stage {
            Stage::AwaitingOffer => {}
            Stage::Streaming(stream) => {
                stream.flush(now, replica, to, &self.patience, outbox);
            }
            Stage::Following { pipeline, .. } => pipeline.flush(now, replica, to, outbox),
        }
    }

    /// When to call [`Sender::on_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        match &self.stage {
            Stage::AwaitingOffer => None,
            Stage::Streaming(stream) => earlier(stream.next_at, stream.retry_at),
            Stage::Following { pipeline, .. } => pipeline.poll_timeout(),
        }
    }

    /// Sends again what was not acknowledged in time.
    pub fn on_timeout<A>(
        &mut self,
        now: Timestamp,
        replica: &Replica,
        to: &Wire<'_>,
        outbox: &mut Outbox<A>,
    ) {
        match &mut self.stage {
            Stage::AwaitingOffer => {}
            Stage::Streaming(stream) => {
                if stream.next_at.is_some_and(|at| at <= now) {
                    stream.flush(now, replica, to, &self.patience, outbox);
                }
                stream.on_timeout(now, to, &self.patience, outbox);
            }
            Stage::Following { pipeline, .. } => pipeline.on_timeout(now, replica, to, outbox),
        }
    }
}

impl Stream {
    fn new() -> Stream {
        Stream {
            walk: Walk::default(),
            ready: VecDeque::new(),
            ready_bytes: 0,
            flights: VecDeque::new(),
            first_flight: 1,
            flight_bytes: 0,
            window: Window::new(),
            round_trip: RoundTrip::default(),
            attempt: 0,
            retry_at: None,
            resent: Timestamp::ZERO,
            resends: 0,
            probe_sent: 0,
            probe_acked: 0,
            ended: None,
            progress: Aside::default(),
            next_at: None,
            flushed: Timestamp::ZERO,
            asked: Timestamp::ZERO,
        }
    }

    fn extend(&mut self, items: Vec<Item>) {
        for item in items {
            self.ready_bytes += item.size();
            self.ready.push_back(item);
        }
    }

    /// When the next part may leave, if that is not now.
    fn resting_until(&self, now: Timestamp) -> Option<Timestamp> {
        // Effects of what is written meanwhile must not gather faster than they leave.
        let gathers = self.flight_bytes > 0 && self.ready_bytes < TURN_BYTES;
        let is_busy = self.asked > Timestamp::ZERO && now < self.asked + BUSY;
        Some(self.flushed + PACE).filter(|at| is_busy && gathers && now < *at)
    }

    /// Sends what there is room for, but not all of it in one turn.
    fn flush<A>(
        &mut self,
        now: Timestamp,
        replica: &Replica,
        to: &Wire<'_>,
        patience: &Patience,
        outbox: &mut Outbox<A>,
    ) {
        self.next_at = self.resting_until(now);
        if self.next_at.is_some() {
            return;
        }
        let budget = to.message_bytes();
        let mut in_turn = 0;
        let mut walked_bytes = 0;
        while self.window.has_room(self.flight_bytes, to.limits) {
            // Both have their share, or else the walk would stand still while enough is written.
            let walks = self.ready.is_empty() && self.ended.is_none();
            if in_turn >= 2 * TURN_BYTES || walks && walked_bytes >= TURN_BYTES {
                self.next_at = Some(now + Duration::from_nanos(1));
                break;
            }
            // The walk goes on only when every earlier effect is on its way: what it finds now is
            // newer than they are.
            if self.ready.is_empty() && self.ended.is_none() {
                let mut items = Vec::new();
                self.walk.advance(replica, budget, &mut items);
                if self.walk == Walk::Finished {
                    self.ended = Some(replica.applied());
                }
                let walked = (replica.store().len(), self.ended.is_some());
                self.progress.0.walk(now, &items, walked, to.peer);
                self.extend(items);
                walked_bytes += self.ready_bytes;
            }
            if self.ready.is_empty() {
                break;
            }
            let (mut items, mut bytes) = (Vec::new(), 0);
            while let Some(item) = self.ready.front()
                && (bytes == 0 || bytes + item.size() <= budget)
                && let Some(item) = self.ready.pop_front()
            {
                bytes += item.size();
                items.push(item);
            }
            in_turn += bytes;
            outbox.counts.transfer_bytes += bytes as u64;
            self.ready_bytes -= bytes;
            self.flight_bytes += bytes;
            let flight = Flight { items, bytes, sent: now, once: true };
            let sequence = self.first_flight + self.flights.len() as u64;
            outbox.send(to.peer.address, flight.message(to, sequence, self.probe_sent));
            self.flights.push_back(flight);
            self.flushed = now;
            self.arm(now, to, patience);
        }
    }

    fn arm(&mut self, now: Timestamp, to: &Wire<'_>, patience: &Patience) {
        if self.retry_at.is_none() {
            let wait = self.round_trip.timeout(self.attempt, to.link.from.0);
            self.retry_at = Some(now + patience.limit(now, wait, to.timing));
        }
    }

    /// Returns whether anything new was acknowledged.
    fn on_ack(
        &mut self,
        now: Timestamp,
        sequence: u64,
        to: &Wire<'_>,
        patience: &Patience,
    ) -> bool {
        let mut news = false;
        while self.first_flight <= sequence {
            let Some(flight) = self.flights.pop_front() else { break };
            if flight.once {
                self.round_trip.sample(now.since(flight.sent));
            }
            self.flight_bytes -= flight.bytes;
            self.window.on_arrival(flight.bytes, to.limits);
            self.first_flight += 1;
            news = true;
        }
        if news {
            self.attempt = 0;
            self.resends = 0;
            self.retry_at = None;
            if !self.flights.is_empty() {
                self.arm(now, to, patience);
            }
        }
        news
    }

    /// An acknowledgement told nothing new: a later message arrived before the first one in flight.
    fn fill_gap<A>(&mut self, now: Timestamp, to: &Wire<'_>, outbox: &mut Outbox<A>) {
        let probe = self.probe_sent;
        let round_trip = self.round_trip.smoothed();
        let Some(first) = self.flights.front_mut() else { return };
        let wait = round_trip.max(first.patience(to));
        if now.since(first.sent) >= wait && now.since(self.resent) >= wait {
            self.resent = now;
            self.window.on_loss(now, round_trip);
            first.once = false;
            outbox.counts.resent_transfers += 1;
            outbox.send(to.peer.address, first.message(to, self.first_flight, probe));
        }
    }

    fn on_timeout<A>(
        &mut self,
        now: Timestamp,
        to: &Wire<'_>,
        patience: &Patience,
        outbox: &mut Outbox<A>,
    ) {
        if self.retry_at.is_none_or(|at| at > now) {
            return;
        }
        self.attempt = self.attempt.saturating_add(1);
        self.retry_at = None;
        self.probe_sent += 1;
        let probe = Flight { items: Vec::new(), bytes: 0, sent: now, once: false };
        outbox.counts.probes += 1;
        outbox.send(to.peer.address, probe.message(to, 0, self.probe_sent));
        let wait = self.round_trip.timeout(self.resends, to.link.from.0);
        let first = self
            .flights
            .front_mut()
            .filter(|first| now.since(first.sent.max(self.resent)) >= wait.max(first.patience(to)));
        if let Some(first) = first {
            self.resent = now;
            self.resends = self.resends.saturating_add(1);
            self.window.on_loss(now, self.round_trip.smoothed());
            first.once = false;
            outbox.counts.resent_transfers += 1;
            outbox.send(to.peer.address, first.message(to, self.first_flight, self.probe_sent));
        }
        self.arm(now, to, patience);
    }
}

impl Flight {
    /// How long a message that its receiver fetches in pieces is left to it.
    fn patience(&self, to: &Wire<'_>) -> Duration {
        if self.bytes > to.message_bytes() { patience_for(self.bytes) } else { Duration::ZERO }
    }

    fn message(&self, to: &Wire<'_>, sequence: u64, probe: u64) -> Message {
        // The pieces of two sendings fit together only if the bytes are the same.
        let probe = if self.bytes > to.message_bytes() { 0 } else { probe };
        let (link, items) = (to.link, self.items.clone());
        Message::Transfer(Transfer { link, sequence, items, probe })
    }
}

/// The joiner's half of one attempt.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Joining {
    since: ViewId,
    state: JoiningState,
    /// Messages of the stream applied so far.
    sequence: u64,
    /// Highest probe received.
    probe: u64,
    ack_due: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum JoiningState {
    /// Entered with the view; left with the primary's verdict. The former copy is still there.
    Offering { replica: Option<Replica>, attempt: u32, retry_at: Timestamp },
    /// The former copy is wiped, a new one grows.
    Receiving { growing: Growing, early: BTreeMap<u64, Vec<Item>>, early_bytes: usize },
    /// The stream did not fit or ended in another digest. Left with the next view.
    Failed,
    /// The copy is complete and follows.
    Following(Backup),
}

impl Joining {
    /// Begins an attempt with whatever complete copy this server still has.
    #[must_use]
    pub fn new(now: Timestamp, since: ViewId, replica: Option<Replica>) -> Joining {
        let state = JoiningState::Offering { replica, attempt: 0, retry_at: now };
        Joining { since, state, sequence: 0, probe: 0, ack_due: false }
    }

    /// The attempt.
    #[must_use]
    pub fn since(&self) -> ViewId {
        self.since
    }

    /// The complete copy, offered or following: nobody but this attempt may give it up.
    #[must_use]
    pub fn replica(&self) -> Option<&Replica> {
        match &self.state {
            JoiningState::Offering { replica, .. } => replica.as_ref(),
            JoiningState::Following(backup) => Some(backup.replica()),
            JoiningState::Receiving { .. } | JoiningState::Failed => None,
        }
    }

    /// The copy that follows, once it is complete.
    #[must_use]
    pub fn following(&self) -> Option<&Backup> {
        match &self.state {
            JoiningState::Following(backup) => Some(backup),
            JoiningState::Offering { .. }
            | JoiningState::Receiving { .. }
            | JoiningState::Failed => None,
        }
    }

    /// The copy that follows, once it is complete.
    pub fn following_mut(&mut self) -> Option<&mut Backup> {
        match &mut self.state {
            JoiningState::Following(backup) => Some(backup),
            JoiningState::Offering { .. }
            | JoiningState::Receiving { .. }
            | JoiningState::Failed => None,
        }
    }

    /// The complete copy that is left when the attempt is over: with its lineage, or with none if
    /// it is a former one that nobody asked to wipe.
    #[must_use]
    pub fn into_copy(self) -> Option<(Replica, Option<ViewId>)> {
        match self.state {
            JoiningState::Offering { replica, .. } => replica.map(|replica| (replica, None)),
            JoiningState::Following(backup) => Some((backup.into_replica(), Some(self.since))),
            JoiningState::Receiving { .. } | JoiningState::Failed => None,
        }
    }

    /// Keys received so far.
    #[must_use]
    pub fn keys(&self) -> usize {
        match &self.state {
            JoiningState::Offering { .. } | JoiningState::Failed => 0,
            JoiningState::Receiving { growing, .. } => growing.keys(),
            JoiningState::Following(backup) => backup.replica().store().len(),
        }
    }

    /// The primary's verdict about the offered copy.
    pub fn on_verdict(&mut self, keep: bool) {
        let JoiningState::Offering { replica, .. } = &mut self.state else { return };
        self.state = match replica.take() {
            // The tail that was never acknowledged is dropped, and the lineage is the new one.
            Some(replica) if keep => JoiningState::Following(Backup::new(replica, self.since)),
            Some(_) | None => JoiningState::Receiving {
                growing: Growing::default(),
                early: BTreeMap::new(),
                early_bytes: 0,
            },
        };
    }

    /// A part of the stream. Returns whether it was here before.
    pub fn on_transfer(&mut self, transfer: Transfer, limits: &Limits) -> bool {
        let Transfer { sequence, items, probe, .. } = transfer;
        self.probe = self.probe.max(probe);
        self.ack_due = true;
        let next = self.sequence + 1;
        let repeated = sequence > 0 && sequence < next;
        let JoiningState::Receiving { early, early_bytes, .. } = &mut self.state else {
            return repeated;
        };
        if sequence > next {
            let size: usize = items.iter().map(Item::size).sum();
            if sequence - next < EARLY_MESSAGES && *early_bytes + size <= limits.backlog_bytes {
                *early_bytes += size;
                if let Some(same) = early.insert(sequence, items) {
                    *early_bytes -= same.iter().map(Item::size).sum::<usize>();
                    return true;
                }
            }
            return false;
        }
        if sequence == next {
            self.install(items);
            while let JoiningState::Receiving { early, early_bytes, .. } = &mut self.state
                && let Some(items) = early.remove(&(self.sequence + 1))
            {
                *early_bytes -= items.iter().map(Item::size).sum::<usize>();
                self.install(items);
            }
        }
        repeated
    }

    fn install(&mut self, items: Vec<Item>) {
        self.sequence += 1;
        for item in items {
            let JoiningState::Receiving { growing, .. } = &mut self.state else { return };
            match growing.install(item) {
                Ok(None) => {}
                Ok(Some(replica)) => {
                    self.state = JoiningState::Following(Backup::new(replica, self.since));
                }
                Err(_) => self.state = JoiningState::Failed,
            }
        }
    }

    /// Whether something is to be sent at once.
    #[must_use]
    pub fn is_ack_due(&self) -> bool {
        self.ack_due || self.following().is_some_and(Backup::is_ack_due)
    }

    /// When the offer is due again.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        match &self.state {
            JoiningState::Offering { retry_at, .. } => Some(*retry_at),
            JoiningState::Receiving { .. } | JoiningState::Failed | JoiningState::Following(_) => {
                None
            }
        }
    }

    /// Everything that is due, to the primary.
    pub fn flush(&mut self, now: Timestamp, link: Link, timing: &Timing) -> Vec<Message> {
        let mut messages = Vec::new();
        let diverged = matches!(self.state, JoiningState::Failed);
        match &mut self.state {
            JoiningState::Offering { replica, attempt, retry_at } if *retry_at <= now => {
                let copy = replica.as_ref().map(|copy| (copy.applied(), copy.digest()));
                messages.push(Message::Offer(Offer { link, copy, memory_max: None }));
                // As often as pings at first, so that loss alone does not look like a joiner that
                // is not there.
                *retry_at = now + timing.ping_interval() / 4 * (1 << (*attempt / 16).min(4));
                *attempt = attempt.saturating_add(1);
            }
            JoiningState::Following(backup) => {
                messages.extend(backup.take_ack(link).map(Message::Ack));
            }
            JoiningState::Offering { .. }
            | JoiningState::Receiving { .. }
            | JoiningState::Failed => {}
        }
        if std::mem::take(&mut self.ack_due) {
            let (sequence, probe) = (self.sequence, self.probe);
            let ack = TransferAck { link, sequence, probe, diverged };
            messages.push(Message::TransferAck(ack));
        }
        messages
    }
}
