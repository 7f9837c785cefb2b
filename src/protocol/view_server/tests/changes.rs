//! The history of view changes that people are shown.

use super::bench::{Bench, ms};
use crate::config::Timing;
use crate::protocol::view::Phase;
use crate::protocol::view_server::{Answer, CHANGES, Command};

#[test]
fn every_record_is_in_the_history_with_its_reason_and_its_age() {
    let mut bench = Bench::pair();
    let before = bench.view_server.view_changes().len();
    bench.cut("s1");
    bench.run_until(|bench| bench.is("s2", None, Phase::Active));
    let changed = bench.now;
    let added: Vec<_> = bench.view_server.view_changes().skip(before).cloned().collect();
    assert_eq!(added[0].phase, Phase::Proposed);
    assert_eq!(added[0].reason, "s1 does not answer");
    assert_eq!(added[1].view, added[0].view, "only the phase changes");
    assert_eq!((added[1].phase, added[1].at), (Phase::Active, changed));
    bench.run(ms(100));
    let Some(Answer::History(changes)) = bench.ask(Command::History) else { panic!() };
    let (ago, _) = changes.iter().find(|(_, change)| *change == added[1]).unwrap();
    assert_eq!(*ago, bench.now.since(changed));
}

#[test]
fn the_history_is_bounded_and_keeps_the_newest() {
    let mut bench = Bench::pair();
    bench.cut("s3");
    while bench.view_server.view_changes().len() < CHANGES {
        bench.cut("s2");
        bench.run_until(|bench| bench.record().view.backup.is_none());
        bench.heal("s2");
        bench.run_until(|bench| {
            bench.record().view.backup.is_some() && bench.record().phase == Phase::Active
        });
    }
    let number = bench.number();
    bench.cut("s1");
    bench.run_until(|bench| bench.number() > number && bench.record().phase == Phase::Active);
    assert_eq!(bench.view_server.view_changes().len(), CHANGES);
    let newest = bench.view_server.view_changes().next_back().unwrap();
    assert_eq!(newest.view, bench.record().view);
}

#[test]
fn a_restarted_view_server_begins_with_the_view_that_it_found() {
    let mut bench = Bench::pair();
    bench.restart_view_server(true, Timing::default());
    let changes: Vec<_> = bench.view_server.view_changes().collect();
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].view, bench.record().view);
    assert!(changes[0].reason.contains("when the view server started"));
    bench.restart_view_server(false, Timing::default());
    assert_eq!(bench.view_server.view_changes().len(), 0);
}
