//! The simulated network: it loses, duplicates, delays, reorders and damages datagrams, delivers
//! ghosts of the past, and knows partitions in one direction or both.
//!
//! It decides what happens to a datagram and when; the harness carries it out. A damaged datagram
//! is delivered as damaged bytes, because telling is the codec's job.

use std::net::SocketAddr;
use std::rc::Rc;

use crate::clock::{Instant, MS, US};
use crate::counts::{Count, Counts};
use crate::random::Random;

/// What the network does to datagrams. Chances are in parts per million.
#[derive(Clone, Debug, Default)]
pub struct Weather {
    pub delay_least: Instant,
    pub delay_spread: Instant,
    pub loss: u32,
    pub duplication: u32,
    pub corruption: u32,
    /// Chance of a delay far beyond the usual, up to `late_most`.
    pub late: u32,
    pub late_most: Instant,
    /// Datagrams above this size vanish.
    pub size_limit: usize,
}

impl Weather {
    /// What phase two has: a network that loses nothing.
    pub fn fair(size_limit: usize) -> Self {
        Weather { delay_least: 50 * US, delay_spread: 300 * US, size_limit, ..Weather::default() }
    }
}

/// A datagram on its way, or remembered as a ghost.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Index of the node that sent it.
    pub from: usize,
    pub to: usize,
    /// The sender's address when it was sent, and the receiver's: either may have moved since.
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub bytes: Rc<[u8]>,
}

/// State of one direction between two nodes.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    blocked: bool,
    /// Nothing is delivered before this; then everything at once.
    clogged_until: Instant,
    /// Faults do not touch it: the nemesis needs this way to keep its promise of legality.
    protected: bool,
}

pub struct Network {
    pub weather: Weather,
    links: Vec<Link>,
    nodes: usize,
    /// Samples of everything that was ever sent, and of announces in particular.
    ghosts: Vec<Packet>,
    announces: Vec<Packet>,
    remembered: u64,
    pub keeps_ghosts: bool,
    /// Loses what a scenario does not want to arrive.
    pub sieve: Option<fn(&Packet) -> bool>,
    /// Everything that was sent, for scenarios that ask for it.
    pub kept: Option<Vec<Packet>>,
}

/// Datagrams remembered as possible ghosts.
const GHOSTS: usize = 128;
const ANNOUNCES: usize = 16;

impl Network {
    pub fn new(nodes: usize, weather: Weather, keeps_ghosts: bool) -> Self {
        Network {
            weather,
            links: vec![Link::default(); nodes * nodes],
            nodes,
            ghosts: Vec::new(),
            announces: Vec::new(),
            remembered: 0,
            keeps_ghosts,
            sieve: None,
            kept: None,
        }
    }

    fn link(&mut self, from: usize, to: usize) -> &mut Link {
        &mut self.links[from * self.nodes + to]
    }

    pub fn block(&mut self, from: usize, to: usize) {
        self.link(from, to).blocked = true;
    }

    pub fn unblock(&mut self, from: usize, to: usize) {
        self.link(from, to).blocked = false;
    }

    pub fn clog(&mut self, from: usize, to: usize, until: Instant) {
        self.link(from, to).clogged_until = until;
    }

    pub fn protect(&mut self, from: usize, to: usize, protected: bool) {
        self.link(from, to).protected = protected;
    }

    /// No partitions, no clogged links, no faults.
    pub fn heal(&mut self) {
        self.links.fill(Link::default());
        self.weather = Weather::fair(self.weather.size_limit);
        self.keeps_ghosts = false;
    }

    /// Decides what becomes of a datagram: `deliver` is called for every copy that arrives, with
    /// the time at which it does.
    pub fn send(
        &mut self,
        now: Instant,
        packet: Packet,
        random: &mut Random,
        counts: &mut Counts,
        mut deliver: impl FnMut(Instant, Packet),
    ) {
        counts.add(Count::Datagrams);
        if self.keeps_ghosts {
            self.remember(&packet, random);
        }
        if let Some(kept) = &mut self.kept {
            kept.push(packet.clone());
        }
        if self.sieve.is_some_and(|sieve| sieve(&packet)) {
            counts.add(Count::Lost);
            return;
        }
        let link = *self.link(packet.from, packet.to);
        if link.protected {
            deliver(now + self.weather.delay_least, packet);
            return;
        }
        if link.blocked {
            counts.add(Count::Blocked);
            return;
        }
        if packet.bytes.len() > self.weather.size_limit || random.chance(self.weather.loss) {
            counts.add(Count::Lost);
            return;
        }
        let copies = if random.chance(self.weather.duplication) {
            counts.add(Count::Duplicated);
            random.between(2, 3)
        } else {
            1
        };
        for _ in 0..copies {
            let at = now + self.delay(random, counts);
            let mut packet = packet.clone();
            if random.chance(self.weather.corruption) && !packet.bytes.is_empty() {
                counts.add(Count::Corrupted);
                packet.bytes = damaged(&packet.bytes, random);
            }
            deliver(at.max(link.clogged_until), packet);
        }
    }

    fn delay(&self, random: &mut Random, counts: &mut Counts) -> Instant {
        let weather = &self.weather;
        if random.chance(weather.late) {
            counts.add(Count::Late);
            return random.between(weather.delay_least, weather.late_most);
        }
        weather.delay_least + random.below(weather.delay_spread + 1)
    }

    /// Reservoir sampling: every datagram since the start is equally likely to be remembered.
    fn remember(&mut self, packet: &Packet, random: &mut Random) {
        self.remembered += 1;
        if self.ghosts.len() < GHOSTS {
            self.ghosts.push(packet.clone());
        } else {
            let place = random.below(self.remembered);
            if place < GHOSTS as u64 {
                self.ghosts[place as usize] = packet.clone();
            }
        }
        if packet.to == 0 && packet.bytes.len() < 600 && contains(&packet.bytes, b"\"online\"") {
            let place = random.index(ANNOUNCES);
            if self.announces.len() < ANNOUNCES {
                self.announces.push(packet.clone());
            } else {
                self.announces[place] = packet.clone();
            }
        }
    }

    /// A datagram of the past.
    pub fn ghost(&self, random: &mut Random, counts: &mut Counts) -> Option<Packet> {
        let announce = !self.announces.is_empty() && random.chance(150_000);
        let ghosts = if announce { &self.announces } else { &self.ghosts };
        if ghosts.is_empty() {
            return None;
        }
        counts.add(Count::Ghosts);
        if announce {
            counts.add(Count::GhostAnnounces);
        }
        Some(ghosts[random.index(ghosts.len())].clone())
    }
}

pub fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

/// One to three bytes changed, or the end cut off.
fn damaged(bytes: &[u8], random: &mut Random) -> Rc<[u8]> {
    let mut damaged = bytes.to_vec();
    // What is plain has no checksum: only where it is cut off can anybody tell.
    let is_plain = !bytes.starts_with(b"{\"type\":\"pbkv\"");
    if is_plain || random.chance(200_000) {
        damaged.truncate(random.index(damaged.len()));
    } else {
        for _ in 0..random.between(1, 3) {
            let place = random.index(damaged.len());
            damaged[place] ^= 1 << random.below(8);
        }
    }
    damaged.into()
}

/// Delays of a local network, of a slow one, and of one that reorders everything.
pub const DELAYS: &[(Instant, Instant)] =
    &[(30 * US, 100 * US), (100 * US, 900 * US), (US, 5 * MS), (2 * MS, 20 * MS)];
