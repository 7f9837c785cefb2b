//! Messages that only servers send, from where no server is.

use super::bench::{Bench, address, append, client, ms, write};
use crate::protocol::message::{Message, NewerView, Refused, Speaker};
use crate::protocol::view::Phase;
use crate::types::Epoch;

#[test]
fn what_servers_say_counts_only_from_where_they_are() {
    let mut bench = Bench::pair();
    let session = bench.open(1);
    bench.ask_now(1, write(session, 1, 0, append("k", "v")));
    let said: Vec<_> = bench.log.clone();
    assert!(said.len() > 5);
    let before = (bench.server(1).clone(), bench.server(2).clone());
    let mut strange = [0, 0];
    for envelope in said.into_iter().filter(|envelope| envelope.to <= 2) {
        strange[envelope.to - 1] += 1;
        bench.handle(envelope.to, address(3), envelope.message);
    }
    assert_eq!((bench.server(1), bench.server(2)), (&before.0, &before.1));
    let counted = [1, 2].map(|index| bench.counts(index).strange_messages);
    assert_eq!(counted, strange);
}

#[test]
fn a_forged_view_and_a_forged_refusal_end_nothing() {
    let mut bench = Bench::pair();
    let mut record = bench.record.clone();
    record.view.id.epoch = Epoch(1000, 1);
    record.view.primary = bench.member(3);
    record.view.backup = None;
    record.phase = Phase::Active;
    let before = bench.server(1).clone();
    let to = bench.member(1).incarnation;
    let mut ping = bench.ping_of(1, Some(record.clone()));
    ping.promise = Some(Epoch(1000, 1));
    let forged = [
        Message::NewerView(NewerView { to, record }.into()),
        Message::Refused(Refused { to, holder: client() }),
        Message::Ping(Box::new(ping)),
    ];
    for message in forged {
        assert_ne!(message.speaker(), Speaker::Anybody);
        bench.handle(1, client(), message.clone());
        if message.speaker() == Speaker::ViewServer {
            // Another server is no view server.
            bench.handle(1, address(2), message);
        }
    }
    assert_eq!(bench.server(1), &before);
    assert!(bench.stops.is_empty());
    bench.run(ms(100));
    assert!(bench.is_serving(1));
}
