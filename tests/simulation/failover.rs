//! Processes die at any time; nothing acknowledged is lost, doubled or reordered.

use crate::cluster::{Setup, Stage, VIEW, simulate};
use crate::socket::Faults;

/// A network that is no better than it has to be.
const POOR: Faults = Faults { lost: 30, doubled: 30, belated: 10, stuck: 5 };

/// Sequence: the primary crashes, its backup takes over, the spare joins, the dead one returns as a
/// spare; three times.
async fn primaries_die(stage: Stage) {
    for _ in 0..3 {
        let (primary, backup) = stage.pair().await;
        stage.appends(30).await;
        stage.crash(primary);
        stage.appends(30).await;
        assert_ne!(stage.pair().await.0, primary, "{backup} or its successor is primary");
        stage.restart(primary);
    }
    stage.appends(30).await;
}

#[test]
fn acknowledged_appends_survive_the_death_of_one_primary_after_the_other() {
    for seed in 1..=3 {
        let setup = Setup { seed, faults: POOR, lease_reads: seed % 2 == 0 };
        let outcome = simulate(setup, primaries_die);
        println!("{outcome:?}");
        assert!(outcome.appends >= 210 && outcome.reads > 0);
    }
}

/// Sequence: the view server dies, then the primary; the view server returns with its record and
/// replaces the primary.
async fn view_server_returns(stage: Stage) {
    let (primary, _) = stage.pair().await;
    stage.appends(20).await;
    stage.crash(VIEW);
    stage.appends(20).await;
    stage.crash(primary);
    stage.restart(VIEW);
    stage.appends(30).await;
    assert_ne!(stage.pair().await.0, primary);
    stage.restart(primary);
    stage.appends(20).await;
}

#[test]
fn a_view_server_that_returns_with_its_record_replaces_the_primary_that_died_meanwhile() {
    for seed in 11..=12 {
        let setup = Setup { seed, faults: POOR, lease_reads: seed % 2 == 0 };
        simulate(setup, view_server_returns);
    }
}

/// Sequence: an acknowledgement's way is cut and repaired, the view server dies and returns, then
/// the primary dies and returns.
async fn everything_breaks(stage: Stage) {
    let (primary, backup) = stage.pair().await;
    turmoil::partition_oneway(backup, primary);
    stage.appends(20).await;
    turmoil::repair_oneway(backup, primary);
    stage.crash(VIEW);
    stage.appends(20).await;
    stage.restart(VIEW);
    let (primary, _) = stage.pair().await;
    stage.crash(primary);
    stage.appends(20).await;
    stage.restart(primary);
    stage.appends(20).await;
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another_one() {
    let run = |seed| simulate(Setup { seed, faults: POOR, lease_reads: true }, everything_breaks);
    let (one, again, other) = (run(21), run(21), run(22));
    assert_eq!(one, again);
    assert_ne!(one.trace, other.trace);
    assert!(one.counts.lost > 0 && one.counts.doubled > 0, "{one:?}");
}
