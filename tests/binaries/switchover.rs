//! What an operator asks of a running cluster: `switchover`, `history`.

use std::time::Duration;

use serde_json::Value;

use crate::support::amount;
use crate::support::cluster::{Cluster, Options, PATIENT};
use crate::support::logs::Logs;
use crate::support::process::{Process, command};
use crate::support::workload::{Appenders, Outcome};

/// Lets the backup take over so many times. A machine that starves a server for longer than
/// dead-after may spoil some, which changes nothing for the clients.
#[track_caller]
fn switch_over(cluster: &mut Cluster, times: usize) {
    let mut done = 0;
    for _ in 0..times * 3 {
        let roles = cluster.roles();
        let answer = cluster.view_server().ask("switchover");
        done +=
            usize::from(answer == format!("primary: {} backup: {}", roles.backup, roles.primary));
        if done == times {
            return;
        }
    }
    cluster.logs.fail(&format!("{done} switchovers of {times} were done"));
}

#[test]
fn many_switchovers_under_8_clients_fail_no_operation() {
    for leases in [false, true] {
        let mut view_flags = PATIENT.to_vec();
        view_flags.extend(leases.then_some("--lease-reads"));
        let mut cluster = Cluster::start(Options { view_flags, ..Options::default() });
        let clients = Appenders::start(&cluster, 8, "log");
        switch_over(&mut cluster, amount(6, 20));
        clients.wait_for_progress(&cluster, 3);
        let histories = clients.finish(&cluster);
        let all = || histories.iter().flatten();
        let failed: Vec<_> = all().filter(|append| append.outcome != Outcome::Ok).collect();
        assert!(failed.is_empty(), "{failed:?}");
        let slowest = all().map(|append| append.ended - append.started).max().unwrap();
        // What a loaded machine may do to it is no matter of this test; it is there to be read.
        println!("leases {leases}: {} appends, the slowest took {slowest:?}", all().count());
        assert!(slowest < Duration::from_secs(5), "nobody waited for a judgement of death");
        let roles = cluster.roles();
        cluster.wait_for_equal_stores(&roles.primary, &roles.backup);
    }
}

#[test]
fn a_mixed_load_through_many_switchovers_is_linearizable() {
    let view_flags = PATIENT.to_vec();
    let mut cluster = Cluster::start(Options { view_flags, ..Options::default() });
    let path = cluster.folder().join("history.jsonl");
    let name = path.to_str().unwrap();
    let seconds = &*amount(2, 4).to_string();
    let words = ["--json", "--deadline", "20s", "bench", "--clients", "8", "--rate", "2000"];
    let more = ["--seconds", seconds, "--warm-up", "0.2", "--keys", "50", "--history", name];
    let bench = cluster.session("bench", &[&words[..], &more].concat());
    bench.wait_for_log("ops/s");
    switch_over(&mut cluster, amount(6, 20));
    // Without --allow-failures: it ends with 0 only if every operation was executed.
    let finished = bench.finish();
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let told: Value = serde_json::from_str(&finished.stdout[0]).unwrap();
    println!("{} ms max, gap {} ms", told["all"]["max_ms"], told["longest_gap_ms"]);
    let mut check = command("client", path.parent().unwrap());
    check.args(["check", name]);
    let checked = Process::run(&Logs::default(), "client", check, "");
    assert_eq!(checked.stdout.first().map(String::as_str), Some("linearizable"), "{checked:?}");
}

#[test]
fn a_refused_switchover_says_why_and_history_tells_the_reasons() {
    let mut cluster = Cluster::of(1);
    let view_server = cluster.view_server();
    assert_eq!(view_server.ask("switchover"), "unable to execute switchover");
    view_server.wait_for_log("there is no backup, s1 holds the only copy; start another server");
    cluster.start_server("s2");
    cluster.wait_for_view("s1", Some("s2"));
    let view_server = cluster.view_server();
    assert_eq!(view_server.ask("switchover s1"), "primary: s1 backup: s2");
    assert_eq!(view_server.ask("switchover s2"), "primary: s2 backup: s1");
    let history = view_server.ask_until("history", |line| line.ends_with("(s1 is synced)"));
    assert!(history.iter().any(|line| line.ends_with("(switchover from s1 to s2)")), "{history:?}");
}
