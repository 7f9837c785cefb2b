//! Scripted clients: what they ask, in which order, and what they were told.
//!
//! A client sends the requests of the client library, of one session, with a bounded number in
//! flight. Every request that was ever asked can be asked again, of any server, at any time.

use std::hash::Hash;

use pbkv::kv::command::{Command, Key, Origin, Value};
use pbkv::protocol::message::{Ask, Outcome, Request};
use pbkv::types::{Incarnation, RequestId, RequestNumber, SessionId};

use pbkv::history::key::{self as linearizability, Action, Operation, Verdict};

/// The one key of most scripts.
pub const KEY: &str = "k";

/// One line of a script.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Do {
    Open,
    Append(u64),
    Put(u64),
    Remove,
    Get,
}

/// What a client was told.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Told {
    Opened(SessionId),
    Done,
    List(Option<Vec<u64>>),
    Expired,
}

/// One operation: a line of the script and what became of it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Call {
    pub ask: Do,
    /// Moment of the first sending.
    pub called: Option<u8>,
    pub told: Option<(u8, Told)>,
    /// How often it was asked with some effect.
    pub asked: u8,
}

/// One client.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Client {
    pub calls: Vec<Call>,
    /// Operations in flight.
    window: usize,
}

impl Client {
    pub fn new(script: &[Do], window: usize) -> Client {
        let call = |ask: &Do| Call { ask: *ask, called: None, told: None, asked: 0 };
        let calls = std::iter::once(&Do::Open).chain(script).map(call).collect();
        Client { calls, window }
    }

    pub fn is_done(&self) -> bool {
        self.calls.iter().all(|call| call.told.is_some())
    }

    pub fn session(&self) -> Option<SessionId> {
        match &self.calls[0].told {
            Some((_, Told::Opened(session))) => Some(*session),
            Some(_) | None => None,
        }
    }

    /// Whether a call may be sent (again).
    pub fn may_ask(&self, index: usize) -> bool {
        let call = &self.calls[index];
        if call.called.is_some() {
            // A read that was answered changes nothing any more.
            return !(call.ask == Do::Get && call.told.is_some());
        }
        let opened = index == 0 || self.session().is_some();
        let earlier = &self.calls[..index];
        let waiting = earlier.iter().filter(|call| call.told.is_none()).count();
        opened && earlier.iter().all(|call| call.called.is_some()) && waiting < self.window
    }

    fn writes_before(&self, index: usize) -> u64 {
        let is_write = |call: &&Call| matches!(call.ask, Do::Append(_) | Do::Put(_) | Do::Remove);
        self.calls[..index].iter().filter(is_write).count() as u64
    }

    /// The request of a call: the same bytes whenever it is sent.
    pub fn request(&self, client: usize, index: usize) -> Request {
        let key = || Key::from(KEY);
        let value = |value: u64| Value::from(value.to_string().as_str());
        let write = |command: Command| {
            let number = RequestNumber(self.writes_before(index) + 1);
            // With one request in flight everything before it is answered; else nothing is said.
            let acknowledged = if self.window == 1 { number.0 - 1 } else { 0 };
            let session = self.session().expect("a write follows the opening");
            let acknowledged = RequestNumber(acknowledged);
            Ask::Write { origin: Origin { session, number, acknowledged }, command }
        };
        let ask = match self.calls[index].ask {
            Do::Open => Ask::Open { nonce: client as u64 + 1 },
            Do::Append(number) => write(Command::Append { key: key(), value: value(number) }),
            Do::Put(number) => write(Command::Put { key: key(), value: value(number) }),
            Do::Remove => write(Command::Remove { key: key() }),
            Do::Get => {
                let after = match (self.session(), self.writes_before(index)) {
                    (Some(session), number) if number > 0 => Some((session, RequestNumber(number))),
                    (Some(_) | None, _) => None,
                };
                Ask::Get { key: key(), after, page: None }
            }
        };
        let id = RequestId(index as u64);
        Request { client: Incarnation(client as u64 + 1), id, ask }
    }

    /// Takes an answer. Returns whether it was news.
    pub fn tell(&mut self, id: RequestId, outcome: &Outcome, moment: u8) -> bool {
        let index = usize::try_from(id.0).expect("few calls");
        let told = match outcome {
            Outcome::Opened(session) => Told::Opened(*session),
            Outcome::Done => Told::Done,
            Outcome::Missing => Told::List(None),
            Outcome::Page(page) => {
                let number = |value: &Value| value.0.parse().expect("values are numbers");
                Told::List(Some(page.values.iter().map(number).collect()))
            }
            Outcome::SessionExpired => Told::Expired,
            Outcome::GenerationChanged | Outcome::NotPrimary(_) | Outcome::Busy => return false,
            Outcome::Number(_)
            | Outcome::Mismatch(_)
            | Outcome::NotANumber
            | Outcome::Overflow
            | Outcome::OutOfMemory
            | Outcome::Length(_)
            | Outcome::Keys(_)
            | Outcome::Pages(_)
            | Outcome::Snapshot(_)
            | Outcome::SnapshotRefused(_) => unreachable!("nobody here asks for such things"),
        };
        let call = &mut self.calls[index];
        if call.told.is_some() || call.called.is_none() {
            return false;
        }
        call.told = Some((moment, told));
        true
    }
}

/// Everything that was appended and acknowledged; none if lists are also replaced or removed.
pub fn acknowledged(clients: &[Client]) -> Option<Vec<u64>> {
    let mut values = Vec::new();
    for call in clients.iter().flat_map(|client| &client.calls) {
        match (call.ask, &call.told) {
            (Do::Put(_) | Do::Remove, _) => return None,
            (Do::Append(value), Some((_, Told::Done))) => values.push(value),
            (Do::Append(_) | Do::Open | Do::Get, _) => {}
        }
    }
    Some(values)
}

/// Whether one order of the operations explains what everybody was told (no-stale-read).
pub fn check_history(clients: &[Client]) -> Result<(), String> {
    let mut history = Vec::new();
    for (number, client) in clients.iter().enumerate() {
        for (index, call) in client.calls.iter().enumerate() {
            let Some(called) = call.called else { continue };
            let (answered, action) = match (call.ask, &call.told) {
                (Do::Append(value), told) => (told.as_ref(), Action::Append(value)),
                (Do::Put(value), told) => (told.as_ref(), Action::Put(value)),
                (Do::Remove, told) => (told.as_ref(), Action::Remove),
                (Do::Get, Some(told @ (_, Told::List(list)))) => {
                    (Some(told), Action::Get(list.clone()))
                }
                (Do::Get | Do::Open, _) => continue,
            };
            // What an expired session has written may or may not have happened.
            let answered = answered.filter(|(_, told)| *told != Told::Expired);
            history.push(Operation {
                process: (number * 100 + index) as u64,
                called: called.into(),
                answered: answered.map(|(moment, _)| u64::from(*moment)),
                action,
            });
        }
    }
    match linearizability::check(&history, 100_000) {
        Verdict::Linearizable | Verdict::Unknown => Ok(()),
        Verdict::Violation(why) => Err(format!("{why}: {history:?}")),
    }
}
