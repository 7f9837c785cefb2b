//! Drives one process exactly as the runtime does, step by step, so that the world can stop it
//! between any two effects.
//!
//! A turn: handle what has arrived, carry out the effects in order, call `handle_timeout` while it
//! is due, then send. Kept here: `timer-advances`, and that no effect is carried out before a
//! record that was to be made durable first.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

use pbkv::protocol::client::{self, ClientProcess};
use pbkv::protocol::message::{Message, Outcome, ReportKind};
use pbkv::protocol::server::{self, Server};
use pbkv::protocol::transport::Transport;
use pbkv::protocol::view::{Member, Record};
use pbkv::protocol::view_server::{self, DurableRecord, ViewServer};
use pbkv::protocol::{Effect, Outbox, Process};
use pbkv::types::{CallId, Incarnation};

use crate::clock::{Clock, Instant};
use crate::counts::{Count, Counts};
use crate::random::Random;
use crate::trace::Trace;

/// An answer of any kind of process to its local caller.
#[derive(Debug)]
pub enum Answered {
    View(view_server::Answer),
    Server,
    Client(client::Answer),
}

/// A process that can be driven.
pub trait Hosted: Process {
    fn answered(answer: Self::Answer) -> Answered;
}

impl Hosted for ViewServer {
    fn answered(answer: view_server::Answer) -> Answered {
        Answered::View(answer)
    }
}

impl Hosted for Server {
    fn answered(_: server::Answer) -> Answered {
        Answered::Server
    }
}

impl Hosted for ClientProcess {
    fn answered(answer: client::Answer) -> Answered {
        Answered::Client(answer)
    }
}

/// A process with what stands around it in the runtime.
pub struct Driver<P: Hosted> {
    pub process: P,
    pub calls: VecDeque<(CallId, P::Command)>,
    outbox: Outbox<P::Answer>,
    effects: VecDeque<Effect<P::Answer>>,
    /// The first effect has had its interruption.
    interrupted: bool,
}

/// Why a turn ended.
#[derive(Debug)]
pub enum Halt {
    /// Nothing more to do now.
    Finished,
    /// The process stands still for so long, between two effects.
    Suspended(Instant),
    /// The nemesis ends it here; the effects that follow never happen.
    Killed,
    /// It ended itself.
    Ended(String),
    /// `timer-advances` is broken.
    Spinning(String),
}

/// How a turn can be disturbed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disturbance {
    /// Longest time that a record takes to become durable.
    pub disk: Instant,
    pub crash_after_persist: u32,
    pub stop_before_sending: u32,
    /// Longest stop between computing an answer and sending it.
    pub stop_most: Instant,
}

/// What a process is given for a turn, and what comes out of it.
pub struct Turn<'a> {
    pub now: Instant,
    pub name: &'a str,
    pub clock: &'a Clock,
    pub transport: &'a mut Transport,
    pub inbox: &'a mut VecDeque<(SocketAddr, Rc<[u8]>)>,
    pub disturbance: Disturbance,
    pub random: &'a mut Random,
    pub counts: &'a mut Counts,
    pub trace: &'a mut Trace,
    pub messages: &'a mut Vec<Message>,
    pub answers: &'a mut Vec<(CallId, Answered)>,
    pub records: &'a mut Vec<DurableRecord>,
    pub witness: &'a mut Witness,
}

/// What the world must know of the messages themselves.
#[derive(Debug, Default)]
pub struct Witness {
    /// Pongs that were handled: who sent them, and the ping that they answer.
    pub pongs: Vec<(Incarnation, u64)>,
    /// Pings that were sent, by nonce.
    pub pings: Vec<u64>,
    /// A stall or divergence was reported.
    pub reported: bool,
    /// Records that a view server showed in pings.
    pub shown: Vec<pbkv::protocol::view::Stamp>,
}

/// Datagrams taken in one turn.
const BATCH: usize = 64;

impl<P: Hosted> Driver<P> {
    pub fn new(process: P) -> Self {
        Driver {
            process,
            calls: VecDeque::new(),
            outbox: Outbox::default(),
            effects: VecDeque::new(),
            interrupted: false,
        }
    }

    /// Whether the process was stopped while its record was being written.
    pub fn record_in_writing(&self) -> Option<&DurableRecord> {
        match self.effects.front() {
            Some(Effect::Persist(record)) if self.interrupted => Some(record),
            Some(
                Effect::Persist(_)
                | Effect::Send { .. }
                | Effect::SendBefore { .. }
                | Effect::Answer(..)
                | Effect::Stop(_),
            )
            | None => None,
        }
    }

    /// One turn, or the rest of one that was suspended.
    pub fn turn(&mut self, turn: &mut Turn<'_>) -> Halt {
        let now = turn.clock.read(turn.now);
        if let Some(halt) = self.carry_out(turn) {
            return halt;
        }
        for _ in 0..BATCH {
            let Some((from, bytes)) = turn.inbox.pop_front() else { break };
            turn.messages.clear();
            turn.transport.receive(now, from, &bytes, turn.messages);
            for message in turn.messages.drain(..) {
                let name = turn.name;
                turn.trace.say(turn.now, || format!("{name} <- {from}: {}", short(&message)));
                if let Message::Pong(pong) = &message {
                    turn.witness.pongs.push((pong.from, pong.nonce));
                }
                self.process.handle_message(now, from, message, &mut self.outbox);
            }
        }
        while let Some((call, command)) = self.calls.pop_front() {
            self.process.handle_command(now, call, command, &mut self.outbox);
        }
        if let Some(halt) = self.carry_out(turn) {
            return halt;
        }
        while self.process.poll_timeout().is_some_and(|due| due <= now) {
            self.process.handle_timeout(now, &mut self.outbox);
            if let Some(due) = self.process.poll_timeout()
                && due <= now
            {
                return Halt::Spinning(format!(
                    "poll_timeout {due:?} after handle_timeout({now:?})"
                ));
            }
            if let Some(halt) = self.carry_out(turn) {
                return halt;
            }
        }
        if turn.transport.poll_timeout().is_some_and(|due| due <= now) {
            turn.transport.handle_timeout(now);
            if let Some(due) = turn.transport.poll_timeout()
                && due <= now
            {
                return Halt::Spinning(format!("transport: {due:?} after {now:?}"));
            }
        }
        Halt::Finished
    }

    /// Carries out effects in order, until none is left or one suspends or ends the process.
    fn carry_out(&mut self, turn: &mut Turn<'_>) -> Option<Halt> {
        loop {
            self.effects.extend(self.outbox.drain());
            let effect = self.effects.pop_front()?;
            let interrupted = std::mem::take(&mut self.interrupted);
            match effect {
                Effect::Send { to, message } => self.send(turn, to, &message),
                Effect::SendBefore { before, to, message, request } => {
                    let stop = turn.disturbance.stop_before_sending;
                    if !interrupted && turn.random.chance(stop) {
                        turn.counts.add(Count::StoppedBeforeSending);
                        let length = turn.random.below(turn.disturbance.stop_most + 1);
                        let effect = Effect::SendBefore { before, to, message, request };
                        self.effects.push_front(effect);
                        self.interrupted = true;
                        return Some(Halt::Suspended(length));
                    }
                    let now = turn.clock.read(turn.now);
                    if now < before {
                        turn.counts.add(Count::LeaseAnswers);
                        self.send(turn, to, &message);
                    } else {
                        turn.counts.add(Count::LeaseLate);
                        let request = Message::Request(*request);
                        self.process.handle_message(now, to, request, &mut self.outbox);
                    }
                }
                Effect::Persist(record) => {
                    let slow = turn.disturbance.disk;
                    if !interrupted && slow > 0 {
                        turn.counts.add(Count::SlowPersists);
                        self.effects.push_front(Effect::Persist(record));
                        self.interrupted = true;
                        return Some(Halt::Suspended(turn.random.below(slow + 1)));
                    }
                    turn.trace.say(turn.now, || format!("view persists {}", brief(&record.record)));
                    turn.records.push(*record);
                    if turn.random.chance(turn.disturbance.crash_after_persist) {
                        turn.counts.add(Count::CrashesAfterPersist);
                        return Some(Halt::Killed);
                    }
                }
                Effect::Answer(call, answer) => {
                    let name = turn.name;
                    let answer = P::answered(answer);
                    turn.trace.say(turn.now, || format!("{name} answers {call:?}: {answer:?}"));
                    turn.answers.push((call, answer));
                }
                Effect::Stop(why) => return Some(Halt::Ended(why)),
            }
        }
    }

    fn send(&self, turn: &mut Turn<'_>, to: SocketAddr, message: &Message) {
        count(message, turn.counts, turn.witness);
        turn.transport.send(turn.clock.read(turn.now), to, message);
    }
}

/// Counts what matters of a message that is sent.
fn count(message: &Message, counts: &mut Counts, witness: &mut Witness) {
    if let Message::Ping(ping) = message {
        witness.pings.push(ping.nonce);
        witness.shown.extend(ping.record.as_ref().map(Record::stamp));
    } else if let Message::Pong(pong) = message {
        for report in &pong.reports {
            match report.kind {
                ReportKind::Stalled => counts.add(Count::Stalls),
                ReportKind::Diverged => counts.add(Count::Divergences),
                ReportKind::CaughtUp | ReportKind::Synced => continue,
            }
            witness.reported = true;
        }
    } else if let Message::Transfer(transfer) = message {
        counts.add(Count::TransferParts);
        if transfer.sequence == 1 {
            counts.add(Count::TransferRestarts);
        }
    } else if let Message::Verdict(verdict) = message {
        counts.add(if verdict.keep { Count::Keeps } else { Count::Wipes });
    } else if let Message::NewerView(_) = message {
        counts.add(Count::NewerViews);
    } else if let Message::Reply(reply) = message {
        match reply.outcome {
            Outcome::NotPrimary(_) => counts.add(Count::NotPrimary),
            Outcome::Busy => counts.add(Count::Busy),
            Outcome::SessionExpired => counts.add(Count::SessionsExpired),
            Outcome::Opened(_) => counts.add(Count::SessionsOpened),
            Outcome::Done
            | Outcome::Mismatch(_)
            | Outcome::Number(_)
            | Outcome::NotANumber
            | Outcome::Overflow
            | Outcome::OutOfMemory
            | Outcome::Length(_)
            | Outcome::Keys(_)
            | Outcome::Pages(_)
            | Outcome::Snapshot(_)
            | Outcome::SnapshotRefused(_)
            | Outcome::Page(_)
            | Outcome::Missing
            | Outcome::GenerationChanged => {}
        }
    }
}

/// A message in few words.
fn short(message: &Message) -> String {
    if let Message::Ping(ping) = message {
        let record = ping.record.as_ref().map(brief);
        let (nonce, promise, lease) = (ping.nonce, ping.promise, ping.grants_lease);
        return format!(
            "Ping {nonce} {record:?} promise {promise:?} heard {:?} lease {lease}",
            ping.heard
        );
    }
    if let Message::Pong(pong) = message {
        let adopted = pong.adopted.map(|it| format!("{} {:?}", it.view, it.phase));
        let reports: Vec<_> = pong.reports.iter().map(|it| (it.view.number, it.kind)).collect();
        let known = pong.record.as_ref().map(brief);
        let (nonce, copy, promised) = (pong.nonce, pong.holds_copy, pong.promised.0);
        return format!(
            "Pong {nonce} copy {copy} promised {promised} adopted {adopted:?} {reports:?} {known:?}"
        );
    }
    let mut text = format!("{message:?}");
    for (long, short) in [
        ("ViewId { epoch: Epoch", ""),
        ("Incarnation", ""),
        ("OperationNumber", ""),
        ("RequestNumber", ""),
        ("SessionId", ""),
        ("HistoryId", ""),
    ] {
        text = text.replace(long, short);
    }
    if text.len() > 500 {
        let end = (0..=500).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push_str(" ..");
    }
    text
}

/// A record in few words: view, phase, roles, and who is eligible.
pub fn brief(record: &Record) -> String {
    let view = &record.view;
    let name = |member: &Option<Member>| {
        member.as_ref().map_or("-".to_owned(), |member| {
            format!("{}/{:04x}", member.id, member.incarnation.0 & 0xffff)
        })
    };
    let eligible: Vec<String> =
        record.eligible.iter().map(|member| name(&Some(member.clone()))).collect();
    format!(
        "{} {:?} ({}, {}) joining {} since {} eligible {eligible:?} last primary {}{}",
        view.id,
        record.phase,
        name(&Some(view.primary.clone())),
        name(&view.backup),
        name(&view.joining),
        view.since,
        name(&record.last_primary),
        if view.genesis { " genesis" } else { "" },
    )
}
