//! A view server, three kv servers and a client, and the messages between them. Time is the same
//! for all of them, and passes only when it is told to.

use std::net::SocketAddr;
use std::time::Duration;

use pbkv::config::{Limits, Timing};
use pbkv::kv::command::{Cas, Command, Key, Value};
use pbkv::protocol::client::{self, Action, ClientConfig, ClientProcess};
use pbkv::protocol::message::{ClientRequest, GetView, Message, Probe};
use pbkv::protocol::server::{self, Server, ServerConfig};
use pbkv::protocol::sources::Sources;
use pbkv::protocol::status::StatusRequest;
use pbkv::protocol::view_server::{self, DurableRecord, ViewServer, ViewServerConfig};
use pbkv::protocol::{Effect, Outbox, Process};
use pbkv::time::Timestamp;
use pbkv::types::{CallId, Incarnation, RequestId, ServerId};

use super::super::bytes::Bytes;
use super::checks::{ClientChecks, ServerChecks, ViewChecks};

/// Index of the view server; kv servers are 1 to 3.
pub const VIEW: usize = 0;
pub const SERVERS: std::ops::RangeInclusive<usize> = 1..=3;
pub const CLIENT: usize = 4;
/// Somebody with `nc -u`.
const STRANGER: usize = 5;
/// Messages that are kept, to arrive again.
const KEPT: usize = 200;
/// More that are under way are lost.
const FRESH: usize = 400;
/// How long the client waits.
pub const DEADLINE: Duration = Duration::from_millis(1_500);

/// A message under way.
#[derive(Clone, Debug)]
pub struct Letter {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub message: Message,
}

#[derive(Clone)]
enum Core {
    View(ViewServer, ViewChecks),
    Server(Server, ServerChecks),
    Client(ClientProcess, ClientChecks),
    Down,
}

/// What a process is told.
enum Event {
    Message(SocketAddr, Message),
    Timeout,
}

#[derive(Clone)]
pub struct World {
    pub now: Timestamp,
    cores: Vec<Core>,
    fresh: Vec<Letter>,
    kept: Vec<Letter>,
    /// The view server's file.
    disk: Option<DurableRecord>,
    /// Drawn for incarnations and calls.
    drawn: u64,
    pub view_answers: Vec<(CallId, view_server::Answer)>,
    pub server_answers: Vec<(CallId, server::Answer)>,
    pub client_answers: Vec<(CallId, client::Answer)>,
}

/// Every bound is small, so that few messages reach it.
pub fn limits() -> Limits {
    Limits {
        key_bytes: 64,
        value_bytes: 512,
        keys_per_command: 8,
        message_bytes: 1 << 16,
        assembly_bytes: 1 << 18,
        session_window: 4,
        session_capacity: 3,
        pending_operations: 12,
        history_operations: 16,
        history_bytes: 4 << 10,
        backlog_bytes: 8 << 10,
        window_bytes: 2 << 10,
        snapshot_bytes: 4 << 10,
        page_bytes: 1 << 10,
        pending_reads: 12,
        ..Limits::default()
    }
}

fn timing() -> Timing {
    let (ping, dead) = (Duration::from_millis(50), Duration::from_millis(250));
    Timing::new(ping, dead, true).expect("sound timing")
}

fn address(node: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, node as u8], 5000))
}

impl World {
    /// Nobody runs.
    pub fn new() -> World {
        World {
            now: Timestamp(1_000_000_000),
            cores: vec![Core::Down, Core::Down, Core::Down, Core::Down, Core::Down],
            fresh: Vec::new(),
            kept: Vec::new(),
            disk: None,
            drawn: 100,
            view_answers: Vec::new(),
            server_answers: Vec::new(),
            client_answers: Vec::new(),
        }
    }

    fn draw(&mut self) -> u64 {
        self.drawn += 1_000_003;
        self.drawn
    }

    pub fn start(&mut self, node: usize) {
        let incarnation = Incarnation(self.draw());
        let view_server = address(VIEW);
        self.cores[node] = match node {
            VIEW => {
                let hosts = std::iter::empty().collect();
                let config = ViewServerConfig {
                    incarnation,
                    timing: timing(),
                    hosts,
                    sources: Sources::Any,
                };
                let checks = ViewChecks::new(self.disk.clone());
                Core::View(ViewServer::new(self.now, config, self.disk.clone()), checks)
            }
            CLIENT => {
                let config = ClientConfig { incarnation, view_server, limits: limits() };
                Core::Client(ClientProcess::new(self.now, config), ClientChecks::default())
            }
            _ => {
                let id = ServerId::from(format!("s{node}").as_str());
                let config = ServerConfig {
                    id,
                    incarnation,
                    view_server,
                    advertise: None,
                    limits: limits(),
                    sources: Sources::Any,
                };
                Core::Server(Server::new(self.now, config), ServerChecks::default())
            }
        };
        self.turn(node, Event::Timeout);
    }

    pub fn kill(&mut self, node: usize) {
        self.cores[node] = Core::Down;
    }

    /// Messages of a state transfer that were sent lately.
    pub fn sent_transfers(&self) -> usize {
        let is_transfer = |letter: &&Letter| matches!(letter.message, Message::Transfer(_));
        self.kept.iter().filter(is_transfer).count()
    }

    pub fn lose_record(&mut self) {
        self.disk = None;
    }

    pub fn view_server(&self) -> Option<&ViewServer> {
        match &self.cores[VIEW] {
            Core::View(process, _) => Some(process),
            Core::Server(..) | Core::Client(..) | Core::Down => None,
        }
    }

    pub fn server(&self, node: usize) -> Option<&Server> {
        match &self.cores[node] {
            Core::Server(process, _) => Some(process),
            Core::View(..) | Core::Client(..) | Core::Down => None,
        }
    }

    fn poll_timeout(&self, node: usize) -> Option<Timestamp> {
        match &self.cores[node] {
            Core::View(process, _) => process.poll_timeout(),
            Core::Server(process, _) => process.poll_timeout(),
            Core::Client(process, _) => process.poll_timeout(),
            Core::Down => None,
        }
    }

    /// One turn: what happens, then the timers that are due.
    fn turn(&mut self, node: usize, event: Event) {
        self.tell(node, event);
        if self.poll_timeout(node).is_some_and(|due| due <= self.now) {
            self.tell(node, Event::Timeout);
            let due = self.poll_timeout(node);
            assert!(
                due.is_none_or(|due| due > self.now),
                "timer-advances: {due:?} at {:?}",
                self.now
            );
        }
    }

    fn tell(&mut self, node: usize, event: Event) {
        let mut core = std::mem::replace(&mut self.cores[node], Core::Down);
        let goes_on = match &mut core {
            Core::View(process, checks) => {
                let mut outbox = Outbox::default();
                happen(process, self.now, event, &mut outbox);
                let mut goes_on = true;
                for effect in outbox.drain().collect::<Vec<_>>() {
                    checks.effect(&effect);
                    match effect {
                        Effect::Persist(record) => self.disk = Some(*record),
                        Effect::Send { to, message } => self.post(node, to, message),
                        Effect::Answer(call, answer) => self.view_answers.push((call, answer)),
                        Effect::Stop(_) => goes_on = false,
                        Effect::SendBefore { .. } => panic!("a view server has no lease"),
                    }
                    if !goes_on {
                        break;
                    }
                }
                checks.state(process);
                goes_on
            }
            Core::Server(process, checks) => {
                checks.before(process);
                let mut outbox = Outbox::default();
                happen(process, self.now, event, &mut outbox);
                let mut goes_on = true;
                for effect in outbox.drain().collect::<Vec<_>>() {
                    checks.effect(process, &effect);
                    match effect {
                        Effect::Send { to, message } => self.post(node, to, message),
                        Effect::SendBefore { before, to, message, request } => {
                            if self.now < before {
                                self.post(node, to, message);
                            } else {
                                self.later(to, address(node), Message::Request(*request));
                            }
                        }
                        Effect::Answer(call, answer) => self.server_answers.push((call, answer)),
                        Effect::Stop(_) => goes_on = false,
                        Effect::Persist(_) => panic!("a kv server has no record"),
                    }
                    if !goes_on {
                        break;
                    }
                }
                checks.after(process);
                goes_on
            }
            Core::Client(process, checks) => {
                let mut outbox = Outbox::default();
                happen(process, self.now, event, &mut outbox);
                for effect in outbox.drain().collect::<Vec<_>>() {
                    match effect {
                        Effect::Send { to, message } => self.post(node, to, message),
                        Effect::Answer(call, answer) => {
                            checks.answered(call, &answer);
                            self.client_answers.push((call, answer));
                        }
                        Effect::SendBefore { .. } | Effect::Persist(_) | Effect::Stop(_) => {
                            panic!("a client only sends and answers")
                        }
                    }
                }
                checks.answers_in_time(process, self.now);
                true
            }
            Core::Down => return,
        };
        if goes_on {
            self.cores[node] = core;
        }
    }

    fn post(&mut self, node: usize, to: SocketAddr, message: Message) {
        self.later(address(node), to, message);
    }

    fn later(&mut self, from: SocketAddr, to: SocketAddr, message: Message) {
        let letter = Letter { from, to, message };
        self.kept.push(letter.clone());
        let surplus = self.kept.len().saturating_sub(KEPT);
        self.kept.drain(..surplus);
        if self.fresh.len() < FRESH {
            self.fresh.push(letter);
        }
    }

    pub fn deliver(&mut self, letter: Letter) {
        let Some(node) = (0..self.cores.len()).find(|node| address(*node) == letter.to) else {
            return;
        };
        self.turn(node, Event::Message(letter.from, letter.message));
    }

    /// One of those under way arrives, mostly the oldest.
    pub fn deliver_fresh(&mut self, bytes: &mut Bytes<'_>) {
        if !self.fresh.is_empty() {
            let drawn = bytes.below(self.fresh.len());
            let at = if drawn < 8 { drawn / 2 } else { drawn };
            let letter = self.fresh.remove(at.min(self.fresh.len() - 1));
            self.deliver(letter);
        }
    }

    pub fn lose_fresh(&mut self, bytes: &mut Bytes<'_>) {
        if bytes.byte().is_multiple_of(4) {
            self.fresh.clear();
        } else if !self.fresh.is_empty() {
            self.fresh.remove(bytes.below(self.fresh.len()));
        }
    }

    /// Loses what is under way to these.
    pub fn lose_to(&mut self, node: usize) {
        self.fresh.retain(|letter| letter.to != address(node));
    }

    /// One of those that were sent lately; the newest one is the first.
    pub fn any_letter(&self, bytes: &mut Bytes<'_>) -> Option<Letter> {
        let at = bytes.below(self.kept.len());
        self.kept.iter().rev().nth(at).cloned()
    }

    pub fn any_address(&self, bytes: &mut Bytes<'_>) -> SocketAddr {
        address(bytes.below(STRANGER + 1))
    }

    /// Time passes; nobody's timer rings meanwhile, as if all were stopped.
    pub fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    /// The timer that is due next rings.
    pub fn timer(&mut self, bytes: &mut Bytes<'_>) {
        let node = bytes.below(self.cores.len());
        if let Some(due) = self.poll_timeout(node) {
            // No timer is set for longer than the longest judgement of death, or it never rings.
            self.now = self.now.max(due.min(self.now + Duration::from_secs(10)));
            self.turn(node, Event::Timeout);
        }
    }

    /// All messages arrive, in order, and all timers ring in time, for so long.
    pub fn settle(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle_until(end, |_| false);
    }

    /// As [`World::settle`], until something is so; whether it is.
    pub fn settle_until(&mut self, end: Timestamp, is_so: impl Fn(&World) -> bool) -> bool {
        loop {
            if is_so(self) {
                return true;
            }
            // A round trip takes half a millisecond.
            for letter in std::mem::take(&mut self.fresh) {
                self.deliver(letter);
                if is_so(self) {
                    return true;
                }
            }
            let next = (0..self.cores.len()).filter_map(|node| self.poll_timeout(node)).min();
            let soon =
                if self.fresh.is_empty() { end } else { self.now + Duration::from_micros(250) };
            let next = next.unwrap_or(end).min(soon).max(self.now + Duration::from_micros(50));
            if next >= end {
                self.now = self.now.max(end);
                return is_so(self);
            }
            self.now = next;
            for node in 0..self.cores.len() {
                if self.poll_timeout(node).is_some_and(|due| due <= self.now) {
                    self.turn(node, Event::Timeout);
                }
            }
        }
    }

    fn call(&mut self) -> CallId {
        CallId(self.draw())
    }

    /// The client is asked; it is answered later.
    pub fn act(&mut self, action: Action) -> Option<CallId> {
        let call = self.call();
        let Core::Client(process, checks) = &mut self.cores[CLIENT] else { return None };
        checks.asked(call, self.now + DEADLINE, &action);
        let command = client::Command { action, deadline: DEADLINE };
        let mut outbox = Outbox::default();
        process.handle_command(self.now, call, command, &mut outbox);
        for effect in outbox.drain().collect::<Vec<_>>() {
            if let Effect::Send { to, message } = effect {
                self.post(CLIENT, to, message);
            } else if let Effect::Answer(call, answer) = effect {
                if let Core::Client(_, checks) = &mut self.cores[CLIENT] {
                    checks.answered(call, &answer);
                }
                self.client_answers.push((call, answer));
            }
        }
        self.turn(CLIENT, Event::Timeout);
        Some(call)
    }

    pub fn ask_client(&mut self, action: Action) -> client::Answer {
        let call = self.act(action).expect("the client runs");
        let is_answered =
            |world: &World| world.client_answers.iter().any(|(answered, _)| *answered == call);
        assert!(self.settle_until(self.now + DEADLINE * 2, is_answered), "answered in time");
        let at = self.client_answers.iter().position(|(answered, _)| *answered == call);
        self.client_answers.remove(at.expect("it is there")).1
    }

    pub fn ask_view_server(
        &mut self,
        command: view_server::Command,
    ) -> Option<view_server::Answer> {
        let call = self.command_view_server(command)?;
        let end = self.now + Duration::from_secs(60);
        self.settle_until(end, |world| {
            world.view_server().is_none()
                || world.view_answers.iter().any(|(answered, _)| *answered == call)
        });
        let at = self.view_answers.iter().position(|(answered, _)| *answered == call);
        assert!(at.is_some() || self.view_server().is_none(), "never answered");
        Some(self.view_answers.remove(at?).1)
    }

    pub fn command_view_server(&mut self, command: view_server::Command) -> Option<CallId> {
        let call = self.call();
        let Core::View(process, checks) = &mut self.cores[VIEW] else { return None };
        let mut outbox = Outbox::default();
        process.handle_command(self.now, call, command, &mut outbox);
        let mut letters = Vec::new();
        for effect in outbox.drain().collect::<Vec<_>>() {
            checks.effect(&effect);
            match effect {
                Effect::Persist(record) => self.disk = Some(*record),
                Effect::Send { to, message } => letters.push((to, message)),
                Effect::Answer(call, answer) => self.view_answers.push((call, answer)),
                Effect::Stop(_) | Effect::SendBefore { .. } => panic!("a command stops nobody"),
            }
        }
        for (to, message) in letters {
            self.post(VIEW, to, message);
        }
        Some(call)
    }

    pub fn ask_server(&mut self, node: usize, command: server::Command) -> Option<server::Answer> {
        let call = self.call();
        let Core::Server(process, _) = &mut self.cores[node] else { return None };
        let mut outbox = Outbox::default();
        process.handle_command(self.now, call, command, &mut outbox);
        let mut answers = outbox.drain().map(|effect| match effect {
            Effect::Answer(answered, answer) if answered == call => answer,
            Effect::Answer(..)
            | Effect::Send { .. }
            | Effect::SendBefore { .. }
            | Effect::Persist(_)
            | Effect::Stop(_) => panic!("a question changes nothing"),
        });
        let answer = answers.next();
        assert!(answer.is_some() && answers.next().is_none(), "answered once, at once");
        answer
    }

    /// Somebody asks for something.
    pub fn ask(&mut self, bytes: &mut Bytes<'_>) {
        let key = Key::from(["a", "b", "c", ""][bytes.below(4)]);
        let value = Value::from("v".repeat(usize::from(bytes.byte())).as_str());
        let write = |command| Action::Write(command);
        let kind = bytes.byte() % 24;
        let action = match kind {
            0..=2 => write(Command::Put { key, value }),
            3..=5 => write(Command::Append { key, value }),
            6 => write(Command::Remove { key }),
            7 => write(Command::Cas(Cas { key, old: None, new: Some(vec![value]) }.into())),
            8 => write(Command::Incr { key, by: bytes.number(1).cast_signed() }),
            9 => {
                write(Command::Mput { entries: vec![(key, vec![value]), (Key::from("d"), vec![])] })
            }
            10 | 11 => Action::Get(key),
            12 => Action::Mget(vec![key, Key::from("a")]),
            13 => Action::Exists(key),
            14 => Action::Len(key),
            15 => Action::Keys { prefix: Key::from(""), start_after: None },
            16 => Action::Snapshot(None),
            17 => Action::View,
            18 => return self.command(bytes),
            19 => {
                let command = ["put", "append", "get", "remove", "incr", "len"][bytes.below(6)];
                let request = ClientRequest {
                    command: command.to_owned(),
                    key: Some(key),
                    value: Some(value),
                    ..ClientRequest::default()
                };
                return self.stranger(Message::ClientRequest(request), bytes);
            }
            20 => return self.stranger(Message::GetView(GetView::default()), bytes),
            21 => return self.stranger(Message::Probe(Probe::default()), bytes),
            22 => {
                let request = StatusRequest::new(Incarnation(5), RequestId(1));
                return self.stranger(Message::StatusRequest(request), bytes);
            }
            _ => {
                for node in SERVERS {
                    let position = server::Position::default();
                    self.ask_server(node, server::Command::Entries(position));
                    self.ask_server(node, server::Command::Measure);
                }
                return;
            }
        };
        self.act(action);
    }

    fn stranger(&mut self, message: Message, bytes: &mut Bytes<'_>) {
        let to = self.any_address(bytes);
        self.later(address(STRANGER), to, message);
    }

    fn command(&mut self, bytes: &mut Bytes<'_>) {
        use view_server::Command;
        let id = ServerId::from(["s1", "s2", "s3", "s9"][bytes.below(4)]);
        let command = match bytes.byte() % 10 {
            0 => Command::View,
            1 => Command::Status,
            2 => Command::History,
            3 => Command::Explain,
            4 => Command::Switchover(Some(id)),
            5 => Command::Switchover(None),
            6 => Command::Drain { id, force: bytes.byte().is_multiple_of(2) },
            7 => Command::Undrain(id),
            8 => Command::Measure,
            _ if bytes.byte().is_multiple_of(4) => Command::Reset,
            _ => Command::PrepareReset,
        };
        self.command_view_server(command);
        self.turn(VIEW, Event::Timeout);
    }

    /// A process ends or starts. Most of the time nothing happens: a fuzzer must not be able to
    /// spend its bytes on what is cheap.
    pub fn end_or_start(&mut self, bytes: &mut Bytes<'_>) {
        let node = bytes.below(self.cores.len());
        match bytes.byte() % 4 {
            0 => self.kill(node),
            1 => self.start(node),
            2 if node == VIEW && bytes.byte().is_multiple_of(8) => {
                self.lose_record();
                self.start(node);
            }
            _ => {}
        }
    }
}

fn happen<P: Process>(
    process: &mut P,
    now: Timestamp,
    event: Event,
    outbox: &mut Outbox<P::Answer>,
) {
    match event {
        Event::Message(from, message) => process.handle_message(now, from, message, outbox),
        Event::Timeout => process.handle_timeout(now, outbox),
    }
}
