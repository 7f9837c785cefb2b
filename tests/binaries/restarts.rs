//! Processes that come back on their old address before anybody could miss them. Memory lost means
//! another server, however fast it came back.

use std::time::Duration;

use crate::support::cluster::{Cluster, Options};
use crate::support::workload::Appenders;

const OLD: &str = "put old 1\nappend old 2\n";

#[track_caller]
fn old_data_is_kept(cluster: &Cluster) {
    cluster.client(&["get", "old"]).expect(0, &["get old returned 1, 2"]);
}

#[test]
fn a_primary_that_restarts_at_once_is_another_server_and_joins_as_backup() {
    let mut cluster = Cluster::of(2);
    let roles = cluster.roles();
    cluster.script(&[], OLD);
    let clients = Appenders::start(&cluster, 4, "log");
    cluster.restart(&roles.primary);
    cluster.wait_for_view(&roles.backup, Some(&roles.primary));
    clients.wait_for_progress(&cluster, 3);
    clients.finish(&cluster);
    old_data_is_kept(&cluster);
    // It holds everything again: now the other one may go.
    cluster.wait_for_equal_stores(&roles.primary, &roles.backup);
    cluster.kill(&roles.backup);
    cluster.wait_for_view(&roles.primary, None);
    old_data_is_kept(&cluster);
}

#[test]
fn a_backup_that_restarts_at_once_receives_everything_again_before_it_counts() {
    let mut cluster = Cluster::of(2);
    let roles = cluster.roles();
    cluster.script(&[], OLD);
    let clients = Appenders::start(&cluster, 4, "log");
    cluster.restart(&roles.backup);
    cluster.wait_for("a new view with the restarted backup", |view| {
        view.number > roles.number && view.backup.as_ref() == Some(&roles.backup)
    });
    clients.wait_for_progress(&cluster, 3);
    clients.finish(&cluster);
    cluster.wait_for_equal_stores(&roles.primary, &roles.backup);
    cluster.kill(&roles.primary);
    cluster.wait_for_view(&roles.backup, None);
    old_data_is_kept(&cluster);
}

#[test]
fn a_spare_that_restarts_at_once_changes_nothing_and_is_of_use_later() {
    let mut cluster = Cluster::of(3);
    let roles = cluster.roles();
    let spare = &roles.spares[0];
    cluster.script(&[], OLD);
    let clients = Appenders::start(&cluster, 4, "log");
    cluster.restart(spare);
    clients.wait_for_progress(&cluster, 50);
    cluster.assert_no_view_change(&roles);
    cluster.kill(&roles.primary);
    cluster.wait_for_view(&roles.backup, Some(spare));
    clients.wait_for_progress(&cluster, 3);
    clients.finish(&cluster);
    old_data_is_kept(&cluster);
    cluster.wait_for_equal_stores(&roles.backup, spare);
}

#[test]
fn primary_and_backup_restart_one_right_after_the_other_is_back() {
    let mut cluster = Cluster::of(3);
    cluster.script(&[], OLD);
    let clients = Appenders::start(&cluster, 4, "log");
    for _ in 0..2 {
        let roles = cluster.roles();
        cluster.restart(&roles.primary);
        let after = cluster.wait_for_failover(&roles.primary);
        cluster.restart(&after.backup);
        cluster.wait_for("a new view with a backup", |view| {
            view.number > after.number && view.backup.is_some()
        });
        clients.wait_for_progress(&cluster, 1);
    }
    clients.finish(&cluster);
    old_data_is_kept(&cluster);
}

#[test]
fn a_view_server_that_restarts_at_once_goes_on_with_the_same_view() {
    let mut cluster = Cluster::of(3);
    let roles = cluster.roles();
    let clients = Appenders::start(&cluster, 4, "log");
    for _ in 0..3 {
        cluster.kill_view_server();
        cluster.start_view_server();
        cluster.assert_no_view_change(&roles);
        clients.wait_for_progress(&cluster, 1);
    }
    clients.finish(&cluster);
    let view = cluster.view().expect("it answers");
    assert_eq!(view.number, roles.number, "nobody was judged dead");
}

#[test]
fn a_view_server_without_a_record_recovers_from_the_servers_after_a_restart() {
    let mut cluster = Cluster::start(Options { keep_record: false, ..Options::default() });
    let roles = cluster.roles();
    cluster.script(&[], OLD);
    let clients = Appenders::start(&cluster, 4, "log");
    cluster.kill_view_server();
    cluster.start_view_server();
    cluster.wait_for_view(&roles.primary, Some(&roles.backup));
    clients.wait_for_progress(&cluster, 3);
    clients.finish(&cluster);
    old_data_is_kept(&cluster);
    // What was recovered is good enough for a failover.
    cluster.kill(&roles.primary);
    cluster.wait_for_view(&roles.backup, Some(&roles.spares[0]));
    old_data_is_kept(&cluster);
}

#[test]
fn all_servers_restarted_at_once_have_lost_everything_and_nobody_pretends_otherwise() {
    let mut cluster = Cluster::of(2);
    let roles = cluster.roles();
    cluster.script(&[], OLD);
    for id in [&roles.primary, &roles.backup] {
        cluster.kill(id);
    }
    for id in [&roles.primary, &roles.backup] {
        cluster.start_server(id);
    }
    cluster.wait_for("no primary", |view| view.primary.is_none());
    let finished = cluster.client(&["--deadline", "3s", "get", "old"]);
    finished.expect(1, &["unable to execute get"]);
    let view = cluster.view().expect("it answers");
    assert_eq!((view.primary, view.backup), (None, None), "an empty store is not the truth");
}

#[test]
fn a_second_server_with_a_living_id_is_refused_and_the_first_goes_on() {
    let mut cluster = Cluster::of(2);
    let roles = cluster.roles();
    cluster.script(&[], OLD);
    let clients = Appenders::start(&cluster, 2, "log");
    for id in [&roles.primary, &roles.backup] {
        let intruder = cluster.spawn_server(id, "127.0.0.1:0".parse().unwrap());
        let holder = cluster.address(id).to_string();
        intruder.finish().expect_complaint(1, &["in use", id, &holder]);
        assert!(cluster.server(id).is_running());
    }
    clients.wait_for_progress(&cluster, 3);
    clients.finish(&cluster);
    cluster.assert_no_view_change(&roles);
    old_data_is_kept(&cluster);
}

#[test]
fn a_server_comes_back_under_its_id_on_another_address() {
    let mut cluster = Cluster::of(2);
    let roles = cluster.roles();
    cluster.script(&[], OLD);
    cluster.kill(&roles.backup);
    let moved = cluster.spawn_server(&roles.backup, "127.0.0.1:0".parse().unwrap());
    moved.wait_for_log("listening on ");
    cluster.wait_for("a new view with the server that moved", |view| {
        view.number > roles.number && view.backup.as_ref() == Some(&roles.backup)
    });
    cluster.kill(&roles.primary);
    cluster.wait_for("the server that moved is primary", |view| {
        view.primary.as_ref() == Some(&roles.backup)
    });
    old_data_is_kept(&cluster);
}

#[test]
fn servers_that_start_before_the_view_server_find_it_when_it_comes() {
    let mut cluster = Cluster::of(0);
    cluster.kill_view_server();
    cluster.start_server("s1");
    cluster.start_server("s2");
    let early = cluster.session("early client", &["--deadline", "25s"]);
    let mut early = early;
    early.type_line("put early 1");
    assert_eq!(early.answer_within(Duration::from_millis(300)), None);
    cluster.start_view_server();
    cluster.roles();
    assert_eq!(early.next_answer(), "put completed");
}
