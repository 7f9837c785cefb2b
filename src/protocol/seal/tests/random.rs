//! Random conversations, restarts and moves, and somebody who records everything and sends any of
//! it again, from wherever it likes.
//!
//! `PBKV_SEAL_SEEDS=1000..2000 cargo test --release --lib seal::tests::random` runs others.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::*;

struct Recorded {
    from: SocketAddr,
    to: usize,
    /// The life of the receiver when this was sealed.
    life: u64,
    bytes: Vec<u8>,
}

struct World {
    seed: u64,
    random: u64,
    nodes: Vec<Node>,
    lives: Vec<u64>,
    recorded: Vec<Recorded>,
    /// Recorded datagrams that are on their way for the first time.
    flying: Vec<usize>,
    /// Each text, and where its sender was when it was sealed last.
    handed: HashSet<String>,
    sent: u64,
    refused: HashMap<Refusal, u64>,
}

impl World {
    fn new(seed: u64) -> World {
        let roles = [Role::ViewServer, Role::Server, Role::Server, Role::Client, Role::Client];
        let nodes: Vec<Node> = roles
            .iter()
            .zip(1..)
            .map(|(role, number)| {
                let keys: &[&str] = match (role, seed % 2) {
                    (_, 0) => &[A_KEY],
                    (Role::Client, _) => &[CLIENT_KEY],
                    (Role::ViewServer | Role::Server, _) => &[A_KEY, CLIENT_KEY],
                };
                let mut node = node(*role, keys, number);
                node.seal.senders_max = 3;
                node
            })
            .collect();
        let lives = vec![0; nodes.len()];
        let (recorded, flying, handed) = (Vec::new(), Vec::new(), HashSet::new());
        let (sent, refused) = (0, HashMap::new());
        World { seed, random: seed, nodes, lives, recorded, flying, handed, sent, refused }
    }

    fn draw(&mut self, below: usize) -> usize {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
        usize::try_from(self.random >> 33).unwrap() % below
    }

    fn record(&mut self, from: usize, all: Vec<Datagram>) {
        for Datagram { to, bytes } in all {
            let Some(to) = self.nodes.iter().position(|node| node.address == to) else { continue };
            let from = self.nodes[from].address;
            self.flying.push(self.recorded.len());
            self.recorded.push(Recorded { from, to, life: self.lives[to], bytes });
        }
    }

    fn say(&mut self, from: usize, to: usize) -> String {
        self.sent += 1;
        let text = format!("number {}", self.sent);
        let address = self.nodes[to].address;
        let all = match (self.nodes[from].seal.role, self.nodes[to].seal.role) {
            (Role::Client, _) | (_, Role::Client) => self.nodes[from].send(address, &text),
            (_, _) => self.nodes[from].replicate(address, &text),
        };
        self.record(from, all);
        text
    }

    fn deliver(&mut self, index: usize, to: usize, from: SocketAddr) {
        let Recorded { bytes, life, .. } = &self.recorded[index];
        let (life, original) = (*life, (self.recorded[index].to, self.recorded[index].from));
        let bytes = bytes.clone();
        let (got, answers) = self.nodes[to].take_from(from, &bytes);
        match got {
            Got::Clear(text, _) => {
                let seed = self.seed;
                assert!(self.handed.insert(text.clone()), "seed {seed}: {text} handed on twice");
                assert_eq!(original, (to, from), "seed {seed}: {text} came from elsewhere");
                assert_eq!(life, self.lives[to], "seed {seed}: {text} is for another life");
            }
            Got::Nothing => {}
            Got::Refused(refusal) => *self.refused.entry(refusal).or_default() += 1,
        }
        self.record(to, answers);
    }

    fn fly(&mut self) {
        while !self.flying.is_empty() {
            let next = self.draw(self.flying.len());
            let index = self.flying.swap_remove(next);
            let Recorded { from, to, .. } = self.recorded[index];
            self.deliver(index, to, from);
        }
    }

    fn step(&mut self) {
        let all = self.nodes.len();
        let someone = self.draw(all);
        match self.draw(100) {
            0..40 => {
                let other = (someone + 1 + self.draw(all - 1)) % all;
                if [someone, other].iter().any(|node| self.nodes[*node].seal.role != Role::Client) {
                    self.say(someone, other);
                }
            }
            40..75 if !self.flying.is_empty() => {
                let next = self.draw(self.flying.len());
                let index = self.flying.swap_remove(next);
                if self.draw(10) > 0 {
                    let Recorded { from, to, .. } = self.recorded[index];
                    self.deliver(index, to, from);
                }
            }
            75..90 if !self.recorded.is_empty() => {
                let index = self.draw(self.recorded.len());
                let Recorded { from, to, .. } = self.recorded[index];
                match self.draw(4) {
                    0 => self.deliver(index, to, at(66)),
                    1 => self.deliver(index, to, self.nodes[someone].address),
                    _ => self.deliver(index, to, from),
                }
            }
            90..92 => {
                self.lives[someone] += 1;
                let number = u16::try_from(self.lives[someone]).unwrap() * 16;
                self.nodes[someone].restart(number + u16::try_from(someone).unwrap());
                self.nodes[someone].seal.senders_max = 3;
            }
            92..93 => {
                self.nodes[someone].address = at(1000 + u16::try_from(self.draw(60_000)).unwrap())
            }
            _ => {
                let time = Duration::from_millis(self.draw(120) as u64);
                for node in &mut self.nodes {
                    after(node, time);
                }
            }
        }
    }

    /// Whatever happened, everybody who has to can talk to everybody, as soon as the network lets.
    fn heal(&mut self) {
        self.fly();
        for from in 0..self.nodes.len() {
            for to in 0..self.nodes.len() {
                // Servers speak first among themselves; clients to servers, who then answer.
                if from == to || self.nodes[to].seal.role == Role::Client {
                    continue;
                }
                let mut tries = 0;
                loop {
                    let text = self.say(from, to);
                    self.fly();
                    for node in &mut self.nodes {
                        after(node, Duration::from_millis(50));
                    }
                    if self.handed.contains(&text) {
                        break;
                    }
                    tries += 1;
                    assert!(tries < 20, "seed {}: {from} cannot reach {to}", self.seed);
                }
                if self.nodes[from].seal.role == Role::Client {
                    let mut tries = 0;
                    while {
                        let text = self.say(to, from);
                        self.fly();
                        !self.handed.contains(&text)
                    } {
                        self.say(from, to);
                        self.fly();
                        tries += 1;
                        assert!(tries < 20, "seed {}: {to} cannot answer {from}", self.seed);
                    }
                }
            }
        }
    }

    /// The whole trace, shuffled, as often as given, and then three times more: what was lost may
    /// arrive late, and then nothing of it is handed on.
    fn replay(&mut self, before: usize) {
        let mut handed = self.handed.len();
        for round in 0..before + 3 {
            if round == before {
                handed = self.handed.len();
            }
            let mut order: Vec<usize> = (0..self.recorded.len()).collect();
            for last in (1..order.len()).rev() {
                let other = self.draw(last + 1);
                order.swap(last, other);
            }
            for index in order {
                let Recorded { from, to, .. } = self.recorded[index];
                self.deliver(index, to, from);
            }
            // What is answered leads nowhere either.
            self.flying.clear();
        }
        assert_eq!(self.handed.len(), handed, "seed {}", self.seed);
    }
}

fn seeds(usual: Range<u64>) -> Range<u64> {
    let Ok(text) = std::env::var("PBKV_SEAL_SEEDS") else { return usual };
    let (first, last) = text.split_once("..").expect("write FIRST..LAST");
    first.parse().expect("a number")..last.parse().expect("a number")
}

#[test]
fn whatever_is_recorded_moved_restarted_and_sent_again_is_handed_on_once_at_most() {
    let (mut handed, mut renewals, mut stale) = (0, 0, 0);
    for seed in seeds(0..60) {
        let mut world = World::new(seed);
        for _ in 0..1500 {
            world.step();
        }
        world.heal();
        world.replay(1);
        renewals += world.nodes.iter().map(|node| node.seal.counters.renewals).sum::<u64>();
        for node in 0..world.nodes.len() {
            world.lives[node] += 1;
            let number = u16::try_from(60_000 + node).unwrap();
            world.nodes[node].restart(number);
        }
        world.replay(0);
        world.heal();
        handed += world.handed.len();
        stale += world.nodes.iter().map(|node| node.seal.counters.stale).sum::<u64>();
        assert_eq!(world.refused.keys().find(|refusal| **refusal == Refusal::Unsealed), None);
    }
    assert!(handed > 1000 && renewals > 0 && stale > 1000, "{handed} {renewals} {stale}");
}
