//! The limit of memory: what grows is refused, for good, and nothing else is.

use super::bench::{Bench, get, plain_client, put, remove, write};
use crate::config::Limits;
use crate::protocol::message::{ClientRequest, FailReason, Message, Outcome, ReportKind};
use crate::types::SessionId;

/// Of two servers, with little history, so that what is removed is soon forgotten.
fn pair(memory: Option<usize>) -> Bench {
    Bench::pair_with(Limits {
        memory_bytes: memory,
        history_operations: 2,
        history_bytes: 1000,
        ..Limits::default()
    })
}

/// Puts keys until one is refused; returns the session's next request, and the keys.
fn fill(bench: &mut Bench, session: SessionId) -> u64 {
    for number in 1..1000 {
        let command = put(&format!("key{number}"), "0123456789");
        match bench.ask_now(1, write(session, number, number - 1, command)) {
            Some(Outcome::Done) => {}
            Some(Outcome::OutOfMemory) => return number,
            other => panic!("{other:?}"),
        }
    }
    panic!("never full")
}

#[test]
fn what_would_make_the_store_larger_is_refused_and_reads_and_removes_go_on() {
    let mut bench = pair(Some(20_000));
    let session = bench.open(1);
    let refused = fill(&mut bench, session);
    assert!(refused > 20);
    let memory = bench.copy(1).unwrap().memory();
    assert!((19_000..=20_000).contains(&memory), "{memory}");
    let key = format!("key{refused}");
    assert_eq!(bench.ask_now(1, get(&key)), Some(Outcome::Missing));
    assert!(matches!(bench.ask_now(1, get("key1")), Some(Outcome::Page(_))));
    let mut next = refused;
    let mut ask = |bench: &mut Bench, command| {
        next += 1;
        bench.ask_now(1, write(session, next, next - 1, command))
    };
    let shorter = put("key1", "short");
    assert_eq!(ask(&mut bench, shorter), Some(Outcome::Done));
    assert_eq!(bench.list(2, "key1"), ["short"]);
    for number in 2..6 {
        assert_eq!(ask(&mut bench, remove(&format!("key{number}"))), Some(Outcome::Done));
    }
    assert_eq!(ask(&mut bench, put(&key, "0123456789")), Some(Outcome::Done));
    assert_eq!(bench.list(2, &key), ["0123456789"]);
}

#[test]
fn a_refusal_is_the_result_of_its_number_and_no_late_copy_is_executed() {
    let mut bench = pair(Some(20_000));
    let session = bench.open(1);
    let refused = fill(&mut bench, session);
    let other = bench.open(1);
    for number in 1..10 {
        bench.ask_now(1, write(other, number, number - 1, remove(&format!("key{number}"))));
    }
    // There is room again; a copy of the refused request comes late, here and after a failover.
    let again = write(session, refused, refused - 1, put(&format!("key{refused}"), "0123456789"));
    assert_eq!(bench.ask_now(1, again.clone()), Some(Outcome::OutOfMemory));
    bench.fail_over(1, 2);
    assert_eq!(bench.ask_now(2, again), Some(Outcome::OutOfMemory));
    assert_eq!(bench.list(2, &format!("key{refused}")), [""; 0]);
    let next = write(session, refused + 1, refused, put("new", "1"));
    assert_eq!(bench.ask_now(2, next), Some(Outcome::Done), "no number is skipped");
}

#[test]
fn an_executed_request_keeps_its_answer_although_there_is_no_room_any_more() {
    let mut bench = pair(Some(20_000));
    let session = bench.open(1);
    let early = write(session, 1, 0, put("early", "1"));
    assert_eq!(bench.ask_now(1, early.clone()), Some(Outcome::Done));
    let filler = bench.open(1);
    fill(&mut bench, filler);
    assert_eq!(bench.ask_now(1, early), Some(Outcome::Done));
}

#[test]
fn the_limit_of_the_backup_counts_and_the_backup_itself_decides_nothing() {
    let mut bench = pair(None);
    // The primary has not heard of it yet: what it has ordered is executed, whatever it takes.
    let session = bench.open(1);
    bench.limit_memory(2, 20_000);
    let large = "x".repeat(30_000);
    bench.cut.insert((2, 1));
    let id = bench.ask(1, write(session, 1, 0, put("large", &large)));
    bench.settle();
    assert_eq!(bench.list(2, "large").len(), 1);
    bench.cut.clear();
    bench.run_until(|bench| bench.outcome(id).is_some());
    assert_eq!(bench.outcome(id), Some(&Outcome::Done));
    assert_eq!(bench.server(1).status().memory_max, Some(20_000));
    let more = write(session, 2, 1, put("more", "1"));
    assert_eq!(bench.ask_now(1, more), Some(Outcome::OutOfMemory));
    let less = write(session, 3, 2, remove("large"));
    assert_eq!(bench.ask_now(1, less), Some(Outcome::Done));
    // Without that backup its limit is nobody's.
    bench.alone(1);
    bench.tell(1);
    assert_eq!(bench.server(1).status().memory_max, None);
}

#[test]
fn a_joiner_that_has_no_room_for_the_data_is_turned_away_and_nothing_is_sent_to_it() {
    let mut bench = Bench::solo();
    let session = bench.open(1);
    bench.ask_now(1, write(session, 1, 0, put("large", &"x".repeat(30_000))));
    bench.limit_memory(2, 20_000);
    bench.join(2);
    bench.tell_all();
    bench.settle();
    assert_eq!(bench.reports(1), [ReportKind::Stalled], "at once");
    let sent = |message: &Message| matches!(message, Message::Transfer(_) | Message::Verdict(_));
    assert!(!bench.log.iter().any(|envelope| sent(&envelope.message)));
    assert_eq!(bench.server(1).status().memory_max, None, "its limit is not ours");
    bench.limit_memory(2, 200_000);
    bench.join_fully(2);
    assert_eq!(bench.server(1).status().memory_max, Some(200_000));
}

#[test]
fn a_plain_write_is_refused_with_the_reason() {
    let mut bench = pair(Some(20_000));
    let value = "x".repeat(30_000);
    bench.plain(1, "put", "large", Some(&value));
    bench.settle();
    match bench.plain_answers.last() {
        Some(Message::Fail(fail)) => assert_eq!(fail.reason, FailReason::OutOfMemory),
        other => panic!("{other:?}"),
    }
    let request = ClientRequest { command: "remove".to_owned(), ..ClientRequest::default() };
    let request = ClientRequest { key: Some("large".into()), ..request };
    bench.handle(1, plain_client(), Message::ClientRequest(request));
    bench.settle();
    assert!(matches!(bench.plain_answers.last(), Some(Message::Success(_))));
    assert_eq!(bench.list(2, "large"), [""; 0]);
}
