//! `cas`, `incr`, `mput`, `mget`, `len` and `keys`: once, at one instant, and in bounds.

use super::bench::{Bench, append, ms, put, remove, write};
use crate::config::Limits;
use crate::kv::command::{Cas, Command, Key, Value};
use crate::protocol::message::{
    Ask, ClientRequest, FailReason, KeysPage, Message, Outcome, Page, PageRequest, PlainResult,
    Success,
};
use crate::types::{OperationNumber, RequestNumber, SessionId};

fn values(texts: &[&str]) -> Vec<Value> {
    texts.iter().map(|text| Value::from(*text)).collect()
}

fn cas(key: &str, old: Option<&[&str]>, new: Option<&[&str]>) -> Command {
    let (old, new) = (old.map(values), new.map(values));
    Command::Cas(Box::new(Cas { key: key.into(), old, new }))
}

fn incr(key: &str, by: i64) -> Command {
    Command::Incr { key: key.into(), by }
}

fn mput(keys: &[&str], value: &str) -> Command {
    let entry = |key: &&str| (Key::from(*key), vec![Value::from(value)]);
    Command::Mput { entries: keys.iter().map(entry).collect() }
}

fn mget(keys: &[&str]) -> Ask {
    Ask::Mget { keys: keys.iter().map(|key| Key::from(*key)).collect(), after: None }
}

fn len(key: &str) -> Ask {
    Ask::Len { key: key.into(), after: None }
}

fn keys(prefix: &str, start_after: Option<&str>) -> Ask {
    Ask::Keys { prefix: prefix.into(), start_after: start_after.map(Key::from), after: None }
}

fn page(generation: u64, end: u64, texts: &[&str]) -> Option<Page> {
    let generation = OperationNumber(generation);
    Some(Page { generation, start: 0, end, values: values(texts) })
}

#[test]
fn a_repeated_request_gets_the_result_of_its_only_execution_also_after_a_failover() {
    let mut bench = Bench::pair();
    let session = bench.open(1);
    let commands = [
        (incr("n", 5), Outcome::Number(5)),
        (cas("c", None, Some(&["1"])), Outcome::Done),
        (cas("c", None, Some(&["2"])), Outcome::Mismatch(1)),
        (cas("d", Some(&["1"]), None), Outcome::Mismatch(0)),
        (append("l", "x"), Outcome::Done),
        (incr("l", 1), Outcome::NotANumber),
        (incr("n", i64::MAX), Outcome::Overflow),
        (mput(&["a", "b"], "1"), Outcome::Done),
        (incr("n", -7), Outcome::Number(-2)),
    ];
    let mut asked = Vec::new();
    for (number, (command, outcome)) in (1..).zip(commands) {
        let id = bench.ask(1, write(session, number, 0, command));
        bench.settle();
        asked.push((id, outcome));
    }
    for server in [1, 2] {
        if server == 2 {
            bench.fail_over(1, 2);
        }
        for (id, outcome) in &asked {
            bench.resend(server, *id);
            bench.settle();
            assert_eq!(bench.outcome(*id), Some(outcome));
        }
        assert_eq!(bench.list(server, "n"), ["-2"]);
        assert_eq!(bench.list(server, "c"), ["1"]);
    }
    assert!(asked.iter().all(|(id, _)| bench.outcomes(*id).len() == 3));
}

#[test]
fn every_command_goes_on_during_a_transfer_and_the_copies_are_identical() {
    let limits = Limits { page_bytes: 64, window_bytes: 2 << 10, ..Limits::default() };
    let mut bench = Bench::with_limits(3, limits);
    bench.begin(1);
    let session = bench.open(1);
    let mut number = 0;
    let mut next = |bench: &mut Bench, command| {
        number += 1;
        let id = bench.ask(1, write(session, number, number - 1, command));
        bench.settle();
        bench.outcome(id).cloned()
    };
    for index in 0..40 {
        for _ in 0..20 {
            next(&mut bench, append(&format!("k{index:02}"), &"v".repeat(100)));
        }
    }
    bench.join(2);
    bench.tell_all();
    let mut refused = 0;
    for round in 0..200_i64 {
        let key = |place: i64| format!("k{:02}", (round * 7 + place) % 40);
        let [a, b, c] = [key(0), key(13), key(26)];
        let present = bench.list(1, &a);
        let present: Vec<&str> = present.iter().map(String::as_str).collect();
        next(&mut bench, cas(&a, Some(&present), (round % 3 > 0).then_some(&["x", "y"])));
        refused += usize::from(matches!(
            next(&mut bench, incr(&b, 1)),
            Some(Outcome::NotANumber | Outcome::Overflow)
        ));
        next(&mut bench, cas(&b, Some(&["nothing"]), None));
        next(&mut bench, mput(&[&c, "n", &a], &round.to_string()));
        next(&mut bench, incr("n", round));
        next(&mut bench, incr(&c, -1));
        next(&mut bench, append(&c, "z"));
        next(&mut bench, remove(&key(31)));
        if round % 4 == 0 {
            bench.run(ms(1));
        }
    }
    assert!(refused > 10, "{refused}");
    bench.run(ms(500));
    let (ours, theirs) = (bench.copy(1).unwrap(), bench.copy(2).unwrap());
    assert_eq!(ours.digest(), theirs.digest());
    assert_eq!(ours.store(), theirs.store());
}

#[test]
fn reads_of_every_kind_wait_for_their_proof_and_for_the_writes_of_their_session() {
    let mut bench = Bench::pair();
    let session = bench.open(1);
    bench.hold.insert((2, 1));
    let after = Some((session, RequestNumber(1)));
    bench.ask(1, write(session, 1, 0, put("k", "1")));
    let key = Key::from("k");
    let asked = [
        Ask::Len { key: key.clone(), after },
        Ask::Keys { prefix: key.clone(), start_after: None, after },
        Ask::Mget { keys: vec![key.clone(), "m".into()], after },
    ]
    .map(|ask| bench.ask(1, ask));
    bench.run(ms(20));
    assert!(asked.iter().all(|id| bench.outcome(*id).is_none()), "not before the backup answers");
    for envelope in bench.release() {
        bench.hand_over(envelope);
    }
    bench.run(ms(300));
    let expected = [
        Outcome::Length(1),
        Outcome::Keys(KeysPage { keys: vec![key], more: false }),
        Outcome::Pages(vec![page(2, 1, &["1"]), None]),
    ];
    assert_eq!(asked.map(|id| bench.outcome(id).cloned().unwrap()), expected);
}

/// Every question that is to see a session's writes.
fn questions(after: Option<(SessionId, RequestNumber)>) -> Vec<Ask> {
    vec![
        Ask::Get { key: "k".into(), after, page: None },
        Ask::Len { key: "k".into(), after },
        Ask::Keys { prefix: "k".into(), start_after: None, after },
        Ask::Mget { keys: vec!["k".into()], after },
        Ask::Snapshot { after, cursor: None },
    ]
}

#[test]
fn reads_of_every_kind_wait_for_a_write_of_their_session_that_comes_after_their_proof() {
    for kind in 0..questions(None).len() {
        let mut bench = Bench::pair();
        let session = bench.open(1);
        let ask = questions(Some((session, RequestNumber(1)))).remove(kind);
        let id = bench.ask(1, ask.clone());
        bench.run(ms(50));
        assert_eq!(bench.outcome(id), None, "{ask:?}");
        bench.ask_now(1, write(session, 1, 0, put("k", "1")));
        let answer = format!("{:?}", bench.outcome(id).expect("its write is applied"));
        assert!(answer.contains("\"k\"") || answer.contains('1'), "{answer}");
    }
}

#[test]
fn reads_of_every_kind_are_told_that_their_session_is_unknown() {
    let mut bench = Bench::pair();
    for ask in questions(Some((SessionId::default(), RequestNumber(1)))) {
        assert_eq!(bench.ask_now(1, ask.clone()), Some(Outcome::SessionExpired), "{ask:?}");
    }
}

#[test]
fn keys_come_in_order_page_by_page_and_only_those_with_the_prefix() {
    let mut bench = Bench::pair_with(Limits { page_bytes: 20, ..Limits::default() });
    let session = bench.open(1);
    for (number, key) in (1..).zip(["b/3", "a", "b/1", "b", "b/20", "b/2", "c", "b\u{e9}"]) {
        bench.ask_now(1, write(session, number, 0, put(key, "v")));
    }
    let mut ask = |prefix: &str, after: Option<&str>| match bench.ask_now(1, keys(prefix, after)) {
        Some(Outcome::Keys(page)) => {
            (page.keys.iter().map(Key::to_string).collect::<Vec<_>>(), page.more)
        }
        other => panic!("{other:?}"),
    };
    let list = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
    assert_eq!(ask("b/", None), (list(&["b/1", "b/2"]), true));
    assert_eq!(ask("b/", Some("b/2")), (list(&["b/20", "b/3"]), false));
    assert_eq!(ask("b/", Some("a")), (list(&["b/1", "b/2"]), true), "before the prefix");
    assert_eq!(ask("b/", Some("b/3")), (list(&[]), false));
    assert_eq!(ask("b/", Some("z")), (list(&[]), false), "after the prefix");
    assert_eq!(ask("b", Some("b/3")), (list(&["b\u{e9}"]), false));
    assert_eq!(ask("", None), (list(&["a", "b", "b/1"]), true));
    assert_eq!(ask("", Some("b\u{e9}")), (list(&["c"]), false));
}

#[test]
fn a_key_longer_than_a_page_is_a_page_of_its_own() {
    let mut bench = Bench::pair_with(Limits { page_bytes: 20, ..Limits::default() });
    let session = bench.open(1);
    let long = "x".repeat(100);
    bench.ask_now(1, write(session, 1, 0, mput(&[&long, "y"], "v")));
    let all = bench.ask_now(1, keys("", None));
    assert_eq!(all, Some(Outcome::Keys(KeysPage { keys: vec![(&*long).into()], more: true })));
}

#[test]
fn several_lists_are_read_at_one_instant_and_their_rest_page_by_page() {
    let mut bench = Bench::pair_with(Limits { page_bytes: 30, ..Limits::default() });
    let session = bench.open(1);
    let number = &mut 0;
    let mut next = |bench: &mut Bench, command| {
        *number += 1;
        bench.ask_now(1, write(session, *number, 0, command));
    };
    for text in ["1234567890", "2345678901", "3456789012"] {
        next(&mut bench, append("a", text));
    }
    next(&mut bench, append("b", "x"));
    let answer = bench.ask_now(1, mget(&["a", "missing", "b", "a"]));
    let a = page(2, 3, &["1234567890", "2345678901"]);
    let none = page(2, 3, &[]);
    assert_eq!(answer, Some(Outcome::Pages(vec![a, None, page(5, 1, &[]), none])));
    next(&mut bench, append("a", "later"));
    let rest = PageRequest { generation: OperationNumber(2), start: 2, end: 3 };
    let Some(Outcome::Page(page)) = bench.ask_now(1, super::bench::get_page("a", rest)) else {
        panic!()
    };
    assert_eq!((page.end, page.values), (3, values(&["3456789012"])));
}

#[test]
fn a_request_about_more_than_a_client_may_ask_is_dropped() {
    let limits =
        Limits { keys_per_command: 2, key_bytes: 50, value_bytes: 50, ..Limits::default() };
    let mut bench = Bench::pair_with(limits);
    let session = bench.open(1);
    let long = "x".repeat(40);
    for command in [
        mput(&["a", "b", "c"], "1"),
        mput(&["a", "b"], &long),
        cas("a", Some(&[&long]), Some(&[&long])),
        incr(&"k".repeat(51), 1),
    ] {
        assert_eq!(bench.ask_now(1, write(session, 1, 0, command)), None);
    }
    assert_eq!(bench.ask_now(1, mget(&["a", "b", "c"])), None);
    assert_eq!(bench.ask_now(1, mget(&["a", "b"])), Some(Outcome::Pages(vec![None, None])));
    let fits = bench.ask_now(1, write(session, 1, 0, mput(&["a", "b"], "1")));
    assert_eq!(fits, Some(Outcome::Done));
    assert_eq!(bench.ask_now(1, len("b")), Some(Outcome::Length(1)));
}

fn plain(bench: &mut Bench, request: ClientRequest) -> Message {
    let before = bench.plain_answers.len();
    bench.plain_request(1, request);
    bench.settle();
    assert_eq!(bench.plain_answers.len(), before + 1);
    bench.plain_answers[before].clone()
}

fn request(command: &str) -> ClientRequest {
    ClientRequest { command: command.to_owned(), key: Some("k".into()), ..Default::default() }
}

#[test]
fn the_plain_form_has_every_command_that_is_about_one_key() {
    let mut bench = Bench::pair();
    let mut result = |request| match plain(&mut bench, request) {
        Message::Success(Success { result, .. }) => result,
        other => panic!("{other:?}"),
    };
    let truth = |truth| Some(PlainResult::Truth(truth));
    let number = |number| Some(PlainResult::Number(number));
    assert_eq!(result(request("exists")), truth(false));
    assert_eq!(result(request("len")), number(0));
    assert_eq!(result(request("incr")), number(1));
    assert_eq!(result(ClientRequest { by: Some(-3), ..request("incr") }), number(-2));
    assert_eq!(result(request("exists")), truth(true));
    let cas = |old, new| ClientRequest { old: Some(old), new: Some(new), ..request("cas") };
    assert_eq!(result(cas(None, Some(values(&["1"])))), truth(false));
    assert_eq!(result(cas(Some(values(&["-2"])), Some(values(&["a", "b"])))), truth(true));
    assert_eq!(result(request("len")), number(2));
    assert_eq!(result(cas(Some(values(&["a", "b"])), None)), truth(true));
    assert_eq!(result(request("exists")), truth(false));
}

#[test]
fn the_plain_form_says_why_it_does_not_execute_a_command() {
    let mut bench = Bench::pair();
    let mut reason = |request| match plain(&mut bench, request) {
        Message::Fail(fail) => (fail.reason, fail.detail.unwrap_or_default()),
        other => panic!("{other:?}"),
    };
    for command in ["keys", "mget", "mput"] {
        let (reason, detail) = reason(ClientRequest { key: None, ..request(command) });
        assert_eq!(reason, FailReason::Invalid);
        assert!(detail.contains("use the client"), "{detail}");
    }
    let (why, detail) = reason(ClientRequest { new: Some(None), ..request("cas") });
    assert_eq!(why, FailReason::Invalid);
    assert!(detail.contains("`old`"), "{detail}");
    let list = Some(Some(vec!["x".into(), "y".into()]));
    let set = ClientRequest { old: Some(None), new: list, ..request("cas") };
    plain(&mut bench, set);
    let Message::Fail(fail) = plain(&mut bench, request("incr")) else { panic!() };
    assert_eq!(fail.reason, FailReason::Refused);
    assert!(fail.detail.unwrap().contains("decimal"));
}
