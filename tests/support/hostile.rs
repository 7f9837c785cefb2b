//! Datagrams of somebody who wants to do harm: every message there is, with what he can find out
//! about the cluster put in, and then damaged, exaggerated, nested, cut off or repeated.
//!
//! Left out is what anybody may really have executed: a write in the plain form with all its
//! fields, the opening of a session, and the reading of a snapshot, of which there is one at a time.

use std::net::SocketAddr;

use serde_json::{Value, json};
use twox_hash::XxHash3_64;

use super::plain::ask_again;

/// See the top of this file.
pub struct Hostile {
    random: u64,
    /// Of all servers.
    incarnations: Vec<u64>,
    addresses: Vec<SocketAddr>,
    /// Epoch, its author, and the number of the view.
    view: (u64, u64, u64),
    /// What was made lately, to be repeated.
    made: Vec<Vec<u8>>,
}

/// Numbers where something may break.
const NUMBERS: &[&str] = &[
    "0",
    "-1",
    "1",
    "255",
    "65536",
    "4294967296",
    "4611686018427387904",
    "4611686018427387905",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1e400",
    "-0.0",
    "1.5",
    "null",
    "true",
    "\"7\"",
    "[]",
    "{}",
];

impl Hostile {
    /// With what anybody can find out.
    pub fn new(seed: u64, view_server: SocketAddr, servers: &[SocketAddr]) -> Hostile {
        let within = std::time::Duration::from_secs(5);
        let incarnations = servers.iter().filter_map(|server| {
            let pong = ask_again(*server, r#"{"type":"ping"}"#, within)?;
            u64::from_str_radix(pong["incarnation"].as_str()?, 16).ok()
        });
        let incarnations: Vec<u64> = incarnations.collect();
        assert_eq!(incarnations.len(), servers.len(), "every server answers a ping");
        let view = ask_again(view_server, r#"{"type":"get_view"}"#, within).expect("a view");
        let number = view["number"].as_u64().expect("a number");
        Hostile {
            random: seed,
            incarnations,
            addresses: servers.to_vec(),
            view: (1, 0, number),
            made: Vec::new(),
        }
    }

    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    fn incarnation(&mut self) -> u64 {
        let index = self.below(self.incarnations.len() + 1);
        let fresh = self.next();
        self.incarnations.get(index).copied().unwrap_or(fresh)
    }

    fn number(&mut self) -> u64 {
        let near = self.view.2.wrapping_add(self.next() % 4);
        [near, self.random % 100, self.random, u64::MAX, 1 << 62][self.below(5)]
    }

    fn view(&mut self) -> Value {
        let (epoch, author, _) = self.view;
        let epoch = if self.one_in(3) { self.number() } else { epoch };
        json!({"epoch": [epoch, author], "number": self.number()})
    }

    fn member(&mut self) -> Value {
        let index = self.below(self.addresses.len());
        let (id, address) = (format!("s{}", index + 1), self.addresses[index]);
        json!({"id": id, "incarnation": self.incarnation(), "address": address})
    }

    fn record(&mut self) -> Value {
        let phase = ["active", "proposed"][self.below(2)];
        json!({
            "history": self.next(), "phase": phase,
            "view": {"id": self.view(), "primary": self.member(), "backup": self.member(),
                     "joining": null, "since": self.view(), "genesis": self.one_in(2)},
            "eligible": [self.member()], "last_primary": self.member(), "lease_us": self.number(),
        })
    }

    fn link(&mut self) -> Value {
        json!({"from": self.incarnation(), "to": self.incarnation(), "history": self.next(),
               "view": self.view(), "since": self.view()})
    }

    fn session(&mut self) -> Value {
        json!([[1, self.next()], self.number()])
    }

    /// One message of a kind that is chosen by chance.
    fn message(&mut self) -> Value {
        let name = format!("s{}", self.below(5000));
        let length = [1, 10, 100][self.below(3)];
        let key = "x".repeat(if self.one_in(50) { 70_000 } else { length });
        let command = json!({"put": {"key": "hostile", "value": key}});
        match self.below(25) {
            0 => json!({"type": "get_view"}),
            1 => json!({"type": "view", "primary": name, "backup": name, "number": self.number()}),
            // Without a value, so that nobody may execute it.
            2 => json!({"type": "client_request", "command": "put", "key": key}),
            3 => json!({"type": "client_request", "command": "get", "key": key}),
            4 => json!({"type": "success", "command": "put", "key": key}),
            5 => json!({"type": "fail", "reason": "busy", "number": self.number()}),
            6 => json!({"type": "ping"}),
            7 => json!({"type": "online", "id": name, "incarnation": self.incarnation()}),
            8 => json!({"type": "refused", "to": self.incarnation(), "holder": "127.0.0.1:9"}),
            9 => json!({
                "type": "view_ping", "from": self.next(), "to": self.incarnation(),
                "nonce": self.number(), "heard": self.number(), "grants_lease": self.one_in(2),
                "timing": {"ping_interval_us": 1000, "dead_after_us": 3000, "lease_us": 0},
                "record": self.record(), "promise": [self.number(), self.next()],
            }),
            10 => json!({
                "type": "view_pong", "id": format!("s{}", 1 + self.below(3)),
                "from": self.incarnation(), "to": self.incarnation(), "nonce": self.below(5000),
                "token": self.number(), "address": null, "history": self.next(),
                "holds_copy": true, "promised": [self.number(), self.next()], "adopted": null,
                "record": self.record(),
                "reports": [{"view": self.view(), "about": self.incarnation(), "kind": "stalled"}],
            }),
            11 => json!({
                "type": "replicate", "link": self.link(), "first": self.number(),
                "operations": [{"write": {"command": command}}], "barrier": self.number(),
                "flip": self.number(),
            }),
            12 => json!({
                "type": "ack", "link": self.link(), "applied": self.number(),
                "digest": self.next(), "received": self.number(), "barrier": self.number(),
            }),
            13 => json!({
                "type": "newer_view", "to": self.incarnation(), "record": self.record(),
            }),
            14 => json!({
                "type": "offer", "link": self.link(), "copy": [self.number(), self.next()],
            }),
            15 => json!({"type": "verdict", "link": self.link(), "keep": self.one_in(2)}),
            16 => json!({
                "type": "transfer", "link": self.link(), "sequence": self.number(), "items": [],
                "probe": self.number(),
            }),
            17 => json!({
                "type": "transfer_ack", "link": self.link(), "sequence": self.number(),
                "probe": self.number(), "diverged": true,
            }),
            18 => json!({
                "type": "view_request", "client": self.next(), "id": self.number(),
                "fresh": self.one_in(2),
            }),
            19 => json!({
                "type": "request", "client": self.next(), "id": self.number(),
                "ask": {"write": {"origin": {"session": self.session(), "number": self.number(),
                                             "acknowledged": self.number()},
                                  "command": command}},
            }),
            20 => {
                let ask = match self.below(4) {
                    0 => json!({"get": {"key": key, "after": [self.session(), self.number()]}}),
                    1 => json!({"keys": {"prefix": ""}}),
                    2 => json!({"mget": {"keys": vec!["hostile"; self.below(3000)]}}),
                    _ => json!({"get": {"key": key, "page": {"generation": self.number(),
                                "start": self.number(), "end": self.number()}}}),
                };
                json!({"type": "request", "client": self.next(), "id": self.number(), "ask": ask})
            }
            21 => json!({
                "type": "get_status", "client": self.next(), "id": self.number(),
                "padding": " ".repeat(self.below(2000)),
            }),
            22 => {
                let length = [10, 1 << 20, 8 << 20, usize::MAX][self.below(4)];
                let offset = [0, 0, 5, usize::MAX][self.below(4)];
                json!({
                    "type": "piece", "from": self.incarnation(), "id": self.next(),
                    "length": length, "offset": offset, "body": "y".repeat(self.below(1000)),
                })
            }
            23 => json!({
                "type": "want", "from": self.next(), "to": self.incarnation(), "id": self.next(),
                "ranges": vec![[0_u64, u64::MAX]; self.below(100)],
            }),
            _ => json!({"type": "retry", "token": self.number(), "of": self.next()}),
        }
    }

    /// Puts something else in the place of a value somewhere in it.
    fn mutate(&mut self, value: &mut Value) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                let index = self.below(fields.len());
                let name = fields.keys().nth(index).cloned().unwrap();
                if name == "type" {
                } else if self.one_in(5) {
                    fields.remove(&name);
                } else if let Some(field) = fields.get_mut(&name) {
                    self.mutate(field);
                }
            }
            Value::Array(items) if !items.is_empty() && !self.one_in(4) => {
                let index = self.below(items.len());
                if self.one_in(3) {
                    let copy = items[index].clone();
                    items.extend(vec![copy; self.below(100)]);
                } else {
                    self.mutate(&mut items[index]);
                }
            }
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => {
                let text = NUMBERS[self.below(NUMBERS.len())];
                // What serde_json cannot hold is put in as text, when it is written.
                *value = serde_json::from_str(text).unwrap_or(Value::String(format!("@{text}@")));
            }
        }
    }

    fn lines(&mut self) -> Vec<u8> {
        let mut text = String::new();
        for _ in 0..1 + self.below(3) {
            let mut message = self.message();
            for _ in 0..self.below(3) {
                self.mutate(&mut message);
            }
            let is_write = message["type"] == "client_request" && message["command"] == "put";
            assert!(!is_write || message["value"].is_null(), "it would be executed");
            let mut line = message.to_string().replace("\"@", "").replace("@\"", "");
            match self.below(12) {
                0 => {
                    let depth = [100, 200, 300, 20_000][self.below(4)];
                    let nested = "[".repeat(depth) + &"]".repeat(depth);
                    line = line.replacen('{', &format!("{{\"nested\":{nested},"), 1);
                }
                1 => line = line.replacen("\"type\"", "\"type\":\"ping\",\"type\"", 1),
                2 => line.truncate(floor(&line, self.random)),
                _ => {}
            }
            text += &line;
            text.push('\n');
        }
        text.into_bytes()
    }

    /// The next datagram.
    pub fn datagram(&mut self) -> Vec<u8> {
        if !self.made.is_empty() && self.one_in(10) {
            let index = self.below(self.made.len());
            return self.made[index].clone();
        }
        let mut lines = self.lines();
        lines.truncate(60_000);
        if self.one_in(10) {
            for _ in 0..1 + self.below(10) {
                let index = self.below(lines.len());
                lines[index] = self.next() as u8;
            }
        }
        let mut bytes = match self.below(10) {
            0 => Vec::new(),
            1 => format!("{{\"type\":\"pbkv\",\"sum\":{:>20}}}\n", self.next()).into_bytes(),
            2 => {
                let sum = crc32fast::hash(&lines);
                format!("{{\"type\":\"pbkv\",\"crc32\":{sum:>18}}}\n").into_bytes()
            }
            3 => b"{\"type\":\"pbkv\"}\n".to_vec(),
            _ => {
                let sum = XxHash3_64::oneshot(&lines);
                format!("{{\"type\":\"pbkv\",\"sum\":{sum:>20}}}\n").into_bytes()
            }
        };
        bytes.append(&mut lines);
        if self.one_in(20) {
            let length = self.below(bytes.len());
            bytes.truncate(length);
        }
        if self.made.len() < 256 {
            self.made.push(bytes.clone());
        } else {
            let index = self.below(256);
            self.made[index] = bytes.clone();
        }
        bytes
    }
}

/// A place in the text where it may be cut.
fn floor(text: &str, random: u64) -> usize {
    let mut at = usize::try_from(random % (text.len() as u64 + 1)).unwrap();
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
