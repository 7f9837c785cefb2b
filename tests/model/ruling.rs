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
use pbkv::protocol::view::Record;
use pbkv::protocol::view_server::{self, DurableRecord, ViewServer, ViewServerConfig};
use pbkv::protocol::{Effect, Outbox, Process};
use pbkv::time::Timestamp;
use pbkv::types::Incarnation;

use crate::world::{address, name};

const VIEW_SERVER: Incarnation = Incarnation(900);

/// Timing of the modelled cluster: the shortest relation between the two that is accepted.
pub fn timing(lease_reads: bool) -> Timing {
    let (ping_interval, dead_after) = (Duration::from_millis(50), Duration::from_millis(150));
    Timing::new(ping_interval, dead_after, lease_reads).expect("a legal timing")
}

/// A server that is alive in a scene: its index, and what it answers to any ping.
pub type Living = (usize, Pong);

/// What a server answers to a ping that shows it nothing. Asked of a copy: the server itself does
/// not notice.
pub fn pong(server: &Server, incarnation: Incarnation, now: Timestamp) -> Pong {
    let mut copy = server.clone();
    let mut outbox = Outbox::<Answer>::default();
    let ping = ping(VIEW_SERVER, incarnation, None);
    copy.handle_message(now, address(0), ping, &mut outbox);
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
    }))
}

/// Remembers rulings: a scene is a function of the record and of what is answered.
#[derive(Default)]
pub struct Rulings {
    known: Mutex<HashMap<u64, Option<Record>>>,
}

impl Rulings {
    pub fn next(&self, record: &Record, living: &[Living]) -> Option<Record> {
        let mut hasher = DefaultHasher::new();
        (record, living).hash(&mut hasher);
        let key = hasher.finish();
        if let Some(ruling) = self.known.lock().expect("no scene panics").get(&key) {
            return ruling.clone();
        }
        let ruling = play(record, living);
        self.known.lock().expect("no scene panics").insert(key, ruling.clone());
        ruling
    }
}

fn play(record: &Record, living: &[Living]) -> Option<Record> {
    let start = Timestamp(1_000_000_000);
    let config = ViewServerConfig {
        incarnation: VIEW_SERVER,
        timing: timing(false),
        hosts: BTreeMap::new(),
    };
    let durable = DurableRecord { record: record.clone(), addresses: BTreeMap::new() };
    let mut view_server = ViewServer::new(start, config, Some(durable));
    let mut outbox = Outbox::default();
    for (index, pong) in living {
        let announce =
            Announce { id: name(*index), incarnation: pong.from, address: Some(address(*index)) };
        view_server.handle_message(
            start,
            address(*index),
            Message::Announce(announce),
            &mut outbox,
        );
    }
    let end = start + timing(false).dead_after() * 5;
    let mut now = start;
    while now < end {
        loop {
            let effects: Vec<_> = outbox.drain().collect();
            if effects.is_empty() {
                break;
            }
            for effect in effects {
                match effect {
                    Effect::Persist(durable) if durable.record.stamp() > record.stamp() => {
                        return Some(durable.record);
                    }
                    Effect::Send { to, message: Message::Ping(ping) } => {
                        answer(now, to, &ping, living, &mut view_server, &mut outbox);
                    }
                    Effect::Send { .. }
                    | Effect::SendBefore { .. }
                    | Effect::Persist(_)
                    | Effect::Answer(..)
                    | Effect::Stop(_) => {}
                }
            }
        }
        let due = view_server.poll_timeout().expect("a view server always has a timer");
        // A millisecond a turn: an answer takes some time.
        now = due.max(now + Duration::from_millis(1));
        view_server.handle_timeout(now, &mut outbox);
    }
    None
}

fn answer(
    now: Timestamp,
    to: SocketAddr,
    ping: &Ping,
    living: &[Living],
    view_server: &mut ViewServer,
    outbox: &mut Outbox<view_server::Answer>,
) {
    let found =
        living.iter().find(|(index, pong)| address(*index) == to && ping.to == Some(pong.from));
    if let Some((index, pong)) = found {
        let pong = Pong { nonce: ping.nonce, to: ping.from, ..pong.clone() };
        view_server.handle_message(now, address(*index), Message::Pong(Box::new(pong)), outbox);
    }
}
