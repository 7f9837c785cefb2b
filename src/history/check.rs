//! Judges a whole history: key by key, because linearizability is compositional.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use super::key::{self, Operation, Reason};
use super::shrink::shrink;
use super::{Action, Event, Outcome};
use crate::kv::command::{Key, Value};

/// The judgement of a history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// There is an order of the operations that explains everything.
    Linearizable,
    /// There is none.
    Violation(Box<Violation>),
    /// Nothing wrong was found, but for some keys the search was not over when it had taken its
    /// budget of steps.
    Unknown {
        /// Keys that were not decided.
        keys: Vec<Key>,
        /// Steps that each of them took.
        budget: u64,
    },
}

/// Proof that a history is not linearizable: as few operations as possible that no order explains.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The key that it is about.
    pub key: Key,
    /// What is wrong, in one sentence; `(1)` is the first operation below.
    pub why: String,
    /// The operations that it takes; those that the sentence names come first, the others in the
    /// order of their calls.
    pub operations: Vec<Involved>,
    /// Operations of this key in the history.
    pub of_key: usize,
}

/// An operation of a [`Violation`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Involved {
    /// Its place in the history, from 0.
    pub place: usize,
    /// The operation as it was recorded.
    pub event: Event,
    /// Of a read: the places in its list of the elements that matter.
    pub shown: Vec<usize>,
}

/// Judges a history. Each key gets a budget of `budget` steps of search.
#[must_use]
pub fn check(history: &[Event], budget: u64) -> Verdict {
    let mut by_key: BTreeMap<&Key, Vec<usize>> = BTreeMap::new();
    for (place, event) in history.iter().enumerate() {
        by_key.entry(&event.key).or_default().push(place);
    }
    let mut undecided = Vec::new();
    for (key, places) in by_key {
        let of_key = OfKey::new(history, places);
        match check_key(&of_key.operations, budget) {
            key::Verdict::Linearizable => {}
            key::Verdict::Unknown => undecided.push(key.clone()),
            key::Verdict::Violation(_) => {
                return Verdict::Violation(Box::new(of_key.violation(key, budget)));
            }
        }
    }
    if undecided.is_empty() {
        Verdict::Linearizable
    } else {
        Verdict::Unknown { keys: undecided, budget }
    }
}

/// Judges the history of one key with the checker that suits it.
pub(super) fn check_key(operations: &[Operation], budget: u64) -> key::Verdict {
    let mut written = HashSet::new();
    let only_unique_appends = operations.iter().all(|operation| match operation.action {
        key::Action::Append(value) => written.insert(value),
        key::Action::Get(_) => true,
        key::Action::Put(_) | key::Action::Remove => false,
    });
    if only_unique_appends {
        key::check_appends(operations)
    } else {
        key::check(operations, budget)
    }
}

/// What happened to one key, with values as numbers.
struct OfKey<'a> {
    history: &'a [Event],
    /// Everything about the key.
    places: Vec<usize>,
    operations: Vec<Operation>,
    /// Where each of the operations stands in the history.
    place_of: Vec<usize>,
    numbers: HashMap<&'a Value, key::Value>,
}

impl<'a> OfKey<'a> {
    fn new(history: &'a [Event], places: Vec<usize>) -> Self {
        let mut of_key = OfKey {
            history,
            operations: Vec::with_capacity(places.len()),
            place_of: Vec::with_capacity(places.len()),
            numbers: HashMap::new(),
            places: Vec::new(),
        };
        for place in &places {
            of_key.add(*place);
        }
        of_key.places = places;
        of_key
    }

    fn number(&mut self, value: &'a Value) -> key::Value {
        let next = self.numbers.len() as u64 + 1;
        *self.numbers.entry(value).or_insert(next)
    }

    fn add(&mut self, place: usize) {
        let event = &self.history[place];
        let is_ok = event.outcome == Outcome::Ok;
        if event.outcome == Outcome::NotExecuted {
            return;
        }
        let action = match &event.action {
            Action::Put(value) => key::Action::Put(self.number(value)),
            Action::Append(value) => key::Action::Append(self.number(value)),
            Action::Remove => key::Action::Remove,
            // A read that was not answered says nothing.
            Action::Get(_) if !is_ok => return,
            Action::Get(list) => key::Action::Get(
                list.as_ref().map(|list| list.iter().map(|value| self.number(value)).collect()),
            ),
        };
        self.operations.push(Operation {
            // Everybody by himself: what a client has under way at the same time has no order.
            process: place as u64,
            called: event.call_ns,
            answered: event.return_ns.filter(|_| is_ok),
            action,
        });
        self.place_of.push(place);
    }

    /// The smallest part of the history that is still a violation.
    fn violation(&self, key: &Key, budget: u64) -> Violation {
        let small = shrink(&self.operations, budget);
        let place_of = |index: usize| self.place_of[small.from[index]];
        let mut why = small.explanation.reason.sentence(|number| self.name(number));
        let mut first: Vec<usize> =
            small.explanation.involved.iter().map(|index| place_of(*index)).collect();
        if let Reason::NeverWritten(number) = small.explanation.reason
            && let Some(refused) = self.refused(number)
        {
            why = format!("(2) was said not to be executed, but (1) read {}", self.name(number));
            first.push(refused);
        }
        let mut order = first.clone();
        let mut others: Vec<usize> = (0..small.operations.len()).map(place_of).collect();
        others.retain(|place| !first.contains(place));
        others.sort_by_key(|place| self.history[*place].call_ns);
        order.extend(others);
        let kept: HashSet<key::Value> = small.operations.iter().flat_map(values).copied().collect();
        let involved = |place: usize| {
            let event = self.history[place].clone();
            let shown = match &event.action {
                Action::Get(Some(list)) => {
                    let is_kept = |index: &usize| {
                        self.numbers.get(&list[*index]).is_some_and(|number| kept.contains(number))
                    };
                    (0..list.len()).filter(is_kept).collect()
                }
                Action::Get(None) | Action::Put(_) | Action::Append(_) | Action::Remove => {
                    Vec::new()
                }
            };
            Involved { place, event, shown }
        };
        Violation {
            key: key.clone(),
            why,
            operations: order.into_iter().map(involved).collect(),
            of_key: self.places.len(),
        }
    }

    fn name(&self, number: key::Value) -> String {
        let named = self.numbers.iter().find(|(_, other)| **other == number);
        named.map_or_else(String::new, |(value, _)| format!("{:.60?}", &*value.0))
    }

    /// A write of this value whose client was told that it never happens.
    fn refused(&self, number: key::Value) -> Option<usize> {
        self.places.iter().copied().find(|place| {
            let event = &self.history[*place];
            event.outcome == Outcome::NotExecuted
                && event.written().is_some_and(|value| self.numbers.get(value) == Some(&number))
        })
    }
}

/// The values that an operation speaks of.
pub(super) fn values(operation: &Operation) -> &[key::Value] {
    match &operation.action {
        key::Action::Put(value) | key::Action::Append(value) => std::slice::from_ref(value),
        key::Action::Remove => &[],
        key::Action::Get(list) => list.as_deref().unwrap_or_default(),
    }
}

impl fmt::Display for Violation {
    /// Several lines: the key, why, and the operations with their times from the first call on.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// More is no longer an explanation.
        const OPERATIONS_SHOWN: usize = 40;
        writeln!(f, "key {:?}: {}", &*self.key.0, self.why)?;
        let origin = self.operations.iter().map(|involved| involved.event.call_ns).min();
        for (index, involved) in self.operations.iter().take(OPERATIONS_SHOWN).enumerate() {
            writeln!(f, "  ({}) {}", index + 1, involved.describe(origin.unwrap_or(0)))?;
        }
        if self.operations.len() > OPERATIONS_SHOWN {
            writeln!(f, "  and {} more", self.operations.len() - OPERATIONS_SHOWN)?;
        }
        let (few, all) = (self.operations.len(), self.of_key);
        write!(f, "These {few} of the key's {all} operations are enough to show it.")
    }
}

impl Involved {
    fn describe(&self, origin: u64) -> String {
        let event = &self.event;
        let what = match &event.action {
            Action::Put(value) | Action::Append(value) => {
                format!("{} {:.60?}", event.word(), &*value.0)
            }
            Action::Remove => "remove".to_owned(),
            Action::Get(None) => "get returned null".to_owned(),
            Action::Get(Some(list)) => format!("get returned {}", self.shown_list(list)),
        };
        let at = |ns: u64| format!("{:.6} ms", (ns - origin.min(ns)) as f64 / 1e6);
        let until = match (event.outcome, event.return_ns) {
            (Outcome::Ok, Some(returned)) => format!("to {}", at(returned)),
            (Outcome::NotExecuted, _) => "on, certainly not executed".to_owned(),
            (Outcome::Ok | Outcome::Unknown, _) => "on, outcome unknown".to_owned(),
        };
        let (line, client, from) = (self.place + 1, event.client, at(event.call_ns));
        format!("line {line}: client {client}: {what}, from {from} {until}")
    }

    /// The list with `..` for what does not matter.
    fn shown_list(&self, list: &[Value]) -> String {
        let mut parts: Vec<String> = Vec::new();
        let mut next = 0;
        for index in &self.shown {
            if *index > next {
                parts.push("..".to_owned());
            }
            parts.push(format!("{:.60?}", &*list[*index].0));
            next = index + 1;
        }
        if next < list.len() {
            parts.push("..".to_owned());
        }
        format!("[{}] ({} elements)", parts.join(", "), list.len())
    }
}
