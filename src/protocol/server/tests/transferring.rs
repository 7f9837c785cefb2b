//! State transfer while the primary serves.

use std::time::Duration;

use super::bench::{Bench, append, get, ms, put, remove, write};
use crate::config::Limits;
use crate::kv::transfer::Item;
use crate::protocol::message::{Message, Outcome, ReportKind};

fn loaded(limits: Limits) -> (Bench, crate::types::SessionId) {
    let mut bench = Bench::with_limits(3, limits);
    bench.begin(1);
    let session = bench.open(1);
    for number in 1..=60 {
        let key = format!("k{}", number % 6);
        let command = append(&key, &format!("{number:05}"));
        bench.ask_now(1, write(session, number, number - 1, command));
    }
    (bench, session)
}

#[test]
fn a_join_under_constant_writes_ends_in_the_same_state_whatever_is_lost_or_reordered() {
    // D10, D11, D54: lists are cut into many parts, and the one being sent grows meanwhile.
    for seed in 1..=60_u64 {
        let small = Limits { loopback_datagram_bytes: 250, window_bytes: 600, ..Limits::default() };
        let (mut bench, session) = loaded(small);
        bench.join(2);
        bench.tell_all();
        let mut random = seed;
        let mut below = |bound: u64| {
            random = crate::kv::digest::numbers([random, seed]);
            random % bound
        };
        let mut number = 60;
        for _ in 0..60 {
            bench.hold.extend([(1, 2), (2, 1)]);
            for _ in 0..below(3) {
                number += 1;
                let key = format!("k{}", below(6));
                let command = match below(8) {
                    0 => put(&key, &number.to_string()),
                    1 => remove(&key),
                    _ => append(&key, &number.to_string()),
                };
                let id = bench.ask(1, write(session, number, number - 1, command));
                assert_eq!(bench.outcome(id), Some(&Outcome::Done), "a join stops nothing");
            }
            bench.settle();
            let mut held = bench.release();
            while !held.is_empty() {
                let index = usize::try_from(below(held.len() as u64)).unwrap();
                let envelope = held.swap_remove(index);
                match below(10) {
                    0 => {}
                    1 => {
                        bench.hand_over(envelope.clone());
                        bench.hand_over(envelope);
                    }
                    _ => bench.hand_over(envelope),
                }
            }
            let pause = below(20);
            bench.hold.extend([(1, 2), (2, 1)]);
            bench.run(ms(pause));
            let again = bench.release();
            for envelope in again {
                bench.hand_over(envelope);
            }
        }
        bench.run_until(|bench| bench.reports(1).contains(&ReportKind::CaughtUp));
        bench.propose_pair(2);
        bench.tell_all();
        bench.run_until(|bench| bench.reports(1).contains(&ReportKind::Synced));
        assert_eq!(bench.copy(1).unwrap().digest(), bench.copy(2).unwrap().digest());
        assert_eq!(bench.copy(1).unwrap().store(), bench.copy(2).unwrap().store(), "seed {seed}");
    }
}

#[test]
fn an_append_to_the_list_that_is_being_sent_arrives_once() {
    // D54.
    let small = Limits { loopback_datagram_bytes: 400, window_bytes: 1, ..Limits::default() };
    let (mut bench, session) = loaded(small);
    bench.hold.insert((2, 1));
    bench.join(2);
    bench.tell_all();
    bench.settle();
    let sending = |bench: &Bench| {
        let last = bench.log.iter().rev().find_map(|envelope| match &envelope.message {
            Message::Transfer(transfer) => transfer.items.last().cloned(),
            _ => None,
        });
        match last {
            Some(Item::List { key, .. }) => Some(key.0.to_string()),
            _ => None,
        }
    };
    let mut number = 60;
    for _ in 0..200 {
        let Some(envelope) = bench.held.pop() else {
            bench.run(ms(5));
            continue;
        };
        bench.hand_over(envelope);
        bench.settle();
        if let Some(key) = sending(&bench)
            && number < 90
        {
            number += 1;
            bench.ask(1, write(session, number, number - 1, append(&key, "during")));
            bench.settle();
        }
    }
    bench.release();
    bench.run(ms(300));
    assert!(number > 62, "writes fell into the transfer");
    assert_eq!(bench.reports(1), [ReportKind::CaughtUp]);
    for key in 0..6 {
        let key = format!("k{key}");
        assert_eq!(bench.list(1, &key), bench.list(2, &key));
    }
}

#[test]
fn pieces_of_another_attempt_are_ignored() {
    let (mut bench, session) = loaded(Limits::default());
    bench.hold.insert((1, 2));
    bench.join(2);
    bench.tell_all();
    bench.run(ms(20));
    let old = bench.release();
    assert!(old.iter().any(|envelope| matches!(envelope.message, Message::Verdict(_))));
    bench.alone(1);
    bench.tell_all();
    bench.ask_now(1, write(session, 61, 60, put("k0", "newer")));
    bench.join(2);
    bench.cut.insert((1, 2));
    bench.tell_all();
    for envelope in old {
        bench.hand_over(envelope);
    }
    bench.settle();
    assert!(bench.copy(2).is_none());
    bench.cut.clear();
    bench.run(ms(300));
    assert_eq!(bench.list(2, "k0"), ["newer"]);
}

#[test]
fn a_joiner_whose_copy_differs_at_the_end_is_reported_and_follows_nothing() {
    let (mut bench, _) = loaded(Limits::default());
    bench.hold.insert((1, 2));
    bench.join(2);
    bench.tell_all();
    bench.settle();
    for _ in 0..5 {
        for mut envelope in std::mem::take(&mut bench.held) {
            if let Message::Transfer(transfer) = &mut envelope.message {
                for item in &mut transfer.items {
                    if let Item::End { digest, .. } = item {
                        *digest ^= 1;
                    }
                }
            }
            bench.hand_over(envelope);
        }
        bench.settle();
    }
    assert_eq!(bench.reports(1), [ReportKind::Diverged]);
    assert!(bench.copy(2).is_none());
    assert!(bench.is_serving(1));
}

#[test]
fn a_joiner_that_makes_no_progress_is_reported_and_writes_slow_down_but_are_not_lost() {
    let limits = Limits {
        backlog_bytes: 2000,
        history_bytes: 2000,
        window_bytes: 300,
        loopback_datagram_bytes: 400,
        ..Limits::default()
    };
    let (mut bench, session) = loaded(limits);
    bench.join(2);
    bench.tell_all();
    bench.settle();
    bench.cut.insert((2, 1));
    let mut done = Vec::new();
    for number in 61..=160 {
        let id = bench.ask(1, write(session, number, 60, append("k0", &number.to_string())));
        bench.settle();
        match bench.outcome(id) {
            Some(Outcome::Done) => done.push(number.to_string()),
            Some(Outcome::Busy) | None => break,
            other => panic!("{other:?}"),
        }
    }
    bench.run(ms(300));
    assert_eq!(bench.reports(1), [ReportKind::Stalled]);
    bench.cut.clear();
    bench.run(ms(2000));
    assert_eq!(bench.reports(1), [ReportKind::CaughtUp]);
    let list = bench.list(2, "k0");
    assert_eq!(list[list.len() - done.len()..], done[..]);
}

#[test]
fn writes_go_on_once_the_joiner_has_caught_up_even_if_no_view_comes() {
    // The log is long because the joiner was slow; only its acknowledgements can shorten it.
    let limits = Limits { backlog_bytes: 4000, history_bytes: 4000, ..Limits::default() };
    let mut bench = Bench::with_limits(3, limits);
    bench.begin(1);
    let session = bench.open(1);
    bench.join(2);
    bench.tell_all();
    bench.run(ms(50));
    bench.cut.insert((1, 2));
    let mut number = 0;
    loop {
        number += 1;
        let id = bench.ask(1, write(session, number, number - 1, append("k", "v")));
        match bench.outcome(id) {
            Some(Outcome::Done) => assert!(number < 1000),
            Some(Outcome::Busy) => break,
            other => panic!("{other:?}"),
        }
    }
    bench.cut.clear();
    bench.run(ms(500));
    let id = bench.ask(1, write(session, number, number - 1, append("k", "v")));
    assert_eq!(bench.outcome(id), Some(&Outcome::Done));
}

#[test]
fn a_stranger_in_the_same_view_can_neither_offer_nor_judge_nor_acknowledge() {
    // I10, D36: everything fits but the sender.
    let (mut bench, _) = loaded(Limits::default());
    bench.hold.extend([(1, 2), (2, 1)]);
    bench.join(2);
    bench.tell_all();
    let mut offers = 0;
    for _ in 0..8 {
        bench.settle();
        for mut envelope in std::mem::take(&mut bench.held) {
            let honest = envelope.clone();
            let link = match &mut envelope.message {
                Message::Offer(offer) => &mut offer.link,
                Message::Verdict(verdict) => &mut verdict.link,
                Message::Transfer(transfer) => &mut transfer.link,
                Message::TransferAck(ack) => &mut ack.link,
                Message::Ack(ack) => &mut ack.link,
                other => panic!("not of a transfer: {other:?}"),
            };
            link.from = bench.member(3).incarnation;
            offers += usize::from(matches!(honest.message, Message::Offer(_)));
            let before = format!("{:?} {:?}", bench.server(1).role, bench.server(2).role);
            bench.hand_over(envelope);
            let after = format!("{:?} {:?}", bench.server(1).role, bench.server(2).role);
            assert_eq!(before, after);
            bench.hand_over(honest);
        }
    }
    assert!(offers > 0);
    assert_eq!(bench.reports(1), [ReportKind::CaughtUp]);
}

/// A transfer of 200 large values of which nothing is acknowledged, and how many have left.
fn transferring() -> (Bench, impl Fn(&Bench) -> usize) {
    let mut bench = Bench::solo();
    let session = bench.open(1);
    for number in 1..=200 {
        let command = put(&format!("k{number:03}"), &"v".repeat(1000));
        bench.ask_now(1, write(session, number, number - 1, command));
    }
    bench.log.clear();
    bench.hold.insert((2, 1));
    bench.join(2);
    bench.tell(1);
    bench.tell(2);
    bench.settle();
    let sent = |bench: &Bench| {
        let items = bench.log.iter().filter_map(|envelope| match &envelope.message {
            Message::Transfer(transfer) => Some(transfer.items.len()),
            _ => None,
        });
        items.sum::<usize>()
    };
    (bench, sent)
}

#[test]
fn a_stream_that_filled_its_turn_goes_on_in_the_next_one_without_an_answer() {
    let (mut bench, sent) = transferring();
    bench.run(ms(20));
    let offer = bench.held.remove(0);
    bench.hand_over(offer);
    bench.settle();
    let first = sent(&bench);
    assert!(first > 0);
    bench.run(Duration::from_nanos(1));
    assert!(sent(&bench) > first, "{first} of 200");
}

#[test]
fn while_a_client_is_served_a_part_waits_for_the_one_before_or_for_a_millisecond() {
    for wait in [ms(0), ms(1)] {
        let (mut bench, sent) = transferring();
        bench.ask_now(1, get("k001"));
        let offer = bench.held.remove(0);
        bench.ask_now(1, get("k001"));
        bench.hand_over(offer);
        bench.ask_now(1, get("k001"));
        bench.settle();
        let first = sent(&bench);
        assert!((1..60).contains(&first), "{first} of 200");
        bench.run(ms(1) - Duration::from_nanos(1));
        bench.ask_now(1, get("k001"));
        assert_eq!(sent(&bench), first, "nothing is acknowledged");
        if wait > ms(0) {
            bench.run(wait);
        } else {
            let acks = std::mem::take(&mut bench.held);
            acks.into_iter().for_each(|ack| bench.hand_over(ack));
            bench.settle();
        }
        assert!(sent(&bench) > first, "{first} of 200");
    }
}

#[test]
fn effects_of_writes_leave_at_once_when_they_gather_faster_than_a_part_a_millisecond() {
    let (mut bench, sent) = transferring();
    let offer = bench.held.remove(0);
    bench.hand_over(offer);
    bench.ask_now(1, get("k001"));
    bench.settle();
    let first = sent(&bench);
    let session = bench.open(1);
    for number in 1..=40 {
        let command = put("k001", &"w".repeat(1000));
        bench.ask_now(1, write(session, number, number - 1, command));
    }
    bench.settle();
    assert!(sent(&bench) > first + 20, "{first} and then {}", sent(&bench));
}

#[test]
fn the_walk_goes_on_however_much_is_written_to_what_was_sent() {
    let (mut bench, _) = transferring();
    let offer = bench.held.remove(0);
    bench.hand_over(offer);
    bench.settle();
    let session = bench.open(1);
    let mut number = 0;
    for _ in 0..30 {
        // What is acknowledged is always older than what is on its way.
        let acks = std::mem::take(&mut bench.held);
        for _ in 0..40 {
            number += 1;
            let command = put("k001", &"w".repeat(1000));
            bench.ask_now(1, write(session, number, number - 1, command));
        }
        acks.into_iter().for_each(|ack| bench.hand_over(ack));
        bench.settle();
    }
    let walked = bench.log.iter().filter_map(|envelope| match &envelope.message {
        Message::Transfer(transfer) => Some(&transfer.items),
        _ => None,
    });
    let is_other = |item: &&Item| !matches!(item, Item::List { key, .. } if &*key.0 == "k001");
    let walked = walked.flatten().filter(is_other).count();
    assert!(walked > 199, "{walked} of 199 keys");
}
