//! A view server, three servers, clients that never rest, and a story that breaks things.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use pbkv::Client;
use pbkv::config::{Limits, Timing};
use pbkv::protocol::server::{self, Server, ServerConfig};
use pbkv::protocol::sources::Sources;
use pbkv::protocol::transport::{Secret, Transport};
use pbkv::protocol::view_server::{ViewServer, ViewServerConfig};
use pbkv::runtime::{ClientOptions, Handle, RecordFile, channel, record_file, run_over};
use pbkv::time::Timestamp;
use pbkv::types::{Incarnation, ServerId};
use tokio::time::sleep;
use turmoil::{Builder, Sim};

use crate::durable::Durable;
use crate::history::{History, LOG};
use crate::socket::{Counts, Faults, SharedNetwork, SimulatedSocket};

pub const VIEW: &str = "view";
pub const SERVERS: [&str; 3] = ["alpha", "beta", "gamma"];
pub const CLIENTS: [&str; 3] = ["near", "far", "wide"];
/// Writers a client. They share its session, so that operations of one session are in flight
/// together.
const WRITERS: u64 = 2;
const PORT: u16 = 5000;
/// Every operation is to succeed, however long the cluster is broken.
const DEADLINE: Duration = Duration::from_secs(60);
/// Larger than a datagram, so that it travels in pieces.
const LARGE: usize = 4000;

#[derive(Clone, Copy)]
pub struct Setup {
    pub seed: u64,
    pub faults: Faults,
    pub lease_reads: bool,
}

/// What a run was.
#[derive(PartialEq, Eq, Debug)]
pub struct Outcome {
    pub trace: u64,
    pub counts: Counts,
    pub appends: usize,
    pub reads: usize,
}

/// What only the world outside of the hosts can do.
enum Act {
    Crash(&'static str),
    Restart(&'static str),
}

/// What the hosts and the story share. No datagram passes here.
struct Shared {
    setup: Setup,
    network: SharedNetwork,
    history: History,
    acts: RefCell<Vec<Act>>,
    servers: RefCell<BTreeMap<&'static str, Handle<Server>>>,
    is_over: Cell<bool>,
    writers: Cell<u64>,
}

/// The story's view of the world.
#[derive(Clone)]
pub struct Stage {
    shared: Rc<Shared>,
    client: Client,
}

/// Runs the cluster until the story has ended, and checks what the clients saw.
pub fn simulate<F>(setup: Setup, story: impl FnOnce(Stage) -> F + 'static) -> Outcome
where
    F: Future<Output = ()>,
{
    let folder = tempfile::tempdir().expect("a folder for the record");
    let shared = Rc::new(Shared {
        setup,
        network: SharedNetwork::new(setup.seed, setup.faults),
        history: History::default(),
        acts: RefCell::default(),
        servers: RefCell::default(),
        is_over: Cell::new(false),
        writers: Cell::new(WRITERS * CLIENTS.len() as u64),
    });
    let mut sim = Builder::new()
        .rng_seed(setup.seed)
        .simulation_duration(Duration::from_secs(120))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(9))
        .udp_capacity(4096)
        .build();
    let record = folder.path().join("record");
    sim.host(VIEW, {
        let shared = shared.clone();
        move || run_view_server(shared.clone(), record.clone())
    });
    for id in SERVERS {
        let shared = shared.clone();
        sim.host(id, move || run_server(shared.clone(), id));
    }
    for name in CLIENTS {
        sim.client(name, work(shared.clone(), name));
    }
    sim.client("story", {
        let shared = shared.clone();
        async move {
            let client = connect(&shared, "story").await?;
            let stage = Stage { shared, client };
            story(stage.clone()).await;
            stage.end().await;
            Ok(())
        }
    });
    finish(&mut sim, &shared);
    let counts = shared.network.counts();
    assert!(counts.largest <= Limits::default().datagram_bytes, "a datagram that may not arrive");
    Outcome {
        trace: shared.network.trace(),
        counts,
        appends: shared.history.acked(),
        reads: shared.history.reads(),
    }
}

fn finish(sim: &mut Sim<'_>, shared: &Shared) {
    let seed = shared.setup.seed;
    loop {
        match sim.step() {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => panic!("seed {seed} after {:?}: {error}", sim.elapsed()),
        }
        for act in shared.acts.take() {
            match act {
                Act::Crash(host) => sim.crash(host),
                Act::Restart(host) => sim.bounce(host),
            }
        }
    }
}

impl Shared {
    /// The clock of a process that starts now: of its own origin, and up to three parts in a
    /// hundred too fast or too slow.
    fn clock(&self) -> impl Fn() -> Timestamp + Copy + Send + 'static {
        let origin = 1_000_000_000 * (3600 + self.network.draw() % 3600);
        let rate = 970 + self.network.draw() % 61;
        move || {
            let elapsed = turmoil::sim_elapsed().expect("clocks are read inside the simulation");
            let nanos = u64::try_from(elapsed.as_nanos()).expect("a run of less than 500 years");
            Timestamp(origin + nanos / 1000 * rate)
        }
    }

    fn incarnation(&self) -> Incarnation {
        Incarnation(self.network.draw())
    }

    fn secret(&self) -> Secret {
        Secret([self.network.draw(), self.network.draw()])
    }
}

fn address(host: &str) -> SocketAddr {
    SocketAddr::new(turmoil::lookup(host), PORT)
}

async fn run_view_server(shared: Rc<Shared>, record: PathBuf) -> turmoil::Result {
    let (open, durable) = record_file::open(&record)?;
    let socket = SimulatedSocket::bind(VIEW, PORT, &shared.network).await?;
    let socket = socket.showing(Durable::new(record));
    let (now, incarnation) = (shared.clock(), shared.incarnation());
    let (ping_interval, dead_after) = (Duration::from_millis(50), Duration::from_millis(250));
    let timing = Timing::new(ping_interval, dead_after, shared.setup.lease_reads)?;
    let (hosts, sources) = (BTreeMap::new(), Sources::Known);
    let config = ViewServerConfig { incarnation, timing, hosts, sources };
    let process = ViewServer::new(now(), config, durable);
    let transport = Transport::new(incarnation, Limits::default()).demanding_proof(shared.secret());
    let (_handle, calls) = channel();
    run_over(process, transport, socket, now, calls, RecordFile::At(open)).await?;
    Ok(())
}

async fn run_server(shared: Rc<Shared>, id: &'static str) -> turmoil::Result {
    let socket = SimulatedSocket::bind(id, PORT, &shared.network).await?;
    let (now, incarnation, limits) = (shared.clock(), shared.incarnation(), Limits::default());
    let config = ServerConfig {
        id: ServerId::from(id),
        incarnation,
        view_server: address(VIEW),
        advertise: None,
        limits,
        sources: Sources::Known,
    };
    let process = Server::new(now(), config);
    let transport = Transport::new(incarnation, limits).demanding_proof(shared.secret());
    let (handle, calls) = channel();
    shared.servers.borrow_mut().insert(id, handle);
    run_over(process, transport, socket, now, calls, RecordFile::None).await?;
    Ok(())
}

async fn connect(shared: &Shared, host: &str) -> turmoil::Result<Client> {
    let socket = SimulatedSocket::bind(host, PORT, &shared.network).await?;
    let options = ClientOptions { deadline: DEADLINE, ..ClientOptions::new(address(VIEW)) };
    Ok(Client::connect_over(socket, shared.clock(), shared.incarnation(), options))
}

async fn work(shared: Rc<Shared>, name: &'static str) -> turmoil::Result {
    let client = connect(&shared, name).await?;
    let writers: Vec<_> = (0..WRITERS)
        .map(|number| {
            let writer = format!("{name} {number}");
            tokio::task::spawn_local(write(shared.clone(), client.clone(), writer))
        })
        .collect();
    for writer in writers {
        writer.await?;
    }
    Ok(())
}

/// Appends and reads until the story is over.
async fn write(shared: Rc<Shared>, client: Client, writer: String) {
    let mut number = 0;
    while !shared.is_over.get() {
        shared.history.append(&client, &writer, number).await;
        if number % 3 == 0 {
            shared.history.read(&client).await;
        }
        if number % 16 == 5 {
            let large = format!("{number:0LARGE$}");
            client.put(&writer, &large).await.expect("a put that succeeds in the end");
            let read = client.get(&writer).await.expect("a get that succeeds in the end");
            assert_eq!(read, Some(vec![large]), "nobody else writes under {writer}");
        }
        number += 1;
        sleep(Duration::from_millis(1 + shared.network.draw() % 20)).await;
    }
    shared.writers.set(shared.writers.get() - 1);
}

impl Stage {
    pub fn crash(&self, host: &'static str) {
        self.shared.acts.borrow_mut().push(Act::Crash(host));
    }

    pub fn restart(&self, host: &'static str) {
        self.shared.acts.borrow_mut().push(Act::Restart(host));
    }

    /// Waits until this many more appends were acknowledged.
    pub async fn appends(&self, more: usize) {
        let wanted = self.shared.history.acked() + more;
        while self.shared.history.acked() < wanted {
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits until there are a primary and a backup; their names.
    pub async fn pair(&self) -> (&'static str, &'static str) {
        let name = |id: &ServerId| SERVERS.into_iter().find(|name| *name == &*id.0);
        loop {
            let shown = self.client.view().await.expect("a view server that answers in the end");
            if let (Some(primary), Some(backup)) = (&shown.primary, &shown.backup) {
                let names = name(&primary.id).zip(name(&backup.id));
                return names.expect("the view names servers of ours");
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Heals the network, lets the writers finish, and looks at what is left.
    async fn end(self) {
        let shared = &self.shared;
        shared.network.set_faults(Faults::default());
        shared.is_over.set(true);
        while shared.writers.get() > 0 {
            sleep(Duration::from_millis(10)).await;
        }
        let list = self.client.get(LOG).await.expect("a get that succeeds in the end");
        shared.history.check_last(&list.expect("something was appended"));
        // Both copies, looked at when they have got equally far.
        loop {
            let (primary, backup) = self.pair().await;
            let copies = (self.copy(primary).await, self.copy(backup).await);
            if copies.0.0 == copies.1.0 {
                assert!(copies.0 == copies.1, "{primary} and {backup} hold different copies");
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// The number of a server's last operation, and all that it holds.
    async fn copy(&self, id: &'static str) -> (u64, String) {
        let handle = self.shared.servers.borrow()[id].clone();
        let mut content = String::new();
        let mut next = Some(server::Position::default());
        while let Some(position) = next.take() {
            let answer = handle.call(server::Command::Entries(position)).await;
            match answer.expect("a server that runs") {
                server::Answer::Entries { entries, next: more } => {
                    content.push_str(&format!("{entries:?}"));
                    next = more;
                }
                server::Answer::Status(_) | server::Answer::Measures(_) => {
                    unreachable!("entries were asked for")
                }
            }
        }
        let answer = handle.call(server::Command::Status).await;
        match answer.expect("a server that runs") {
            server::Answer::Status(status) => (status.operations.0, content),
            server::Answer::Entries { .. } | server::Answer::Measures(_) => {
                unreachable!("the status was asked for")
            }
        }
    }
}
