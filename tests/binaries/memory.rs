//! `--max-memory` on real processes.

use crate::support::cluster::{Cluster, Options};

/// Writes lists of a megabyte until one is refused; how many were not, and what was said of the other.
fn fill(cluster: &Cluster, from: usize) -> (usize, String) {
    let value = "x".repeat(1_000_000);
    let line = |number: usize| format!("put k{number} {value}\n");
    for number in from..from + 20 {
        let finished = cluster.script(&["--json"], &line(number));
        if finished.code != Some(0) {
            return (number, finished.stdout.join("\n"));
        }
    }
    panic!("20 MB fit into 8")
}

#[test]
fn what_exceeds_the_limit_of_memory_is_refused_and_reads_removes_and_failover_go_on() {
    let server_flags = vec!["--max-memory", "8mb"];
    let mut cluster = Cluster::start(Options { server_flags, ..Options::default() });
    cluster.client(&["put", "small", "1"]).expect(0, &["put completed"]);
    // What can still be asked for again counts as well, beside the store.
    let (fit, refusal) = fill(&cluster, 0);
    assert!((2..8).contains(&fit), "{fit}");
    assert!(refusal.contains("--max-memory") && refusal.contains("not_executed"), "{refusal}");
    let append = format!("append small {}\n", "y".repeat(1_000_000));
    let refused = cluster.script(&[], &append);
    refused.expect(1, &["unable to execute append"]);
    refused.expect_complaint(1, &["limit of memory", "remove"]);
    assert_eq!(cluster.get("small").unwrap(), ["1"]);

    let roles = cluster.roles();
    cluster.kill(&roles.primary);
    cluster.wait_for_view(&roles.backup, Some(&roles.spares[0]));
    let (in_all, _) = fill(&cluster, fit);
    assert!(in_all < 8, "the next primary has the limit, too: {in_all}");
    let removes: String = (0..in_all).map(|number| format!("remove k{number}\n")).collect();
    assert_eq!(cluster.script(&[], &removes).code, Some(0));
    assert!(fill(&cluster, 100).0 > 100, "there is room again");
    cluster.wait_for_equal_stores(&roles.backup, &roles.spares[0]);
}

#[test]
fn the_smaller_limit_of_two_copies_counts() {
    let mut cluster = Cluster::of(1);
    cluster.set_server_flags(&["--max-memory", "3mb"]);
    cluster.start_server("s2");
    cluster.wait_for_view("s1", Some("s2"));
    let (fit, refusal) = fill(&cluster, 0);
    assert!((1..3).contains(&fit), "{fit}: {refusal}");
    cluster.kill("s2");
    cluster.wait_for_view("s1", None);
    let script: String = (0..5).map(|n| format!("put n{n} {}\n", "x".repeat(900_000))).collect();
    assert_eq!(cluster.script(&[], &script).code, Some(0), "alone it has no limit");
}
