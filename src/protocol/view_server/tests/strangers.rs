//! Answers from where no server was asked, and numbers that nobody has counted to.

use super::bench::{Bench, CLIENT, ms};
use crate::protocol::message::Message;
use crate::protocol::view::Phase;
use crate::types::{COUNT_MAX, Epoch, Incarnation};

#[test]
fn a_pong_from_elsewhere_than_the_ping_went_to_is_not_heard() {
    let mut bench = Bench::pair();
    bench.cut("s2");
    let from = bench.now;
    // Somebody who sees the pings to s2 answers them from another address.
    let mut answered = 0;
    for _ in 0..200 {
        bench.run(ms(5));
        let address = bench.servers["s2"].address;
        let pings = bench.pings.iter().skip(answered).cloned();
        let forged: Vec<_> = pings.filter(|(at, to, _)| *at >= from && *to == address).collect();
        answered = bench.pings.len();
        for (_, _, ping) in forged {
            let mut fake = bench.servers["s2"].clone();
            let pong = fake.on_ping(bench.now, &ping);
            bench.tell_unheard(CLIENT.parse().unwrap(), pong);
        }
    }
    assert!(bench.is("s1", Some("s3"), Phase::Active), "s2 is dead: {:?}", bench.record());
}

#[test]
fn a_promise_above_everything_that_can_be_drawn_is_not_heard() {
    let mut bench = Bench::pair();
    let number = bench.number();
    bench.server("s3").promised = Epoch(COUNT_MAX, 7);
    bench.server("s3").holds_copy = true;
    bench.run(ms(2000));
    assert!(bench.is("s1", Some("s2"), Phase::Active));
    assert_eq!(bench.number(), number, "nobody recovers for that");
    assert_eq!(bench.stopped, None);
    let promised = bench.servers["s3"].promised;
    assert!(promised.0.checked_add(1).is_some());
    let ping = bench.pings[0].2.clone();
    let Message::Pong(mut pong) = bench.servers["s1"].clone().on_ping(bench.now, &ping) else {
        panic!("a ping is answered by a pong")
    };
    pong.promised = Epoch(u64::MAX, 7);
    let address = bench.servers["s1"].address;
    bench.tell_unheard(address, Message::Pong(pong));
    bench.run(ms(100));
    assert!(bench.is("s1", Some("s2"), Phase::Active));
}

#[test]
fn a_flood_of_announces_is_pinged_little_and_keeps_no_server_out() {
    let mut bench = Bench::pair();
    let (number, pings) = (bench.number(), bench.pings.len());
    for flood in 0..2000 {
        let id = format!("flood{flood}");
        bench.announce(&id, Incarnation(1_000_000 + flood), "127.0.0.1:7777");
        if flood % 10 == 0 {
            bench.run(ms(5));
        }
    }
    let pinged = bench.pings.len() - pings;
    assert!(pinged < 8000, "{pinged} pings");
    assert!(bench.status().servers.len() <= 3 + 64);
    bench.start("s4");
    bench.run(ms(300));
    assert!(bench.status().servers.iter().any(|server| server.id == "s4".into() && server.alive));
    bench.run(ms(3000));
    let pings = bench.pings.len();
    bench.run(ms(1000));
    let ghosts = bench.pings[pings..].iter().filter(|(_, to, _)| to.port() == 7777).count();
    assert_eq!(ghosts, 0, "who never answered is left alone");
    assert_eq!(bench.number(), number);
}

#[test]
fn nobody_is_refused_because_another_bears_its_incarnation_for_a_moment() {
    let mut bench = Bench::pair();
    let spare = bench.incarnation("s3");
    let address = bench.servers["s3"].address.to_string();
    for _ in 0..10 {
        bench.announce("s1", spare, &address);
        bench.run(ms(100));
    }
    assert!(bench.refused.is_empty(), "{:?}", bench.refused);
    assert!(bench.status().servers.iter().any(|server| server.id == "s3".into() && server.alive));
}
