//! The runs of INVARIANTS.md part 3.

use crate::bounded::search;
use crate::clients::Do::{Append, Get, Put};
use crate::properties::seen;
use crate::walk::walk;
use crate::world::Plan;

#[test]
fn one_client_and_one_server_put_append_get() {
    let scripts = vec![vec![Put(1), Append(2), Get]];
    let plan = Plan { servers: 1, scripts, asks: 2, ..Plan::default() };
    let covered = search("1 one server", plan, 100_000);
    assert!(covered.is_complete);
}

#[test]
fn one_client_and_a_pair_with_a_failover() {
    let scripts = vec![vec![Put(1), Get]];
    let plan = Plan { servers: 2, scripts, rulings: 2, ..Plan::default() };
    let covered = search("2 failover", plan, 30_000);
    assert!(seen(&covered.goals().failovers) > 0);
}

#[test]
fn biased_walks_with_three_servers_and_two_clients() {
    let scripts = vec![vec![Append(1), Get, Append(2), Get], vec![Append(3), Append(4), Get]];
    let plan = Plan {
        scripts,
        rulings: 12,
        crashes: 2,
        timers: 6,
        asks: 20,
        stale_pongs: true,
        ..Plan::default()
    };
    let walked = walk("5 walks", &plan, 0..200, 200);
    assert!(walked.steps > 0);
}
