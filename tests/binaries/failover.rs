//! `kill -9` of every role under clients that append.

use std::time::{Duration, Instant};

use crate::support::cluster::{Cluster, Options};
use crate::support::workload::{Appenders, Outcome};

/// Data from before, which must be there afterwards.
const OLD: &str = "put old 1\nappend old 2\nput other 'x y'\n";

#[track_caller]
fn old_data_is_kept(cluster: &Cluster) {
    cluster
        .script(&[], "get old\nget other\n")
        .expect(0, &["get old returned 1, 2", "get other returned x y"]);
}

#[test]
fn the_primary_dies_under_8_clients_and_the_spare_becomes_the_new_backup() {
    let mut cluster = Cluster::of(3);
    let roles = cluster.roles();
    cluster.script(&[], OLD).expect(0, &["put completed", "append completed", "put completed"]);
    let clients = Appenders::start(&cluster, 8, "log");
    clients.wait_for_progress(&cluster, 3);
    cluster.kill(&roles.primary);
    cluster.wait_for_view(&roles.backup, Some(&roles.spares[0]));
    clients.wait_for_progress(&cluster, 3);
    clients.finish(&cluster);
    old_data_is_kept(&cluster);
    cluster.wait_for_equal_stores(&roles.backup, &roles.spares[0]);
}

#[test]
fn the_backup_dies_under_8_clients_and_the_spare_replaces_it() {
    let mut cluster = Cluster::of(3);
    let roles = cluster.roles();
    cluster.script(&[], OLD);
    let clients = Appenders::start(&cluster, 8, "log");
    cluster.kill(&roles.backup);
    cluster.wait_for_view(&roles.primary, Some(&roles.spares[0]));
    clients.wait_for_progress(&cluster, 3);
    clients.finish(&cluster);
    cluster.wait_for_equal_stores(&roles.primary, &roles.spares[0]);
    // The copy that joined is worth as much as the one that was lost.
    cluster.kill(&roles.primary);
    cluster.wait_for_view(&roles.spares[0], None);
    old_data_is_kept(&cluster);
}

#[test]
fn the_spare_dies_and_nobody_notices() {
    let mut cluster = Cluster::of(3);
    let roles = cluster.roles();
    let clients = Appenders::start(&cluster, 8, "log");
    cluster.kill(&roles.spares[0]);
    clients.wait_for_progress(&cluster, 100);
    clients.finish(&cluster);
    cluster.assert_no_view_change(&roles);
    cluster.wait_for_equal_stores(&roles.primary, &roles.backup);
}

#[test]
fn one_server_after_another_dies_and_comes_back_and_nothing_is_lost() {
    let mut cluster = Cluster::of(3);
    cluster.script(&[], OLD);
    let clients = Appenders::start(&cluster, 4, "log");
    for _ in 0..3 {
        let roles = cluster.roles();
        cluster.kill(&roles.primary);
        cluster.wait_for_failover(&roles.primary);
        clients.wait_for_progress(&cluster, 1);
        cluster.start_server(&roles.primary);
    }
    clients.finish(&cluster);
    old_data_is_kept(&cluster);
    let roles = cluster.roles();
    cluster.wait_for_equal_stores(&roles.primary, &roles.backup);
}

#[test]
fn a_single_server_serves_alone_and_a_second_one_joins_it_later() {
    let mut cluster = Cluster::of(1);
    cluster.script(&[], OLD);
    let clients = Appenders::start(&cluster, 4, "log");
    cluster.start_server("s2");
    cluster.wait_for_view("s1", Some("s2"));
    clients.wait_for_progress(&cluster, 3);
    cluster.kill("s1");
    cluster.wait_for_view("s2", None);
    clients.wait_for_progress(&cluster, 3);
    clients.finish(&cluster);
    old_data_is_kept(&cluster);
}

#[test]
fn lease_reads_stay_current_through_a_failover() {
    let mut view_flags = crate::support::cluster::PATIENT.to_vec();
    view_flags.push("--lease-reads");
    let mut cluster = Cluster::start(Options { view_flags, ..Options::default() });
    let roles = cluster.roles();
    cluster.script(&[], OLD);
    let clients = Appenders::start(&cluster, 8, "log");
    clients.wait_for_progress(&cluster, 3);
    cluster.kill(&roles.primary);
    cluster.wait_for_view(&roles.backup, Some(&roles.spares[0]));
    clients.wait_for_progress(&cluster, 3);
    clients.finish(&cluster);
    old_data_is_kept(&cluster);
    cluster.wait_for_equal_stores(&roles.backup, &roles.spares[0]);
}

/// Prints how long clients wait for a failover at the default timing; asserts correctness only.
/// Run it by name: `PBKV_RUNS=100 cargo test --release --test binaries -- --ignored --nocapture
/// measure_failover`.
#[test]
#[ignore = "measures; run by name"]
fn measure_failover_until_the_next_operation_of_8_clients_succeeded() {
    let runs = std::env::var("PBKV_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(20);
    let mut cluster = Cluster::start(Options { view_flags: vec![], ..Options::default() });
    let mut waits: Vec<Duration> = Vec::new();
    for run in 0..runs {
        let roles = cluster.roles();
        let clients = Appenders::start(&cluster, 8, &format!("run{run}"));
        clients.wait_for_progress(&cluster, 5);
        let killed = Instant::now();
        cluster.kill(&roles.primary);
        clients.wait_for_progress(&cluster, 1);
        let histories = clients.finish(&cluster);
        let next = histories.iter().map(|history| {
            let next = history.iter().find(|a| a.started > killed && a.outcome == Outcome::Ok);
            next.expect("waited for").ended - killed
        });
        waits.push(next.max().expect("there are clients"));
        let roles_after = cluster.wait_for_failover(&roles.primary);
        cluster.wait_for_equal_stores(&roles_after.primary, &roles_after.backup);
        cluster.start_server(&roles.primary);
        let back = roles.primary.clone();
        cluster.logs.wait_for("the killed server is back", crate::support::PATIENCE, || {
            cluster.probed_role(&back).filter(|role| role == "spare")
        });
    }
    waits.sort();
    let at = |percent: usize| waits[(waits.len() * percent / 100).min(waits.len() - 1)];
    println!("{runs} runs, until the next operation of every client had succeeded:");
    println!("  min {:?}, median {:?}, p95 {:?}, max {:?}", at(0), at(50), at(95), at(100));
    let within = waits.iter().filter(|wait| **wait <= Duration::from_millis(500)).count();
    println!("  within 500ms (dead-after + 2 ping intervals + 150ms): {within} of {runs}");
}
