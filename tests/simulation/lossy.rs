//! Nobody fails, and the network is bad in every way it can be.

use crate::cluster::{Setup, simulate};
use crate::socket::Faults;

#[test]
fn every_append_is_applied_once_although_datagrams_are_lost_doubled_and_belated() {
    let faults = Faults { lost: 150, doubled: 100, belated: 50, stuck: 20 };
    for seed in 61..=62 {
        let setup = Setup { seed, faults, lease_reads: seed % 2 == 0 };
        let outcome = simulate(setup, |stage| async move {
            stage.pair().await;
            stage.appends(200).await;
        });
        let counts = outcome.counts;
        // Otherwise the run has shown nothing.
        assert!(counts.lost * 10 > counts.sent, "{counts:?}");
        assert!(counts.doubled * 20 > counts.sent, "{counts:?}");
        assert!(counts.belated * 50 > counts.sent && counts.stuck > 0, "{counts:?}");
        assert!(counts.received > counts.sent / 2, "{counts:?}");
    }
}

#[test]
fn a_send_buffer_that_is_often_full_costs_time_and_nothing_else() {
    let faults = Faults { stuck: 100, ..Faults::default() };
    let outcome = simulate(Setup { seed: 71, faults, lease_reads: true }, |stage| async move {
        stage.pair().await;
        stage.appends(100).await;
    });
    assert!(outcome.counts.stuck > 50, "{:?}", outcome.counts);
    assert_eq!(outcome.counts.lost, 0);
}
