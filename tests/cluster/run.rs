//! One seed: phase one breaks things and checks safety, phase two heals everything and demands
//! progress within a bound.

use pbkv::protocol::view::Phase;
use pbkv::protocol::view_server::{Answer, Command};
use pbkv::types::CallId;

use crate::clock::{Instant, MS};
use crate::counts::{Count, Counts};
use crate::harness::{Event, VIEW, World};
use crate::invariants::Violation;
use crate::observe;
use crate::plan::Plan;
use crate::random::Random;

/// What became of a run.
pub struct Outcome {
    pub counts: Counts,
    pub hash: u64,
    /// Simulated time that went by.
    pub elapsed: Instant,
    pub failure: Option<Violation>,
    /// The last events in words, if they were asked for.
    pub tail: String,
    pub plan: Plan,
}

/// Phase two must be over within this: many times the longest timeout, damping and backoff.
const BOUND: Instant = 20_000 * MS;

/// Runs a seed.
pub fn seed(seed: u64, talk: bool) -> Outcome {
    let mut random = Random::new(seed);
    let plan = Plan::draw(&mut random);
    planned(seed, plan, random, talk)
}

/// Runs a plan, which a scenario may have changed.
pub fn planned(seed: u64, plan: Plan, random: Random, talk: bool) -> Outcome {
    let mut world = World::new(seed, plan.clone(), random, talk);
    phase_one(&mut world);
    if world.failure.is_none() {
        phase_two(&mut world);
    }
    if world.failure.is_none() {
        conclude(&mut world);
    }
    Outcome {
        counts: world.counts,
        hash: world.trace.hash(),
        elapsed: world.now,
        failure: world.failure,
        tail: world.trace.to_string(),
        plan,
    }
}

fn phase_one(world: &mut World) {
    let start = world.random.below(6 * world.dead_after());
    world.schedule(start, Event::Strike);
    if world.plan.ghost_every > 0 {
        world.schedule(start, Event::Ghost);
    }
    if world.plan.plain_every > 0 {
        world.schedule(start, Event::Plain);
    }
    world.run_until(world.plan.phase_one);
}

fn phase_two(world: &mut World) {
    world.make_peace();
    world.workload.resting = true;
    let until = world.now + BOUND;
    if world.nemesis.forked {
        // Servers with a copy of the abandoned history wait for a person to decide.
        return;
    }
    if !world.plan.careful {
        // What was decided before everything healed may still come into force.
        world.run_until(world.now + 6 * world.dead_after());
    }
    if world.nemesis.total_loss || (!world.plan.careful && world.nemesis.ever_lost) {
        reset(world, until);
    }
    if world.failure.is_some() {
        return;
    }
    serve(world, until);
    settle(world, until);
    // The view server may have judged somebody dead just before everything healed.
    world.run_until(world.now + 2 * world.dead_after());
    settle(world, until);
    show_the_pair(world);
    // What settled must still be served, and be the same for everybody.
    serve(world, until);
}

/// Waits for a condition, looking at it now and then; a violation if it does not come.
pub fn wait(
    world: &mut World,
    until: Instant,
    what: &'static str,
    mut holds: impl FnMut(&mut World) -> bool,
) -> bool {
    while world.failure.is_none() {
        // A history that began anew behind the back of another is for a person to sort out.
        if world.nemesis.forked || holds(world) {
            return true;
        }
        if world.now >= until {
            let detail = format!("not by {} ms", until / MS);
            world.fail(Violation::new(what, detail));
            return false;
        }
        world.run_until(world.now + 10 * MS);
    }
    false
}

/// Every client reads and changes every key, and asks again only if its session is gone.
pub fn serve(world: &mut World, until: Instant) {
    let deadline = until.saturating_sub(world.now) * 2;
    let mut asked: Vec<(CallId, [usize; 2], u32)> = Vec::new();
    for client in world.clients() {
        for key in 0..world.workload.keys() {
            for kind in [1, 0] {
                let call = world.ask(client, 0, key, kind, deadline);
                asked.push((call, [client, key], kind));
            }
        }
    }
    let mut specials = Vec::new();
    if world.plan.special > 0 {
        for client in world.clients() {
            specials.extend(world.ask_specials(client, deadline));
        }
    }
    wait(world, until, "every-operation-succeeds", |world| {
        for call in &mut specials {
            if world.workload.has_expired(*call) {
                *call = world.ask_special_again(*call, deadline);
            }
        }
        specials.retain(|call| !world.workload.is_done(*call));
        for (call, [client, key], kind) in &mut asked {
            if world.workload.has_expired(*call) {
                *call = world.ask(*client, 0, *key, *kind, deadline);
            }
        }
        asked.retain(|(call, ..)| !world.workload.is_done(*call));
        asked.is_empty() && specials.is_empty()
    });
}

/// A spare has joined, and both copies are the same.
pub fn settle(world: &mut World, until: Instant) {
    wait(world, until, "a-spare-joins-and-digests-agree", |world| {
        let Some(truth) = &world.truth else { return false };
        let record = &truth.record;
        // A view server that has just restarted may still have to hear everybody.
        if record.phase != Phase::Active || world.view_server_record() != Some(record) {
            return false;
        }
        let Some(backup) = &record.view.backup else { return false };
        let copy = |incarnation| {
            let server = world.nodes[world.node_of(incarnation)?].server()?;
            observe::server(incarnation, server).copy
        };
        let primary = copy(record.view.primary.incarnation);
        primary.is_some() && primary == copy(backup.incarnation)
    });
}

/// The view server's operator is shown both, at most dead-after plus a round trip later.
pub fn show_the_pair(world: &mut World) {
    let call = CallId(u64::MAX);
    world.view_answers.clear();
    world.type_at_view_server(call, Command::View);
    let until = world.now + world.dead_after() * 11 / 10 + 50 * MS;
    let mut shown = None;
    wait(world, until, "view-is-answered-in-time", |world| {
        let answers = std::mem::take(&mut world.view_answers).into_iter();
        shown = answers.filter(|(answered, _)| *answered == call).map(|(_, answer)| answer).last();
        shown.is_some()
    });
    if let Some(Answer::View(shown)) = shown
        && !world.nemesis.forked
        && (shown.primary.is_none() || shown.backup.is_none())
    {
        world.fail(Violation::new("view-shows-the-pair", format!("{shown}")));
    }
}

/// Asks for the view until it shows that all data is gone, then resets.
pub fn reset(world: &mut World, until: Instant) {
    world.workload.reset_asked = true;
    let resets = world.counts.of(Count::Resets);
    let mut next = 0;
    let mut asked_at = 0;
    let mut shown_none = false;
    let mut alive_after_all = false;
    wait(world, until, "a-reset-works-after-a-total-loss", |world| {
        for (_, answer) in std::mem::take(&mut world.view_answers) {
            match answer {
                Answer::View(shown) => {
                    shown_none = shown.primary.is_none();
                    // A careless loss of the record need not be a loss of data.
                    alive_after_all |= shown.primary.is_some() && !world.nemesis.total_loss;
                }
                Answer::ResetRefused(why) => {
                    // A member of a lost record that may hold everything answers, but another one
                    // that may hold more is gone for good: the operator gives it up by hand.
                    if let Some((holder, _)) = why.split_once(" may hold all data and answers")
                        && let Some(index) = (1..=world.plan.servers)
                            .find(|index| world.nodes[*index].name == holder)
                    {
                        world.crash(index);
                        world.start(index);
                    }
                }
                Answer::Status(_)
                | Answer::Measures(_)
                | Answer::History(_)
                | Answer::Explained(_)
                | Answer::SwitchedOver(_)
                | Answer::Drained(_)
                | Answer::DrainRefused(_)
                | Answer::UndrainRefused(_)
                | Answer::SwitchoverRefused(_)
                | Answer::ResetPrepared(_)
                | Answer::ResetDone(_) => {}
            }
        }
        if alive_after_all {
            world.workload.reset_asked = false;
            return true;
        }
        if world.counts.of(Count::Resets) > resets {
            return true;
        }
        if world.now >= asked_at + 4 * world.dead_after() && !world.nodes[VIEW].is_down() {
            asked_at = world.now;
            next += 1;
            let command = if shown_none { Command::Reset } else { Command::View };
            shown_none = false;
            world.type_at_view_server(CallId(next), command);
        }
        false
    });
}

pub fn conclude(world: &mut World) {
    let truth = world.truth.as_ref().map(|truth| &truth.record);
    let full = world.checks.in_full(&world.nodes, truth);
    for _ in &world.checks.plain.repeated {
        world.counts.add(Count::PlainRepeats);
    }
    if let Err(violation) = full {
        return world.fail(violation);
    }
    match world.workload.check() {
        Ok(true) => {}
        Ok(false) => world.counts.add(Count::CheckerUnknown),
        Err(violation) => world.fail(violation),
    }
}
