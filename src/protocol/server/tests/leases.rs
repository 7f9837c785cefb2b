//! Reads under a lease, and what ends it.

use super::bench::{Bench, append, get, ms, write};
use crate::config::Timing;
use crate::protocol::message::Outcome;
use crate::types::Epoch;

/// A pair whose primary cannot reach its backup, so that only a lease lets it read.
fn leased() -> Bench {
    let mut bench = Bench::pair();
    bench.timing = Timing::new(ms(50), ms(250), true).unwrap();
    let session = bench.open(1);
    bench.ask_now(1, write(session, 1, 0, append("k", "1")));
    bench.cut.insert((1, 2));
    bench
}

/// A pong is sent now; the next ping, `later`, echoes it.
fn grant(bench: &mut Bench, later: u64) {
    let record = Some(bench.record.clone());
    let first = bench.ping_of(1, record.clone());
    let pong = bench.ping(1, first).unwrap();
    bench.run(ms(later));
    let mut second = bench.ping_of(1, record);
    (second.heard, second.grants_lease) = (Some(pong.token), true);
    bench.ping(1, second);
}

#[test]
fn a_lease_counts_from_the_sending_of_the_pong_that_is_echoed() {
    let mut bench = leased();
    grant(&mut bench, 100);
    let read = bench.ask(1, get("k"));
    assert!(matches!(bench.outcome(read), Some(Outcome::Page(_))), "no barrier is needed");
    bench.run(ms(99));
    let read = bench.ask(1, get("k"));
    assert!(bench.outcome(read).is_some());
    bench.run(ms(1));
    let read = bench.ask(1, get("k"));
    bench.settle();
    assert_eq!(bench.outcome(read), None, "an expired lease means a barrier");
    bench.cut.clear();
    bench.run(ms(300));
    assert!(matches!(bench.outcome(read), Some(Outcome::Page(_))));
}

#[test]
fn an_answer_that_is_late_by_a_pause_is_not_sent() {
    // D20, D48: stopped between the look at the value and the look at the clock.
    let mut bench = leased();
    grant(&mut bench, 50);
    bench.stop_before_send = ms(200);
    let read = bench.ask(1, get("k"));
    bench.stop_before_send = ms(0);
    bench.settle();
    assert_eq!(bench.outcome(read), None, "handed back, and then it needs a barrier");
    bench.fail_over(1, 2);
    assert_eq!(bench.outcome(read), None);
}

#[test]
fn an_echo_of_a_pong_that_was_never_sent_grants_nothing() {
    let mut bench = leased();
    let record = Some(bench.record.clone());
    let mut ping = bench.ping_of(1, record);
    (ping.heard, ping.grants_lease) = (Some(123_456), true);
    bench.ping(1, ping);
    let read = bench.ask(1, get("k"));
    assert_eq!(bench.outcome(read), None);
}

#[test]
fn a_lease_ends_with_its_view() {
    let mut bench = leased();
    grant(&mut bench, 10);
    bench.cut.insert((3, 1));
    bench.alone(1);
    bench.tell(1);
    bench.join(3);
    bench.tell(1);
    bench.tell(3);
    bench.cut.remove(&(3, 1));
    bench.run(ms(60));
    bench.propose_pair(3);
    bench.tell(1);
    bench.cut.insert((1, 3));
    let read = bench.ask(1, get("k"));
    assert_eq!(bench.outcome(read), None, "the lease was bound to another view");
}

#[test]
fn a_ping_of_another_view_grants_nothing() {
    let mut bench = leased();
    let old = bench.record.clone();
    let first = bench.ping_of(1, Some(old.clone()));
    let pong = bench.ping(1, first).unwrap();
    let mut ghost = bench.ping_of(1, Some(old));
    (ghost.heard, ghost.grants_lease) = (Some(pong.token), true);
    ghost.record.as_mut().unwrap().view.id.number -= 1;
    bench.ping(1, ghost);
    let read = bench.ask(1, get("k"));
    assert_eq!(bench.outcome(read), None);
}

#[test]
fn a_server_that_promised_a_new_epoch_holds_no_lease_and_adopts_nothing_lower() {
    let mut bench = leased();
    grant(&mut bench, 10);
    let mut ping = bench.ping_of(1, None);
    ping.promise = Some(Epoch(2, 3));
    let pong = bench.ping(1, ping).unwrap();
    assert_eq!(pong.promised, Epoch(2, 3));
    assert_eq!(pong.record.map(|record| record.stamp()), Some(bench.record.stamp()));
    let read = bench.ask(1, get("k"));
    assert_eq!(bench.outcome(read), None, "its lease is over");
    grant(&mut bench, 10);
    let read = bench.ask(1, get("k"));
    assert_eq!(bench.outcome(read), None, "and it gets no other");
    bench.alone(1);
    let before = bench.server(1).adopted();
    let pong = bench.tell(1).unwrap();
    assert_eq!(pong.adopted, before, "a record of the old epoch is refused");
    bench.record.view.id.epoch = Epoch(2, 3);
    let pong = bench.tell(1).unwrap();
    assert_eq!(pong.adopted, Some(bench.record.stamp()));
    assert!(matches!(bench.ask_now(1, get("k")), Some(Outcome::Page(_))));
}
