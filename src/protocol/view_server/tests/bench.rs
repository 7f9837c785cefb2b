//! Fake servers, a network with a delay of one millisecond, and the checks of every outbox:
//! a record is persisted before it is shown (I13), stamps rise (I5), a view id has one content,
//! a primary was eligible before (I6), the eligible set never shrinks to members that have not
//! answered since, and the timer advances.

mod checks;
mod fake;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::config::Timing;
use crate::protocol::message::{Announce, Message, Ping, ViewReply, ViewRequest};
use crate::protocol::sources::Sources;
use crate::protocol::view::{Phase, Record, View};
use crate::protocol::view_server::{
    Answer, Command, DurableRecord, Status, ViewServer, ViewServerConfig,
};
use crate::protocol::{Effect, Outbox, Process};
use crate::time::Timestamp;
use crate::types::{CallId, Epoch, HistoryId, Incarnation, RequestId, ServerId, ViewId};

pub use fake::Fake;

pub const CLIENT: &str = "127.0.0.1:9000";
const TICK: Duration = ms(5);

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

enum Event {
    ToServer(SocketAddr, Message),
    ToViewServer(SocketAddr, Message),
}

pub struct Bench {
    pub now: Timestamp,
    pub view_server: ViewServer,
    pub timing: Timing,
    pub servers: BTreeMap<&'static str, Fake>,
    /// Everything that was persisted, in order.
    pub persisted: Vec<DurableRecord>,
    pub answers: Vec<(CallId, Answer)>,
    pub replies: Vec<ViewReply>,
    /// Pings in order, with where to and when.
    pub pings: Vec<(Timestamp, SocketAddr, Ping)>,
    pub refused: Vec<Incarnation>,
    pub stopped: Option<String>,
    /// Everything that the view server was told, for replay.
    pub told: Vec<(SocketAddr, Message)>,
    /// Every message arrives once more, and again long after.
    pub duplicates: bool,
    /// How long a datagram takes.
    pub delay: Duration,
    /// Of the view server.
    incarnation: Incarnation,
    contents: BTreeMap<ViewId, View>,
    /// The newest ping that each process has answered, and when that arrived.
    answered: BTreeMap<Incarnation, (u64, Timestamp)>,
    queue: BTreeMap<(Timestamp, u64), Event>,
    events: u64,
    incarnations: u64,
    calls: u64,
}

impl Bench {
    pub fn new() -> Bench {
        Bench::with(Timing::default())
    }

    pub fn with(timing: Timing) -> Bench {
        let now = Timestamp(1_000_000_000);
        let incarnation = Incarnation(1);
        let config = ViewServerConfig {
            incarnation,
            timing,
            hosts: BTreeMap::new(),
            sources: Sources::Known,
        };
        Bench {
            now,
            view_server: ViewServer::new(now, config, None),
            timing,
            servers: BTreeMap::new(),
            persisted: Vec::new(),
            answers: Vec::new(),
            replies: Vec::new(),
            pings: Vec::new(),
            refused: Vec::new(),
            stopped: None,
            told: Vec::new(),
            duplicates: false,
            delay: ms(1),
            incarnation,
            contents: BTreeMap::new(),
            answered: BTreeMap::new(),
            queue: BTreeMap::new(),
            events: 0,
            incarnations: 100,
            calls: 0,
        }
    }

    /// Three servers: (s1, s2) active, s3 is a spare. No view change is under way.
    pub fn pair() -> Bench {
        Bench::pair_with(Timing::default())
    }

    pub fn pair_with(timing: Timing) -> Bench {
        let mut bench = Bench::with(timing);
        bench.start("s1");
        bench.run_until(|bench| bench.is("s1", None, Phase::Active));
        bench.start("s2");
        bench.run_until(|bench| bench.is("s1", Some("s2"), Phase::Active));
        bench.start("s3");
        bench.run(ms(300));
        assert!(bench.is("s1", Some("s2"), Phase::Active));
        bench
    }

    /// Starts a process, or another one in place of the former.
    pub fn start(&mut self, id: &'static str) -> Incarnation {
        self.incarnations += 1;
        let port: u16 = 1000 + id[1..].parse::<u16>().unwrap();
        let fake = Fake {
            id: id.into(),
            incarnation: Incarnation(self.incarnations),
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            hears: true,
            speaks: true,
            adopts: true,
            helps: true,
            says: Vec::new(),
            record: None,
            promised: Epoch::default(),
            holds_copy: false,
            heard: None,
            announce_at: self.now,
        };
        self.servers.insert(id, fake);
        Incarnation(self.incarnations)
    }

    pub fn server(&mut self, id: &'static str) -> &mut Fake {
        self.servers.get_mut(id).unwrap()
    }

    /// Cuts a server off in both directions; also what a dead one looks like.
    pub fn cut(&mut self, id: &'static str) {
        (self.server(id).hears, self.server(id).speaks) = (false, false);
    }

    pub fn heal(&mut self, id: &'static str) {
        (self.server(id).hears, self.server(id).speaks) = (true, true);
    }

    pub fn incarnation(&self, id: &'static str) -> Incarnation {
        self.servers[id].incarnation
    }

    /// A view server that starts now, with the record that was persisted last or with none.
    pub fn restart_view_server(&mut self, keeps_record: bool, timing: Timing) {
        self.incarnations += 1;
        let incarnation = Incarnation(self.incarnations);
        let config = ViewServerConfig {
            incarnation,
            timing,
            hosts: BTreeMap::new(),
            sources: Sources::Known,
        };
        let durable = self.persisted.last().cloned().filter(|_| keeps_record);
        self.timing = timing;
        self.incarnation = incarnation;
        self.answered.clear();
        self.view_server = ViewServer::new(self.now, config, durable);
        self.queue.retain(|_, event| matches!(event, Event::ToServer(..)));
    }

    /// The record that was persisted last.
    pub fn record(&self) -> &Record {
        &self.persisted.last().unwrap().record
    }

    pub fn number(&self) -> u64 {
        self.record().view.id.number
    }

    pub fn eligible(&self) -> Vec<Incarnation> {
        self.record().eligible.iter().map(|member| member.incarnation).collect()
    }

    /// Whether the newest record names these, without a joiner, in this phase.
    pub fn is(&self, primary: &str, backup: Option<&str>, phase: Phase) -> bool {
        self.persisted.last().is_some_and(|DurableRecord { record, .. }| {
            let view = &record.view;
            let named = view.backup.as_ref().map(|backup| backup.id.clone());
            view.primary.id == primary.into()
                && named == backup.map(ServerId::from)
                && view.joining.is_none()
                && record.phase == phase
        })
    }

    pub fn joining(&self) -> Option<String> {
        let view = &self.persisted.last()?.record.view;
        view.joining.as_ref().map(|joining| joining.id.to_string())
    }

    /// Shown to whoever asks now, as (primary, backup).
    pub fn shown(&mut self) -> (Option<String>, Option<String>) {
        let shown = self.status().shown;
        let name = |member: Option<crate::protocol::view::Member>| {
            member.map(|member| member.id.to_string())
        };
        (name(shown.primary), name(shown.backup))
    }

    pub fn status(&mut self) -> Status {
        match self.ask(Command::Status) {
            Some(Answer::Status(status)) => status,
            other => panic!("{other:?}"),
        }
    }

    pub fn waiting(&mut self) -> String {
        self.status().shown.waiting.unwrap_or_default()
    }

    /// Types a command. Returns its answer, if it is given at once.
    pub fn ask(&mut self, command: Command) -> Option<Answer> {
        self.calls += 1;
        let call = CallId(self.calls);
        let mut outbox = Outbox::default();
        self.view_server.handle_command(self.now, call, command, &mut outbox);
        self.carry_out(outbox);
        let at = self.answers.iter().position(|(known, _)| *known == call)?;
        Some(self.answers.remove(at).1)
    }

    pub fn ask_fresh(&mut self, client: u64) {
        let request = ViewRequest { client: Incarnation(client), id: RequestId(1), fresh: true };
        self.tell(CLIENT.parse().unwrap(), Message::ViewRequest(request));
    }

    pub fn announce(&mut self, id: &str, incarnation: Incarnation, address: &str) {
        let announce = Announce { id: id.into(), incarnation, address: None };
        self.tell(address.parse().unwrap(), Message::Announce(announce));
    }

    /// The view server hears this now.
    pub fn tell(&mut self, from: SocketAddr, message: Message) {
        if let Message::Pong(pong) = &message
            && pong.to == self.incarnation
        {
            let answered = self.answered.entry(pong.from).or_insert((0, self.now));
            *answered = (pong.nonce.max(answered.0), self.now);
        }
        let mut outbox = Outbox::default();
        self.view_server.handle_message(self.now, from, message, &mut outbox);
        self.carry_out(outbox);
    }

    /// The view server gets this now, and must take no notice of it.
    pub fn tell_unheard(&mut self, from: SocketAddr, message: Message) {
        let mut outbox = Outbox::default();
        self.view_server.handle_message(self.now, from, message, &mut outbox);
        assert_eq!(outbox.counts.pongs, 0);
        self.carry_out(outbox);
    }

    /// Every message that was ever told arrives again.
    pub fn replay_everything(&mut self) {
        for (from, message) in self.told.clone() {
            self.tell(from, message);
        }
    }

    fn enqueue(&mut self, delay: Duration, event: Event) {
        self.events += 1;
        self.queue.insert((self.now + delay, self.events), event);
    }

    /// Sends something to the view server.
    pub fn send(&mut self, from: SocketAddr, message: Message) {
        self.told.push((from, message.clone()));
        if self.duplicates {
            for delay in [self.delay * 2, ms(100), ms(700)] {
                self.enqueue(delay, Event::ToViewServer(from, message.clone()));
            }
        }
        self.enqueue(self.delay, Event::ToViewServer(from, message));
    }

    /// The view server is stopped for so long; what is sent to it waits.
    pub fn pause_view_server(&mut self, pause: Duration) {
        let end = self.now + pause;
        while self.now < end {
            self.now = (self.now + TICK).min(end);
            self.serve();
        }
    }

    /// Messages to servers that have arrived, and announces that are due.
    fn serve(&mut self) {
        let due: Vec<_> = self
            .queue
            .range(..=(self.now, u64::MAX))
            .filter(|(_, event)| matches!(event, Event::ToServer(..)))
            .map(|(at, _)| *at)
            .collect();
        for at in due {
            let Some(Event::ToServer(to, message)) = self.queue.remove(&at) else { continue };
            let now = self.now;
            let Some(fake) = self.servers.values_mut().find(|fake| fake.address == to) else {
                continue;
            };
            let Message::Ping(ping) = message else { continue };
            if !fake.hears {
                continue;
            }
            if ping.to != Some(fake.incarnation) {
                fake.heard = None;
                continue;
            }
            let pong = fake.on_ping(now, &ping);
            if fake.speaks {
                self.send(to, pong);
            }
        }
        let (now, dead_after) = (self.now, self.timing.dead_after());
        let mut announces = Vec::new();
        for fake in self.servers.values_mut() {
            let silent = fake.heard.is_none_or(|heard| now.since(heard) >= dead_after);
            if silent && now >= fake.announce_at && fake.speaks {
                fake.announce_at = now + dead_after / 4;
                let (id, incarnation) = (fake.id.clone(), fake.incarnation);
                let announce = Announce { id, incarnation, address: None };
                announces.push((fake.address, Message::Announce(announce)));
            }
        }
        for (from, announce) in announces {
            self.send(from, announce);
        }
    }

    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.step(end);
        }
    }

    /// Runs until this is so; five seconds at most.
    pub fn run_until(&mut self, mut is_so: impl FnMut(&Bench) -> bool) {
        let end = self.now + ms(5000);
        while !is_so(self) {
            assert!(self.now < end, "never so; the record is {:?}", self.persisted.last());
            self.step(end);
        }
    }

    fn step(&mut self, end: Timestamp) {
        let next = self.queue.keys().next().map(|(at, _)| *at);
        let timer = self.view_server.poll_timeout().unwrap();
        let soon = self.now + TICK;
        self.now = timer.min(soon).min(end).min(next.unwrap_or(soon)).max(self.now);
        self.serve();
        while let Some(entry) = self.queue.first_entry()
            && entry.key().0 <= self.now
        {
            let Event::ToViewServer(from, message) = entry.remove() else { continue };
            self.tell(from, message);
        }
        if self.view_server.poll_timeout().unwrap() <= self.now {
            self.wake();
        }
    }

    /// Timers are due.
    pub fn wake(&mut self) {
        let mut outbox = Outbox::default();
        self.view_server.handle_timeout(self.now, &mut outbox);
        self.carry_out(outbox);
        assert!(self.view_server.poll_timeout().unwrap() > self.now, "timer-advances");
    }

    fn carry_out(&mut self, mut outbox: Outbox<Answer>) {
        for effect in outbox.drain() {
            match effect {
                Effect::Persist(durable) => self.persist(*durable),
                Effect::Send { to, message } => self.sent(to, message),
                Effect::SendBefore { .. } => panic!("only a primary holds a lease"),
                Effect::Answer(call, answer) => {
                    if let Answer::View(shown) = &answer {
                        self.check_shown(shown);
                    }
                    self.answers.push((call, answer));
                }
                Effect::Stop(why) => {
                    self.stopped = Some(why);
                    return;
                }
            }
        }
    }

    fn sent(&mut self, to: SocketAddr, message: Message) {
        match &message {
            Message::Ping(ping) => {
                if let Some(record) = &ping.record {
                    let last = self.persisted.last().map(|durable| &durable.record);
                    assert_eq!(Some(record), last, "shown, but not durable (I13)");
                }
                self.pings.push((self.now, to, (**ping).clone()));
                self.enqueue(self.delay, Event::ToServer(to, message));
            }
            Message::Refused(refused) => self.refused.push(refused.to),
            Message::ViewReply(reply) => {
                self.check_shown(&reply.shown);
                self.replies.push((**reply).clone());
            }
            Message::ViewAnswer(answer) => {
                let number = self.persisted.last().map_or(0, |last| last.record.view.id.number);
                assert!(answer.primary.is_none() || answer.number == number, "durable (I13)");
            }
            other @ (Message::GetView(_)
            | Message::ClientRequest(_)
            | Message::Success(_)
            | Message::Fail(_)
            | Message::Probe(_)
            | Message::ProbeAnswer(_)
            | Message::Announce(_)
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
            | Message::Reply(_)
            | Message::StatusRequest(_)
            | Message::StatusReply(_)) => panic!("the view server does not say {other:?}"),
        }
    }

    /// A record of some other history, or of what a view server that is gone has decided.
    pub fn foreign(&self, history: u64) -> Record {
        Record { history: HistoryId(history), ..self.record().clone() }
    }
}
