//! A process whose id another one has borne since: who is told, and who must not be.

use super::bench::{Bench, Fake, ms};
use crate::protocol::message::Ping;
use crate::protocol::view::Phase;
use crate::types::Incarnation;

const ELSEWHERE: &str = "127.0.0.1:7007";

/// What was sent to a process since a point in the list of pings.
fn pings_to(bench: &Bench, from: usize, to: Incarnation) -> Vec<Ping> {
    let pings = bench.pings[from..].iter().map(|(_, _, ping)| ping.clone());
    pings.filter(|ping| ping.to == Some(to)).collect()
}

fn is_told(bench: &Bench, to: Incarnation) -> bool {
    pings_to(bench, 0, to).iter().any(|ping| ping.superseded)
}

/// Another process takes a server's id; the former one, which is silent until it is asked.
fn supersede(bench: &mut Bench, id: &'static str) -> Fake {
    let former = bench.servers.remove(id).unwrap();
    let other = bench.start(id);
    bench.run(ms(1000));
    let status = bench.status();
    let known = status.servers.iter().find(|server| server.id == id.into()).unwrap();
    assert_eq!(known.incarnation, Some(other));
    former
}

/// It announces itself from another place, and answers what it is asked there.
fn announces_and_answers(bench: &mut Bench, former: &mut Fake) {
    let from = bench.pings.len();
    bench.announce(&former.id.clone().to_string(), former.incarnation, ELSEWHERE);
    for ping in pings_to(bench, from, former.incarnation) {
        let pong = former.on_ping(bench.now, &ping);
        bench.tell(ELSEWHERE.parse().unwrap(), pong);
    }
}

#[test]
fn a_superseded_process_that_answers_is_told_and_one_that_is_gone_is_not() {
    let mut bench = Bench::pair();
    let mut former = supersede(&mut bench, "s3");
    for _ in 0..10 {
        bench.announce("s3", former.incarnation, ELSEWHERE);
        bench.run(ms(25));
    }
    assert!(!is_told(&bench, former.incarnation), "ghosts answer nothing");
    let asked = pings_to(&bench, 0, former.incarnation).len();
    (0..100).for_each(|_| bench.announce("s3", former.incarnation, ELSEWHERE));
    let asked = pings_to(&bench, 0, former.incarnation).len() - asked;
    assert!(asked <= 1, "a flood of announces is one of {asked} pings");
    bench.run(ms(100));
    announces_and_answers(&mut bench, &mut former);
    let told = bench.pings.last().unwrap();
    assert!(told.2.superseded && told.2.to == Some(former.incarnation), "{told:?}");
    assert_eq!(told.1, ELSEWHERE.parse().unwrap());
    assert_eq!(
        told.2.heard,
        Some(told.2.nonce - 1),
        "it names the pong that answered the ping before"
    );
    assert_eq!(told.2.record.as_ref(), Some(bench.record()));
    assert!(!bench.refused.contains(&former.incarnation));
}

#[test]
fn the_last_copy_is_not_told_whoever_bears_its_id() {
    let mut bench = Bench::new();
    let holder = bench.start("s1");
    bench.run_until(|bench| bench.is("s1", None, Phase::Active));
    let mut copy = supersede(&mut bench, "s1");
    assert_eq!(copy.incarnation, holder);
    for _ in 0..10 {
        announces_and_answers(&mut bench, &mut copy);
        bench.run(ms(100));
    }
    assert!(!pings_to(&bench, 0, holder).is_empty());
    assert!(!is_told(&bench, holder), "the service waits for it");
}

#[test]
fn a_superseded_process_that_knows_a_newer_record_is_not_told() {
    let mut bench = Bench::pair();
    let mut former = supersede(&mut bench, "s3");
    let mut newer = bench.record().clone();
    newer.view.id.number += 1;
    former.record = Some(newer);
    announces_and_answers(&mut bench, &mut former);
    assert!(!is_told(&bench, former.incarnation), "another view server may need it");
}
