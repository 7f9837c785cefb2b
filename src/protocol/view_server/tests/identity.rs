//! Rule 1: who counts as alive, and as whom.

use std::net::SocketAddr;

use super::bench::{Bench, ms};
use crate::config::Timing;
use crate::protocol::Process;
use crate::protocol::message::{Message, ReportKind};
use crate::protocol::view::Phase;
use crate::types::Incarnation;

#[test]
fn a_restarted_primary_is_another_server_however_fast_it_came_back() {
    // Sequence (D14): the primary comes back empty within 20 ms, at the same address.
    let mut bench = Bench::pair();
    let old = bench.incarnation("s1");
    bench.run(ms(20));
    let new = bench.start("s1");
    bench.run_until(|bench| bench.is("s2", None, Phase::Active) || bench.joining().is_some());
    assert_eq!(bench.record().view.primary.id, "s2".into());
    assert!(!bench.eligible().contains(&old) && !bench.eligible().contains(&new));
    bench.run_until(|bench| bench.is("s2", Some("s1"), Phase::Active));
    assert_eq!(bench.record().view.backup.as_ref().unwrap().incarnation, new);
}

#[test]
fn a_restarted_backup_is_left_out_before_it_joins_anew() {
    // Sequence (D15): the backup comes back empty within 20 ms and would acknowledge.
    let mut bench = Bench::pair();
    let old = bench.incarnation("s2");
    let primary = bench.incarnation("s1");
    let new = bench.start("s2");
    bench.run_until(|bench| bench.eligible() == [primary]);
    assert_ne!(old, new);
    bench.run_until(|bench| bench.is("s1", Some("s2"), Phase::Active));
    assert_eq!(bench.eligible(), [primary, new]);
}

#[test]
fn a_restarted_spare_changes_no_view() {
    let mut bench = Bench::pair();
    let number = bench.number();
    let new = bench.start("s3");
    bench.run(ms(1000));
    assert_eq!(bench.number(), number);
    let status = bench.status();
    let spare = status.servers.iter().find(|server| server.id == "s3".into()).unwrap();
    assert_eq!((spare.incarnation, spare.alive), (Some(new), true));
}

#[test]
fn an_id_in_use_is_refused_only_after_a_fresh_pong_of_its_holder() {
    let mut bench = Bench::pair();
    let second = Incarnation(7);
    // The holder's answers are on their way for a while.
    bench.server("s2").speaks = false;
    bench.run(ms(20));
    bench.announce("s2", second, "127.0.0.1:7000");
    bench.run(ms(100));
    assert!(bench.refused.is_empty(), "nothing is known of the holder since");
    bench.server("s2").speaks = true;
    bench.run(ms(60));
    assert_eq!(bench.refused, [second]);
    let status = bench.status();
    let holder = status.servers.iter().find(|server| server.id == "s2".into()).unwrap();
    assert_eq!(holder.incarnation, Some(bench.incarnation("s2")));
}

#[test]
fn the_last_copy_serves_again_after_another_process_bore_its_id_for_a_while() {
    // Sequence: 1. the last copy is cut off .. 2. another process with its id starts, is taken for
    // its successor and ends .. 3. the copy is there again.
    let mut bench = Bench::new();
    let holder = bench.start("s1");
    bench.run_until(|bench| bench.is("s1", None, Phase::Active));
    let copy = bench.servers.remove("s1").unwrap();
    let other = bench.start("s1");
    bench.run(ms(1000));
    assert_eq!(bench.status().servers[0].incarnation, Some(other));
    bench.announce("s1", holder, "127.0.0.1:1001");
    bench.run(ms(100));
    assert!(bench.refused.is_empty(), "the last copy is never told to end itself");
    bench.servers.insert("s1", copy);
    bench.run(ms(1000));
    assert_eq!(bench.shown().0, Some("s1".to_owned()));
    assert_eq!(bench.eligible(), [holder]);
    assert!(bench.refused.is_empty());
}

#[test]
fn a_ghost_announce_of_a_former_process_supersedes_nobody() {
    // Sequence (D51): an announce of a process that is long gone arrives again and again.
    let mut bench = Bench::pair();
    let former = bench.incarnation("s3");
    bench.start("s3");
    bench.run(ms(1000));
    let number = bench.number();
    for _ in 0..40 {
        bench.announce("s3", former, "127.0.0.1:1003");
        bench.announce("s1", Incarnation(8), "127.0.0.1:7001");
        bench.run(ms(25));
    }
    assert_eq!(bench.number(), number);
    assert_eq!(bench.shown(), (Some("s1".to_owned()), Some("s2".to_owned())));
    assert!(!bench.refused.contains(&former), "it is known to be gone");
}

#[test]
fn an_announce_alone_takes_over_no_id_and_is_no_sign_of_life() {
    // Sequence (D21, D51): the backup dies; announces of it and of a ghost keep arriving.
    let mut bench = Bench::pair();
    let backup = bench.incarnation("s2");
    bench.cut("s2");
    for _ in 0..16 {
        bench.announce("s2", backup, "127.0.0.1:1002");
        bench.announce("s2", Incarnation(9), "127.0.0.1:7002");
        bench.run(ms(25));
    }
    assert!(!bench.eligible().contains(&backup), "it is dead, whatever is announced");
    let status = bench.status();
    let known = status.servers.iter().find(|server| server.id == "s2".into()).unwrap();
    assert_eq!((known.incarnation, known.alive), (Some(backup), false));
}

#[test]
fn pongs_that_arrive_again_keep_nobody_alive() {
    // Sequence (D21): every pong that the primary ever sent is replayed after its death.
    let mut bench = Bench::pair();
    bench.cut("s1");
    let start = bench.now;
    while bench.is("s1", Some("s2"), Phase::Active) {
        bench.run(ms(20));
        bench.replay_everything();
        assert!(bench.now.since(start) < ms(320), "the failover is held up");
    }
}

#[test]
fn what_answers_no_ping_of_this_view_server_counts_for_nothing() {
    let mut bench = Bench::pair();
    bench.cut("s1");
    let (from, pong) = bench
        .told
        .iter()
        .rev()
        .find(|(from, message)| from.port() == 1001 && matches!(message, Message::Pong(_)))
        .cloned()
        .unwrap();
    let Message::Pong(pong) = pong else { panic!() };
    let start = bench.now;
    while bench.is("s1", Some("s2"), Phase::Active) {
        bench.run(ms(10));
        let newest = bench.pings.last().unwrap().2.nonce;
        for nonce in newest.saturating_sub(20)..newest + 20 {
            let mut forged = pong.clone();
            (forged.to, forged.nonce) = (Incarnation(55), nonce);
            bench.tell(from, Message::Pong(forged));
        }
        assert!(bench.now.since(start) < ms(400), "answers to somebody else count");
    }
}

#[test]
fn an_answer_to_a_ping_for_another_process_does_not_count() {
    // Sequence (D15): the known process is silent, and another one that claims its id answers the
    // ping that was meant for it.
    let mut bench = Bench::pair();
    let known = bench.incarnation("s3");
    bench.cut("s3");
    let from = bench.pings.len();
    bench.run_until(|bench| bench.pings[from..].iter().any(|ping| ping.2.to == Some(known)));
    let (sent, to, ping) =
        bench.pings[from..].iter().find(|ping| ping.2.to == Some(known)).cloned().unwrap();
    bench.announce("s3", Incarnation(9), "127.0.0.1:7002");
    let Message::Pong(mut pong) = bench.server("s3").on_ping(sent, &ping) else { panic!() };
    pong.from = Incarnation(9);
    bench.tell(to, Message::Pong(pong));
    bench.run(ms(500));
    let status = bench.status();
    let tracked = status.servers.iter().find(|server| server.id == "s3".into()).unwrap();
    assert_eq!(tracked.incarnation, Some(known), "the other one was never asked");
}

#[test]
fn an_answer_to_an_old_ping_is_no_sign_of_life() {
    // Sequence: one answer is late, the next one is not, then the server dies.
    let mut bench = Bench::pair();
    let backup = bench.incarnation("s2");
    bench.server("s2").speaks = false;
    let from = bench.pings.len();
    let is_its = |ping: &&(_, SocketAddr, _)| ping.1.port() == 1002;
    bench.run_until(|bench| bench.pings[from..].iter().any(|ping| is_its(&ping)));
    let (sent, to, ping) = bench.pings[from..].iter().find(is_its).cloned().unwrap();
    let pong = bench.server("s2").on_ping(sent, &ping);
    bench.run(ms(5));
    bench.server("s2").speaks = true;
    bench.run(ms(12));
    bench.cut("s2");
    bench.run_until(|bench| bench.now.since(sent) >= ms(251));
    assert!(bench.eligible().contains(&backup), "it is not dead yet");
    bench.tell(to, pong);
    bench.run(ms(60));
    assert!(!bench.eligible().contains(&backup), "what it said long ago keeps it alive");
}

#[test]
fn a_late_answer_to_an_earlier_ping_is_a_sign_of_life_and_no_news() {
    // Sequence (D21): one answer is delayed, and overtaken by the next one.
    let mut bench = Bench::pair();
    let backup = bench.incarnation("s2");
    bench.server("s1").speaks = false;
    let from = bench.pings.len();
    let is_its = |ping: &&(_, SocketAddr, _)| ping.1.port() == 1001;
    bench.run_until(|bench| bench.pings[from..].iter().any(|ping| is_its(&ping)));
    let (sent, to, ping) = bench.pings[from..].iter().find(is_its).cloned().unwrap();
    bench.server("s1").says = vec![(backup, ReportKind::Stalled)];
    let late = bench.server("s1").on_ping(sent, &ping);
    bench.run(ms(5));
    bench.server("s1").says = Vec::new();
    bench.server("s1").speaks = true;
    bench.run(ms(60));
    let primary = bench.record().view.primary.clone();
    let before = bench.view_server.roster.known(&primary).unwrap().clone();
    bench.tell(to, late);
    let known = bench.view_server.roster.known(&primary).unwrap();
    assert_eq!((known.answered, known.token), (before.answered, before.token));
    assert_eq!(known.reports, before.reports);
    assert!(known.heard > before.heard);
}

#[test]
fn a_challenger_that_died_meanwhile_is_not_taken_for_alive() {
    // Sequence: s3 restarts twice; the second process answers once and dies before the first one
    // is judged. The third is the one that lives.
    let mut bench = Bench::pair();
    bench.start("s3");
    bench.run(ms(20));
    bench.cut("s3");
    bench.run(ms(235));
    bench.run(ms(30));
    let status = bench.status();
    let known = status.servers.iter().find(|server| server.id == "s3".into()).unwrap();
    assert!(!known.alive, "its last sign of life is older than dead-after");
    let third = bench.start("s3");
    bench.run(ms(300));
    let status = bench.status();
    let known = status.servers.iter().find(|server| server.id == "s3".into()).unwrap();
    assert_eq!((known.incarnation, known.alive), (Some(third), true));
}

#[test]
fn ghosts_do_not_push_out_a_process_that_has_answered() {
    // Sequence (D51): s3 restarts and answers; before its predecessor is judged, announces of
    // processes that are long gone arrive.
    let mut bench = Bench::pair();
    let new = bench.start("s3");
    bench.run(ms(40));
    bench.server("s3").speaks = false;
    for ghost in 500..530 {
        bench.announce("s3", Incarnation(ghost), "127.0.0.1:7003");
        bench.run(ms(10));
    }
    let status = bench.status();
    let known = status.servers.iter().find(|server| server.id == "s3".into()).unwrap();
    assert_eq!(known.incarnation, Some(new), "it has answered, the ghosts have not");
}

#[test]
fn a_server_that_moved_is_found_where_it_announces_itself() {
    let mut bench = Bench::pair();
    bench.cut("s1");
    bench.cut("s2");
    bench.run(ms(400));
    bench.heal("s1");
    bench.server("s1").address = "127.0.0.1:4444".parse().unwrap();
    bench.run(ms(600));
    assert_eq!(bench.shown().0, Some("s1".to_owned()), "the last copy answers");
}

#[test]
fn a_flood_of_questions_makes_nobody_look_dead() {
    // Sequence: so many ask for a fresh view that pings would be forgotten before their answers
    // come.
    let mut bench = Bench::pair();
    bench.delay = ms(20);
    let number = bench.number();
    for round in 0..80 {
        for client in 0..100 {
            bench.ask_fresh(round * 100 + client);
        }
        bench.run(ms(5));
    }
    assert_eq!(bench.number(), number);
    let recent = bench.now - ms(100);
    let pings = bench.pings.iter().filter(|(at, _, _)| *at > recent).count();
    assert!(pings < 100, "{pings} pings in 100 ms");
}

#[test]
fn the_number_of_ids_is_bounded() {
    let mut bench = Bench::pair();
    for number in 0..3000 {
        bench.announce(&format!("x{number}"), Incarnation(5000 + number), "127.0.0.1:7003");
    }
    assert!(bench.status().servers.len() <= 1024);
    bench.run(ms(50));
    assert_eq!(bench.shown(), (Some("s1".to_owned()), Some("s2".to_owned())));
}

#[test]
fn a_server_that_is_new_is_remembered_durably() {
    // A view server that restarts without a view change must look for all of them.
    let bench = Bench::pair();
    let last = bench.persisted.last().unwrap();
    assert!(last.addresses.contains_key(&"s3".into()));
}

#[test]
fn pings_far_shorter_than_the_way_of_a_datagram_kill_nobody() {
    let mut bench = Bench::with(Timing::new(ms(1), ms(60), false).unwrap());
    bench.delay = ms(14);
    bench.start("s1");
    bench.run_until(|bench| bench.is("s1", None, Phase::Active));
    let number = bench.number();
    bench.run(ms(1000));
    assert_eq!(bench.number(), number);
    assert_eq!(bench.shown().0, Some("s1".to_owned()));
}

#[test]
fn a_pause_of_the_view_server_kills_nobody() {
    // Sequence (D33): it is stopped for long; every timer is due before a datagram was read.
    for pause in [ms(110), ms(260), ms(3000)] {
        let mut bench = Bench::pair();
        let number = bench.number();
        bench.pause_view_server(pause);
        bench.wake();
        // And then, what one of them sends is lost for half of dead-after.
        bench.cut("s1");
        bench.run(ms(140));
        bench.heal("s1");
        bench.run(ms(1000));
        assert_eq!(bench.number(), number);
        assert!(bench.view_server.poll_timeout().is_some());
    }
}

#[test]
fn an_answer_from_before_a_pause_activates_nobody() {
    // Sequence (D33): 1. the backup adopts the view that promotes it, and dies while the lease of
    // the old primary is waited for .. 2. the view server is stopped for longer than that ..
    // 3. it forgives everybody. The old primary is the last copy that lives.
    let long = Timing::new(ms(50), ms(2000), true).unwrap();
    let mut bench = Bench::pair_with(long);
    let both = bench.eligible();
    bench.cut("s1");
    bench.restart_view_server(true, Timing::default());
    bench.run_until(|bench| bench.is("s2", None, Phase::Proposed));
    bench.run(ms(100));
    bench.cut("s2");
    bench.pause_view_server(ms(3000));
    bench.wake();
    bench.run(ms(500));
    assert_eq!(bench.eligible(), both, "a dead server was activated");
    bench.heal("s1");
    bench.run_until(|bench| bench.eligible() == [both[0]]);
}

#[test]
fn after_a_pause_the_dead_are_still_found() {
    let mut bench = Bench::pair();
    bench.pause_view_server(ms(1000));
    bench.cut("s1");
    bench.wake();
    bench.run_until(|bench| bench.is("s2", None, Phase::Active));
}

#[test]
fn without_faults_there_is_no_view_change() {
    let mut bench = Bench::pair();
    bench.duplicates = true;
    let number = bench.number();
    bench.run(ms(5000));
    assert_eq!(bench.number(), number);
}
