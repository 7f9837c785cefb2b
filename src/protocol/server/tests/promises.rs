//! Who begins again, because of a promise to a view server that is gone or because another process
//! bore its id, and who never does.

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

/// The view server says that this server was superseded, in answer to its newest pong.
fn told_superseded(bench: &mut Bench, index: usize, record: &Record) -> Ping {
    let ping = bench.ping_of(index, Some(record.clone()));
    let heard = bench.ping(index, ping).map(|pong| pong.token);
    Ping { heard, superseded: true, ..bench.ping_of(index, Some(record.clone())) }
}

#[test]
fn a_server_that_was_superseded_begins_again_and_may_join() {
    let mut bench = Bench::pair();
    bench.alone(1);
    bench.tell(1);
    let record = bench.record.clone();
    // One holds a copy of no further use, the other one nothing.
    for index in [2, 3] {
        let former = bench.server(index).incarnation();
        let told = told_superseded(&mut bench, index, &record);
        assert_eq!(bench.ping(index, told), None, "what it was answers no more");
        assert_ne!(bench.server(index).incarnation(), former);
        assert!(bench.copy(index).is_none());
    }
    bench.join_fully(3);
    assert_eq!(bench.role(3), "backup");
}

#[test]
fn a_ghost_of_the_news_that_it_was_superseded_costs_no_server_its_copy() {
    // Sequence: 1. a server hears that it was superseded, but the datagram takes another, longer
    // way as well .. 2. meanwhile it has joined.
    let mut bench = Bench::pair();
    bench.alone(1);
    bench.tell(1);
    let record = bench.record.clone();
    let ghost = told_superseded(&mut bench, 3, &record);
    bench.join_fully(3);
    let late = Ping { record: Some(bench.record.clone()), ..ghost.clone() };
    bench.run(ms(300));
    for ghost in [ghost, late] {
        let former = bench.server(3).incarnation();
        bench.ping(3, ghost);
        assert_eq!(bench.server(3).incarnation(), former);
        assert_eq!(bench.role(3), "backup");
    }
}

#[test]
fn a_copy_is_not_given_up_for_what_a_view_server_said_that_may_be_gone() {
    // Sequence: 1. the backup is told that it was superseded, but the datagram is delayed .. 2. the
    // view server and its record are lost: what the backup knows may be the newest there is.
    let mut bench = Bench::pair();
    let before = bench.record.clone();
    let ping = bench.ping_of(2, Some(before));
    let heard = bench.ping(2, ping).map(|pong| pong.token);
    bench.alone(1);
    let record = bench.record.clone();
    bench.run(ms(300));
    let former = bench.server(2).incarnation();
    let ghost = Ping { heard, superseded: true, ..bench.ping_of(2, Some(record)) };
    bench.ping(2, ghost);
    assert_eq!(bench.server(2).incarnation(), former);
    assert!(bench.copy(2).is_some());
}

#[test]
fn only_a_record_of_its_own_history_that_is_as_new_takes_a_copy_away() {
    let mut bench = Bench::pair();
    let before = bench.record.clone();
    bench.alone(1);
    bench.tell_all();
    let mut older = before;
    older.view.backup = None;
    older.eligible.truncate(1);
    let mut foreign = bench.record.clone();
    foreign.history.0 += 1;
    let former = bench.server(2).incarnation();
    for record in [older, foreign] {
        let told = told_superseded(&mut bench, 2, &record);
        bench.ping(2, told);
        assert_eq!(bench.server(2).incarnation(), former, "{record:?}");
    }
    // And whoever was promised a newer epoch may have counted what the copy knows.
    let (record, former) = (bench.record.clone(), bench.server(2).incarnation());
    promise_to_nobody(&mut bench, 2);
    let told = told_superseded(&mut bench, 2, &record);
    bench.ping(2, told);
    assert_eq!(bench.server(2).incarnation(), former);
    // One that rests on the server is no reason, and no record at all says nothing.
    let rests = bench.record.clone();
    let primary = bench.server(1).incarnation();
    let told = told_superseded(&mut bench, 1, &rests);
    bench.ping(1, told);
    assert_eq!(bench.server(1).incarnation(), primary);
    let record = bench.record.clone();
    let told = Ping { record: None, ..told_superseded(&mut bench, 2, &record) };
    bench.ping(2, told);
    assert_eq!(bench.server(2).incarnation(), former);
}
