//! What the view server decides: the production [`ViewServer`], asked for its next record.
//!
//! A scene: a view server starts with the newest record as its only memory, on a clock of its own,
//! and hears pongs of the servers that the search has chosen to be alive, and nothing of the others.
//! The first new record that it makes durable is the ruling. So every ruling follows a restart of
//! the view server (rule 2: the record says everything), and what it keeps in memory between two
//! decisions is left to the timed walks.
//!
//! Pongs are real answers of the real servers. A *fresh* server has adopted the newest record when
//! it answers, as a server that hears a ping does; one that is not fresh answered an earlier ping,
//! which shows that it lives but says nothing about the newest view.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use pbkv::config::Timing;
use pbkv::protocol::message::{Announce, Message, Ping, Pong};
use pbkv::protocol::server::{Answer, Server};
use pbkv::protocol::sources::Sources;
use pbkv::protocol::view::Record;
use pbkv::protocol::view_server::{Command, DurableRecord, ViewServer, ViewServerConfig};
use pbkv::protocol::{Effect, Outbox, Process};
use pbkv::time::Timestamp;
use pbkv::types::{CallId, Incarnation};

use crate::world::{address, name};

const VIEW_SERVER: Incarnation = Incarnation(900);

/// Timing of the modelled cluster: the shortest relation between the two that is accepted.
pub fn timing(lease_reads: bool) -> Timing {
    let (ping_interval, dead_after) = (Duration::from_millis(50), Duration::from_millis(150));
    Timing::new(ping_interval, dead_after, lease_reads).expect("a legal timing")
}

/// Flags of a view server that grants no leases, and judges sooner than those of [`timing`] end.
pub fn hasty() -> Timing {
    let (ping_interval, dead_after) = (Duration::from_millis(10), Duration::from_millis(30));
    Timing::new(ping_interval, dead_after, false).expect("a legal timing")
}

/// A server that is alive in a scene: its index, and what it answers to any ping.
pub type Living = (usize, Pong);

/// Who answers a view server that has just started.
#[derive(Clone, Hash, Debug)]
pub struct Scene {
    pub timing: Timing,
    /// Answers for less than dead-after and never again; the others answer only later than that.
    pub dies: Option<usize>,
    pub living: Vec<Living>,
    /// The operator asks for a switchover, as soon as everybody was listened to.
    pub switchover: bool,
}

impl Scene {
    /// What answers at an address after so long.
    fn answerer(&self, at: SocketAddr, after: Duration) -> Option<&Living> {
        let dead_after = self.timing.dead_after();
        self.living.iter().filter(|(index, _)| address(*index) == at).find(|(index, _)| match self
            .dies
        {
            None => true,
            Some(dies) if dies == *index => after < dead_after * 9 / 10,
            Some(_) => after > dead_after * 2,
        })
    }
}

/// What was decided.
#[derive(Clone, Debug)]
pub struct Ruling {
    pub record: Record,
    /// On the clock of the view server.
    pub took: Duration,
}

/// What a server answers to a ping that shows it nothing. Asked of a copy: the server itself does
/// not notice. The token is left out, because it says nothing to the view server.
pub fn pong(server: &Server, incarnation: Incarnation, now: Timestamp) -> Pong {
    Pong { token: 0, ..heard_pong(&mut server.clone(), incarnation, now) }
}

/// The same, and the server remembers that it has answered.
pub fn heard_pong(server: &mut Server, incarnation: Incarnation, now: Timestamp) -> Pong {
    let mut outbox = Outbox::<Answer>::default();
    let ping = ping(VIEW_SERVER, incarnation, None);
    server.handle_message(now, address(0), ping, &mut outbox);
    let pong = outbox.drain().find_map(|effect| match effect {
        Effect::Send { message: Message::Pong(pong), .. } => Some(*pong),
        Effect::Send { .. }
        | Effect::SendBefore { .. }
        | Effect::Persist(_)
        | Effect::Answer(..)
        | Effect::Stop(_) => None,
    });
    pong.expect("a ping to this very incarnation is answered")
}

/// A ping that may show a record.
pub fn ping(from: Incarnation, to: Incarnation, record: Option<Record>) -> Message {
    let timing = timing(false);
    let (to, nonce) = (Some(to), 0);
    Message::Ping(Box::new(Ping {
        from,
        to,
        nonce,
        timing,
        record,
        promise: None,
        heard: None,
        grants_lease: false,
        superseded: false,
    }))
}

/// Remembers rulings: a scene is a function of the record and of what is answered.
#[derive(Default)]
pub struct Rulings {
    known: Mutex<HashMap<u64, Option<Ruling>>>,
    grants: Mutex<HashMap<u64, Option<Record>>>,
}

fn key(record: &Record, scene: &Scene) -> u64 {
    let mut hasher = DefaultHasher::new();
    (record, scene).hash(&mut hasher);
    hasher.finish()
}

impl Rulings {
    /// The next record, if there is one in this scene.
    pub fn next(&self, record: &Record, scene: &Scene) -> Option<Ruling> {
        let key = key(record, scene);
        if let Some(ruling) = self.known.lock().expect("no scene panics").get(&key) {
            return ruling.clone();
        }
        let end = match play(record, scene) {
            End::Ruled(ruling) => Some(ruling),
            End::Granted(_) | End::Nothing => None,
        };
        self.known.lock().expect("no scene panics").insert(key, end.clone());
        end
    }

    /// Whether the primary is granted a lease before anything else is decided: the record, which
    /// says so.
    pub fn grant(&self, record: &Record, scene: &Scene) -> Option<Record> {
        let key = key(record, scene);
        if let Some(granted) = self.grants.lock().expect("no scene panics").get(&key) {
            return granted.clone();
        }
        let end = match play(record, scene) {
            End::Granted(record) => Some(record),
            End::Ruled(_) | End::Nothing => None,
        };
        self.grants.lock().expect("no scene panics").insert(key, end.clone());
        end
    }
}

/// How a scene ends.
enum End {
    Ruled(Ruling),
    Granted(Record),
    Nothing,
}

fn play(record: &Record, scene: &Scene) -> End {
    let start = Timestamp(1_000_000_000);
    let timing = scene.timing;
    let config = ViewServerConfig {
        incarnation: VIEW_SERVER,
        timing,
        hosts: BTreeMap::new(),
        sources: Sources::Any,
    };
    let mut durable = DurableRecord {
        record: record.clone(),
        addresses: BTreeMap::new(),
        drained: BTreeMap::new(),
    };
    let mut view_server = ViewServer::new(start, config, Some(durable.clone()));
    let mut outbox = Outbox::default();
    for (index, pong) in &scene.living {
        let announce =
            Announce { id: name(*index), incarnation: pong.from, address: Some(address(*index)) };
        let announce = Message::Announce(announce);
        view_server.handle_message(start, address(*index), announce, &mut outbox);
    }
    // Long enough for whatever is waited for: dead servers, and leases of other flags.
    let end = start + timing.dead_after() * 5 + Duration::from_millis(200);
    let mut now = start;
    let mut asked = !scene.switchover;
    while now < end {
        loop {
            let effects: Vec<_> = outbox.drain().collect();
            if effects.is_empty() {
                break;
            }
            for effect in effects {
                match effect {
                    Effect::Persist(next) if next.record.stamp() > record.stamp() => {
                        return End::Ruled(Ruling { record: next.record, took: now.since(start) });
                    }
                    Effect::Persist(same) => durable = *same,
                    Effect::Send { message: Message::Ping(ping), .. } if ping.grants_lease => {
                        return End::Granted(durable.record);
                    }
                    Effect::Send { to, message: Message::Ping(ping) } => {
                        let answerer = scene.answerer(to, now.since(start));
                        if let Some((_, pong)) = answerer.filter(|it| ping.to == Some(it.1.from)) {
                            let (nonce, asker) = (ping.nonce, ping.from);
                            let pong = Box::new(Pong { nonce, to: asker, ..pong.clone() });
                            view_server.handle_message(now, to, Message::Pong(pong), &mut outbox);
                        }
                    }
                    Effect::Send { .. }
                    | Effect::SendBefore { .. }
                    | Effect::Answer(..)
                    | Effect::Stop(_) => {}
                }
            }
        }
        let due = view_server.poll_timeout().expect("a view server always has a timer");
        // A millisecond a turn: an answer takes some time.
        now = due.max(now + Duration::from_millis(1));
        view_server.handle_timeout(now, &mut outbox);
        if !asked && now > start + timing.dead_after() {
            asked = true;
            view_server.handle_command(now, CallId(1), Command::Switchover(None), &mut outbox);
        }
    }
    End::Nothing
}
