//! Servers, the messages between them, and a hand that plays the view server and the clients.

mod hand;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use crate::config::{Limits, Timing};
use crate::kv::command::{Command, Origin};
use crate::kv::replica::Replica;
use crate::protocol::counts::Counts;
use crate::protocol::message::{Ask, Message, Outcome, PageRequest, Pong, Request};
use crate::protocol::server::{Answer, Server, ServerConfig};
use crate::protocol::sources::Sources;
use crate::protocol::view::{Member, Micros, Phase, Record, View};
use crate::protocol::{Effect, Outbox, Process};
use crate::time::Timestamp;
use crate::types::{
    Epoch, HistoryId, Incarnation, RequestId, RequestNumber, ServerId, SessionId, ViewId,
};

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn append(key: &str, value: &str) -> Command {
    Command::Append { key: key.into(), value: value.into() }
}

pub fn put(key: &str, value: &str) -> Command {
    Command::Put { key: key.into(), value: value.into() }
}

pub fn remove(key: &str) -> Command {
    Command::Remove { key: key.into() }
}

pub fn write(session: SessionId, number: u64, acknowledged: u64, command: Command) -> Ask {
    let (number, acknowledged) = (RequestNumber(number), RequestNumber(acknowledged));
    Ask::Write { origin: Origin { session, number, acknowledged }, command }
}

pub fn get(key: &str) -> Ask {
    Ask::Get { key: key.into(), after: None, page: None }
}

pub fn get_after(key: &str, session: SessionId, number: u64) -> Ask {
    Ask::Get { key: key.into(), after: Some((session, RequestNumber(number))), page: None }
}

pub fn get_page(key: &str, page: PageRequest) -> Ask {
    Ask::Get { key: key.into(), after: None, page: Some(page) }
}

pub fn address(server: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 5000 + 10 * u16::try_from(server).unwrap()))
}

pub fn client() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9000))
}

pub fn plain_client() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9001))
}

/// A message on its way from one server to another.
#[derive(Clone, Debug)]
pub struct Envelope {
    pub from: usize,
    pub to: usize,
    pub message: Message,
}

pub struct Bench {
    pub now: Timestamp,
    pub timing: Timing,
    limits: Limits,
    servers: Vec<Server>,
    /// What each server has counted.
    counts: Vec<Counts>,
    incarnations: u64,
    wire: VecDeque<Envelope>,
    /// Links (from, to) that lose everything.
    pub cut: BTreeSet<(usize, usize)>,
    /// Links whose messages are put aside into `held`.
    pub hold: BTreeSet<(usize, usize)>,
    pub held: Vec<Envelope>,
    /// Servers that neither hear nor act.
    pub down: BTreeSet<usize>,
    /// Everything that was ever sent between servers.
    pub log: Vec<Envelope>,
    pub replies: Vec<(RequestId, Outcome)>,
    pub plain_answers: Vec<Message>,
    pub stops: Vec<String>,
    requests: BTreeMap<RequestId, Request>,
    pongs: Vec<Pong>,
    pub announces: usize,
    nonce: u64,
    pub record: Record,
    served: BTreeMap<ViewId, Incarnation>,
    /// How long a server is stopped between its handler's return and the look at the clock.
    pub stop_before_send: Duration,
}

impl Bench {
    pub fn new(servers: usize) -> Bench {
        Bench::with_limits(servers, Limits::default())
    }

    pub fn with_limits(servers: usize, limits: Limits) -> Bench {
        let now = Timestamp::ZERO + Duration::from_secs(1000);
        let placeholder =
            Member { id: "s1".into(), incarnation: Incarnation(1), address: address(1) };
        let view = View {
            id: ViewId { epoch: Epoch(1, 9), number: 0 },
            primary: placeholder,
            backup: None,
            joining: None,
            since: ViewId::default(),
            genesis: false,
        };
        let record = Record {
            history: HistoryId(7),
            view,
            phase: Phase::Proposed,
            eligible: Vec::new(),
            last_primary: None,
            lease: Micros(0),
        };
        let mut bench = Bench {
            now,
            timing: Timing::default(),
            limits,
            servers: Vec::new(),
            counts: vec![Counts::default(); servers],
            incarnations: 0,
            wire: VecDeque::new(),
            cut: BTreeSet::new(),
            hold: BTreeSet::new(),
            held: Vec::new(),
            down: BTreeSet::new(),
            log: Vec::new(),
            replies: Vec::new(),
            plain_answers: Vec::new(),
            stops: Vec::new(),
            requests: BTreeMap::new(),
            pongs: Vec::new(),
            announces: 0,
            nonce: 0,
            record,
            served: BTreeMap::new(),
            stop_before_send: Duration::ZERO,
        };
        for index in 1..=servers {
            let server = bench.fresh(index);
            bench.servers.push(server);
        }
        bench
    }

    /// s1 is primary and s2 backup, s3 a spare, all reached through a real join.
    pub fn pair() -> Bench {
        Bench::pair_with(Limits::default())
    }

    pub fn pair_with(limits: Limits) -> Bench {
        let mut bench = Bench::with_limits(3, limits);
        bench.begin(1);
        bench.join_fully(2);
        bench.settle();
        bench
    }

    /// s1 alone begins an empty history.
    pub fn solo() -> Bench {
        let mut bench = Bench::new(3);
        bench.begin(1);
        bench
    }

    fn fresh(&mut self, index: usize) -> Server {
        self.incarnations += 1;
        let config = ServerConfig {
            id: ServerId::from(format!("s{index}").as_str()),
            incarnation: Incarnation(100 + self.incarnations),
            view_server: address(0),
            advertise: None,
            limits: self.limits,
            sources: Sources::Known,
        };
        Server::new(self.now, config)
    }

    pub fn restart(&mut self, index: usize) {
        self.servers[index - 1] = self.fresh(index);
        self.down.remove(&index);
    }

    pub fn server(&self, index: usize) -> &Server {
        &self.servers[index - 1]
    }

    /// From now on a copy may take so much memory there.
    pub fn limit_memory(&mut self, index: usize, bytes: usize) {
        self.servers[index - 1].config.limits.memory_bytes = Some(bytes);
    }

    pub fn counts(&self, index: usize) -> &Counts {
        &self.counts[index - 1]
    }

    pub fn member(&self, index: usize) -> Member {
        let config = &self.server(index).config;
        Member { id: config.id.clone(), incarnation: config.incarnation, address: address(index) }
    }

    // Looks.

    pub fn copy(&self, index: usize) -> Option<&Replica> {
        self.server(index).inspect().replica
    }

    pub fn applied(&self, index: usize) -> u64 {
        self.copy(index).map_or(0, |copy| copy.applied().0)
    }

    pub fn list(&self, index: usize, key: &str) -> Vec<String> {
        let list = self.copy(index).and_then(|copy| copy.store().get(&key.into()));
        list.map_or(Vec::new(), |list| list.values().iter().map(ToString::to_string).collect())
    }

    pub fn is_serving(&self, index: usize) -> bool {
        self.server(index).inspect().is_serving
    }

    pub fn role(&self, index: usize) -> &'static str {
        let server = self.server(index);
        super::super::role_name(server.config.incarnation, &server.role, server.membership.record())
    }

    // Time and messages.

    pub fn handle(&mut self, index: usize, from: SocketAddr, message: Message) {
        let mut outbox = self.outbox(index);
        let now = self.now;
        self.servers[index - 1].handle_message(now, from, message, &mut outbox);
        self.carry_out(index, outbox);
    }

    pub fn timeout(&mut self, index: usize) {
        let mut outbox = self.outbox(index);
        let now = self.now;
        self.servers[index - 1].handle_timeout(now, &mut outbox);
        let next = self.server(index).poll_timeout().unwrap();
        assert!(next > now, "timer-advances: s{index} wants {next:?} at {now:?}");
        self.carry_out(index, outbox);
    }

    /// What gathers behind a message that is under way leaves, although nothing answers.
    pub fn gathered(&mut self, index: usize) {
        self.now = self.now + Duration::from_millis(1);
        self.timeout(index);
    }

    /// An empty one that goes on counting.
    fn outbox(&mut self, index: usize) -> Outbox<Answer> {
        Outbox { counts: std::mem::take(&mut self.counts[index - 1]), ..Outbox::default() }
    }

    fn carry_out(&mut self, index: usize, mut outbox: Outbox<Answer>) {
        self.counts[index - 1] = std::mem::take(&mut outbox.counts);
        let effects: Vec<_> = outbox.drain().collect();
        for effect in effects {
            match effect {
                Effect::Send { to, message } => self.send(index, to, message),
                Effect::SendBefore { before, to, message, request } => {
                    self.now = self.now + self.stop_before_send;
                    if self.now < before {
                        self.send(index, to, message);
                    } else {
                        self.handle(index, to, Message::Request(*request));
                    }
                }
                Effect::Stop(why) => self.stops.push(why),
                Effect::Persist(_) | Effect::Answer(..) => {}
            }
        }
        self.check();
    }

    fn send(&mut self, from: usize, to: SocketAddr, message: Message) {
        if to == client() {
            let Message::Reply(reply) = message else { panic!("{message:?} to a client") };
            self.replies.push((reply.id, reply.outcome));
        } else if to == plain_client() {
            self.plain_answers.push(message);
        } else if to == address(0) {
            match message {
                Message::Pong(pong) => self.pongs.push(*pong),
                Message::Announce(_) => self.announces += 1,
                other => panic!("{other:?} to the view server"),
            }
        } else {
            let index = (1..=self.servers.len()).find(|index| address(*index) == to).unwrap();
            let envelope = Envelope { from, to: index, message };
            self.log.push(envelope.clone());
            self.wire.push_back(envelope);
        }
    }

    /// Hands a message over, whatever the links do.
    pub fn hand_over(&mut self, envelope: Envelope) {
        if !self.down.contains(&envelope.to) {
            self.handle(envelope.to, address(envelope.from), envelope.message);
        }
    }

    pub fn release(&mut self) -> Vec<Envelope> {
        self.hold.clear();
        std::mem::take(&mut self.held)
    }

    /// Everything that happens without time passing.
    pub fn settle(&mut self) {
        for _ in 0..100_000 {
            let mut quiet = true;
            while let Some(envelope) = self.wire.pop_front() {
                quiet = false;
                let link = (envelope.from, envelope.to);
                if self.hold.contains(&link) {
                    self.held.push(envelope);
                } else if !self.cut.contains(&link) {
                    self.hand_over(envelope);
                }
            }
            for index in 1..=self.servers.len() {
                let due = self.server(index).poll_timeout().is_some_and(|at| at <= self.now);
                if due && !self.down.contains(&index) {
                    quiet = false;
                    self.timeout(index);
                }
            }
            if quiet {
                return;
            }
        }
        panic!("it never settles");
    }

    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.settle();
            let up = (1..=self.servers.len()).filter(|index| !self.down.contains(index));
            let next = up.filter_map(|index| self.server(index).poll_timeout()).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
        }
        self.now = end;
        self.settle();
    }

    pub fn run_until(&mut self, mut condition: impl FnMut(&mut Bench) -> bool) {
        for _ in 0..2000 {
            self.settle();
            if condition(self) {
                return;
            }
            self.run(ms(5));
        }
        panic!("it never comes to that");
    }

    fn check(&mut self) {
        for index in 1..=self.servers.len() {
            let server = &self.servers[index - 1];
            let look = server.inspect();
            let (true, Some(record), Some(ours)) = (look.is_serving, look.record, look.replica)
            else {
                continue;
            };
            let me = server.config.incarnation;
            let serves = *self.served.entry(record.view.id).or_insert(me);
            assert_eq!(serves, me, "one primary per view: {}", record.view.id);
            let Some(backup) = &record.view.backup else { continue };
            let Some(theirs) =
                self.servers.iter().find(|other| other.config.incarnation == backup.incarnation)
            else {
                continue;
            };
            let follows = theirs.inspect();
            if follows.record.map(|record| record.view.id) != Some(record.view.id) {
                continue;
            }
            let Some(theirs) = follows.replica else { continue };
            if record.phase == Phase::Active {
                assert!(
                    theirs.applied() >= ours.applied(),
                    "backup-holds-every-acked-op: {} of {}",
                    theirs.applied(),
                    ours.applied()
                );
            }
            if let Some(digest) = theirs.digest_at(ours.applied()) {
                assert_eq!(digest, ours.digest(), "same number, same digest: {}", ours.applied());
            }
        }
    }
}
