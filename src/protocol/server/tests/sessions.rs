//! Exactly once: sessions, duplicates, order, eviction.

use super::bench::{Bench, append, get_after, ms, put, write};
use crate::config::Limits;
use crate::kv::command::Value;
use crate::protocol::message::{Ask, Message, Outcome};
use crate::types::{Epoch, OperationNumber, SessionId};

#[test]
fn a_repeated_request_is_executed_once_while_it_is_pending_and_after_it_was_answered() {
    // D6, D7.
    let mut bench = Bench::pair();
    let session = bench.open(1);
    bench.hold.insert((1, 2));
    let id = bench.ask(1, write(session, 1, 0, append("k", "1")));
    bench.settle();
    bench.resend(1, id);
    bench.resend(1, id);
    bench.settle();
    for envelope in bench.release() {
        bench.hand_over(envelope);
    }
    bench.run(ms(100));
    bench.resend(1, id);
    bench.settle();
    assert_eq!(bench.outcomes(id), [&Outcome::Done, &Outcome::Done]);
    assert_eq!(bench.list(1, "k"), ["1"]);
    assert_eq!(bench.applied(1), 2, "no duplicate is even logged");
}

#[test]
fn a_late_copy_of_a_put_does_not_undo_a_later_put() {
    // D8: a put is repeated without harm only while nothing came after it.
    let mut bench = Bench::pair();
    let session = bench.open(1);
    let first = bench.ask(1, write(session, 1, 0, put("k", "1")));
    bench.settle();
    bench.ask_now(1, write(session, 2, 0, put("k", "2")));
    bench.resend(1, first);
    bench.settle();
    assert_eq!(bench.outcomes(first), [&Outcome::Done, &Outcome::Done], "its result is kept");
    assert_eq!(bench.list(1, "k"), ["2"]);
    bench.ask_now(1, write(session, 3, 2, put("k", "3")));
    bench.resend(1, first);
    bench.settle();
    assert_eq!(bench.outcomes(first).len(), 2, "and forgotten when the client knows it");
    assert_eq!(bench.list(1, "k"), ["3"]);
    assert_eq!(bench.applied(1), 4, "no copy is even logged");
}

#[test]
fn a_request_that_was_executed_before_a_failover_is_not_executed_after_it() {
    // D26: the table is replicated with the operations.
    let mut bench = Bench::pair();
    let session = bench.open(1);
    bench.hold.insert((2, 1));
    let id = bench.ask(1, write(session, 1, 0, append("k", "1")));
    bench.settle();
    bench.fail_over(1, 2);
    assert_eq!(bench.outcome(id), None, "its primary died before it could answer");
    bench.resend(2, id);
    bench.settle();
    assert_eq!(bench.outcomes(id), [&Outcome::Done]);
    assert_eq!(bench.list(2, "k"), ["1"]);
}

#[test]
fn a_request_that_was_executed_before_a_transfer_is_not_executed_by_the_joiner() {
    // D27, D55: sessions travel with the state.
    let mut bench = Bench::pair();
    let session = bench.open(1);
    let id = bench.ask(1, write(session, 1, 0, append("k", "1")));
    bench.settle();
    bench.down.insert(2);
    bench.alone(1);
    bench.tell_all();
    let second = bench.ask(1, write(session, 2, 0, append("k", "2")));
    bench.join_fully(3);
    bench.fail_over(1, 3);
    for again in [id, second] {
        bench.resend(3, again);
        bench.settle();
        assert_eq!(bench.outcome(again), Some(&Outcome::Done));
    }
    assert_eq!(bench.list(3, "k"), ["1", "2"]);
    let third = bench.ask_now(3, write(session, 3, 2, append("k", "3")));
    assert_eq!(third, Some(Outcome::Done), "the session goes on");
}

#[test]
fn requests_of_a_session_run_in_order_and_none_is_skipped() {
    // D28: 6 before 5.
    let mut bench = Bench::pair();
    let session = bench.open(1);
    let ids: Vec<_> = [3, 2, 5, 1, 4]
        .map(|number| bench.ask(1, write(session, number, 0, append("k", &number.to_string()))))
        .to_vec();
    bench.settle();
    assert_eq!(bench.list(1, "k"), ["1", "2", "3", "4", "5"]);
    assert!(ids.iter().all(|id| bench.outcomes(*id) == [&Outcome::Done]));
}

#[test]
fn a_gap_in_a_session_stays_open_until_its_request_comes() {
    let mut bench = Bench::pair();
    let session = bench.open(1);
    let second = bench.ask(1, write(session, 2, 0, append("k", "2")));
    bench.run(ms(1000));
    assert_eq!(bench.outcome(second), None);
    bench.fail_over(1, 2);
    bench.ask_now(2, write(session, 1, 0, append("k", "1")));
    assert_eq!(bench.list(2, "k"), ["1"], "what waited at the dead primary is gone with it");
    bench.resend(2, second);
    bench.settle();
    assert_eq!(bench.list(2, "k"), ["1", "2"]);
}

#[test]
fn reads_take_no_request_number_so_a_failover_after_them_blocks_no_write() {
    // D28b.
    let mut bench = Bench::pair();
    let session = bench.open(1);
    bench.ask_now(1, write(session, 1, 0, append("k", "1")));
    for _ in 0..5 {
        assert!(bench.ask_now(1, get_after("k", session, 1)).is_some());
    }
    bench.fail_over(1, 2);
    let next = bench.ask_now(2, write(session, 2, 1, append("k", "2")));
    assert_eq!(next, Some(Outcome::Done));
}

#[test]
fn a_session_is_named_by_its_opening_and_a_repeated_open_finds_it() {
    // D29: two sessions never share a name, whoever opens them.
    let mut bench = Bench::pair();
    let id = bench.ask(1, Ask::Open { nonce: 1 });
    bench.resend(1, id);
    bench.settle();
    bench.resend(1, id);
    bench.settle();
    let first = bench.outcomes(id);
    assert!(first.len() == 2 && first[0] == first[1], "{first:?}");
    assert_eq!(bench.applied(1), 1);
    let Some(Outcome::Opened(session)) = bench.outcome(id).cloned() else { panic!() };
    assert_ne!(bench.open(1), session);
    bench.fail_over(1, 2);
    bench.resend(2, id);
    bench.settle();
    assert_eq!(bench.outcome(id), Some(&Outcome::Opened(session)), "also after a failover");
}

#[test]
fn a_late_copy_of_a_request_of_an_evicted_session_is_refused_and_not_executed() {
    // D30.
    let limits = Limits { session_capacity: 2, ..Limits::default() };
    let mut bench = Bench::pair_with(limits);
    let session = bench.open(1);
    let id = bench.ask(1, write(session, 1, 0, append("k", "1")));
    bench.settle();
    bench.open(1);
    bench.open(1);
    bench.resend(1, id);
    bench.settle();
    assert_eq!(bench.outcomes(id), [&Outcome::Done, &Outcome::SessionExpired]);
    assert_eq!(bench.list(1, "k"), ["1"]);
    let read = bench.ask_now(1, get_after("k", session, 1));
    assert_eq!(read, Some(Outcome::SessionExpired));
}

#[test]
fn a_write_numbered_after_its_sessions_eviction_is_answered_with_the_refusal_on_both_copies() {
    let limits = Limits { session_capacity: 1, ..Limits::default() };
    let mut bench = Bench::pair_with(limits);
    let session = bench.open(1);
    bench.hold.insert((1, 2));
    bench.ask(1, Ask::Open { nonce: 1000 });
    let late = bench.ask(1, write(session, 1, 0, append("k", "1")));
    bench.settle();
    for envelope in bench.release() {
        bench.hand_over(envelope);
    }
    bench.run(ms(200));
    assert_eq!(bench.outcomes(late), [&Outcome::SessionExpired]);
    assert!(bench.list(1, "k").is_empty() && bench.list(2, "k").is_empty());
}

#[test]
fn a_session_is_called_unknown_only_with_a_proof() {
    // It may have been opened at another primary of which this one does not know.
    let mut bench = Bench::pair();
    bench.fail_over(1, 2);
    let session = bench.open(2);
    bench.down.clear();
    bench.hold.insert((2, 1));
    let id = bench.ask(1, write(session, 1, 0, append("k", "1")));
    let read = bench.ask(1, get_after("k", session, 1));
    bench.settle();
    assert_eq!(bench.outcome(id), None);
    assert_eq!(bench.outcome(read), None);
    bench.hold.clear();
    bench.run(ms(500));
    assert!(!bench.outcomes(id).contains(&&Outcome::SessionExpired));
    bench.resend(2, id);
    bench.settle();
    assert_eq!(bench.outcome(id), Some(&Outcome::Done));
}

#[test]
fn an_unknown_session_is_refused_once_a_barrier_has_proved_it() {
    let mut bench = Bench::pair();
    let unknown = SessionId(Epoch(1, 9), OperationNumber(99));
    bench.hold.insert((2, 1));
    let id = bench.ask(1, write(unknown, 1, 0, append("k", "1")));
    bench.settle();
    assert_eq!(bench.outcome(id), None);
    for envelope in bench.release() {
        bench.hand_over(envelope);
    }
    assert_eq!(bench.outcome(id), Some(&Outcome::SessionExpired));
    assert_eq!(bench.applied(1), 0);
}

#[test]
fn an_answer_names_the_client_and_the_request_it_answers() {
    // D31: the bench files answers by their id; two reads of different keys must not mix.
    let mut bench = Bench::pair();
    let session = bench.open(1);
    bench.ask_now(1, write(session, 1, 0, put("x", "1")));
    bench.ask_now(1, write(session, 2, 1, put("y", "2")));
    let x = bench.ask(1, get_after("x", session, 2));
    let y = bench.ask(1, get_after("y", session, 2));
    bench.settle();
    for (id, value) in [(x, "1"), (y, "2")] {
        let Some(Outcome::Page(page)) = bench.outcome(id) else { panic!() };
        assert_eq!(page.values, vec![Value::from(value)]);
    }
}

#[test]
fn a_session_whose_client_acknowledges_nothing_does_not_grow_without_bound() {
    let limits = Limits { session_window: 4, ..Limits::default() };
    let mut bench = Bench::pair_with(limits);
    let session = bench.open(1);
    for number in 1..=10 {
        bench.ask_now(1, write(session, number, 0, append("k", &number.to_string())));
    }
    assert_eq!(bench.list(1, "k").len(), 4);
    let next = bench.ask_now(1, write(session, 5, 4, append("k", "5")));
    assert_eq!(next, Some(Outcome::Done));
    let far = bench.ask_now(1, write(session, u64::MAX, u64::MAX, append("k", "x")));
    assert_eq!(far, None, "nonsense changes nothing and ends nothing (D44)");
}

#[test]
fn a_command_beyond_the_limits_is_not_logged() {
    let limits = Limits { value_bytes: 10, key_bytes: 10, ..Limits::default() };
    let mut bench = Bench::pair_with(limits);
    let session = bench.open(1);
    bench.ask_now(1, write(session, 1, 0, append("k", "12345678901")));
    bench.ask_now(1, write(session, 1, 0, append("12345678901", "v")));
    assert_eq!(bench.applied(1), 1);
    let fits = bench.ask_now(1, write(session, 1, 0, append("k", "1234567890")));
    assert_eq!(fits, Some(Outcome::Done));
}

#[test]
fn messages_with_nonsense_in_them_end_no_server() {
    // D44.
    let mut bench = Bench::pair();
    let session = bench.open(1);
    bench.ask_now(1, write(session, 1, 0, append("k", "1")));
    for index in 0..bench.log.len() {
        let mut envelope = bench.log[index].clone();
        match &mut envelope.message {
            Message::Replicate(replicate) => replicate.first = OperationNumber(u64::MAX - 9),
            Message::Transfer(transfer) => transfer.sequence = u64::MAX,
            Message::TransferAck(ack) => ack.sequence = u64::MAX,
            Message::Offer(offer) => offer.copy = Some((OperationNumber(u64::MAX), 1)),
            Message::Ack(ack) => ack.received = OperationNumber(u64::MAX),
            _ => {}
        }
        bench.hand_over(envelope);
    }
    let write = write(session, 2, 1, append("k", "2"));
    assert_eq!(bench.ask_now(1, write), Some(Outcome::Done));
}

#[test]
fn what_a_dead_client_sent_before_its_turn_makes_room_for_others() {
    // Sequence: 1. a client's first write is lost, the following ones come, and the client dies ..
    // 2. another client's first write is late.
    let limits = Limits { backlog_bytes: 2_000, ..Limits::default() };
    let mut bench = Bench::pair_with(limits);
    let (dead, living) = (bench.open(1), bench.open(1));
    let value = "x".repeat(900);
    for number in [2, 3] {
        bench.ask(1, write(dead, number, 0, append("k", &value)));
    }
    bench.settle();
    let early = bench.ask(1, write(living, 2, 0, append("k", &value)));
    bench.settle();
    assert_eq!(bench.outcome(early), None, "it waits for its turn");
    bench.ask_now(1, write(living, 1, 0, append("k", "1")));
    bench.settle();
    assert_eq!(bench.outcome(early), Some(&Outcome::Done), "it was kept");
}
