//! The store as it was after one operation, read bit by bit while the store itself goes on.
//!
//! Nothing is copied at the beginning. Before an operation changes a list that has not been read
//! yet, what the list was is put aside; a list that only grows needs no more than its length for
//! that, because its elements stay what they are. So a snapshot costs what is changed meanwhile,
//! each key once, and less and less the further it is read.
//!
//! Kept here: for every key from `from` on, what is put aside, or else the store, is what the store
//! was at the snapshot's operation. Not here: who reads, and how much may be put aside.

use std::collections::BTreeMap;
use std::ops::Bound;

use serde::{Deserialize, Serialize};

use crate::kv::command::{Command, Key, Value};
use crate::kv::store::{List, Store};
use crate::types::OperationNumber;

/// A place in a snapshot: everything before element `index` of the list under `key` was read.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Position {
    /// The last key of which anything was read.
    pub key: Key,
    /// Elements of it that were read.
    pub index: u64,
}

/// A list of a snapshot, or elements of it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Part {
    /// Which list.
    pub key: Key,
    /// Index of the first element here.
    pub start: u64,
    /// The elements.
    pub values: Vec<Value>,
}

/// What a list was.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Former {
    /// There was none.
    Missing,
    /// As many elements of the list that is still in the store.
    Beginning(usize),
    /// These elements.
    List(Vec<Value>),
}

/// See the module.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Snapshot {
    at: OperationNumber,
    /// Keys before this one were read; none while nothing was.
    from: Option<Key>,
    former: BTreeMap<Key, Former>,
    /// Bytes that what is put aside takes, roughly.
    bytes: usize,
}

fn size(key: &Key, former: &Former) -> usize {
    let values = match former {
        Former::Missing | Former::Beginning(_) => 0,
        Former::List(values) => values.iter().map(|value| 16 + value.0.len()).sum(),
    };
    96 + key.0.len() + values
}

impl Snapshot {
    /// The store as it is now, after the operation of this number.
    #[must_use]
    pub fn begin(at: OperationNumber) -> Snapshot {
        Snapshot { at, from: None, former: BTreeMap::new(), bytes: 0 }
    }

    /// The last operation that is in it.
    #[must_use]
    pub fn at(&self) -> OperationNumber {
        self.at
    }

    /// Bytes that it takes, roughly, beside the store itself.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A command is about to be executed on the store.
    pub fn before(&mut self, command: &Command, store: &Store) {
        match command {
            Command::Append { key, .. } => self.note(key, store, true),
            Command::Put { key, .. } | Command::Remove { key } | Command::Incr { key, .. } => {
                self.note(key, store, false);
            }
            Command::Cas(cas) => self.note(&cas.key, store, false),
            Command::Refused => {}
            Command::Mput { entries } => {
                for (key, _) in entries {
                    self.note(key, store, false);
                }
            }
        }
    }

    /// Puts aside what a list is, if it was that at the snapshot's operation.
    fn note(&mut self, key: &Key, store: &Store, only_grows: bool) {
        if self.from.as_ref().is_some_and(|from| key < from) {
            return;
        }
        let present = store.get(key).map(List::values);
        let former = match (self.former.get(key), present) {
            (None, None) => Former::Missing,
            (None, Some(values)) if only_grows => Former::Beginning(values.len()),
            (None, Some(values)) => Former::List(values.to_vec()),
            // It has only grown since.
            (Some(Former::Beginning(length)), Some(values)) if !only_grows => {
                Former::List(values[..*length].to_vec())
            }
            (Some(_), _) => return,
        };
        self.bytes += size(key, &former);
        if let Some(replaced) = self.former.insert(key.clone(), former) {
            self.bytes -= size(key, &replaced);
        }
    }

    /// Whether what follows this place is not known any more.
    #[must_use]
    pub fn has_forgotten(&self, position: Option<&Position>) -> bool {
        self.from.as_ref().is_some_and(|from| position.is_none_or(|place| place.key < *from))
    }

    /// Everything before this place was read, and is not asked for any more.
    pub fn forget_before(&mut self, position: &Position) {
        let rest = self.former.split_off(&position.key);
        for (key, former) in std::mem::replace(&mut self.former, rest) {
            self.bytes -= size(&key, &former);
        }
        self.from = Some(position.key.clone());
    }

    /// What follows a place, about `budget` bytes of it and at least one element, and where to go
    /// on; no place at the end. There may be nothing in it: what was not there at the snapshot's
    /// operation takes its share of the budget, so that passing over it is bounded, too.
    #[must_use]
    pub fn read(
        &self,
        store: &Store,
        position: Option<&Position>,
        budget: usize,
    ) -> (Vec<Part>, Option<Position>) {
        let (mut parts, mut room) = (Vec::new(), budget);
        let mut bound =
            position.map_or(Bound::Unbounded, |position| Bound::Included(&position.key));
        while let Some((key, values)) = self.next(store, bound) {
            bound = Bound::Excluded(key);
            let resumed = position.filter(|position| position.key == *key);
            let start = resumed.map_or(0, |position| position.index);
            let start = usize::try_from(start).unwrap_or(usize::MAX).min(values.len());
            if resumed.is_some() && start == values.len() {
                continue;
            }
            room = room.saturating_sub(32 + key.0.len());
            let mut taken = Vec::new();
            for value in &values[start..] {
                if room == 0 && !(parts.is_empty() && taken.is_empty()) {
                    break;
                }
                room = room.saturating_sub(4 + value.0.len());
                taken.push(value.clone());
            }
            let end = start + taken.len();
            if !taken.is_empty() {
                parts.push(Part { key: key.clone(), start: start as u64, values: taken });
            }
            if room == 0 {
                return (parts, Some(Position { key: key.clone(), index: end as u64 }));
            }
        }
        (parts, None)
    }

    /// The first list of the snapshot within this lower bound; an empty one for a key of today that
    /// was missing then.
    fn next<'a>(
        &'a self,
        store: &'a Store,
        bound: Bound<&'a Key>,
    ) -> Option<(&'a Key, &'a [Value])> {
        let stored = match bound {
            Bound::Included(key) => store.first_from(Some(key)),
            Bound::Excluded(key) => store.first_after(Some(key)),
            Bound::Unbounded => store.first_from(None),
        };
        let former = self.former.range::<Key, _>((bound, Bound::Unbounded)).next();
        match (stored, former) {
            (Some((key, list)), None) => Some((key, list.values())),
            (Some((key, list)), Some((former, _))) if key < former => Some((key, list.values())),
            (_, Some((key, Former::List(values)))) => Some((key, values)),
            (_, Some((key, Former::Beginning(length)))) => {
                let list = store.get(key).expect("a list that only grows is still there");
                Some((key, &list.values()[..*length]))
            }
            (_, Some((key, Former::Missing))) => Some((key, &[])),
            (None, None) => None,
        }
    }

    /// Gives up some of what was put aside; whether that was all. To drop it all at once would take
    /// longer than the others may be kept waiting.
    pub fn discard(&mut self, entries: usize) -> bool {
        for _ in 0..entries {
            if self.former.pop_first().is_none() {
                return true;
            }
        }
        self.former.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::command::Cas;
    use crate::kv::digest;
    use crate::kv::execute::execute;

    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            digest::numbers([self.0]) % bound
        }

        fn command(&mut self, store: &Store) -> Command {
            let key = Key::from(format!("k{}", self.below(12)).as_str());
            let value = Value::from(format!("v{}", self.below(1000)).as_str());
            match self.below(9) {
                0 => Command::Put { key, value },
                1 => Command::Remove { key },
                2 => Command::Incr { key: Key::from("k0"), by: 1 },
                3 => {
                    let old = store.get(&key).map(|list| list.values().to_vec());
                    let new = (self.below(2) == 0).then(|| vec![value; 2]);
                    Command::Cas(Box::new(Cas { key, old, new }))
                }
                4 => {
                    let other = Key::from(format!("k{}", self.below(14)).as_str());
                    Command::Mput { entries: vec![(other, vec![value]), (key, Vec::new())] }
                }
                _ => Command::Append { key, value },
            }
        }
    }

    type Lists = BTreeMap<Key, Vec<Value>>;

    fn lists(store: &Store) -> Lists {
        store.iter().map(|(key, list)| (key.clone(), list.values().to_vec())).collect()
    }

    /// Reads to the end, with `between` after each part; checks order and continuity.
    fn read_all(
        mut snapshot: Snapshot,
        store: &mut Store,
        budget: usize,
        mut between: impl FnMut(&mut Snapshot, &mut Store),
    ) -> Lists {
        let (mut read, mut position) = (Lists::new(), None);
        loop {
            let (parts, next) = snapshot.read(store, position.as_ref(), budget);
            for Part { key, start, values } in parts {
                assert!(!values.is_empty());
                assert!(read.last_key_value().is_none_or(|(last, _)| *last <= key), "in order");
                let list = read.entry(key).or_default();
                assert_eq!(list.len() as u64, start, "without gaps");
                list.extend(values);
            }
            let Some(next) = next else { return read };
            snapshot.forget_before(&next);
            position = Some(next);
            between(&mut snapshot, store);
        }
    }

    #[test]
    fn what_is_read_while_operations_go_on_is_the_store_at_one_operation() {
        for seed in 0..400 {
            let (mut random, mut store) = (Random(seed), Store::default());
            let mut number = 0;
            let mut step =
                |random: &mut Random, store: &mut Store, snapshot: Option<&mut Snapshot>| {
                    number += 1;
                    let command = random.command(store);
                    if let Some(snapshot) = snapshot {
                        snapshot.before(&command, store);
                    }
                    execute(store, &command, OperationNumber(number));
                };
            for _ in 0..100 {
                step(&mut random, &mut store, None);
            }
            let expected = lists(&store);
            let budget = usize::try_from(1 + random.below(200)).unwrap();
            let mut snapshot = Snapshot::begin(OperationNumber(100));
            step(&mut random, &mut store, Some(&mut snapshot));
            let read = read_all(snapshot, &mut store, budget, |snapshot, store| {
                for _ in 0..random.below(6) {
                    step(&mut random, store, Some(snapshot));
                }
            });
            assert_eq!(read, expected, "seed {seed}");
        }
    }

    #[test]
    fn what_was_read_is_not_put_aside_and_what_was_put_aside_is_forgotten_when_it_was_read() {
        let mut store = Store::default();
        for index in 0..100 {
            store.put(Key::from(format!("k{index:02}").as_str()), "v".into(), OperationNumber(1));
        }
        let mut snapshot = Snapshot::begin(OperationNumber(1));
        let (parts, next) = snapshot.read(&store, None, 50 * 40);
        assert!(parts.len() > 20 && parts.len() < 80, "{}", parts.len());
        let next = next.unwrap();
        let put = |key: &str| Command::Put { key: key.into(), value: "new".into() };
        snapshot.before(&put("k00"), &store);
        let before = snapshot.bytes();
        snapshot.forget_before(&next);
        assert!(snapshot.bytes() < before);
        snapshot.before(&put("k00"), &store);
        assert_eq!(snapshot.bytes(), 0);
        snapshot.before(&put("k99"), &store);
        let once = snapshot.bytes();
        snapshot.before(&put("k99"), &store);
        assert_eq!(snapshot.bytes(), once, "each key once");
        assert!(once > 0);
    }

    #[test]
    fn what_is_newer_than_the_snapshot_is_passed_over_page_by_page() {
        let mut store = Store::default();
        let put = |key: &str| Command::Put { key: key.into(), value: "v".into() };
        for key in ["a", "z"] {
            execute(&mut store, &put(key), OperationNumber(1));
        }
        let mut snapshot = Snapshot::begin(OperationNumber(1));
        for index in 0..1000 {
            let command = put(&format!("k{index:03}"));
            snapshot.before(&command, &store);
            execute(&mut store, &command, OperationNumber(2));
        }
        let (mut position, mut pages) = (None, Vec::new());
        loop {
            let (parts, next) = snapshot.read(&store, position.as_ref(), 40 * 100);
            pages.push(parts.into_iter().map(|part| part.key).collect::<Vec<_>>());
            let Some(next) = next else { break };
            snapshot.forget_before(&next);
            position = Some(next);
        }
        assert_eq!(pages.concat(), ["a".into(), "z".into()]);
        assert!(pages.len() >= 9, "{} pages for 1000 keys", pages.len());
        assert!(pages[1].is_empty());
    }

    #[test]
    fn what_was_put_aside_can_be_given_up_bit_by_bit() {
        let mut snapshot = Snapshot::begin(OperationNumber(1));
        for index in 0..25 {
            let key = Key::from(format!("k{index}").as_str());
            snapshot.before(&Command::Remove { key }, &Store::default());
        }
        assert_eq!([10, 10, 10].map(|entries| snapshot.discard(entries)), [false, false, true]);
    }

    #[test]
    fn a_long_list_that_grows_is_not_copied() {
        let mut store = Store::default();
        let values = vec![Value::from("x".repeat(100).as_str()); 1000];
        store.set(&"k".into(), &values, OperationNumber(1));
        let mut snapshot = Snapshot::begin(OperationNumber(1));
        let append = Command::Append { key: "k".into(), value: "y".into() };
        for _ in 0..10 {
            snapshot.before(&append, &store);
            execute(&mut store, &append, OperationNumber(2));
        }
        assert!(snapshot.bytes() < 200, "{}", snapshot.bytes());
        let remove = Command::Remove { key: "k".into() };
        snapshot.before(&remove, &store);
        execute(&mut store, &remove, OperationNumber(3));
        assert!(snapshot.bytes() > 100_000, "now it is nowhere else");
        let read = read_all(snapshot, &mut store, 500, |_, _| ());
        assert_eq!(read, Lists::from([(Key::from("k"), values)]));
    }
}
