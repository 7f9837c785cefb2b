//! Reads by barrier, pages, and reads that wait for their session.

use super::bench::{Bench, append, get, get_after, get_page, ms, put, remove, write};
use crate::config::Limits;
use crate::kv::command::Value;
use crate::protocol::message::{Message, Outcome, PageRequest};
use crate::types::{Epoch, OperationNumber, SessionId};

fn values(outcome: Option<&Outcome>) -> Vec<String> {
    match outcome {
        Some(Outcome::Page(page)) => page.values.iter().map(ToString::to_string).collect(),
        other => panic!("no page: {other:?}"),
    }
}

#[test]
fn a_paused_primary_that_was_replaced_answers_no_read() {
    // D1, D19: the backup serves in a newer view, so the barrier is never confirmed.
    let mut bench = Bench::pair();
    let session = bench.open(1);
    bench.ask_now(1, write(session, 1, 0, put("k", "1")));
    bench.fail_over(1, 2);
    bench.ask_now(2, write(session, 2, 1, put("k", "2")));
    bench.down.clear();
    let read = bench.ask(1, get("k"));
    assert_eq!(bench.outcome(read), None);
    bench.run(ms(500));
    assert!(bench.outcomes(read).iter().all(|outcome| !matches!(outcome, Outcome::Page(_))));
    assert!(!bench.is_serving(1), "the backup has told it of the newer view");
    let fresh = bench.ask_now(2, get("k"));
    assert_eq!(values(fresh.as_ref()), ["2"]);
}

#[test]
fn what_the_backup_has_not_acknowledged_is_never_read() {
    // D22.
    let mut bench = Bench::pair();
    let session = bench.open(1);
    bench.ask_now(1, write(session, 1, 0, put("k", "1")));
    bench.cut.insert((1, 2));
    bench.ask(1, write(session, 2, 1, put("k", "2")));
    bench.settle();
    bench.cut.clear();
    // The barrier alone gets through, the write does not.
    bench.hold.insert((1, 2));
    let read = bench.ask(1, get("k"));
    bench.run(ms(30));
    for mut envelope in bench.release() {
        if let Message::Replicate(replicate) = &mut envelope.message
            && replicate.barrier > 0
        {
            replicate.operations.clear();
            bench.hand_over(envelope);
        }
    }
    bench.cut.insert((1, 2));
    bench.settle();
    assert_eq!(values(bench.outcome(read)), ["1"]);
}

#[test]
fn a_barrier_that_was_sent_before_a_read_came_proves_nothing_for_it() {
    // D23: 1. barrier sent for the first read .. 2. second read .. 3. the old barrier is confirmed.
    let mut bench = Bench::pair();
    bench.open(1);
    bench.hold.insert((2, 1));
    let first = bench.ask(1, get("k"));
    bench.settle();
    let old: Vec<_> = bench.held.drain(..).collect();
    bench.cut.insert((1, 2));
    let second = bench.ask(1, get("k"));
    bench.run(ms(300));
    for envelope in old {
        bench.hand_over(envelope);
    }
    assert_eq!(bench.outcome(first), Some(&Outcome::Missing));
    assert_eq!(bench.outcome(second), None);
    bench.cut.clear();
    bench.hold.clear();
    bench.run(ms(400));
    assert_eq!(bench.outcome(second), Some(&Outcome::Missing));
}

#[test]
fn a_barrier_that_was_merely_repeated_proves_nothing_for_a_later_read() {
    // D23 across on_timeout: the number leaves again after the second read came.
    let mut bench = Bench::pair();
    bench.cut.insert((1, 2));
    let first = bench.ask(1, get("k"));
    bench.settle();
    bench.run(ms(60));
    let before = bench.log.iter().rev().find_map(|envelope| match &envelope.message {
        Message::Replicate(replicate) => Some(replicate.barrier),
        _ => None,
    });
    let second = bench.ask(1, get("k"));
    bench.settle();
    let after = bench.log.iter().rev().find_map(|envelope| match &envelope.message {
        Message::Replicate(replicate) => Some(replicate.barrier),
        _ => None,
    });
    assert!(after > before, "the later read has a number of its own: {before:?} {after:?}");
    bench.cut.clear();
    bench.run(ms(400));
    assert!(bench.outcome(first).is_some() && bench.outcome(second).is_some());
}

#[test]
fn a_barrier_confirmed_in_an_older_phase_proves_nothing_in_the_next() {
    // D23 across enter_view: the view becomes active between the barrier and its confirmation.
    let mut bench = Bench::pair();
    bench.alone(1);
    bench.tell_all();
    bench.join(3);
    bench.tell_all();
    bench.run(ms(100));
    bench.propose_pair(3);
    bench.tell(1);
    bench.tell(3);
    bench.run(ms(100));
    bench.hold.insert((3, 1));
    let first = bench.ask(1, get("k"));
    bench.settle();
    let old = bench.release();
    assert!(!old.is_empty());
    bench.cut.insert((1, 3));
    bench.activate();
    bench.tell(1);
    let second = bench.ask(1, get("k"));
    bench.settle();
    for envelope in old {
        bench.hand_over(envelope);
    }
    assert_eq!(bench.outcome(first), None);
    assert_eq!(bench.outcome(second), None);
    bench.cut.clear();
    bench.tell(3);
    bench.run(ms(500));
    assert!(bench.outcome(first).is_some() && bench.outcome(second).is_some());
}

#[test]
fn a_gap_that_is_filled_confirms_no_read_that_came_after_its_barrier() {
    // D23 across gap filling: the copy that fills the gap carries the number already sent.
    let mut bench = Bench::pair();
    let session = bench.open(1);
    bench.run(ms(100));
    bench.hold.insert((1, 2));
    for number in 1..=2 {
        bench.ask(1, write(session, number, 0, append("k", "v")));
        bench.gathered(1);
    }
    let first = bench.ask(1, get("k"));
    bench.gathered(1);
    bench.settle();
    let lost = bench.release();
    bench.hold.insert((2, 1));
    for envelope in lost.into_iter().skip(1) {
        bench.hand_over(envelope);
    }
    bench.settle();
    let old = bench.release();
    // The second read's barrier never leaves the primary's link.
    bench.hold.insert((1, 2));
    let second = bench.ask(1, get("k"));
    bench.settle();
    bench.now = bench.now + ms(9);
    for envelope in old {
        bench.hand_over(envelope);
    }
    assert!(bench.outcome(first).is_some());
    assert_eq!(bench.outcome(second), None);
    bench.settle();
    for envelope in bench.release() {
        bench.hand_over(envelope);
    }
    bench.run(ms(400));
    assert_eq!(values(bench.outcome(second)), ["v", "v"]);
}

#[test]
fn a_read_waits_for_the_earlier_writes_of_its_session() {
    let mut bench = Bench::pair();
    let session = bench.open(1);
    let read = bench.ask(1, get_after("k", session, 2));
    bench.run(ms(50));
    assert_eq!(bench.outcome(read), None);
    bench.ask_now(1, write(session, 1, 0, append("k", "1")));
    assert_eq!(bench.outcome(read), None);
    bench.ask_now(1, write(session, 2, 0, append("k", "2")));
    assert_eq!(values(bench.outcome(read)), ["1", "2"]);
}

#[test]
fn reads_whose_writes_never_come_do_not_lock_other_reads_out() {
    let limits = Limits { pending_reads: 10, ..Limits::default() };
    let mut bench = Bench::pair_with(limits);
    let session = bench.open(1);
    let waits = bench.ask(1, get_after("k", session, 1));
    for _ in 0..200 {
        bench.resend(1, waits);
        bench.ask(1, get_after("k", session, 1));
        bench.settle();
    }
    assert_eq!(bench.ask_now(1, get("k")), Some(Outcome::Missing));
    bench.resend(1, waits);
    bench.settle();
    bench.ask_now(1, write(session, 1, 0, append("k", "1")));
    assert_eq!(bench.outcomes(waits).len(), 1, "a repeated read is answered once");
}

#[test]
fn more_reads_than_may_wait_are_busy_even_if_they_ask_for_an_unknown_session() {
    let limits = Limits { pending_reads: 4, ..Limits::default() };
    let mut bench = Bench::pair_with(limits);
    bench.cut.insert((1, 2));
    let unknown = SessionId(Epoch(1, 9), OperationNumber(99));
    for _ in 0..4 {
        let id = bench.ask(1, write(unknown, 1, 0, append("k", "1")));
        assert_eq!(bench.outcome(id), None);
    }
    let more = bench.ask(1, write(unknown, 1, 0, append("k", "1")));
    assert_eq!(bench.outcome(more), Some(&Outcome::Busy));
    let read = bench.ask(1, get("k"));
    assert_eq!(bench.outcome(read), Some(&Outcome::Busy));
}

#[test]
fn a_long_list_is_read_in_pages_of_one_generation() {
    let limits = Limits { page_bytes: 30, ..Limits::default() };
    let mut bench = Bench::pair_with(limits);
    let session = bench.open(1);
    for number in 1..=12 {
        let command = append("k", &format!("value{number:02}"));
        bench.ask_now(1, write(session, number, number - 1, command));
    }
    let Some(Outcome::Page(first)) = bench.ask_now(1, get("k")) else { panic!() };
    assert_eq!((first.start, first.end, first.values.len()), (0, 12, 2));
    bench.ask_now(1, write(session, 13, 12, append("k", "later")));
    bench.fail_over(1, 2);
    let mut all: Vec<Value> = first.values;
    while (all.len() as u64) < first.end {
        let (generation, start, end) = (first.generation, all.len() as u64, first.end);
        let request = PageRequest { generation, start, end };
        let Some(Outcome::Page(page)) = bench.ask_now(2, get_page("k", request)) else { panic!() };
        assert_eq!((page.start, page.end), (start, end));
        all.extend(page.values);
    }
    assert_eq!(all.len(), 12);
    assert_eq!(all[11], Value::from("value12"));
    bench.ask_now(2, write(session, 14, 13, remove("k")));
    bench.ask_now(2, write(session, 15, 14, append("k", "new")));
    let request = PageRequest { generation: first.generation, start: 0, end: 1 };
    assert_eq!(bench.ask_now(2, get_page("k", request)), Some(Outcome::GenerationChanged));
    let nonsense = PageRequest { start: u64::MAX, end: 3, ..request };
    assert_eq!(bench.ask_now(2, get_page("k", nonsense)), Some(Outcome::GenerationChanged));
}

#[test]
fn reads_that_wait_are_bounded_in_bytes_as_well() {
    let limits = Limits { backlog_bytes: 10_000, ..Limits::default() };
    let mut bench = Bench::pair_with(limits);
    let session = bench.open(1);
    // Nobody confirms that this server is still the primary.
    bench.cut.insert((2, 1));
    let long = "k".repeat(1000);
    let ids: Vec<_> = (0..20).map(|_| bench.ask(1, get(&long))).collect();
    bench.settle();
    let busy =
        |bench: &Bench| ids.iter().filter(|id| bench.outcome(**id) == Some(&Outcome::Busy)).count();
    assert!((9..=12).contains(&busy(&bench)), "{}", busy(&bench));
    bench.cut.clear();
    bench.run(ms(300));
    assert_eq!(bench.ask_now(1, get(&long)), Some(Outcome::Missing), "there is room again");

    // Reads that wait for writes which never come.
    for _ in 0..50 {
        bench.ask(1, get_after(&long, session, 7));
    }
    bench.run(ms(300));
    assert_eq!(bench.ask_now(1, get_after("other", session, 0)), Some(Outcome::Missing));
    for number in 1..=7 {
        bench.ask_now(1, write(session, number, number - 1, append("k", "v")));
    }
    assert_eq!(bench.ask_now(1, get_after(&long, session, 7)), Some(Outcome::Missing));
}
