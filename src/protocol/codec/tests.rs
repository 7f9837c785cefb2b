use std::collections::VecDeque;

use super::*;
use crate::config::Timing;
use crate::kv::command::{Cas, Command, Key, Operation, OperationResult, Origin, Value};
use crate::kv::session::SessionState;
use crate::kv::snapshot::{Part, Position};
use crate::kv::transfer::Item;
use crate::protocol::message::*;
use crate::protocol::status::{
    ChangeLine, ClusterStatus, CopyStatus, Load, ServerLine, Status, StatusReply, StatusRequest,
    Work,
};
use crate::protocol::view::{Member, Micros, Phase, Record, Shown, Stamp, View};
use crate::types::{
    Epoch, HistoryId, Incarnation, OperationNumber, RequestId, RequestNumber, ServerId, SessionId,
    ViewId,
};

const NASTY: &str = "\"\\\u{0}\n\u{1f}\u{7f} \u{e9}\u{4e2d}\u{1f980}\u{2028}";

fn member(id: &str) -> Member {
    Member {
        id: ServerId::from(id),
        incarnation: Incarnation(u64::MAX),
        address: "[::1]:5010".parse().unwrap(),
    }
}

fn view() -> ViewId {
    ViewId { epoch: Epoch(3, u64::MAX), number: 7 }
}

fn record() -> Record {
    Record {
        history: HistoryId(u64::MAX),
        view: View {
            id: view(),
            primary: member("s1"),
            backup: Some(member("s2")),
            joining: None,
            since: view(),
            genesis: true,
        },
        phase: Phase::Proposed,
        eligible: vec![member("s1"), member("s2")],
        last_primary: None,
        lease: Micros(5),
    }
}

fn link() -> Link {
    Link {
        from: Incarnation(1),
        to: Incarnation(2),
        history: HistoryId(3),
        view: view(),
        since: view(),
    }
}

fn shown() -> Shown {
    Shown {
        view: view(),
        primary: Some(member("s1")),
        backup: None,
        waiting: Some(NASTY.to_owned()),
    }
}

fn put() -> Command {
    Command::Put { key: Key::from(NASTY), value: Value::from("") }
}

fn cas(old: Option<&[&str]>, new: Option<&[&str]>) -> Command {
    let list = |texts: &[&str]| texts.iter().map(|text| Value::from(*text)).collect();
    let (old, new) = (old.map(list), new.map(list));
    Command::Cas(Box::new(Cas { key: Key::from(NASTY), old, new }))
}

fn origin() -> Origin {
    Origin {
        session: SessionId(Epoch(1, 2), OperationNumber(3)),
        number: RequestNumber(4),
        acknowledged: RequestNumber(0),
    }
}

/// At least one value of every variant; more where a field has alternatives.
fn samples() -> Vec<Message> {
    let mut samples = vec![
        Message::GetView(GetView {}),
        Message::ViewAnswer(ViewAnswer::from(&shown()).into()),
        Message::ViewAnswer(ViewAnswer::from(&Shown::default()).into()),
        Message::Fail(Fail {
            reason: FailReason::NotPrimary,
            detail: None,
            number: 7,
            primary: None,
            primary_address: None,
        }),
        Message::Probe(Probe {}),
        Message::ProbeAnswer(ProbeAnswer {
            server_id: ServerId::from("s1"),
            incarnation: Incarnation(9).to_string(),
            role: "primary".to_owned(),
            number: 7,
        }),
        Message::Announce(Announce {
            id: ServerId::from("s-1_a.é中"),
            incarnation: Incarnation(0),
            address: None,
        }),
        Message::Refused(Refused { to: Incarnation(1), holder: "10.0.0.1:1".parse().unwrap() }),
        Message::Ping(Box::new(Ping {
            from: Incarnation(1),
            to: None,
            nonce: u64::MAX,
            timing: Timing::default(),
            record: Some(record()),
            promise: Some(Epoch(1, 2)),
            heard: Some(3),
            grants_lease: true,
            superseded: true,
        })),
        Message::Pong(Box::new(Pong {
            id: ServerId::from("s1"),
            from: Incarnation(1),
            to: Incarnation(2),
            nonce: 0,
            token: 1,
            address: Some("127.0.0.1:5010".parse().unwrap()),
            history: None,
            holds_copy: true,
            promised: Epoch(0, 0),
            adopted: Some(Stamp { view: view(), phase: Phase::Active }),
            record: None,
            reports: vec![Report {
                view: view(),
                about: Incarnation(5),
                kind: ReportKind::CaughtUp,
            }],
        })),
        Message::Ack(Ack {
            link: link(),
            applied: OperationNumber(1),
            digest: u64::MAX,
            received: OperationNumber(2),
            barrier: 3,
            memory_max: None,
        }),
        Message::NewerView(NewerView { to: Incarnation(4), record: record() }.into()),
        Message::Offer(Offer {
            link: link(),
            copy: Some((OperationNumber(8), 9)),
            memory_max: Some(1 << 30),
        }),
        Message::Verdict(Verdict { link: link(), keep: false }),
        Message::TransferAck(TransferAck { link: link(), sequence: 4, probe: 2, diverged: true }),
        Message::ViewRequest(ViewRequest { client: Incarnation(1), id: RequestId(2), fresh: true }),
        Message::ViewReply(
            ViewReply {
                client: Incarnation(1),
                id: RequestId(2),
                shown: shown(),
                servers: vec!["[::1]:1".parse().unwrap()],
            }
            .into(),
        ),
        Message::Transfer(Transfer {
            link: link(),
            probe: 3,
            sequence: 1,
            items: vec![
                Item::List {
                    key: Key::from(""),
                    generation: OperationNumber(1),
                    start: 0,
                    values: vec![Value::from(NASTY), Value::from("")],
                },
                Item::Gone { key: Key::from("k") },
                Item::Session(SessionState {
                    id: origin().session,
                    nonce: 1,
                    executed: RequestNumber(2),
                    acknowledged: RequestNumber(1),
                    last_used: OperationNumber(3),
                    results: VecDeque::from([
                        OperationResult::Done,
                        OperationResult::Number(i64::MIN),
                        OperationResult::Mismatch(u64::MAX),
                        OperationResult::NotANumber,
                        OperationResult::Overflow,
                    ]),
                }),
                Item::SessionGone(origin().session),
                Item::End { applied: OperationNumber(9), digest: u64::MAX },
            ],
        }),
    ];
    for command in [None, Some("get")] {
        samples.push(Message::ClientRequest(ClientRequest {
            command: command.unwrap_or("put").to_owned(),
            key: command.map(Key::from),
            value: Some(Value::from(NASTY)),
            ..ClientRequest::default()
        }));
    }
    for (old, new) in [(Some(None), Some(Some(vec![Value::from("1")]))), (None, None)] {
        samples.push(Message::ClientRequest(ClientRequest {
            command: "cas".to_owned(),
            key: Some(Key::from("k")),
            old,
            new,
            by: Some(i64::MIN),
            ..ClientRequest::default()
        }));
    }
    for result in [PlainResult::Truth(false), PlainResult::Number(i64::MIN)] {
        samples.push(Message::Success(Success {
            command: "incr".to_owned(),
            key: Key::from("k"),
            value: None,
            result: Some(result),
        }));
    }
    for value in [None, Some(None), Some(Some(vec![])), Some(Some(vec![Value::from(NASTY)]))] {
        samples.push(Message::Success(Success {
            command: "get".to_owned(),
            key: Key::from(NASTY),
            value,
            result: None,
        }));
    }
    for operations in [
        vec![],
        vec![
            Operation::Open { nonce: 1, epoch: Epoch(1, 2), capacity: 3 },
            Operation::Write { origin: Some(origin()), command: put() },
            Operation::Write { origin: None, command: Command::Remove { key: Key::from("") } },
            Operation::Write { origin: None, command: cas(None, Some(&[NASTY, ""])) },
            Operation::Write { origin: None, command: cas(Some(&["null"]), None) },
            Operation::Write {
                origin: None,
                command: Command::Incr { key: Key::from("k"), by: i64::MIN },
            },
            Operation::Write {
                origin: None,
                command: Command::Mput {
                    entries: vec![
                        (Key::from(NASTY), vec![Value::from("")]),
                        (Key::from(""), vec![]),
                    ],
                },
            },
        ],
    ] {
        samples.push(Message::Replicate(Replicate {
            link: link(),
            first: OperationNumber(1),
            operations,
            barrier: 2,
            flip: OperationNumber(0),
        }));
    }
    let page = PageRequest { generation: OperationNumber(1), start: 2, end: 3 };
    let cursor = SnapshotCursor {
        open: RequestId(7),
        view: view(),
        at: OperationNumber(9),
        from: Position { key: Key::from(NASTY), index: 3 },
    };
    for ask in [
        Ask::Open { nonce: 5 },
        Ask::Write { origin: origin(), command: put() },
        Ask::Get { key: Key::from("a"), after: None, page: None },
        Ask::Get {
            key: Key::from("a"),
            after: Some((origin().session, RequestNumber(6))),
            page: Some(page),
        },
        Ask::Len { key: Key::from(NASTY), after: None },
        Ask::Keys { prefix: Key::from(""), start_after: None, after: None },
        Ask::Keys {
            prefix: Key::from("k"),
            start_after: Some(Key::from(NASTY)),
            after: Some((origin().session, RequestNumber(6))),
        },
        Ask::Mget { keys: vec![Key::from(NASTY), Key::from("")], after: None },
        Ask::Snapshot { after: None, cursor: None },
        Ask::Snapshot { after: None, cursor: Some(cursor.clone()) },
    ] {
        samples.push(Message::Request(Request { client: Incarnation(1), id: RequestId(2), ask }));
    }
    for outcome in [
        Outcome::Opened(origin().session),
        Outcome::Done,
        Outcome::Page(Page {
            generation: OperationNumber(1),
            start: 0,
            end: 2,
            values: vec![Value::from("1"), Value::from("2")],
        }),
        Outcome::Missing,
        Outcome::Number(i64::MIN),
        Outcome::Mismatch(u64::MAX),
        Outcome::NotANumber,
        Outcome::Overflow,
        Outcome::OutOfMemory,
        Outcome::Length(0),
        Outcome::Keys(KeysPage { keys: vec![Key::from(NASTY)], more: true }),
        Outcome::Snapshot(SnapshotPage {
            at: OperationNumber(9),
            parts: vec![Part { key: Key::from(NASTY), start: 1, values: vec![Value::from("")] }],
            next: Some(cursor),
        }),
        Outcome::SnapshotRefused(SnapshotRefusal::TooMuchChanged),
        Outcome::Pages(vec![
            None,
            Some(Page { generation: OperationNumber(1), start: 0, end: 2, values: vec![] }),
        ]),
        Outcome::GenerationChanged,
        Outcome::SessionExpired,
        Outcome::NotPrimary(shown().into()),
        Outcome::Busy,
    ] {
        samples.push(Message::Reply(Reply {
            client: Incarnation(1),
            id: RequestId(2),
            view: view(),
            outcome,
        }));
    }
    let (client, id) = (Incarnation(1), RequestId(2));
    samples.push(Message::StatusRequest(StatusRequest { client, id, padding: "  ".to_owned() }));
    for status in statuses() {
        samples.push(Message::StatusReply(StatusReply { client, id, status }.into()));
    }
    samples
}

fn statuses() -> [Status; 2] {
    let name = ServerId::from("s1");
    let cluster = ClusterStatus {
        incarnation: Incarnation(7),
        view: view(),
        phase: Some(Phase::Proposed),
        primary: Some(name.clone()),
        backup: None,
        waiting: Some("waiting for s2".to_owned()),
        timing: Timing::default(),
        servers: vec![ServerLine {
            id: name.clone(),
            role: "primary".to_owned(),
            alive: true,
            synced: true,
            silent: None,
            incarnation: Some(Incarnation(8)),
            address: "127.0.0.1:5010".parse().unwrap(),
        }],
        servers_left_out: 1,
        changes: vec![ChangeLine {
            view: view(),
            phase: Phase::Active,
            primary: name.clone(),
            backup: None,
            joining: None,
            reason: "s2 does not answer".to_owned(),
            ago: Micros(5),
        }],
    };
    let copy = CopyStatus {
        id: name,
        incarnation: Incarnation(8),
        role: "primary".to_owned(),
        view: 3,
        peer: None,
        synced: true,
        keys: 4,
        operations: OperationNumber(5),
        load: Some(Load {
            reads: Work { done: 7, buckets: vec![0, 7] },
            writes: Work { done: 1, buckets: vec![] },
        }),
    };
    [Status::ViewServer(Box::new(cluster)), Status::Server(Box::new(copy))]
}

/// A number for each variant, so that a new one cannot be forgotten in `samples`.
fn variant(message: &Message) -> usize {
    match message {
        Message::GetView(_) => 0,
        Message::ViewAnswer(_) => 1,
        Message::ClientRequest(_) => 2,
        Message::Success(_) => 3,
        Message::Fail(_) => 4,
        Message::Probe(_) => 5,
        Message::ProbeAnswer(_) => 6,
        Message::Announce(_) => 7,
        Message::Refused(_) => 8,
        Message::Ping(_) => 9,
        Message::Pong(_) => 10,
        Message::Replicate(_) => 11,
        Message::Ack(_) => 12,
        Message::NewerView(_) => 13,
        Message::Offer(_) => 14,
        Message::Verdict(_) => 15,
        Message::Transfer(_) => 16,
        Message::TransferAck(_) => 17,
        Message::ViewRequest(_) => 18,
        Message::ViewReply(_) => 19,
        Message::Request(_) => 20,
        Message::Reply(_) => 21,
        Message::StatusRequest(_) => 22,
        Message::StatusReply(_) => 23,
    }
}

fn encoded(message: &Message) -> String {
    let mut line = Vec::new();
    encode(message, &mut line);
    String::from_utf8(line).unwrap()
}

fn key(text: &str) -> Option<Key> {
    Some(Key::from(text))
}

#[test]
fn every_message_survives_the_wire() {
    let mut seen = [false; 24];
    for message in samples() {
        let line = encoded(&message);
        assert!(line.starts_with(TAG_PREFIX), "{line}");
        assert!(!line.bytes().any(|byte| byte < b' '), "{line}");
        assert_eq!(decode(line.as_bytes()), Ok(message.clone()), "{line}");
        seen[variant(&message)] = true;
    }
    assert_eq!(seen, [true; 24]);
}

#[test]
fn the_lines_of_the_contract_are_understood() {
    let request = |command: &str, value: Option<&str>| {
        Message::ClientRequest(ClientRequest {
            command: command.to_owned(),
            key: key("a"),
            value: value.map(Value::from),
            ..ClientRequest::default()
        })
    };
    for (line, message) in [
        (r#"{"type":"get_view"}"#, Message::GetView(GetView {})),
        (r#"{"type":"ping"}"#, Message::Probe(Probe {})),
        (
            r#"{"type":"client_request","command":"put","key":"a","value":"1"}"#,
            request("put", Some("1")),
        ),
        (
            r#"{"type":"client_request","command":"append","key":"a","value":"1"}"#,
            request("append", Some("1")),
        ),
        (r#"{"type":"client_request","command":"get","key":"a"}"#, request("get", None)),
        (r#"{"type":"client_request","command":"remove","key":"a"}"#, request("remove", None)),
        // What Python's json.dumps or a person makes of them.
        (
            "\t{ \"key\": \"a\", \"type\": \"client_request\", \"command\": \"get\" }\r",
            request("get", None),
        ),
        (r#"{"type": "ping", "who": {"type": "x"}, "n": 1e999}"#, Message::Probe(Probe {})),
        (r#"{"t\u0079pe":"p\u0069ng"}"#, Message::Probe(Probe {})),
        (r#"{"type":"p\u0069ng"}"#, Message::Probe(Probe {})),
        (
            r#"{"type":"client_request","command":"get","key":"a","value":null}"#,
            request("get", None),
        ),
    ] {
        assert_eq!(decode(line.as_bytes()), Ok(message), "{line}");
    }
}

#[test]
fn answers_look_as_the_contract_shows_them() {
    let mut view = ViewAnswer {
        primary: Some(ServerId::from("s1")),
        backup: Some(ServerId::from("s2")),
        number: 7,
        primary_address: None,
        backup_address: None,
        waiting: None,
    };
    let line = encoded(&Message::ViewAnswer(view.clone().into()));
    assert!(
        line.starts_with(r#"{"type":"view","primary":"s1","backup":"s2","number":7,"#),
        "{line}"
    );
    view.primary = None;
    assert!(encoded(&Message::ViewAnswer(view.into())).contains(r#""primary":null"#));

    let success = |value| {
        encoded(&Message::Success(Success {
            command: "get".to_owned(),
            key: Key::from("a"),
            value,
            result: None,
        }))
    };
    assert!(success(None).starts_with(r#"{"type":"success","#));
    assert!(!success(None).contains("value"));
    assert!(success(Some(None)).contains(r#""value":null"#));
    assert!(success(Some(Some(vec![Value::from("1")]))).contains(r#""value":["1"]"#));

    let fail = encoded(&Message::Fail(Fail {
        reason: FailReason::NotPrimary,
        detail: None,
        number: 7,
        primary: None,
        primary_address: None,
    }));
    assert!(fail.starts_with(r#"{"type":"fail","reason":"not_primary","#), "{fail}");

    let pong = encoded(&Message::ProbeAnswer(ProbeAnswer {
        server_id: ServerId::from("s1"),
        incarnation: String::new(),
        role: String::new(),
        number: 0,
    }));
    assert!(pong.starts_with(r#"{"type":"pong","server_id":"s1","#), "{pong}");
}

#[test]
fn whatever_is_no_message_is_an_error_that_says_what_kind() {
    let deep = |open: &str, close: &str| {
        let (open, close) = (open.repeat(20_000), close.repeat(20_000));
        format!(r#"{{"type":"client_request","command":{open}1{close}}}"#)
    };
    let (arrays, objects) = (deep("[", "]"), deep("{\"a\":", "}"));
    let get = r#"{"type":"client_request","command":"get","#;
    for (line, error) in [
        ("", DecodeError::NotJson),
        ("nonsense", DecodeError::NotJson),
        ("5", DecodeError::NotJson),
        (r#"["ping"]"#, DecodeError::NotJson),
        (r#"{"type":"ping""#, DecodeError::NotJson),
        (r#"{"type":"ping"}{"type":"ping"}"#, DecodeError::NotJson),
        (r#"{"type":"ping"#, DecodeError::NotJson),
        (r#"{"type":"nonsense"#, DecodeError::NotJson),
        (r#"{"type":"nonsense" x}"#, DecodeError::NotJson),
        (r#"{"type":"nonsense","a":[]}"#, DecodeError::UnknownType),
        (r#"{"type":""}"#, DecodeError::UnknownType),
        // Only transports speak these to each other.
        (r#"{"type":"pbkv","sum":1}"#, DecodeError::UnknownType),
        (
            r#"{"type":"piece","from":1,"id":1,"length":1,"offset":0,"body":"1"}"#,
            DecodeError::UnknownType,
        ),
        ("{}", DecodeError::Malformed),
        (r#"{"type":5}"#, DecodeError::Malformed),
        (r#"{ "type":"ping","type":"ping"}"#, DecodeError::Malformed),
        (r#"{"type":"client_request"}"#, DecodeError::Malformed),
        (r#"{"type":"client_request","command":7}"#, DecodeError::Malformed),
        (&format!(r#"{get}"key":"a","key":"a"}}"#), DecodeError::Malformed),
        (&format!(r#"{get}"key":"\ud800"}}"#), DecodeError::NotJson),
        (&format!(r#"{get}"key":["a"]}}"#), DecodeError::Malformed),
        (&arrays, DecodeError::Malformed),
        (&objects, DecodeError::Malformed),
        (
            r#"{"type":"view_request","client":18446744073709551616,"id":1,"fresh":true}"#,
            DecodeError::Malformed,
        ),
        (r#"{"type":"view_request","client":-1,"id":1,"fresh":true}"#, DecodeError::Malformed),
        (r#"{"type":"view_request","client":1e999,"id":1,"fresh":true}"#, DecodeError::NotJson),
        (r#"{"type":"view_request","client":1.0,"id":1,"fresh":true}"#, DecodeError::Malformed),
    ] {
        assert_eq!(decode(line.as_bytes()), Err(error), "{line:.100}");
    }
    assert_eq!(decode(b"{\"type\":\"ping\",\"a\":\"\xff\"}"), Err(DecodeError::NotJson));
    let deep_but_ignored = deep("[", "]").replace("client_request", "ping");
    assert_eq!(decode(deep_but_ignored.as_bytes()), Ok(Message::Probe(Probe {})));
}

#[test]
fn a_line_cut_short_or_damaged_anywhere_never_panics() {
    for message in samples() {
        let line = encoded(&message).into_bytes();
        for at in 0..line.len() {
            assert!(decode(&line[..at]).is_err());
            for byte in [b'"', b'[', b'}', b'9', b'\\', 0, 0xff] {
                let mut damaged = line.clone();
                damaged[at] = byte;
                let _ = decode(&damaged);
            }
        }
    }
}

#[test]
fn the_table_of_messages_names_every_type_and_no_other() {
    let table = include_str!("../message.rs").lines().filter_map(|line| {
        let row = line.strip_prefix("//! | `")?;
        assert_eq!(row.matches('|').count(), 6, "six columns: {line}");
        row.split('`').next()
    });
    let table: Vec<&str> = table.collect();
    // The codec's own list is what can be received.
    let known = include_str!("../codec.rs").lines().filter_map(|line| {
        let (tag, rest) = line.trim_start().strip_prefix('"')?.split_once("\" => ")?;
        rest.starts_with("Message::").then_some(tag)
    });
    let known: Vec<&str> = known.chain(["pbkv", "piece", "want"]).collect();
    assert_eq!(table, known);
}

#[test]
fn a_message_that_names_a_server_as_none_may_be_named_is_dropped() {
    let announce = samples().into_iter().find(|it| matches!(it, Message::Announce(_))).unwrap();
    let line = encoded(&announce);
    let Message::Announce(announce) = announce else { panic!() };
    let name = format!("\"{}\"", announce.id);
    let long = "x".repeat(65);
    for evil in ["", "none", "a b", r"a\nprimary: evil", r"a\u001b[2J", &long] {
        let damaged = line.replace(&name, &format!("\"{evil}\""));
        assert_ne!(damaged, line);
        assert_eq!(decode(damaged.as_bytes()), Err(DecodeError::Malformed), "{evil}");
    }
}
