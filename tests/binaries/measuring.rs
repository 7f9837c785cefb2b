//! `client bench` measures what happens, also when nothing does.

use std::thread::sleep;
use std::time::Duration;

use crate::support::cluster::Cluster;
use crate::support::process::Signal;

/// How long nothing is answered. Less than it takes to declare a server dead.
const STALL: Duration = Duration::from_millis(500);

/// Runs a load of puts during which the backup, without which no put is done, stands still for
/// [`STALL`]; what the load told.
fn stalled(cluster: &mut Cluster, flags: &[&str]) -> serde_json::Value {
    let backup = cluster.roles().backup;
    let common = ["--json", "--deadline", "20s", "bench", "--gets", "0%", "--warm-up", "0"];
    let bench = cluster.session("bench", &[&common[..], flags].concat());
    // The first line of progress: the load is in the middle of its run.
    bench.wait_for_log("ops/s");
    cluster.server(&backup).signal(Signal::STOP);
    sleep(STALL);
    cluster.server(&backup).signal(Signal::CONT);
    let finished = bench.finish();
    assert_eq!(finished.code, Some(0), "{finished:?}");
    serde_json::from_str(&finished.stdout[0]).unwrap()
}

/// Only lower bounds: whatever else delays things on this machine makes figures larger.
#[test]
fn a_server_that_stands_still_shows_in_the_percentiles_of_an_open_loop() {
    let mut cluster = Cluster::of(2);
    // 500 operations are due a second, 1,250 in all. 250 of them are due while nothing is answered,
    // and one that is due at the beginning of the stall waits for all of it: 50 wait for at least
    // 400 ms (4 %), 200 for at least 100 ms (16 %).
    let open = stalled(&mut cluster, &["--clients", "4", "--rate", "500", "--seconds", "2.5"]);
    let at = |told: &serde_json::Value, name: &str| told["all"][name].as_f64().unwrap();
    assert!(at(&open, "p99_ms") >= 400.0, "{open}");
    assert!(open["longest_gap_ms"].as_f64().unwrap() >= 450.0, "{open}");
    // In a closed loop the same stall is one slow operation of each client, and shows nowhere else
    // than in the maximum and the longest gap.
    let closed = stalled(&mut cluster, &["--clients", "4", "--seconds", "2"]);
    assert!(at(&closed, "max_ms") >= 450.0, "{closed}");
    assert!(closed["longest_gap_ms"].as_f64().unwrap() >= 450.0, "{closed}");
    println!("p99 of the closed loop: {} ms", at(&closed, "p99_ms"));
}

#[test]
fn a_plot_is_drawn_and_an_unwritable_one_is_refused_before_the_run() {
    let cluster = Cluster::of(2);
    let file = cluster.folder().join("latency.svg");
    let flags = ["bench", "--requests", "200", "--distribution", "zipfian", "--plot"];
    let name = file.to_str().unwrap();
    let finished = cluster.client(&[&flags[..], &[name]].concat());
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stdout[0].contains("1000 keys (zipfian=0.99)"), "{finished:?}");
    let svg = std::fs::read_to_string(&file).unwrap();
    assert!(svg.starts_with("<svg ") && svg.contains("latency by percentile"), "{svg}");
    let nowhere = cluster.client(&[&flags[..], &["/nowhere/plot.svg"]].concat());
    nowhere.expect_complaint(2, &["--plot /nowhere/plot.svg: "]);
}

#[test]
fn a_run_with_failures_ends_with_1_unless_they_are_allowed() {
    let mut cluster = Cluster::of(2);
    let backup = cluster.roles().backup;
    // No put can be done in a deadline during which its backup stands still.
    let mut run = |flags: &[&str]| {
        let common = ["--deadline", "200ms", "bench", "--gets", "0%", "--warm-up", "0"];
        let bench = cluster.session("bench", &[&common[..], &["--seconds", "2"], flags].concat());
        bench.wait_for_log("ops/s");
        cluster.server(&backup).signal(Signal::STOP);
        sleep(STALL);
        cluster.server(&backup).signal(Signal::CONT);
        bench.finish()
    };
    let finished = run(&[]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let finished = run(&["--allow-failures"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
}
