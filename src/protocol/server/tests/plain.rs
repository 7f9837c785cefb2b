//! The plain form: executed once for every datagram, with reasons when it is not.

use super::bench::plain_client;
use super::bench::{Bench, ms};
use crate::config::Limits;
use crate::kv::command::Value;
use crate::protocol::message::{FailReason, GetView, Message, Probe, Success};

fn reason(message: Option<&Message>) -> FailReason {
    match message {
        Some(Message::Fail(fail)) => fail.reason,
        other => panic!("no failure: {other:?}"),
    }
}

fn success(message: Option<&Message>) -> &Success {
    match message {
        Some(Message::Success(success)) => success,
        other => panic!("no success: {other:?}"),
    }
}

#[test]
fn a_plain_request_is_executed_once_for_every_datagram() {
    let mut bench = Bench::pair();
    for _ in 0..2 {
        bench.plain(1, "append", "k", Some("v"));
        bench.settle();
    }
    assert_eq!(success(bench.plain_answers.last()).value, None);
    bench.plain(1, "get", "k", None);
    bench.settle();
    let value: Option<Option<Vec<Value>>> = Some(Some(vec!["v".into(), "v".into()]));
    assert_eq!(success(bench.plain_answers.last()).value, value);
    bench.plain(1, "remove", "k", None);
    bench.plain(1, "get", "k", None);
    bench.settle();
    assert_eq!(success(bench.plain_answers.last()).value, Some(None));
    assert_eq!(bench.list(2, "k"), [""; 0]);
}

#[test]
fn a_plain_write_is_not_answered_before_its_commit_nor_a_plain_get_before_its_proof() {
    let mut bench = Bench::pair();
    bench.cut.insert((2, 1));
    bench.plain(1, "put", "k", Some("v"));
    bench.plain(1, "get", "k", None);
    bench.settle();
    assert!(bench.plain_answers.is_empty());
    bench.cut.clear();
    bench.run(ms(300));
    assert_eq!(bench.plain_answers.len(), 2);
}

#[test]
fn a_plain_request_that_is_not_executed_names_the_reason() {
    let limits = Limits {
        pending_operations: 1,
        value_bytes: 100,
        key_bytes: 64 << 10,
        ..Limits::default()
    };
    let mut bench = Bench::pair_with(limits);
    bench.plain(2, "put", "k", Some("v"));
    let Some(Message::Fail(fail)) = bench.plain_answers.last() else { panic!() };
    assert_eq!(fail.reason, FailReason::NotPrimary);
    assert_eq!(fail.primary, Some("s1".into()), "with what it knows of the view");
    for (command, value) in [("put", None), ("append", None), ("jump", Some("v"))] {
        bench.plain(1, command, "k", value);
        assert_eq!(reason(bench.plain_answers.last()), FailReason::Invalid);
    }
    bench.plain(1, "put", "k", Some(&"v".repeat(101)));
    assert_eq!(reason(bench.plain_answers.last()), FailReason::TooLarge);
    bench.plain(1, "get", &"k".repeat(70_000), None);
    assert_eq!(reason(bench.plain_answers.last()), FailReason::TooLarge);
    bench.cut.insert((1, 2));
    bench.plain(1, "put", "k", Some("v"));
    bench.plain(1, "put", "k", Some("v"));
    assert_eq!(reason(bench.plain_answers.last()), FailReason::Busy);
    bench.cut.clear();
    bench.run(ms(300));
    assert_eq!(success(bench.plain_answers.last()).command, "put");
}

#[test]
fn a_plain_write_that_was_numbered_is_never_said_to_have_failed() {
    // D53: the backup has it, and will execute it as primary.
    let mut bench = Bench::pair();
    bench.cut.insert((2, 1));
    bench.plain(1, "append", "k", Some("v"));
    bench.settle();
    assert_eq!(bench.list(2, "k"), ["v"]);
    bench.fail_over(1, 2);
    bench.down.clear();
    bench.tell(1);
    bench.run(ms(1000));
    assert!(!bench.is_serving(1));
    assert!(bench.plain_answers.is_empty(), "{:?}", bench.plain_answers);
}

#[test]
fn a_plain_write_that_is_called_busy_is_never_executed() {
    // D53: `fail` means that it did not happen and will not.
    let limits = Limits { pending_operations: 1, ..Limits::default() };
    let mut bench = Bench::pair_with(limits);
    bench.cut.insert((1, 2));
    bench.plain(1, "append", "k", Some("1"));
    bench.plain(1, "append", "k", Some("2"));
    assert_eq!(reason(bench.plain_answers.last()), FailReason::Busy);
    bench.cut.clear();
    bench.run(ms(300));
    assert_eq!(bench.list(1, "k"), ["1"]);
    assert_eq!(bench.list(2, "k"), ["1"]);
}

#[test]
fn a_plain_answer_that_fits_no_datagram_is_refused_with_its_key_counted() {
    // D42 in the plain form, which has no pages.
    let mut bench = Bench::solo();
    let key = "k".repeat(40_000);
    for _ in 0..3 {
        bench.plain(1, "append", &key, Some(&"v".repeat(10_000)));
    }
    bench.plain(1, "get", &key, None);
    assert_eq!(reason(bench.plain_answers.last()), FailReason::TooLarge);
}

#[test]
fn a_probe_and_a_question_for_the_view_change_nothing() {
    let mut bench = Bench::pair();
    let before = format!("{:?}", bench.server(2).inspect());
    bench.handle(2, plain_client(), Message::Probe(Probe {}));
    bench.handle(2, plain_client(), Message::GetView(GetView {}));
    assert_eq!(format!("{:?}", bench.server(2).inspect()), before);
    let Message::ProbeAnswer(answer) = &bench.plain_answers[0] else { panic!() };
    assert_eq!((&*answer.server_id.0, &*answer.role), ("s2", "backup"));
    let Message::ViewAnswer(view) = &bench.plain_answers[1] else { panic!() };
    assert_eq!((view.primary.clone(), view.backup.clone()), (Some("s1".into()), Some("s2".into())));
}
