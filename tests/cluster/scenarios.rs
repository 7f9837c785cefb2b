//! Situations that the design singles out, or that once went wrong, each with its sequence.

use pbkv::protocol::view::Phase;

use crate::clock::{Instant, MS};
use crate::counts::Count;
use crate::harness::{Event, VIEW, World};
use crate::network::Weather;
use crate::plan::{Fault, Plan};
use crate::random::Random;
use crate::run;

/// Three servers, one client that rests, a network that loses nothing, and nobody who strikes.
pub fn calm(seed: u64) -> World {
    with(seed, |_| {})
}

/// The same with a difference.
pub fn with(seed: u64, change: impl FnOnce(&mut Plan)) -> World {
    let mut random = Random::new(seed);
    let mut plan = Plan::draw(&mut random);
    plan.servers = 3;
    plan.clients = 1;
    plan.keys = 1;
    plan.append_only = 1;
    plan.timing = pbkv::config::Timing::default();
    plan.limits = pbkv::config::Limits::default();
    plan.weather = Weather::fair(60 << 10);
    plan.faults = Vec::new();
    plan.traps = Vec::new();
    plan.ghost_every = 0;
    plan.crash_after_persist = 0;
    plan.stop_before_sending = 0;
    plan.disk = 0;
    plan.lag = 50_000;
    plan.careful = true;
    plan.sources = pbkv::protocol::sources::Sources::Any;
    plan.plain_every = 0;
    change(&mut plan);
    let mut world = World::new(seed, plan, random, true);
    world.workload.resting = true;
    world
}

/// Until a pair serves.
pub fn paired(seed: u64) -> World {
    pair(calm(seed))
}

/// Until a pair serves in this world.
pub fn pair(mut world: World) -> World {
    let until = 5_000 * MS;
    run::settle(&mut world, until);
    run::serve(&mut world, until);
    assert_sound(&mut world);
    world
}

pub fn assert_sound(world: &mut World) {
    if world.failure.is_none() {
        run::conclude(world);
    }
    if let Some(violation) = &world.failure {
        panic!("{violation}\n{}", world.trace);
    }
}

pub fn role(world: &World, backup: bool) -> usize {
    let view = &world.truth.as_ref().expect("a pair serves").record.view;
    let member = if backup { view.backup.as_ref().expect("a pair serves") } else { &view.primary };
    world.node_of(member.incarnation).expect("it lives")
}

/// How long the next operation takes, in simulated time.
pub fn next_operation_takes(world: &mut World) -> Instant {
    let since = world.now;
    run::serve(world, since + 10_000 * MS);
    assert_sound(world);
    world.now - since
}

/// Sequence: a cluster starts; nothing else happens for ten seconds.
#[test]
fn a_calm_cluster_pairs_up_and_then_changes_no_view() {
    for seed in 0..4 {
        let mut world = paired(seed);
        let settled = world.truth.clone();
        world.run_until(world.now + 10_000 * MS);
        assert_sound(&mut world);
        assert_eq!(world.truth.map(|it| it.record), settled.map(|it| it.record), "seed {seed}");
    }
}

/// Sequence: 1. the primary dies .. 2. a client asks at once.
#[test]
fn the_backup_takes_over_within_dead_after_and_half_a_second() {
    for seed in 0..8 {
        let mut world = paired(seed);
        let primary = role(&world, false);
        world.crash(primary);
        let took = next_operation_takes(&mut world);
        assert!(
            took <= (250 + 2 * 50 + 500) * MS,
            "seed {seed}: {} ms\n{}",
            took / MS,
            world.trace
        );
        let until = world.now + 5_000 * MS;
        run::settle(&mut world, until);
        assert_sound(&mut world);
    }
}

/// Sequence: 1. the operator lets the backup take over .. 2. clients go on all the while .. 3. again,
/// so that the roles are as before.
#[test]
fn a_switchover_interrupts_nobody_for_longer_than_a_few_round_trips() {
    for seed in 0..8 {
        let mut world = paired(seed);
        for done in 1..=2 {
            let (from, to) = (role(&world, false), role(&world, true));
            world.inflict(Fault::Switchover);
            let took = next_operation_takes(&mut world);
            assert!(took <= 200 * MS, "seed {seed}: {} ms\n{}", took / MS, world.trace);
            let until = world.now + 1_000 * MS;
            run::settle(&mut world, until);
            assert_sound(&mut world);
            assert_eq!((role(&world, false), role(&world, true)), (to, from), "seed {seed}");
            assert_eq!(world.counts.of(Count::SwitchoversDone), done);
            assert_eq!(world.counts.of(Count::Keeps), done, "nothing but a tail is sent again");
        }
    }
}

/// Sequence: 1. the operator lets the backup take over .. 2. the backup, or the primary, dies within
/// the next milliseconds .. 3. a client asks.
#[test]
fn a_switchover_in_which_one_of_the_two_dies_costs_no_more_than_a_failover() {
    let mut died = 0;
    for seed in 0..40 {
        let mut world = paired(seed);
        let victim = role(&world, seed % 2 == 0);
        world.inflict(Fault::Switchover);
        world.run_until(world.now + seed * MS / 4);
        // A backup that has adopted its view may be in charge at any moment, and is then the only
        // copy that counts, until the other one has joined it.
        let record = world.truth.clone().expect("a pair serves").record;
        let follows = record.view.primary.incarnation == world.nodes[victim].incarnation;
        if record.eligible.len() < 2 || (follows && record.phase == Phase::Proposed) {
            continue;
        }
        died += 1;
        world.crash(victim);
        let took = next_operation_takes(&mut world);
        let most = (250 + 2 * 50 + 500) * MS;
        assert!(took <= most, "seed {seed}: {} ms\n{}", took / MS, world.trace);
        let until = world.now + 5_000 * MS;
        run::settle(&mut world, until);
        assert_sound(&mut world);
    }
    assert!(died >= 5, "{died}");
}

/// Sequence: 1. the backup dies .. 2. a client asks at once.
#[test]
fn writes_go_on_soon_after_the_backup_died() {
    for seed in 0..8 {
        let mut world = paired(seed);
        let backup = role(&world, true);
        world.crash(backup);
        let took = next_operation_takes(&mut world);
        assert!(
            took <= (250 + 2 * 50 + 500) * MS,
            "seed {seed}: {} ms\n{}",
            took / MS,
            world.trace
        );
    }
}

/// Sequence: 1. the primary is back after 10 ms, with nothing .. 2. a client reads and writes.
#[test]
fn a_primary_that_restarts_at_once_is_a_different_server_that_holds_nothing() {
    for seed in 0..8 {
        let mut world = paired(seed);
        let primary = role(&world, false);
        world.crash(primary);
        world.schedule(world.now + 10 * MS, Event::Restart(primary));
        next_operation_takes(&mut world);
        let until = world.now + 5_000 * MS;
        run::settle(&mut world, until);
        next_operation_takes(&mut world);
        assert_eq!(world.counts.of(Count::Failovers), 1, "seed {seed}\n{}", world.trace);
    }
}

/// Sequence: 1. primary and backup are both paused for longer than dead-after .. 2. both go on.
#[test]
fn when_both_are_silent_nothing_is_lost_and_the_first_to_answer_decides() {
    for seed in 0..8 {
        let mut world = paired(seed);
        for server in [role(&world, false), role(&world, true)] {
            world.nodes[server].paused_until = world.now + 1_000 * MS;
        }
        world.run_until(world.now + 1_000 * MS);
        next_operation_takes(&mut world);
    }
}

/// Sequence: 1. the view server dies .. 2. clients that know the primary go on.
#[test]
fn an_outage_of_the_view_server_alone_stops_no_writes() {
    for seed in 0..4 {
        let mut world = paired(seed);
        world.crash(VIEW);
        world.run_until(world.now + 1_000 * MS);
        let took = next_operation_takes(&mut world);
        assert!(took <= 200 * MS, "seed {seed}: {} ms\n{}", took / MS, world.trace);
    }
}

/// Sequence: 1. a pair serves .. 2. the view server restarts without its record.
#[test]
fn a_lost_record_is_recovered_from_the_servers_and_the_service_goes_on() {
    for seed in 0..8 {
        let mut world = paired(seed);
        world.inflict(Fault::LoseRecord);
        world.run_until(world.now + 2_000 * MS);
        assert_eq!(world.counts.of(Count::Recoveries), 1, "seed {seed}\n{}", world.trace);
        next_operation_takes(&mut world);
        let until = world.now + 5_000 * MS;
        run::settle(&mut world, until);
        assert_sound(&mut world);
    }
}

/// Sequence: 1. primary and backup die at once .. 2. both restart, empty .. 3. `reset`.
#[test]
fn after_a_total_loss_nobody_is_promoted_until_a_reset() {
    for seed in 0..4 {
        let mut world = paired(seed);
        world.plan.careful = false;
        let history = world.truth.clone().map(|truth| truth.record.view.id.epoch);
        for server in [role(&world, false), role(&world, true)] {
            world.crash(server);
            world.schedule(world.now + 300 * MS, Event::Restart(server));
        }
        world.run_until(world.now + 3_000 * MS);
        let epoch = world.truth.clone().map(|truth| truth.record.view.id.epoch);
        assert_eq!(epoch, history, "seed {seed}: nobody asked for a new epoch\n{}", world.trace);
        let until = world.now + 5_000 * MS;
        run::reset(&mut world, until);
        next_operation_takes(&mut world);
        run::settle(&mut world, until);
        assert_sound(&mut world);
    }
}
