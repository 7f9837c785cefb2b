//! Exhaustive search: the world as a model of stateright.

use pbkv::protocol::view::{Member, Record};
use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::properties::{self, Goals};
use crate::world::{Event, Plan, State, World};

impl Model for World {
    type State = State;
    type Action = Event;

    fn init_states(&self) -> Vec<State> {
        vec![self.initial()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Event>) {
        self.events(state, actions);
    }

    fn next_state(&self, state: &State, event: Event) -> Option<State> {
        self.happen(state, &event)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn holds(state: &State, property: &str) -> bool {
            state.broken.as_ref().is_none_or(|broken| broken.property != property)
        }
        vec![
            Property::always(properties::ONE_PRIMARY_PER_VIEW, |_, state| {
                holds(state, properties::ONE_PRIMARY_PER_VIEW)
            }),
            Property::always(properties::BACKUP_HOLDS_EVERY_ACKED_OP, |_, state| {
                holds(state, properties::BACKUP_HOLDS_EVERY_ACKED_OP)
            }),
            Property::always(properties::APPLIED_ONCE, |_, state| {
                holds(state, properties::APPLIED_ONCE)
            }),
            Property::always(properties::NO_STALE_READ, |_, state| {
                holds(state, properties::NO_STALE_READ)
            }),
            Property::always(properties::PRIMARY_COMES_FROM_ELIGIBLE, |_, state| {
                holds(state, properties::PRIMARY_COMES_FROM_ELIGIBLE)
            }),
            Property::always(properties::ELIGIBLE_SET_KEEPS_A_LIVING_COPY, |_, state| {
                holds(state, properties::ELIGIBLE_SET_KEEPS_A_LIVING_COPY)
            }),
            Property::always(properties::ADOPTED_VIEW_NEVER_DECREASES, |_, state| {
                holds(state, properties::ADOPTED_VIEW_NEVER_DECREASES)
            }),
            Property::always(properties::SAME_NUMBER_SAME_DIGEST, |_, state| {
                holds(state, properties::SAME_NUMBER_SAME_DIGEST)
            }),
            Property::sometimes("every client is done", |world, _| {
                properties::seen(&world.goals.all_done) > 0
            }),
        ]
    }
}

/// What a search has covered.
pub struct Covered {
    pub states: usize,
    pub depth: usize,
    pub is_complete: bool,
    pub world: World,
}

impl Covered {
    pub fn goals(&self) -> &Goals {
        &self.world.goals
    }
}

/// Says now and then how far a long run has come.
pub struct Progress {
    title: String,
    begun: Instant,
    /// Times it was said.
    said: u32,
}

impl Progress {
    pub fn new(title: &str) -> Progress {
        Progress { title: title.to_owned(), begun: Instant::now(), said: 0 }
    }

    pub fn say(&mut self, what: impl FnOnce() -> String) {
        let elapsed = self.begun.elapsed();
        if elapsed > Duration::from_secs(30) * (self.said + 1) {
            self.said += 1;
            println!("{}: {} so far in {}s", self.title, what(), elapsed.as_secs());
        }
    }
}

/// Searches every state of a plan, up to a number of states, and reports. Panics with the events
/// that lead to a broken property.
pub fn search(title: &str, plan: Plan, most: usize) -> Covered {
    let begun = Instant::now();
    let checker = World::new(plan.clone())
        .checker()
        .finish_when(HasDiscoveries::AnyFailures)
        .target_state_count(most)
        .threads(1)
        .spawn_bfs();
    let mut progress = Progress::new(title);
    while !checker.is_done() {
        std::thread::sleep(Duration::from_millis(10));
        progress.say(|| format!("{} states", checker.unique_state_count()));
    }
    let checker = checker.join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    let discovered = checker.discoveries();
    for (property, path) in &discovered {
        if *property == "every client is done" {
            continue;
        }
        let (last, events) = (path.last_state().clone(), path.clone().into_actions());
        let broken = &last.broken;
        panic!(
            "{title}: {property} is broken after {} events ({states} states seen)\n{broken:#?}\n{}",
            events.len(),
            explain(&plan, &events),
        );
    }
    let is_complete = checker.state_count() < most;
    let world = World::new(plan);
    copy_goals(&checker.model().goals, &world.goals);
    let goals = &world.goals;
    println!(
        "{title}: {states} states, depth {depth}, {}, {} failovers, {} swapped, {} spares promoted, \
         {} duplicates suppressed, {} refused, {} reads by lease in {:.1}s",
        if is_complete { "complete" } else { "cut" },
        properties::seen(&goals.failovers),
        properties::seen(&goals.swapped_roles),
        properties::seen(&goals.spare_promoted),
        properties::seen(&goals.duplicate_suppressed),
        properties::seen(&goals.evicted_refused),
        properties::seen(&goals.read_by_lease),
        begun.elapsed().as_secs_f32()
    );
    Covered { states, depth, is_complete, world }
}

fn copy_goals(from: &Goals, to: &Goals) {
    let pairs = [
        (&from.swapped_roles, &to.swapped_roles),
        (&from.spare_promoted, &to.spare_promoted),
        (&from.read_by_lease, &to.read_by_lease),
        (&from.duplicate_suppressed, &to.duplicate_suppressed),
        (&from.evicted_refused, &to.evicted_refused),
        (&from.all_done, &to.all_done),
        (&from.failovers, &to.failovers),
        (&from.switchovers, &to.switchovers),
        (&from.healed, &to.healed),
    ];
    for (from, to) in pairs {
        to.store(properties::seen(from), std::sync::atomic::Ordering::Relaxed);
    }
}

/// The events with what they were about.
pub fn explain(plan: &Plan, events: &[Event]) -> String {
    let world = World::new(plan.clone());
    let mut state = world.initial();
    let mut lines = String::new();
    for event in events {
        let detail = match event {
            Event::Deliver(key) => state.network.get(*key).map_or(String::new(), |packet| {
                let names = (packet.from + 1, packet.to + 1);
                format!("s{} to s{}: {:?}", names.0, names.1, packet.message)
            }),
            Event::Show { record, .. } => brief(&state.records[*record]),
            Event::Ask { client, call, .. } | Event::AskLate { client, call, .. } => {
                format!("{:?}", state.clients[*client].calls[*call].ask)
            }
            Event::Rule { .. } | Event::Switch { .. } | Event::RuleInSilence { .. } => {
                format!("after {}", brief(&state.records[state.records.len() - 1]))
            }
            Event::Release(held) => format!("{:?}", state.held[*held]),
            Event::Crash(_) | Event::Timer(_) | Event::Flush(_) | Event::Grant(_) => String::new(),
        };
        lines += &format!("  {event:?} {detail}\n");
        if let Some(next) = world.happen(&state, event) {
            state = next;
        }
    }
    lines
}

/// Records, one a line.
pub fn briefly(records: &[Record]) -> String {
    records.iter().map(|record| format!("\n  {}", brief(record))).collect()
}

fn brief(record: &Record) -> String {
    let view = &record.view;
    let names =
        |members: &[Member]| members.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let name = |member: &Option<Member>| names(member.as_slice());
    format!(
        "{} {:?} ({}, {}) joining [{}] since {} eligible [{}]",
        view.id,
        record.phase,
        view.primary,
        name(&view.backup),
        name(&view.joining),
        view.since,
        names(&record.eligible),
    )
}
