//! The runs of the model checker, from one server to two view servers.
//!
//! Each has two sizes: one that every `cargo test` can afford, and a deep one (`scripts/model.sh`,
//! or `PBKV_MODEL_DEEP=1`) that searches and walks much further. `PBKV_MODEL_SEED` moves the walks to
//! other seeds. A search that is "cut" has seen every state up to a depth, the walks go deeper.

use crate::bounded::{Covered, search};
use crate::clients::Do::{self, Append, Get, Put, Remove};
use crate::properties::seen;
use crate::timed::{self, Faults};
use crate::walk::{Walked, walk};
use crate::world::{Plan, Start};

fn is_deep() -> bool {
    std::env::var_os("PBKV_MODEL_DEEP").is_some()
}

fn states(quick: usize, deep: usize) -> usize {
    if is_deep() { deep } else { quick }
}

fn walks(quick: u64, deep: u64) -> std::ops::Range<u64> {
    let first =
        std::env::var("PBKV_MODEL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    first..first + if is_deep() { deep } else { quick }
}

/// One client's script each.
fn scripts(scripts: &[&[Do]]) -> Vec<Vec<Do>> {
    scripts.iter().map(|script| script.to_vec()).collect()
}

fn done(covered: &Covered) {
    assert!(seen(&covered.goals().all_done) > 0, "some order of events serves every client");
    assert!(covered.states > 0 && covered.depth > 0);
}

#[test]
fn run_1_one_server_serves_put_append_get() {
    let scripts = scripts(&[&[Put(1), Append(2), Get, Remove, Get]]);
    let plan = Plan { servers: 1, scripts, asks: 3, ..Plan::default() };
    let covered = search("1 one server", plan, 1_000_000);
    assert!(covered.is_complete);
    done(&covered);
}

#[test]
fn run_2_a_pair_and_a_spare_serve_put_and_get_through_view_changes() {
    let scripts = scripts(&[&[Put(1), Get]]);
    let calm = Plan { scripts: scripts.clone(), asks: 2, ..Plan::default() };
    let covered = search("2 no view change", calm, 1_000_000);
    assert!(covered.is_complete);
    done(&covered);
    let change = Plan { rulings: states(3, 5), stale_pongs: true, scripts, ..Plan::default() };
    let covered = search("2 view changes", change, states(20_000, 1_000_000));
    done(&covered);
    assert!(seen(&covered.goals().failovers) > 0);
}

#[test]
fn run_3_two_appends_in_any_order_of_arrival() {
    let scripts = scripts(&[&[Append(1)], &[Append(2), Get]]);
    let plan = Plan {
        servers: 2,
        scripts,
        flush_at_once: false,
        timers: 1,
        rulings: 2,
        asks: 2,
        ..Plan::default()
    };
    done(&search("3 two appends", plan, states(20_000, 1_000_000)));
}

#[test]
fn run_4_a_backup_that_was_deaf_while_the_primary_served_alone() {
    let scripts = scripts(&[&[Append(1)], &[Append(2), Get]]);
    let plan =
        Plan { servers: 2, scripts, start: Start::AloneWithWrite, rulings: 6, ..Plan::default() };
    let covered = search("4 stale backup", plan, states(30_000, 1_000_000));
    done(&covered);
    assert!(seen(&covered.goals().failovers) > 0, "the backup takes over in the end");
}

#[test]
fn run_5_biased_walks_with_everything() {
    let scripts = scripts(&[&[Append(1), Get, Append(2), Get], &[Append(3), Append(4), Get]]);
    let plan = Plan {
        scripts,
        rulings: 14,
        crashes: 2,
        timers: 6,
        asks: 20,
        stale_pongs: true,
        flush_at_once: false,
        ..Plan::default()
    };
    let Walked { world, steps } = walk("5 walks", &plan, walks(300, 12_000), 300);
    assert!(steps > 0);
    let goals = &world.goals;
    assert!(seen(&goals.swapped_roles) > 0, "a view with swapped roles");
    assert!(seen(&goals.spare_promoted) > 0, "a spare that joined is promoted");
    assert!(seen(&goals.duplicate_suppressed) > 0, "a duplicate is suppressed");
    assert!(seen(&goals.healed) > 0);
}

#[test]
fn run_6_a_server_loses_its_memory_at_any_step() {
    let scripts = scripts(&[&[Append(1), Get]]);
    let plan = Plan { scripts, rulings: 2, crashes: 1, ..Plan::default() };
    done(&search("6 amnesia", plan, states(20_000, 1_000_000)));
}

#[test]
fn run_6_the_primary_dies_and_its_backup_is_cut_off_a_moment_before() {
    let scripts = scripts(&[&[Append(1), Get]]);
    let plan =
        Plan { scripts, rulings: 2, crashes: 1, silences: true, servers: 2, ..Plan::default() };
    let covered = search("6 silence", plan, states(20_000, 1_000_000));
    done(&covered);
    assert!(seen(&covered.goals().failovers) > 0);
}

#[test]
fn run_7_a_spare_joins_while_two_clients_append() {
    let scripts = scripts(&[&[Append(1)], &[Append(2), Get]]);
    let plan = Plan { scripts, start: Start::Alone, rulings: 3, crashes: 1, ..Plan::default() };
    done(&search("7 join", plan.clone(), states(20_000, 1_000_000)));
    let plan = Plan { rulings: 10, asks: 8, timers: 4, stale_pongs: true, ..plan };
    let walked = walk("7 join walks", &plan, walks(1000, 10_000), 200);
    assert!(seen(&walked.world.goals.spare_promoted) > 0);
    let plan = Plan { narrow: true, ..plan };
    let walked = walk("7 join, many messages", &plan, walks(1000, 10_000), 200);
    assert!(seen(&walked.world.goals.spare_promoted) > 0);
}

#[test]
fn run_8_an_activation_is_duplicated_and_reordered_and_the_primary_returns() {
    let scripts = scripts(&[&[Append(1)], &[Get]]);
    let plan = Plan { servers: 2, scripts, rulings: 4, stale_pongs: true, ..Plan::default() };
    let covered = search("8 activation", plan, states(30_000, 1_000_000));
    done(&covered);
    assert!(seen(&covered.goals().failovers) > 0);
}

#[test]
fn run_11_sessions_beyond_the_capacity_and_three_requests_in_flight() {
    let scripts = scripts(&[&[Append(1), Append(2), Append(3)], &[Append(4)], &[Get]]);
    let plan = Plan {
        servers: 2,
        scripts,
        window: 3,
        start: Start::Unopened,
        session_capacity: 2,
        asks: 2,
        ..Plan::default()
    };
    let covered = search("11 sessions", plan.clone(), states(15_000, 1_000_000));
    assert!(covered.states > 0);
    let plan = Plan { rulings: 6, asks: 12, ..plan };
    let walked = walk("11 session walks", &plan, walks(1000, 10_000), 200);
    assert!(seen(&walked.world.goals.evicted_refused) > 0, "an evicted session is refused");
}

#[test]
fn run_14_no_state_is_without_a_way_out() {
    // A start in the middle of a failover, short walks, and a healed world after each.
    let scripts = scripts(&[&[Append(1), Get]]);
    let plan = Plan {
        scripts,
        start: Start::Left,
        rulings: 5,
        crashes: 1,
        timers: 2,
        asks: 6,
        stale_pongs: true,
        ..Plan::default()
    };
    let walked = walk("14 wedges", &plan, walks(200, 20_000), 25);
    assert!(seen(&walked.world.goals.healed) > 100);
}

#[test]
fn run_15_the_operator_lets_the_backup_take_over() {
    // A switchover and the rulings after it, in any order with the messages of both primaries.
    let scripts = scripts(&[&[Append(1)], &[Append(2), Get]]);
    let plan =
        Plan { servers: 2, scripts, rulings: 3, switchovers: 1, crashes: 1, ..Plan::default() };
    let covered = search("15 switchover", plan.clone(), states(30_000, 1_000_000));
    done(&covered);
    assert!(seen(&covered.goals().switchovers) > 0);
    // A lease of the old primary, which is alive, and a write at the new one.
    let plan = Plan { start: Start::Leased, grants: 1, crashes: 0, ..plan };
    let covered = search("15 switchover under a lease", plan.clone(), states(30_000, 1_000_000));
    done(&covered);
    assert!(seen(&covered.goals().switchovers) > 0);
    assert!(seen(&covered.goals().read_by_lease) > 0, "a read is answered under a lease");
    // One after the other, with joins in between.
    let plan = Plan {
        servers: 3,
        start: Start::Paired,
        grants: 0,
        rulings: 20,
        switchovers: 6,
        asks: 12,
        timers: 4,
        stale_pongs: true,
        ..plan
    };
    let walked = walk("15 switchover walks", &plan, walks(300, 10_000), 250);
    assert!(seen(&walked.world.goals.switchovers) > 300);
    assert!(seen(&walked.world.goals.swapped_roles) > 0);
}

#[test]
fn run_15_switchovers_while_all_clocks_run() {
    for lease_reads in [false, true] {
        let faults = Faults { lease_reads, switchovers: true, restarts: 2, ..STORM };
        let world = timed::walk("15 timed", &busy(), faults, walks(400, 10_000), 3000);
        assert!(seen(&world.goals.switchovers) > 50);
        assert!(seen(&world.goals.swapped_roles) > 0);
    }
}

const STORM: Faults = Faults {
    lease_reads: false,
    restarts: 0,
    other_flags: false,
    record_loss: false,
    second_view_server: false,
    crashes: 1,
    switchovers: false,
    every: 60,
};

fn busy() -> Plan {
    let script =
        |client: u64| (1..=10).flat_map(move |number| [Append(client * 100 + number), Get]);
    let scripts = vec![script(1).collect(), script(2).collect()];
    Plan { scripts, ..Plan::default() }
}

#[test]
fn run_8_a_read_at_the_former_primary_while_its_successor_writes() {
    // 1. a read is asked of s1, whose barrier s2 confirms .. 2. s2 takes over and a write is done
    // there .. 3. a second read is asked of s1 .. 4. the confirmation arrives: it proves the first
    // read and not the second (D23).
    let scripts = scripts(&[&[Get], &[Append(1)], &[Get]]);
    let plan = Plan { servers: 2, scripts, rulings: 2, ..Plan::default() };
    let covered = search("8 reads at two primaries", plan, 1_000_000);
    done(&covered);
    assert!(seen(&covered.goals().failovers) > 0);
}

#[test]
fn run_9_a_lease_of_the_former_primary_and_a_write_at_its_successor() {
    let scripts = scripts(&[&[Append(1)], &[Get]]);
    let start = Start::Leased;
    let plan = Plan { servers: 2, scripts, start, rulings: 2, grants: 1, ..Plan::default() };
    let covered = search("9 one lease", plan, states(100_000, 1_000_000));
    done(&covered);
    assert!(seen(&covered.goals().read_by_lease) > 0, "a read is answered under a lease");
    assert!(seen(&covered.goals().failovers) > 0);
}

#[test]
fn run_9_leases_on_clocks_that_drift() {
    let faults = Faults { lease_reads: true, ..STORM };
    let world = timed::walk("9 leases", &busy(), faults, walks(250, 10_000), 3000);
    assert!(seen(&world.goals.read_by_lease) > 0, "a read is answered under a lease");
    assert!(seen(&world.goals.failovers) > 0);
}

#[test]
fn run_7_joins_and_failovers_while_all_clocks_run() {
    let faults = Faults { every: 30, ..STORM };
    let plan = Plan { narrow: true, ..busy() };
    let world = timed::walk("7 timed joins", &plan, faults, walks(1000, 10_000), 3000);
    assert!(seen(&world.goals.spare_promoted) > 0);
    assert!(seen(&world.goals.swapped_roles) > 0);
}

#[test]
fn run_10_the_view_server_restarts_with_and_without_its_record() {
    let with = Faults { lease_reads: true, restarts: 4, other_flags: true, ..STORM };
    timed::walk("10 with its record", &busy(), with, walks(1000, 10_000), 3000);
    let without = Faults { record_loss: true, crashes: 0, ..with };
    timed::walk("10 without its record", &busy(), without, walks(1000, 10_000), 3000);
}

#[test]
fn run_12_two_view_servers() {
    let faults = Faults { lease_reads: true, second_view_server: true, crashes: 0, ..STORM };
    timed::walk("12 two view servers", &busy(), faults, walks(1000, 20_000), 3000);
}
