//! A state transfer: the walk over a copy that keeps changing, and the copy that grows from it.
//!
//! The walk visits the keys in order, then the sessions. What it streams are *effects*: applied in
//! order and without a session check they rebuild the copy. An operation that is applied while the
//! walk is under way is streamed as an effect on each thing that was already sent, and left out for
//! what is still to come (it will be sent as it is then). The walk ends when the stream has caught
//! up with the copy, at one operation number, with the digest there.
//!
//! [`Walk`] runs at the primary, [`Growing`] at the joiner.

use std::mem;

use serde::{Deserialize, Serialize};

use crate::kv::command::{Command, Key, Operation, Value};
use crate::kv::execute::has_changed;
use crate::kv::replica::{Applied, Replica};
use crate::kv::session::{SessionState, Sessions};
use crate::kv::store::{Misfit, Store};
use crate::types::{OperationNumber, SessionId};

/// One effect.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Item {
    /// Elements of a list. `start` 0 replaces whatever the joiner has under the key; any other must
    /// be the length that it has.
    List {
        /// Which list.
        key: Key,
        /// The operation that began the list.
        generation: OperationNumber,
        /// Index of the first element here.
        start: u64,
        /// The elements.
        values: Vec<Value>,
    },
    /// The key is missing from now on.
    Gone {
        /// Which list.
        key: Key,
    },
    /// A session as it is now, in place of what the joiner has of it.
    Session(SessionState),
    /// The session was evicted.
    SessionGone(SessionId),
    /// The copy is complete: it is the primary's at this operation.
    End {
        /// The last operation whose effects are in the copy.
        applied: OperationNumber,
        /// Digest of the primary's state there.
        digest: u64,
    },
}

impl Item {
    /// Bytes that the item takes in a buffer, roughly.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Item::List { key, values, .. } => {
                96 + key.0.len() + values.iter().map(|value| 16 + value.0.len()).sum::<usize>()
            }
            Item::Gone { key } => 32 + key.0.len(),
            Item::Session(state) => 160 + 24 * state.results.len(),
            Item::SessionGone(_) | Item::End { .. } => 96,
        }
    }
}

/// The walk over the primary's copy.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Walk {
    /// Entered at the start; left when no key follows.
    Keys {
        /// Every key up to this one is sent.
        done: Option<Key>,
        /// A long list of which the elements before the index are sent. It lies after `done`; keys
        /// between the two did not exist when the walk passed and count as sent.
        part: Option<(Key, usize)>,
    },
    /// Entered after the keys; left when no session follows.
    Sessions {
        /// Every session up to this one is sent.
        done: Option<SessionId>,
    },
    /// The end is sent. What is applied from now on is replicated, not transferred.
    Finished,
}

impl Default for Walk {
    fn default() -> Self {
        Walk::Keys { done: None, part: None }
    }
}

impl Walk {
    /// Appends the next items, about `budget` bytes and at least one, unless the walk is finished.
    pub fn advance(&mut self, replica: &Replica, budget: usize, items: &mut Vec<Item>) {
        let mut size = 0;
        while size < budget || items.is_empty() {
            let Some(item) = self.next(replica, budget.saturating_sub(size)) else { return };
            size += item.size();
            items.push(item);
        }
    }

    fn next(&mut self, replica: &Replica, budget: usize) -> Option<Item> {
        match self {
            Walk::Keys { done, part } => {
                let found = match part {
                    Some((key, _)) => replica.store().get_key_value(key),
                    None => replica.store().first_after(done.as_ref()),
                };
                let Some((key, list)) = found else {
                    *self = Walk::Sessions { done: None };
                    return self.next(replica, budget);
                };
                let start = part.take().map_or(0, |(_, index)| index);
                let mut values = Vec::new();
                let mut size = 0;
                for value in &list.values()[start..] {
                    values.push(value.clone());
                    size += 16 + value.0.len();
                    if size >= budget {
                        break;
                    }
                }
                let end = start + values.len();
                if end < list.values().len() {
                    *part = Some((key.clone(), end));
                } else {
                    *done = Some(key.clone());
                }
                let start = start as u64;
                Some(Item::List { key: key.clone(), generation: list.generation(), start, values })
            }
            Walk::Sessions { done } => {
                if let Some(state) = replica.sessions().first_after(*done) {
                    *done = Some(state.id);
                    return Some(Item::Session(state.clone()));
                }
                *self = Walk::Finished;
                Some(Item::End { applied: replica.applied(), digest: replica.digest() })
            }
            Walk::Finished => None,
        }
    }

    /// Appends the effects of an operation that `replica` has just applied, as far as they touch
    /// what was already sent.
    ///
    /// # Panics
    /// If the walk is finished: the operation belongs to replication then.
    pub fn on_applied(&mut self, applied: &Applied, replica: &Replica, items: &mut Vec<Item>) {
        assert!(*self != Walk::Finished, "a finished walk streams nothing");
        for evicted in &applied.evicted {
            if self.has_sent_session(*evicted) {
                items.push(Item::SessionGone(*evicted));
            }
        }
        if !applied.executed {
            return;
        }
        let session = match &applied.operation {
            Operation::Open { epoch, .. } => Some(SessionId(*epoch, applied.number)),
            Operation::Write { origin, command } => {
                // What was refused has left its keys alone, and only its session knows of it.
                if has_changed(applied.result) {
                    self.on_command(command, replica, items);
                }
                origin.map(|origin| origin.session)
            }
        };
        if let Some(session) = session.filter(|session| self.has_sent_session(*session))
            && let Some(state) = replica.sessions().get(session)
        {
            items.push(Item::Session(state.clone()));
        }
    }

    fn on_command(&mut self, command: &Command, replica: &Replica, items: &mut Vec<Item>) {
        match command {
            Command::Append { key, value } => {
                // The walk will reach the new element of the list in progress. Streamed here as
                // well, it would be in the copy twice.
                if self.has_sent(key)
                    && let Some(list) = replica.store().get(key)
                {
                    items.push(Item::List {
                        key: key.clone(),
                        generation: list.generation(),
                        start: list.values().len() as u64 - 1,
                        values: vec![value.clone()],
                    });
                }
            }
            Command::Put { key, .. } | Command::Remove { key } | Command::Incr { key, .. } => {
                self.on_replaced(key, replica, items);
            }
            Command::Cas(cas) => self.on_replaced(&cas.key, replica, items),
            Command::Refused => {}
            Command::Mput { entries } => {
                for (key, _) in entries {
                    self.on_replaced(key, replica, items);
                }
            }
        }
    }

    /// Whether all of this key was sent: lists, and what is missing before the walk.
    fn has_sent(&self, key: &Key) -> bool {
        match self {
            Walk::Keys { part: Some((sending, _)), .. } => key < sending,
            Walk::Keys { done, part: None } => done.as_ref().is_some_and(|done| key <= done),
            Walk::Sessions { .. } | Walk::Finished => true,
        }
    }

    /// A key has a list that has nothing to do with the one before, or none.
    fn on_replaced(&mut self, key: &Key, replica: &Replica, items: &mut Vec<Item>) {
        if let Walk::Keys { done, part } = self
            && part.as_ref().is_some_and(|(sending, _)| sending == key)
        {
            // The elements sent so far are void; the replacement below ends this key.
            *done = Some(key.clone());
            *part = None;
        }
        if !self.has_sent(key) {
            return;
        }
        items.push(match replica.store().get(key) {
            Some(list) => Item::List {
                key: key.clone(),
                generation: list.generation(),
                start: 0,
                values: list.values().to_vec(),
            },
            None => Item::Gone { key: key.clone() },
        });
    }

    fn has_sent_session(&self, session: SessionId) -> bool {
        match self {
            Walk::Keys { .. } => false,
            Walk::Sessions { done } => done.is_some_and(|done| session <= done),
            Walk::Finished => true,
        }
    }
}

/// A copy that is not complete yet. It can neither serve nor be promoted: only [`Growing::install`]
/// makes a [`Replica`] of it, at the end of the stream.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Growing {
    store: Store,
    sessions: Sessions,
}

impl Growing {
    /// Number of keys so far.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.store.len()
    }

    /// Applies the next item. The end of the stream returns the complete copy.
    ///
    /// # Errors
    /// If the item does not fit, or the digest at the end is not the primary's: the attempt failed.
    pub fn install(&mut self, item: Item) -> Result<Option<Replica>, Misfit> {
        match item {
            Item::List { key, generation, start, values } => {
                self.store.install(key, generation, start, values)?;
            }
            Item::Gone { key } => self.store.remove(&key),
            Item::Session(state) => self.sessions.install(state),
            Item::SessionGone(id) => self.sessions.remove(id),
            Item::End { applied, digest } => {
                let Growing { store, sessions } = mem::take(self);
                let replica = Replica::restored(store, sessions, applied);
                if replica.digest() != digest {
                    return Err(Misfit);
                }
                return Ok(Some(replica));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::command::{Cas, OperationResult, Origin};
    use crate::types::{Epoch, RequestNumber};

    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            crate::kv::digest::numbers([self.0]) % bound
        }
    }

    /// A primary that serves while it transfers.
    struct Serving {
        replica: Replica,
        sessions: Vec<(SessionId, u64)>,
        random: Random,
        nonce: u64,
    }

    impl Serving {
        fn operation(&mut self) -> Operation {
            if self.sessions.is_empty() || self.random.below(8) == 0 {
                self.nonce += 1;
                return Operation::Open { nonce: self.nonce, epoch: Epoch(1, 1), capacity: 4 };
            }
            let key = Key::from(format!("k{}", self.random.below(6)).as_str());
            let value = Value::from(format!("v{}", self.random.below(1000)).as_str());
            let command = match self.random.below(10) {
                0 => Command::Put { key, value },
                1 => Command::Remove { key },
                2 => self.cas(key, value),
                3 => Command::Incr { key: Key::from("k0"), by: 1 },
                4 => Command::Incr { key, by: -1 },
                5 => {
                    let other = Key::from(format!("k{}", self.random.below(7)).as_str());
                    let list = vec![value.clone(); usize::try_from(self.random.below(4)).unwrap()];
                    Command::Mput { entries: vec![(other, vec![value]), (key, list)] }
                }
                _ => Command::Append { key, value },
            };
            let origin = (self.random.below(4) != 0).then(|| {
                let index = self.random.below(self.sessions.len() as u64);
                let (session, executed) = self.sessions[usize::try_from(index).unwrap()];
                Origin {
                    session,
                    number: RequestNumber(executed + 1),
                    acknowledged: RequestNumber(executed.saturating_sub(2)),
                }
            });
            Operation::Write { origin, command }
        }

        /// One that succeeds, as often as not.
        fn cas(&mut self, key: Key, value: Value) -> Command {
            let present = self.replica.store().get(&key).map(|list| list.values().to_vec());
            let old = if self.random.below(2) == 0 { present } else { None };
            let new = (self.random.below(3) > 0).then(|| vec![value; 2]);
            Command::Cas(Box::new(Cas { key, old, new }))
        }

        fn step(&mut self) -> Applied {
            let operation = self.operation();
            self.replica.push(operation);
            let applied = self.replica.apply_next().unwrap();
            if let OperationResult::Opened(id) = applied.result {
                self.sessions.push((id, 0));
            }
            if let Operation::Write { origin: Some(origin), .. } = &applied.operation {
                for (session, executed) in &mut self.sessions {
                    if *session == origin.session && applied.executed {
                        *executed += 1;
                    }
                }
            }
            applied
        }
    }

    #[test]
    fn a_copy_made_while_operations_go_on_equals_the_original_at_the_end_marker() {
        for seed in 0..300 {
            let replica = Replica::default();
            let mut serving =
                Serving { replica, sessions: Vec::new(), random: Random(seed), nonce: 0 };
            for _ in 0..200 {
                serving.step();
            }
            let (mut walk, mut growing) = (Walk::default(), Growing::default());
            let copy = 'stream: loop {
                let mut items = Vec::new();
                // A small budget leaves lists half sent between two operations.
                walk.advance(&serving.replica, 40, &mut items);
                for _ in 0..serving.random.below(3) {
                    if walk != Walk::Finished {
                        let applied = serving.step();
                        walk.on_applied(&applied, &serving.replica, &mut items);
                    }
                }
                for item in items {
                    if let Some(copy) = growing.install(item).expect("fits") {
                        break 'stream copy;
                    }
                }
            };
            assert_eq!(walk, Walk::Finished);
            assert_eq!(copy.applied(), serving.replica.applied(), "seed {seed}");
            assert_eq!(copy.store(), serving.replica.store(), "seed {seed}");
            assert_eq!(copy.sessions(), serving.replica.sessions(), "seed {seed}");
            assert_eq!(copy.digest(), serving.replica.digest(), "seed {seed}");
        }
    }

    /// A replica with a list of three elements under `k`, of which the walk has sent the first one,
    /// and a list under `a`, of which it has sent all; then this operation is applied. Returns the
    /// items that the operation added, and checks what comes out at the end.
    fn applied_in_the_middle_of_a_list(command: Command) -> Vec<Item> {
        let mut replica = Replica::default();
        let write = |command| Operation::Write { origin: None, command };
        for (key, value) in [("a", "1"), ("k", "1"), ("k", "2"), ("k", "3"), ("z", "1")] {
            replica.push(write(Command::Append { key: key.into(), value: value.into() }));
            replica.apply_next();
        }
        let (mut walk, mut items) = (Walk::default(), Vec::new());
        walk.advance(&replica, 1, &mut items);
        walk.advance(&replica, 1, &mut items);
        assert!(matches!(&walk, Walk::Keys { part: Some((key, 1)), .. } if &*key.0 == "k"));
        replica.push(write(command));
        let applied = replica.apply_next().unwrap();
        let sent = items.len();
        walk.on_applied(&applied, &replica, &mut items);
        let added = items[sent..].to_vec();
        while walk != Walk::Finished {
            walk.advance(&replica, 1, &mut items);
        }
        let mut growing = Growing::default();
        let copy = items.into_iter().find_map(|item| growing.install(item).unwrap()).unwrap();
        assert_eq!(copy.store(), replica.store());
        added
    }

    #[test]
    fn a_write_that_is_refused_leaves_the_list_that_is_being_sent_alone() {
        let cas = Cas { key: "k".into(), old: None, new: Some(vec!["x".into()]) };
        for command in [Command::Cas(cas.into()), Command::Incr { key: "k".into(), by: 1 }] {
            assert_eq!(applied_in_the_middle_of_a_list(command), []);
        }
    }

    #[test]
    fn a_write_that_replaces_the_list_that_is_being_sent_ends_it() {
        let old = Some(["1", "2", "3"].map(Value::from).to_vec());
        let cas = Cas { key: "k".into(), old, new: Some(vec!["x".into(), "y".into()]) };
        assert_eq!(applied_in_the_middle_of_a_list(Command::Cas(cas.clone().into())).len(), 1);
        let cas = Cas { new: None, ..cas };
        let gone = Item::Gone { key: "k".into() };
        assert_eq!(applied_in_the_middle_of_a_list(Command::Cas(cas.into())), [gone]);
    }

    #[test]
    fn an_mput_is_streamed_for_the_keys_that_were_sent_and_left_out_for_the_others() {
        let entries = |keys: &[&str]| {
            let entry = |key: &&str| (Key::from(*key), vec!["x".into(), "y".into()]);
            Command::Mput { entries: keys.iter().map(entry).collect() }
        };
        for (keys, streamed) in [
            (&["a", "b", "z"][..], 2),
            (&["k", "a"], 2),
            (&["z", "y"], 0),
            (&["z", "k", "b", "l"], 2),
            (&["a", "a"], 2),
        ] {
            let added = applied_in_the_middle_of_a_list(entries(keys));
            assert_eq!(added.len(), streamed, "{keys:?}");
        }
    }

    #[test]
    fn an_append_to_the_list_that_is_being_sent_arrives_once() {
        let mut replica = Replica::default();
        let append = |value: &str| Operation::Write {
            origin: None,
            command: Command::Append { key: "k".into(), value: value.into() },
        };
        for value in ["1", "2", "3"] {
            replica.push(append(value));
            replica.apply_next();
        }
        let (mut walk, mut items) = (Walk::default(), Vec::new());
        walk.advance(&replica, 1, &mut items);
        replica.push(append("4"));
        let applied = replica.apply_next().unwrap();
        walk.on_applied(&applied, &replica, &mut items);
        while walk != Walk::Finished {
            walk.advance(&replica, 1000, &mut items);
            if walk == Walk::Finished {
                break;
            }
        }
        let mut growing = Growing::default();
        let copy = items.into_iter().find_map(|item| growing.install(item).unwrap()).unwrap();
        assert_eq!(copy.store(), replica.store());
    }
}
