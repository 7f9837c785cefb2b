//! Rules 2 and 9: restarts with the record and without it.

use super::bench::{Bench, ms};
use crate::config::Timing;
use crate::protocol::Process;
use crate::protocol::message::{Message, ReportKind};
use crate::protocol::view::Phase;
use crate::types::{Epoch, Incarnation};

#[test]
fn a_restart_with_the_record_keeps_the_number_and_changes_no_view() {
    let mut bench = Bench::pair();
    let record = bench.record().clone();
    for _ in 0..3 {
        bench.run(ms(70));
        bench.restart_view_server(true, Timing::default());
    }
    bench.run(ms(1500));
    assert_eq!(bench.record(), &record);
    assert_eq!(bench.shown(), (Some("s1".to_owned()), Some("s2".to_owned())));
}

#[test]
fn a_restarted_view_server_listens_before_it_judges() {
    // Sequence: it was away for long, and the pongs of the first moments are lost.
    let mut bench = Bench::pair();
    let number = bench.number();
    bench.run(ms(500));
    bench.server("s1").speaks = false;
    bench.server("s2").speaks = false;
    bench.restart_view_server(true, Timing::default());
    bench.run(ms(200));
    assert_eq!(bench.number(), number);
    bench.heal("s1");
    bench.heal("s2");
    bench.run(ms(1000));
    assert_eq!(bench.number(), number);
}

#[test]
fn what_happened_while_it_was_away_is_judged_after_a_restart() {
    let mut bench = Bench::pair();
    bench.cut("s1");
    bench.restart_view_server(true, Timing::default());
    bench.run_until(|bench| bench.is("s2", None, Phase::Active));
}

#[test]
fn without_a_record_the_first_spare_that_answers_is_not_made_primary() {
    // Sequence (D32): the record is lost, and a spare announces itself first.
    let mut bench = Bench::pair();
    let (history, id) = (bench.record().history, bench.record().view.id);
    bench.cut("s1");
    bench.cut("s2");
    bench.restart_view_server(false, Timing::default());
    bench.run(ms(3000));
    assert_eq!(bench.record().view.id, id, "nothing is recorded");
    assert_eq!(bench.shown(), (None, None));
    assert!(bench.waiting().contains("s1") && bench.waiting().contains("s2"));
    bench.heal("s2");
    bench.run(ms(1000));
    assert!(!bench.waiting().contains("s2"));
    assert_eq!(bench.record().view.id, id, "the primary may know more");
    bench.heal("s1");
    bench.run_until(|bench| {
        bench.is("s1", Some("s2"), Phase::Active) && bench.record().view.id > id
    });
    assert_eq!(bench.record().history, history);
    assert!(bench.record().view.id.epoch > id.epoch);
}

#[test]
fn without_a_record_whoever_has_just_announced_itself_is_waited_for() {
    // Sequence (D32): the record is lost, an empty spare has reported, and the primary announces
    // itself when the listening is nearly over.
    let mut bench = Bench::pair();
    let id = bench.record().view.id;
    bench.cut("s1");
    bench.cut("s2");
    bench.start("s3");
    bench.restart_view_server(false, Timing::default());
    bench.run(ms(440));
    bench.server("s1").speaks = true;
    bench.run(ms(160));
    assert_eq!(bench.record().view.id, id, "an empty history has begun");
    bench.server("s1").hears = true;
    bench.run(ms(1000));
    assert_eq!(bench.record().view.id, id, "the backup may know more");
    assert!(bench.waiting().contains("s2"), "{}", bench.waiting());
}

#[test]
fn a_lost_record_is_recovered_from_the_servers_without_anybody_else_serving() {
    let mut bench = Bench::pair();
    bench.duplicates = true;
    let eligible = bench.eligible();
    let since = bench.record().view.since;
    let number = bench.number();
    bench.restart_view_server(false, Timing::default());
    bench.run_until(|bench| bench.number() > number);
    assert_eq!(bench.eligible(), eligible);
    assert_eq!(bench.record().view.since, since, "the copies stay of one lineage");
    assert!(!bench.record().view.genesis);
    bench.run(ms(1000));
    assert_eq!(bench.number(), number + 1);
}

#[test]
fn in_recovery_every_ping_asks_for_a_promise_and_only_promised_reports_count() {
    // Sequence (D49): a report without the promise says nothing: an old activation may follow.
    let mut bench = Bench::pair();
    let number = bench.number();
    bench.restart_view_server(false, Timing::default());
    let from = bench.pings.len();
    bench.run(ms(300));
    assert!(bench.pings.len() > from);
    for (_, _, ping) in &bench.pings[from..] {
        assert!(ping.promise.is_some() && ping.record.is_none() && !ping.grants_lease);
    }
    // The primary's answers are replaced by the same without a promise.
    bench.restart_view_server(false, Timing::default());
    let (from, primary) = (bench.pings.len(), bench.incarnation("s1"));
    bench.run_until(|bench| bench.pings[from..].iter().any(|ping| ping.2.to == Some(primary)));
    bench.server("s1").speaks = false;
    for _ in 0..100 {
        bench.run(ms(10));
        let Some((_, to, ping)) =
            bench.pings.iter().rev().find(|(_, to, _)| to.port() == 1001).cloned()
        else {
            continue;
        };
        let now = bench.now;
        let Message::Pong(mut pong) = bench.server("s1").on_ping(now, &ping) else { panic!() };
        pong.promised = Epoch(1, 1);
        bench.tell(to, Message::Pong(pong));
    }
    assert_eq!(bench.number(), number, "the primary has promised nothing");
}

#[test]
fn a_promotion_in_flight_is_not_forgotten_by_a_recovery() {
    // Sequence (D49, D52): B is proposed for P; the record is lost; P reports, and dies for good.
    let mut bench = Bench::pair();
    let both = bench.eligible();
    bench.cut("s1");
    bench.server("s2").adopts = false;
    bench.run_until(|bench| bench.is("s2", None, Phase::Proposed));
    bench.server("s2").adopts = true;
    bench.server("s2").speaks = false;
    bench.run(ms(50));
    let number = bench.number();
    bench.heal("s1");
    bench.restart_view_server(false, Timing::default());
    bench.run(ms(600));
    bench.cut("s1");
    bench.run(ms(600));
    bench.server("s2").speaks = true;
    bench.run_until(|bench| bench.number() > number);
    let recovered = bench.persisted.iter().find(|durable| durable.record.view.id.number > number);
    let eligible = recovered.unwrap().record.eligible.iter().map(|member| member.incarnation);
    assert_eq!(eligible.collect::<Vec<_>>(), both, "either may be the one that lives");
    bench.run_until(|bench| bench.eligible().first() == Some(&both[1]));
}

#[test]
fn after_a_recovery_the_old_primary_goes_on_if_the_promoted_one_is_gone() {
    let mut bench = Bench::pair();
    bench.cut("s1");
    bench.server("s2").adopts = false;
    bench.run_until(|bench| bench.is("s2", None, Phase::Proposed));
    bench.heal("s1");
    bench.restart_view_server(false, Timing::default());
    let number = bench.number();
    bench.run_until(|bench| bench.number() > number);
    bench.cut("s2");
    bench.run_until(|bench| bench.eligible() == [bench.incarnation("s1")]);
}

#[test]
fn a_recovery_asks_the_proposed_backup_too() {
    // Sequence (D50): (P, S) was activated and S took over alone; the record is lost; P has only
    // heard of the proposal.
    let mut bench = Bench::new();
    bench.start("s1");
    bench.run_until(|bench| bench.is("s1", None, Phase::Active));
    bench.server("s1").helps = false;
    let joiner = bench.start("s2");
    bench.run_until(|bench| bench.joining().is_some());
    bench.server("s1").says = vec![(joiner, ReportKind::CaughtUp)];
    bench.run_until(|bench| bench.is("s1", Some("s2"), Phase::Proposed));
    bench.run(ms(10));
    assert_eq!(bench.server("s1").record.as_ref().unwrap().phase, Phase::Proposed);
    bench.server("s1").adopts = false;
    bench.server("s2").says = vec![(joiner, ReportKind::Synced)];
    bench.run_until(|bench| bench.is("s1", Some("s2"), Phase::Active));
    bench.cut("s1");
    bench.run_until(|bench| bench.is("s2", None, Phase::Active));
    bench.run(ms(50));
    bench.cut("s2");
    bench.heal("s1");
    bench.server("s1").adopts = true;
    bench.restart_view_server(false, Timing::default());
    let id = bench.record().view.id;
    bench.run(ms(2000));
    assert_eq!(bench.record().view.id, id, "S may have served alone");
    assert!(bench.waiting().contains("s2"));
    bench.heal("s2");
    bench.run_until(|bench| bench.eligible() == [joiner] && bench.record().view.id > id);
}

#[test]
fn a_record_older_than_what_a_server_knows_counts_as_lost() {
    let mut bench = Bench::pair();
    let stale = bench.persisted.len();
    bench.cut("s1");
    bench.run_until(|bench| bench.is("s2", Some("s3"), Phase::Active));
    bench.run(ms(100));
    let newest = bench.record().clone();
    // The file is the one of an old backup.
    bench.persisted.truncate(stale);
    bench.restart_view_server(true, Timing::default());
    bench.run_until(|bench| bench.record().view.id > newest.view.id);
    assert_eq!(bench.record().view.primary, newest.view.primary);
    assert_eq!(bench.record().eligible, newest.eligible);
    assert_eq!(bench.stopped, None);
}

#[test]
fn a_stale_record_never_leads_to_an_empty_history() {
    // Sequence: 1. a server knows more than the record .. 2. it restarts before it has reported ..
    // 3. the others are cut off, only empty servers answer.
    let mut bench = Bench::pair();
    let id = bench.record().view.id;
    bench.cut("s2");
    bench.restart_view_server(true, Timing::default());
    bench.run(ms(20));
    bench.server("s1").promised = Epoch(9, 9);
    bench.run_until(|bench| bench.pings.last().unwrap().2.promise.is_some());
    bench.start("s1");
    bench.start("s3");
    bench.run(ms(3000));
    assert!(bench.record().view.id <= id, "{:?}", bench.record());
    assert!(bench.waiting().contains("s2"), "{}", bench.waiting());
}

#[test]
fn an_answer_to_a_ping_without_a_promise_does_not_undo_a_report() {
    // Sequence: 1. a ping with the outdated record is delayed .. 2. the primary, which knows that it
    // serves alone, promises and reports .. 3. it answers the delayed ping, and is gone.
    let mut bench = Bench::pair();
    let (stale, primary) = (bench.persisted.len(), bench.incarnation("s1"));
    bench.cut("s3");
    bench.cut("s2");
    bench.run_until(|bench| bench.eligible() == [primary]);
    bench.run(ms(50));
    bench.persisted.truncate(stale);
    bench.restart_view_server(true, Timing::default());
    bench.server("s1").hears = false;
    bench.run(ms(60));
    let (_, to, delayed) =
        bench.pings.iter().rev().find(|ping| ping.1.port() == 1001).cloned().unwrap();
    assert!(delayed.promise.is_none());
    bench.server("s1").hears = true;
    bench.run_until(|bench| bench.pings.last().unwrap().2.promise.is_some());
    bench.run(ms(60));
    let now = bench.now;
    let pong = bench.server("s1").on_ping(now, &delayed);
    bench.cut("s1");
    bench.run(ms(1));
    bench.tell(to, pong);
    bench.run(ms(1500));
    assert_eq!(bench.eligible(), [primary], "{}", bench.waiting());
}

#[test]
fn a_promise_to_somebody_who_is_gone_does_not_end_the_process() {
    let mut bench = Bench::pair();
    bench.cut("s3");
    bench.run(ms(300));
    let before = bench.record().clone();
    bench.server("s1").promised = Epoch(5, 5);
    bench.run_until(|bench| bench.record().view.id > before.view.id);
    assert_eq!(bench.stopped, None);
    assert!(bench.record().view.id.epoch > Epoch(5, 5));
    assert_eq!(bench.record().eligible, before.eligible);
    bench.run_until(|bench| bench.servers["s2"].record.as_ref() == Some(bench.record()));
}

#[test]
fn a_spares_promise_to_somebody_who_is_gone_does_not_keep_the_backup_from_taking_over() {
    // Sequence: 1. a spare promised itself to nobody .. 2. the primary dies .. 3. a view server
    // that recovers for the spare's sake would wait for the report of the dead.
    let mut bench = Bench::pair();
    let (before, heir) = (bench.record().clone(), bench.incarnation("s2"));
    bench.cut("s1");
    bench.server("s3").promised = Epoch(9, 9);
    bench.run_until(|bench| bench.record().is_eligible(heir) && bench.record().eligible.len() == 1);
    assert_eq!(bench.record().view.id.epoch, before.view.id.epoch);
}

#[test]
fn a_view_server_that_was_taken_over_ends() {
    // Sequence (D34): a server follows a record that another view server wrote.
    let mut bench = Bench::pair();
    let mut newer = bench.record().clone();
    newer.view.id.epoch = Epoch(8, 8);
    bench.server("s1").record = Some(newer);
    bench.server("s1").promised = Epoch(8, 8);
    let recorded = bench.persisted.len();
    bench.run_until(|bench| bench.stopped.is_some());
    assert_eq!(bench.persisted.len(), recorded, "nothing is decided any more");
}

#[test]
fn two_histories_are_waited_for_and_named() {
    let mut bench = Bench::pair();
    let id = bench.record().view.id;
    let foreign = bench.foreign(78);
    bench.start("s4");
    let stranger = bench.server("s4");
    (stranger.holds_copy, stranger.record) = (true, Some(foreign));
    bench.restart_view_server(false, Timing::default());
    bench.run(ms(2000));
    assert_eq!(bench.record().view.id, id);
    let waiting = bench.waiting();
    assert!(waiting.contains("different histories") && waiting.contains("s4"), "{waiting}");
}

#[test]
fn a_first_start_waits_for_everybody_who_is_there_to_say_that_they_know_nothing() {
    let mut bench = Bench::new();
    bench.start("s1");
    bench.start("s2");
    bench.run(ms(480));
    assert!(bench.persisted.is_empty(), "it listens");
    bench.run_until(|bench| bench.is("s1", Some("s2"), Phase::Active));
    let first = &bench.persisted[0].record;
    assert!(first.view.genesis && first.eligible.is_empty());
    assert_eq!((first.phase, &first.last_primary), (Phase::Proposed, &None));
}

#[test]
fn a_first_primary_that_dies_before_it_served_is_replaced() {
    let mut bench = Bench::new();
    bench.start("s1");
    bench.server("s1").adopts = false;
    bench.start("s2");
    bench.run_until(|bench| bench.is("s1", None, Phase::Proposed));
    bench.cut("s1");
    bench.run_until(|bench| bench.is("s2", None, Phase::Active));
}

#[test]
fn a_first_primary_that_promised_itself_to_somebody_who_is_gone_serves() {
    for adopts in [true, false] {
        let mut bench = Bench::new();
        bench.start("s1");
        bench.server("s1").adopts = adopts;
        bench.run_until(|bench| bench.is("s1", None, Phase::Proposed));
        bench.run_until(|bench| bench.servers["s1"].record.is_some() || !adopts);
        let server = bench.server("s1");
        assert!(!server.holds_copy);
        (server.promised, server.adopts) = (Epoch(9, 9), true);
        bench.run_until(|bench| {
            bench.is("s1", None, Phase::Active) && bench.servers["s1"].holds_copy
        });
        assert!(bench.record().view.id.epoch > Epoch(9, 9));
    }
}

#[test]
fn a_first_view_that_nobody_adopted_is_begun_again_after_the_record_is_lost() {
    let mut bench = Bench::new();
    bench.start("s1");
    bench.run_until(|bench| !bench.pings.is_empty());
    bench.run_until(|bench| bench.is("s1", None, Phase::Proposed));
    bench.run(ms(1));
    bench.server("s1").adopts = false;
    bench.restart_view_server(false, Timing::default());
    bench.server("s1").adopts = true;
    bench.run_until(|bench| bench.is("s1", None, Phase::Active));
    assert!(bench.record().view.genesis);
    assert!(bench.view_server.poll_timeout().is_some());
}

#[test]
fn a_history_begun_again_never_bears_the_id_of_one_that_may_have_served() {
    // Sequence: 1. a history is proposed with s1, which falls silent .. 2. it begins with s2, which
    // serves and is cut off .. 3. the record is lost, and s1 reports what it heard first.
    let mut bench = Bench::new();
    for id in ["s1", "s2"] {
        bench.start(id);
    }
    bench.run_until(|bench| bench.is("s1", None, Phase::Proposed));
    bench.server("s1").adopts = false;
    bench.server("s1").speaks = false;
    let proposed = bench.record().clone();
    bench.run_until(|bench| bench.is("s2", None, Phase::Active));
    bench.cut("s2");
    bench.server("s1").record = Some(proposed.clone());
    bench.server("s1").adopts = true;
    bench.server("s1").speaks = true;
    bench.restart_view_server(false, Timing::default());
    bench.run_until(|bench| bench.is("s1", None, Phase::Active));
    assert_ne!(bench.record().history, proposed.history, "s2 must not give its copy up");
}

#[test]
fn histories_that_were_only_proposed_hold_nobody_up() {
    // Sequence: two view servers, one after the other, proposed a history and lost their record.
    let mut bench = Bench::pair();
    let begun = bench.record().clone();
    let mut hollow = begun.clone();
    hollow.history = crate::types::HistoryId(77);
    (hollow.phase, hollow.view.genesis) = (Phase::Proposed, true);
    (hollow.eligible, hollow.last_primary) = (Vec::new(), None);
    bench.server("s3").record = Some(hollow);
    bench.restart_view_server(false, Timing::default());
    bench.run_until(|bench| bench.record().view.id > begun.view.id);
    assert_eq!(bench.record().history, begun.history);
}

#[test]
fn a_higher_promise_during_a_recovery_is_outbid() {
    let mut bench = Bench::pair();
    bench.server("s2").promised = Epoch(40, 3);
    bench.server("s3").promised = Epoch(41, 3);
    let id = bench.record().view.id;
    bench.restart_view_server(false, Timing::default());
    bench.run_until(|bench| bench.record().view.id > id);
    assert_eq!(bench.record().view.id.epoch.0, 42);
    let recovered = bench.record().view.id;
    bench.run(ms(600));
    for id in ["s1", "s2", "s3"] {
        assert_eq!(bench.server(id).record.as_ref().unwrap().view.id, recovered);
    }
}

#[test]
fn a_spare_with_a_copy_of_another_history_is_not_begun_with() {
    // Sequence: the view server knows its history, nobody holds anything of it but one stranger.
    let mut bench = Bench::new();
    bench.start("s2");
    bench.server("s2").adopts = false;
    bench.run_until(|bench| bench.is("s2", None, Phase::Proposed));
    let foreign = bench.foreign(79);
    bench.start("s1");
    let stranger = bench.server("s1");
    (stranger.holds_copy, stranger.record) = (true, Some(foreign));
    bench.run(ms(300));
    bench.server("s2").promised = Epoch(6, 6);
    bench.server("s2").record = Some(bench.record().clone());
    bench.server("s2").adopts = true;
    bench.run_until(|bench| bench.is("s2", None, Phase::Active));
    assert_eq!(bench.incarnation("s2"), bench.eligible()[0]);
    assert_ne!(bench.record().view.primary.incarnation, Incarnation(0));
}

/// A spare that knows a history which its only holder never heard of, and follows another one now.
fn with_a_history_that_was_given_up(holds_copy: bool) -> Bench {
    let mut bench = Bench::new();
    bench.start("s1");
    bench.run_until(|bench| bench.is("s1", None, Phase::Active));
    bench.start("s2");
    bench.run_until(|bench| bench.is("s1", Some("s2"), Phase::Active));
    let mut first = bench.foreign(78);
    first.eligible.truncate(1);
    first.view.backup = None;
    bench.start("s3");
    bench.run(ms(300));
    (bench.server("s3").record, bench.server("s3").holds_copy) = (Some(first), holds_copy);
    bench.restart_view_server(false, Timing::default());
    bench
}

#[test]
fn a_history_that_its_only_holder_never_heard_of_holds_nobody_up() {
    let mut bench = with_a_history_that_was_given_up(false);
    let (id, history) = (bench.record().view.id, bench.record().history);
    bench.run_until(|bench| bench.record().view.id > id);
    assert_eq!(bench.record().history, history);
    assert!(bench.eligible().contains(&bench.incarnation("s1")));
}

#[test]
fn a_history_of_which_somebody_holds_a_copy_is_left_to_a_person() {
    let mut bench = with_a_history_that_was_given_up(true);
    let id = bench.record().view.id;
    bench.run(ms(2000));
    assert_eq!(bench.record().view.id, id);
    assert!(bench.waiting().contains("different histories"));
}

#[test]
fn a_history_whose_holder_has_not_answered_is_not_given_up() {
    // Sequence: one holder of what the spare knows of follows another history, the other one is cut
    // off.
    let mut bench = Bench::pair();
    let mut first = bench.foreign(78);
    first.view.backup = None;
    first.view.primary.incarnation = Incarnation(4711);
    first.eligible = vec![first.view.primary.clone(), bench.record().view.primary.clone()];
    bench.server("s3").record = Some(first);
    let id = bench.record().view.id;
    bench.restart_view_server(false, Timing::default());
    bench.run(ms(2000));
    assert_eq!(bench.record().view.id, id);
    assert!(bench.waiting().contains("different histories"));
}
