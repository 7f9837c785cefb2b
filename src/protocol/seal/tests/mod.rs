//! A few processes with seals, and a network that does what the test says.

mod attacks;
mod exchange;
mod files;
mod keys_of_two_kinds;
mod random;
mod registers;
mod speed;

use std::net::SocketAddr;
use std::time::Duration;

use super::*;

const A_KEY: &str = "a 00000000000000000000000000000000000000000000000000000000000000aa";
const B_KEY: &str = "b 00000000000000000000000000000000000000000000000000000000000000bb";
const CLIENT_KEY: &str =
    "c 00000000000000000000000000000000000000000000000000000000000000cc client";

/// Shorter than any message.
const SHORTEST: usize = 8;

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

fn ms(millis: u64) -> Timestamp {
    Timestamp(millis * 1_000_000)
}

/// A process: what it seals with, and from where it sends.
struct Node {
    seal: Seal,
    address: SocketAddr,
    now: Timestamp,
}

/// What happened to a datagram, without its borrows.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Got {
    Clear(String, Role),
    Nothing,
    Refused(Refusal),
}

/// `number` makes it another process than all others.
fn node(role: Role, keys: &[&str], number: u16) -> Node {
    let keyring = Keyring::parse(&keys.join("\n")).unwrap();
    let mut seed = [7; SECRET_BYTES];
    seed[..2].copy_from_slice(&number.to_be_bytes());
    Node { seal: Seal::new(keyring, role, &seed), address: at(number), now: ms(1) }
}

impl Node {
    /// Everything that leaves when this is sent, in order. Padded to what any message has at least.
    fn send(&mut self, to: SocketAddr, clear: &str) -> Vec<Datagram> {
        let clear = format!("{clear:<SHORTEST$}");
        let bytes = self.seal.seal(self.now, to, clear.as_bytes()).map(<[u8]>::to_vec);
        let mut all: Vec<Datagram> = self.seal.drain().collect();
        all.extend(bytes.map(|bytes| Datagram { to, bytes }));
        all
    }

    /// The same for what is meant for a server.
    fn replicate(&mut self, to: SocketAddr, clear: &str) -> Vec<Datagram> {
        self.seal.reserve_for_servers(self.now, to);
        self.send(to, clear)
    }

    fn take_from(&mut self, from: SocketAddr, bytes: &[u8]) -> (Got, Vec<Datagram>) {
        let mut bytes = bytes.to_vec();
        let got = match self.seal.open(self.now, from, &mut bytes) {
            Opened::Clear(clear, role) => {
                let clear = std::str::from_utf8(clear).unwrap().trim_end();
                Got::Clear(clear.to_owned(), role)
            }
            Opened::Nothing => Got::Nothing,
            Opened::Refused(refusal) => Got::Refused(refusal),
        };
        let size = bytes.len();
        let answers: Vec<Datagram> = self.seal.drain().collect();
        // No amplification: what leaves at once for something that is not handed on is one answer
        // that is not longer, unless it ends the waiting of what this process sent itself.
        if self.seal.counters.welcomes_taken == 0 && !matches!(got, Got::Clear(_, _)) {
            assert!(answers.len() <= 1 && answers.iter().all(|answer| answer.bytes.len() <= size));
        }
        (got, answers)
    }

    fn take(&mut self, from: &Node, bytes: &[u8]) -> (Got, Vec<Datagram>) {
        self.take_from(from.address, bytes)
    }

    /// The same process began again: nothing is left but its file and its address.
    fn restart(&mut self, number: u16) {
        let (keyring, role) = (self.seal.keyring.clone(), self.seal.role);
        let mut seed = [9; SECRET_BYTES];
        seed[..2].copy_from_slice(&number.to_be_bytes());
        self.seal = Seal::new(keyring, role, &seed);
    }
}

/// Carries everything to and fro until nobody says anything more; what each was handed.
fn carry(a: &mut Node, b: &mut Node, from_a: Vec<Datagram>) -> (Vec<String>, Vec<String>) {
    let (mut at_a, mut at_b) = (Vec::new(), Vec::new());
    let mut flying: Vec<(bool, Datagram)> = from_a.into_iter().map(|one| (true, one)).collect();
    for _ in 0..100 {
        if flying.is_empty() {
            return (at_a, at_b);
        }
        for (is_to_b, datagram) in std::mem::take(&mut flying) {
            let (to, from, handed) =
                if is_to_b { (&mut *b, &*a, &mut at_b) } else { (&mut *a, &*b, &mut at_a) };
            if datagram.to != to.address {
                continue;
            }
            let (got, answers) = to.take(from, &datagram.bytes);
            if let Got::Clear(text, _) = got {
                handed.push(text);
            }
            flying.extend(answers.into_iter().map(|answer| (!is_to_b, answer)));
        }
    }
    panic!("they never stop talking");
}

/// Two processes that know each other.
fn acquainted() -> (Node, Node) {
    let (mut a, mut b) = (node(Role::Client, &[A_KEY], 1), node(Role::Server, &[A_KEY], 2));
    let first = a.send(b.address, "first");
    assert_eq!(carry(&mut a, &mut b, first), (vec![], vec!["first".to_owned()]));
    (a, b)
}

/// The one datagram that leaves.
fn only(mut datagrams: Vec<Datagram>) -> Vec<u8> {
    assert_eq!(datagrams.len(), 1);
    datagrams.remove(0).bytes
}

fn after(node: &mut Node, time: Duration) {
    node.now = Timestamp(node.now.0 + u64::try_from(time.as_nanos()).unwrap());
}
