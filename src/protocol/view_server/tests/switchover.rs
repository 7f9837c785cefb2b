//! The operator lets the backup become primary: rule 3 with an old primary that is alive.

use std::time::Duration;

use super::bench::{Bench, ms};
use crate::config::{Timing, lease_wait};
use crate::protocol::message::ReportKind;
use crate::protocol::view::Phase;
use crate::protocol::view_server::{Answer, Command};
use crate::types::ServerId;

fn ask(bench: &mut Bench, id: Option<&str>) -> Option<Answer> {
    bench.ask(Command::Switchover(id.map(ServerId::from)))
}

fn refusal(answer: Option<Answer>) -> String {
    match answer {
        Some(Answer::SwitchoverRefused(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// Runs until the operator is answered.
fn answer(bench: &mut Bench) -> Answer {
    bench.run_until(|bench| !bench.answers.is_empty());
    bench.answers.pop().unwrap().1
}

#[test]
fn the_backup_takes_over_and_the_old_primary_becomes_backup() {
    for leases in [false, true] {
        let mut bench = Bench::pair_with(Timing::new(ms(50), ms(250), leases).unwrap());
        let (number, asked) = (bench.number(), bench.now);
        assert_eq!(ask(&mut bench, None), None, "nobody has answered since");
        bench.run_until(|bench| bench.is("s2", None, Phase::Active));
        assert_eq!(bench.number(), number + 1);
        // One round trip to see that both are there, one to adopt; an old primary that has
        // adopted ends the wait for its lease at once.
        assert!(bench.now.since(asked) <= ms(20), "{:?}", bench.now.since(asked));
        let Answer::SwitchedOver(shown) = answer(&mut bench) else { panic!() };
        assert_eq!(shown.to_string(), "primary: s2 backup: s1");
        assert!(bench.is("s2", Some("s1"), Phase::Active));
        assert!(bench.now.since(asked) <= ms(100), "{:?}", bench.now.since(asked));
        bench.run(ms(500));
        assert!(bench.is("s2", Some("s1"), Phase::Active), "and nothing more changes");
    }
}

#[test]
fn both_stay_eligible_until_the_backup_is_in_charge() {
    let mut bench = Bench::pair();
    let both = bench.eligible();
    bench.server("s2").adopts = false;
    ask(&mut bench, Some("s2"));
    bench.run_until(|bench| bench.is("s2", None, Phase::Proposed));
    bench.run(ms(500));
    assert!(bench.is("s2", None, Phase::Proposed), "it does not know that it shall take over");
    assert_eq!(bench.eligible(), both);
    assert_eq!((bench.joining(), bench.shown()), (None, (None, None)));
    let why = refusal(Some(answer(&mut bench)));
    assert!(why.contains("waiting for s2 to take over") && why.contains("still may"), "{why}");
    bench.server("s2").adopts = true;
    bench.run_until(|bench| bench.is("s2", None, Phase::Active));
    assert_eq!(bench.eligible(), [bench.incarnation("s2")]);
}

#[test]
fn nothing_is_proposed_unless_both_answer_after_the_operator_asked() {
    for dead in ["s1", "s2"] {
        let mut bench = Bench::pair();
        bench.cut("s3");
        bench.run(ms(300));
        let number = bench.number();
        bench.cut(dead);
        assert_eq!(ask(&mut bench, None), None);
        bench.run(ms(150));
        assert_eq!(bench.number(), number, "{dead} may be dead already");
        if let Answer::SwitchedOver(shown) = answer(&mut bench) {
            assert_eq!(dead, "s1", "the backup follows a primary that died anyway");
            assert_eq!(shown.to_string(), "primary: s2 backup: none");
        } else {
            assert!(dead == "s2" && bench.is("s1", None, Phase::Active));
        }
    }
}

#[test]
fn when_the_backup_dies_before_it_is_in_charge_the_old_primary_goes_on() {
    for adopts in [true, false] {
        let mut bench = Bench::pair();
        let primary = bench.incarnation("s1");
        bench.server("s2").adopts = adopts;
        ask(&mut bench, None);
        bench.run_until(|bench| bench.is("s2", None, Phase::Proposed));
        bench.cut("s2");
        bench.run_until(|bench| bench.eligible() == [primary]);
        assert!(bench.is("s1", None, Phase::Active));
        let why = refusal(Some(answer(&mut bench)));
        assert!(why.contains("s2 does not answer; s1 is primary"), "{why}");
        bench.run_until(|bench| bench.is("s1", Some("s3"), Phase::Active));
    }
}

#[test]
fn when_the_old_primary_dies_on_the_way_its_lease_is_waited_for() {
    let timing = Timing::new(ms(50), ms(250), true).unwrap();
    let mut bench = Bench::pair_with(timing);
    bench.server("s1").adopts = false;
    ask(&mut bench, None);
    bench.run_until(|bench| bench.is("s2", None, Phase::Proposed));
    let granted = bench.pings.iter().rev().find(|(_, _, ping)| ping.grants_lease).unwrap().0;
    bench.cut("s1");
    bench.run_until(|bench| bench.is("s2", None, Phase::Active));
    assert!(bench.now.since(granted) + ms(60) >= lease_wait(timing.lease()));
    bench.run_until(|bench| bench.is("s2", Some("s3"), Phase::Active));
}

#[test]
fn who_handed_over_joins_before_any_other_spare() {
    let mut bench = Bench::pair();
    for (from, to) in [("s1", "s2"), ("s2", "s1"), ("s1", "s2")] {
        ask(&mut bench, Some(to));
        let Answer::SwitchedOver(shown) = answer(&mut bench) else { panic!() };
        assert_eq!(shown.to_string(), format!("primary: {to} backup: {from}"));
    }
    // s2 hands over to s3, whose id comes after that of the spare s1.
    bench.cut("s1");
    bench.run_until(|bench| bench.is("s2", Some("s3"), Phase::Active));
    bench.heal("s1");
    bench.run(ms(300));
    ask(&mut bench, None);
    let Answer::SwitchedOver(shown) = answer(&mut bench) else { panic!() };
    assert_eq!(shown.to_string(), "primary: s3 backup: s2");
}

#[test]
fn without_a_second_copy_in_time_the_operator_is_told_what_is_waited_for() {
    let mut bench = Bench::pair();
    bench.cut("s3");
    bench.server("s2").helps = false;
    let asked = bench.now;
    ask(&mut bench, None);
    let Answer::SwitchedOver(shown) = answer(&mut bench) else { panic!() };
    assert_eq!(shown.to_string(), "primary: s2 backup: none");
    assert!(shown.waiting.unwrap().contains("s1 to receive the state"));
    assert!(bench.now.since(asked) <= ms(1800));
}

#[test]
fn a_refused_switchover_says_why_and_what_would_help_and_changes_nothing() {
    let mut bench = Bench::pair();
    let number = bench.number();
    for (id, parts) in [
        ("s3", ["s3 is a spare", "the backup, s2"]),
        ("s9", ["no server is called s9", "s1, s2, s3"]),
    ] {
        let why = refusal(ask(&mut bench, Some(id)));
        assert!(parts.iter().all(|part| why.contains(part)), "{why}");
    }
    let Some(Answer::SwitchedOver(shown)) = ask(&mut bench, Some("s1")) else { panic!() };
    assert_eq!(shown.to_string(), "primary: s1 backup: s2", "it is primary already");
    assert_eq!(ask(&mut bench, None), None);
    assert!(refusal(ask(&mut bench, None)).contains("under way"));
    assert_eq!(bench.number(), number);
}

#[test]
fn without_a_backup_that_answers_a_switchover_is_refused() {
    let mut bench = Bench::pair();
    bench.server("s1").helps = false;
    bench.cut("s2");
    bench.run_until(|bench| bench.joining().is_some());
    let why = refusal(ask(&mut bench, None));
    assert!(why.contains("s3 still receives the state"), "{why}");
    let joiner = bench.incarnation("s3");
    bench.server("s1").says = vec![(joiner, ReportKind::CaughtUp)];
    bench.run_until(|bench| bench.is("s1", Some("s3"), Phase::Proposed));
    assert!(refusal(ask(&mut bench, Some("s3"))).contains("before it is backup"));
    bench.cut("s3");
    bench.run_until(|bench| bench.is("s1", None, Phase::Active));
    assert!(refusal(ask(&mut bench, None)).contains("start another server"));
    bench.cut("s1");
    bench.run(ms(400));
    assert!(refusal(ask(&mut bench, None)).contains("s1, the primary, does not answer"));
    bench.restart_view_server(true, Timing::default());
    assert!(refusal(ask(&mut bench, None)).contains("try again in a moment"));
    bench.restart_view_server(false, Timing::default());
    bench.run(ms(1000));
    assert!(refusal(ask(&mut bench, None)).contains("first server"));
}

#[test]
fn a_view_server_that_was_stopped_asks_both_again_before_it_proposes() {
    // Sequence: 1. B answers, P does not yet .. 2. the view server is stopped, and B dies .. 3. P
    // answers: what B said before would hand the role to a dead server.
    let mut bench = Bench::pair();
    let number = bench.number();
    bench.server("s1").speaks = false;
    ask(&mut bench, None);
    bench.run(ms(20));
    bench.cut("s2");
    bench.pause_view_server(ms(150));
    bench.server("s1").speaks = true;
    bench.run(ms(200));
    assert_eq!(bench.number(), number);
    bench.run_until(|bench| bench.is("s1", None, Phase::Active));
    assert!(refusal(Some(answer(&mut bench))).contains("s2 does not answer"));
}

#[test]
fn a_restarted_view_server_finishes_what_was_proposed() {
    let mut bench = Bench::pair();
    bench.server("s2").adopts = false;
    ask(&mut bench, None);
    bench.run_until(|bench| bench.is("s2", None, Phase::Proposed));
    bench.server("s2").adopts = true;
    bench.restart_view_server(true, Timing::default());
    bench.run_until(|bench| bench.is("s2", Some("s1"), Phase::Active));
    assert_eq!(Duration::from(bench.record().lease), Duration::ZERO);
}

#[test]
fn a_switchover_survives_duplicates_and_ghosts_of_everything() {
    let mut bench = Bench::pair();
    bench.duplicates = true;
    for _ in 0..5 {
        let number = bench.number();
        ask(&mut bench, None);
        let Answer::SwitchedOver(_) = answer(&mut bench) else { panic!() };
        assert_eq!(bench.number(), number + 3, "handed over, joined, paired");
        bench.replay_everything();
        bench.run(ms(800));
    }
}
