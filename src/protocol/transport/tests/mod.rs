//! A network in virtual time, and what the tests share.

mod datagrams;
mod hostile;
mod network;
mod proof;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::kv::command::{Command, Key, Origin, Value};
use crate::protocol::message::{Ask, GetView, Request, Success};
use crate::types::{Epoch, OperationNumber, RequestId, RequestNumber, SessionId};

/// Deterministic, and good enough to choose faults (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }
}

/// What the network does to datagrams; chances in percent.
#[derive(Clone, Copy)]
struct Faults {
    lost: usize,
    duplicated: usize,
    damaged: usize,
    delay_min: Duration,
    delay_max: Duration,
}

const NO_FAULTS: Faults = Faults {
    lost: 0,
    duplicated: 0,
    damaged: 0,
    delay_min: Duration::ZERO,
    delay_max: Duration::from_micros(100),
};
const LOSSY: Faults =
    Faults { lost: 30, duplicated: 15, delay_max: Duration::from_millis(3), ..NO_FAULTS };

struct Node {
    address: SocketAddr,
    transport: Transport,
    delivered: Vec<Message>,
}

/// Transports, a network between them, and virtual time.
struct World {
    now: Timestamp,
    random: Random,
    faults: Faults,
    nodes: Vec<Node>,
    flying: BTreeMap<(Timestamp, u64), (SocketAddr, Datagram)>,
    sent: u64,
}

impl World {
    fn new(seed: u64, faults: Faults, addresses: &[&str], limits: Limits) -> World {
        let node = |(index, address): (usize, &&str)| Node {
            address: address.parse().unwrap(),
            transport: Transport::new(Incarnation(100 + index as u64), limits),
            delivered: Vec::new(),
        };
        World {
            now: Timestamp(1_000_000_000),
            random: Random(seed),
            faults,
            nodes: addresses.iter().enumerate().map(node).collect(),
            flying: BTreeMap::new(),
            sent: 0,
        }
    }

    fn send(&mut self, from: usize, to: usize, message: &Message) {
        let to = self.nodes[to].address;
        self.nodes[from].transport.send(self.now, to, message);
    }

    fn flush(&mut self) {
        for node in &mut self.nodes {
            let mut out = Vec::new();
            node.transport.flush(&mut out);
            for datagram in &out {
                let limit = node.transport.datagram_bytes_to(datagram.to);
                assert!(datagram.bytes.len() <= limit, "{} > {limit}", datagram.bytes.len());
                if self.random.percent(self.faults.lost) {
                    continue;
                }
                let copies = if self.random.percent(self.faults.duplicated) { 2 } else { 1 };
                for _ in 0..copies {
                    let mut datagram = datagram.clone();
                    if self.random.percent(self.faults.damaged) {
                        damage(&mut self.random, &mut datagram.bytes);
                    }
                    let spread = self.faults.delay_max - self.faults.delay_min;
                    let delay = self.random.below(spread.as_nanos() as usize) as u64;
                    self.sent += 1;
                    let at = self.now + self.faults.delay_min + Duration::from_nanos(delay);
                    self.flying.insert((at, self.sent), (node.address, datagram));
                }
            }
            node.transport.recycle(&mut out);
        }
    }

    /// Lets everything happen until `end`.
    fn run_until(&mut self, end: Timestamp) {
        self.flush();
        loop {
            let arrival = self.flying.keys().next().map(|(at, _)| *at);
            let timeout = self.nodes.iter().filter_map(|node| node.transport.poll_timeout()).min();
            let Some(next) = [arrival, timeout].into_iter().flatten().min() else { break };
            if next >= end {
                break;
            }
            self.now = self.now.max(next);
            while let Some(entry) = self.flying.first_entry()
                && entry.key().0 <= self.now
            {
                let (from, datagram) = entry.remove();
                let to = self.nodes.iter_mut().find(|node| node.address == datagram.to);
                let Some(node) = to else { continue };
                node.transport.receive(self.now, from, &datagram.bytes, &mut node.delivered);
            }
            for node in &mut self.nodes {
                node.transport.handle_timeout(self.now);
                assert!(node.transport.poll_timeout().is_none_or(|at| at > self.now));
            }
            self.flush();
        }
        self.now = end;
    }

    /// Sends the message again and again, as the upper layers do, until it arrives.
    fn deliver(&mut self, from: usize, to: usize, message: &Message) {
        self.nodes[to].delivered.clear();
        for _ in 0..600 {
            self.send(from, to, message);
            self.run_until(self.now + Duration::from_millis(100));
            if let Some(delivered) = self.nodes[to].delivered.first() {
                assert!(delivered == message, "another message was delivered");
                return;
            }
        }
        panic!("a message of {} bytes never arrived", encoded(message).len());
    }

    fn counters(&self, node: usize) -> Counters {
        *self.nodes[node].transport.counters()
    }
}

/// Changes, removes or adds a few bytes, always so that something differs.
fn damage(random: &mut Random, bytes: &mut Vec<u8>) {
    let original = bytes.clone();
    while *bytes == original {
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len());
            match random.below(5) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, random.next() as u8),
                _ if bytes.is_empty() => {}
                2 => drop(bytes.remove(at)),
                3 => bytes[at] = random.next() as u8,
                _ => bytes[at] ^= 1 << random.below(8),
            }
        }
    }
}

fn encoded(message: &Message) -> Vec<u8> {
    let mut line = Vec::new();
    codec::encode(message, &mut line);
    line
}

fn put(id: u64, value: &str) -> Message {
    Message::Request(Request {
        client: Incarnation(id),
        id: RequestId(id),
        ask: Ask::Write {
            origin: Origin {
                session: SessionId(Epoch(1, 2), OperationNumber(3)),
                number: RequestNumber(4),
                acknowledged: RequestNumber(0),
            },
            command: Command::Put { key: Key::from("k"), value: Value::from(value) },
        },
    })
}

/// A message whose line has exactly this many bytes, if it can be that short.
fn put_of(id: u64, size: usize) -> Message {
    let least = encoded(&put(id, "")).len();
    put(id, &"x".repeat(size.saturating_sub(least)))
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A datagram with a correct checksum.
fn checked(lines: &[u8]) -> Vec<u8> {
    let mut packer = Packer::default();
    packer.append(address("127.0.0.1:9"), lines, usize::MAX);
    let mut out = Vec::new();
    packer.flush(&mut out);
    out.remove(0).bytes
}

fn piece(from: u64, id: u64, length: usize, offset: usize, body: &str) -> Vec<u8> {
    let mut line = Vec::new();
    let body = Cow::Borrowed(body);
    let piece = Piece { from: Incarnation(from), id, length, offset, body };
    wire::encode_piece(&piece, &mut line);
    checked(&line)
}

const REMOTE: [&str; 2] = ["10.0.0.1:1", "10.0.0.2:1"];
const LOCAL: [&str; 2] = ["127.0.0.1:1", "[::1]:2"];
