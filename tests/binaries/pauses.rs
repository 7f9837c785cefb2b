//! Processes that stop and go on: to everybody else they were dead, to themselves no time passed.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::cluster::{Cluster, Options, PATIENT};
use crate::support::plain::Plain;
use crate::support::process::Signal;
use crate::support::workload::Appenders;
use crate::support::{PATIENCE, amount};

/// Stops the primary through a failover with requests queued in its socket, and continues it.
fn stopped_primary_answers_nothing_from_its_past(options: Options) {
    let mut cluster = Cluster::start(options);
    let roles = cluster.roles();
    let old = cluster.address(&roles.primary);
    cluster.client(&["put", "x", "old"]).expect(0, &["put completed"]);
    // Reads that were answered before, so that a lease, if there is one, is warm.
    cluster.client(&["get", "x"]).expect(0, &["get x returned old"]);
    let clients = Appenders::start(&cluster, 4, "log");
    cluster.server(&roles.primary).signal(Signal::STOP);
    let mut queued = Plain::new();
    for number in 0..20 {
        let request = json!({"type": "client_request", "command": "get", "key": "x"});
        queued.send(old, request.to_string());
        let request = json!({"type": "client_request", "command": "append", "key": "x",
            "value": format!("queued {number}")});
        queued.send(old, request.to_string());
    }
    cluster.wait_for_failover(&roles.primary);
    cluster.client(&["put", "x", "new"]).expect(0, &["put completed"]);
    cluster.server(&roles.primary).signal(Signal::CONT);
    // It hears what it missed, and is of use again.
    cluster.logs.wait_for("the old primary has another role", PATIENCE, || {
        cluster.probed_role(&roles.primary).filter(|role| role != "primary")
    });
    for answer in queued.drain() {
        assert_eq!(answer["type"], "fail", "served after it was replaced: {answer}");
    }
    clients.wait_for_progress(&cluster, 3);
    clients.finish(&cluster);
    cluster.client(&["get", "x"]).expect(0, &["get x returned new"]);
    for answer in queued.drain() {
        assert_eq!(answer["type"], "fail", "served after it was replaced: {answer}");
    }
    let roles = cluster.roles();
    cluster.wait_for_equal_stores(&roles.primary, &roles.backup);
}

#[test]
fn a_primary_stopped_through_a_failover_answers_no_queued_read_and_no_write() {
    stopped_primary_answers_nothing_from_its_past(Options::default());
}

#[test]
fn a_primary_with_a_lease_stopped_through_a_failover_answers_no_queued_read_and_no_write() {
    let view_flags = [PATIENT, &["--lease-reads"]].concat();
    stopped_primary_answers_nothing_from_its_past(Options { view_flags, ..Options::default() });
}

#[test]
fn a_primary_stopped_for_less_than_dead_after_goes_on_where_it_was() {
    let view_flags = vec!["--ping-interval", "200ms", "--dead-after", "2s"];
    let mut cluster = Cluster::start(Options { servers: 2, view_flags, ..Options::default() });
    let roles = cluster.roles();
    let clients = Appenders::start(&cluster, 4, "log");
    cluster.server(&roles.primary).signal(Signal::STOP);
    let request = json!({"type": "client_request", "command": "get", "key": "absent"});
    let mut queued = Plain::new();
    queued.send(cluster.address(&roles.primary), request.to_string());
    assert_eq!(queued.receive(Duration::from_millis(500)), None);
    cluster.server(&roles.primary).signal(Signal::CONT);
    let answer = queued.receive(PATIENCE).expect("it goes on");
    assert_eq!(answer["type"], "success", "{answer}");
    clients.wait_for_progress(&cluster, 3);
    clients.finish(&cluster);
    cluster.assert_no_view_change(&roles);
}

#[test]
fn a_stopped_backup_is_replaced_and_comes_back_as_a_spare() {
    let mut cluster = Cluster::of(3);
    let roles = cluster.roles();
    let clients = Appenders::start(&cluster, 4, "log");
    cluster.server(&roles.backup).signal(Signal::STOP);
    cluster.wait_for_view(&roles.primary, Some(&roles.spares[0]));
    clients.wait_for_progress(&cluster, 3);
    cluster.server(&roles.backup).signal(Signal::CONT);
    cluster.logs.wait_for("the stopped one is a spare", PATIENCE, || {
        cluster.probed_role(&roles.backup).filter(|role| role == "spare")
    });
    clients.wait_for_progress(&cluster, 3);
    clients.finish(&cluster);
    let view = cluster.wait_for_view(&roles.primary, Some(&roles.spares[0]));
    cluster.wait_for_equal_stores(&roles.primary, &roles.spares[0]);
    // Its old copy is worth nothing until it has joined again: then it is as good as any.
    cluster.kill(&roles.spares[0]);
    cluster.wait_for("it joined again", |now| {
        now.number > view.number && now.backup.as_ref() == Some(&roles.backup)
    });
    cluster.wait_for_equal_stores(&roles.primary, &roles.backup);
}

#[test]
fn a_stopped_spare_changes_nothing() {
    let mut cluster = Cluster::of(3);
    let roles = cluster.roles();
    let clients = Appenders::start(&cluster, 2, "log");
    cluster.server(&roles.spares[0]).signal(Signal::STOP);
    // Longer than dead-after: what is checked is that nothing happens.
    let until = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < until {
        clients.wait_for_progress(&cluster, 5);
    }
    cluster.server(&roles.spares[0]).signal(Signal::CONT);
    cluster.logs.wait_for("the spare is back", PATIENCE, || {
        cluster.probed_role(&roles.spares[0]).filter(|role| role == "spare")
    });
    clients.finish(&cluster);
    cluster.assert_no_view_change(&roles);
}

#[test]
fn a_view_server_stopped_for_long_judges_nobody_when_it_goes_on() {
    let mut cluster = Cluster::of(3);
    let roles = cluster.roles();
    let clients = Appenders::start(&cluster, 4, "log");
    for _ in 0..amount(1, 2) {
        cluster.view_server().signal(Signal::STOP);
        // Longer than dead-after: on its own clock nobody has answered for all that time.
        let until = Instant::now() + Duration::from_millis(1500);
        while Instant::now() < until {
            clients.wait_for_progress(&cluster, 5);
        }
        cluster.view_server().signal(Signal::CONT);
        let shown = format!("primary: {} backup: {}", roles.primary, roles.backup);
        assert_eq!(cluster.view_server().ask("view"), shown);
    }
    clients.wait_for_progress(&cluster, 5);
    clients.finish(&cluster);
    cluster.assert_no_view_change(&roles);
}

#[test]
fn everybody_stopped_and_continued_together_loses_nothing() {
    let mut cluster = Cluster::of(2);
    let roles = cluster.roles();
    let clients = Appenders::start(&cluster, 4, "log");
    for signal in [Signal::STOP, Signal::CONT] {
        for id in [&roles.primary, &roles.backup] {
            cluster.server(id).signal(signal);
        }
        cluster.view_server().signal(signal);
        if signal == Signal::STOP {
            std::thread::sleep(Duration::from_millis(1500));
        }
    }
    clients.wait_for_progress(&cluster, 3);
    clients.finish(&cluster);
    let roles = cluster.roles();
    cluster.wait_for_equal_stores(&roles.primary, &roles.backup);
}
