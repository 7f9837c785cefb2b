//! Where the time of one operation goes, without sockets: the production cores and transports of a
//! client, a primary and a backup hand each other datagrams in memory.
//!
//! `cargo test --release --test cost -- --ignored --nocapture` prints nanoseconds for one
//! operation in each turn of its way, the least of many rounds. The last column is the part of it
//! that is transport and codec: every datagram is received and packed once more, by itself. A
//! measurement and no test: it asserts only that every operation is answered.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use pbkv::config::{Limits, Timing};
use pbkv::kv::command::{Command as Change, Key, Value};
use pbkv::protocol::client::{Action, ClientConfig, ClientProcess, Command};
use pbkv::protocol::message::Message;
use pbkv::protocol::server::{Server, ServerConfig};
use pbkv::protocol::sources::Sources;
use pbkv::protocol::transport::{Datagram, Transport};
use pbkv::protocol::view_server::{ViewServer, ViewServerConfig};
use pbkv::protocol::{Effect, Outbox, Process};
use pbkv::time::Timestamp;
use pbkv::types::{CallId, Incarnation, ServerId};

const ROUNDS: usize = 3_000;

/// One process with its transport.
struct Node<P: Process> {
    address: SocketAddr,
    process: P,
    transport: Transport,
    outbox: Outbox<P::Answer>,
    messages: Vec<Message>,
    ready: Vec<Datagram>,
    answers: u64,
}

impl<P: Process> Node<P> {
    fn new(port: u16, process: P) -> Self {
        Node {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            process,
            transport: Transport::new(Incarnation(u64::from(port)), Limits::default()),
            outbox: Outbox::default(),
            messages: Vec::new(),
            ready: Vec::new(),
            answers: 0,
        }
    }

    /// One turn as the runtime takes it; leaves in `ready` what it sends.
    fn turn(&mut self, now: Timestamp, arrived: &[Datagram], from: SocketAddr) {
        for datagram in arrived.iter().filter(|datagram| datagram.to == self.address) {
            self.transport.receive(now, from, &datagram.bytes, &mut self.messages);
            for message in self.messages.drain(..) {
                self.process.handle_message(now, from, message, &mut self.outbox);
            }
        }
        if self.process.poll_timeout().is_some_and(|due| due <= now) {
            self.process.handle_timeout(now, &mut self.outbox);
        }
        for effect in self.outbox.drain() {
            match effect {
                Effect::Send { to, message } | Effect::SendBefore { to, message, .. } => {
                    self.transport.send(now, to, &message);
                }
                Effect::Answer(..) => self.answers += 1,
                Effect::Persist(_) => {}
                Effect::Stop(why) => panic!("{why}"),
            }
        }
        self.transport.recycle(&mut self.ready);
        self.transport.flush(&mut self.ready);
    }
}

/// Takes all messages out of datagrams and packs them again, as both ends of their way do.
fn transcode(now: Timestamp, transport: &mut Transport, datagrams: &[Datagram]) {
    let (mut messages, mut again) = (Vec::new(), Vec::new());
    for datagram in datagrams {
        transport.receive(now, datagram.to, &datagram.bytes, &mut messages);
        messages.drain(..).for_each(|message| transport.send(now, datagram.to, &message));
    }
    transport.flush(&mut again);
    transport.recycle(&mut again);
}

struct Cluster {
    now: Timestamp,
    view: Node<ViewServer>,
    servers: [Node<Server>; 2],
    client: Node<ClientProcess>,
    calls: u64,
}

impl Cluster {
    /// A cluster that serves with a backup.
    fn new() -> Cluster {
        let now = Timestamp(1_000_000_000);
        let (timing, limits) = (Timing::default(), Limits::default());
        let view_server = SocketAddr::from(([127, 0, 0, 1], 1));
        let sources = Sources::Known;
        let config = ViewServerConfig {
            incarnation: Incarnation(1),
            timing,
            hosts: Default::default(),
            sources,
        };
        let server = |port: u16| {
            let id = ServerId::from(format!("s{port}").as_str());
            let incarnation = Incarnation(u64::from(port) << 50);
            let config =
                ServerConfig { id, incarnation, view_server, advertise: None, limits, sources };
            Node::new(port, Server::new(now, config))
        };
        let incarnation = Incarnation(0x1234_5678_9abc_def0);
        let config_of_client = ClientConfig { incarnation, view_server, limits };
        let mut cluster = Cluster {
            now,
            view: Node::new(1, ViewServer::new(now, config, None)),
            servers: [server(2), server(3)],
            client: Node::new(4, ClientProcess::new(now, config_of_client)),
            calls: 0,
        };
        // Long enough for the roles to be given and the backup to have joined.
        let (key, value) = ("ready".into(), "yes".into());
        cluster.call(Action::Write(Change::Put { key, value }));
        for _ in 0..3_000 {
            cluster.step();
        }
        assert_eq!(cluster.client.answers, cluster.calls, "the cluster serves");
        cluster
    }

    fn call(&mut self, action: Action) {
        self.calls += 1;
        let command = Command { action, deadline: Duration::from_secs(60) };
        let (call, outbox) = (CallId(self.calls), &mut self.client.outbox);
        self.client.process.handle_command(self.now, call, command, outbox);
    }

    /// A millisecond passes.
    fn step(&mut self) {
        self.now = self.now + Duration::from_millis(1);
        let mut arrived = Vec::new();
        let view = self.view.address;
        arrived.extend(self.view.ready.drain(..).map(|datagram| (view, datagram)));
        for node in &mut self.servers {
            let from = node.address;
            arrived.extend(node.ready.drain(..).map(|datagram| (from, datagram)));
        }
        let client = self.client.address;
        arrived.extend(self.client.ready.drain(..).map(|datagram| (client, datagram)));
        let mut ready: [Vec<Datagram>; 4] = Default::default();
        let now = self.now;
        for (from, datagram) in arrived.into_iter().map(|(from, one)| (from, vec![one])) {
            self.view.turn(now, &datagram, from);
            ready[0].append(&mut self.view.ready);
            for (node, ready) in self.servers.iter_mut().zip(&mut ready[1..]) {
                node.turn(now, &datagram, from);
                ready.append(&mut node.ready);
            }
            self.client.turn(now, &datagram, from);
            ready[3].append(&mut self.client.ready);
        }
        self.view.turn(now, &[], view);
        self.client.turn(now, &[], client);
        let [of_view, first, second, of_client] = &mut ready;
        self.view.ready.append(of_view);
        for (node, ready) in self.servers.iter_mut().zip([first, second]) {
            node.turn(now, &[], view);
            node.ready.append(ready);
        }
        self.client.ready.append(of_client);
    }

    /// The least time of each turn for `count` operations at once, for one operation.
    fn measure(&mut self, count: u64, action: impl Fn(u64) -> Action) -> [u128; 6] {
        let [one, other] = &mut self.servers;
        // The first request after the start shows which of the two is primary.
        let is_first = {
            let mut outbox = Outbox::default();
            let command =
                Command { action: Action::Get("who".into()), deadline: Duration::MAX / 2 };
            self.client.process.handle_command(self.now, CallId(0), command, &mut outbox);
            let to = outbox.drain().find_map(|effect| match effect {
                Effect::Send { to, message: Message::Request(_) } => Some(to),
                Effect::Send { .. }
                | Effect::SendBefore { .. }
                | Effect::Persist(_)
                | Effect::Answer(..)
                | Effect::Stop(_) => None,
            });
            to.expect("the primary is known") == one.address
        };
        let (primary, backup) = if is_first { (one, other) } else { (other, one) };
        let client = &mut self.client;
        let mut least = [u128::MAX; 6];
        let mut transport = Transport::new(Incarnation(9), Limits::default());
        for round in 0..ROUNDS {
            let mut parts = [0; 6];
            let mut time = |part: usize, work: &mut dyn FnMut()| {
                let start = Instant::now();
                work();
                parts[part] += start.elapsed().as_nanos();
            };
            let before = client.answers;
            let now = self.now;
            time(0, &mut || {
                for call in 0..count {
                    let action = action(round as u64 * count + call);
                    let command = Command { action, deadline: Duration::from_secs(60) };
                    let outbox = &mut client.outbox;
                    client.process.handle_command(now, CallId(call), command, outbox);
                }
                client.turn(now, &[], client.address);
            });
            time(1, &mut || primary.turn(now, &client.ready, client.address));
            time(5, &mut || transcode(now, &mut transport, &client.ready));
            time(2, &mut || backup.turn(now, &primary.ready, primary.address));
            time(5, &mut || transcode(now, &mut transport, &primary.ready));
            time(3, &mut || primary.turn(now, &backup.ready, backup.address));
            time(5, &mut || transcode(now, &mut transport, &backup.ready));
            time(4, &mut || client.turn(now, &primary.ready, primary.address));
            time(5, &mut || transcode(now, &mut transport, &primary.ready));
            assert_eq!(client.answers, before + count, "everything is answered");
            for (least, part) in least.iter_mut().zip(parts) {
                *least = (*least).min(part);
            }
        }
        least.map(|part| part / u128::from(count))
    }
}

#[test]
#[ignore = "a measurement"]
fn cost_of_an_operation_layer_by_layer() {
    let mut cluster = Cluster::new();
    let key = |number: u64| Key::from(format!("key-{:012}", number % 1000).as_str());
    let value = "v".repeat(100);
    let put = |number| {
        Action::Write(Change::Put { key: key(number), value: Value::from(value.as_str()) })
    };
    let get = |number| Action::Get(key(number));
    println!(
        "{:28}{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}",
        "ns", "ask", "number", "backup", "commit", "take", "all", "codec"
    );
    type Draw<'a> = &'a dyn Fn(u64) -> Action;
    let rows: [(&str, u64, Draw<'_>); 4] = [
        ("put, 1 at a time", 1, &put),
        ("put, 32 at a time", 32, &put),
        ("get, 1 at a time", 1, &get),
        ("get, 32 at a time", 32, &get),
    ];
    for (name, count, action) in rows {
        let parts = cluster.measure(count, action);
        print!("{name:28}");
        let (turns, codec) = parts.split_at(5);
        turns.iter().for_each(|part| print!("{part:8}"));
        println!("{:8}{:8}", turns.iter().sum::<u128>(), codec[0]);
    }
}
