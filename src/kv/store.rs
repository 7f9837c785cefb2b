//! The store: an ordered map from keys to lists, with its running digest.
//!
//! A list remembers the operation that began it, its *generation*. Within a generation a list only
//! grows, so the elements before an index never change: that is what later pages of a long list,
//! and a state transfer that overtakes appends, rest on.

use std::ops::Bound;
use std::slice;

use crate::kv::command::{Key, Value};
use crate::kv::digest;
use crate::kv::table::Table;
use crate::types::OperationNumber;

/// The elements under one key. Never empty.
///
/// Most lists have one element; such a list takes no memory of its own but its value's.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum List {
    /// One element.
    One(OperationNumber, Value),
    /// Two or more.
    Many(Box<Many>),
}

/// See [`List::Many`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Many {
    generation: OperationNumber,
    values: Vec<Value>,
    /// Hash of all elements in order, so that an append costs the same however long the list is.
    chain: u64,
}

impl List {
    /// The list of these elements; none without any.
    fn new(generation: OperationNumber, values: Vec<Value>) -> Option<List> {
        let mut values = values.into_iter();
        let mut list = List::One(generation, values.next()?);
        values.for_each(|value| list.push(value));
        Some(list)
    }

    fn push(&mut self, value: Value) {
        match self {
            List::One(generation, first) => {
                let chain = digest::text(digest::text(0, &first.0), &value.0);
                let (generation, values) = (*generation, vec![first.clone(), value]);
                *self = List::Many(Box::new(Many { generation, values, chain }));
            }
            List::Many(many) => {
                many.chain = digest::text(many.chain, &value.0);
                many.values.push(value);
            }
        }
    }

    /// The operation that began this list.
    #[must_use]
    pub fn generation(&self) -> OperationNumber {
        match self {
            List::One(generation, _) => *generation,
            List::Many(many) => many.generation,
        }
    }

    /// The elements, oldest first.
    #[must_use]
    pub fn values(&self) -> &[Value] {
        match self {
            List::One(_, value) => slice::from_ref(value),
            List::Many(many) => &many.values,
        }
    }

    /// Bytes of text in all elements.
    fn bytes(&self) -> usize {
        self.values().iter().map(|value| value.0.len()).sum()
    }

    /// What the list adds to the digest of a store, under the key of this hash.
    fn contribution(&self, key: u64) -> u64 {
        let (chain, length) = match self {
            List::One(_, value) => (digest::text(0, &value.0), 1),
            List::Many(many) => (many.chain, many.values.len() as u64),
        };
        digest::numbers([key, chain, length, self.generation().0])
    }
}

fn hash(key: &Key) -> u64 {
    digest::text(0, &key.0)
}

/// Why a part of a list does not fit the store it is put into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Misfit;

/// All lists.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Store {
    lists: Table<List>,
    digest: u64,
    /// Of all keys and values.
    bytes: usize,
    /// Of all lists.
    elements: usize,
}

impl Store {
    /// The list under a key.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&List> {
        self.lists.get(key).map(|(_, list)| list)
    }

    /// The list under a key, with the stored key.
    #[must_use]
    pub fn get_key_value(&self, key: &Key) -> Option<(&Key, &List)> {
        self.lists.get(key)
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lists.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// Bytes of text in all keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Elements of all lists.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.elements
    }

    /// Digest of all entries.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// All entries in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &List)> {
        self.lists.iter()
    }

    /// The first entry after this key; the very first one without a key.
    #[must_use]
    pub fn first_after(&self, key: Option<&Key>) -> Option<(&Key, &List)> {
        self.lists.first_from(key.map_or(Bound::Unbounded, Bound::Excluded))
    }

    /// The first entry at or after this key; the very first one without a key.
    #[must_use]
    pub fn first_from(&self, key: Option<&Key>) -> Option<(&Key, &List)> {
        self.lists.first_from(key.map_or(Bound::Unbounded, Bound::Included))
    }

    /// The keys that begin with this text in order, from `start` on; or, with none, from the first.
    pub fn keys_with<'a>(
        &'a self,
        prefix: &'a str,
        start: Bound<&Key>,
    ) -> impl Iterator<Item = &'a Key> {
        let first = Key::from(prefix);
        let start = match start {
            Bound::Included(key) | Bound::Excluded(key) if *key >= first => start,
            Bound::Included(_) | Bound::Excluded(_) | Bound::Unbounded => Bound::Included(&first),
        };
        let keys = self.lists.range_from(start).map(|(key, _)| key);
        // Keys are in the order of their bytes, so those with a prefix stand together.
        keys.take_while(move |key| key.0.starts_with(prefix))
    }

    /// The value becomes the one-element list `[value]`.
    pub fn put(&mut self, key: Key, value: Value, by: OperationNumber) {
        self.replace(key, List::One(by, value));
    }

    /// The value joins the end of the list; a missing key starts a new one.
    pub fn append(&mut self, key: Key, value: Value, by: OperationNumber) {
        self.extend(key, by, [value]);
    }

    /// The list becomes this one; without elements, the key is missing afterwards.
    pub fn set(&mut self, key: &Key, values: &[Value], by: OperationNumber) {
        match List::new(by, values.to_vec()) {
            Some(list) => self.replace(key.clone(), list),
            None => self.remove(key),
        }
    }

    /// The key is missing afterwards.
    pub fn remove(&mut self, key: &Key) {
        if let Some(list) = self.lists.remove(key) {
            self.digest = self.digest.wrapping_sub(list.contribution(hash(key)));
            self.bytes -= key.0.len() + list.bytes();
            self.elements -= list.values().len();
        }
    }

    /// Puts a transferred part of a list in place: `start` 0 replaces, anything else must be the
    /// length that the list has.
    ///
    /// # Errors
    /// If the part does not continue the list; nothing is changed then.
    pub fn install(
        &mut self,
        key: Key,
        generation: OperationNumber,
        start: u64,
        values: Vec<Value>,
    ) -> Result<(), Misfit> {
        if start == 0 {
            let list = List::new(generation, values).ok_or(Misfit)?;
            self.replace(key, list);
            return Ok(());
        }
        let continues = self.get(&key).is_some_and(|list| {
            list.generation() == generation && list.values().len() as u64 == start
        });
        if values.is_empty() || !continues {
            return Err(Misfit);
        }
        self.extend(key, generation, values);
        Ok(())
    }

    fn replace(&mut self, key: Key, list: List) {
        let hash = hash(&key);
        self.digest = self.digest.wrapping_add(list.contribution(hash));
        let key_bytes = key.0.len();
        self.bytes += key_bytes + list.bytes();
        self.elements += list.values().len();
        if let Some(former) = self.lists.insert(key, list) {
            self.digest = self.digest.wrapping_sub(former.contribution(hash));
            self.bytes -= key_bytes + former.bytes();
            self.elements -= former.values().len();
        }
    }

    /// Adds elements to the end of a list; a missing key starts a new one, of this generation.
    fn extend(
        &mut self,
        key: Key,
        generation: OperationNumber,
        values: impl IntoIterator<Item = Value>,
    ) {
        let hash = hash(&key);
        let mut values = values.into_iter();
        let Some(list) = self.lists.get_mut(&key) else {
            let Some(first) = values.next() else { return };
            let mut list = List::One(generation, first);
            values.for_each(|value| list.push(value));
            self.replace(key, list);
            return;
        };
        self.digest = self.digest.wrapping_sub(list.contribution(hash));
        for value in values {
            self.bytes += value.0.len();
            self.elements += 1;
            list.push(value);
        }
        self.digest = self.digest.wrapping_add(list.contribution(hash));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(number: u64) -> OperationNumber {
        OperationNumber(number)
    }

    #[test]
    fn digest_depends_on_the_state_and_not_on_the_way_to_it() {
        let mut direct = Store::default();
        direct.append("a".into(), "1".into(), number(1));
        direct.append("a".into(), "2".into(), number(2));
        let mut roundabout = Store::default();
        roundabout.put("b".into(), "x".into(), number(9));
        roundabout.append("a".into(), "1".into(), number(1));
        roundabout.remove(&"b".into());
        roundabout.append("a".into(), "2".into(), number(7));
        assert_eq!(direct.digest(), roundabout.digest());
        assert_eq!(direct, roundabout);
        roundabout.remove(&"a".into());
        assert_eq!(roundabout.digest(), Store::default().digest());
    }

    #[test]
    fn digest_tells_order_splitting_and_keys_apart() {
        let of = |entries: &[(&str, &[&str])]| {
            let mut store = Store::default();
            for (key, values) in entries {
                for value in *values {
                    store.append((*key).into(), (*value).into(), number(1));
                }
            }
            store.digest()
        };
        let digests = [
            of(&[]),
            of(&[("a", &["1", "2"])]),
            of(&[("a", &["2", "1"])]),
            of(&[("a", &["12"])]),
            of(&[("a", &["1"]), ("b", &["2"])]),
            of(&[("a", &["2"]), ("b", &["1"])]),
            of(&[("a", &["1", "2", ""])]),
        ];
        for (index, digest) in digests.iter().enumerate() {
            assert!(!digests[..index].contains(digest), "{index}");
        }
    }

    #[test]
    fn a_put_begins_a_new_generation_and_so_does_the_first_append_after_a_remove() {
        let mut store = Store::default();
        let key = Key::from("a");
        let generation = |store: &Store| store.get(&key).unwrap().generation();
        store.append(key.clone(), "1".into(), number(3));
        store.append(key.clone(), "2".into(), number(4));
        assert_eq!(generation(&store), number(3));
        store.put(key.clone(), "3".into(), number(5));
        assert_eq!(generation(&store), number(5));
        store.append(key.clone(), "4".into(), number(6));
        assert_eq!(generation(&store), number(5));
        store.remove(&key);
        store.append(key.clone(), "5".into(), number(8));
        assert_eq!(generation(&store), number(8));
    }

    #[test]
    fn a_part_that_does_not_continue_its_list_is_refused_and_changes_nothing() {
        let mut store = Store::default();
        store.install("a".into(), number(1), 0, vec!["1".into(), "2".into()]).unwrap();
        let before = store.clone();
        let part = || vec!["3".into()];
        assert_eq!(store.install("a".into(), number(1), 1, part()), Err(Misfit));
        assert_eq!(store.install("a".into(), number(2), 2, part()), Err(Misfit));
        assert_eq!(store.install("b".into(), number(1), 1, part()), Err(Misfit));
        assert_eq!(store, before);
        store.install("a".into(), number(1), 2, part()).unwrap();
        assert_eq!(store.get(&"a".into()).unwrap().values().len(), 3);
    }
}
