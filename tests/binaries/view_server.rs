//! Without the view server the service goes on; only failover waits.

use std::time::{Duration, Instant};

use crate::support::PATIENCE;
use crate::support::cluster::Cluster;
use crate::support::workload::Appenders;

#[test]
fn puts_and_gets_go_on_while_the_view_server_is_dead_and_it_comes_back_to_the_same_view() {
    let mut cluster = Cluster::of(3);
    let roles = cluster.roles();
    let clients = Appenders::start(&cluster, 4, "log");
    let mut session = cluster.session("session", &[]);
    assert_eq!(session.ask("put a 1"), "put completed");
    cluster.kill_view_server();
    assert_eq!(session.ask("put a 2"), "put completed");
    assert_eq!(session.ask("append a 3"), "append completed");
    assert_eq!(session.ask("get a"), "get a returned 2, 3");
    let go_on_for_longer_than_any_judgement_takes = |cluster: &Cluster| {
        let until = Instant::now() + Duration::from_millis(1300);
        while Instant::now() < until {
            clients.wait_for_progress(cluster, 5);
        }
    };
    go_on_for_longer_than_any_judgement_takes(&cluster);
    assert_eq!(session.ask("get a"), "get a returned 2, 3");
    cluster.start_view_server();
    cluster.assert_no_view_change(&roles);
    go_on_for_longer_than_any_judgement_takes(&cluster);
    clients.finish(&cluster);
    cluster.assert_no_view_change(&roles);
}

#[test]
fn a_primary_that_dies_while_the_view_server_is_dead_is_replaced_when_it_is_back() {
    let mut cluster = Cluster::of(3);
    let roles = cluster.roles();
    let clients = Appenders::start(&cluster, 4, "log");
    cluster.kill_view_server();
    cluster.kill(&roles.primary);
    cluster.start_view_server();
    cluster.wait_for_view(&roles.backup, Some(&roles.spares[0]));
    clients.wait_for_progress(&cluster, 3);
    clients.finish(&cluster);
}

#[test]
fn a_lost_record_is_recovered_from_the_servers_and_nothing_else_is_lost() {
    let mut cluster = Cluster::of(3);
    let roles = cluster.roles();
    cluster.client(&["put", "old", "1"]).expect(0, &["put completed"]);
    let clients = Appenders::start(&cluster, 4, "log");
    cluster.kill_view_server();
    std::fs::remove_file(cluster.folder().join("view.state.json")).unwrap();
    cluster.start_view_server();
    cluster.wait_for_view(&roles.primary, Some(&roles.backup));
    clients.wait_for_progress(&cluster, 3);
    clients.finish(&cluster);
    cluster.client(&["get", "old"]).expect(0, &["get old returned 1"]);
}

#[test]
fn without_a_record_and_with_an_eligible_server_missing_the_view_server_waits_and_says_for_whom() {
    let mut cluster = Cluster::of(3);
    let roles = cluster.roles();
    cluster.client(&["put", "old", "1"]).expect(0, &["put completed"]);
    cluster.kill_view_server();
    cluster.kill(&roles.primary);
    std::fs::remove_file(cluster.folder().join("view.state.json")).unwrap();
    cluster.start_view_server();
    // The primary may have served alone with the backup dropped, for all that the others know.
    let view_server = cluster.view_server();
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        view_server.type_line("status");
        let mut text = view_server.next_answer();
        let short = std::time::Duration::from_millis(100);
        while let Some(line) = view_server.answer_within(short) {
            text = format!("{text}\n{line}");
        }
        if text.lines().any(|line| line.contains("wait") && line.contains(&roles.primary)) {
            break;
        }
        assert!(std::time::Instant::now() < until, "it does not say for whom it waits: {text}");
    }
    assert_eq!(cluster.view_server().ask("view"), "primary: none backup: none");
    let finished = cluster.client(&["--deadline", "1s", "get", "old"]);
    finished.expect(1, &["unable to execute get"]);
}
