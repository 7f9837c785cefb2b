//! The view server: decides who is primary, who is backup and who joins.
//!
//! Kept here: what is not durable is never visible (I13: every message that shows a record follows
//! its [`Effect::Persist`]); view ids only rise (I5); a primary comes from the eligible set of the
//! view before (I6); a backup is removed durably before the primary may acknowledge without it
//! (I4). It decides nothing while it listens after a start, and after a pause of its own it hears
//! everybody again before it judges anyone.
//!
//! Reading order: `roster` (who is alive), `judge` (what to do next), `recovery` (without a
//! record), `superseded`, `handover` and `reset` (what the operator asks for), then this file, which carries it
//! out; `queries`, `changes`, `explain`, `notices` and `telling` (what others are told). The
//! counterpart of its pings is `protocol::server::membership`.

mod changes;
mod explain;
mod handover;
mod judge;
mod notices;
mod queries;
mod recovery;
mod reset;
mod roster;
mod superseded;
mod telling;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};

use crate::config::{Timing, lease_wait};
use crate::protocol::counts::Cause;
use crate::protocol::message::{Message, Ping, Pong, Refused, ReportKind};
use crate::protocol::sources::Sources;
use crate::protocol::view::{Member, Micros, Phase, Record, Shown};
use crate::protocol::view_server::changes::Changes;
use crate::protocol::view_server::handover::Handover;
use crate::protocol::view_server::judge::Step;
use crate::protocol::view_server::notices::Notices;
use crate::protocol::view_server::queries::{Asker, Query};
use crate::protocol::view_server::recovery::{Recovery, Reported};
use crate::protocol::view_server::roster::{Heard, Nonce, Roster};
use crate::protocol::{Effect, Outbox, Process};
use crate::time::Timestamp;
use crate::types::{COUNT_MAX, CallId, Epoch, Incarnation, ServerId};

pub use changes::{CHANGES, ViewChange};

/// What stands in the view server's state file.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct DurableRecord {
    /// The newest record.
    pub record: Record,
    /// Advertised addresses of all known servers.
    pub addresses: BTreeMap<ServerId, SocketAddr>,
    /// Processes that the operator has drained: they do not join. Lost with the record.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub drained: BTreeMap<ServerId, Incarnation>,
}

/// Between two lines in the log about refused processes.
const REFUSALS_SAID_EVERY: Duration = Duration::from_secs(1);

/// How a view server is set up.
#[derive(Clone, Debug)]
pub struct ViewServerConfig {
    /// Random bits drawn at process start.
    pub incarnation: Incarnation,
    /// Timing of the cluster.
    pub timing: Timing,
    /// Servers of the hosts file, if there is one.
    pub hosts: BTreeMap<ServerId, SocketAddr>,
    /// From where the answers of servers count.
    pub sources: Sources,
}

/// What can be asked at the view server's own terminal.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Command {
    /// Who is primary and backup now? Answered when each has been heard from or replaced.
    View,
    /// Everything the view server knows of the servers.
    Status,
    /// The last view changes, with the reason of each.
    History,
    /// Let the backup become primary, without a failure; with an id, only if that is the backup.
    /// Answered when the former primary is backup again, or when that takes long.
    Switchover(Option<ServerId>),
    /// Why does the view server do what it does, or nothing?
    Explain,
    /// Take a server out of service; with `force` also if that leaves a single copy for a while.
    Drain {
        /// Which.
        id: ServerId,
        /// A single copy is accepted.
        force: bool,
    },
    /// Let a drained server join again.
    Undrain(ServerId),
    /// What would `Reset` do? Changes nothing.
    PrepareReset,
    /// Give up all data and begin an empty history.
    Reset,
    /// What is measured of the present.
    Measure,
}

/// The answer to a [`Command`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Answer {
    /// To `View`.
    View(Shown),
    /// To `Status`.
    Status(Status),
    /// To `History`: how long ago each change was, and the change; the oldest first.
    History(Vec<(Duration, ViewChange)>),
    /// To `Switchover`: who serves now. Without a backup, it says what that waits for.
    SwitchedOver(Shown),
    /// To `Switchover`: the primary is the same as before, and why; what would help.
    SwitchoverRefused(String),
    /// To `Explain`: sentences, a line each.
    Explained(Vec<String>),
    /// To `Drain` and `Undrain`: what is so now.
    Drained(String),
    /// To `Drain`: why not, and what would help.
    DrainRefused(String),
    /// To `Undrain`: there is nothing to undo.
    UndrainRefused(String),
    /// To `PrepareReset`: what would be lost and who may still hold it; ask for confirmation.
    ResetPrepared(String),
    /// To `PrepareReset` and `Reset`: not allowed, and why.
    ResetRefused(String),
    /// To `Reset`: a new epoch has begun.
    ResetDone(String),
    /// To `Measure`.
    Measures(Box<Measures>),
}

/// What is measured of a view server at one moment. What has happened up to then is in
/// [`Outbox::counts`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Measures {
    /// What `status` shows.
    pub status: Status,
    /// How far the newest record has come; none while it recovers.
    pub phase: Option<Phase>,
    /// It listens after a start or a pause, and judges nobody yet.
    pub listens: bool,
}

/// What `status` shows.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Status {
    /// The view as shown to clients; holds the view number and what is waited for.
    pub shown: Shown,
    /// One entry a known server, in order of their ids.
    pub servers: Vec<ServerStatus>,
}

/// One line of `status`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ServerStatus {
    /// Name.
    pub id: ServerId,
    /// `primary`, `backup`, `joining`, `spare`, `drained`; `proposed primary` during a promotion.
    pub role: String,
    /// Heard from within dead-after.
    pub alive: bool,
    /// Since the last pong; none if it was never heard from.
    pub silent: Option<Duration>,
    /// Process, if known.
    pub incarnation: Option<Incarnation>,
    /// Where it is reached.
    pub address: SocketAddr,
    /// It holds every acknowledged operation.
    pub synced: bool,
}

/// A member that may have to be left out, once the primary has shown that it is alive itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Suspicion {
    of: Incarnation,
    /// Only an answer to a ping sent after this one counts.
    after: Nonce,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Mode {
    /// Entered at a start without a record, and when a server knows a newer one; left when the
    /// state is known for certain, or certain to be empty.
    Recovering(Recovery),
    /// The record says everything.
    Running(Record),
}

/// The process.
#[derive(Clone, Debug)]
pub struct ViewServer {
    config: ViewServerConfig,
    mode: Mode,
    roster: Roster,
    /// Nobody is judged before this.
    listens_until: Timestamp,
    /// When anything happened last: a gap shows that this process was stopped.
    last_event: Timestamp,
    suspicion: Option<Suspicion>,
    /// Arrival of the newest pong that was echoed to the primary as a lease, or the start: leases
    /// granted before are over `lease_wait` after this.
    leased: Timestamp,
    /// The lease that stood in the record at the start, which may be longer than ours.
    former_lease: Duration,
    started: Timestamp,
    /// The newest ping when this process was last stopped: an answer to an earlier one says nothing
    /// about who is alive now.
    paused_after: Nonce,
    /// Whether this process has recorded anything: from then on a newer record elsewhere means
    /// that another view server has taken over.
    has_decided: bool,
    /// For people; decides nothing.
    changes: Changes,
    /// The same.
    notices: Notices,
    queries: Vec<Query>,
    /// What the operator has asked for and is not answered yet.
    handover: Option<Handover>,
    /// When a refusal was last told to people.
    refusal_said: Option<Timestamp>,
    /// Durable. Names the process: another one with the same id is not meant.
    drained: BTreeMap<ServerId, Incarnation>,
    /// Messages were taken in since anything was decided. What arrives together is judged
    /// together: the first of two pongs must not look like the only one.
    decision_due: bool,
}

impl ViewServer {
    /// A view server that starts at `now`, with its durable record if it has one.
    #[must_use]
    pub fn new(now: Timestamp, config: ViewServerConfig, durable: Option<DurableRecord>) -> Self {
        let timing = config.timing;
        let mut roster = Roster::default();
        for (id, address) in &config.hosts {
            roster.expect(now, id.clone(), *address);
        }
        let (mut changes, mut drained) = (Changes::default(), BTreeMap::new());
        let (mode, listens_until, former_lease) = match durable {
            Some(DurableRecord { record, addresses, drained: kept }) => {
                drained = kept;
                changes.note(now, &record, "found in the record when the view server started");
                for (id, address) in addresses {
                    roster.expect(now, id, address);
                }
                for member in record.members() {
                    roster.recall(now, member);
                }
                let lease = Duration::from(record.lease);
                (Mode::Running(record), now + timing.dead_after(), lease)
            }
            None => {
                // Servers announce themselves at least twice in dead-after when they hear nothing.
                // Listening for two such periods, even one of them that was just about to notice
                // the silence of a former view server is heard before a history begins anew.
                let recovery = Recovery::new(Epoch(1, config.incarnation.0), None);
                (Mode::Recovering(recovery), now + timing.dead_after() * 2, timing.lease())
            }
        };
        ViewServer {
            config,
            mode,
            roster,
            listens_until,
            last_event: now,
            suspicion: None,
            leased: now,
            former_lease,
            started: now,
            paused_after: 0,
            has_decided: false,
            changes,
            notices: Notices::default(),
            queries: Vec::new(),
            handover: None,
            refusal_said: None,
            drained,
            decision_due: false,
        }
    }

    /// The newest record; none before the first one is known.
    #[must_use]
    pub fn record(&self) -> Option<&Record> {
        match &self.mode {
            Mode::Recovering(_) => None,
            Mode::Running(record) => Some(record),
        }
    }

    /// The last view changes, oldest first: [`CHANGES`] of them at most.
    pub fn view_changes(&self) -> impl DoubleEndedIterator<Item = &ViewChange> + ExactSizeIterator {
        self.changes.iter()
    }

    fn timing(&self) -> &Timing {
        &self.config.timing
    }

    /// Called first by every handler.
    fn begin_turn(&mut self, now: Timestamp) {
        if now.since(self.last_event) > self.timing().pause_gap() {
            // 1. this process is stopped .. 2. it goes on, and every timer is due before a single
            // pong has been read from the socket .. 3. everybody alive would be judged dead (D33).
            self.roster.forgive(self.last_event, now, &self.config.timing);
            self.paused_after = self.roster.last_nonce();
            // 1. a backup falls silent, and the primary is asked .. 2. this process is stopped ..
            // 3. the primary answers and dies .. 4. this process goes on and gives the backup the
            // full time again .. 5. that answer would be taken for one that came after it (D52).
            self.suspicion = None;
            self.listens_until = self.listens_until.max(now + self.timing().pause_gap());
            // Who was forgiven has not answered: nobody is told so before it was judged again.
            let until = self.query_end(now);
            for query in &mut self.queries {
                query.until = query.until.max(until);
            }
            self.resume_handover(now);
        }
        self.last_event = now;
    }

    /// Called when everything that arrived together has been handled.
    fn end_turn(&mut self, now: Timestamp, outbox: &mut Outbox<Answer>) {
        self.decision_due = false;
        self.roster.settle(now, &self.config.timing);
        if self.roster.take_moved() {
            self.persist(outbox);
        }
        for (to, address, holder) in self.roster.take_refused() {
            if self.is_needed(to) {
                // A refused process ends itself, and this one may be the last copy.
                continue;
            }
            outbox.counts.refused_servers += 1;
            // Whoever announces ever others does not fill the disk with it.
            if self.refusal_said.is_none_or(|said| now.since(said) >= REFUSALS_SAID_EVERY) {
                self.refusal_said = Some(now);
                warn!(event = "server_refused", %address, %holder, "refused a second process with an id that is in use");
            }
            outbox.send(address, Message::Refused(Refused { to, holder }));
        }
        // A step may make the next one possible; a view needs no more than a few.
        for _ in 0..8 {
            let Ok(step) = self.next_step(now) else { break };
            self.take(now, step, outbox);
        }
        self.end_handover(now, outbox);
        for (address, to, nonce) in self.roster.due_pings(now, &self.config.timing) {
            let ping = self.ping(to, nonce);
            outbox.counts.pings += 1;
            outbox.send(address, Message::Ping(Box::new(ping)));
        }
        self.hasten_handover(now);
        self.answer_queries(now, outbox);
        self.notice(now);
    }

    fn ping(&mut self, to: Option<Incarnation>, nonce: Nonce) -> Ping {
        let grants_lease = self.grant_lease(to);
        let (record, promise) = match &self.mode {
            Mode::Running(record) => (Some(record.clone()), None),
            Mode::Recovering(recovery) => (None, Some(recovery.epoch())),
        };
        let heard = to.and_then(|to| self.roster.newest_token(to));
        let (from, timing) = (self.config.incarnation, self.config.timing);
        let superseded = false;
        Ping { from, to, nonce, timing, record, promise, heard, grants_lease, superseded }
    }

    /// Grants the primary a lease from when it sent its newest pong. Never once a change of primary
    /// is decided: else one that came back would hold up the change for ever (D57).
    fn grant_lease(&mut self, to: Option<Incarnation>) -> bool {
        let Mode::Running(record) = &self.mode else { return false };
        let serves = record.phase == Phase::Active || record.keeps_primary();
        let lease = self.config.timing.lease();
        if lease.is_zero()
            || Duration::from(record.lease) < lease
            || !serves
            || to != Some(record.view.primary.incarnation)
        {
            return false;
        }
        let known = self.roster.known(&record.view.primary).filter(|known| known.answered > 0);
        if let Some(known) = known {
            self.leased = self.leased.max(known.heard);
        }
        known.is_some()
    }

    /// The longest lease that may be in force after a record written now.
    fn lease_to_record(&self, now: Timestamp) -> Micros {
        let ours = self.timing().lease();
        let former_is_over = now >= self.started + lease_wait(self.former_lease);
        Micros::from(if former_is_over { ours } else { ours.max(self.former_lease) })
    }

    /// Whether no primary but the one now named can hold a lease.
    fn lease_is_over(&self, now: Timestamp, record: &Record) -> bool {
        let Some(last) = &record.last_primary else { return true };
        let lease = Duration::from(record.lease);
        let stepped_down = || {
            let adopted = self.roster.known(last).and_then(|known| known.adopted);
            adopted.is_some_and(|adopted| adopted >= record.stamp())
        };
        lease.is_zero() || now >= self.lease_end(record) || stepped_down()
    }

    fn lease_end(&self, record: &Record) -> Timestamp {
        self.leased + lease_wait(Duration::from(record.lease))
    }

    /// Makes a record the newest one: durable first, then visible.
    fn enact(
        &mut self,
        record: Record,
        (cause, reason): (Cause, &str),
        now: Timestamp,
        outbox: &mut Outbox<Answer>,
    ) {
        let former = self.record().map(Record::stamp);
        assert!(former < Some(record.stamp()), "records only rise");
        outbox.counts.change(cause);
        let name = |member: &Option<Member>| {
            member.as_ref().map_or_else(|| "none".to_owned(), |member| member.id.to_string())
        };
        // A view changes once, when its number is drawn. That a proposed one comes into force
        // later is another event.
        let old_view = former.map(|former| former.view);
        let is_new = old_view != Some(record.view.id);
        info!(
            event = if is_new { "view_change" } else { "view_active" },
            old_view = %old_view.unwrap_or_default(),
            new_view = %record.view.id,
            reason = cause.word(),
            phase = ?record.phase,
            primary = %record.view.primary,
            backup = name(&record.view.backup),
            joining = name(&record.view.joining),
            "view change: {reason}"
        );
        self.roster.ping_soon(now, Some(&record));
        if let Mode::Running(former) = &self.mode {
            // Who is left out is told at once, too: a deposed primary can name its successor then.
            self.roster.ping_soon(now, Some(former));
        }
        if let (Phase::Active, Some(backup)) = (record.phase, &record.view.backup) {
            self.roster.undamp(backup);
        }
        self.changes.note(now, &record, reason);
        self.mode = Mode::Running(record);
        self.suspicion = None;
        self.has_decided = true;
        self.persist(outbox);
    }

    fn persist(&self, outbox: &mut Outbox<Answer>) {
        if let Mode::Running(record) = &self.mode {
            let addresses = self.roster.addresses();
            let (record, drained) = (record.clone(), self.drained.clone());
            let durable = DurableRecord { record, addresses, drained };
            outbox.push(Effect::Persist(Box::new(durable)));
        }
    }

    /// Carries out a step.
    fn take(&mut self, now: Timestamp, step: Step, outbox: &mut Outbox<Answer>) {
        let (mut next, cause, reason) = match (step, &self.mode) {
            (Step::Recover(record, reason), Mode::Recovering(_)) => {
                // Until its primary promised, a former view server may have granted it leases.
                self.former_lease = self.former_lease.max(record.lease.into());
                self.started = now;
                self.leased = now;
                let cause = if record.view.genesis { Cause::Began } else { Cause::Recovered };
                (*record, cause, reason)
            }
            (Step::Suspect(of), Mode::Running(record)) => {
                self.suspicion = Some(Suspicion { of, after: self.roster.last_nonce() });
                self.roster.ping_soon(now, Some(record));
                return;
            }
            (Step::Absolve, _) => {
                self.suspicion = None;
                return;
            }
            (Step::Change(change), Mode::Running(record)) => {
                if let Some(failed) = &change.failed_join {
                    self.roster.damp(now, failed, &self.config.timing);
                }
                (change.apply(record), change.cause(record), change.reason)
            }
            (Step::RecordLease, Mode::Running(_)) => {
                let lease = self.lease_to_record(now);
                if let Mode::Running(record) = &mut self.mode {
                    record.lease = lease;
                }
                self.persist(outbox);
                return;
            }
            (
                Step::Recover(..) | Step::Suspect(_) | Step::Change(_) | Step::RecordLease,
                Mode::Running(_) | Mode::Recovering(_),
            ) => {
                unreachable!("a step belongs to the mode that it was found in")
            }
        };
        next.lease = next.lease.max(self.lease_to_record(now));
        if now >= self.started + lease_wait(self.former_lease) {
            next.lease = self.lease_to_record(now);
        }
        self.enact(next, (cause, &reason), now, outbox);
    }

    fn on_pong(
        &mut self,
        now: Timestamp,
        address: SocketAddr,
        mut pong: Pong,
        outbox: &mut Outbox<Answer>,
    ) {
        if pong.to != self.config.incarnation {
            return;
        }
        let is_strange = match self.config.sources {
            Sources::Any => false,
            Sources::Known => !self.roster.was_pinged(&pong, address),
        };
        // Nothing could be drawn above such an epoch: somebody would wait for it for ever.
        if is_strange || pong.promised.0 >= COUNT_MAX {
            outbox.counts.strange_messages += 1;
            return;
        }
        let (from, promised, adopted) = (pong.from, pong.promised, pong.adopted);
        let (history, holds_copy) = (pong.history, pong.holds_copy);
        let id = pong.id.clone();
        let record = pong.record.take();
        let (at, token) = (pong.address.unwrap_or(address), pong.token);
        match self.roster.on_pong(now, &self.config.timing, pong) {
            Heard::Nothing => {
                outbox.counts.stray_pongs += 1;
                return;
            }
            Heard::Superseded => return self.tell_superseded(at, from, token, adopted, outbox),
            Heard::Known | Heard::Challenger => outbox.counts.pongs += 1,
        }
        match &mut self.mode {
            Mode::Recovering(recovery) => {
                // The answer to a ping that asked for no promise carries no report. It must not
                // stand for the report of a server that knows nothing: 1. a ping with our outdated
                // record is delayed .. 2. the server promises and reports .. 3. it answers the
                // delayed ping, and what it reported would be forgotten.
                let is_report = adopted == record.as_ref().map(Record::stamp);
                let reported = Reported { id, record, holds_copy };
                if is_report && recovery.on_report(from, promised, reported) {
                    self.roster.ping_soon(now, None);
                }
            }
            Mode::Running(own) => {
                let newer = adopted.is_some_and(|adopted| adopted > own.stamp());
                // Without a copy, a server that no record rests on gets rid of a promise to nobody
                // by itself (its `Membership`). To recover for its sake could cost the service:
                // 1. a spare promised to somebody who is gone .. 2. the primary dies .. 3. we hear
                // of the promise, and wait for the primary's report instead of promoting.
                let outbid = promised > own.view.id.epoch && (holds_copy || own.rests_on(from));
                if history.is_none_or(|it| it == own.history) && (newer || outbid) {
                    self.overtaken(now, promised, newer, outbox);
                }
            }
        }
    }

    /// A server knows more than the record says, or has promised not to follow it (maybe to a view
    /// server that is gone): the record counts as lost, unless another view server decides now.
    fn overtaken(
        &mut self,
        now: Timestamp,
        promised: Epoch,
        newer: bool,
        outbox: &mut Outbox<Answer>,
    ) {
        let Mode::Running(record) = &self.mode else { return };
        if self.has_decided && newer {
            let text = "another view server has taken over this cluster (a server follows a \
                        newer record than ours); stop one of the two";
            error!(event = "superseded", "{text}");
            outbox.push(Effect::Stop(text.to_owned()));
            return;
        }
        warn!(event = "record_outdated", view = %record.view.id, "the record is older than what a server knows: recovering");
        let counter = promised.0.max(record.view.id.epoch.0) + 1;
        let epoch = Epoch(counter, self.config.incarnation.0);
        self.mode = Mode::Recovering(Recovery::new(epoch, Some(record.clone())));
        self.suspicion = None;
        self.listens_until = now + self.timing().dead_after() * 2;
        self.roster.ping_soon(now, None);
    }

    /// Whether the service may have to wait for this very process.
    fn is_needed(&self, incarnation: Incarnation) -> bool {
        match &self.mode {
            Mode::Running(record) => record.is_eligible(incarnation),
            Mode::Recovering(recovery) => recovery.awaits(incarnation),
        }
    }
}

impl Process for ViewServer {
    type Command = Command;
    type Answer = Answer;

    fn handle_message(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        message: Message,
        outbox: &mut Outbox<Answer>,
    ) {
        self.begin_turn(now);
        match message {
            Message::Announce(announce) => {
                if self.is_needed(announce.incarnation) {
                    self.roster.readmit(now, &self.config.timing, &announce);
                }
                self.roster.on_announce(now, &self.config.timing, from, &announce);
                self.ask_superseded(now, from, &announce, outbox);
            }
            Message::Pong(pong) => self.on_pong(now, from, *pong, outbox),
            Message::GetView(_) => {
                outbox.send(from, Message::ViewAnswer(Box::new((&self.shown(now)).into())));
            }
            Message::ViewRequest(request) if request.fresh => {
                self.on_view_request(now, from, request);
            }
            Message::ViewRequest(request) => {
                outbox.send(from, self.view_reply(&request, self.shown(now)));
            }
            Message::StatusRequest(request) => {
                if let Some(reply) = self.status_reply(now, &request) {
                    outbox.send(from, Message::StatusReply(reply.into()));
                }
            }
            Message::ViewAnswer(_)
            | Message::ClientRequest(_)
            | Message::Success(_)
            | Message::Fail(_)
            | Message::Probe(_)
            | Message::ProbeAnswer(_)
            | Message::Refused(_)
            | Message::Ping(_)
            | Message::Replicate(_)
            | Message::Ack(_)
            | Message::NewerView(_)
            | Message::Offer(_)
            | Message::Verdict(_)
            | Message::Transfer(_)
            | Message::TransferAck(_)
            | Message::ViewReply(_)
            | Message::Request(_)
            | Message::Reply(_)
            | Message::StatusReply(_) => {}
        }
        self.decision_due = true;
    }

    fn is_peer(&self, from: SocketAddr) -> bool {
        self.roster.is_expected_at(from)
    }

    fn handle_command(
        &mut self,
        now: Timestamp,
        call: CallId,
        command: Command,
        outbox: &mut Outbox<Answer>,
    ) {
        self.begin_turn(now);
        let answer = match command {
            Command::View => {
                self.open_query(now, Asker::Local(call));
                None
            }
            Command::Status => Some(Answer::Status(self.status(now))),
            Command::History => {
                let ago = |change: &ViewChange| (now.since(change.at), change.clone());
                Some(Answer::History(self.view_changes().map(ago).collect()))
            }
            Command::Explain => {
                // What is due is done first: there may be nothing left to explain.
                self.end_turn(now, outbox);
                Some(Answer::Explained(self.explain(now)))
            }
            Command::Switchover(to) => self.switch_over(now, call, to.as_ref()),
            Command::Drain { id, force } => self.drain(now, call, &id, force, outbox),
            Command::Undrain(id) => Some(self.undrain(&id, outbox)),
            Command::PrepareReset => Some(match self.check_reset(now) {
                Ok(warning) => Answer::ResetPrepared(warning),
                Err(refusal) => Answer::ResetRefused(refusal),
            }),
            Command::Reset => Some(self.reset(now, outbox)),
            Command::Measure => Some(Answer::Measures(Box::new(Measures {
                status: self.status(now),
                phase: self.record().map(|record| record.phase),
                listens: now < self.listens_until,
            }))),
        };
        if let Some(answer) = answer {
            outbox.push(Effect::Answer(call, answer));
        }
        self.end_turn(now, outbox);
    }

    fn handle_timeout(&mut self, now: Timestamp, outbox: &mut Outbox<Answer>) {
        self.begin_turn(now);
        self.end_turn(now, outbox);
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        let now = self.last_event;
        if self.decision_due {
            return Some(now);
        }
        // Without any server there is nothing to ping, but a pause must still be noticed as one.
        let heartbeat = now + self.timing().ping_interval();
        let lease_end = self.record().map(|record| self.lease_end(record));
        let queries = self.queries.iter().map(|query| query.until).min();
        let handover = self.handover.as_ref().map(Handover::until);
        [Some(self.listens_until), lease_end, queries, handover]
            .into_iter()
            .flatten()
            .filter(|at| *at > now)
            .chain(self.roster.poll_timeout(now, self.timing()))
            .chain([heartbeat])
            .min()
    }
}

impl ViewServer {
    /// Whether the newest pong of this member reports this about that one, in the present view.
    fn reports(&self, member: &Member, about: &Member, kinds: &[ReportKind]) -> bool {
        let Mode::Running(record) = &self.mode else { return false };
        self.roster.known(member).is_some_and(|known| {
            known.reports.iter().any(|report| {
                report.view == record.view.id
                    && report.about == about.incarnation
                    && kinds.contains(&report.kind)
            })
        })
    }
}
