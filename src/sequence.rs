//! A map for keys that are handed out in rising order and soon given back: what is in flight.
//!
//! Kept here: entries are found in the order of their keys, and memory follows the number of
//! entries, however long one of them stays. Compared with a tree, nothing is allocated or balanced
//! for an entry that lives for some microseconds.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

/// See the module.
#[derive(Clone, Debug)]
pub struct Sequence<K, V> {
    /// In the order of the keys; none where an entry was removed. The first one is an entry.
    slots: VecDeque<(K, Option<V>)>,
    /// Entries.
    len: usize,
}

impl<K, V> Default for Sequence<K, V> {
    fn default() -> Self {
        Sequence { slots: VecDeque::new(), len: 0 }
    }
}

impl<K: Copy + Ord, V> Sequence<K, V> {
    /// Removed entries that may stay, beside as many as there are others.
    const GAPS: usize = 32;

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds an entry.
    ///
    /// # Panics
    /// If a key that is not lower was added before and has not been forgotten yet.
    pub fn push(&mut self, key: K, value: V) {
        assert!(self.slots.back().is_none_or(|(last, _)| *last < key), "keys rise");
        self.slots.push_back((key, Some(value)));
        self.len += 1;
    }

    fn find(&self, key: K) -> Option<usize> {
        self.slots.binary_search_by_key(&key, |(key, _)| *key).ok()
    }

    /// The entry of this key.
    #[must_use]
    pub fn get(&self, key: K) -> Option<&V> {
        self.slots[self.find(key)?].1.as_ref()
    }

    /// The entry of this key.
    pub fn get_mut(&mut self, key: K) -> Option<&mut V> {
        let index = self.find(key)?;
        self.slots[index].1.as_mut()
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: K) -> Option<V> {
        let index = self.find(key)?;
        let value = self.slots[index].1.take()?;
        self.len -= 1;
        while self.slots.front().is_some_and(|(_, value)| value.is_none()) {
            self.slots.pop_front();
        }
        if self.slots.len() > self.len * 2 + Self::GAPS {
            self.slots.retain(|(_, value)| value.is_some());
        }
        Some(value)
    }

    /// The entry with the lowest key.
    #[must_use]
    pub fn first(&self) -> Option<(K, &V)> {
        self.iter().next()
    }

    /// All entries in the order of their keys.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (K, &V)> {
        self.slots.iter().filter_map(|(key, value)| Some((*key, value.as_ref()?)))
    }

    /// All entries in the order of their keys.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (K, &mut V)> {
        self.slots.iter_mut().filter_map(|(key, value)| Some((*key, value.as_mut()?)))
    }
}

impl<K: Copy + Ord, V: PartialEq> PartialEq for Sequence<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<K: Copy + Ord, V: Eq> Eq for Sequence<K, V> {}

impl<K: Copy + Ord + Hash, V: Hash> Hash for Sequence<K, V> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.len.hash(state);
        self.iter().for_each(|entry| entry.hash(state));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::kv::digest;

    #[test]
    fn a_sequence_says_what_a_tree_says() {
        let (mut sequence, mut tree) = (Sequence::default(), BTreeMap::new());
        let mut key = 0;
        for step in 0..20_000 {
            let drawn = digest::numbers([step]);
            if drawn % 5 < 2 {
                key += 1 + drawn / 5 % 3;
                sequence.push(key, step);
                tree.insert(key, step);
            } else {
                // Mostly old ones, as answers come.
                let gone = key.saturating_sub(drawn / 5 % 40);
                assert_eq!(sequence.get(gone), tree.get(&gone));
                assert_eq!(sequence.remove(gone), tree.remove(&gone));
                assert_eq!(sequence.get_mut(gone), None);
            }
            assert_eq!(sequence.len(), tree.len());
            assert_eq!(sequence.first(), tree.iter().next().map(|(key, value)| (*key, value)));
        }
        assert!(!sequence.is_empty());
        assert!(sequence.iter().eq(tree.iter().map(|(key, value)| (*key, value))));
    }

    #[test]
    fn one_entry_that_stays_does_not_hold_the_room_of_those_that_went() {
        let mut sequence = Sequence::default();
        sequence.push(0, ());
        for key in 1..100_000 {
            sequence.push(key, ());
            sequence.remove(key);
        }
        assert_eq!(sequence.len(), 1);
        assert!(sequence.slots.len() < 100, "{}", sequence.slots.len());
    }

    #[test]
    fn equality_does_not_see_what_was_removed() {
        let (mut one, mut other) = (Sequence::default(), Sequence::default());
        for key in [1, 2, 3] {
            one.push(key, key);
        }
        one.remove(2);
        other.push(1, 1);
        other.push(3, 3);
        assert_eq!(one, other);
    }
}
