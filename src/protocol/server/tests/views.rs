//! Views: who serves, who refuses, what is kept and what is wiped.

use super::bench::{Bench, address, append, get, ms, put, write};
use crate::protocol::message::{Message, Outcome, Refused, ReportKind};
use crate::protocol::view::Phase;
use crate::types::{Epoch, HistoryId, Incarnation};

#[test]
fn a_backup_that_adopted_its_promotion_serves_nobody_before_it_is_active() {
    // D43.
    let mut bench = Bench::pair();
    let session = bench.open(1);
    bench.ask_now(1, write(session, 1, 0, append("k", "1")));
    bench.promote(2);
    bench.tell(2);
    assert_eq!(bench.role(2), "proposed primary");
    let read = bench.ask_now(2, get("k"));
    assert!(matches!(read, Some(Outcome::NotPrimary(_))), "{read:?}");
    // And the old primary cannot commit any more.
    let id = bench.ask(1, write(session, 2, 1, append("k", "2")));
    bench.run(ms(500));
    assert!(!bench.outcomes(id).contains(&&Outcome::Done));
    bench.activate();
    bench.tell(2);
    assert!(bench.is_serving(2));
    bench.resend(2, id);
    bench.settle();
    assert_eq!(bench.list(2, "k"), ["1", "2"]);
}

#[test]
fn nothing_of_an_older_view_is_acknowledged_and_its_sender_hears_of_the_newer() {
    // I7, D25: the primary hears nothing from the view server.
    let mut bench = Bench::pair();
    let session = bench.open(1);
    bench.promote(2);
    bench.tell(2);
    let applied = bench.applied(2);
    let id = bench.ask(1, write(session, 1, 0, append("k", "1")));
    bench.settle();
    assert_eq!(bench.applied(2), applied);
    assert_eq!(bench.server(1).adopted(), Some(bench.record.stamp()));
    assert!(!bench.is_serving(1));
    assert_eq!(bench.outcome(id), None);
}

#[test]
fn a_deposed_primary_answers_nothing_of_what_it_had_numbered() {
    // D53: the backup may have executed it.
    let mut bench = Bench::pair();
    let session = bench.open(1);
    bench.hold.insert((2, 1));
    let id = bench.ask(1, write(session, 1, 0, append("k", "1")));
    bench.settle();
    let acks = bench.release();
    bench.promote(2);
    bench.tell(1);
    for ack in acks {
        bench.hand_over(ack);
    }
    bench.run(ms(500));
    assert!(bench.outcomes(id).is_empty(), "{:?}", bench.outcomes(id));
    bench.tell(2);
    bench.activate();
    bench.tell_all();
    bench.resend(2, id);
    bench.settle();
    assert_eq!(bench.list(2, "k"), ["1"], "it had been executed, once");
}

#[test]
fn a_promoted_backup_commits_its_whole_log_before_its_first_answer() {
    // D45.
    let mut bench = Bench::pair();
    let session = bench.open(1);
    bench.ask_now(1, write(session, 1, 0, put("k", "1")));
    bench.fail_over(1, 2);
    bench.down.insert(3);
    assert!(matches!(bench.ask_now(2, get("k")), Some(Outcome::Page(_))));
    bench.down.clear();
    bench.join(3);
    bench.tell(2);
    assert!(matches!(bench.ask_now(2, get("k")), Some(Outcome::Page(_))));
}

#[test]
fn a_primary_that_is_named_again_commits_what_it_had_numbered() {
    let mut bench = Bench::pair();
    let session = bench.open(1);
    bench.cut.insert((1, 2));
    let id = bench.ask(1, write(session, 1, 0, put("k", "1")));
    bench.promote(2);
    bench.tell(1);
    assert!(!bench.is_serving(1));
    bench.down.insert(2);
    bench.alone(1);
    bench.tell(1);
    assert_eq!(bench.list(1, "k"), ["1"]);
    bench.resend(1, id);
    assert_eq!(bench.outcomes(id), [&Outcome::Done]);
}

#[test]
fn an_older_record_changes_nothing_however_often_it_comes() {
    let mut bench = Bench::pair();
    let old = bench.record.clone();
    bench.promote(2);
    bench.tell_all();
    bench.activate();
    bench.tell_all();
    for _ in 0..3 {
        for index in 1..=3 {
            let ping = bench.ping_of(index, Some(old.clone()));
            let pong = bench.ping(index, ping).unwrap();
            assert_eq!(pong.adopted, Some(bench.record.stamp()));
        }
    }
    assert!(bench.is_serving(2) && !bench.is_serving(1));
}

#[test]
fn a_copy_of_another_lineage_does_not_follow_even_if_the_next_number_fits() {
    // D46: s2 was left out and joined again while it was deaf.
    let mut bench = Bench::pair();
    let session = bench.open(1);
    bench.cut.insert((2, 1));
    bench.ask(1, write(session, 1, 0, append("k", "unacked")));
    bench.settle();
    assert_eq!(bench.list(2, "k"), ["unacked"]);
    bench.cut.clear();
    bench.down.insert(2);
    bench.promote(2);
    bench.alone(1);
    bench.tell(1);
    bench.join(2);
    bench.tell(1);
    bench.propose_pair(2);
    bench.tell(1);
    bench.down.clear();
    bench.activate();
    bench.tell(2);
    assert_eq!(bench.role(2), "spare", "its copy is of another lineage");
    let id = bench.ask(1, write(session, 2, 1, append("k", "next")));
    bench.run(ms(600));
    assert_eq!(bench.outcome(id), None);
    assert_eq!(bench.reports(1), [ReportKind::Stalled]);
    assert_eq!(bench.list(2, "k"), ["unacked"]);
}

#[test]
fn a_proposed_view_empties_no_copy_whatever_it_says() {
    // D47: proposed (s2, joining = s1) reaches s1; s2 dies before it adopts it.
    let mut bench = Bench::pair();
    let session = bench.open(1);
    bench.ask_now(1, write(session, 1, 0, put("k", "1")));
    bench.promote(2);
    let s1 = bench.member(1);
    bench.record.view.joining = Some(s1);
    bench.record.view.since = bench.record.view.id;
    bench.tell(1);
    bench.settle();
    let link = crate::protocol::message::Link {
        from: bench.member(2).incarnation,
        to: bench.member(1).incarnation,
        history: bench.record.history,
        view: bench.record.view.id,
        since: bench.record.view.since,
    };
    let verdict = crate::protocol::message::Verdict { link, keep: false };
    bench.handle(1, address(2), Message::Verdict(verdict));
    assert_eq!(bench.list(1, "k"), ["1"]);
    bench.down.insert(2);
    bench.alone(1);
    bench.tell(1);
    assert!(matches!(bench.ask_now(1, get("k")), Some(Outcome::Page(_))));
}

#[test]
fn a_spare_that_is_named_primary_by_mistake_serves_no_empty_store() {
    // D13, D35: what holds nothing cannot be promoted.
    let mut bench = Bench::pair();
    bench.down.extend([1, 2]);
    bench.promote(3);
    bench.tell(3);
    bench.activate();
    bench.tell(3);
    assert!(!bench.is_serving(3));
}

#[test]
fn a_joiner_in_the_middle_of_its_transfer_cannot_be_promoted() {
    let mut bench = Bench::solo();
    let session = bench.open(1);
    bench.ask_now(1, write(session, 1, 0, put("k", &"x".repeat(100_000))));
    bench.join(2);
    bench.cut.insert((2, 1));
    bench.tell_all();
    bench.run(ms(30));
    bench.promote(2);
    bench.activate();
    bench.tell(2);
    assert!(!bench.is_serving(2));
}

#[test]
fn only_a_new_history_wipes_and_only_when_it_is_active() {
    let mut bench = Bench::pair();
    let session = bench.open(1);
    bench.ask_now(1, write(session, 1, 0, put("k", "1")));
    let number = bench.record.view.id.number;
    bench.record.view.id.epoch = Epoch(2, 5);
    bench.promote(1);
    assert!(bench.record.view.id.number > number);
    bench.record.view.genesis = true;
    bench.record.view.since = bench.record.view.id;
    bench.record.eligible.clear();
    bench.record.last_primary = None;
    bench.tell_all();
    assert!(!bench.is_serving(1), "a higher epoch ends the service at once");
    assert_eq!(bench.list(1, "k"), ["1"]);
    assert_eq!(bench.list(2, "k"), ["1"]);
    bench.activate();
    bench.tell_all();
    assert_eq!(bench.ask_now(1, get("k")), Some(Outcome::Missing));
    assert_eq!(bench.list(2, "k"), ["1"], "others wipe only to join");
    bench.alone(1);
    bench.tell(1);
    let again = bench.open(1);
    bench.ask_now(1, write(again, 1, 0, put("k", "2")));
    bench.join_fully(2);
    assert_eq!(bench.list(2, "k"), ["2"]);
}

#[test]
fn a_copy_of_another_history_takes_no_part() {
    let mut bench = Bench::pair();
    let session = bench.open(1);
    bench.ask_now(1, write(session, 1, 0, put("k", "1")));
    let before = bench.server(2).adopted();
    let history = bench.record.history;
    bench.record.history = HistoryId(99);
    bench.record.view.id.epoch = Epoch(50, 1);
    bench.join(2);
    let first = bench.tell(2).unwrap();
    let record = Some(bench.record.clone());
    let mut ping = bench.ping_of(2, record);
    ping.heard = Some(first.token);
    let pong = bench.ping(2, ping).unwrap();
    assert_eq!((pong.adopted, pong.history, pong.holds_copy), (before, Some(history), true));
    assert_eq!(bench.list(2, "k"), ["1"]);
    // A spare follows, but only the word of a view server that hears it, never a ghost's.
    let pong = bench.tell(3).unwrap();
    assert_eq!(pong.history, Some(history));
    let record = Some(bench.record.clone());
    let mut ping = bench.ping_of(3, record);
    ping.heard = Some(pong.token);
    let pong = bench.ping(3, ping).unwrap();
    assert_eq!(pong.history, Some(HistoryId(99)));
}

#[test]
fn a_primary_follows_only_the_pair_of_its_own_record() {
    // D36: s3 believes that it joins, the primary has heard of another view.
    let mut bench = Bench::solo();
    bench.join(3);
    let stale = bench.record.clone();
    bench.alone(1);
    bench.join(2);
    bench.tell(1);
    bench.tell(2);
    let ping = bench.ping_of(3, Some(stale));
    bench.cut.insert((1, 3));
    bench.ping(3, ping);
    bench.run(ms(200));
    assert_eq!(bench.role(3), "joining");
    assert_eq!(bench.reports(1), [ReportKind::CaughtUp]);
    assert!(bench.copy(3).is_none());
    let to_third = bench.log.iter().filter(|envelope| envelope.to == 3);
    assert!(to_third.into_iter().all(|sent| matches!(sent.message, Message::NewerView(_))));
}

#[test]
fn a_message_that_does_not_match_in_one_part_of_its_link_touches_nothing() {
    // I10.
    let mut bench = Bench::pair();
    let session = bench.open(1);
    bench.hold.insert((1, 2));
    bench.ask(1, write(session, 1, 0, append("k", "1")));
    bench.settle();
    let held = bench.release();
    let applied = bench.applied(2);
    for wrong in 0..6 {
        for mut envelope in held.clone() {
            if let Message::Replicate(replicate) = &mut envelope.message {
                let link = &mut replicate.link;
                match wrong {
                    0 => link.from = Incarnation(5),
                    1 => link.to = Incarnation(5),
                    2 => link.history = HistoryId(5),
                    3 => link.view.number += 1,
                    4 => link.view.number -= 1,
                    _ => link.since.number += 1,
                }
            }
            bench.hand_over(envelope);
        }
        assert_eq!(bench.applied(2), applied, "{wrong}");
    }
    for envelope in held {
        bench.hand_over(envelope);
    }
    assert_eq!(bench.applied(2), applied + 1);
}

#[test]
fn pings_for_a_former_process_adopt_nothing_and_make_the_new_one_announce_itself() {
    let mut bench = Bench::pair();
    let record = bench.record.clone();
    let ping = bench.ping_of(2, Some(record));
    bench.restart(2);
    bench.run(ms(100));
    let announces = bench.announces;
    bench.run(ms(130));
    assert!(bench.announces > announces, "it hears nothing and says so again");
    assert!(bench.ping(2, ping).is_none());
    assert_eq!(bench.server(2).adopted(), None);
}

#[test]
fn an_id_that_is_in_use_ends_the_process_that_was_refused_and_no_other() {
    let mut bench = Bench::pair();
    let to = Incarnation(5);
    bench.handle(1, address(0), Message::Refused(Refused { to, holder: address(2) }));
    assert!(bench.stops.is_empty());
    let to = bench.member(1).incarnation;
    bench.handle(1, address(0), Message::Refused(Refused { to, holder: address(2) }));
    assert!(bench.stops[0].contains("id in use"));
}

#[test]
fn operations_need_the_joiners_ack_from_the_moment_the_pair_is_adopted() {
    // Rule 3: earlier ones included; nothing is answered by the primary alone any more.
    let mut bench = Bench::solo();
    let session = bench.open(1);
    bench.join(2);
    bench.tell_all();
    bench.run(ms(50));
    bench.propose_pair(2);
    bench.tell(1);
    assert_eq!(bench.record.phase, Phase::Proposed);
    assert!(bench.is_serving(1), "a join does not interrupt the primary");
    bench.cut.insert((2, 1));
    let id = bench.ask(1, write(session, 1, 0, append("k", "1")));
    let read = bench.ask(1, get("k"));
    bench.settle();
    assert_eq!(bench.outcome(id), None);
    assert_eq!(bench.outcome(read), None);
    bench.cut.clear();
    bench.tell(2);
    bench.run(ms(300));
    assert_eq!(bench.outcome(id), Some(&Outcome::Done));
    assert!(bench.outcome(read).is_some());
}

#[test]
fn synced_is_said_by_either_copy_once_the_flip_point_is_reached_and_not_before() {
    let mut bench = Bench::solo();
    let session = bench.open(1);
    bench.join(2);
    bench.tell_all();
    bench.run(ms(50));
    // What is committed alone now must reach the joiner before it counts.
    bench.cut.insert((1, 2));
    let id = bench.ask(1, write(session, 1, 0, append("k", "1")));
    bench.settle();
    assert_eq!(bench.outcome(id), Some(&Outcome::Done));
    bench.propose_pair(2);
    bench.tell_all();
    assert!(bench.reports(1).is_empty());
    assert!(bench.reports(2).is_empty(), "it does not know the flip point");
    bench.cut.clear();
    bench.cut.insert((2, 1));
    bench.run(ms(200));
    assert_eq!(bench.list(2, "k"), ["1"]);
    assert!(!bench.reports(1).contains(&ReportKind::Synced));
    assert_eq!(bench.reports(2), [ReportKind::Synced], "it says so by itself");
    bench.cut.clear();
    bench.run(ms(400));
    assert_eq!(bench.reports(1), [ReportKind::Synced]);
}
