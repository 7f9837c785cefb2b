//! Rule 6, the grantor's side: nobody else is activated while a lease may be in force.

use std::time::Duration;

use super::bench::{Bench, ms};
use crate::config::{Timing, lease_wait};
use crate::protocol::message::Message;
use crate::protocol::view::Phase;
use crate::time::Timestamp;

fn with_leases() -> Timing {
    Timing::new(ms(50), ms(250), true).unwrap()
}

/// When the record was last durable in this state for the first time.
fn run_until_activation(bench: &mut Bench) -> Timestamp {
    bench.run_until(|bench| bench.is("s2", None, Phase::Active));
    bench.now
}

fn newest_echo(bench: &Bench) -> Option<(Timestamp, u64)> {
    let echo = |(at, _, ping): &(Timestamp, _, crate::protocol::message::Ping)| {
        ping.heard.filter(|_| ping.grants_lease).map(|echo| (*at, echo))
    };
    bench.pings.iter().rev().find_map(echo)
}

#[test]
fn without_lease_reads_nothing_is_echoed() {
    let bench = Bench::pair();
    assert_eq!(newest_echo(&bench), None);
}

#[test]
fn only_the_serving_primary_gets_an_echo_and_only_after_the_lease_is_durable() {
    let bench = Bench::pair_with(with_leases());
    let echoes: Vec<_> = bench.pings.iter().filter(|(_, _, ping)| ping.grants_lease).collect();
    assert!(!echoes.is_empty());
    for (_, to, ping) in echoes {
        let record = ping.record.as_ref().unwrap();
        assert_eq!((to.port(), ping.to), (1001, Some(record.view.primary.incarnation)));
        assert!(Duration::from(record.lease) >= with_leases().lease());
        let answered = bench.told.iter().any(
            |(_, message)| matches!(message, Message::Pong(pong) if Some(pong.token) == ping.heard),
        );
        assert!(answered, "it echoes a pong that was heard");
    }
}

#[test]
fn a_view_server_that_is_restarted_with_leases_records_them_before_it_grants_one() {
    // Sequence (D56): the record knows of no lease, and no view change is to be recorded. The bench
    // compares the record in every ping with what is durable.
    let mut bench = Bench::pair();
    assert_eq!(Duration::from(bench.record().lease), Duration::ZERO);
    bench.restart_view_server(true, with_leases());
    bench.run_until(|bench| newest_echo(bench).is_some());
    assert_eq!(Duration::from(bench.record().lease), with_leases().lease());
}

#[test]
fn a_promotion_waits_for_the_lease_of_the_old_primary() {
    // Sequence: the primary pongs without being judged alive: its id is borne by another process.
    let mut bench = Bench::pair_with(with_leases());
    bench.cut("s1");
    let (granted, _) = newest_echo(&bench).unwrap();
    let activated = run_until_activation(&mut bench);
    assert!(activated.since(granted) + ms(60) >= lease_wait(with_leases().lease()));
    assert!(activated.since(granted) <= ms(450), "a failover pays nothing extra");
}

#[test]
fn after_a_restart_of_the_view_server_the_recorded_lease_is_waited_for() {
    // Sequence (D56): the promotion is recorded, the view server restarts, the backup has adopted.
    // The flags of the new view server say that there are no leases, and judge sooner.
    let long = Timing::new(ms(50), ms(2000), true).unwrap();
    let mut bench = Bench::pair_with(long);
    let lease = Duration::from(bench.record().lease);
    assert_eq!(lease, long.lease());
    bench.server("s2").adopts = false;
    bench.cut("s1");
    bench.run_until(|bench| bench.is("s2", None, Phase::Proposed));
    bench.server("s2").adopts = true;
    bench.restart_view_server(true, Timing::default());
    let started = bench.now;
    let activated = run_until_activation(&mut bench);
    assert!(activated.since(started) >= lease_wait(lease), "{:?}", activated.since(started));
}

#[test]
fn a_restarted_view_server_that_promotes_early_keeps_the_lease_in_mind() {
    // Sequence (D56): restart first, then the promotion is decided within the old lease.
    let long = Timing::new(ms(50), ms(2000), true).unwrap();
    let mut bench = Bench::pair_with(long);
    let lease = Duration::from(bench.record().lease);
    bench.cut("s1");
    bench.restart_view_server(true, Timing::default());
    let started = bench.now;
    bench.run_until(|bench| bench.is("s2", None, Phase::Proposed));
    assert!(bench.now.since(started) < ms(1000));
    assert_eq!(Duration::from(bench.record().lease), lease, "not forgotten in the record");
    let activated = run_until_activation(&mut bench);
    assert!(activated.since(started) >= lease_wait(lease));
}

#[test]
fn a_lease_that_is_over_is_no_longer_recorded() {
    let mut bench = Bench::pair_with(with_leases());
    bench.restart_view_server(true, Timing::default());
    bench.run(ms(1000));
    bench.cut("s2");
    bench.run_until(|bench| bench.is("s1", Some("s3"), Phase::Active));
    assert_eq!(Duration::from(bench.record().lease), Duration::ZERO);
}

#[test]
fn an_old_primary_that_comes_back_does_not_hold_up_the_change() {
    // Sequence (D57): P is paused, the change is decided, P answers pings again and adopts
    // nothing.
    let mut bench = Bench::pair_with(with_leases());
    bench.cut("s1");
    bench.server("s2").adopts = false;
    bench.run_until(|bench| bench.is("s2", None, Phase::Proposed));
    let decided = bench.now;
    bench.server("s1").adopts = false;
    bench.heal("s1");
    bench.run(ms(600));
    assert!(newest_echo(&bench).unwrap().0 < decided, "it gets no further lease");
    bench.server("s2").adopts = true;
    let adopts = bench.now;
    let activated = run_until_activation(&mut bench);
    assert!(activated.since(adopts) < ms(100));
}

#[test]
fn an_old_primary_that_has_adopted_the_change_ends_the_wait() {
    let long = Timing::new(ms(50), ms(2000), true).unwrap();
    let mut bench = Bench::pair_with(long);
    bench.cut("s1");
    bench.restart_view_server(true, Timing::default());
    let started = bench.now;
    bench.run_until(|bench| bench.is("s2", None, Phase::Proposed));
    bench.heal("s1");
    let activated = run_until_activation(&mut bench);
    assert!(activated.since(started) < ms(1500), "{:?}", activated.since(started));
}

#[test]
fn leases_of_a_former_view_server_are_waited_for_after_a_recovery() {
    // Sequence: the record is lost while the former view server goes on granting leases; it is
    // known to have ended only when the primary has promised.
    let long = Timing::new(ms(50), ms(2000), true).unwrap();
    let mut bench = Bench::pair_with(long);
    let lease = long.lease();
    bench.server("s1").hears = false;
    bench.restart_view_server(false, Timing::default());
    bench.run(ms(3000));
    assert_eq!(bench.shown(), (None, None));
    bench.server("s1").hears = true;
    let number = bench.number();
    bench.run_until(|bench| bench.number() > number);
    let promised = bench.now;
    bench.cut("s1");
    let activated = run_until_activation(&mut bench);
    assert!(activated.since(promised) >= lease_wait(lease) - ms(50));
}
