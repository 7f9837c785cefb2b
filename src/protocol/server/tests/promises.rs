//! Promises to a view server that is gone: who begins again because of one, and who never does.

use std::time::Duration;

use super::bench::{Bench, ms};
use crate::protocol::message::Ping;
use crate::protocol::view::Record;
use crate::types::Epoch;

/// Somebody without a record asks for a promise, and is gone.
fn promise_to_nobody(bench: &mut Bench, index: usize) -> Epoch {
    let epoch = Epoch(50, 50);
    let asked = Ping { promise: Some(epoch), ..bench.ping_of(index, None) };
    assert_eq!(bench.ping(index, asked).unwrap().promised, epoch);
    epoch
}

/// Pings with this record for as long as that, each of which names the pong before it.
fn keep_pinging(bench: &mut Bench, index: usize, record: &Record, length: Duration) {
    let until = bench.now + length;
    let mut heard = None;
    while bench.now < until {
        let ping = Ping { heard, ..bench.ping_of(index, Some(record.clone())) };
        heard = bench.ping(index, ping).map(|pong| pong.token);
        bench.run(ms(50));
    }
}

#[test]
fn a_spare_that_promised_itself_to_nobody_begins_again_and_may_join() {
    let mut bench = Bench::pair();
    let (record, former) = (bench.record.clone(), bench.server(3).incarnation());
    promise_to_nobody(&mut bench, 3);
    keep_pinging(&mut bench, 3, &record, ms(700));
    assert_eq!(bench.server(3).incarnation(), former, "whoever it is for may be slow");
    keep_pinging(&mut bench, 3, &record, ms(200));
    assert_ne!(bench.server(3).incarnation(), former);
    bench.alone(1);
    bench.tell(1);
    bench.join_fully(3);
    assert_eq!(bench.role(3), "backup");
}

#[test]
fn a_promise_is_kept_while_somebody_it_may_be_for_is_there() {
    let mut bench = Bench::pair();
    let (record, former) = (bench.record.clone(), bench.server(3).incarnation());
    let promised = promise_to_nobody(&mut bench, 3);
    for _ in 0..10 {
        keep_pinging(&mut bench, 3, &record, ms(400));
        let asked = Ping { promise: Some(promised), ..bench.ping_of(3, None) };
        let heard = bench.ping(3, asked).map(|pong| pong.token);
        let again = Ping { heard, promise: Some(promised), ..bench.ping_of(3, None) };
        bench.ping(3, again);
    }
    assert_eq!(bench.server(3).incarnation(), former);
    assert_eq!(bench.server(3).adopted().map(|it| it.view), Some(record.view.id));
}

#[test]
fn ghosts_of_pings_make_no_server_begin_again() {
    let mut bench = Bench::pair();
    let former = bench.server(3).incarnation();
    promise_to_nobody(&mut bench, 3);
    for _ in 0..60 {
        bench.tell(3);
        bench.run(ms(50));
    }
    assert_eq!(bench.server(3).incarnation(), former, "no ping has named a pong of its own");
}

#[test]
fn a_server_on_which_something_rests_never_begins_again() {
    // The copies, and the first primary of a history, which holds nothing yet.
    let mut bench = Bench::pair();
    let record = bench.record.clone();
    for index in [1, 2] {
        let former = bench.server(index).incarnation();
        promise_to_nobody(&mut bench, index);
        keep_pinging(&mut bench, index, &record, ms(3000));
        assert_eq!(bench.server(index).incarnation(), former);
    }
    // A copy that the record does not name: only the view server knows whether it is needed.
    let alone = {
        bench.alone(1);
        bench.record.clone()
    };
    let former = bench.server(2).incarnation();
    keep_pinging(&mut bench, 2, &alone, ms(3000));
    assert_eq!(bench.server(2).incarnation(), former);
    let mut bench = Bench::new(3);
    promise_to_nobody(&mut bench, 1);
    let former = bench.server(1).incarnation();
    bench.begin(1);
    let first = bench.record.clone();
    assert!(first.is_eligible(former) && bench.copy(1).is_none());
    keep_pinging(&mut bench, 1, &first, ms(3000));
    assert_eq!(bench.server(1).incarnation(), former);
}
