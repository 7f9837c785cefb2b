//! What once went wrong, each as the shortest sequence that shows it. Each of these was seen to
//! fail with its mistake put back.

use std::time::Duration;

use pbkv::config::Timing;
use pbkv::protocol::view::Phase;

use crate::clock::{Instant, MS};
use crate::counts::Count;
use crate::harness::{Event, VIEW, World};
use crate::network::{Packet, contains};
use crate::observe;
use crate::run;
use crate::scenarios::{assert_sound, calm, next_operation_takes, pair, paired, role, with};

/// Nothing passes between these two, in either direction.
fn cut(world: &mut World, one: usize, other: usize) {
    world.network.block(one, other);
    world.network.block(other, one);
}

fn join_again(world: &mut World, one: usize, other: usize) {
    world.network.unblock(one, other);
    world.network.unblock(other, one);
}

/// Cut off from everybody in this list.
fn isolate(world: &mut World, node: usize, from: impl IntoIterator<Item = usize>) {
    for other in from {
        cut(world, node, other);
    }
}

fn is(packet: &Packet, kind: &str) -> bool {
    contains(&packet.bytes, format!("\"type\":\"{kind}\"").as_bytes())
}

/// The view server's pings to a node that were kept, oldest first.
fn pings_to(world: &World, node: usize) -> Vec<Packet> {
    let kept = world.network.kept.iter().flatten();
    kept.filter(|packet| packet.to == node && is(packet, "view_ping")).cloned().collect()
}

/// Lets so much time go by, in small steps, until something is so.
fn run_until(world: &mut World, most: Instant, mut holds: impl FnMut(&World) -> bool) {
    let until = world.now + most;
    while !holds(world) {
        assert!(world.now < until, "it never came about\n{}", world.trace);
        world.run_until(world.now + MS / 20);
        assert_sound_so_far(world);
    }
}

fn assert_sound_so_far(world: &World) {
    if let Some(violation) = &world.failure {
        panic!("{violation}\n{}", world.trace);
    }
}

fn phase(world: &World) -> Option<Phase> {
    world.truth.as_ref().map(|truth| truth.record.phase)
}

/// Sequence: 1. a primary with a lease is cut off from all servers, but not from one client ..
/// 2. old pings reach it again and again .. 3. its successor takes a write .. 4. that client reads.
#[test]
fn ghosts_of_pings_grant_an_isolated_primary_no_lease() {
    let timing = Timing::new(Duration::from_millis(50), Duration::from_millis(250), true);
    let mut world = pair(with(1, |plan| {
        plan.clients = 2;
        plan.timing = timing.expect("valid");
    }));
    world.network.kept = Some(Vec::new());
    world.run_until(world.now + 300 * MS);
    let (primary, loner) = (role(&world, false), world.clients().end - 1);
    let ghosts = pings_to(&world, primary);
    world.network.kept = None;
    let writer = world.clients().start;
    let everybody: Vec<usize> = (0..=writer).filter(|node| *node != primary).collect();
    isolate(&mut world, primary, everybody.clone());
    isolate(&mut world, loner, everybody);
    let reads_before = world.counts.of(Count::LeaseAnswers);
    world.ask(loner, 0, 0, 0, 100 * MS);
    world.run_until(world.now + 20 * MS);
    assert!(world.counts.of(Count::LeaseAnswers) > reads_before, "it holds a lease at first");
    for _ in 0..400 {
        for ghost in &ghosts[ghosts.len() - 2..] {
            world.deliver(ghost);
        }
        world.run_until(world.now + 2 * MS);
    }
    world.ask(writer, 0, 0, 1, 1_000 * MS);
    for _ in 0..100 {
        for ghost in &ghosts[ghosts.len() - 2..] {
            world.deliver(ghost);
        }
        world.run_until(world.now + 2 * MS);
    }
    let leases = world.counts.of(Count::LeaseAnswers);
    world.ask(loner, 0, 0, 0, 100 * MS);
    world.run_until(world.now + 150 * MS);
    assert_eq!(world.counts.of(Count::LeaseAnswers), leases, "{}", world.trace);
    assert_sound(&mut world);
}

/// Sequence: 1. the view server restarts without its record and knows no addresses .. 2. old pings
/// reach the servers again and again.
#[test]
fn ghosts_of_pings_do_not_keep_servers_from_announcing_themselves() {
    let mut world = paired(1);
    world.network.kept = Some(Vec::new());
    world.run_until(world.now + 300 * MS);
    let ghosts: Vec<Packet> = (1..=3).flat_map(|server| pings_to(&world, server).pop()).collect();
    world.network.kept = None;
    world.has_hosts = false;
    world.crash(VIEW);
    world.disk = None;
    (world.nemesis.record_lost, world.nemesis.ever_lost) = (true, true);
    world.start(VIEW);
    for _ in 0..400 {
        for ghost in &ghosts {
            world.deliver(ghost);
        }
        world.run_until(world.now + 5 * MS);
    }
    assert_eq!(world.counts.of(Count::Recoveries), 1, "{}", world.trace);
    assert_sound(&mut world);
}

/// Sequence: 1. the backup is cut off and joins again with an equal copy .. 2. the verdict that it
/// may keep it is lost.
#[test]
fn a_joiner_is_no_backup_before_it_has_heard_that_its_copy_is_kept() {
    let mut world = paired(1);
    let backup = role(&world, true);
    let rest: Vec<usize> = (0..world.clients().end).filter(|node| *node != backup).collect();
    let spare = (1..=3).find(|node| *node != backup && *node != role(&world, false));
    world.crash(spare.expect("three servers"));
    isolate(&mut world, backup, rest.clone());
    run_until(&mut world, 1_000 * MS, |world| {
        world.truth.as_ref().is_some_and(|truth| truth.record.view.backup.is_none())
    });
    for other in rest {
        join_again(&mut world, backup, other);
    }
    world.network.sieve = Some(|packet| is(packet, "verdict"));
    for _ in 0..1_000 {
        world.run_until(world.now + 2 * MS);
        let record = &world.truth.as_ref().expect("it was paired").record;
        assert_eq!(record.view.backup, None, "{}", world.trace);
    }
    world.network.sieve = None;
    let until = world.now + 8_000 * MS;
    run::settle(&mut world, until);
    assert!(world.counts.of(Count::Keeps) > 0);
    next_operation_takes(&mut world);
}

/// Sequence: 1. the primary is silent, the backup is proposed .. 2. the view server restarts and
/// listens; the backup shows that it has adopted .. 3. the view server is stopped, the backup dies,
/// the primary is there again .. 4. the view server goes on.
#[test]
fn a_view_server_that_was_stopped_activates_nobody_who_died_meanwhile() {
    for seed in 0..4 {
        let mut world = paired(seed);
        let (primary, backup) = (role(&world, false), role(&world, true));
        world.nodes[primary].paused_until = world.now + 400 * MS;
        run_until(&mut world, 1_000 * MS, |world| phase(world) == Some(Phase::Proposed));
        world.crash(VIEW);
        world.start(VIEW);
        run_until(&mut world, 100 * MS, |world| {
            let server = world.nodes[backup].server().expect("it lives");
            let adopted = server.inspect().record.map(|record| record.stamp());
            adopted == world.truth.as_ref().map(|truth| truth.record.stamp())
        });
        world.run_until(world.now + 60 * MS);
        assert_eq!(phase(&world), Some(Phase::Proposed), "it listens\n{}", world.trace);
        world.nodes[VIEW].paused_until = world.now + 1_000 * MS;
        world.crash(backup);
        world.run_until(world.now + 1_000 * MS);
        next_operation_takes(&mut world);
    }
}

/// Sequence: 1. a write's way to the backup is lost .. 2. reads go on, and their barriers are
/// answered.
#[test]
fn a_lost_operation_is_sent_again_although_barriers_are_answered_all_the_time() {
    let mut world = pair(with(1, |plan| plan.clients = 2));
    let (writer, reader) = (world.clients().start, world.clients().start + 1);
    world.network.sieve = Some(|packet| contains(&packet.bytes, b"\"operations\":"));
    let write = world.ask(writer, 0, 0, 1, 5_000 * MS);
    let mut tries = 0;
    while !world.workload.is_done(write) && tries < 2_000 {
        world.ask(reader, 0, 0, 0, 1_000 * MS);
        world.run_until(world.now + MS / 2);
        tries += 1;
        if tries == 20 {
            world.network.sieve = None;
        }
    }
    assert!((20..300).contains(&tries), "after {tries} reads\n{}", world.trace);
    assert_sound(&mut world);
}

/// Sequence: 1. the view server restarts with an old copy of its record, and a server tells it so
/// .. 2. that server is cut off before it reports .. 3. only an empty spare answers.
#[test]
fn an_old_copy_of_the_record_never_leads_to_an_empty_history() {
    let mut world = calm(1);
    run_until(&mut world, 3_000 * MS, |world| phase(world) == Some(Phase::Active));
    let old = world.disk.clone();
    let mut world = pair(world);
    let (primary, backup) = (role(&world, false), role(&world, true));
    let history = world.truth.as_ref().map(|truth| truth.record.history);
    let spare = (1..=3).find(|node| *node != primary && *node != backup).expect("three servers");
    cut(&mut world, backup, VIEW);
    world.crash(spare);
    world.crash(VIEW);
    world.disk = old;
    world.start(VIEW);
    run_until(&mut world, 1_000 * MS, |world| world.view_server_record().is_none());
    cut(&mut world, primary, VIEW);
    world.start(spare);
    let before = world.truth.clone();
    world.run_until(world.now + 4_000 * MS);
    assert_sound_so_far(&world);
    assert_eq!(world.truth, before, "{}", world.trace);
    join_again(&mut world, primary, VIEW);
    join_again(&mut world, backup, VIEW);
    let until = world.now + 5_000 * MS;
    run::settle(&mut world, until);
    next_operation_takes(&mut world);
    assert_eq!(world.truth.map(|truth| truth.record.history), history);
}

/// A first history that was proposed and never came into force, and a second one that did. The
/// first one's pings are kept.
fn two_histories(seed: u64) -> World {
    let mut world = calm(seed);
    world.network.kept = Some(Vec::new());
    run_until(&mut world, 3_000 * MS, |world| phase(world) == Some(Phase::Proposed));
    world.network.sieve = Some(|packet| packet.to == VIEW);
    world.run_until(world.now + 120 * MS);
    world.crash(VIEW);
    world.disk = None;
    (world.nemesis.record_lost, world.nemesis.ever_lost) = (true, true);
    world.network.sieve = None;
    world.start(VIEW);
    world
}

/// Sequence: 1. a history is proposed and its record lost .. 2. another one begins .. 3. a ghost
/// of the first one's ping reaches a spare.
#[test]
fn a_spare_does_not_follow_the_ghost_of_another_history() {
    let mut world = two_histories(1);
    let first = world.truth.as_ref().expect("it was proposed").record.history;
    let ghosts = world.network.kept.take().unwrap_or_default();
    let mut world = pair(world);
    let second = world.truth.as_ref().expect("a pair serves").record.history;
    assert_ne!(first, second, "{}", world.trace);
    let (primary, backup) = (role(&world, false), role(&world, true));
    let spare = (1..=3).find(|node| *node != primary && *node != backup).expect("three servers");
    let text = format!("\"history\":{}", first.0);
    let ghosts: Vec<Packet> = ghosts
        .into_iter()
        .filter(|packet| packet.to == spare && is(packet, "view_ping"))
        .filter(|packet| contains(&packet.bytes, text.as_bytes()))
        .collect();
    assert!(!ghosts.is_empty());
    cut(&mut world, spare, VIEW);
    for ghost in &ghosts {
        world.deliver(ghost);
    }
    world.run_until(world.now + 20 * MS);
    let incarnation = world.nodes[spare].incarnation;
    let server = world.nodes[spare].server().expect("it lives");
    assert_eq!(observe::server(incarnation, server).history, Some(second), "{}", world.trace);
}

/// Sequence: 1. a history is proposed with a server that hears of it and falls silent .. 2. it
/// begins with another one, which takes a write and is cut off .. 3. a second view server starts
/// without the record, and only the first server answers it .. 4. everybody is there again.
#[test]
fn a_second_view_server_at_the_first_start_makes_nobody_give_up_what_was_written() {
    let mut world = calm(1);
    world.plan.careful = false;
    run_until(&mut world, 3_000 * MS, |world| phase(world) == Some(Phase::Proposed));
    let first = role(&world, false);
    // The server hears of the proposal, and its answer is lost; it hears of nothing that follows.
    world.network.block(first, VIEW);
    run_until(&mut world, 100 * MS, |world| {
        let server = world.nodes[first].server().expect("it lives");
        server.inspect().record.is_some()
    });
    isolate(&mut world, first, (0..=3).filter(|node| *node != first));
    let third = (1..=3).rfind(|node| *node != first).expect("three servers");
    world.crash(third);
    run_until(&mut world, 2_000 * MS, |world| {
        world.truth.as_ref().is_some_and(|truth| {
            truth.record.view.primary.incarnation != world.nodes[first].incarnation
                && truth.record.phase == Phase::Active
        })
    });
    let second = role(&world, false);
    let client = world.clients().start;
    let write = world.ask(client, 0, 0, 1, 1_000 * MS);
    run_until(&mut world, 1_000 * MS, |world| world.workload.is_done(write));
    let written = observed(&world, second);
    assert!(written.is_some());
    isolate(&mut world, second, (0..=3).filter(|node| *node != second));
    world.replace_view_server(0);
    let old = world.old_view();
    world.end(old);
    join_again(&mut world, first, VIEW);
    let until = world.now + 3_000 * MS;
    while world.now < until {
        world.run_until(until);
        assert_sound_so_far(&world);
        // Its view server has begun another history behind its back: that is for a person to sort
        // out, and the simulation goes no further by itself.
        world.nemesis.forked = false;
    }
    let anew = world.truth.as_ref().map(|truth| truth.record.view.primary.incarnation);
    assert_eq!(anew, Some(world.nodes[first].incarnation), "{}", world.trace);
    (0..=3).for_each(|node| join_again(&mut world, second, node));
    world.run_until(world.now + 1_000 * MS);
    assert_sound_so_far(&world);
    assert_eq!(observed(&world, second), written, "{}", world.trace);
}

fn observed(world: &World, node: usize) -> Option<u64> {
    let server = world.nodes[node].server().expect("it lives");
    let (applied, digest) = observe::server(world.nodes[node].incarnation, server).copy?;
    (applied.0 > 0).then_some(digest)
}

/// Sequence: 1. the network loses a fifth of everything .. 2. the backup is stopped for a moment,
/// left out, and joins again .. 3. a client writes, and rests after each write for longer than it
/// takes to call somebody stalled.
#[test]
fn a_joiner_and_a_backup_are_not_dropped_for_the_losses_of_the_network() {
    for seed in 0..6 {
        let mut world = paired(seed);
        let backup = role(&world, true);
        let spare = (1..=3).find(|node| *node != backup && *node != role(&world, false));
        world.crash(spare.expect("three servers"));
        world.network.weather.loss = 200_000;
        world.nodes[backup].paused_until = world.now + 700 * MS;
        run_until(&mut world, 1_000 * MS, |world| {
            world.truth.as_ref().is_some_and(|truth| truth.record.view.backup.is_none())
        });
        world.run_until(world.now + 700 * MS);
        let client = world.clients().start;
        for _ in 0..200 {
            world.ask(client, 0, 0, 1, 2_000 * MS);
            world.run_until(world.now + 350 * MS);
        }
        let dropped = world.counts.of(Count::BackupsDropped);
        let aborted = world.counts.of(Count::JoinsAborted);
        assert_eq!((dropped, aborted), (1, 0), "seed {seed}\n{}", world.trace);
        world.network.weather.loss = 0;
        let until = world.now + 5_000 * MS;
        run::settle(&mut world, until);
        assert_sound(&mut world);
    }
}

/// Sequence: 1. a second view server starts, by mistake, where nobody looks for one .. 2. the
/// primary dies.
#[test]
fn a_replaced_view_server_that_goes_on_ends_itself_once_it_hears_of_a_newer_record() {
    let mut world = paired(1);
    world.replace_view_server(5_000 * MS);
    let old = world.old_view();
    world.nodes[old].paused_until = world.now + 1_500 * MS;
    world.run_until(world.now + 1_500 * MS);
    assert_eq!(world.counts.of(Count::Recoveries), 1, "{}", world.trace);
    let primary = role(&world, false);
    world.crash(primary);
    world.schedule(world.now + 10 * MS, Event::Restart(primary));
    world.replan(old);
    next_operation_takes(&mut world);
    assert_eq!(world.counts.of(Count::ViewServersOvertaken), 1, "{}", world.trace);
    assert!(world.nodes[old].is_down(), "{}", world.trace);
    let until = world.now + 5_000 * MS;
    run::settle(&mut world, until);
    assert_sound(&mut world);
}

/// Sequence: 1. a view server without its record is heard by a spare alone, which promises, and
/// dies before it has recovered .. 2. so does another one .. 3. their successor recovers without the
/// spare, in an epoch below the last promise .. 4. the backup dies: only the spare is there to join.
#[test]
fn a_spare_that_promised_itself_to_a_view_server_which_died_joins_its_successor() {
    let mut world = paired(1);
    let (primary, backup) = (role(&world, false), role(&world, true));
    let spare = (1..=3).find(|node| *node != primary && *node != backup).expect("three servers");
    (world.nemesis.record_lost, world.nemesis.ever_lost) = (true, true);
    isolate(&mut world, VIEW, [primary, backup]);
    for _ in 0..2 {
        world.crash(VIEW);
        world.disk = None;
        world.start(VIEW);
        world.run_until(world.now + 300 * MS);
        assert!(world.view_server_record().is_none(), "{}", world.trace);
    }
    world.crash(VIEW);
    cut(&mut world, VIEW, spare);
    [primary, backup].into_iter().for_each(|node| join_again(&mut world, VIEW, node));
    world.start(VIEW);
    run_until(&mut world, 3_000 * MS, |world| {
        let recorded = world.truth.as_ref().map(|truth| &truth.record);
        recorded.is_some() && recorded == world.view_server_record()
    });
    join_again(&mut world, VIEW, spare);
    world.crash(backup);
    let until = world.now + 5_000 * MS;
    run::settle(&mut world, until);
    assert_sound(&mut world);
    assert_eq!(role(&world, true), spare, "{}", world.trace);
    assert_eq!(world.counts.of(Count::BegunAgain), 1, "{}", world.trace);
}

/// Sequence: 1. the backup is cut off from the view server .. 2. the primary dies .. 3. the backup has
/// been silent for too long first .. 4. it is heard again.
#[test]
fn a_backup_that_was_silent_first_is_not_left_out_for_a_primary_that_died_meanwhile() {
    let mut world = paired(1);
    let (primary, backup) = (role(&world, false), role(&world, true));
    cut(&mut world, backup, VIEW);
    world.run_until(world.now + 150 * MS);
    world.crash(primary);
    world.run_until(world.now + 600 * MS);
    assert_sound_so_far(&world);
    join_again(&mut world, backup, VIEW);
    next_operation_takes(&mut world);
    assert_eq!(role(&world, false), backup, "{}", world.trace);
    let until = world.now + 5_000 * MS;
    run::settle(&mut world, until);
    assert_sound(&mut world);
}

/// Sequence: 1. a spare is stopped .. 2. another process with its id takes its place, and ends ..
/// 3. the spare runs again .. 4. the backup dies: only the spare is there to join.
#[test]
fn a_spare_whose_id_another_process_bore_for_a_while_joins_again() {
    let mut world = paired(1);
    let (primary, backup) = (role(&world, false), role(&world, true));
    let spare = (1..=3).find(|node| *node != primary && *node != backup).expect("three servers");
    let old = world.old_server();
    world.replace_server(spare, 60_000 * MS);
    world.nodes[old].paused_until = world.now + 1_000 * MS;
    world.replan(old);
    world.run_until(world.now + 900 * MS);
    world.crash(spare);
    world.run_until(world.now + 1_000 * MS);
    world.crash(backup);
    run_until(&mut world, 5_000 * MS, |world| {
        let record = world.truth.as_ref().map(|truth| &truth.record);
        let backup = record.and_then(|record| record.view.backup.as_ref());
        backup.is_some_and(|backup| world.node_of(backup.incarnation) == Some(old))
    });
    assert_eq!(world.counts.of(Count::BegunAgain), 1, "{}", world.trace);
    assert_sound_so_far(&world);
}
