//! The serving primary: numbers operations, commits them when the backup has acknowledged them,
//! applies them at commit, then answers. Reads follow [`super::reads`].
//!
//! Kept here: an operation that was given a number is answered with its result or not at all (D53);
//! what is not acknowledged by the backup of this view is never visible (D22); the primary commits
//! alone only in a view that has no backup, and never leaves a backup out by itself (I4).

use std::net::SocketAddr;
use std::time::Duration;

use tracing::{error, warn};

use crate::config::{Limits, Timing};
use crate::kv::command::Operation;
use crate::kv::replica::Replica;
use crate::protocol::counts::Fate;
use crate::protocol::message::{
    Ack, Ask, FailReason, Link, Offer, Outcome, Report, ReportKind, Request, TransferAck,
};
use crate::protocol::server::Answer;
use crate::protocol::server::intake::{Asker, Intake, Reception, Room, plain_failure};
use crate::protocol::server::plain::PlainRequest;
use crate::protocol::server::reads::{self, Question, Read, Reads};
use crate::protocol::server::replication::{Pipeline, Wire};
use crate::protocol::server::snapshots::{Opened, Snapshots};
use crate::protocol::server::state_transfer::Sender;
use crate::protocol::view::{Member, Record};
use crate::protocol::{Effect, Outbox};
use crate::time::Timestamp;
use crate::types::{Incarnation, OperationNumber, SessionId};

/// Largest answer in the plain form: one datagram.
const PLAIN_ANSWER_BYTES: usize = 60_000;

/// The other copy.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Peer {
    /// Entered when a view leaves the backup or joiner out. Nothing waits for anybody.
    None,
    /// Entered with the view in which a spare joins. It receives the state; nothing waits for it.
    Joining(Member, Box<Sender>),
    /// Entered with the view that names the joiner backup. Every operation needs its
    /// acknowledgement, earlier ones included.
    Backup(Member, Box<Pipeline>),
}

/// What every handler of the primary needs to know.
pub struct Scope<'a> {
    /// This process's clock.
    pub now: Timestamp,
    /// This process.
    pub me: Incarnation,
    /// Bounds.
    pub limits: &'a Limits,
    /// Timing of the cluster.
    pub timing: &'a Timing,
    /// The adopted record.
    pub record: &'a Record,
}

impl Scope<'_> {
    /// The header of a message to another server.
    #[must_use]
    pub fn link(&self, to: &Member) -> Link {
        Link {
            from: self.me,
            to: to.incarnation,
            history: self.record.history,
            view: self.record.view.id,
            since: self.record.view.since,
        }
    }

    fn wire<'a>(&'a self, peer: &'a Member, flip: OperationNumber) -> Wire<'a> {
        Wire { link: self.link(peer), peer, limits: self.limits, timing: self.timing, flip }
    }
}

/// The role.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Primary {
    replica: Replica,
    peer: Peer,
    intake: Intake,
    reads: Reads,
    snapshots: Snapshots,
    /// The last operation that was committed without the present backup.
    flip: OperationNumber,
    /// Reads may be answered without a barrier before this. Bound to the present view.
    lease: Option<Timestamp>,
    /// Bytes that a copy may take at this other server, as it said last.
    peer_memory: Option<(Incarnation, u64)>,
    /// Something has gathered that leaves at the end of the turn.
    flush_due: bool,
}

type Out = Outbox<Answer>;

impl Primary {
    /// Takes over with this copy, alone. Its whole log counts as committed: the former primary may
    /// have acknowledged any of it, and where it stood cannot be known (D45).
    #[must_use]
    pub fn activate(mut replica: Replica) -> Primary {
        while replica.apply_next().is_some() {}
        Primary {
            flip: replica.last(),
            replica,
            peer: Peer::None,
            intake: Intake::default(),
            reads: Reads::default(),
            snapshots: Snapshots::default(),
            lease: None,
            peer_memory: None,
            flush_due: false,
        }
    }

    /// The copy.
    #[must_use]
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// Gives the copy up to another role. Whoever waits gets no answer: their operations may or
    /// may not survive.
    #[must_use]
    pub fn into_replica(self) -> Replica {
        self.replica
    }

    /// The other copy, if there is one.
    #[must_use]
    pub fn peer(&self) -> Option<&Member> {
        match &self.peer {
            Peer::None => None,
            Peer::Joining(member, _) | Peer::Backup(member, _) => Some(member),
        }
    }

    /// Goes on in a newer view, in which this server is still (or now) primary.
    pub fn enter_view(&mut self, scope: &Scope<'_>, outbox: &mut Out) {
        self.lease = None;
        let view = &scope.record.view;
        let former = std::mem::replace(&mut self.peer, Peer::None);
        self.peer = match (&view.backup, &view.joining) {
            (Some(backup), _) => {
                let pipeline = match former {
                    Peer::Backup(same, pipeline) if same.incarnation == backup.incarnation => {
                        Some(*pipeline)
                    }
                    Peer::Joining(same, sender) if same.incarnation == backup.incarnation => {
                        // From here on every operation needs the joiner's acknowledgement. What
                        // was committed alone ends here.
                        self.flip = self.replica.last();
                        sender.into_pipeline()
                    }
                    Peer::Backup(..) | Peer::Joining(..) | Peer::None => {
                        self.flip = self.replica.last();
                        None
                    }
                };
                // A backup of which nothing is known acknowledges from the first operation that is
                // still remembered; if it lacks an earlier one, it stalls and is left out.
                let mut pipeline =
                    pipeline.unwrap_or_else(|| Pipeline::new(scope.now, self.replica.forgotten()));
                pipeline.enter_view(scope.now);
                Peer::Backup(backup.clone(), Box::new(pipeline))
            }
            (None, Some(joining)) => {
                Peer::Joining(joining.clone(), Box::new(Sender::new(scope.now)))
            }
            (None, None) => Peer::None,
        };
        if self.is_alone() {
            for read in self.reads.take_all_unproven() {
                self.answer_proven(scope, read, outbox);
            }
        } else if let Peer::Backup(_, pipeline) = &mut self.peer {
            // Barriers of the view before prove nothing here.
            let barrier = pipeline.draw_barrier(scope.now);
            let waiting = self.reads.take_all_unproven();
            for read in waiting {
                self.reads.add(read);
            }
            self.reads.prove_by(barrier);
        }
        self.flush_due = true;
        self.advance(scope, outbox);
    }

    /// Nobody but this server holds everything, so nobody else can be activated.
    fn is_alone(&self) -> bool {
        match self.peer {
            Peer::None | Peer::Joining(..) => true,
            Peer::Backup(..) => false,
        }
    }

    /// Operations that the other copy lacks, how long the oldest waits, whether a lease is in force,
    /// and how far a transfer has come.
    #[must_use]
    pub fn measures(&self, now: Timestamp) -> (u64, Duration, bool, Option<(usize, usize)>) {
        let lease = self.has_lease(now);
        let of = |pipeline: &Pipeline| (pipeline.lag(&self.replica), pipeline.delay(now));
        let (following, transfer) = match &self.peer {
            Peer::None => (None, None),
            Peer::Joining(_, sender) => (sender.followed(), Some(sender.progress(&self.replica))),
            Peer::Backup(_, pipeline) => (Some(&**pipeline), None),
        };
        let (lag, delay) = following.map_or((0, Duration::ZERO), of);
        (lag, delay, lease, transfer)
    }

    /// Whether the other copy was seen to differ.
    #[must_use]
    pub fn has_diverged(&self) -> bool {
        match &self.peer {
            Peer::Backup(_, pipeline) => pipeline.has_diverged(),
            Peer::None | Peer::Joining(..) => false,
        }
    }

    /// Whether the backup holds everything that is numbered.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        match &self.peer {
            Peer::None => true,
            Peer::Joining(..) => false,
            Peer::Backup(_, pipeline) => pipeline.acked() >= self.flip && !pipeline.has_diverged(),
        }
    }

    /// A lease that began when a pong was sent.
    pub fn grant_lease(&mut self, until: Timestamp) {
        self.lease = self.lease.max(Some(until));
    }

    /// A newer epoch is promised: whoever draws it knows nothing of leases of this one.
    pub fn drop_lease(&mut self) {
        self.lease = None;
    }

    /// What the view server must know.
    #[must_use]
    pub fn reports(&self, scope: &Scope<'_>) -> Vec<Report> {
        let (now, dead_after) = (scope.now, scope.timing.dead_after());
        let (member, kind) = match &self.peer {
            Peer::None => return Vec::new(),
            Peer::Joining(member, sender) => (
                member,
                if sender.has_diverged() {
                    Some(ReportKind::Diverged)
                } else if sender.is_stalled(now, dead_after) {
                    Some(ReportKind::Stalled)
                } else {
                    sender.is_caught_up(&self.replica, scope.limits).then_some(ReportKind::CaughtUp)
                },
            ),
            Peer::Backup(member, pipeline) => (
                member,
                if pipeline.has_diverged() {
                    Some(ReportKind::Diverged)
                } else if pipeline.is_stalled(now, dead_after) {
                    Some(ReportKind::Stalled)
                } else {
                    (pipeline.acked() >= self.flip).then_some(ReportKind::Synced)
                },
            ),
        };
        let view = scope.record.view.id;
        let report = |kind| Report { view, about: member.incarnation, kind };
        kind.map(report).into_iter().collect()
    }

    /// This process was stopped: nobody is called stalled for that.
    pub fn forgive(&mut self, now: Timestamp) {
        match &mut self.peer {
            Peer::None => {}
            Peer::Joining(_, sender) => sender.forgive(now),
            Peer::Backup(_, pipeline) => pipeline.forgive(now),
        }
    }

    /// A request of the client library.
    pub fn on_request(
        &mut self,
        scope: &Scope<'_>,
        from: SocketAddr,
        request: Request,
        outbox: &mut Out,
    ) {
        if self.has_diverged() {
            return;
        }
        self.give_way(scope.now);
        let asker = Asker::of(scope.now, from, &request);
        let view = scope.record.view.id;
        if self.is_busy(scope.limits, &request.ask) {
            asker.tell(scope.now, view, Outcome::Busy, outbox);
            return;
        }
        let reception = match request.ask {
            Ask::Open { nonce } => {
                let (limits, replica) = (scope.limits, &mut self.replica);
                self.intake.on_open(nonce, asker.clone(), view, limits, replica)
            }
            Ask::Write { origin, command } => {
                let room = self.room(scope.limits);
                let (limits, replica) = (scope.limits, &mut self.replica);
                self.intake.on_write(origin, command, asker.clone(), limits, room, replica)
            }
            Ask::Get { key, page: Some(page), .. } => {
                let outcome = reads::later_page(&self.replica, &key, page, scope.limits.page_bytes);
                asker.tell(scope.now, view, outcome, outbox);
                return;
            }
            Ask::Snapshot { cursor: Some(cursor), .. } => {
                let (now, client, limits) = (scope.now, request.client, scope.limits);
                let outcome = self.snapshots.go_on(now, client, &cursor, &self.replica, limits);
                asker.tell(scope.now, view, outcome, outbox);
                return;
            }
            ref ask @ (Ask::Get { page: None, .. }
            | Ask::Len { .. }
            | Ask::Keys { .. }
            | Ask::Mget { .. }
            | Ask::Snapshot { cursor: None, .. }) => {
                let read = Read::of(asker, ask).filter(|read| read.question.fits(scope.limits));
                let Some(read) = read else { return };
                // A snapshot is begun only once: it does not begin with an answer that may come back.
                let can_come_back = read.question != Question::Snapshot;
                if can_come_back
                    && self.has_lease(scope.now)
                    && !reads::is_behind(&self.replica, read.after)
                {
                    self.answer_under_lease(scope, &read, request, outbox);
                } else {
                    self.on_read(scope, read, outbox);
                }
                return;
            }
        };
        match reception {
            Reception::Waits => {}
            Reception::Repeated => outbox.counts.repeated_requests += 1,
            Reception::Answered(outcome) => {
                outbox.counts.repeated_requests += 1;
                let (to, message) = asker.answer(view, outcome);
                outbox.send(to, message);
            }
            Reception::UnknownSession if self.reads.is_full(scope.limits) => {
                asker.tell(scope.now, view, Outcome::Busy, outbox);
            }
            Reception::UnknownSession => {
                let read = Read { asker, question: Question::Expired, after: None };
                self.on_read(scope, read, outbox);
            }
        }
        self.after_intake(scope, outbox);
    }

    /// A request in the plain form: executed once for the datagram it came in.
    pub fn on_plain(&mut self, scope: &Scope<'_>, request: PlainRequest, outbox: &mut Out) {
        if self.has_diverged() {
            return;
        }
        self.give_way(scope.now);
        let view = scope.record.view.id;
        let full = match &request {
            PlainRequest::Write(..) => self.is_full(scope.limits),
            PlainRequest::Read(..) => self.reads.is_full(scope.limits),
        };
        match request {
            PlainRequest::Write(_, asker) | PlainRequest::Read(_, asker) if full => {
                asker.tell(scope.now, view, Outcome::Busy, outbox);
            }
            PlainRequest::Write(command, asker)
                if !self.room(scope.limits).has(&command, &self.replica) =>
            {
                asker.tell(scope.now, view, Outcome::OutOfMemory, outbox);
            }
            PlainRequest::Write(command, asker) => {
                self.intake.on_plain(command, asker, &mut self.replica);
                self.after_intake(scope, outbox);
            }
            PlainRequest::Read(question, asker) => {
                self.on_read(scope, Read { asker, question, after: None }, outbox);
            }
        }
    }

    /// Clients come before a transfer.
    fn give_way(&mut self, now: Timestamp) {
        if let Peer::Joining(_, sender) = &mut self.peer {
            sender.on_asked(now);
        }
    }

    fn after_intake(&mut self, scope: &Scope<'_>, outbox: &mut Out) {
        self.flush_due = true;
        if self.is_alone() {
            self.advance(scope, outbox);
        }
    }

    fn is_busy(&self, limits: &Limits, ask: &Ask) -> bool {
        match ask {
            Ask::Open { .. } | Ask::Write { .. } => self.is_full(limits),
            Ask::Get { .. }
            | Ask::Len { .. }
            | Ask::Keys { .. }
            | Ask::Mget { .. }
            | Ask::Snapshot { .. } => self.reads.is_full(limits),
        }
    }

    /// Memory that the copy may take, here and at whoever follows or is about to.
    #[must_use]
    pub fn room(&self, limits: &Limits) -> Room {
        let peer = self.peer().map(|peer| peer.incarnation);
        let theirs = self.peer_memory.filter(|(of, _)| Some(*of) == peer);
        let theirs = theirs.map(|(_, bytes)| usize::try_from(bytes).unwrap_or(usize::MAX));
        let limit = limits.memory_bytes.into_iter().chain(theirs).min();
        Room { limit, besides: self.snapshots.bytes() }
    }

    /// Whether so much waits for the other copy that new writes are turned away for a moment.
    fn is_full(&self, limits: &Limits) -> bool {
        match &self.peer {
            Peer::None => false,
            Peer::Joining(_, sender) => sender.is_full(&self.replica, limits),
            Peer::Backup(_, pipeline) => {
                pipeline.lag(&self.replica) >= limits.pending_operations as u64
                    || self.replica.log_bytes() > limits.history_bytes + limits.backlog_bytes
            }
        }
    }

    fn on_read(&mut self, scope: &Scope<'_>, read: Read, outbox: &mut Out) {
        if self.is_alone() {
            self.answer_proven(scope, read, outbox);
        } else {
            self.reads.add(read);
            self.flush_due = true;
        }
    }

    fn has_lease(&self, now: Timestamp) -> bool {
        !self.is_alone() && self.lease.is_some_and(|until| now < until)
    }

    fn answer_under_lease(
        &self,
        scope: &Scope<'_>,
        read: &Read,
        request: Request,
        outbox: &mut Out,
    ) {
        let Some(before) = self.lease else { return };
        let outcome = reads::evaluate(&self.replica, read, scope.limits.page_bytes);
        // One that comes back because the lease ended is counted again.
        outbox.counts.answer(scope.now, read.asker.arrival(), (&outcome).into());
        let (to, message) = read.asker.answer(scope.record.view.id, outcome);
        let request = Box::new(request);
        outbox.push(Effect::SendBefore { before, to, message, request });
    }

    /// Answers a question that is proven, unless earlier writes of its session are missing.
    fn answer_proven(&mut self, scope: &Scope<'_>, read: Read, outbox: &mut Out) {
        if let Some((session, _)) = read.after
            && reads::is_behind(&self.replica, read.after)
        {
            self.reads.add_behind(session, read, scope.limits);
            return;
        }
        let view = scope.record.view.id;
        if let (Asker::Plain { to, .. }, Question::Get(key)) = (&read.asker, &read.question) {
            let list = self.replica.store().get(key);
            if list.is_some_and(|list| !reads::fits_plain(key, list, PLAIN_ANSWER_BYTES)) {
                let detail = Some("the list does not fit a datagram; use the client".to_owned());
                outbox.counts.answer(scope.now, read.asker.arrival(), Fate::Refused);
                outbox.send(*to, plain_failure(FailReason::TooLarge, view, detail));
                return;
            }
        }
        if let (Asker::Client { client, id, .. }, Question::Snapshot) =
            (&read.asker, &read.question)
            && read.after.is_none_or(|(session, _)| self.replica.sessions().get(session).is_some())
        {
            let (now, limits) = (scope.now, scope.limits);
            let opened = Opened { client: *client, open: *id, view };
            let outcome = self.snapshots.begin(now, opened, &self.replica, limits);
            read.asker.tell(scope.now, view, outcome, outbox);
            return;
        }
        let page_bytes = match read.asker {
            Asker::Client { .. } => scope.limits.page_bytes,
            Asker::Plain { .. } => usize::MAX,
        };
        let outcome = reads::evaluate(&self.replica, &read, page_bytes);
        read.asker.tell(scope.now, view, outcome, outbox);
    }

    /// Commits, applies and answers everything that may be.
    fn advance(&mut self, scope: &Scope<'_>, outbox: &mut Out) {
        let committed = match &self.peer {
            Peer::None | Peer::Joining(..) => self.replica.last(),
            Peer::Backup(_, pipeline) => pipeline.acked(),
        };
        let answers = self.apply_up_to(committed, scope.limits);
        self.answer_applied(scope, answers, outbox);
    }

    fn apply_up_to(&mut self, committed: OperationNumber, limits: &Limits) -> Vec<AppliedAnswer> {
        let mut answers = Vec::new();
        while self.replica.applied() < committed {
            if self.snapshots.is_open()
                && let Some(Operation::Write { command, .. }) =
                    self.replica.operation(self.replica.applied().next())
            {
                self.snapshots.before(command, &self.replica, limits);
            }
            let Some(applied) = self.replica.apply_next() else { break };
            if let Peer::Joining(_, sender) = &mut self.peer {
                sender.on_applied(&applied, &self.replica);
            }
            let session = match &applied.operation {
                Operation::Write { origin, .. } => origin.map(|origin| origin.session),
                Operation::Open { .. } => None,
            };
            let answer = self.intake.on_applied(&applied);
            answers.push(AppliedAnswer { answer, session, evicted: applied.evicted });
        }
        answers
    }

    fn answer_applied(&mut self, scope: &Scope<'_>, answers: Vec<AppliedAnswer>, outbox: &mut Out) {
        for AppliedAnswer { answer, session, evicted } in answers {
            if let Some((asker, outcome)) = answer {
                asker.tell(scope.now, scope.record.view.id, outcome, outbox);
            }
            for session in evicted.into_iter().chain(session) {
                for read in self.reads.take_behind(session) {
                    self.answer_proven(scope, read, outbox);
                }
            }
        }
        self.trim(scope.limits);
    }

    /// Forgets what nobody needs any more. Also when only the joiner has made progress: new writes
    /// are turned away while the log is long, so they cannot be what shortens it.
    fn trim(&mut self, limits: &Limits) {
        let needed = match &self.peer {
            Peer::None => self.replica.applied(),
            Peer::Joining(_, sender) => sender.holds(&self.replica),
            Peer::Backup(_, pipeline) => pipeline.acked(),
        };
        self.replica.trim(needed.next(), limits.history_operations, limits.history_bytes);
    }

    /// An acknowledgement whose link was checked against the adopted view.
    pub fn on_ack(&mut self, scope: &Scope<'_>, ack: &Ack, outbox: &mut Out) {
        let flip = self.flip;
        match &mut self.peer {
            Peer::Backup(member, pipeline) if member.incarnation == ack.link.from => {
                if pipeline.has_diverged() {
                    return;
                }
                self.peer_memory = ack.memory_max.map(|bytes| (ack.link.from, bytes));
                let wire = scope.wire(member, flip);
                pipeline.on_ack(scope.now, ack, &self.replica, &wire, outbox);
                if pipeline.has_diverged() {
                    return self.shout(ack);
                }
                let (acked, confirmed) = (pipeline.acked(), pipeline.confirmed());
                let answers = self.apply_up_to(acked, scope.limits);
                // The proof that both copies are identical, with every acknowledgement: answers
                // leave only after it.
                if let Peer::Backup(_, pipeline) = &mut self.peer
                    && pipeline.compare(ack, &self.replica)
                {
                    return self.shout(ack);
                }
                self.answer_applied(scope, answers, outbox);
                for read in self.reads.take_proven(confirmed) {
                    self.answer_proven(scope, read, outbox);
                }
                self.flush_due = true;
            }
            Peer::Joining(member, sender) if member.incarnation == ack.link.from => {
                let Some(pipeline) = sender.pipeline() else { return };
                self.peer_memory = ack.memory_max.map(|bytes| (ack.link.from, bytes));
                let wire = scope.wire(member, flip);
                pipeline.on_ack(scope.now, ack, &self.replica, &wire, outbox);
                if pipeline.compare(ack, &self.replica) {
                    return self.shout(ack);
                }
                self.flush_due = true;
                self.trim(scope.limits);
            }
            Peer::None | Peer::Joining(..) | Peer::Backup(..) => {}
        }
    }

    fn shout(&self, ack: &Ack) {
        error!(
            event = "copies_differ",
            operation = %ack.applied,
            theirs = ack.digest,
            ours = ?self.replica.digest_at(ack.applied),
            "the other copy differs from ours at the same operation; it must be replaced"
        );
    }

    /// An offer whose link was checked against the adopted view.
    pub fn on_offer(&mut self, scope: &Scope<'_>, offer: &Offer, outbox: &mut Out) {
        let flip = self.flip;
        let taken = self.replica.memory();
        if let Peer::Joining(member, sender) = &mut self.peer
            && member.incarnation == offer.link.from
        {
            if offer.memory_max.is_some_and(|most| most < taken as u64) && sender.turn_away() {
                warn!(
                    event = "joiner_too_small",
                    joiner = %member,
                    bytes = taken,
                    limit = offer.memory_max,
                    "{member} may take less memory (--max-memory) than the data does, and cannot \
                     join; raise its limit, or remove something"
                );
            }
            if sender.is_turned_away() {
                return;
            }
            self.peer_memory = offer.memory_max.map(|bytes| (offer.link.from, bytes));
            let wire = scope.wire(member, flip);
            sender.on_offer(scope.now, offer, &self.replica, &wire, outbox);
            self.flush_due = true;
        }
    }

    /// A transfer acknowledgement whose link was checked against the adopted view.
    pub fn on_transfer_ack(&mut self, scope: &Scope<'_>, ack: &TransferAck, outbox: &mut Out) {
        let flip = self.flip;
        if let Peer::Joining(member, sender) = &mut self.peer
            && member.incarnation == ack.link.from
        {
            sender.on_transfer_ack(scope.now, ack, &scope.wire(member, flip), outbox);
            self.flush_due = true;
        }
    }

    /// Whether something leaves at the end of the turn.
    #[must_use]
    pub fn is_flush_due(&self) -> bool {
        self.flush_due
    }

    /// When to call [`Primary::on_timeout`] for what was not acknowledged.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        match &self.peer {
            Peer::None => None,
            Peer::Joining(_, sender) => sender.poll_timeout(),
            Peer::Backup(_, pipeline) => pipeline.poll_timeout(),
        }
    }

    /// Sends what has gathered, and again what was not acknowledged in time.
    pub fn on_timeout(&mut self, scope: &Scope<'_>, outbox: &mut Out) {
        let flip = self.flip;
        let flush = std::mem::take(&mut self.flush_due);
        self.snapshots.on_timeout(scope.now);
        match &mut self.peer {
            Peer::None => {}
            Peer::Joining(member, sender) => {
                let wire = scope.wire(member, flip);
                sender.on_timeout(scope.now, &self.replica, &wire, outbox);
                if flush {
                    sender.flush(scope.now, &self.replica, &wire, outbox);
                }
            }
            Peer::Backup(member, pipeline) => {
                let wire = scope.wire(member, flip);
                pipeline.on_timeout(scope.now, &self.replica, &wire, outbox);
                if flush {
                    if self.reads.needs_barrier() {
                        let barrier = pipeline.draw_barrier(scope.now);
                        self.reads.prove_by(barrier);
                    }
                    pipeline.flush(scope.now, &self.replica, &wire, outbox);
                }
            }
        }
    }
}

struct AppliedAnswer {
    answer: Option<(Asker, Outcome)>,
    /// Its session, whose reads may go on; so may those of the sessions that it evicted.
    session: Option<SessionId>,
    evicted: Vec<SessionId>,
}
