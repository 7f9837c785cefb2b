//! Links are cut, in one direction or both; whoever is on the wrong side serves nothing old.

use std::time::Duration;

use tokio::time::sleep;

use crate::cluster::{CLIENTS, SERVERS, Setup, Stage, VIEW, simulate};
use crate::socket::Faults;

const FAIR: Faults = Faults { lost: 10, doubled: 10, belated: 5, stuck: 5 };

/// Sequence: the primary keeps one client and loses everybody else; the others get a new primary
/// and go on writing while the old one is still asked; then the cut is healed.
async fn primary_is_cut_off_with_a_client(stage: Stage) {
    let (primary, _) = stage.pair().await;
    stage.appends(30).await;
    for other in SERVERS.into_iter().filter(|id| *id != primary).chain([VIEW]) {
        turmoil::partition(primary, other);
    }
    for other in &CLIENTS[1..] {
        turmoil::partition(primary, *other);
    }
    stage.appends(60).await;
    assert_ne!(stage.pair().await.0, primary);
    for other in SERVERS.into_iter().filter(|id| *id != primary).chain([VIEW]).chain(CLIENTS) {
        turmoil::repair(primary, other);
    }
    stage.appends(30).await;
}

#[test]
fn deposed_primary_serves_nothing_old_to_a_client_on_its_side() {
    for (seed, lease_reads) in [(31, true), (32, true), (33, false)] {
        let setup = Setup { seed, faults: FAIR, lease_reads };
        simulate(setup, primary_is_cut_off_with_a_client);
    }
}

/// Sequence: the backup hears the primary, and its acknowledgements get lost; somebody has to be
/// left out before anything can be acknowledged.
async fn acknowledgements_do_not_arrive(stage: Stage) {
    let (primary, backup) = stage.pair().await;
    stage.appends(20).await;
    turmoil::partition_oneway(backup, primary);
    stage.appends(30).await;
    turmoil::repair_oneway(backup, primary);
    stage.appends(20).await;
}

#[test]
fn a_backup_that_cannot_acknowledge_stops_nobody_for_long() {
    simulate(Setup { seed: 41, faults: FAIR, lease_reads: true }, acknowledgements_do_not_arrive);
}

/// Sequence: the view server is cut off for longer than any judgement takes; pair and clients are
/// left alone.
async fn nobody_reaches_the_view_server(stage: Stage) {
    stage.pair().await;
    stage.appends(20).await;
    for other in SERVERS {
        turmoil::partition(VIEW, other);
    }
    sleep(Duration::from_secs(1)).await;
    for other in SERVERS {
        turmoil::repair(VIEW, other);
    }
    stage.appends(30).await;
}

#[test]
fn servers_that_all_fell_silent_at_once_go_on_when_they_are_heard_again() {
    for (seed, lease_reads) in [(51, true), (52, false)] {
        simulate(Setup { seed, faults: FAIR, lease_reads }, nobody_reaches_the_view_server);
    }
}
