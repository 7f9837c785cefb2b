//! Coming back with a copy: kept or wiped.

use super::bench::{Bench, append, get, ms, write};
use crate::config::Limits;
use crate::protocol::message::{Message, Outcome, ReportKind};
use crate::types::SessionId;

/// s2 was left out after the third write, and s1 went on alone.
fn left_out(limits: Limits, meanwhile: u64) -> (Bench, SessionId) {
    let mut bench = Bench::pair_with(limits);
    let session = bench.open(1);
    for number in 1..=3 {
        bench.ask_now(1, write(session, number, number - 1, append("k", "v")));
    }
    bench.down.insert(2);
    bench.alone(1);
    bench.tell(1);
    for number in 4..4 + meanwhile {
        bench.ask_now(1, write(session, number, number - 1, append("k", "v")));
    }
    bench.down.clear();
    (bench, session)
}

fn was_kept(bench: &Bench, from: usize) -> bool {
    let mut verdicts = bench.log[from..].iter().filter_map(|envelope| match &envelope.message {
        Message::Verdict(verdict) => Some(verdict.keep),
        _ => None,
    });
    let first = verdicts.next().expect("a verdict was given");
    assert!(verdicts.all(|keep| keep == first), "one attempt, one verdict");
    first
}

#[test]
fn a_complete_copy_with_the_same_digest_is_kept_and_only_the_rest_is_sent() {
    let (mut bench, _) = left_out(Limits::default(), 20);
    let already = bench.log.len();
    bench.join_fully(2);
    assert!(was_kept(&bench, already));
    let streamed =
        |envelope: &super::bench::Envelope| matches!(envelope.message, Message::Transfer(_));
    assert!(!bench.log[already..].iter().any(streamed));
    assert_eq!(bench.list(2, "k").len(), 23);
}

#[test]
fn a_copy_is_wiped_when_the_log_no_longer_holds_all_that_it_lacks() {
    let limits = Limits { history_operations: 5, ..Limits::default() };
    let (mut bench, _) = left_out(limits, 20);
    let already = bench.log.len();
    bench.join_fully(2);
    assert!(!was_kept(&bench, already));
    assert_eq!(bench.list(2, "k").len(), 23);
}

#[test]
fn an_offer_that_lies_about_its_digest_or_lies_ahead_is_refused() {
    for wrong in 0..2 {
        let (mut bench, _) = left_out(Limits::default(), 3);
        bench.hold.insert((2, 1));
        bench.join(2);
        bench.tell_all();
        bench.run(ms(10));
        let already = bench.log.len();
        for mut envelope in bench.release() {
            if let Message::Offer(offer) = &mut envelope.message {
                let (number, digest) = offer.copy.as_mut().expect("a complete copy");
                match wrong {
                    0 => *digest ^= 1,
                    _ => number.0 += 100,
                }
            }
            bench.hand_over(envelope);
        }
        bench.run(ms(300));
        assert!(!was_kept(&bench, already));
        assert_eq!(bench.reports(1), [ReportKind::CaughtUp]);
        assert_eq!(bench.list(2, "k").len(), 6);
    }
}

#[test]
fn the_unapplied_tail_of_a_former_primary_is_dropped_when_its_copy_is_kept() {
    let mut bench = Bench::pair();
    let session = bench.open(1);
    bench.ask_now(1, write(session, 1, 0, append("k", "1")));
    bench.cut.insert((1, 2));
    bench.ask(1, write(session, 2, 1, append("k", "lost")));
    bench.settle();
    bench.fail_over(1, 2);
    bench.ask_now(2, write(session, 2, 1, append("k", "2")));
    bench.down.clear();
    bench.cut.clear();
    let already = bench.log.len();
    bench.join_fully(1);
    assert!(was_kept(&bench, already));
    assert_eq!(bench.list(1, "k"), ["1", "2"]);
    assert_eq!(bench.copy(1).unwrap().last(), bench.copy(2).unwrap().last());
}

#[test]
fn a_keep_that_arrives_again_in_a_later_attempt_keeps_nothing() {
    let limits = Limits { history_operations: 5, ..Limits::default() };
    let (mut bench, session) = left_out(limits, 1);
    bench.hold.insert((1, 2));
    bench.join(2);
    bench.tell_all();
    bench.settle();
    let old = bench.release();
    let keeps = |envelope: &super::bench::Envelope| match &envelope.message {
        Message::Verdict(verdict) => verdict.keep,
        _ => false,
    };
    assert!(old.iter().any(keeps));
    bench.alone(1);
    bench.tell_all();
    for number in 5..25 {
        bench.ask_now(1, write(session, number, number - 1, append("k", "v")));
    }
    bench.join(2);
    bench.tell_all();
    for envelope in old {
        bench.hand_over(envelope);
    }
    bench.run(ms(300));
    assert_eq!(bench.reports(1), [ReportKind::CaughtUp]);
    assert_eq!(bench.list(2, "k").len(), 24);
}

#[test]
fn a_lost_offer_and_a_lost_verdict_are_repeated() {
    for link in [(1, 2), (2, 1)] {
        let (mut bench, _) = left_out(Limits::default(), 3);
        bench.cut.insert(link);
        bench.join(2);
        bench.tell_all();
        bench.run(ms(40));
        bench.cut.clear();
        bench.run(ms(400));
        assert_eq!(bench.reports(1), [ReportKind::CaughtUp], "{link:?}");
    }
}

#[test]
fn a_joiner_serves_nobody_and_is_needed_by_nobody() {
    let (mut bench, session) = left_out(Limits::default(), 3);
    bench.join(2);
    bench.tell_all();
    bench.run(ms(50));
    let read = bench.ask_now(2, get("k"));
    assert!(matches!(read, Some(Outcome::NotPrimary(_))));
    bench.down.insert(2);
    let id = bench.ask_now(1, write(session, 7, 6, append("k", "v")));
    assert_eq!(id, Some(Outcome::Done));
}
