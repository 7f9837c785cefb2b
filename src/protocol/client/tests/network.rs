//! The client against a small model of the service, over a network that loses, duplicates, delays
//! and reorders: every acknowledged append is there once, in order, and nothing hangs.

use super::*;
use crate::kv::command::Value;
use crate::protocol::message::{Page, PageRequest};

/// A number that looks random (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// The replicated state, as a primary that never forgets a session would serve it.
#[derive(Default)]
struct Service {
    operations: u64,
    sessions: BTreeMap<u64, SessionId>,
    executed: BTreeMap<SessionId, RequestNumber>,
    list: Vec<Value>,
}

impl Service {
    fn execute(&mut self, ask: &Ask) -> Option<Outcome> {
        match ask {
            Ask::Open { nonce } => {
                self.operations += 1;
                let number = self.operations;
                let id = *self.sessions.entry(*nonce).or_insert_with(|| session(number));
                self.executed.entry(id).or_default();
                Some(Outcome::Opened(id))
            }
            Ask::Write { origin, command } => {
                let Some(executed) = self.executed.get_mut(&origin.session) else {
                    return Some(Outcome::SessionExpired);
                };
                if origin.number <= *executed {
                    return Some(Outcome::Done);
                }
                if origin.number != executed.next() {
                    return None;
                }
                *executed = origin.number;
                if let command::Command::Append { value, .. } = command {
                    self.list.push(value.clone());
                }
                Some(Outcome::Done)
            }
            Ask::Get { after, page, .. } => {
                if let Some((session, number)) = after {
                    match self.executed.get(session) {
                        None => return Some(Outcome::SessionExpired),
                        Some(executed) if executed < number => return None,
                        Some(_) => {}
                    }
                }
                if self.list.is_empty() {
                    return Some(Outcome::Missing);
                }
                let whole = self.list.len() as u64;
                let generation = OperationNumber(1);
                let wanted = PageRequest { generation, start: 0, end: whole };
                let PageRequest { start, end, .. } = page.unwrap_or(wanted);
                let to = end.min(start + 7);
                let values = self.list[start as usize..to as usize].to_vec();
                Some(Outcome::Page(Page { generation, start, end, values }))
            }
            Ask::Len { .. } | Ask::Keys { .. } | Ask::Mget { .. } | Ask::Snapshot { .. } => None,
        }
    }
}

/// Client, service and the datagrams under way.
struct World {
    bench: Bench,
    service: Service,
    dice: Dice,
    under_way: BTreeMap<(Timestamp, u64), (SocketAddr, SocketAddr, Message)>,
    sequence: u64,
    primary: SocketAddr,
    number: u64,
    faults: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        World {
            bench: Bench::new(),
            service: Service::default(),
            dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            under_way: BTreeMap::new(),
            sequence: 0,
            primary: s1(),
            number: 5,
            faults: true,
        }
    }

    fn send(&mut self, from: SocketAddr, to: SocketAddr, message: &Message) {
        let copies = match self.dice.below(10) {
            0 | 1 if self.faults => 0,
            2 | 3 if self.faults => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let delay = if self.faults { self.dice.below(50_000) } else { 100 };
            self.sequence += 1;
            let due = self.bench.now + Duration::from_micros(delay);
            self.under_way.insert((due, self.sequence), (from, to, message.clone()));
        }
    }

    fn flush(&mut self) {
        for (to, message) in std::mem::take(&mut self.bench.sent) {
            self.send(address(4000), to, &message);
        }
    }

    fn arrive(&mut self, from: SocketAddr, to: SocketAddr, message: Message) {
        match message {
            Message::Reply(_) | Message::ViewReply(_) => self.bench.deliver(from, message),
            Message::ViewRequest(ViewRequest { client, id, .. }) => {
                let shown = shown(view(self.number), Some(self.primary));
                let servers = vec![s1(), s2()];
                let reply = ViewReply { client, id, shown, servers };
                self.send(to, from, &Message::ViewReply(reply.into()));
            }
            Message::Request(Request { client, id, ask }) => {
                let outcome = if to != self.primary {
                    let hint = shown(view(self.number), Some(self.primary));
                    Some(Outcome::NotPrimary(hint.into()))
                } else if self.faults && self.dice.below(20) == 0 {
                    Some(Outcome::Busy)
                } else {
                    self.service.execute(&ask)
                };
                if let Some(outcome) = outcome {
                    let reply = Reply { client, id, view: view(self.number), outcome };
                    self.send(to, from, &Message::Reply(reply));
                }
            }
            other => panic!("a client never sends {other:?}"),
        }
    }

    /// Runs until the time is over.
    fn run(&mut self, millis: u64) {
        let until = self.bench.now + ms(millis);
        loop {
            self.flush();
            let arrival = self.under_way.first_key_value().map(|(&(due, _), _)| due);
            let timeout = self.bench.client.poll_timeout();
            let Some(next) = arrival.into_iter().chain(timeout).min().filter(|&next| next <= until)
            else {
                break;
            };
            self.bench.now = self.bench.now.max(next);
            if arrival == Some(next) {
                let ((_, _), (from, to, message)) = self.under_way.pop_first().expect("looked at");
                self.arrive(from, to, message);
            } else {
                self.bench.timeout();
            }
        }
        self.bench.now = until;
    }
}

#[test]
fn every_acknowledged_append_is_there_once_and_in_order_whatever_the_network_does() {
    let (mut repeated, mut moved, mut unknown) = (0, 0, 0);
    for seed in 1..=12 {
        let mut world = World::new(seed);
        let mut appends: Vec<(CallId, String)> = Vec::new();
        let mut reads = Vec::new();
        for step in 0..400_u64 {
            for _ in 0..world.dice.below(4) {
                let value = format!("{}", appends.len());
                // Some callers lose their patience.
                let deadline = if world.dice.below(10) == 0 { 60 } else { 20_000 };
                appends.push((world.bench.call(append(&value), deadline), value));
            }
            if world.dice.below(3) == 0 {
                reads.push(world.bench.call(get(), 20_000));
            }
            if step % 100 == 99 {
                world.primary = if world.primary == s1() { s2() } else { s1() };
                world.number += 1;
                moved += 1;
            }
            let pause = world.dice.below(20);
            world.run(pause);
        }
        world.faults = false;
        world.run(5_000);
        let bench = &world.bench;
        assert_eq!(bench.answers.len(), appends.len() + reads.len(), "seed {seed}: all answered");
        assert_eq!(bench.client.poll_timeout(), None, "seed {seed}: nothing is left to do");
        let list: Vec<String> = world.service.list.iter().map(Value::to_string).collect();
        let mut positions = Vec::new();
        for (call, value) in &appends {
            let found: Vec<_> = (0..list.len()).filter(|&at| list[at] == *value).collect();
            match &bench.answers[call] {
                Ok(_) => assert_eq!(found.len(), 1, "seed {seed}: {value} applied once"),
                Err(failure) if failure.outcome == FailureOutcome::Unknown => {
                    unknown += 1;
                    assert!(found.len() <= 1, "seed {seed}: {value} applied at most once");
                }
                Err(_) => assert_eq!(found.len(), 0, "seed {seed}: {value} was never sent"),
            }
            positions.extend(found);
        }
        assert!(positions.is_sorted(), "seed {seed}: in the order of the calls");
        for call in &reads {
            let Ok(Completed::List(values)) = &bench.answers[call] else {
                panic!("seed {seed}: a read failed: {:?}", bench.answers[call])
            };
            let values = values.as_deref().unwrap_or_default();
            assert_eq!(values, &world.service.list[..values.len()], "seed {seed}: a prefix");
        }
        repeated += world.sequence;
    }
    assert!(repeated > 0 && moved > 0 && unknown > 0, "the faults did happen");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let mut world = World::new(11);
        for value in 0..50 {
            world.bench.call(append(&value.to_string()), 5000);
            world.run(5);
        }
        (world.sequence, world.bench.client)
    };
    assert!(run() == run());
}
