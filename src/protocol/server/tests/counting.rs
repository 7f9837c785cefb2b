//! What is counted and measured, and when another server may be stopped.

use super::bench::{Bench, append, get, ms, write};
use crate::protocol::message::{Outcome, Ping};

fn is_ready(bench: &Bench, server: usize) -> bool {
    bench.server(server).readiness(bench.now).is_ok()
}

fn readiness(bench: &Bench) -> [bool; 3] {
    [1, 2, 3].map(|server| is_ready(bench, server))
}

/// Everybody is told the record by pings that name a pong of a moment ago.
fn hear_all(bench: &mut Bench) {
    for server in 1..=3 {
        let token = bench.tell(server).map(|pong| pong.token);
        let record = bench.record.clone();
        let ping = bench.ping_of(server, Some(record));
        bench.ping(server, Ping { heard: token, ..ping });
    }
}

#[test]
fn nobody_but_the_primary_is_ready_while_stopping_it_would_lose_the_last_copy() {
    let mut bench = Bench::solo();
    hear_all(&mut bench);
    assert_eq!(readiness(&bench), [true, false, false], "the spares are waited for");
    bench.join(2);
    hear_all(&mut bench);
    assert_eq!(readiness(&bench), [true, false, false], "the state is being received");
    assert_eq!(bench.role(2), "joining");
    bench.settle();
    bench.propose_pair(2);
    bench.tell_all();
    assert!(!is_ready(&bench, 2), "a view that is only proposed has no second copy");
    bench.activate();
    hear_all(&mut bench);
    assert_eq!(readiness(&bench), [true, true, true]);
}

#[test]
fn a_spare_is_ready_only_while_the_view_server_hears_it_and_the_others_without_it() {
    let mut bench = Bench::pair();
    hear_all(&mut bench);
    assert_eq!(readiness(&bench), [true, true, true]);
    bench.run(ms(400));
    assert_eq!(readiness(&bench), [true, true, false]);
    bench.restart(2);
    assert!(!is_ready(&bench, 2), "another process that holds nothing");
}

#[test]
fn a_request_that_comes_again_is_a_duplicate_and_no_second_operation() {
    use crate::protocol::counts::{Fate, Kind};
    let mut bench = Bench::pair();
    let session = bench.open(1);
    let appended = |bench: &Bench| bench.counts(1).answered(Kind::Append, Fate::Done);
    for number in 1..=5 {
        let before = (appended(&bench), bench.counts(1).repeated_requests);
        let id = bench.ask(1, write(session, number, number - 1, append("k", "x")));
        // Once while it waits for its commit, and once when it is answered.
        bench.resend(1, id);
        bench.settle();
        bench.resend(1, id);
        bench.settle();
        assert_eq!(bench.outcomes(id), [&Outcome::Done, &Outcome::Done]);
        let after = (appended(&bench), bench.counts(1).repeated_requests);
        assert_eq!(after, (before.0 + 1, before.1 + 2));
    }
    bench.ask_now(1, get("k"));
    bench.ask_now(1, get("none"));
    bench.ask_now(2, get("k"));
    assert_eq!(bench.counts(1).answered(Kind::Get, Fate::Done), 1);
    assert_eq!(bench.counts(1).answered(Kind::Get, Fate::Missing), 1);
    assert_eq!(bench.counts(2).answered(Kind::Get, Fate::NotPrimary), 1);
    assert_eq!(bench.counts(1).durations(Kind::Append).buckets.iter().sum::<u64>(), 5);
    assert_eq!(bench.counts(1).resent_replicates, 0);
}

#[test]
fn an_acknowledgement_that_is_lost_makes_a_retransmission_and_a_duplicate_at_the_backup() {
    let mut bench = Bench::pair();
    let session = bench.open(1);
    bench.cut.insert((2, 1));
    let id = bench.ask(1, write(session, 1, 0, append("k", "x")));
    bench.run(ms(100));
    assert!(bench.outcomes(id).is_empty());
    assert!(bench.counts(1).resent_replicates > 0 && bench.counts(1).probes > 0);
    assert!(bench.counts(2).repeated_operations > 0);
    bench.cut.clear();
    bench.run(ms(200));
    assert_eq!(bench.outcomes(id), [&Outcome::Done]);
}
