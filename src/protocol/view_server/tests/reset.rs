//! Rule 9, total loss: nothing is given up by accident.

use super::bench::{Bench, ms};
use crate::config::Timing;
use crate::protocol::view::Phase;
use crate::protocol::view_server::{Answer, Command};
use crate::types::Epoch;

fn refusal(answer: Option<Answer>) -> String {
    match answer {
        Some(Answer::ResetRefused(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn reset_is_refused_while_an_eligible_server_answers() {
    let mut bench = Bench::pair();
    for cut in ["s3", "s1"] {
        assert!(refusal(bench.ask(Command::PrepareReset)).contains("answers"));
        assert!(refusal(bench.ask(Command::Reset)).contains("answers"));
        bench.cut(cut);
        bench.run(ms(400));
    }
    let epoch = bench.record().view.id.epoch;
    assert!(refusal(bench.ask(Command::Reset)).contains("s2"));
    assert_eq!(bench.record().view.id.epoch, epoch);
}

#[test]
fn reset_names_who_is_silent_and_checks_again_when_it_is_confirmed() {
    let mut bench = Bench::pair();
    bench.cut("s1");
    bench.cut("s2");
    bench.run(ms(1000));
    let Some(Answer::ResetPrepared(warning)) = bench.ask(Command::PrepareReset) else { panic!() };
    for part in ["s1 is silent", "s2 is silent", "may hold the data", "may still be serving"] {
        assert!(warning.contains(part), "{warning}");
    }
    bench.heal("s2");
    bench.run(ms(200));
    assert!(refusal(bench.ask(Command::Reset)).contains("s2"));
    bench.run_until(|bench| bench.is("s2", Some("s3"), Phase::Active));
}

#[test]
fn reset_begins_an_empty_history_above_everything_promised() {
    let mut bench = Bench::pair();
    bench.cut("s1");
    bench.cut("s2");
    bench.run(ms(1000));
    let old = bench.record().clone();
    assert!(matches!(bench.ask(Command::Reset), Some(Answer::ResetDone(_))));
    let record = bench.record();
    assert!(record.view.genesis && record.eligible.is_empty());
    assert_eq!((record.phase, record.last_primary.clone()), (Phase::Proposed, None));
    assert_eq!(record.history, old.history, "who comes back must know that it is superseded");
    assert!(record.view.id.epoch.0 > old.view.id.epoch.0);
    assert!(record.view.id.number > old.view.id.number);
    bench.run_until(|bench| bench.is("s3", None, Phase::Active));
    // Who returns with the old data holds nothing of the new history.
    bench.heal("s1");
    bench.run_until(|bench| bench.is("s3", Some("s1"), Phase::Active));
}

#[test]
fn reset_outbids_a_promise_that_only_a_server_knows_of() {
    let mut bench = Bench::pair();
    bench.server("s3").promised = Epoch(30, 4);
    bench.server("s3").adopts = false;
    // It has heard of no history, so that its promise does not matter before.
    bench.server("s3").record = None;
    bench.run(ms(300));
    bench.cut("s1");
    bench.cut("s2");
    bench.run(ms(600));
    bench.server("s3").adopts = true;
    assert!(matches!(bench.ask(Command::Reset), Some(Answer::ResetDone(_))));
    assert!(bench.record().view.id.epoch > Epoch(30, 4));
    bench.run_until(|bench| bench.is("s3", None, Phase::Active));
}

#[test]
fn reset_needs_a_server_to_begin_with_and_never_takes_one_of_another_history() {
    let mut bench = Bench::pair();
    for id in ["s1", "s2", "s3"] {
        bench.cut(id);
    }
    bench.run(ms(600));
    assert!(refusal(bench.ask(Command::Reset)).contains("no server"));
    let foreign = bench.foreign(80);
    bench.start("s0");
    let stranger = bench.server("s0");
    (stranger.holds_copy, stranger.record) = (true, Some(foreign));
    bench.run(ms(600));
    assert!(refusal(bench.ask(Command::Reset)).contains("no server"));
}

#[test]
fn reset_is_refused_while_the_view_server_still_listens() {
    let mut bench = Bench::pair();
    bench.restart_view_server(true, Timing::default());
    assert!(refusal(bench.ask(Command::Reset)).contains("listening"));
    bench.restart_view_server(false, Timing::default());
    assert!(refusal(bench.ask(Command::Reset)).contains("listening"));
}

#[test]
fn reset_without_a_record_is_refused_while_an_eligible_server_answers() {
    let mut bench = Bench::pair();
    bench.cut("s1");
    bench.restart_view_server(false, Timing::default());
    bench.run(ms(1500));
    assert!(refusal(bench.ask(Command::Reset)).contains("s2"));
    // After it is stopped, data is given up only by name.
    bench.cut("s2");
    bench.run(ms(600));
    let Some(Answer::ResetPrepared(warning)) = bench.ask(Command::PrepareReset) else { panic!() };
    assert!(warning.contains("s1"), "{warning}");
    assert!(matches!(bench.ask(Command::Reset), Some(Answer::ResetDone(_))));
    bench.run_until(|bench| bench.is("s3", None, Phase::Active));
}

#[test]
fn reset_is_refused_while_servers_have_not_reported_in_the_present_epoch() {
    // Sequence: somebody has promised a higher epoch, and everybody must be asked again.
    let mut bench = Bench::pair();
    bench.cut("s1");
    bench.restart_view_server(false, Timing::default());
    bench.run(ms(1500));
    bench.server("s3").promised = Epoch(70, 1);
    bench.server("s2").speaks = false;
    bench.run(ms(100));
    assert!(refusal(bench.ask(Command::Reset)).contains("asking"));
}

#[test]
fn an_eligible_server_that_comes_back_serves_again() {
    let mut bench = Bench::pair();
    bench.cut("s1");
    bench.cut("s2");
    bench.run(ms(3000));
    assert_eq!(bench.shown(), (None, None));
    bench.heal("s2");
    bench.run_until(|bench| bench.is("s2", None, Phase::Active) || bench.joining().is_some());
    assert_eq!(bench.record().view.primary.id, "s2".into());
}
