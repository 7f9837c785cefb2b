//! The operator takes servers out of service.

use super::bench::{Bench, ms};
use crate::config::Timing;
use crate::protocol::view::Phase;
use crate::protocol::view_server::{Answer, Command};

fn ask(bench: &mut Bench, id: &str, force: bool) -> Option<Answer> {
    bench.ask(Command::Drain { id: id.into(), force })
}

fn drained(answer: Option<Answer>) {
    assert!(matches!(answer, Some(Answer::Drained(_))), "{answer:?}");
}

fn refusal(answer: Option<Answer>) -> String {
    match answer {
        Some(Answer::DrainRefused(why) | Answer::UndrainRefused(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// Runs until the operator is answered.
fn answer(bench: &mut Bench) -> Option<Answer> {
    bench.run_until(|bench| !bench.answers.is_empty());
    bench.answers.pop().map(|(_, answer)| answer)
}

fn role(bench: &mut Bench, id: &str) -> String {
    bench.status().servers.into_iter().find(|server| server.id == id.into()).unwrap().role
}

#[test]
fn a_drained_spare_does_not_join_until_it_is_undrained() {
    let mut bench = Bench::pair();
    drained(ask(&mut bench, "s3", false));
    assert_eq!(role(&mut bench, "s3"), "drained");
    bench.cut("s2");
    bench.run(ms(1500));
    assert!(bench.is("s1", None, Phase::Active));
    let Some(Answer::Explained(lines)) = bench.ask(Command::Explain) else { panic!() };
    assert!(lines.join("\n").contains("s3 is drained (`undrain` lets it join again"), "{lines:?}");
    drained(bench.ask(Command::Undrain("s3".into())));
    bench.run_until(|bench| bench.is("s1", Some("s3"), Phase::Active));
    assert_eq!(refusal(bench.ask(Command::Undrain("s3".into()))), "s3 is not drained");
}

#[test]
fn drained_is_a_process_and_another_one_with_its_id_may_join() {
    let mut bench = Bench::pair();
    drained(ask(&mut bench, "s3", false));
    bench.start("s3");
    bench.run(ms(1000));
    assert_eq!(role(&mut bench, "s3"), "spare");
    bench.cut("s2");
    bench.run_until(|bench| bench.is("s1", Some("s3"), Phase::Active));
}

#[test]
fn a_restarted_view_server_still_knows_who_is_drained() {
    let mut bench = Bench::pair();
    drained(ask(&mut bench, "s3", false));
    bench.restart_view_server(true, Timing::default());
    bench.run(ms(500));
    bench.cut("s2");
    bench.run(ms(1500));
    assert!(bench.is("s1", None, Phase::Active));
}

#[test]
fn a_member_of_the_pair_is_drained_only_by_force_and_says_what_that_costs() {
    for (id, other) in [("s1", "s2"), ("s2", "s1")] {
        let mut bench = Bench::pair();
        let number = bench.number();
        let why = refusal(ask(&mut bench, id, false));
        assert!(why.contains(&format!("{other} holds the only one until a spare")), "{why}");
        assert!(why.contains(&format!("`drain {id} --force`")), "{why}");
        bench.run(ms(500));
        assert_eq!(bench.number(), number);
        assert_eq!(ask(&mut bench, id, true), None);
        drained(answer(&mut bench));
        bench.run_until(|bench| bench.is(other, Some("s3"), Phase::Active));
        bench.run(ms(500));
        assert_eq!(role(&mut bench, id), "drained");
        // From now on it is as good as stopped.
        bench.cut(id);
        bench.run(ms(1000));
        assert!(bench.is(other, Some("s3"), Phase::Active));
    }
}

#[test]
fn a_drained_primary_hands_over_and_does_not_join_again() {
    let mut bench = Bench::pair();
    bench.cut("s3");
    bench.run(ms(300));
    let asked = bench.now;
    ask(&mut bench, "s1", true);
    drained(answer(&mut bench));
    assert!(bench.is("s2", None, Phase::Active));
    assert!(bench.now.since(asked) <= ms(20), "{:?}", bench.now.since(asked));
    bench.run(ms(1000));
    assert!(bench.is("s2", None, Phase::Active));
    drained(bench.ask(Command::Undrain("s1".into())));
    bench.run_until(|bench| bench.is("s2", Some("s1"), Phase::Active));
}

#[test]
fn the_only_copy_is_never_drained() {
    let mut bench = Bench::pair();
    bench.cut("s2");
    bench.server("s1").helps = false;
    bench.run_until(|bench| bench.joining().is_some());
    assert!(refusal(ask(&mut bench, "s1", true)).contains("holds the only copy"));
    // Its joiner may leave, which costs nothing.
    drained(ask(&mut bench, "s3", false));
    assert_eq!(bench.joining(), None);
    assert_eq!(bench.eligible(), [bench.incarnation("s1")]);
}

#[test]
fn a_backup_is_not_left_out_for_a_primary_that_is_dead_already() {
    // Sequence (D52): P dies, and before it is missed the operator drains B.
    let mut bench = Bench::pair();
    let both = bench.eligible();
    bench.cut("s1");
    bench.run(ms(50));
    assert_eq!(ask(&mut bench, "s2", true), None);
    bench.run(ms(100));
    assert_eq!(bench.eligible(), both);
    let why = refusal(answer(&mut bench));
    assert!(why.contains("s2 is needed as primary"), "{why}");
    assert!(bench.is("s2", None, Phase::Active));
    assert_eq!(role(&mut bench, "s2"), "primary");
    bench.run_until(|bench| bench.is("s2", Some("s3"), Phase::Active));
}

#[test]
fn an_undrain_ends_what_is_under_way() {
    let mut bench = Bench::pair();
    bench.delay = ms(30);
    assert_eq!(ask(&mut bench, "s2", true), None);
    drained(bench.ask(Command::Undrain("s2".into())));
    assert!(refusal(answer(&mut bench)).contains("`undrain s2` came"));
    let number = bench.number();
    bench.run(ms(500));
    assert_eq!(bench.number(), number);
}

#[test]
fn a_drained_process_that_begins_again_by_itself_is_still_drained() {
    let mut bench = Bench::pair();
    drained(ask(&mut bench, "s3", false));
    let former = bench.incarnation("s3");
    bench.start("s3");
    bench.server("s3").incarnation = former.next();
    bench.run(ms(1000));
    assert_eq!(bench.status().servers[2].incarnation, Some(former.next()));
    assert_eq!(role(&mut bench, "s3"), "drained");
}
