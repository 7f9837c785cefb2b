//! When every copy is gone: nobody pretends, and only the operator starts anew.

use std::time::{Duration, Instant};

use crate::support::PATIENCE;
use crate::support::cluster::Cluster;
use crate::support::process::Signal;

/// Gives up all data. Refused for a moment after the last copy answered for the last time.
#[track_caller]
fn reset(cluster: &mut Cluster) {
    let logs = cluster.logs.clone();
    logs.wait_for("reset is accepted", PATIENCE, || {
        let answer = cluster.view_server().ask("reset --accept-loss");
        (answer != "unable to execute reset").then_some(())
    });
}

/// Kills both copies of a cluster of three; the third server is and stays a spare.
fn lose_both_copies(cluster: &mut Cluster) -> String {
    let roles = cluster.roles();
    cluster.client(&["put", "old", "1"]).expect(0, &["put completed"]);
    // Together: no time to replace either.
    cluster.kill(&roles.backup);
    cluster.kill(&roles.primary);
    cluster.wait_for("no primary", |view| view.primary.is_none());
    roles.spares[0].clone()
}

#[test]
fn both_copies_lost_the_view_is_none_the_spare_is_not_promoted_and_reset_starts_again() {
    let mut cluster = Cluster::of(3);
    let before = cluster.roles();
    let spare = lose_both_copies(&mut cluster);
    // Longer than any judgement takes: what is checked is that nothing happens.
    let until = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < until {
        let view = cluster.view().expect("it answers");
        assert_eq!((view.primary, view.backup), (None, None));
    }
    assert_eq!(cluster.view_server().ask("view"), "primary: none backup: none");
    cluster.client(&["view"]).expect(0, &["primary: none backup: none"]);
    let finished = cluster.client(&["--deadline", "1s", "put", "a", "1"]);
    finished.expect(1, &["unable to execute put"]);
    // For whom everybody waits.
    finished.expect_complaint(1, &["primary", &before.primary]);

    // They come back empty-handed, and that is no reason to serve.
    cluster.start_server(&before.primary);
    let finished = cluster.client(&["--deadline", "1s", "get", "old"]);
    finished.expect(1, &["unable to execute get"]);

    // Without confirmation nothing happens.
    let view_server = cluster.view_server();
    view_server.type_line("reset");
    view_server.type_line("no");
    view_server.type_line("view");
    view_server
        .stdout
        .wait_for(1, PATIENCE, |line| line == "primary: none backup: none")
        .expect("no is no");

    reset(&mut cluster);
    let roles = cluster.roles();
    assert!([&roles.primary, &roles.backup].contains(&&spare));
    cluster.client(&["get", "old"]).expect(0, &["get old returned null"]);
    cluster.client(&["put", "a", "1"]).expect(0, &["put completed"]);
    cluster.client(&["get", "a"]).expect(0, &["get a returned 1"]);
    assert_eq!(cluster.wait_for_equal_stores(&roles.primary, &roles.backup), ["a : [1]"]);
}

#[test]
fn reset_is_refused_while_a_server_answers_that_holds_the_data() {
    let mut cluster = Cluster::of(2);
    let roles = cluster.roles();
    cluster.client(&["put", "old", "1"]).expect(0, &["put completed"]);
    let view_server = cluster.view_server();
    assert_eq!(view_server.ask("reset --accept-loss"), "unable to execute reset");
    let said = view_server.stderr.wait_for(0, PATIENCE, |line| line.contains("answer"));
    let (_, said) = said.expect("it says why");
    assert!([&roles.primary, &roles.backup].iter().any(|id| said.contains(id.as_str())), "{said}");
    cluster.assert_no_view_change(&roles);
    cluster.client(&["get", "old"]).expect(0, &["get old returned 1"]);
}

#[test]
fn a_copy_that_was_only_silent_serves_again_when_it_answers() {
    let mut cluster = Cluster::of(3);
    let roles = cluster.roles();
    cluster.client(&["put", "old", "1"]).expect(0, &["put completed"]);
    cluster.server(&roles.primary).signal(Signal::STOP);
    cluster.kill(&roles.backup);
    cluster.wait_for("no primary", |view| view.primary.is_none());
    cluster.server(&roles.primary).signal(Signal::CONT);
    cluster.wait_for_view(&roles.primary, Some(&roles.spares[0]));
    cluster.client(&["get", "old"]).expect(0, &["get old returned 1"]);
}

#[test]
fn reset_starts_again_with_a_client_and_a_session_from_before() {
    let mut cluster = Cluster::of(2);
    let roles = cluster.roles();
    let mut session = cluster.session("session", &["--deadline", "20s"]);
    assert_eq!(session.ask("put a 1"), "put completed");
    cluster.kill(&roles.primary);
    cluster.kill(&roles.backup);
    cluster.start_server(&roles.primary);
    cluster.start_server(&roles.backup);
    cluster.wait_for("no primary", |view| view.primary.is_none());
    reset(&mut cluster);
    cluster.roles();
    assert_eq!(session.ask("get a"), "get a returned null");
    assert_eq!(session.ask("put a 2"), "put completed");
    assert_eq!(session.ask("get a"), "get a returned 2");
}
