//! A state of the modelled world, and what each event does to it.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pbkv::config::Limits;
use pbkv::protocol::message::{Message, Outcome, Reply};
use pbkv::protocol::server::{Answer, Server, ServerConfig};
use pbkv::protocol::sources::Sources;
use pbkv::protocol::view::{Member, Micros, Phase, Record, View};
use pbkv::protocol::{Effect, Outbox, Process};
use pbkv::time::Timestamp;
use pbkv::types::{Epoch, HistoryId, Incarnation, ServerId, ViewId};

use crate::clients::{self, Client, Do, Told};
use crate::leases::Held;
use crate::properties::{Broken, Goals, NO_STALE_READ, count};
use crate::ruling::{self, Living, Ruling, Rulings, Scene};

/// Where clients are: their answers are taken at once and never travel.
const CLIENTS: u16 = 9;
/// Where servers announce themselves, as an index.
pub const VIEW_SERVER: usize = 100;
pub const START: Timestamp = Timestamp(1_000_000_000);
/// A step of a server's clock that fires a first retransmission and is not yet taken for a pause.
const TIMER: Duration = Duration::from_millis(65);

/// Where server `index` is reached.
pub fn address(index: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7001 + u16::try_from(index).expect("few servers")))
}

pub fn client_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], CLIENTS))
}

/// What server `index` is called.
pub fn name(index: usize) -> ServerId {
    ServerId::from(format!("s{}", index + 1).as_str())
}

/// What a run may do.
#[derive(Clone, Debug)]
pub struct Plan {
    pub servers: usize,
    /// What each client asks after it has opened its session.
    pub scripts: Vec<Vec<Do>>,
    /// Requests of one client in flight.
    pub window: usize,
    /// What has happened before the search begins.
    pub start: Start,
    /// New records.
    pub rulings: usize,
    /// Whether a ruling may rest on a pong that is older than the newest record.
    pub stale_pongs: bool,
    /// Rulings, among them, that the operator asks for.
    pub switchovers: usize,
    pub crashes: usize,
    /// Timer events, together.
    pub timers: usize,
    /// Read leases that are granted. With any, whoever rules is a view server that was started with
    /// other flags: it has no leases of its own, and judges sooner than the granted ones are over.
    pub grants: usize,
    /// Whether a server may die while nobody is heard (D52).
    pub silences: bool,
    /// Times that a request has an effect; a client repeats itself without end, but a read that
    /// waits twice is not more than one that waits once.
    pub asks: u8,
    /// What gathers in a server leaves at once; else it is an event of its own, so that batches form.
    pub flush_at_once: bool,
    pub session_capacity: u64,
    /// Little is remembered and little fits into a message, so that a joiner's state travels in many
    /// messages while operations go on.
    pub narrow: bool,
}

/// What has happened before a search begins: messages and records of that time are forgotten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// s1 serves alone from the first view on.
    First,
    /// (s1, s2) is active.
    Unopened,
    /// And every client has opened its session.
    Paired,
    /// Then s2 was left out and has not heard of it.
    Alone,
    /// Then the first client's first write was committed by s1 alone.
    AloneWithWrite,
    /// After `Paired` s1 was granted the first lease of the plan.
    Leased,
    /// After `Paired` s2 has taken over, and s1 has not heard of it.
    Left,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            servers: 3,
            scripts: Vec::new(),
            window: 1,
            start: Start::Paired,
            rulings: 0,
            switchovers: 0,
            stale_pongs: false,
            crashes: 0,
            timers: 0,
            grants: 0,
            silences: false,
            asks: 1,
            flush_at_once: true,
            session_capacity: 100,
            narrow: false,
        }
    }
}

/// A message on its way between servers.
#[derive(PartialEq, Eq, Hash, Debug)]
pub struct Packet {
    pub from: usize,
    pub to: usize,
    pub message: Message,
}

/// Every message that was ever sent, by its hash.
#[derive(Clone, Default, Debug)]
pub struct Network {
    packets: BTreeMap<u64, Arc<Packet>>,
    /// In the order of the first sending, for searches that prefer the recent ones.
    pub order: Vec<u64>,
}

impl Network {
    pub fn send(&mut self, packet: Packet) {
        let mut hasher = DefaultHasher::new();
        packet.hash(&mut hasher);
        let key = hasher.finish();
        if self.packets.insert(key, Arc::new(packet)).is_none() {
            self.order.push(key);
        }
    }

    pub fn get(&self, key: u64) -> Option<&Arc<Packet>> {
        self.packets.get(&key)
    }

    /// Whether some ping to this process names this pong of it.
    fn is_named(&self, to: Incarnation, token: u64) -> bool {
        self.packets.values().any(|packet| {
            matches!(&packet.message, Message::Ping(ping)
                if ping.to == Some(to) && ping.heard == Some(token))
        })
    }

    fn keys(&self) -> impl Iterator<Item = u64> {
        self.packets.keys().copied()
    }
}

/// What can happen next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A message arrives.
    Deliver(u64),
    /// A server hears of a record, new or old.
    Show { record: usize, server: usize },
    /// A client sends a request (again).
    Ask { client: usize, call: usize, server: usize },
    /// The same, of a server that had looked at its clock before it was stopped for as long as
    /// anything that has happened since its last turn.
    AskLate { client: usize, call: usize, server: usize },
    /// The view server makes its next record durable, when exactly these servers are alive.
    Rule { alive: usize, stale: bool },
    /// The same when all are alive and the operator asks for a switchover.
    Switch { stale: bool },
    /// The same, while one server dies and the others are cut off: they fall silent first, then the
    /// dying one, all within dead-after; those alive return later.
    RuleInSilence { dies: usize, alive: usize },
    /// The view server hears a server and sends it a ping that grants a read lease.
    Grant(usize),
    /// A server looks at its clock and sends an answer under a lease, or asks itself again.
    Release(usize),
    /// A server loses its memory and starts again.
    Crash(usize),
    /// A server's clock moves on to its next retransmission.
    Timer(usize),
    /// What has gathered in a server leaves.
    Flush(usize),
}

/// A state of the world.
#[derive(Clone, Debug)]
pub struct State {
    pub servers: Vec<Arc<Server>>,
    pub incarnations: Vec<Incarnation>,
    pub clocks: Vec<Timestamp>,
    /// When each server looked at its clock last.
    pub looks: Vec<Timestamp>,
    pub network: Arc<Network>,
    /// Everything that was ever durable, oldest first.
    pub records: Arc<Vec<Record>>,
    pub clients: Vec<Client>,
    /// Orders calls and answers.
    pub moment: u8,
    pub rulings_left: usize,
    pub switchovers_left: usize,
    pub crashes_left: usize,
    pub timers_left: usize,
    pub grants_left: usize,
    /// Answers that have left a core and not yet the process.
    pub held: Vec<Held>,
    /// Who has served in which view.
    pub served: BTreeMap<ViewId, Incarnation>,
    pub broken: Option<Broken>,
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.servers.hash(hasher);
        (&self.clocks, &self.looks, &self.held).hash(hasher);
        for key in self.network.keys() {
            key.hash(hasher);
        }
        self.records.hash(hasher);
        self.clients.hash(hasher);
        (self.moment, self.rulings_left, self.crashes_left, self.timers_left).hash(hasher);
        (self.grants_left, self.switchovers_left, &self.served, &self.broken).hash(hasher);
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint() == other.fingerprint()
    }
}

impl State {
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

/// A run: its plan, and what it remembers beside the states.
pub struct World {
    pub plan: Plan,
    pub goals: Goals,
    pub rulings: Rulings,
}

impl World {
    pub fn new(plan: Plan) -> World {
        World { plan, goals: Goals::default(), rulings: Rulings::default() }
    }

    pub fn start(&self, index: usize, incarnation: Incarnation, now: Timestamp) -> Arc<Server> {
        // What clients ask of an isolated primary does not pile up over a whole walk.
        let session_capacity = self.plan.session_capacity;
        let mut limits = Limits { session_capacity, pending_reads: 16, ..Limits::default() };
        if self.plan.narrow {
            limits.history_operations = 1;
            limits.loopback_datagram_bytes = 150;
            limits.window_bytes = 100;
        }
        let mut server = Server::new(
            now,
            ServerConfig {
                id: name(index),
                incarnation,
                view_server: address(VIEW_SERVER),
                advertise: Some(address(index)),
                limits,
                sources: Sources::Any,
            },
        );
        // It announces itself; the ruling does not need that.
        server.handle_timeout(now, &mut Outbox::default());
        Arc::new(server)
    }

    /// Servers that have just started and know nothing.
    pub fn blank(&self) -> State {
        let plan = &self.plan;
        let incarnations: Vec<_> =
            (0..plan.servers).map(|index| Incarnation(index as u64 * 10 + 11)).collect();
        let servers = incarnations.iter().enumerate();
        State {
            servers: servers.map(|(index, it)| self.start(index, *it, START)).collect(),
            clocks: vec![START; plan.servers],
            looks: vec![START; plan.servers],
            incarnations,
            network: Arc::default(),
            records: Arc::default(),
            clients: plan.scripts.iter().map(|script| Client::new(script, plan.window)).collect(),
            moment: 0,
            rulings_left: usize::MAX,
            switchovers_left: plan.switchovers,
            crashes_left: plan.crashes,
            timers_left: usize::MAX,
            grants_left: plan.grants,
            held: Vec::new(),
            served: BTreeMap::new(),
            broken: None,
        }
    }

    /// The state that a search begins with.
    pub fn initial(&self) -> State {
        let plan = &self.plan;
        let mut state = self.blank();
        let id = ViewId { epoch: Epoch(1, 900), number: 1 };
        let primary =
            Member { id: name(0), incarnation: state.incarnations[0], address: address(0) };
        let first = Record {
            history: HistoryId(7),
            view: View {
                id,
                primary: primary.clone(),
                backup: None,
                joining: None,
                since: id,
                genesis: true,
            },
            phase: Phase::Active,
            eligible: vec![primary.clone()],
            last_primary: Some(primary),
            lease: Micros(0),
        };
        state.grants_left = 0;
        state.records = Arc::new(vec![first]);
        state = self.happen(&state, &Event::Show { record: 0, server: 0 }).expect("a first view");
        state = self.prepare(state, plan.start);
        state.records = Arc::new(state.records.last().cloned().into_iter().collect());
        state.network = Arc::default();
        state.rulings_left = plan.rulings;
        state.timers_left = plan.timers;
        state.grants_left = plan.grants;
        if plan.start == Start::Leased {
            state = self.force(state, &Event::Grant(0));
            let ping = state.network.order[0];
            state = self.happen(&state, &Event::Deliver(ping)).expect("s1 has a lease");
        }
        state
    }

    /// s1 and s2 are the pair, whatever else there is; then what the plan asks for.
    fn prepare(&self, mut state: State, start: Start) -> State {
        let alive = if self.plan.servers > 1 { 0b11 } else { 0b1 };
        if start != Start::First {
            for _ in 0..8 {
                state = self.force(state, &Event::Rule { alive, stale: false });
                state = self.calm(state, alive);
            }
        }
        if matches!(start, Start::First | Start::Unopened) {
            return state;
        }
        for client in 0..state.clients.len() {
            state = self.force(state, &Event::Ask { client, call: 0, server: 0 });
            state = self.calm(state, alive);
            assert!(state.clients[client].session().is_some(), "sessions are open");
        }
        match start {
            Start::First | Start::Unopened | Start::Paired | Start::Leased => {}
            Start::Alone | Start::AloneWithWrite => {
                // s2 hears nothing of the view that leaves it out.
                state = self.force(state, &Event::Rule { alive: 0b1, stale: false });
                state = self.calm(state, 0b1);
            }
            Start::Left => {
                state = self.force(state, &Event::Rule { alive: 0b10, stale: false });
                state = self.calm(state, 0b10);
                state = self.force(state, &Event::Rule { alive: 0b10, stale: false });
                state = self.calm(state, 0b10);
            }
        }
        if start == Start::AloneWithWrite {
            state = self.force(state, &Event::Ask { client: 0, call: 1, server: 0 });
            assert!(state.clients[0].calls[1].told.is_some(), "s1 commits alone");
        }
        state
    }

    /// The event, or the same state if it changes nothing.
    pub fn force(&self, state: State, event: &Event) -> State {
        self.happen(&state, event).unwrap_or(state)
    }

    /// Delivers everything between these servers until nothing changes any more.
    pub fn calm(&self, mut state: State, alive: usize) -> State {
        let is_alive = |server: usize| server == VIEW_SERVER || alive & (1 << server) != 0;
        for _ in 0..200 {
            let before = state.fingerprint();
            let newest = state.records.len() - 1;
            for server in (0..self.plan.servers).filter(|server| is_alive(*server)) {
                let show = Event::Show { record: newest, server };
                state = self.happen(&state, &show).unwrap_or(state);
                state = self.happen(&state, &Event::Flush(server)).unwrap_or(state);
            }
            for key in state.network.order.clone() {
                let packet = &state.network.packets[&key];
                if is_alive(packet.from) && is_alive(packet.to) {
                    state = self.happen(&state, &Event::Deliver(key)).unwrap_or(state);
                }
            }
            if state.fingerprint() == before {
                break;
            }
        }
        state
    }

    /// Everything that may happen now.
    pub fn events(&self, state: &State, events: &mut Vec<Event>) {
        if state.broken.is_some() {
            return;
        }
        events.extend(state.network.keys().map(Event::Deliver));
        let servers = 0..self.plan.servers;
        for record in 0..state.records.len() {
            events.extend(servers.clone().map(|server| Event::Show { record, server }));
        }
        for (number, client) in state.clients.iter().enumerate() {
            for call in 0..client.calls.len() {
                let spent = client.calls[call].asked >= self.plan.asks;
                if client.may_ask(call) && !spent {
                    let ask = |server| Event::Ask { client: number, call, server };
                    events.extend(servers.clone().map(ask));
                    let stopped = servers.clone().filter(|it| state.looks[*it] < state.clocks[*it]);
                    let ask = |server| Event::AskLate { client: number, call, server };
                    events.extend(stopped.map(ask));
                }
            }
        }
        if state.rulings_left > 0 {
            for alive in 1..1 << self.plan.servers {
                events.push(Event::Rule { alive, stale: false });
                if self.plan.stale_pongs {
                    events.push(Event::Rule { alive, stale: true });
                }
            }
            // With anybody dead it is refused, or a failover.
            if state.switchovers_left > 0 {
                events.push(Event::Switch { stale: false });
                if self.plan.stale_pongs {
                    events.push(Event::Switch { stale: true });
                }
            }
        }
        if state.crashes_left > 0 {
            events.extend(servers.clone().map(Event::Crash));
        }
        if self.plan.silences && state.crashes_left > 0 && state.rulings_left > 0 {
            for dies in servers.clone() {
                let others = (1..1 << self.plan.servers).filter(|alive| alive & (1 << dies) == 0);
                events.extend(others.map(|alive| Event::RuleInSilence { dies, alive }));
            }
        }
        if state.grants_left > 0 {
            events.extend(servers.clone().map(Event::Grant));
        }
        events.extend((0..state.held.len()).map(Event::Release));
        if state.timers_left > 0 {
            events.extend(servers.clone().map(Event::Timer));
        }
        if !self.plan.flush_at_once {
            events.extend(servers.map(Event::Flush));
        }
    }

    /// The state after an event; none if nothing has changed.
    pub fn happen(&self, state: &State, event: &Event) -> Option<State> {
        let mut next = state.clone();
        match event {
            Event::Deliver(key) => {
                let packet = Arc::clone(state.network.get(*key)?);
                let (to, from) = (packet.to, address(packet.from));
                self.turn(&mut next, to, |server, now, outbox| {
                    server.handle_message(now, from, packet.message.clone(), outbox);
                })?;
            }
            Event::Show { record, server } => self.show(&mut next, *record, *server)?,
            Event::Ask { client, call, server } => {
                let now = state.clocks[*server];
                self.ask(&mut next, *client, *call, *server, now)?;
            }
            Event::AskLate { client, call, server } => {
                let now = state.looks[*server];
                self.ask(&mut next, *client, *call, *server, now)?;
            }
            Event::Rule { alive, stale } => self.rule(&mut next, *alive, *stale, false)?,
            Event::Switch { stale } => {
                let all = (1 << self.plan.servers) - 1;
                self.rule(&mut next, all, *stale, true)?;
                next.switchovers_left -= 1;
                let promoted = &next.records[next.records.len() - 1].view.primary;
                let former = &state.records[state.records.len() - 1].view.primary;
                if promoted.incarnation == former.incarnation {
                    // Nothing was switched: an ordinary ruling.
                    return None;
                }
                count(&self.goals.switchovers);
            }
            Event::RuleInSilence { dies, alive } => {
                self.rule_in_silence(&mut next, *dies, *alive)?;
            }
            Event::Crash(server) => self.crash(&mut next, *server),
            Event::Grant(server) => self.grant(&mut next, *server)?,
            Event::Release(index) => self.release(&mut next, *index),
            Event::Timer(server) => {
                next.clocks[*server] = state.clocks[*server] + TIMER;
                next.timers_left -= 1;
                let sent = next.network.order.len();
                self.turn(&mut next, *server, |server, now, outbox| {
                    server.handle_timeout(now, outbox);
                });
                if sent == next.network.order.len() && state.timers_left < usize::MAX / 2 {
                    return None;
                }
            }
            Event::Flush(server) => {
                if state.servers[*server].poll_timeout()? > state.clocks[*server] {
                    return None;
                }
                self.turn(&mut next, *server, |server, now, outbox| {
                    server.handle_timeout(now, outbox);
                })?;
            }
        }
        Some(next)
    }

    fn crash(&self, state: &mut State, index: usize) {
        let incarnation = Incarnation(state.incarnations[index].0 + 1);
        state.incarnations[index] = incarnation;
        state.servers[index] = self.start(index, incarnation, state.clocks[index]);
        state.looks[index] = state.clocks[index];
        state.held.retain(|held| held.server != index);
        state.crashes_left -= 1;
    }

    /// Lets a server do something now.
    pub fn turn(
        &self,
        state: &mut State,
        index: usize,
        act: impl FnOnce(&mut Server, Timestamp, &mut Outbox<Answer>),
    ) -> Option<()> {
        let now = state.clocks[index];
        self.turn_at(state, index, now, act)
    }

    /// Lets a server do something, sends what comes out, and checks what it may have broken. None if
    /// it has not changed.
    fn turn_at(
        &self,
        state: &mut State,
        index: usize,
        now: Timestamp,
        act: impl FnOnce(&mut Server, Timestamp, &mut Outbox<Answer>),
    ) -> Option<()> {
        let before = Arc::clone(&state.servers[index]);
        state.looks[index] = now;
        let mut server = Server::clone(&before);
        let mut outbox = Outbox::default();
        act(&mut server, now, &mut outbox);
        if self.plan.flush_at_once {
            for _ in 0..8 {
                if server.poll_timeout().is_none_or(|at| at > now) {
                    break;
                }
                server.handle_timeout(now, &mut outbox);
            }
        }
        // All pings that name a pong are in the network, and a new one names a new pong.
        let me = server.incarnation();
        state.incarnations[index] = me;
        server.forget_pongs(|token| state.network.is_named(me, token));
        let (moment, sent, held) = (state.moment, state.network.order.len(), state.held.len());
        let changed = server != *before;
        if changed {
            state.servers[index] = Arc::new(server);
        }
        let mut check = Ok(());
        for effect in outbox.drain() {
            match effect {
                Effect::Send { message: Message::Reply(reply), .. } => {
                    check = check.and(self.reply(state, &reply));
                }
                Effect::Send { to: destination, message } => {
                    let to = (0..self.plan.servers).find(|to| address(*to) == destination);
                    if let Some(to) = to
                        && travels(&message)
                    {
                        Arc::make_mut(&mut state.network).send(Packet { from: index, to, message });
                    }
                }
                Effect::SendBefore { before, message: Message::Reply(reply), request, .. } => {
                    state.held.push(Held { server: index, before, reply, request });
                }
                Effect::SendBefore { .. }
                | Effect::Persist(_)
                | Effect::Answer(..)
                | Effect::Stop(_) => {}
            }
        }
        let silent = sent == state.network.order.len() && held == state.held.len();
        if !changed && moment == state.moment && silent {
            return None;
        }
        check = check.and(state.check_server(index, &before));
        if let Err(broken) = check {
            state.broken.get_or_insert(broken);
        }
        Some(())
    }

    /// Tells a client, and checks the history.
    pub fn reply(&self, state: &mut State, reply: &Reply) -> Result<(), Broken> {
        let client = usize::try_from(reply.client.0 - 1).expect("few clients");
        let moment = state.moment;
        if !state.clients[client].tell(reply.id, &reply.outcome, moment) {
            if reply.outcome == Outcome::Done {
                count(&self.goals.duplicate_suppressed);
            }
            return Ok(());
        }
        state.moment += 1;
        if reply.outcome == Outcome::SessionExpired {
            count(&self.goals.evicted_refused);
        }
        if state.clients.iter().all(Client::is_done) {
            count(&self.goals.all_done);
        }
        clients::check_history(&state.clients)
            .map_err(|detail| Broken { property: NO_STALE_READ, detail })
    }

    fn show(&self, state: &mut State, record: usize, index: usize) -> Option<()> {
        let record = state.records[record].clone();
        let me = state.incarnations[index];
        let (sent, adopted) = (state.network.order.len(), state.servers[index].adopted());
        self.turn(state, index, |server, now, outbox| {
            let ping = ruling::ping(Incarnation(901), me, Some(record));
            server.handle_message(now, address(VIEW_SERVER), ping, outbox);
        });
        let silent = state.servers[index].adopted() == adopted
            && sent == state.network.order.len()
            && state.broken.is_none();
        (!silent).then_some(())
    }

    fn ask(
        &self,
        state: &mut State,
        client: usize,
        call: usize,
        index: usize,
        now: Timestamp,
    ) -> Option<()> {
        if !state.servers[index].inspect().is_serving {
            return None;
        }
        let moment = state.moment;
        let asker = &mut state.clients[client];
        let repeated = asker.calls[call].told.is_some();
        if asker.calls[call].called.is_none() {
            asker.calls[call].called = Some(moment);
            state.moment += 1;
        }
        state.clients[client].calls[call].asked =
            state.clients[client].calls[call].asked.saturating_add(1);
        let request = Message::Request(state.clients[client].request(client, call));
        self.turn_at(state, index, now, |server, now, outbox| {
            server.handle_message(now, client_address(), request, outbox);
        })?;
        let expired = |(_, told): &(u8, Told)| *told == Told::Expired;
        if repeated && state.clients[client].calls[call].told.as_ref().is_some_and(expired) {
            count(&self.goals.evicted_refused);
        }
        Some(())
    }

    /// Counts what a new record is an example of.
    pub fn note(&self, record: &Record) {
        let spare = self.plan.servers == 3
            && record.phase == Phase::Active
            && record.view.primary.id == name(2);
        if spare {
            count(&self.goals.spare_promoted);
        }
        let pair = record.view.backup.as_ref().map(|backup| backup.id.clone());
        if record.phase == Phase::Active && record.view.primary.id == name(1) {
            count(&self.goals.failovers);
            if pair == Some(name(0)) {
                count(&self.goals.swapped_roles);
            }
        }
    }

    fn rule(&self, state: &mut State, alive: usize, stale: bool, switchover: bool) -> Option<()> {
        let living = self.living(state, alive, stale);
        let scene = Scene { timing: self.ruling_timing(), dies: None, living, switchover };
        self.carry_out(state, &scene)
    }

    fn rule_in_silence(&self, state: &mut State, dies: usize, alive: usize) -> Option<()> {
        let living = self.living(state, alive | 1 << dies, false);
        let scene =
            Scene { timing: self.ruling_timing(), dies: Some(dies), living, switchover: false };
        self.crash(state, dies);
        self.carry_out(state, &scene)
    }

    /// What the servers that are alive answer.
    fn living(&self, state: &mut State, alive: usize, stale: bool) -> Vec<Living> {
        let newest = state.records.len() - 1;
        let record = state.records[newest].clone();
        let mut living = Vec::new();
        for index in (0..self.plan.servers).filter(|index| alive & (1 << index) != 0) {
            let me = state.incarnations[index];
            let decides = me == record.view.primary.incarnation
                || record.last_primary.as_ref().is_some_and(|last| last.incarnation == me);
            if decides || !stale {
                // What it answers, it answers as one that has heard of the record.
                self.show(state, newest, index);
            }
            living.push((index, ruling::pong(&state.servers[index], me, state.clocks[index])));
        }
        living
    }

    /// Makes the next record durable, and lets the time pass that this took.
    fn carry_out(&self, state: &mut State, scene: &Scene) -> Option<()> {
        let record = &state.records[state.records.len() - 1];
        let Ruling { record: next, took } = self.rulings.next(record, scene)?;
        let checked = state.check_record(&next).and_then(|()| state.check_kept(&next));
        if let Err(broken) = checked {
            state.broken.get_or_insert(broken);
        }
        self.note(&next);
        Arc::make_mut(&mut state.records).push(next);
        state.rulings_left -= 1;
        self.pass(state, took);
        if let Err(broken) = state.check_copies() {
            state.broken.get_or_insert(broken);
        }
        Some(())
    }
}

/// Whether a message is one between servers: the others are part of other events.
fn travels(message: &Message) -> bool {
    matches!(
        message,
        Message::Replicate(_)
            | Message::Ack(_)
            | Message::NewerView(_)
            | Message::Offer(_)
            | Message::Verdict(_)
            | Message::Transfer(_)
            | Message::TransferAck(_)
    )
}
