//! Messages in pieces, over a network that loses, repeats, reorders and forges.
//!
//! Must hold: no panic; what is put together is what was sent; timers advance; and once the forger
//! is silent and nothing is lost any more, a message that is sent again arrives.

use std::net::SocketAddr;
use std::time::Duration;

use pbkv::config::Limits;
use pbkv::kv::command::Value;
use pbkv::protocol::message::Message;
use pbkv::protocol::message::{Ask, Request};
use pbkv::protocol::transport::{Datagram, Transport};
use pbkv::time::Timestamp;
use pbkv::types::{Incarnation, RequestId};
use serde_json::json;
use twox_hash::XxHash3_64;

use super::bytes::Bytes;

/// Datagrams that are kept to be sent again, or used in a forgery.
const KEPT: usize = 64;
const STEPS_MAX: usize = 200;

struct Net {
    ends: [Transport; 2],
    addresses: [SocketAddr; 2],
    now: Timestamp,
    /// Sent and not yet delivered: who receives it, and the datagram.
    fresh: Vec<(usize, Vec<u8>)>,
    kept: Vec<(usize, Vec<u8>)>,
    sent: Vec<Message>,
    arrived: Vec<Message>,
}

fn message(id: u64, length: usize) -> Message {
    let text = "0123456789\"\\\n\u{e9}".chars().cycle().take(length).collect::<String>();
    let value = Value::from(text.as_str());
    let ask = Ask::Mget { keys: vec![pbkv::kv::command::Key::from(&*value.0)], after: None };
    Message::Request(Request { client: Incarnation(9), id: RequestId(id), ask })
}

pub fn run(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let small = Limits {
        datagram_bytes: 600,
        message_bytes: 20_000,
        assembly_bytes: 50_000,
        ..Limits::default()
    };
    let addresses = ["192.0.2.1:1", "192.0.2.2:2"].map(|it| it.parse().expect("an address"));
    let mut net = Net {
        ends: [Transport::new(Incarnation(1), small), Transport::new(Incarnation(2), small)],
        addresses,
        now: Timestamp(1),
        fresh: Vec::new(),
        kept: Vec::new(),
        sent: Vec::new(),
        arrived: Vec::new(),
    };
    for step in 0..STEPS_MAX {
        if bytes.is_empty() {
            break;
        }
        match bytes.byte() % 8 {
            0 => {
                let length = usize::from(bytes.byte()) * 60;
                net.send(bytes.below(2), message(step as u64, length));
            }
            1 | 2 if !net.fresh.is_empty() => {
                let at = bytes.below(net.fresh.len());
                let (to, datagram) = net.fresh.remove(at);
                net.deliver(to, &datagram);
            }
            3 if !net.fresh.is_empty() => {
                let at = bytes.below(net.fresh.len());
                net.fresh.remove(at);
            }
            4 if !net.kept.is_empty() => {
                let (to, datagram) = net.kept[bytes.below(net.kept.len())].clone();
                net.deliver(to, &datagram);
            }
            5 => net.forge(&mut bytes),
            6 => net.wait(Duration::from_millis(bytes.byte().into())),
            _ => {
                for (to, datagram) in std::mem::take(&mut net.fresh) {
                    net.deliver(to, &datagram);
                }
            }
        }
    }
    net.arrives_in_the_end();
}

impl Net {
    fn send(&mut self, from: usize, message: Message) {
        self.ends[from].send(self.now, self.addresses[1 - from], &message);
        self.sent.push(message);
        self.flush();
    }

    fn flush(&mut self) {
        for from in 0..2 {
            let mut out = Vec::new();
            self.ends[from].flush(&mut out);
            for Datagram { to, bytes } in out {
                assert_eq!(to, self.addresses[1 - from], "nobody else is sent anything");
                assert!(bytes.len() <= 600, "{} bytes", bytes.len());
                self.kept.push((1 - from, bytes.clone()));
                self.fresh.push((1 - from, bytes));
            }
        }
        let surplus = self.kept.len().saturating_sub(KEPT);
        self.kept.drain(..surplus);
    }

    fn deliver(&mut self, to: usize, datagram: &[u8]) {
        let before = self.arrived.len();
        let from = self.addresses[1 - to];
        self.ends[to].receive(self.now, from, datagram, &mut self.arrived);
        for message in &self.arrived[before..] {
            assert!(self.sent.contains(message), "never sent: {message:?}");
        }
        self.flush();
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
        for end in &mut self.ends {
            if end.poll_timeout().is_some_and(|due| due <= self.now) {
                end.handle_timeout(self.now);
                assert!(end.poll_timeout().is_none_or(|due| due > self.now), "timer-advances");
            }
        }
        self.flush();
    }

    /// A piece or a want as no sender would write it, made of one that was sent.
    fn forge(&mut self, bytes: &mut Bytes<'_>) {
        if self.kept.is_empty() {
            return;
        }
        let (to, datagram) = &self.kept[bytes.below(self.kept.len())];
        let to = *to;
        let text = String::from_utf8_lossy(datagram).into_owned();
        let lines: Vec<&str> = text.lines().skip(1).collect();
        if lines.is_empty() {
            return;
        }
        let Ok(mut line) =
            serde_json::from_str::<serde_json::Value>(lines[bytes.below(lines.len())])
        else {
            return;
        };
        if line["type"] != "piece" && line["type"] != "want" {
            return;
        }
        for _ in 0..=bytes.byte() % 3 {
            let field = ["from", "id", "length", "offset", "to", "body", "ranges"][bytes.below(7)];
            let Some(value) = line.get_mut(field) else { continue };
            if let Some(number) = value.as_u64() {
                *value = json!(bytes.number(number));
            } else if value.is_string() {
                *value = json!(bytes.text());
            } else {
                let ranges: Vec<[u64; 2]> = (0..bytes.byte() % 40)
                    .map(|_| [bytes.number(600), bytes.number(900)])
                    .collect();
                *value = json!(ranges);
            }
        }
        let body = format!("{line}\n");
        let sum = XxHash3_64::oneshot(body.as_bytes());
        let forged = format!("{{\"type\":\"pbkv\",\"sum\":{sum}}}\n{body}");
        self.deliver(to, forged.as_bytes());
    }

    fn arrives_in_the_end(&mut self) {
        let last = message(u64::MAX, 7_000);
        self.sent.push(last.clone());
        for round in 0..400 {
            if round % 10 == 0 {
                self.ends[0].send(self.now, self.addresses[1], &last);
                self.flush();
            }
            for (to, datagram) in std::mem::take(&mut self.fresh) {
                self.deliver(to, &datagram);
            }
            if self.arrived.contains(&last) {
                return;
            }
            self.wait(Duration::from_millis(10));
        }
        panic!("a message did not arrive in 4 s over a network that loses nothing");
    }
}
