//! The data path: numbering, replication, acknowledgement, commit.

use super::bench::{Bench, append, get, ms, put, write};
use crate::config::Limits;
use crate::kv::command::Value;
use crate::protocol::message::{Message, Outcome, Replicate, ReportKind};
use crate::protocol::server::replication::Window;
use crate::types::OperationNumber;

fn replicate(message: &Message) -> Option<&Replicate> {
    match message {
        Message::Replicate(replicate) => Some(replicate),
        _ => None,
    }
}

#[test]
fn a_write_is_answered_only_after_the_backup_has_acknowledged_it() {
    // D3: an answer before that is lost with the primary.
    let mut bench = Bench::pair();
    let session = bench.open(1);
    bench.hold.insert((2, 1));
    let id = bench.ask(1, write(session, 1, 0, append("k", "1")));
    bench.settle();
    assert_eq!(bench.outcome(id), None);
    assert_eq!(bench.list(2, "k"), ["1"], "the backup has it already");
    assert!(bench.list(1, "k").is_empty(), "what is not committed is not applied");
    for envelope in bench.release() {
        bench.hand_over(envelope);
    }
    assert_eq!(bench.outcome(id), Some(&Outcome::Done));
    bench.fail_over(1, 2);
    assert_eq!(bench.list(2, "k"), ["1"]);
}

#[test]
fn a_lost_replicate_and_a_lost_ack_are_repeated_until_the_write_is_answered() {
    // D4, D5: a lost acknowledgement is no failure, and the operation is applied once.
    let mut bench = Bench::pair();
    let session = bench.open(1);
    for (number, link) in [(1, (1, 2)), (2, (2, 1))] {
        bench.cut.insert(link);
        let id = bench.ask(1, write(session, number, number - 1, append("k", "v")));
        bench.run(ms(60));
        assert_eq!(bench.outcome(id), None);
        bench.cut.clear();
        bench.run(ms(300));
        assert_eq!(bench.outcomes(id), [&Outcome::Done]);
    }
    assert_eq!(bench.list(2, "k"), ["v", "v"]);
}

#[test]
fn a_primary_without_answers_never_acknowledges_alone_however_long_it_waits() {
    // D2: only the view server leaves a backup out.
    let mut bench = Bench::pair();
    let session = bench.open(1);
    bench.down.insert(2);
    let id = bench.ask(1, write(session, 1, 0, append("k", "1")));
    bench.run(ms(20_000));
    assert_eq!(bench.outcome(id), None);
    assert_eq!(bench.reports(1), [ReportKind::Stalled]);
    bench.alone(1);
    bench.tell(1);
    assert_eq!(bench.outcomes(id), [&Outcome::Done]);
}

#[test]
fn what_is_lost_together_halves_the_window_once_and_arrivals_widen_it_again() {
    // D38: a receive buffer that has overflowed must not be filled at the same rate again.
    let limits = Limits { window_bytes: 100 << 10, ..Limits::default() };
    let mut window = Window::new();
    let start = Bench::new(1).now;
    assert!(window.has_room((64 << 10) - 1, &limits) && !window.has_room(64 << 10, &limits));
    for later in [ms(0), ms(1), ms(9)] {
        window.on_loss(start + later, ms(10));
        assert!(window.has_room((32 << 10) - 1, &limits) && !window.has_room(32 << 10, &limits));
    }
    for round in 1..20 {
        window.on_loss(start + ms(10) * round, ms(10));
    }
    assert!(window.has_room(1, &limits) && !window.has_room(16 << 10, &limits));
    window.on_arrival(1 << 20, &limits);
    assert!(window.has_room((100 << 10) - 1, &limits) && !window.has_room(100 << 10, &limits));
}

#[test]
fn a_batch_gathers_while_another_is_under_way_and_leaves_with_its_acknowledgement() {
    let mut bench = Bench::pair_with(Limits { session_window: 1000, ..Limits::default() });
    let session = bench.open(1);
    let batches = |bench: &Bench| {
        let sizes = bench.log.iter().filter_map(|envelope| match &envelope.message {
            Message::Replicate(replicate) => Some(replicate.operations.len()),
            _ => None,
        });
        sizes.filter(|size| *size > 0).collect::<Vec<_>>()
    };
    bench.log.clear();
    bench.hold.insert((2, 1));
    let mut number = 0;
    let mut ask = |bench: &mut Bench| {
        number += 1;
        bench.ask(1, write(session, number, 0, append("k", "v")));
        bench.settle();
    };
    ask(&mut bench);
    (0..5).for_each(|_| ask(&mut bench));
    assert_eq!(batches(&bench), [1]);
    for ack in bench.release() {
        bench.hand_over(ack);
    }
    bench.settle();
    assert_eq!(batches(&bench), [1, 5]);
    // Nobody answers any more: what gathers does not wait for ever.
    bench.cut.insert((1, 2));
    ask(&mut bench);
    ask(&mut bench);
    bench.run(ms(1));
    assert_eq!(batches(&bench), [1, 5, 1, 1]);
    // What fills a message waits for nothing.
    (0..500).for_each(|_| ask(&mut bench));
    assert!(batches(&bench).iter().max() > Some(&100), "{:?}", batches(&bench));
}

#[test]
fn operations_that_overtake_each_other_are_applied_in_the_order_of_their_numbers() {
    // D9.
    let mut bench = Bench::pair();
    let session = bench.open(1);
    bench.hold.insert((1, 2));
    for number in 1..=5 {
        bench.ask(1, write(session, number, 0, append("k", &number.to_string())));
        bench.gathered(1);
    }
    bench.settle();
    let mut held = bench.release();
    assert!(held.len() >= 5);
    held.reverse();
    for envelope in held {
        bench.hand_over(envelope);
    }
    bench.run(ms(300));
    assert_eq!(bench.list(2, "k"), ["1", "2", "3", "4", "5"]);
    assert_eq!(bench.list(1, "k"), bench.list(2, "k"));
}

#[test]
fn every_message_between_servers_can_arrive_three_times_and_late_again() {
    // D7, D8: put 1, put 2, and then a copy of the first.
    let mut bench = Bench::pair();
    let session = bench.open(1);
    let already = bench.log.len();
    bench.ask_now(1, write(session, 1, 0, put("k", "1")));
    bench.ask_now(1, write(session, 2, 0, append("k", "2")));
    bench.ask_now(1, write(session, 3, 0, put("k", "3")));
    let ghosts = bench.log[already..].to_vec();
    for _ in 0..3 {
        for ghost in ghosts.clone() {
            bench.hand_over(ghost);
        }
        for ghost in ghosts.iter().rev() {
            bench.hand_over(ghost.clone());
        }
        bench.settle();
    }
    assert_eq!(bench.list(1, "k"), ["3"]);
    assert_eq!(bench.list(2, "k"), ["3"]);
    assert_eq!(bench.applied(2), 4);
}

#[test]
fn an_operation_larger_than_a_datagram_is_repeated_with_the_same_bytes() {
    // D12: its pieces of two sendings fit together only then.
    let mut bench = Bench::pair();
    let session = bench.open(1);
    let large = "x".repeat(200_000);
    bench.cut.insert((2, 1));
    let already = bench.log.len();
    let id = bench.ask(1, write(session, 1, 0, append("k", &large)));
    bench.run(ms(30));
    let read = bench.ask(1, get("k"));
    bench.run(ms(170));
    let sent: Vec<_> = bench.log[already..]
        .iter()
        .filter_map(|envelope| replicate(&envelope.message))
        .filter(|replicate| !replicate.operations.is_empty())
        .collect();
    assert!(sent.len() >= 2, "repeated");
    assert!(sent.iter().all(|replicate| *replicate == sent[0]));
    bench.cut.clear();
    bench.run(ms(600));
    assert_eq!(bench.outcome(id), Some(&Outcome::Done));
    let Some(Outcome::Page(page)) = bench.outcome(read) else { panic!("not read") };
    assert_eq!(page.values, vec![Value::from(large.as_str())]);
}

#[test]
fn a_restarted_backup_acknowledges_nothing_of_its_former_self() {
    // D15: (id, incarnation) is the identity, and messages name the incarnation they are for.
    let mut bench = Bench::pair();
    let session = bench.open(1);
    bench.ask_now(1, write(session, 1, 0, append("k", "1")));
    bench.restart(2);
    bench.tell(2);
    let id = bench.ask(1, write(session, 2, 1, append("k", "2")));
    bench.run(ms(500));
    assert_eq!(bench.outcome(id), None);
    assert!(bench.copy(2).is_none());
    assert_eq!(bench.reports(1), [ReportKind::Stalled]);
}

#[test]
fn copies_that_came_early_and_again_in_their_turn_leave_their_room() {
    let limits = Limits { backlog_bytes: 1000, ..Limits::default() };
    let mut bench = Bench::pair_with(limits);
    let session = bench.open(1);
    for round in 0..40 {
        // 1. the first of two messages is lost .. 2. the second waits for it .. 3. both come again
        // in one. Then two reordered ones must still find room.
        let first = 2 * round + 1;
        bench.hold.insert((1, 2));
        for number in [first, first + 1] {
            bench.ask(1, write(session, number, number - 1, append("k", "v")));
            bench.gathered(1);
        }
        bench.settle();
        let held = bench.release();
        let second = held.last().unwrap().clone();
        let Message::Replicate(late) = &second.message else { panic!() };
        let Message::Replicate(early) = &held[0].message else { panic!() };
        let received = bench.applied(2);
        bench.hand_over(second.clone());
        assert_eq!(bench.applied(2), received);
        if round < 39 {
            let mut both = early.clone();
            both.operations.extend(late.operations.clone());
            let message = Message::Replicate(both);
            bench.hand_over(super::bench::Envelope { message, ..second });
        } else {
            bench.hand_over(held[0].clone());
        }
        assert_eq!(bench.applied(2), received + 2, "round {round}");
        bench.settle();
    }
}

#[test]
fn too_much_that_waits_is_refused_as_busy_and_nothing_that_was_taken_is_lost() {
    let limits = Limits { pending_operations: 8, ..Limits::default() };
    let mut bench = Bench::pair_with(limits);
    let session = bench.open(1);
    bench.cut.insert((1, 2));
    let ids: Vec<_> = (1..=20)
        .map(|number| bench.ask(1, write(session, number, 0, append("k", &number.to_string()))))
        .collect();
    bench.settle();
    assert!(ids[..8].iter().all(|id| bench.outcome(*id).is_none()));
    assert!(ids[8..].iter().all(|id| bench.outcome(*id) == Some(&Outcome::Busy)));
    bench.cut.clear();
    bench.run(ms(300));
    for id in &ids[8..] {
        bench.resend(1, *id);
        bench.settle();
    }
    let expected: Vec<_> = (1..=20).map(|number: u32| number.to_string()).collect();
    assert_eq!(bench.list(1, "k"), expected);
    assert_eq!(bench.list(2, "k"), expected);
    assert!(ids.iter().all(|id| bench.outcome(*id) == Some(&Outcome::Done)));
}

#[test]
fn a_backup_with_another_digest_is_reported_and_no_answer_leaves() {
    let mut bench = Bench::pair();
    let session = bench.open(1);
    bench.hold.insert((2, 1));
    let id = bench.ask(1, write(session, 1, 0, append("k", "1")));
    let read = bench.ask(1, get("k"));
    bench.settle();
    for mut envelope in bench.release() {
        if let Message::Ack(ack) = &mut envelope.message
            && ack.applied >= OperationNumber(2)
        {
            ack.digest ^= 1;
        }
        bench.hand_over(envelope);
    }
    bench.run(ms(100));
    assert_eq!(bench.outcome(id), None);
    assert_eq!(bench.outcome(read), None);
    assert_eq!(bench.reports(1), [ReportKind::Diverged]);
    bench.resend(1, id);
    bench.run(ms(100));
    assert_eq!(bench.outcome(id), None);
    bench.alone(1);
    bench.tell(1);
    bench.resend(1, id);
    assert_eq!(bench.outcomes(id), [&Outcome::Done]);
    assert!(bench.outcome(read).is_some());
}

#[test]
fn a_backup_is_called_stalled_after_dead_after_and_not_for_the_primarys_own_pause() {
    let mut bench = Bench::pair();
    let session = bench.open(1);
    bench.run(ms(3000));
    assert_eq!(bench.reports(1), [ReportKind::Synced], "nothing waits, nothing stalls");
    bench.cut.insert((1, 2));
    bench.ask(1, write(session, 1, 0, append("k", "1")));
    bench.run(ms(240));
    assert_eq!(bench.reports(1), [ReportKind::Synced]);
    // The primary is stopped for a second: that is not the backup's silence.
    bench.now = bench.now + ms(1000);
    assert_eq!(bench.reports(1), [ReportKind::Synced]);
    bench.run(ms(200));
    assert_eq!(bench.reports(1), [ReportKind::Synced], "counted anew from the pause's end");
    bench.run(ms(60));
    assert_eq!(bench.reports(1), [ReportKind::Stalled]);
    bench.run(ms(500));
    assert_eq!(bench.reports(1), [ReportKind::Stalled], "until a record answers it");
    bench.cut.clear();
    bench.run(ms(400));
    assert_eq!(bench.reports(1), [ReportKind::Synced]);
}

#[test]
fn a_backup_that_answers_but_applies_nothing_is_given_ten_times_dead_after() {
    // What it has to apply may be large and on its way in many pieces; it may also never come.
    let mut bench = Bench::pair();
    let session = bench.open(1);
    bench.hold.insert((1, 2));
    bench.ask(1, write(session, 1, 0, append("k", "1")));
    let begun = bench.now;
    while bench.reports(1) != [ReportKind::Stalled] {
        bench.run(ms(20));
        for mut envelope in std::mem::take(&mut bench.held) {
            if let Message::Replicate(replicate) = &mut envelope.message {
                replicate.operations.clear();
            }
            bench.hand_over(envelope);
        }
        assert!(bench.now.since(begun) < ms(3000));
    }
    assert!(bench.now.since(begun) >= ms(2450));
}

#[test]
fn a_view_that_becomes_active_commits_nothing_by_itself() {
    let mut bench = Bench::solo();
    let session = bench.open(1);
    bench.join(2);
    bench.tell_all();
    bench.run(ms(50));
    bench.propose_pair(2);
    bench.tell_all();
    bench.settle();
    bench.cut.insert((1, 2));
    let id = bench.ask(1, write(session, 1, 0, append("k", "1")));
    bench.settle();
    bench.activate();
    bench.tell(1);
    bench.settle();
    assert_eq!(bench.outcome(id), None);
    assert!(bench.list(1, "k").is_empty());
    bench.cut.clear();
    bench.tell(2);
    bench.run(ms(400));
    assert_eq!(bench.outcome(id), Some(&Outcome::Done));
}
