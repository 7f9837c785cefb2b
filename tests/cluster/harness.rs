//! The simulated world: nodes with their own clocks, one event queue, one network, one disk.
//!
//! A run is a function of its seed. Kept here: events happen in the order of (time, sequence), and
//! after every turn of a process the invariants are checked. What strikes and when is the nemesis'
//! business, what clients ask is the workload's.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;

use pbkv::config::Timing;
use pbkv::protocol::client::{ClientConfig, ClientProcess};
use pbkv::protocol::message::Message;
use pbkv::protocol::server::{Server, ServerConfig};
use pbkv::protocol::transport::{Datagram, Transport};
use pbkv::protocol::view::Record;
use pbkv::protocol::view_server::{self, DurableRecord, ViewServer, ViewServerConfig};
use pbkv::types::{CallId, Incarnation, ServerId};

use crate::clock::{Clock, Instant, MS};
use crate::counts::{Count, Counts};
use crate::driver::{Answered, Disturbance, Driver, Halt, Turn, Witness};
use crate::invariants::{Checks, Violation};
use crate::nemesis::{Nemesis, Repair};
use crate::network::{Network, Packet};
use crate::plain::Plain;
use crate::plan::{Fault, Plan};
use crate::random::Random;
use crate::trace::Trace;
use crate::workload::Workload;

/// Index of the view server among the nodes; servers follow, then clients, then the places in
/// `twins` and the client of `plain`.
pub const VIEW: usize = 0;

/// What runs on a node.
pub enum Core {
    View(Driver<ViewServer>),
    Server(Driver<Server>),
    Client(Driver<ClientProcess>),
    Down,
}

/// A machine: an address, a clock, and a process that may be down.
pub struct Node {
    pub name: String,
    pub address: SocketAddr,
    pub core: Core,
    pub incarnation: Incarnation,
    pub clock: Clock,
    transport: Transport,
    inbox: VecDeque<(SocketAddr, Rc<[u8]>)>,
    inbox_bytes: usize,
    /// Handles nothing before this.
    pub paused_until: Instant,
    /// In the middle of a turn until then.
    pub busy_until: Instant,
    /// The turn that is due, with its ticket; turns with another ticket are void.
    pub turn: Option<Instant>,
    pub ticket: u64,
    /// When the newest ping was sent that the view server knows this node has answered.
    pub pong_at: Instant,
}

impl Node {
    pub fn is_down(&self) -> bool {
        matches!(self.core, Core::Down)
    }

    pub fn server(&self) -> Option<&Server> {
        match &self.core {
            Core::Server(driver) => Some(&driver.process),
            Core::View(_) | Core::Client(_) | Core::Down => None,
        }
    }
}

/// Something that happens at a time.
pub enum Event {
    Deliver(Packet),
    Turn {
        node: usize,
        ticket: u64,
    },
    Restart(usize),
    /// A client's lane asks for its next operation.
    Issue {
        client: usize,
        lane: usize,
        incarnation: Incarnation,
    },
    Strike,
    /// A trap snaps.
    Snap(Fault),
    Repair(Repair),
    Ghost,
    /// The plain client sends its next datagram.
    Plain,
}

struct Scheduled {
    at: Instant,
    sequence: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    /// The heap's greatest element is the earliest event.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

pub struct World {
    pub plan: Plan,
    pub random: Random,
    pub now: Instant,
    sequence: u64,
    queue: BinaryHeap<Scheduled>,
    pub nodes: Vec<Node>,
    pub network: Network,
    /// What a restarted view server finds.
    pub disk: Option<DurableRecord>,
    /// The newest record that was ever durable, lost or not.
    pub truth: Option<DurableRecord>,
    pub slow_disk: Instant,
    pub nemesis: Nemesis,
    pub workload: Workload,
    pub plain: Plain,
    pub checks: Checks,
    pub counts: Counts,
    pub trace: Trace,
    pub failure: Option<Violation>,
    /// Answers of the view server to its own terminal that nobody has taken yet.
    pub view_answers: Vec<(CallId, pbkv::protocol::view_server::Answer)>,
    /// When the present view server sent each ping that was not answered yet, by nonce.
    pub pinged: BTreeMap<u64, Instant>,
    /// The view server is told all addresses in its hosts file.
    pub has_hosts: bool,
    pub datagrams: Vec<Datagram>,
    messages: Vec<Message>,
    answers: Vec<(CallId, Answered)>,
    records: Vec<DurableRecord>,
}

impl World {
    pub fn new(seed: u64, plan: Plan, random: Random, talk: bool) -> World {
        let nodes = 1 + plan.servers + plan.clients + 3;
        let network = Network::new(nodes, plan.weather.clone(), plan.ghost_every > 0);
        let workload = Workload::new(&plan);
        let mut world = World {
            random,
            now: 0,
            sequence: 0,
            queue: BinaryHeap::new(),
            nodes: Vec::new(),
            network,
            disk: None,
            truth: None,
            slow_disk: plan.disk,
            nemesis: Nemesis::default(),
            workload,
            plain: Plain::default(),
            checks: Checks::default(),
            counts: Counts::default(),
            trace: Trace::new(talk),
            failure: None,
            view_answers: Vec::new(),
            pinged: BTreeMap::new(),
            has_hosts: false,
            datagrams: Vec::new(),
            messages: Vec::new(),
            answers: Vec::new(),
            records: Vec::new(),
            plan,
        };
        world.has_hosts = world.random.chance(500_000);
        world.trace.note(0, seed, &[]);
        for index in 0..nodes {
            let node = world.machine(index);
            world.nodes.push(node);
        }
        for index in 0..world.clients().end {
            // Everybody starts at about the same time, in any order.
            let at = world.random.below(20 * MS);
            world.schedule(at, Event::Restart(index));
        }
        world
    }

    fn machine(&mut self, index: usize) -> Node {
        let name = if index == VIEW {
            "view".to_owned()
        } else if index <= self.plan.servers {
            format!("s{index}")
        } else if self.clients().contains(&index) {
            format!("c{}", index - self.plan.servers)
        } else {
            format!("extra{index}")
        };
        let last = u8::try_from(index + 1).expect("few nodes");
        let rate = self.random.between(950_000, 1_050_000);
        let origin = self.random.pick(&[0, 1_000_000_000, 1_000_000_000_000]);
        Node {
            name,
            address: SocketAddr::from(([10, 0, 0, last], 5000)),
            core: Core::Down,
            incarnation: Incarnation(0),
            clock: Clock::new(0, origin, rate),
            transport: Transport::new(Incarnation(0), self.plan.limits),
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            paused_until: 0,
            busy_until: 0,
            turn: None,
            ticket: 0,
            pong_at: 0,
        }
    }

    /// Where kv servers run, the place of a displaced one included.
    pub fn servers(&self) -> impl Iterator<Item = usize> + use<> {
        (1..=self.plan.servers).chain([self.old_server()])
    }

    pub fn clients(&self) -> std::ops::Range<usize> {
        let first = self.plan.servers + 1;
        first..first + self.plan.clients
    }

    /// What the view server goes by now.
    pub fn view_server_record(&self) -> Option<&Record> {
        match &self.nodes[VIEW].core {
            Core::View(driver) => driver.process.record(),
            Core::Server(_) | Core::Client(_) | Core::Down => None,
        }
    }

    /// The node where this process runs, if it is alive.
    pub fn node_of(&self, incarnation: Incarnation) -> Option<usize> {
        self.servers().find(|index| {
            let node = &self.nodes[*index];
            node.incarnation == incarnation && !node.is_down()
        })
    }

    pub fn dead_after(&self) -> Instant {
        nanos(&self.plan.timing)
    }

    pub fn schedule(&mut self, at: Instant, event: Event) {
        self.sequence += 1;
        self.queue.push(Scheduled { at: at.max(self.now), sequence: self.sequence, event });
    }

    /// A number greater than every one before: orders the calls and answers of a history.
    pub fn moment(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    pub fn fail(&mut self, violation: Violation) {
        let at = self.now;
        self.trace.say(at, || format!("VIOLATION {violation}"));
        self.failure.get_or_insert(violation);
    }

    /// Lets things happen until a time, or until an invariant is broken.
    pub fn run_until(&mut self, until: Instant) {
        // What two histories that know nothing of each other promise together is nothing.
        while self.failure.is_none() && !self.nemesis.forked {
            if self.queue.peek().is_none_or(|next| next.at > until) {
                self.now = until;
                return;
            }
            let next = self.queue.pop().expect("it was just seen");
            self.now = next.at;
            match next.event {
                Event::Deliver(packet) => self.deliver(&packet),
                Event::Turn { node, ticket } => self.turn(node, ticket),
                Event::Restart(node) => self.start(node),
                Event::Issue { client, lane, incarnation } => self.issue(client, lane, incarnation),
                Event::Strike => self.strike(),
                Event::Snap(fault) => self.inflict(fault),
                Event::Repair(repair) => self.repair(repair),
                Event::Ghost => self.haunt(),
                Event::Plain => self.ask_plainly(),
            }
        }
    }

    /// A datagram arrives, wherever its destination is now.
    pub fn deliver(&mut self, packet: &Packet) {
        let index = if self.nodes[packet.to].address == packet.destination {
            packet.to
        } else {
            let found = self.nodes.iter().position(|node| node.address == packet.destination);
            let Some(index) = found else { return };
            index
        };
        if index == self.plain_client() {
            return self.hear_plainly(&packet.bytes);
        }
        let node = &mut self.nodes[index];
        if node.is_down() {
            return;
        }
        if node.inbox_bytes + packet.bytes.len() > self.plan.socket_bytes {
            self.counts.add(Count::Overflowed);
            return;
        }
        self.trace.note(self.now, index as u64, &packet.bytes);
        node.inbox_bytes += packet.bytes.len();
        node.inbox.push_back((packet.source, Rc::clone(&packet.bytes)));
        if packet.from == self.plain_client() {
            self.note_plain_delivery(packet.source);
        }
        let lag = self.random.below(self.plan.lag + 1);
        self.wake(index, self.now + lag);
    }

    /// Sees to it that a node has a turn at this time at the latest.
    pub fn wake(&mut self, index: usize, at: Instant) {
        let node = &mut self.nodes[index];
        let at = at.max(node.paused_until).max(node.busy_until).max(self.now);
        if node.is_down() || node.turn.is_some_and(|due| due <= at) {
            return;
        }
        node.turn = Some(at);
        node.ticket += 1;
        let ticket = node.ticket;
        self.schedule(at, Event::Turn { node: index, ticket });
    }

    fn turn(&mut self, index: usize, ticket: u64) {
        let now = self.now;
        let node = &mut self.nodes[index];
        if node.is_down() || node.ticket != ticket {
            return;
        }
        node.turn = None;
        if node.paused_until.max(node.busy_until) > now {
            let until = node.paused_until.max(node.busy_until);
            return self.wake(index, until);
        }
        self.counts.add(Count::Turns);
        let mut witness = Witness::default();
        let is_view = matches!(node.core, Core::View(_));
        let mut turn = Turn {
            now,
            name: &node.name,
            clock: &node.clock,
            transport: &mut node.transport,
            inbox: &mut node.inbox,
            disturbance: Disturbance {
                disk: self.slow_disk,
                crash_after_persist: self.plan.crash_after_persist,
                stop_before_sending: self.plan.stop_before_sending,
                stop_most: 2 * nanos(&self.plan.timing),
            },
            random: &mut self.random,
            counts: &mut self.counts,
            trace: &mut self.trace,
            messages: &mut self.messages,
            answers: &mut self.answers,
            records: &mut self.records,
            witness: &mut witness,
        };
        let halt = match &mut node.core {
            Core::View(driver) => driver.turn(&mut turn),
            Core::Server(driver) => driver.turn(&mut turn),
            Core::Client(driver) => driver.turn(&mut turn),
            Core::Down => return,
        };
        node.inbox_bytes = node.inbox.iter().map(|(_, bytes)| bytes.len()).sum();
        if matches!(halt, Halt::Finished) {
            node.transport.flush(&mut self.datagrams);
        }
        self.meet_again(index);
        self.absorb(index, &witness);
        self.post(index);
        match halt {
            Halt::Finished => self.wake_by_timer(index),
            Halt::Suspended(length) => {
                self.nodes[index].busy_until = now + length;
                self.wake(index, now + length);
            }
            Halt::Killed => {
                self.crash(index);
                let back = self.random.below(self.dead_after());
                self.schedule(now + back, Event::Restart(index));
            }
            Halt::Ended(why) => self.ended(index, &why),
            Halt::Spinning(detail) => self.fail(Violation::new("timer-advances", detail)),
        }
        if self.failure.is_none() && !is_view {
            self.check_server(index);
        }
    }

    /// A server that began again is another one.
    fn meet_again(&mut self, index: usize) {
        let node = &self.nodes[index];
        let Some(incarnation) = node.server().map(Server::incarnation) else { return };
        if incarnation != node.incarnation {
            self.trace.say(self.now, || format!("{} goes on as {incarnation}", node.name));
            self.counts.add(Count::BegunAgain);
            self.nodes[index].incarnation = incarnation;
            self.look_for_survivors();
        }
    }

    /// Takes in what a turn brought: durable records first, because answers may rest on them.
    fn absorb(&mut self, index: usize, witness: &Witness) {
        let mut records = std::mem::take(&mut self.records);
        for record in records.drain(..) {
            self.made_durable(index, record);
        }
        self.records = records;
        if index == VIEW {
            // A ghost is no sign of life, to the nemesis either.
            for (from, nonce) in &witness.pongs {
                if let Some(node) = self.node_of(*from)
                    && let Some(pinged) = self.pinged.remove(nonce)
                {
                    self.nodes[node].pong_at = self.nodes[node].pong_at.max(pinged);
                }
            }
            self.pinged.extend(witness.pings.iter().map(|nonce| (*nonce, self.now)));
        }
        if let Err(violation) = self.checks.on_shown(&witness.shown) {
            self.fail(violation);
        }
        if witness.reported {
            self.nemesis.reported_at = self.now;
        }
        let mut answers = std::mem::take(&mut self.answers);
        for (call, answer) in answers.drain(..) {
            match answer {
                Answered::Client(answer) => self.answered(call, answer),
                Answered::View(answer) => {
                    self.count_operation(&answer);
                    self.view_answers.push((call, answer));
                }
                Answered::Server => {}
            }
        }
        self.answers = answers;
    }

    /// Counts what became of what the operator asked for.
    fn count_operation(&mut self, answer: &view_server::Answer) {
        if let view_server::Answer::SwitchedOver(shown) = answer {
            let paired = shown.primary.is_some() && shown.backup.is_some();
            let done = Count::SwitchoversDone;
            self.counts.add(if paired { done } else { Count::SwitchoversHalfDone });
        } else if let view_server::Answer::SwitchoverRefused(_) = answer {
            self.counts.add(Count::SwitchoversRefused);
        } else if let view_server::Answer::DrainRefused(_) = answer {
            self.counts.add(Count::DrainsRefused);
        } else if let view_server::Answer::Drained(text) = answer {
            let joins = text.ends_with("may join again");
            self.counts.add(if joins { Count::Undrained } else { Count::DrainsDone });
        }
    }

    /// Hands what a node sends to the network.
    pub fn post(&mut self, index: usize) {
        let mut datagrams = std::mem::take(&mut self.datagrams);
        let source = self.nodes[index].address;
        for Datagram { to: destination, bytes } in datagrams.drain(..) {
            let Some(to) = self.nodes.iter().position(|node| node.address == destination) else {
                continue;
            };
            let packet = Packet { from: index, to, source, destination, bytes: bytes.into() };
            let (queue, sequence) = (&mut self.queue, &mut self.sequence);
            self.network.send(
                self.now,
                packet,
                &mut self.random,
                &mut self.counts,
                |at, packet| {
                    *sequence += 1;
                    queue.push(Scheduled {
                        at,
                        sequence: *sequence,
                        event: Event::Deliver(packet),
                    });
                },
            );
        }
        self.datagrams = datagrams;
    }

    /// A datagram of the past arrives again.
    fn haunt(&mut self) {
        if !self.network.keeps_ghosts {
            return;
        }
        if let Some(packet) = self.network.ghost(&mut self.random, &mut self.counts) {
            self.deliver(&packet);
        }
        let pause = self.random.around(self.plan.ghost_every);
        self.schedule(self.now + pause, Event::Ghost);
    }

    fn wake_by_timer(&mut self, index: usize) {
        let node = &self.nodes[index];
        let due = match &node.core {
            Core::View(driver) => poll(&driver.process),
            Core::Server(driver) => poll(&driver.process),
            Core::Client(driver) => poll(&driver.process),
            Core::Down => return,
        };
        let due = due.into_iter().chain(node.transport.poll_timeout()).min();
        if !node.inbox.is_empty() {
            return self.wake(index, self.now);
        }
        if let Some(at) = due.and_then(|due| node.clock.instant_of(due)) {
            self.wake(index, at);
        }
    }

    /// The clock or a pause has changed: whatever was planned is planned anew.
    pub fn replan(&mut self, index: usize) {
        self.nodes[index].turn = None;
        self.wake(index, self.now);
    }

    /// Starts a process where none runs, with nothing but what is durable.
    pub fn start(&mut self, index: usize) {
        // What was displaced does not come back once it has ended.
        if !self.nodes[index].is_down() || index >= self.clients().end {
            return;
        }
        let incarnation = Incarnation(self.random.next() | 1);
        let view_server = self.nodes[VIEW].address;
        let limits = self.plan.limits;
        let now = self.nodes[index].clock.read(self.now);
        if (1..=self.plan.servers).contains(&index) && self.random.chance(self.plan.moves) {
            let port = self.nodes[index].address.port();
            self.nodes[index].address.set_port(port + 1);
        }
        let core = if index == VIEW {
            let hosts: BTreeMap<ServerId, SocketAddr> = (1..=self.plan.servers)
                .filter(|_| self.has_hosts)
                .map(|server| (self.id(server), self.nodes[server].address))
                .collect();
            self.pinged.clear();
            let config = ViewServerConfig {
                incarnation,
                timing: self.plan.timing,
                hosts,
                sources: self.plan.sources,
            };
            Core::View(Driver::new(ViewServer::new(now, config, self.disk.clone())))
        } else if index <= self.plan.servers {
            let advertise = self.random.chance(500_000).then_some(self.nodes[index].address);
            let id = self.id(index);
            let sources = self.plan.sources;
            let config = ServerConfig { id, incarnation, view_server, advertise, limits, sources };
            Core::Server(Driver::new(Server::new(now, config)))
        } else {
            let config = ClientConfig { incarnation, view_server, limits };
            Core::Client(Driver::new(ClientProcess::new(now, config)))
        };
        let at = self.now;
        let node = &mut self.nodes[index];
        self.trace.say(at, || format!("{} starts as {incarnation}", node.name));
        self.trace.note(at, incarnation.0, &[]);
        node.core = core;
        node.incarnation = incarnation;
        node.transport = Transport::new(incarnation, limits);
        node.turn = None;
        self.wake(index, at);
        if index > self.plan.servers {
            for lane in 0..self.plan.lanes {
                let pause = self.random.around(self.plan.think);
                self.schedule(at + pause, Event::Issue { client: index, lane, incarnation });
            }
        }
    }

    pub fn id(&self, index: usize) -> ServerId {
        ServerId::from(&*self.nodes[index].name)
    }

    /// Ends a process; whatever it had in memory is gone.
    pub fn crash(&mut self, index: usize) {
        if let Core::View(driver) = &self.nodes[index].core
            && let Some(record) = driver.record_in_writing().cloned()
            && self.random.chance(500_000)
        {
            self.made_durable(index, record);
        }
        let at = self.now;
        let node = &mut self.nodes[index];
        self.trace.say(at, || format!("{} is gone", node.name));
        node.core = Core::Down;
        node.inbox.clear();
        node.inbox_bytes = 0;
        node.turn = None;
        node.busy_until = 0;
        let incarnation = node.incarnation;
        if self.clients().contains(&index) {
            self.workload.client_gone(incarnation);
        }
        self.look_for_survivors();
    }

    /// Asks a client's process to do something.
    pub fn command(
        &mut self,
        index: usize,
        call: CallId,
        command: pbkv::protocol::client::Command,
    ) {
        if let Core::Client(driver) = &mut self.nodes[index].core {
            driver.calls.push_back((call, command));
            self.wake(index, self.now);
        }
    }

    /// Types a command at the view server's terminal.
    pub fn type_at_view_server(
        &mut self,
        call: CallId,
        command: pbkv::protocol::view_server::Command,
    ) {
        if let Core::View(driver) = &mut self.nodes[VIEW].core {
            driver.calls.push_back((call, command));
            self.wake(VIEW, self.now);
        }
    }
}

fn poll<P: pbkv::protocol::Process>(process: &P) -> Option<pbkv::time::Timestamp> {
    process.poll_timeout()
}

/// Silence after which a server is judged dead, in simulated time.
pub fn nanos(timing: &Timing) -> Instant {
    u64::try_from(timing.dead_after().as_nanos()).expect("a short time")
}
