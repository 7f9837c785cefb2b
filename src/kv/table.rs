//! An ordered map from keys to small values, in little memory.
//!
//! Entries stand in blocks, sorted vectors of up to `BLOCK` of them, which a tree finds by the
//! lowest key that each may hold. Compared with a tree of the entries themselves, whose nodes are
//! about two thirds full, and little more than half when keys come in rising order, next to no room
//! is left unused.
//!
//! Kept here: no block is empty; a block's keys are not below its own and below the next one's.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::ops::Bound;

use crate::kv::command::Key;

/// Entries of a block, at most.
const BLOCK: usize = 64;

/// Entries for which a block makes room at a time.
const STEP: usize = 8;

type Block<V> = Vec<(Key, V)>;

/// See the module.
#[derive(Clone, Debug)]
pub struct Table<V> {
    blocks: BTreeMap<Key, Block<V>>,
    len: usize,
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Table { blocks: BTreeMap::new(), len: 0 }
    }
}

/// The block that holds a key, or would.
fn block_mut<'a, V>(
    blocks: &'a mut BTreeMap<Key, Block<V>>,
    key: &Key,
) -> Option<(&'a Key, &'a mut Block<V>)> {
    blocks.range_mut::<Key, _>(..=key).next_back()
}

fn find<V>(block: &Block<V>, key: &Key) -> Result<usize, usize> {
    block.binary_search_by(|(other, _)| other.cmp(key))
}

impl<V> Table<V> {
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

    /// The entry under a key.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<(&Key, &V)> {
        let (_, block) = self.blocks.range::<Key, _>(..=key).next_back()?;
        let (key, value) = &block[find(block, key).ok()?];
        Some((key, value))
    }

    /// The value under a key.
    pub fn get_mut(&mut self, key: &Key) -> Option<&mut V> {
        let (_, block) = block_mut(&mut self.blocks, key)?;
        let index = find(block, key).ok()?;
        Some(&mut block[index].1)
    }

    /// Puts a value under a key; returns the former one.
    pub fn insert(&mut self, key: Key, value: V) -> Option<V> {
        let Some((_, block)) = block_mut(&mut self.blocks, &key) else {
            // The first block may hold any key that is below those of the others.
            self.blocks.insert(Key::default(), Self::begin((key, value)));
            self.len += 1;
            return None;
        };
        let at = match find(block, &key) {
            Ok(index) => return Some(std::mem::replace(&mut block[index].1, value)),
            Err(at) => at,
        };
        self.len += 1;
        if block.len() < BLOCK {
            Self::put(block, at, (key, value));
        } else if at == BLOCK {
            // Keys that come in rising order leave full blocks behind.
            self.blocks.insert(key.clone(), Self::begin((key, value)));
        } else {
            let mut upper = block.split_off(BLOCK / 2);
            block.shrink_to(BLOCK / 2 + STEP);
            match at.checked_sub(BLOCK / 2) {
                Some(at) if at > 0 => Self::put(&mut upper, at, (key, value)),
                Some(_) | None => Self::put(block, at, (key, value)),
            }
            self.blocks.insert(upper[0].0.clone(), upper);
        }
        None
    }

    fn begin(entry: (Key, V)) -> Block<V> {
        let mut block = Vec::with_capacity(STEP);
        block.push(entry);
        block
    }

    fn put(block: &mut Block<V>, at: usize, entry: (Key, V)) {
        if block.len() == block.capacity() {
            block.reserve_exact(STEP);
        }
        block.insert(at, entry);
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &Key) -> Option<V> {
        let (start, block) = block_mut(&mut self.blocks, key)?;
        let (_, value) = block.remove(find(block, key).ok()?);
        if block.len() < BLOCK / 4 {
            let start = start.clone();
            self.join(start);
        }
        self.len -= 1;
        Some(value)
    }

    /// Adds a block that has become small to the one before it, if there is room.
    fn join(&mut self, start: Key) {
        let Some(mut block) = self.blocks.remove(&start) else { return };
        if let Some((_, before)) = block_mut(&mut self.blocks, &start)
            && before.len() + block.len() <= BLOCK * 3 / 4
        {
            before.append(&mut block);
        }
        if !block.is_empty() {
            block.shrink_to(block.len() + STEP);
            self.blocks.insert(start, block);
        }
    }

    /// All entries in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &V)> {
        self.blocks.values().flatten().map(|(key, value)| (key, value))
    }

    /// The entries within this lower bound, in key order.
    pub fn range_from<'a>(
        &'a self,
        bound: Bound<&Key>,
    ) -> impl Iterator<Item = (&'a Key, &'a V)> + use<'a, V> {
        let (here, later) = match bound {
            Bound::Unbounded => (None, Bound::Unbounded),
            Bound::Included(start) | Bound::Excluded(start) => (
                self.blocks.range::<Key, _>(..=start).next_back().map(|(_, block)| {
                    let at = match find(block, start) {
                        Ok(at) if bound == Bound::Excluded(start) => at + 1,
                        Ok(at) | Err(at) => at,
                    };
                    &block[at..]
                }),
                Bound::Excluded(start),
            ),
        };
        let later = self.blocks.range::<Key, _>((later, Bound::Unbounded));
        let blocks = here.into_iter().chain(later.map(|(_, block)| block.as_slice()));
        blocks.flatten().map(|(key, value)| (key, value))
    }

    /// The first entry within this lower bound.
    #[must_use]
    pub fn first_from(&self, bound: Bound<&Key>) -> Option<(&Key, &V)> {
        self.range_from(bound).next()
    }
}

impl<V: PartialEq> PartialEq for Table<V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<V: Eq> Eq for Table<V> {}

impl<V: Hash> Hash for Table<V> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.len.hash(state);
        self.iter().for_each(|entry| entry.hash(state));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::digest;

    fn key(number: u64) -> Key {
        Key::from(format!("{number:08}").as_str())
    }

    #[test]
    fn a_table_says_what_a_tree_says() {
        for (steps, keys, inserts) in [(30_000, 400, 5), (30_000, 20_000, 6), (30_000, 3_000, 4)] {
            let (mut table, mut tree) = (Table::default(), BTreeMap::new());
            for step in 0..steps {
                let drawn = digest::numbers([step, keys]);
                let key = key(drawn / 10 % keys);
                if drawn % 10 < inserts {
                    assert_eq!(table.insert(key.clone(), step), tree.insert(key.clone(), step));
                } else {
                    assert_eq!(table.remove(&key), tree.remove(&key));
                }
                assert_eq!(table.get(&key), tree.get_key_value(&key));
                assert_eq!(table.get_mut(&key), tree.get_mut(&key));
                assert_eq!(table.len(), tree.len());
                for bound in [Bound::Included(&key), Bound::Excluded(&key), Bound::Unbounded] {
                    let first = tree.range::<Key, _>((bound, Bound::Unbounded)).next();
                    assert_eq!(table.first_from(bound), first);
                    let range = tree.range::<Key, _>((bound, Bound::Unbounded)).take(100);
                    assert!(step % 50 > 0 || table.range_from(bound).take(100).eq(range));
                }
                assert!(table.blocks.values().all(|block| !block.is_empty()));
            }
            assert!(table.iter().eq(tree.iter()));
            tree.keys().for_each(|key| assert!(table.remove(key).is_some()));
            assert!(table.is_empty() && table.blocks.is_empty());
        }
    }

    #[test]
    fn little_room_is_unused_in_whatever_order_keys_come_and_go() {
        let room = |table: &Table<()>| {
            table.blocks.values().map(Vec::capacity).sum::<usize>() as f64 / table.len() as f64
        };
        let rising = (0..10_000).map(|number| (key(number), ()));
        let shuffled = (0..10_000).map(|number| (key(digest::numbers([number]) % 1_000_000), ()));
        let mut table = Table::default();
        rising.for_each(|(key, ())| assert!(table.insert(key, ()).is_none()));
        assert!(room(&table) < 1.01, "{}", room(&table));
        let mut table = Table::default();
        for (key, ()) in shuffled {
            table.insert(key, ());
        }
        assert!(room(&table) < 1.15, "{}", room(&table));
        let all: Vec<Key> = table.iter().map(|(key, ())| key.clone()).collect();
        let gone = all.iter().enumerate().filter(|(index, _)| index % 50 > 0);
        gone.for_each(|(_, key)| assert!(table.remove(key).is_some()));
        assert!(room(&table) < 2.0, "{}", room(&table));
    }

    #[test]
    fn equality_does_not_see_the_blocks() {
        let (mut rising, mut falling) = (Table::default(), Table::default());
        for number in 0..1000 {
            rising.insert(key(number), number);
            falling.insert(key(999 - number), 999 - number);
        }
        assert_ne!(rising.blocks.len(), falling.blocks.len());
        assert_eq!(rising, falling);
        falling.insert(key(7), 8);
        assert_ne!(rising, falling);
    }
}
