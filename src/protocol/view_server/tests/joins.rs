//! Rule 3, joins: a spare becomes backup without costing the primary anything.

use super::bench::{Bench, ms};
use crate::protocol::message::ReportKind;
use crate::protocol::view::Phase;
use crate::types::Incarnation;

/// s1 serves alone and is told to have s2 join; nothing goes on by itself.
fn joining() -> Bench {
    let mut bench = Bench::new();
    bench.start("s1");
    bench.run_until(|bench| bench.is("s1", None, Phase::Active));
    bench.server("s1").helps = false;
    bench.start("s2");
    bench.run_until(|bench| bench.joining() == Some("s2".to_owned()));
    bench
}

fn says(bench: &mut Bench, about: Incarnation, kind: ReportKind) {
    bench.server("s1").says = vec![(about, kind)];
}

#[test]
fn one_spare_at_a_time_joins() {
    // Sequence (D36): two spares are there from the start.
    let mut bench = joining();
    bench.start("s3");
    bench.start("s0");
    bench.run(ms(600));
    assert_eq!(bench.joining(), Some("s2".to_owned()));
    let joiner = bench.incarnation("s2");
    says(&mut bench, joiner, ReportKind::CaughtUp);
    bench.run_until(|bench| bench.is("s1", Some("s2"), Phase::Proposed));
    bench.run(ms(600));
    assert!(bench.is("s1", Some("s2"), Phase::Proposed));
}

#[test]
fn a_joiner_becomes_backup_when_it_caught_up_and_eligible_when_it_is_synced() {
    let mut bench = joining();
    let (primary, joiner) = (bench.incarnation("s1"), bench.incarnation("s2"));
    let since = bench.record().view.since;
    assert_eq!(since, bench.record().view.id, "a new attempt is a new lineage");
    says(&mut bench, joiner, ReportKind::CaughtUp);
    bench.run_until(|bench| bench.is("s1", Some("s2"), Phase::Proposed));
    assert_eq!(bench.record().view.since, since);
    assert_eq!(bench.eligible(), [primary]);
    assert_eq!(bench.shown(), (Some("s1".to_owned()), None), "the primary serves throughout");
    let id = bench.record().view.id;
    says(&mut bench, joiner, ReportKind::Synced);
    bench.run_until(|bench| bench.record().phase == Phase::Active);
    assert_eq!(bench.record().view.id, id);
    assert_eq!(bench.eligible(), [primary, joiner]);
}

#[test]
fn the_backup_itself_may_report_that_it_is_synced() {
    let mut bench = joining();
    let joiner = bench.incarnation("s2");
    says(&mut bench, joiner, ReportKind::CaughtUp);
    bench.run_until(|bench| bench.is("s1", Some("s2"), Phase::Proposed));
    bench.server("s2").says = vec![(joiner, ReportKind::Synced)];
    bench.cut("s1");
    bench.run_until(|bench| bench.is("s2", None, Phase::Active));
}

#[test]
fn nobody_but_the_two_can_report_that_it_is_synced() {
    let mut bench = joining();
    bench.start("s3");
    let joiner = bench.incarnation("s2");
    says(&mut bench, joiner, ReportKind::CaughtUp);
    bench.run_until(|bench| bench.is("s1", Some("s2"), Phase::Proposed));
    bench.server("s3").says = vec![(joiner, ReportKind::Synced)];
    says(&mut bench, Incarnation(5), ReportKind::Synced);
    bench.run(ms(500));
    assert_eq!(bench.record().phase, Phase::Proposed);
}

#[test]
fn a_joiner_is_never_promoted() {
    // Sequence (D13): P dies in the middle of the transfer.
    let mut bench = joining();
    let primary = bench.incarnation("s1");
    bench.cut("s1");
    bench.run(ms(2000));
    assert_eq!(bench.eligible(), [primary]);
    assert_eq!(bench.shown(), (None, None));
}

#[test]
fn a_proposed_backup_is_not_promoted_before_it_is_synced() {
    // Sequence (D13): P dies between the proposal and the active record.
    let mut bench = joining();
    let (primary, joiner) = (bench.incarnation("s1"), bench.incarnation("s2"));
    says(&mut bench, joiner, ReportKind::CaughtUp);
    bench.run_until(|bench| bench.is("s1", Some("s2"), Phase::Proposed));
    bench.cut("s1");
    bench.run(ms(2000));
    assert!(bench.is("s1", Some("s2"), Phase::Proposed));
    assert_eq!(bench.eligible(), [primary]);
    assert_eq!(bench.shown(), (None, None));
    bench.heal("s1");
    bench.run(ms(100));
    assert_eq!(bench.shown(), (Some("s1".to_owned()), None));
}

#[test]
fn the_death_of_a_joiner_costs_nothing() {
    // Sequence (D18): S dies while P copies to it, or while P waits for its acknowledgement.
    for caught_up in [false, true] {
        let mut bench = joining();
        let joiner = bench.incarnation("s2");
        if caught_up {
            says(&mut bench, joiner, ReportKind::CaughtUp);
            bench.run_until(|bench| bench.is("s1", Some("s2"), Phase::Proposed));
        }
        bench.cut("s2");
        bench.run_until(|bench| bench.is("s1", None, Phase::Active));
        assert_eq!(bench.eligible(), [bench.incarnation("s1")]);
        bench.server("s1").helps = true;
        bench.start("s2");
        bench.run_until(|bench| bench.is("s1", Some("s2"), Phase::Active));
    }
}

#[test]
fn a_joiner_that_stalls_is_dropped_and_another_spare_preferred() {
    for kind in [ReportKind::Stalled, ReportKind::Diverged] {
        let mut bench = joining();
        bench.start("s3");
        bench.run(ms(300));
        let joiner = bench.incarnation("s2");
        says(&mut bench, joiner, kind);
        bench.run_until(|bench| bench.joining() == Some("s3".to_owned()));
        // It rests, and comes last even after that.
        bench.cut("s3");
        bench.run_until(|bench| bench.joining() == Some("s2".to_owned()));
    }
}

#[test]
fn a_proposed_backup_that_stalls_is_dropped() {
    let mut bench = joining();
    let joiner = bench.incarnation("s2");
    says(&mut bench, joiner, ReportKind::CaughtUp);
    bench.run_until(|bench| bench.is("s1", Some("s2"), Phase::Proposed));
    says(&mut bench, joiner, ReportKind::Stalled);
    bench.run_until(|bench| bench.is("s1", None, Phase::Active));
}

#[test]
fn the_only_spare_is_tried_again_after_a_rest_of_at_most_two_seconds() {
    let mut bench = joining();
    let joiner = bench.incarnation("s2");
    let mut rests = Vec::new();
    for _ in 0..8 {
        says(&mut bench, joiner, ReportKind::Stalled);
        bench.run_until(|bench| bench.joining().is_none());
        let dropped = bench.now;
        bench.server("s1").says.clear();
        bench.run_until(|bench| bench.joining().is_some());
        rests.push(bench.now.since(dropped));
    }
    assert!(rests[0] >= ms(100), "{rests:?}");
    assert!(rests[2] > rests[0], "{rests:?}");
    assert!(rests[7] <= ms(2100), "{rests:?}");
}

#[test]
fn a_restart_ends_the_rest() {
    let mut bench = joining();
    for _ in 0..5 {
        let joiner = bench.incarnation("s2");
        says(&mut bench, joiner, ReportKind::Stalled);
        bench.run_until(|bench| bench.joining().is_none());
        bench.server("s1").says.clear();
        bench.start("s2");
        let restarted = bench.now;
        bench.run_until(|bench| bench.joining().is_some());
        assert!(bench.now.since(restarted) < ms(400));
    }
}

#[test]
fn failed_joins_are_forgotten_once_synced() {
    let mut bench = joining();
    let joiner = bench.incarnation("s2");
    for _ in 0..5 {
        says(&mut bench, joiner, ReportKind::Stalled);
        bench.run_until(|bench| bench.joining().is_none());
        bench.server("s1").says.clear();
        bench.run_until(|bench| bench.joining().is_some());
    }
    bench.server("s1").helps = true;
    bench.run_until(|bench| bench.is("s1", Some("s2"), Phase::Active));
    says(&mut bench, joiner, ReportKind::Stalled);
    bench.run_until(|bench| bench.is("s1", None, Phase::Active));
    bench.server("s1").says.clear();
    let dropped = bench.now;
    bench.run_until(|bench| bench.joining().is_some());
    assert!(bench.now.since(dropped) < ms(300));
}

#[test]
fn a_copy_of_another_history_is_left_alone() {
    let mut bench = joining();
    bench.cut("s2");
    bench.run_until(|bench| bench.joining().is_none());
    let foreign = bench.foreign(77);
    bench.start("s0");
    let stranger = bench.server("s0");
    (stranger.holds_copy, stranger.record) = (true, Some(foreign.clone()));
    bench.run(ms(1500));
    assert_eq!(bench.joining(), None);
    assert_eq!(bench.server("s0").record, Some(foreign));
    // One that holds nothing may follow.
    bench.server("s0").holds_copy = false;
    bench.run_until(|bench| bench.joining() == Some("s0".to_owned()));
}
