//! The commands beside put, append, get and remove, and what their histories must show.
//!
//! A counter, a list that only `cas` changes, and a pair of keys that only `mput` writes, each with
//! its own checker; `exists`, `len` and `keys` are asked of the ordinary keys and join their
//! histories. Linear time, because every value is written once and says where it belongs.

use std::collections::{BTreeMap, BTreeSet};

use pbkv::history::key::{Action as Seen, Operation};
use pbkv::kv::command::{Cas, Command, Key, Value};
use pbkv::protocol::client::{Action, Completed};

use crate::invariants::Violation;
use crate::workload::number_of;

/// Keys of their own, counted after the ordinary ones.
pub const COUNTER: usize = 0;
pub const SWAPPED: usize = 1;
pub const PAIR: usize = 2;

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Special {
    /// By one.
    Incr,
    /// From a value that somebody has seen there (none: missing) to one that nobody has.
    Cas { old: Option<u64>, new: u64 },
    /// Both keys of the pair.
    Mput,
    /// The key that was asked for, or one of the pair.
    Get,
    /// Both keys of the pair.
    Mget,
    /// Of an ordinary key.
    Len,
    /// Of an ordinary key.
    Exists,
    /// Of an ordinary key: does a listing show it?
    Keys,
}

/// What an answer said, beyond that it came.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Told {
    #[default]
    Nothing,
    Number(i64),
    Swapped(bool),
    Length(u64),
    Exists(bool),
}

/// The names of the keys, for a history.
pub fn names(key: usize, generation: u64) -> Vec<Key> {
    let names: &[&str] = match key {
        COUNTER => &["counter"],
        SWAPPED => &["swapped"],
        _ => &["pair0", "pair1"],
    };
    names.iter().map(|name| Key::from(&*format!("{name}.{generation}"))).collect()
}

impl Special {
    /// The client's operation, on keys of these names, and what it is in a history.
    pub fn action(self, keys: &[Key], value: Value, number: u64) -> (Action, Seen) {
        let key = keys[usize::try_from(number).unwrap_or(0) % keys.len()].clone();
        let list = |number: u64| vec![Value::from(&*number.to_string())];
        match self {
            Special::Incr => (Action::Write(Command::Incr { key, by: 1 }), Seen::Put(number)),
            Special::Cas { old, new } => {
                let cas = Cas { key, old: old.map(list), new: Some(list(new)) };
                (Action::Write(Command::Cas(cas.into())), Seen::Put(new))
            }
            Special::Mput => {
                let entries = keys.iter().map(|key| (key.clone(), vec![value.clone()])).collect();
                (Action::Write(Command::Mput { entries }), Seen::Put(number))
            }
            Special::Get => (Action::Get(key), Seen::Get(None)),
            Special::Mget => (Action::Mget(keys.to_vec()), Seen::Get(None)),
            Special::Len => (Action::Len(key), Seen::Get(None)),
            Special::Exists => (Action::Exists(key), Seen::Get(None)),
            Special::Keys => (Action::Keys { prefix: key, start_after: None }, Seen::Get(None)),
        }
    }

    /// Whether a history of puts and gets has it as it is.
    pub fn is_of_lists(self) -> bool {
        match self {
            Special::Mput | Special::Get | Special::Mget => true,
            Special::Incr
            | Special::Cas { .. }
            | Special::Len
            | Special::Exists
            | Special::Keys => false,
        }
    }

    /// Whether it changes anything.
    pub fn is_write(self) -> bool {
        match self {
            Special::Incr | Special::Cas { .. } | Special::Mput => true,
            Special::Get | Special::Mget | Special::Len | Special::Exists | Special::Keys => false,
        }
    }
}

fn numbers(list: &Option<Vec<Value>>) -> Option<Vec<u64>> {
    list.as_ref().map(|list| list.iter().map(number_of).collect())
}

/// What an answer says: of a list, as a history has it; or otherwise.
pub fn told(completed: &Completed, key: &Key) -> Result<(Option<Seen>, Told), Violation> {
    Ok(match completed {
        Completed::Written => (None, Told::Swapped(true)),
        Completed::Mismatch(_) => (None, Told::Swapped(false)),
        Completed::Number(number) => (None, Told::Number(*number)),
        Completed::Length(length) => (None, Told::Length(*length)),
        Completed::Exists(exists) => (None, Told::Exists(*exists)),
        Completed::Keys(page) => (None, Told::Exists(page.keys.contains(key))),
        Completed::List(list) => (Some(Seen::Get(numbers(list))), Told::Nothing),
        Completed::Lists(lists) => {
            if lists.windows(2).any(|pair| pair[0] != pair[1]) {
                return Err(Violation::new("mput-is-atomic", format!("{lists:?}")));
            }
            (Some(Seen::Get(numbers(&lists[0]))), Told::Nothing)
        }
        Completed::View(_) | Completed::Snapshot(_) => (None, Told::Nothing),
    })
}

/// One operation on a key, as far as it may have happened.
#[derive(Clone, Debug)]
pub struct Event {
    pub special: Special,
    pub told: Told,
    pub operation: Operation,
}

impl Event {
    fn end(&self) -> u64 {
        self.operation.answered.unwrap_or(u64::MAX)
    }

    pub fn list(&self) -> Option<&[u64]> {
        match &self.operation.action {
            Seen::Get(list) => list.as_deref(),
            Seen::Put(_) | Seen::Append(_) | Seen::Remove => None,
        }
    }
}

/// What a length, or whether there is a key, says of a list that is known to grow like `longest`.
pub fn as_read(event: &Event, longest: &[u64]) -> Option<Operation> {
    let length = match event.told {
        Told::Length(length) => length,
        Told::Exists(false) => 0,
        Told::Exists(true) | Told::Nothing | Told::Number(_) | Told::Swapped(_) => return None,
    };
    let prefix = longest.get(..usize::try_from(length).ok()?)?;
    let list = (!prefix.is_empty()).then(|| prefix.to_vec());
    Some(Operation { action: Seen::Get(list), ..event.operation.clone() })
}

fn violation(events: &[Event], what: String) -> Violation {
    let mut detail = what;
    for event in events.iter().rev().take(40).rev() {
        detail.push_str(&format!("\n    {event:?}"));
    }
    Violation::new("no-stale-read", detail)
}

/// Whatever comes later in the order of ranks was not answered before something earlier was called.
fn check_ranks(mut ranked: Vec<(u64, &Event)>) -> Result<(), String> {
    ranked.sort_by_key(|(rank, event)| (*rank, event.operation.called));
    let mut latest = 0;
    for (rank, event) in ranked {
        if event.end() < latest {
            return Err(format!("rank {rank} comes too late: {event:?}"));
        }
        latest = latest.max(event.operation.called);
    }
    Ok(())
}

/// A counter that is only incremented by one: each sum is somebody's, or that of an `incr` whose
/// outcome is not known.
pub fn check_counter(events: &[Event]) -> Result<(), Violation> {
    let complain = |what: String| Err(violation(events, format!("counter: {what}")));
    let mut sums = BTreeSet::new();
    let mut unknown = Vec::new();
    let mut ranked = Vec::new();
    for event in events {
        let sum = match (event.special, &event.told) {
            (Special::Incr, Told::Number(sum)) => {
                let Some(sum) = u64::try_from(*sum).ok().filter(|sum| *sum > 0) else {
                    return complain(format!("counted to {sum}"));
                };
                if !sums.insert(sum) {
                    return complain(format!("counted to {sum} twice"));
                }
                2 * sum - 1
            }
            (Special::Incr, _) => {
                unknown.push(event.operation.called);
                continue;
            }
            _ => match event.list() {
                None => 0,
                Some([sum]) => 2 * sum,
                Some(list) => return complain(format!("{list:?} is no count")),
            },
        };
        ranked.push((sum, event));
    }
    let highest = ranked.iter().map(|(rank, _)| rank.div_ceil(2)).max().unwrap_or(0);
    if highest > events.len() as u64 {
        return complain(format!("{highest} is more than was asked for"));
    }
    unknown.sort_unstable();
    let gaps = (1..=highest).filter(|sum| !sums.contains(sum));
    for (index, gap) in gaps.enumerate() {
        // It was called before the first answer that shows that it had happened.
        let later = ranked.iter().filter(|(rank, _)| *rank > 2 * gap - 1);
        let seen = later.map(|(_, event)| event.end()).min().unwrap_or(u64::MAX);
        if unknown.get(index).is_none_or(|called| *called > seen) {
            return complain(format!("nobody counted to {gap}"));
        }
    }
    check_ranks(ranked).or_else(complain)
}

/// A list that only `cas` changes, each time to a value that nobody has used: the values form a
/// chain, which starts at the missing key.
pub fn check_swapped(events: &[Event]) -> Result<(), Violation> {
    let complain = |what: String| Err(violation(events, format!("swapped: {what}")));
    let edge = |event: &Event| {
        if let Special::Cas { old, new } = event.special { Some((old, new)) } else { None }
    };
    let mut seen: BTreeSet<u64> =
        events.iter().filter_map(Event::list).flatten().copied().collect();
    let swapped = events.iter().filter(|event| event.told == Told::Swapped(true));
    seen.extend(swapped.filter_map(edge).filter_map(|(old, _)| old));
    // Which `cas` replaced which value: one that was answered, or of which the new value was seen.
    let mut replaced: BTreeMap<Option<u64>, (u64, &Event)> = BTreeMap::new();
    for event in events {
        let Some((old, new)) = edge(event) else { continue };
        let happened = match event.told {
            Told::Swapped(swapped) => swapped,
            Told::Nothing | Told::Number(_) | Told::Length(_) | Told::Exists(_) => {
                seen.contains(&new)
            }
        };
        if happened && let Some((other, _)) = replaced.insert(old, (new, event)) {
            return complain(format!("{old:?} was replaced by {other} and by {new}"));
        }
    }
    let mut place = BTreeMap::from([(None, 0)]);
    let mut ranked = Vec::new();
    let mut present = None;
    while let Some((new, event)) = replaced.remove(&present) {
        ranked.push((2 * place[&present] + 1, event));
        present = Some(new);
        place.insert(present, place.len() as u64);
    }
    if let Some((old, (new, _))) = replaced.first_key_value() {
        return complain(format!("{old:?} was replaced by {new}, and was never there"));
    }
    let mut refused = Vec::new();
    for event in events {
        match (edge(event), &event.told) {
            (Some(_), Told::Swapped(false)) => refused.push(event),
            (Some(_), _) => {}
            (None, _) => {
                let value = match event.list() {
                    None => None,
                    Some([value]) => Some(*value),
                    Some(list) => return complain(format!("{list:?} was read")),
                };
                let Some(place) = place.get(&value) else {
                    return complain(format!("{value:?} was read, and was never there"));
                };
                ranked.push((2 * place, event));
            }
        }
    }
    // A refused one has seen a later value than the one it expected, which somebody had seen before
    // it was called.
    refused.sort_by_key(|event| event.operation.called);
    for event in refused {
        let Some((old, _)) = edge(event) else { continue };
        let Some(expected) = place.get(&old) else {
            return complain(format!("{old:?} was expected, and was never there"));
        };
        let mut rank = 2 * (expected + 1);
        if old == present {
            let replaces = |other: &&Event| {
                edge(other).is_some_and(|(replaced, _)| replaced == old)
                    && other.told == Told::Nothing
                    && other.operation.called < event.end()
            };
            if !events.iter().any(|other| replaces(&other)) {
                return complain(format!("refused although {old:?} was there: {event:?}"));
            }
        }
        let before = ranked.iter().filter(|(_, other)| other.end() < event.operation.called);
        rank = rank.max(before.map(|(rank, _)| rank.next_multiple_of(2)).max().unwrap_or(0));
        ranked.push((rank, event));
    }
    check_ranks(ranked).or_else(complain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(special: Special, told: Told, called: u64, answered: Option<u64>) -> Event {
        let action = Seen::Get(None);
        Event { special, told, operation: Operation { process: 1, called, answered, action } }
    }

    fn read(list: &[u64], called: u64, answered: u64) -> Event {
        let mut event = event(Special::Get, Told::Nothing, called, Some(answered));
        event.operation.action = Seen::Get((!list.is_empty()).then(|| list.to_vec()));
        event
    }

    fn incr(sum: Option<i64>, called: u64) -> Event {
        let told = sum.map_or(Told::Nothing, Told::Number);
        event(Special::Incr, told, called, sum.map(|_| called + 5))
    }

    fn cas(old: Option<u64>, new: u64, swapped: Option<bool>, called: u64) -> Event {
        let told = swapped.map_or(Told::Nothing, Told::Swapped);
        event(Special::Cas { old, new }, told, called, swapped.map(|_| called + 5))
    }

    #[test]
    fn a_counter_is_checked_for_sums_that_nobody_or_two_counted_to() {
        let ok = |events: &[Event]| check_counter(events).is_ok();
        assert!(ok(&[incr(Some(1), 0), incr(Some(2), 10), read(&[2], 20, 30)]));
        assert!(ok(&[incr(Some(2), 0), incr(Some(1), 3)]), "they overlap");
        assert!(ok(&[incr(None, 0), incr(Some(2), 10)]), "the unknown one happened");
        assert!(ok(&[incr(None, 0), incr(Some(1), 10)]), "or did not");
        assert!(!ok(&[incr(Some(1), 0), incr(Some(1), 10)]), "lost");
        assert!(!ok(&[incr(Some(1), 0), incr(Some(3), 10)]), "executed twice");
        assert!(!ok(&[incr(Some(2), 0), incr(Some(1), 10)]), "out of order");
        assert!(!ok(&[incr(Some(2), 0), incr(None, 10)]), "called too late to be the first");
        assert!(!ok(&[incr(Some(1), 0), read(&[], 10, 20)]), "stale");
        assert!(!ok(&[incr(None, 0), incr(None, 1), read(&[3], 10, 20)]), "more than was asked");
    }

    #[test]
    fn a_swapped_list_is_checked_for_values_replaced_twice_and_for_refusals_without_cause() {
        let ok = |events: &[Event]| check_swapped(events).is_ok();
        let first = cas(None, 1, Some(true), 0);
        assert!(ok(&[first.clone(), cas(Some(1), 2, Some(true), 10), read(&[2], 20, 30)]));
        assert!(ok(&[first.clone(), cas(None, 2, Some(false), 3)]));
        assert!(ok(&[cas(None, 1, None, 0), cas(Some(1), 2, Some(true), 10)]));
        assert!(ok(&[cas(None, 1, None, 0), cas(None, 2, Some(false), 10)]), "the unknown one");
        assert!(ok(&[cas(None, 1, None, 0), cas(None, 2, Some(true), 10)]));
        assert!(!ok(&[first.clone(), cas(None, 2, Some(true), 10)]), "both from nothing");
        assert!(!ok(&[first.clone(), cas(Some(1), 2, Some(false), 10)]), "refused");
        assert!(!ok(&[first.clone(), read(&[], 10, 20)]), "stale");
        assert!(!ok(&[first.clone(), read(&[7], 10, 20)]), "from nowhere");
        let later = [first.clone(), cas(Some(1), 2, Some(true), 10), read(&[1], 20, 30)];
        assert!(!ok(&later), "stale");
        let unknown = cas(Some(1), 2, None, 5);
        let refused = cas(Some(1), 3, Some(false), 10);
        assert!(ok(&[first.clone(), unknown.clone(), refused.clone(), read(&[1], 8, 12)]));
        assert!(!ok(&[first, unknown, refused, read(&[1], 20, 30)]), "it was replaced before");
    }

    #[test]
    fn a_length_is_a_read_of_as_many_elements() {
        let told = |told| event(Special::Len, told, 1, Some(2));
        let list = |told: Told| {
            as_read(&event(Special::Len, told, 1, Some(2)), &[7, 8]).map(|read| read.action)
        };
        assert_eq!(list(Told::Length(1)), Some(Seen::Get(Some(vec![7]))));
        assert_eq!(list(Told::Length(0)), Some(Seen::Get(None)));
        assert_eq!(list(Told::Exists(false)), Some(Seen::Get(None)));
        assert_eq!(list(Told::Exists(true)), None);
        assert_eq!(as_read(&told(Told::Length(3)), &[7, 8]), None, "nobody read so far");
    }
}
