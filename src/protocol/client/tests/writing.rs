//! Sessions: numbers, the window, what is acknowledged, and writes that nobody waits for.

use super::super::session::Session;
use super::*;

#[test]
fn writes_are_numbered_in_the_order_of_the_calls_once_the_session_is_open() {
    let mut bench = Bench::served();
    for value in ["a", "b", "c"] {
        bench.call(append(value), 1000);
    }
    let open = bench.take_requests(s1());
    assert_eq!(open.len(), 1, "one session for all of them");
    bench.reply(s1(), &open[0], Outcome::Opened(session(1)));
    let writes = bench.take_requests(s1());
    assert_eq!(numbers(&writes), [1, 2, 3]);
    assert!(writes.iter().all(|write| acknowledged(write) == 0));
    let values: Vec<_> = writes
        .iter()
        .map(|write| match &write.ask {
            Ask::Write { command: command::Command::Append { value, .. }, .. } => value.to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(values, ["a", "b", "c"]);
}

#[test]
fn acknowledged_stops_before_the_first_unanswered_request() {
    let mut bench = Bench::opened();
    for value in ["a", "b", "c"] {
        bench.call(append(value), 1000);
    }
    let writes = bench.take_requests(s1());
    assert!(writes.iter().all(|write| acknowledged(write) == 1));
    bench.reply(s1(), &writes[1], Outcome::Done);
    bench.reply(s1(), &writes[2], Outcome::Done);
    bench.call(append("d"), 1000);
    let fifth = bench.take_requests(s1()).remove(0);
    assert_eq!((numbers(&[fifth.clone()]), acknowledged(&fifth)), (vec![5], 1));
    bench.reply(s1(), &writes[0], Outcome::Done);
    bench.call(append("e"), 1000);
    assert_eq!(acknowledged(&bench.take_requests(s1())[0]), 4);
    // What was sent before is repeated as it was.
    bench.wait(60);
    assert!(bench.take_requests(s1()).contains(&fifth));
}

#[test]
fn the_window_counts_from_the_first_unanswered_request() {
    let mut bench = Bench::opened();
    for value in 0..100 {
        bench.call(append(&value.to_string()), 1000);
    }
    let writes = bench.take_requests(s1());
    assert_eq!(writes.len(), 64);
    for write in &writes[1..] {
        bench.reply(s1(), write, Outcome::Done);
    }
    assert_eq!(bench.take_requests(s1()).len(), 0, "the servers still keep those results");
    bench.reply(s1(), &writes[0], Outcome::Done);
    assert_eq!(bench.take_requests(s1()).len(), 36);
}

#[test]
fn a_write_that_was_never_sent_is_not_executed_and_one_that_was_is_unknown() {
    let mut bench = Bench::opened();
    let sent: Vec<_> = (0..64).map(|_| bench.call(append("x"), 100)).collect();
    let queued = bench.call(append("y"), 90);
    bench.wait(100);
    let silent = || FailureReason::PrimarySilent("s1 at 127.0.0.1:5010".into());
    assert_eq!(*bench.failure(queued), Failure::not_executed(silent()));
    for call in sent {
        assert_eq!(*bench.failure(call), Failure::unknown(silent()));
    }
}

#[test]
fn a_write_that_waits_for_its_session_is_not_executed_and_the_nonce_stays() {
    let mut bench = Bench::served();
    let call = bench.call(append("x"), 100);
    bench.wait(100);
    assert_eq!(bench.failure(call).outcome, FailureOutcome::NotExecuted);
    assert_eq!(bench.client.poll_timeout(), None, "nobody needs the session any more");
    let first = bench.take_requests(s1()).remove(0);
    bench.call(append("y"), 100);
    let second = bench.take_requests(s1()).remove(0);
    assert_eq!(first.ask, second.ask);
    assert_ne!(first.id, second.id);
}

#[test]
fn no_two_sessions_are_opened_with_the_same_nonce() {
    // D29: the nonce of another client's session would bring that session, with its numbers.
    let mut nonces = BTreeSet::new();
    for client in [1, 2, 77, u64::MAX] {
        let mut session = Session::new(Incarnation(client), 64);
        for opened in 1..=3 {
            assert!(nonces.insert(session.nonce()), "client {client}, session {opened}");
            session.opened(super::session(opened));
            session.give_up();
        }
    }
}

#[test]
fn a_late_answer_does_not_answer_twice_but_closes_the_gap() {
    let mut bench = Bench::opened();
    let call = bench.call(append("x"), 100);
    let write = bench.take_requests(s1()).remove(0);
    bench.wait(100);
    assert_eq!(bench.failure(call).outcome, FailureOutcome::Unknown);
    bench.call(append("y"), 1000);
    bench.reply(s1(), &write, Outcome::Done);
    bench.reply(s1(), &write, Outcome::Done);
    bench.call(append("z"), 1000);
    let later = bench.take_requests(s1());
    let last = later.iter().find(|request| numbers(&[(*request).clone()]) == [4]).unwrap();
    assert_eq!(acknowledged(last), 2);
}

#[test]
fn a_write_that_nobody_waits_for_is_repeated_slowly_until_it_is_answered() {
    let mut bench = Bench::opened();
    bench.call(append("x"), 100);
    bench.wait(400);
    let write = bench.take_requests(s1()).remove(0);
    bench.wait(10_000);
    let repeated = bench.take_requests(s1()).len();
    assert!((30..=40).contains(&repeated), "{repeated} in ten seconds");
    assert!(bench.questions(view_server()) <= 50);
    bench.reply(s1(), &write, Outcome::Done);
    assert_eq!(bench.client.poll_timeout(), None);
}

#[test]
fn a_window_full_of_writes_that_nobody_waits_for_makes_room_by_a_new_session() {
    let mut bench = Bench::opened();
    for _ in 0..64 {
        bench.call(append("x"), 100);
    }
    bench.wait(100);
    let old = bench.take_requests(s1());
    let call = bench.call(append("y"), 1000);
    let sent = bench.take_requests(s1());
    assert_eq!(sent.len(), 1);
    let Ask::Open { nonce } = sent[0].ask else { panic!("a new session: {sent:?}") };
    bench.wait(150);
    assert_eq!(numbers(&bench.take_requests(s1())), [0u64; 0], "the old ones are forgotten");
    bench.reply(s1(), &sent[0], Outcome::Opened(session(100)));
    let write = bench.take_requests(s1()).remove(0);
    assert_eq!((numbers(&[write.clone()]), acknowledged(&write)), (vec![1], 0));
    bench.reply(s1(), &old[0], Outcome::Done);
    assert!(!bench.answers.contains_key(&call), "an answer of the old session means nothing");
    bench.reply(s1(), &write, Outcome::Done);
    assert_eq!(bench.answers[&call], Ok(Completed::Written));
    let first = bench.frozen.values().find_map(|request| match request.ask {
        Ask::Open { nonce } => Some(nonce),
        _ => None,
    });
    assert_ne!(first, Some(nonce));
}

#[test]
fn an_expired_session_fails_what_was_sent_and_carries_the_rest_into_a_new_one() {
    let mut bench = Bench::opened();
    let sent: Vec<_> = (0..64).map(|_| bench.call(append("x"), 1000)).collect();
    let queued = bench.call(append("y"), 1000);
    let writes = bench.take_requests(s1());
    bench.reply(s1(), &writes[7], Outcome::SessionExpired);
    for call in sent {
        assert_eq!(*bench.failure(call), Failure::unknown(FailureReason::SessionExpired));
    }
    let open = bench.take_requests(s1());
    assert!(matches!(open[..], [Request { ask: Ask::Open { .. }, .. }]), "{open:?}");
    bench.reply(s1(), &open[0], Outcome::Opened(session(200)));
    let write = bench.take_requests(s1()).remove(0);
    assert_eq!(numbers(&[write.clone()]), [1]);
    bench.reply(s1(), &write, Outcome::Done);
    assert_eq!(bench.answers[&queued], Ok(Completed::Written));
    assert_eq!(bench.client.poll_timeout(), None);
}

#[test]
fn a_busy_primary_is_given_twice_the_time_after_each_refusal() {
    let mut bench = Bench::opened();
    let call = bench.call(append("x"), 5000);
    let write = bench.take_requests(s1()).remove(0);
    for wait in [20, 40, 80, 160, 200, 200] {
        bench.reply(s1(), &write, Outcome::Busy);
        bench.wait(wait - 1);
        assert_eq!(bench.take_requests(s1()), []);
        bench.wait(1);
        assert_eq!(bench.take_requests(s1()), [write.clone()]);
    }
    bench.reply(s1(), &write, Outcome::Done);
    assert_eq!(bench.answers[&call], Ok(Completed::Written));
}

#[test]
fn a_call_without_patience_is_answered_at_once() {
    let mut bench = Bench::opened();
    let call = bench.call(append("x"), 0);
    bench.timeout();
    assert_eq!(bench.failure(call).outcome, FailureOutcome::Unknown);
}

#[test]
fn when_a_lost_write_is_answered_at_last_the_later_ones_follow_soon_and_in_order() {
    let mut bench = Bench::opened();
    for value in ["a", "b", "c", "d"] {
        bench.call(append(value), 20_000);
    }
    let writes = bench.take_requests(s1());
    bench.wait(5_000);
    // Only the first one is repeated just now; it had been lost each time before.
    let mut repeated = Vec::new();
    while repeated != [writes[0].clone()] {
        bench.take_requests(s1());
        bench.wait(1);
        repeated = bench.take_requests(s1());
    }
    bench.reply(s1(), &writes[0], Outcome::Done);
    assert_eq!(bench.take_requests(s1()), [], "they may be answered as well");
    bench.reply(s1(), &writes[1], Outcome::Done);
    bench.wait(10);
    assert_eq!(bench.take_requests(s1()), writes[2..]);
}

#[test]
fn every_call_ends_at_its_own_deadline() {
    let mut bench = Bench::new();
    let calls = [100, 200, 300].map(|deadline| bench.call(get(), deadline));
    for over in 1..=3 {
        bench.wait(100);
        let answered = calls.iter().filter(|call| bench.answers.contains_key(call)).count();
        assert_eq!(answered, over);
    }
}

#[test]
fn a_later_request_does_not_put_off_the_repetition_of_an_earlier_one() {
    let mut bench = Bench::opened();
    bench.call(append("a"), 1000);
    bench.take_requests(s1());
    let due = bench.client.poll_timeout().unwrap();
    bench.now = bench.now + due.since(bench.now) / 2;
    bench.call(append("b"), 1000);
    assert!(bench.client.poll_timeout().unwrap() <= due);
}
