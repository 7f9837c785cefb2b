//! Random walks through the same world, biased towards what is rare: recent messages first, servers
//! that hear nothing for a while, many view changes.

use crate::bounded::{Progress, explain};
use crate::properties::seen;
use crate::world::{Event, Plan, State, World};

/// A reproducible sequence (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % bound.max(1) as u64).expect("below the bound")
    }
}

/// What the walks of a run have covered.
pub struct Walked {
    pub steps: usize,
    pub world: World,
}

/// Walks with the seeds, this many events each. With `hunts`, a state of every walk is healed.
pub fn walk(title: &str, plan: &Plan, seeds: std::ops::Range<u64>, depth: usize) -> Walked {
    let begun = std::time::Instant::now();
    let world = World::new(plan.clone());
    let initial = world.initial();
    let mut steps = 0;
    let mut progress = Progress::new(title);
    for seed in seeds.clone() {
        progress.say(|| format!("{} walks", seed - seeds.start));
        let mut events = Vec::new();
        let end = one(&world, &initial, seed, depth, &mut events);
        steps += events.len();
        let broken = match end.broken {
            Some(broken) => broken,
            None => match world.heal(&end) {
                Ok(()) => continue,
                Err(broken) => broken,
            },
        };
        panic!(
            "{title}: {} is broken in walk {seed} after {} events ({steps} in all)\n{}\n{}",
            broken.property,
            events.len(),
            broken.detail,
            explain(plan, &events),
        );
    }
    let goals = &world.goals;
    println!(
        "{title}: {} walks, {steps} events, {} failovers, {} swapped, {} spares promoted, {} \
         duplicates suppressed, {} refused, {} healed in {:.1}s",
        seeds.count(),
        seen(&goals.failovers),
        seen(&goals.swapped_roles),
        seen(&goals.spare_promoted),
        seen(&goals.duplicate_suppressed),
        seen(&goals.evicted_refused),
        seen(&goals.healed),
        begun.elapsed().as_secs_f32()
    );
    Walked { steps, world }
}

fn one(world: &World, initial: &State, seed: u64, depth: usize, events: &mut Vec<Event>) -> State {
    let mut random = Random(seed.wrapping_mul(0x1000_0001));
    let mut state = initial.clone();
    // Servers that hear nothing for a while, as bits.
    let mut deaf = 0;
    // How eager this walk is for new views, and how much it likes old messages.
    let churn = 1 + random.below(12);
    let nostalgia = random.below(4);
    let mut tries = 0;
    while events.len() < depth && state.broken.is_none() && tries < depth * 12 {
        tries += 1;
        if random.below(24) == 0 {
            deaf = if random.below(2) == 0 { 0 } else { 1 << random.below(world.plan.servers) };
        }
        let Some(event) = choose(world, &state, &mut random, deaf, churn, nostalgia) else {
            continue;
        };
        if let Some(next) = world.happen(&state, &event) {
            events.push(event);
            state = next;
        }
    }
    state
}

fn choose(
    world: &World,
    state: &State,
    random: &mut Random,
    deaf: usize,
    churn: usize,
    nostalgia: usize,
) -> Option<Event> {
    let plan = &world.plan;
    let servers = plan.servers;
    let hears = |server: usize| deaf & (1 << server) == 0;
    let pick = random.below(60 + churn);
    if pick < 30 {
        let order = &state.network.order;
        if order.is_empty() {
            return None;
        }
        let old = random.below(4) < nostalgia;
        let back = random.below(if old { order.len() } else { order.len().min(6) });
        let key = order[order.len() - 1 - back];
        let to = state.network.get(key)?.to;
        return hears(to).then_some(Event::Deliver(key));
    }
    if pick < 42 {
        let client = random.below(state.clients.len());
        let calls = state.clients.get(client)?.calls.len();
        // The first one that is not answered, or any.
        let waiting = state.clients[client].calls.iter().position(|call| call.told.is_none());
        let call = match waiting {
            Some(call) if random.below(4) > 0 => (call + random.below(plan.window)).min(calls - 1),
            Some(_) | None => random.below(calls),
        };
        return state.clients[client].may_ask(call).then_some(Event::Ask {
            client,
            call,
            server: random.below(servers),
        });
    }
    if pick < 52 {
        let back = if random.below(4) > 0 { 0 } else { random.below(state.records.len()) };
        let server = random.below(servers);
        let record = state.records.len() - 1 - back;
        return hears(server).then_some(Event::Show { record, server });
    }
    if pick < 56 {
        return (!plan.flush_at_once).then(|| Event::Flush(random.below(servers)));
    }
    if pick < 59 {
        return (state.timers_left > 0).then(|| Event::Timer(random.below(servers)));
    }
    if pick == 59 {
        let crash = state.crashes_left > 0 && random.below(3) == 0;
        return crash.then(|| Event::Crash(random.below(servers)));
    }
    // A deaf server is mostly a silent one for the view server, but a one-way cut is possible.
    let all = (1 << servers) - 1;
    let alive = match random.below(4) {
        0 => 1 + random.below(all),
        1 => all,
        _ => all & !deaf,
    };
    let stale = plan.stale_pongs && random.below(3) == 0;
    if state.switchovers_left > 0 && random.below(2) == 0 {
        return (state.rulings_left > 0).then_some(Event::Switch { stale });
    }
    (state.rulings_left > 0 && alive > 0).then_some(Event::Rule { alive, stale })
}
