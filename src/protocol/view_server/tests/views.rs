//! Rule 3: who follows whom, and when nothing may change.

use super::bench::{Bench, ms};
use crate::config::Timing;
use crate::protocol::message::ReportKind;
use crate::protocol::view::Phase;

fn name(id: &str) -> Option<String> {
    Some(id.to_owned())
}

#[test]
fn a_dead_backup_is_left_out_and_a_spare_follows_it() {
    let mut bench = Bench::pair();
    bench.duplicates = true;
    let primary = bench.incarnation("s1");
    bench.cut("s2");
    bench.run_until(|bench| bench.eligible() == [primary]);
    bench.run_until(|bench| bench.is("s1", Some("s3"), Phase::Active));
    assert_eq!(bench.eligible(), [primary, bench.incarnation("s3")]);
}

#[test]
fn a_dead_backup_is_not_left_out_for_a_primary_that_is_dead_already() {
    // Sequence (D52): 1. P dies .. 2. B is cut off, its timer fires first .. 3. B comes back.
    for early in [1, 10, 30] {
        let mut bench = Bench::pair();
        let both = bench.eligible();
        bench.server("s2").speaks = false;
        bench.run(ms(early));
        // Its last pong is younger than the backup's.
        bench.run_until(|bench| bench.pings.last().unwrap().1.port() != 1002);
        bench.run(ms(60));
        bench.cut("s1");
        bench.run(ms(400));
        assert_eq!(bench.eligible(), both, "nobody that answers would be left");
        bench.heal("s2");
        bench.run_until(|bench| bench.is("s2", None, Phase::Active));
    }
}

#[test]
fn when_both_are_silent_nothing_changes_and_the_first_to_answer_decides() {
    for (first, other) in [("s1", "s2"), ("s2", "s1")] {
        let mut bench = Bench::pair();
        let number = bench.number();
        bench.cut("s1");
        bench.cut("s2");
        bench.run(ms(1500));
        assert_eq!(bench.number(), number);
        assert_eq!(bench.shown(), (None, None), "no copy answers, and no spare is promoted");
        assert!(bench.waiting().contains("s1") && bench.waiting().contains("s2"));
        bench.heal(first);
        let incarnation = bench.incarnation(first);
        bench.run_until(|bench| bench.eligible() == [incarnation]);
        bench.heal(other);
        bench.run(ms(1000));
        assert_eq!(bench.shown().0, name(first));
    }
}

#[test]
fn a_backup_that_answers_again_in_time_is_no_longer_suspected() {
    let mut bench = Bench::pair();
    let number = bench.number();
    for _ in 0..20 {
        bench.cut("s2");
        bench.run(ms(200));
        bench.heal("s2");
        bench.run(ms(60));
    }
    assert_eq!(bench.number(), number);
}

#[test]
fn a_backup_reported_stalled_or_diverged_is_left_out_although_it_answers() {
    // Sequence (D24): the way between primary and backup is cut; the view server sees both.
    for kind in [ReportKind::Stalled, ReportKind::Diverged] {
        let mut bench = Bench::pair();
        let (primary, backup) = (bench.incarnation("s1"), bench.incarnation("s2"));
        let start = bench.now;
        bench.server("s1").says = vec![(backup, kind)];
        bench.run_until(|bench| bench.eligible() == [primary]);
        assert!(bench.now.since(start) < ms(150), "writes hang meanwhile");
        bench.run_until(|bench| bench.is("s1", Some("s3"), Phase::Active));
    }
}

#[test]
fn only_the_primary_and_only_about_the_backup_of_this_view_is_a_stall_believed() {
    let mut bench = Bench::pair();
    let number = bench.number();
    let [primary, backup, spare] = ["s1", "s2", "s3"].map(|id| bench.incarnation(id));
    bench.server("s2").says = vec![(primary, ReportKind::Stalled), (backup, ReportKind::Stalled)];
    bench.server("s3").says = vec![(backup, ReportKind::Stalled), (spare, ReportKind::Synced)];
    bench.server("s1").says = vec![(spare, ReportKind::Stalled), (primary, ReportKind::Stalled)];
    bench.run(ms(500));
    assert_eq!(bench.number(), number);
    // And what it says of a former view is stale.
    bench.server("s1").adopts = false;
    bench.cut("s2");
    bench.run_until(|bench| bench.number() > number);
    let number = bench.number();
    bench.server("s1").says = vec![(spare, ReportKind::CaughtUp), (spare, ReportKind::Synced)];
    bench.run(ms(500));
    assert_eq!(bench.number(), number);
}

#[test]
fn a_dead_primary_is_followed_by_the_backup_alone_and_not_before_it_adopted() {
    let mut bench = Bench::pair();
    let both = bench.eligible();
    bench.cut("s1");
    bench.server("s2").adopts = false;
    bench.run_until(|bench| bench.is("s2", None, Phase::Proposed));
    assert_eq!(bench.eligible(), both, "the old primary holds everything still");
    bench.run(ms(500));
    assert!(bench.is("s2", None, Phase::Proposed), "it does not know that it shall take over");
    assert_eq!(bench.shown(), (None, None));
    bench.server("s2").adopts = true;
    let id = bench.record().view.id;
    bench.run_until(|bench| bench.record().phase == Phase::Active);
    assert_eq!(bench.record().view.id, id, "only the phase changes");
    assert_eq!(bench.eligible(), [bench.incarnation("s2")]);
}

#[test]
fn a_primary_that_dies_before_it_heard_of_its_view_wedges_nothing() {
    // Sequence (D18): (P, B) is not acknowledged, and P dies.
    let mut bench = Bench::pair();
    bench.server("s1").adopts = false;
    bench.cut("s2");
    let primary = bench.incarnation("s1");
    bench.run_until(|bench| bench.eligible() == [primary]);
    bench.heal("s2");
    bench.run(ms(500));
    assert!(bench.is("s1", None, Phase::Active), "no join before it has adopted");
    bench.server("s1").adopts = true;
    bench.run_until(|bench| bench.is("s1", Some("s2"), Phase::Active));
    bench.server("s1").adopts = false;
    bench.server("s2").adopts = true;
    bench.cut("s1");
    bench.run_until(|bench| bench.is("s2", None, Phase::Active));
}

#[test]
fn while_a_promotion_is_not_in_force_the_old_primary_can_go_on() {
    // Sequence (D17, D43, D47): B adopts the proposal and dies; P comes back; S is there always.
    for adopts in [true, false] {
        let mut bench = Bench::pair();
        let primary = bench.incarnation("s1");
        bench.cut("s1");
        bench.server("s2").adopts = adopts;
        bench.run_until(|bench| bench.is("s2", None, Phase::Proposed));
        bench.server("s2").speaks = false;
        bench.run(ms(1000));
        assert!(bench.is("s2", None, Phase::Proposed), "the spare holds nothing");
        assert_eq!(bench.shown(), (None, None));
        bench.heal("s1");
        bench.run_until(|bench| bench.eligible() == [primary]);
        assert_eq!(bench.record().view.primary.incarnation, primary);
        assert_eq!(bench.record().phase, Phase::Active);
        bench.run_until(|bench| bench.is("s1", Some("s3"), Phase::Active));
    }
}

#[test]
fn while_a_promotion_is_not_in_force_the_old_primary_is_neither_joined_nor_shown() {
    // Sequence (D47): P comes back at once; B is slow to adopt.
    let mut bench = Bench::pair();
    bench.cut("s1");
    bench.server("s2").adopts = false;
    bench.run_until(|bench| bench.is("s2", None, Phase::Proposed));
    bench.heal("s1");
    bench.run(ms(1000));
    assert!(bench.is("s2", None, Phase::Proposed));
    assert_eq!(bench.joining(), None);
    assert_eq!(bench.shown(), (None, None));
}

#[test]
fn the_old_primary_goes_on_only_if_it_answered_after_the_promoted_one_was_missed() {
    // Sequence (D52 once more): P comes back, and is gone again before B is missed.
    let mut bench = Bench::pair();
    let both = bench.eligible();
    bench.cut("s1");
    bench.server("s2").adopts = false;
    bench.run_until(|bench| bench.is("s2", None, Phase::Proposed));
    bench.heal("s1");
    bench.run(ms(100));
    bench.cut("s2");
    bench.run(ms(100));
    bench.cut("s1");
    bench.run(ms(600));
    assert_eq!(bench.eligible(), both);
    bench.server("s2").adopts = true;
    bench.heal("s2");
    bench.run_until(|bench| bench.is("s2", None, Phase::Active));
}

#[test]
fn what_the_primary_answered_before_a_pause_of_ours_does_not_leave_the_backup_out_after_it() {
    // Sequence (D52): 1. B falls silent, P is asked .. 2. the view server is stopped .. 3. P answers
    // and dies .. 4. B is given the full time again .. 5. it is over a moment before P is missed.
    let timing = Timing::new(ms(50), ms(150), false).unwrap();
    let mut bench = Bench::pair_with(timing);
    let both = bench.eligible();
    bench.delay = ms(57);
    bench.run(ms(500));
    assert!(bench.is("s1", Some("s2"), Phase::Active));
    bench.server("s2").speaks = false;
    bench.run_until(|bench| bench.view_server.suspicion.is_some());
    bench.pause_view_server(ms(110));
    bench.cut("s1");
    bench.run(ms(95));
    bench.pause_view_server(ms(58));
    bench.run(ms(600));
    assert_eq!(bench.eligible(), both, "nobody that answers would be left");
    bench.heal("s2");
    bench.run_until(|bench| bench.is("s2", None, Phase::Active));
}

#[test]
fn a_spare_is_never_promoted_when_the_last_copy_dies() {
    let mut bench = Bench::pair();
    bench.cut("s2");
    bench.server("s1").helps = false;
    bench.run_until(|bench| bench.joining().is_some());
    bench.cut("s1");
    bench.run(ms(2000));
    assert_eq!(bench.eligible(), [bench.incarnation("s1")]);
    assert_eq!(bench.shown(), (None, None));
    assert!(bench.waiting().contains("s1"));
    bench.heal("s1");
    bench.run(ms(200));
    assert_eq!(bench.shown().0, name("s1"), "an eligible one that answers serves again");
}

#[test]
fn a_backup_that_was_left_out_is_not_promoted_when_it_returns() {
    // Sequence (D16): B is cut off and left out; P acknowledges alone and dies; B returns.
    let mut bench = Bench::pair();
    bench.cut("s3");
    bench.cut("s2");
    let primary = bench.incarnation("s1");
    bench.run_until(|bench| bench.eligible() == [primary]);
    bench.run(ms(100));
    bench.cut("s1");
    bench.heal("s2");
    bench.run(ms(1500));
    assert_eq!(bench.eligible(), [primary]);
    assert_eq!(bench.shown(), (None, None));
}

#[test]
fn total_loss_promotes_nobody_whatever_returns_empty() {
    // Sequence (D35): both die and come back empty at the same addresses.
    let mut bench = Bench::pair();
    let both = bench.eligible();
    bench.start("s1");
    bench.start("s2");
    bench.run(ms(3000));
    assert_eq!(bench.eligible(), both);
    assert_eq!(bench.shown(), (None, None));
    assert!(bench.waiting().contains("reset"));
}

#[test]
fn views_survive_duplicates_and_ghosts_of_everything() {
    let mut bench = Bench::pair();
    bench.duplicates = true;
    for _ in 0..5 {
        bench.run_until(|bench| {
            bench.record().view.backup.is_some() && bench.record().phase == Phase::Active
        });
        // Whoever is primary goes; the checks of the bench are the test.
        let gone = bench.record().view.primary.id.to_string();
        let gone = ["s1", "s2", "s3"].into_iter().find(|id| *id == gone).unwrap();
        bench.cut(gone);
        let number = bench.number();
        bench.run_until(|bench| bench.number() > number && bench.record().phase == Phase::Active);
        bench.replay_everything();
        bench.start(gone);
    }
}
