//! What a command does to the store: the one place where a command becomes a change.
//!
//! Kept here: the result and the change are functions of the store, the command and the number of
//! its operation, so that every copy comes to the same (I11). A command that is refused changes
//! nothing.

use std::slice;

use crate::kv::command::{Cas, Command, Key, OperationResult, Value};
use crate::kv::store::{List, Store};
use crate::types::OperationNumber;

/// Executes a command as the operation of this number.
pub fn execute(store: &mut Store, command: &Command, by: OperationNumber) -> OperationResult {
    match command {
        Command::Put { key, value } => store.put(key.clone(), value.clone(), by),
        Command::Append { key, value } => store.append(key.clone(), value.clone(), by),
        Command::Remove { key } => store.remove(key),
        Command::Cas(cas) => return compare_and_set(store, cas, by),
        Command::Incr { key, by: addend } => return increment(store, key, *addend, by),
        Command::Refused => return OperationResult::OutOfMemory,
        Command::Mput { entries } => {
            for (key, values) in entries {
                store.set(key, values, by);
            }
        }
    }
    OperationResult::Done
}

/// Whether an operation with this result has changed what its command is about.
#[must_use]
pub fn has_changed(result: OperationResult) -> bool {
    match result {
        OperationResult::Done | OperationResult::Number(_) | OperationResult::Opened(_) => true,
        OperationResult::Mismatch(_)
        | OperationResult::NotANumber
        | OperationResult::Overflow
        | OperationResult::OutOfMemory
        | OperationResult::SessionExpired => false,
    }
}

fn compare_and_set(store: &mut Store, cas: &Cas, by: OperationNumber) -> OperationResult {
    let present = store.get(&cas.key).map_or(&[][..], List::values);
    if present != cas.old.as_deref().unwrap_or_default() {
        return OperationResult::Mismatch(present.len() as u64);
    }
    store.set(&cas.key, cas.new.as_deref().unwrap_or_default(), by);
    OperationResult::Done
}

fn increment(store: &mut Store, key: &Key, addend: i64, by: OperationNumber) -> OperationResult {
    let present = match store.get(key).map(List::values) {
        None => Some(0),
        Some([value]) => value.0.parse::<i64>().ok(),
        Some(_) => None,
    };
    let Some(present) = present else { return OperationResult::NotANumber };
    let Some(sum) = present.checked_add(addend) else { return OperationResult::Overflow };
    store.set(key, slice::from_ref(&Value::from(sum.to_string().as_str())), by);
    OperationResult::Number(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(texts: &[&str]) -> Vec<Value> {
        texts.iter().map(|text| Value::from(*text)).collect()
    }

    fn cas(old: Option<&[&str]>, new: Option<&[&str]>) -> Command {
        let (old, new) = (old.map(values), new.map(values));
        Command::Cas(Box::new(Cas { key: "k".into(), old, new }))
    }

    fn incr(by: i64) -> Command {
        Command::Incr { key: "k".into(), by }
    }

    fn list(store: &Store, key: &str) -> Option<Vec<String>> {
        let list = store.get(&key.into())?;
        Some(list.values().iter().map(ToString::to_string).collect())
    }

    /// A store whose key `k` has this list.
    fn store(texts: &[&str]) -> Store {
        let mut store = Store::default();
        store.set(&"k".into(), &values(texts), OperationNumber(1));
        store
    }

    fn run(store: &mut Store, command: &Command) -> OperationResult {
        execute(store, command, OperationNumber(9))
    }

    #[test]
    fn a_cas_compares_the_whole_list() {
        let lists: &[Option<&[&str]>] =
            &[None, Some(&["1"]), Some(&["1", "2"]), Some(&["2", "1"]), Some(&["12"]), Some(&[""])];
        for present in lists {
            for old in lists {
                let mut store = store(present.unwrap_or_default());
                let before = store.clone();
                let result = run(&mut store, &cas(*old, Some(&["x", "y"])));
                if present == old {
                    assert_eq!(result, OperationResult::Done);
                    assert_eq!(list(&store, "k").unwrap(), ["x", "y"]);
                    assert_eq!(store.get(&"k".into()).unwrap().generation(), OperationNumber(9));
                } else {
                    let length = present.unwrap_or_default().len() as u64;
                    assert_eq!(result, OperationResult::Mismatch(length), "{present:?} {old:?}");
                    assert_eq!(store, before);
                }
            }
        }
    }

    #[test]
    fn a_cas_to_null_removes_the_key_and_null_is_not_the_text_null() {
        let mut store = store(&["null"]);
        assert_eq!(run(&mut store, &cas(None, None)), OperationResult::Mismatch(1));
        assert_eq!(run(&mut store, &cas(Some(&["null"]), None)), OperationResult::Done);
        assert_eq!(store, Store::default());
        assert_eq!(run(&mut store, &cas(None, None)), OperationResult::Done);
        assert_eq!(store, Store::default());
    }

    #[test]
    fn an_incr_counts_from_zero_and_writes_a_decimal_number() {
        let mut store = Store::default();
        assert_eq!(run(&mut store, &incr(5)), OperationResult::Number(5));
        assert_eq!(run(&mut store, &incr(-12)), OperationResult::Number(-7));
        assert_eq!(list(&store, "k").unwrap(), ["-7"]);
        assert_eq!(run(&mut store, &incr(0)), OperationResult::Number(-7));
        let mut zero = Store::default();
        assert_eq!(run(&mut zero, &incr(0)), OperationResult::Number(0));
        assert_eq!(list(&zero, "k").unwrap(), ["0"], "counting makes a missing key a number");
    }

    #[test]
    fn an_incr_of_what_is_no_number_changes_nothing() {
        for texts in [&["x"][..], &[""], &["1", "2"], &["1.0"], &[" 1"], &["9223372036854775808"]] {
            let mut store = store(texts);
            assert_eq!(run(&mut store, &incr(1)), OperationResult::NotANumber, "{texts:?}");
            assert_eq!(list(&store, "k").unwrap(), texts);
        }
    }

    #[test]
    fn an_incr_beyond_64_bits_changes_nothing() {
        for (text, by) in [("9223372036854775807", 1), ("-9223372036854775808", -1)] {
            let mut store = store(&[text]);
            assert_eq!(run(&mut store, &incr(by)), OperationResult::Overflow);
            assert_eq!(list(&store, "k").unwrap(), [text]);
        }
        let mut store = store(&["9223372036854775806"]);
        assert_eq!(run(&mut store, &incr(1)), OperationResult::Number(i64::MAX));
    }

    #[test]
    fn an_mput_sets_every_key_and_the_last_of_two_equal_keys_wins() {
        let mut store = store(&["1", "2"]);
        let entries = [("a", &["1"][..]), ("b", &["x", "y"]), ("a", &["2"]), ("k", &[])];
        let entries = entries.map(|(key, texts)| (Key::from(key), values(texts))).to_vec();
        assert_eq!(run(&mut store, &Command::Mput { entries }), OperationResult::Done);
        assert_eq!(list(&store, "a").unwrap(), ["2"]);
        assert_eq!(list(&store, "b").unwrap(), ["x", "y"]);
        assert_eq!(list(&store, "k"), None);
    }
}
