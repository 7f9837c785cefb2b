//! Why nothing happens, as a person is told.

use super::bench::{Bench, ms};
use crate::config::Timing;
use crate::protocol::message::ReportKind;
use crate::protocol::view::Phase;
use crate::protocol::view_server::{Answer, Command};

fn explained(bench: &mut Bench) -> String {
    match bench.ask(Command::Explain) {
        Some(Answer::Explained(lines)) => lines.join("\n"),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn says(bench: &mut Bench, parts: &[&str]) {
    let text = explained(bench);
    for part in parts {
        assert!(text.contains(part), "not {part:?}:\n{text}");
    }
}

#[test]
fn with_two_copies_there_is_nothing_to_do_and_it_says_what_would_change_that() {
    let mut bench = Bench::pair();
    let text = explained(&mut bench);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].contains("s1 is primary, s2 is backup; both hold everything"), "{text}");
    assert!(lines[1].contains("nothing to do"), "{text}");
    assert!(lines[1].contains("If s1 is silent for 250ms, s2 takes over"), "{text}");
    assert!(
        lines[2].starts_with("s3 is a spare: it holds nothing and is never promoted"),
        "{text}"
    );
}

#[test]
fn without_a_record_it_says_who_must_report() {
    let mut bench = Bench::new();
    says(&mut bench, &["listens to all servers for another 500ms"]);
    bench.run(ms(600));
    says(&mut bench, &["Nobody is promoted", "waiting for a first server"]);
    let mut bench = Bench::pair();
    bench.cut("s1");
    bench.restart_view_server(false, Timing::default());
    bench.run(ms(1500));
    says(&mut bench, &["the record is lost", "s1 (incarnation"]);
}

#[test]
fn a_suspect_is_left_out_only_after_an_answer_of_the_primary() {
    let mut bench = Bench::pair();
    bench.cut("s2");
    bench.run_until(|bench| bench.view_server.suspicion.is_some());
    says(
        &mut bench,
        &["s2 does not answer and is left out as soon as s1 answers a ping sent since"],
    );
}

#[test]
fn when_the_last_copies_are_dead_it_names_them_and_no_spare() {
    let mut bench = Bench::pair();
    bench.cut("s1");
    bench.cut("s2");
    bench.run(ms(1000));
    says(&mut bench, &["only s1 (incarnation", "or s2 (incarnation", "no such process answers"]);
    says(&mut bench, &["A spare holds nothing", "`reset` begins an empty history"]);
}

#[test]
fn a_promotion_waits_for_the_new_primary_and_for_the_lease_of_the_old_one() {
    let mut bench = Bench::pair_with(Timing::new(ms(50), ms(2000), true).unwrap());
    bench.server("s2").adopts = false;
    bench.server("s1").adopts = false;
    bench.ask(Command::Switchover(None));
    bench.run_until(|bench| bench.is("s2", None, Phase::Proposed));
    says(&mut bench, &["s2 is to be primary; until then s1 or s2 may still serve"]);
    says(&mut bench, &["s2 does not serve before it has confirmed this view"]);
    bench.server("s2").adopts = true;
    bench.run(ms(60));
    says(&mut bench, &["s1 may answer reads under a lease for another 1."]);
    bench.server("s1").adopts = true;
    bench.run_until(|bench| bench.is("s2", Some("s1"), Phase::Active));
    says(&mut bench, &["s2 is primary, s1 is backup"]);
}

#[test]
fn a_proposed_primary_that_dies_is_named_with_the_one_that_could_go_on() {
    let mut bench = Bench::pair();
    bench.cut("s1");
    bench.server("s2").adopts = false;
    bench.run_until(|bench| bench.is("s2", None, Phase::Proposed));
    bench.cut("s2");
    bench.run(ms(600));
    says(&mut bench, &["s2 was to take over and does not answer", "s2 or s1 must answer"]);
}

#[test]
fn without_a_second_copy_it_says_of_every_server_why_it_does_not_join() {
    let mut bench = Bench::pair();
    bench.cut("s3");
    bench.cut("s2");
    bench.run_until(|bench| bench.is("s1", None, Phase::Active));
    bench.run(ms(400));
    says(&mut bench, &["no server can join: s2 does not answer", "; s3 does not answer"]);
    bench.start("s2");
    bench.server("s1").helps = false;
    bench.run_until(|bench| bench.joining().is_some());
    says(&mut bench, &["s1 serves alone, s2 joins", "s2 is not backup before the primary reports"]);
    let joiner = bench.incarnation("s2");
    bench.server("s1").says = vec![(joiner, ReportKind::CaughtUp)];
    bench.run_until(|bench| bench.is("s1", Some("s2"), Phase::Proposed));
    says(&mut bench, &["s1 stays primary and serves", "s2 has caught up and becomes backup"]);
    bench.server("s1").says = vec![(joiner, ReportKind::Stalled)];
    bench.run_until(|bench| bench.is("s1", None, Phase::Active));
    bench.run(ms(20));
    says(&mut bench, &["s2 rests for another 1", "because its joins have failed"]);
}

#[test]
fn before_the_primary_confirmed_that_it_is_alone_nobody_joins() {
    let mut bench = Bench::pair();
    bench.server("s1").adopts = false;
    bench.cut("s2");
    bench.run_until(|bench| bench.is("s1", None, Phase::Active));
    says(&mut bench, &["No spare joins before s1 has confirmed that it serves alone"]);
}

#[test]
fn a_spare_with_another_history_and_a_second_process_with_an_id_are_told() {
    let mut bench = Bench::pair();
    let foreign = bench.foreign(99);
    let spare = bench.server("s3");
    (spare.record, spare.holds_copy) = (Some(foreign), true);
    bench.run(ms(200));
    says(&mut bench, &["s3 is a spare and could not join", "another history", "restart it"]);
    let mut bench = Bench::pair();
    bench.announce("s1", crate::types::Incarnation(7), "127.0.0.1:4444");
    says(&mut bench, &["A second process at 127.0.0.1:4444 calls itself s1", "127.0.0.1:1001"]);
}

#[test]
fn a_switchover_under_way_is_told() {
    let mut bench = Bench::pair();
    bench.cut("s2");
    bench.ask(Command::Switchover(None));
    says(
        &mut bench,
        &["A switchover was asked for: s2 is proposed as soon as s1 and s2 have both"],
    );
}
