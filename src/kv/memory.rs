//! How much memory a copy takes, roughly, and what a command would add.
//!
//! An estimate that is a function of the state alone, so that two copies that applied the same
//! operations come to the same. The constants are what was measured of the store's own structures,
//! rounded up; what the allocator loses between blocks is not known here.
//!
//! Kept here: a command that can only make the store smaller, or leave it as large, adds nothing.

use crate::kv::command::{Command, Key, Value};
use crate::kv::store::{List, Store};

/// A key beside its text: its entry, and its part of the tree.
const KEY: usize = 112;

/// An element beside its text: its place in the list, its length and count, and what the allocator
/// rounds up.
const ELEMENT: usize = 48;

/// A session, with some results.
pub const SESSION: usize = 640;

/// An operation in the log beside its text.
pub const OPERATION: usize = 128;

impl Store {
    /// Bytes that all of it takes, roughly.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.bytes() + KEY * self.len() + ELEMENT * self.elements()
    }
}

fn list_of<'a>(key: &Key, values: impl Iterator<Item = &'a Value>) -> usize {
    let mut size = 0;
    for value in values {
        size += ELEMENT + value.0.len();
    }
    if size > 0 { KEY + key.0.len() + size } else { 0 }
}

fn present(store: &Store, key: &Key) -> usize {
    store.get(key).map_or(0, |list| list_of(key, list.values().iter()))
}

/// Bytes that executing the command would add to [`Store::memory`]; 0 if it would rather free some.
#[must_use]
pub fn growth(store: &Store, command: &Command) -> usize {
    match command {
        Command::Put { key, value } => {
            list_of(key, std::iter::once(value)).saturating_sub(present(store, key))
        }
        Command::Append { key, value } if store.get(key).is_some() => ELEMENT + value.0.len(),
        Command::Append { key, value } => list_of(key, std::iter::once(value)),
        Command::Cas(cas) => {
            // One that does not match changes nothing, and shall say so.
            let is_expected = store.get(&cas.key).map_or(&[][..], List::values)
                == cas.old.as_deref().unwrap_or_default();
            let new = list_of(&cas.key, cas.new.iter().flatten());
            if is_expected { new.saturating_sub(present(store, &cas.key)) } else { 0 }
        }
        // A number takes the same few bytes, whatever it is.
        Command::Incr { key, .. } if store.get(key).is_some() => 0,
        Command::Incr { key, .. } => KEY + key.0.len() + ELEMENT + 20,
        Command::Mput { entries } => {
            let new: usize = entries.iter().map(|(key, list)| list_of(key, list.iter())).sum();
            new.saturating_sub(entries.iter().map(|(key, _)| present(store, key)).sum())
        }
        Command::Remove { .. } | Command::Refused => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::command::Cas;
    use crate::kv::execute::execute;
    use crate::types::OperationNumber;

    fn values(texts: &[&str]) -> Vec<Value> {
        texts.iter().map(|text| Value::from(*text)).collect()
    }

    #[test]
    fn a_command_adds_what_was_said_before_it_was_executed_and_frees_all_again() {
        let key = || Key::from("a key");
        let put = |value: &str| Command::Put { key: key(), value: value.into() };
        let append = |value: &str| Command::Append { key: key(), value: value.into() };
        let cas = |old: Option<&[&str]>, new: Option<&[&str]>| {
            Command::Cas(Box::new(Cas { key: key(), old: old.map(values), new: new.map(values) }))
        };
        let mput = |texts: &[&str]| Command::Mput {
            entries: vec![(key(), values(texts)), ("other".into(), values(texts))],
        };
        let mut store = Store::default();
        for (number, command) in (1..).zip([
            put("1"),
            put("longer"),
            put("1"),
            append("second"),
            append(""),
            cas(Some(&["1", "second", ""]), Some(&["x", "y", "z", "more"])),
            cas(Some(&["not this"]), Some(&["x"])),
            cas(Some(&["x", "y", "z", "more"]), Some(&["x"])),
            cas(Some(&["x"]), None),
            Command::Refused,
            append("first"),
            mput(&["1", "2", "3"]),
            mput(&["1"]),
            mput(&[]),
            Command::Incr { key: key(), by: 7 },
            Command::Remove { key: key() },
        ]) {
            let (before, said) = (store.memory(), growth(&store, &command));
            let is_number = matches!(command, Command::Incr { .. });
            execute(&mut store, &command, OperationNumber(number));
            let added = store.memory().saturating_sub(before);
            // Of a number only the most is known before.
            assert!(said == added || is_number && said >= added, "{command:?}: {said} {added}");
        }
        assert_eq!(store.memory(), 0);
    }
}
