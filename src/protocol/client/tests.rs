//! The client core, driven by hand: messages and virtual time go in, effects come out.
//!
//! The bench checks at every step what must hold always: time advances (no busy loop), a call is
//! answered once, a repetition has the same bytes, and `acknowledged` never passes an unanswered
//! request.

#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::cloned_ref_to_slice_refs,
    reason = "a test names the one variant and the one message it expects"
)]

mod finding;
mod network;
mod reading;
mod writing;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::{
    Action, Answer, ClientConfig, ClientProcess, Command, Completed, Failure, FailureOutcome,
    FailureReason,
};
use crate::config::Limits;
use crate::kv::command::{self, Key};
use crate::protocol::message::{Ask, Message, Outcome, Reply, Request, ViewReply, ViewRequest};
use crate::protocol::view::{Member, Shown};
use crate::protocol::{Effect, Outbox, Process};
use crate::time::Timestamp;
use crate::types::{
    CallId, Epoch, Incarnation, OperationNumber, RequestId, RequestNumber, SessionId, ViewId,
};

const CLIENT: Incarnation = Incarnation(77);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn view_server() -> SocketAddr {
    address(5000)
}

fn s1() -> SocketAddr {
    address(5010)
}

fn s2() -> SocketAddr {
    address(5020)
}

fn view(number: u64) -> ViewId {
    ViewId { epoch: Epoch(1, 9), number }
}

fn session(number: u64) -> SessionId {
    SessionId(Epoch(1, 9), OperationNumber(number))
}

fn member(address: SocketAddr) -> Member {
    let name = format!("s{}", address.port() / 10 - 500);
    Member { id: name.as_str().into(), incarnation: Incarnation(address.port().into()), address }
}

fn shown(view: ViewId, primary: Option<SocketAddr>) -> Shown {
    Shown { view, primary: primary.map(member), backup: None, waiting: None }
}

fn append(value: &str) -> Action {
    Action::Write(command::Command::Append { key: "k".into(), value: value.into() })
}

fn get() -> Action {
    Action::Get(Key::from("k"))
}

/// A client, its clock, and everything that came out of it.
struct Bench {
    client: ClientProcess,
    now: Timestamp,
    outbox: Outbox<Answer>,
    /// Sent and not yet looked at.
    sent: Vec<(SocketAddr, Message)>,
    answers: BTreeMap<CallId, Answer>,
    calls: u64,
    /// First sending of each request.
    frozen: BTreeMap<RequestId, Request>,
    /// Numbers sent and not answered, by session.
    unanswered: BTreeMap<SessionId, BTreeSet<RequestNumber>>,
}

impl Bench {
    fn new() -> Self {
        Bench::with_limits(Limits::default())
    }

    fn with_limits(limits: Limits) -> Self {
        let now = Timestamp::ZERO + Duration::from_secs(1000);
        let config = ClientConfig { incarnation: CLIENT, view_server: view_server(), limits };
        Bench {
            client: ClientProcess::new(now, config),
            now,
            outbox: Outbox::default(),
            sent: Vec::new(),
            answers: BTreeMap::new(),
            calls: 0,
            frozen: BTreeMap::new(),
            unanswered: BTreeMap::new(),
        }
    }

    /// A client that follows s1 in view 5 and has proof of it.
    fn served() -> Self {
        let mut bench = Bench::new();
        let call = bench.call(get(), 1000);
        bench.show(view(5), Some(s1()));
        let read = bench.take_requests(s1()).remove(0);
        bench.reply(s1(), &read, Outcome::Missing);
        assert_eq!(bench.answers[&call], Ok(Completed::List(None)));
        bench
    }

    /// The same with an open session.
    fn opened() -> Self {
        let mut bench = Bench::served();
        let call = bench.call(append("first"), 1000);
        let open = bench.take_requests(s1()).remove(0);
        assert!(matches!(open.ask, Ask::Open { .. }));
        bench.reply(s1(), &open, Outcome::Opened(session(1)));
        let write = bench.take_requests(s1()).remove(0);
        bench.reply(s1(), &write, Outcome::Done);
        assert_eq!(bench.answers[&call], Ok(Completed::Written));
        bench
    }

    fn call(&mut self, action: Action, deadline_ms: u64) -> CallId {
        self.calls += 1;
        let call = CallId(self.calls);
        let command = Command { action, deadline: ms(deadline_ms) };
        self.client.handle_command(self.now, call, command, &mut self.outbox);
        self.collect();
        call
    }

    fn deliver(&mut self, from: SocketAddr, message: Message) {
        if let Message::Reply(Reply { client: CLIENT, id, outcome, .. }) = &message
            && matches!(
                outcome,
                Outcome::Done
                    | Outcome::Number(_)
                    | Outcome::Mismatch(_)
                    | Outcome::NotANumber
                    | Outcome::Overflow
                    | Outcome::OutOfMemory
            )
            && let Some(Request { ask: Ask::Write { origin, .. }, .. }) = self.frozen.get(id)
        {
            self.unanswered.entry(origin.session).or_default().remove(&origin.number);
        }
        self.client.handle_message(self.now, from, message, &mut self.outbox);
        self.collect();
    }

    fn reply_in(&mut self, view: ViewId, from: SocketAddr, to: &Request, outcome: Outcome) {
        let reply = Reply { client: to.client, id: to.id, view, outcome };
        self.deliver(from, Message::Reply(reply));
    }

    /// An answer in view 5.
    fn reply(&mut self, from: SocketAddr, to: &Request, outcome: Outcome) {
        self.reply_in(view(5), from, to, outcome);
    }

    /// Answers every question about the view that was sent there and not yet looked at.
    fn show_from(&mut self, from: SocketAddr, shown: &Shown) -> usize {
        let questions: Vec<ViewRequest> = self.take(from, |message| match message {
            Message::ViewRequest(request) => Some(request.clone()),
            _ => None,
        });
        for ViewRequest { client, id, .. } in &questions {
            let reply = ViewReply {
                client: *client,
                id: *id,
                shown: shown.clone(),
                servers: vec![s1(), s2()],
            };
            self.deliver(from, Message::ViewReply(reply.into()));
        }
        questions.len()
    }

    fn show(&mut self, view: ViewId, primary: Option<SocketAddr>) -> usize {
        self.show_from(view_server(), &shown(view, primary))
    }

    fn take<T>(&mut self, to: SocketAddr, wanted: impl Fn(&Message) -> Option<T>) -> Vec<T> {
        let mut taken = Vec::new();
        self.sent.retain(|(whom, message)| match wanted(message) {
            Some(found) if *whom == to => {
                taken.push(found);
                false
            }
            _ => true,
        });
        taken
    }

    /// Requests sent there and not yet looked at.
    fn take_requests(&mut self, to: SocketAddr) -> Vec<Request> {
        self.take(to, |message| match message {
            Message::Request(request) => Some(request.clone()),
            _ => None,
        })
    }

    fn questions(&mut self, to: SocketAddr) -> usize {
        let asked = |message: &Message| matches!(message, Message::ViewRequest(_)).then_some(());
        self.take(to, asked).len()
    }

    /// Lets time pass.
    fn wait(&mut self, millis: u64) {
        let until = self.now + ms(millis);
        while let Some(due) = self.client.poll_timeout()
            && due <= until
        {
            self.now = self.now.max(due);
            self.timeout();
        }
        self.now = until;
    }

    fn timeout(&mut self) {
        self.client.handle_timeout(self.now, &mut self.outbox);
        self.collect();
        let next = self.client.poll_timeout();
        assert!(next.is_none_or(|next| next > self.now), "timer-advances: {next:?}");
    }

    fn collect(&mut self) {
        let effects: Vec<_> = self.outbox.drain().collect();
        for effect in effects {
            match effect {
                Effect::Answer(call, answer) => {
                    let earlier = self.answers.insert(call, answer);
                    assert_eq!(earlier, None, "{call:?} was answered twice");
                }
                Effect::Send { to, message } => {
                    if let Message::Request(request) = &message {
                        self.check(request);
                    }
                    self.sent.push((to, message));
                }
                other => panic!("a client never does {other:?}"),
            }
        }
    }

    fn check(&mut self, request: &Request) {
        assert_eq!(request.client, CLIENT);
        if let Some(first) = self.frozen.get(&request.id) {
            assert_eq!(first, request, "a repetition has the same bytes");
            return;
        }
        self.frozen.insert(request.id, request.clone());
        if let Ask::Write { origin, .. } = &request.ask {
            let unanswered = self.unanswered.entry(origin.session).or_default();
            let first = unanswered.first().copied();
            assert!(
                first.is_none_or(|first| origin.acknowledged < first),
                "acknowledged passes an unanswered request: {origin:?}"
            );
            assert!(origin.number.0 - origin.acknowledged.0 <= 64, "{origin:?}");
            unanswered.insert(origin.number);
        }
    }

    fn failure(&self, call: CallId) -> &Failure {
        self.answers.get(&call).expect("answered").as_ref().expect_err("failed")
    }
}

fn numbers(requests: &[Request]) -> Vec<u64> {
    requests
        .iter()
        .filter_map(|request| match &request.ask {
            Ask::Write { origin, .. } => Some(origin.number.0),
            Ask::Open { .. }
            | Ask::Get { .. }
            | Ask::Len { .. }
            | Ask::Keys { .. }
            | Ask::Mget { .. }
            | Ask::Snapshot { .. } => None,
        })
        .collect()
}

fn acknowledged(request: &Request) -> u64 {
    match &request.ask {
        Ask::Write { origin, .. } => origin.acknowledged.0,
        Ask::Open { .. }
        | Ask::Get { .. }
        | Ask::Len { .. }
        | Ask::Keys { .. }
        | Ask::Mget { .. }
        | Ask::Snapshot { .. } => panic!("not a write: {request:?}"),
    }
}

#[test]
fn an_idle_client_sends_nothing_and_sets_no_timer() {
    let mut bench = Bench::new();
    assert_eq!(bench.client.poll_timeout(), None);
    bench.wait(10_000);
    assert!(bench.sent.is_empty());
    let served = Bench::opened();
    assert_eq!(served.client.poll_timeout(), None, "and none after its work is done");
}

#[test]
fn too_long_keys_and_values_are_refused_before_anything_is_sent() {
    let limits = Limits { key_bytes: 3, value_bytes: 5, ..Limits::default() };
    let mut bench = Bench::with_limits(limits);
    let key = bench.call(Action::Get("four".into()), 1000);
    let value = bench.call(append("sixsix"), 1000);
    assert_eq!(
        *bench.failure(key),
        Failure::not_executed(FailureReason::KeyTooLarge { size: 4, limit: 3 })
    );
    assert_eq!(
        *bench.failure(value),
        Failure::not_executed(FailureReason::ValueTooLarge { size: 6, limit: 5 })
    );
    assert!(bench.sent.is_empty());
    bench.call(append("fives"), 1000);
    assert_eq!(bench.answers.len(), 2, "the limit itself is allowed");
}

#[test]
fn a_failure_says_in_one_sentence_what_happened_and_what_is_known() {
    let failure = Failure::not_executed(FailureReason::ViewServerSilent(view_server()));
    assert_eq!(
        failure.to_string(),
        "the view server at 127.0.0.1:5000 did not answer before the deadline (if it has a key file, the client needs --key-file \
         too); \
         the operation certainly did not happen"
    );
    let failure = Failure::unknown(FailureReason::PrimarySilent("s1 at 127.0.0.1:5010".into()));
    assert_eq!(
        failure.to_string(),
        "the primary s1 at 127.0.0.1:5010 did not answer before the deadline; \
         the outcome is unknown: the operation may have happened, or may still happen"
    );
}
