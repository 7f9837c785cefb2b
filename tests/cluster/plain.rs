//! A client of ten lines: JSON objects without session, header or checksum, each request from a
//! port of its own, each sent once.
//!
//! What it may rely on is little: a write is executed once for every datagram that arrives, an
//! acknowledged one is as durable as any other, and a read is as fresh as any other. Every write
//! has a key of its own, so that repeats can be counted; reads of the others' keys are a part of
//! their histories.

use pbkv::protocol::transport::Datagram;
use pbkv::types::CallId;
use serde_json::Value as Json;

use crate::counts::Count;
use crate::harness::{Event, VIEW, World};
use crate::invariants::Violation;
use std::net::SocketAddr;

/// Ports below this belong to nobody's request.
const FIRST_PORT: u16 = 6000;

/// What the plain client remembers.
#[derive(Default)]
pub struct Plain {
    primary: Option<SocketAddr>,
    /// Requests so far; each has the port `FIRST_PORT` + its number.
    requests: u16,
    asked: Option<Asked>,
}

#[derive(Clone, Copy)]
enum Asked {
    View,
    Probe,
    Write(u16),
    /// A read of the others' keys.
    Read(CallId),
}

impl World {
    /// Gives up what was asked before, and asks something new.
    pub fn ask_plainly(&mut self) {
        if self.nemesis.retired {
            return;
        }
        let pause = self.random.around(self.plan.plain_every);
        self.schedule(self.now + pause, Event::Plain);
        let index = self.plain_client();
        self.plain.requests += 1;
        let number = self.plain.requests;
        self.nodes[index].address.set_port(FIRST_PORT + number);
        let server = self.random.index(self.plan.servers) + 1;
        let anybody = self.nodes[server].address;
        let to = self.plain.primary.filter(|_| !self.random.chance(100_000)).unwrap_or(anybody);
        let lost_touch = self.plain.primary.is_none() || self.plain.asked.is_some();
        let (asked, to, text) = match self.random.below(10) {
            0..4 if lost_touch => {
                (Asked::View, self.nodes[VIEW].address, r#"{"type":"get_view"}"#.to_owned())
            }
            0 => (Asked::Probe, anybody, r#"{"type":"ping"}"#.to_owned()),
            1..=4 => {
                let key = self.random.index(self.workload.keys());
                let (call, name) = self.ask_elsewhere(key);
                let text =
                    format!(r#"{{"type":"client_request","command":"get","key":"{}"}}"#, name.0);
                (Asked::Read(call), to, text)
            }
            _ => {
                let command = self.random.pick(&["put", "append"]);
                let text = format!(
                    r#"{{"type":"client_request","command":"{command}","key":"p{number}","value":"{number}"}}"#
                );
                (Asked::Write(number), to, text)
            }
        };
        let at = self.now;
        self.trace.say(at, || format!("plain -> {to}: {text}"));
        self.plain.asked = Some(asked);
        self.datagrams.push(Datagram { to, bytes: text.into_bytes() });
        self.post(index);
    }

    /// An answer to the present request; those to earlier ones went to ports that are closed.
    pub fn hear_plainly(&mut self, bytes: &[u8]) {
        // What was cut off on the way is no JSON any more.
        let Ok(answer) = serde_json::from_slice::<Json>(bytes) else { return };
        let Some(asked) = self.plain.asked.take() else { return };
        let at = self.now;
        self.trace.say(at, || format!("plain <- {answer}"));
        let address = |field: &str| answer[field].as_str().and_then(|text| text.parse().ok());
        match (answer["type"].as_str().unwrap_or_default(), asked) {
            ("view", Asked::View) => {
                self.plain.primary = address("primary_address");
                self.counts.add(Count::PlainAnswers);
            }
            ("pong", Asked::Probe) if answer["server_id"].is_string() => {
                self.counts.add(Count::PlainAnswers);
            }
            ("success", Asked::Write(number)) => {
                self.counts.add(Count::PlainWrites);
                let truth = self.truth.as_ref().map(|truth| &truth.record);
                if let Err(violation) =
                    self.checks.plain.on_acknowledged(&self.nodes, truth, number)
                {
                    self.fail(violation);
                }
            }
            ("success", Asked::Read(call)) => {
                self.counts.add(Count::PlainReads);
                let number = |value: &Json| {
                    let text = value.as_str().unwrap_or_default();
                    text.split(':').next().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX)
                };
                let list = answer["value"].as_array();
                self.answered_elsewhere(call, list.map(|list| list.iter().map(number).collect()));
            }
            ("fail", Asked::Write(_) | Asked::Read(_)) => {
                self.plain.primary = address("primary_address");
            }
            _ => {
                let detail = format!("{answer} answers nothing that was asked");
                self.fail(Violation::new("plain-answers-fit", detail));
            }
        }
    }

    /// A plain request has got as far as a server's socket, maybe not for the first time.
    pub fn note_plain_delivery(&mut self, source: SocketAddr) {
        if let Some(number) = source.port().checked_sub(FIRST_PORT) {
            self.checks.plain.on_delivery(number);
        }
    }
}
