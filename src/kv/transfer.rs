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
            Item::Session(state) => 160 + 8 * state.results.len(),
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
                self.on_command(command, replica, items);
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
        let key = command.key();
        if let Walk::Keys { done, part } = self {
            match part {
                Some((sending, _)) if sending == key => {
                    if matches!(command, Command::Append { .. }) {
                        // The walk will reach the new element. Streamed here as well, it would be
                        // in the copy twice.
                        return;
                    }
                    // The elements sent so far are void; the replacement below ends this key.
                    *done = Some(key.clone());
                    *part = None;
                }
                Some((sending, _)) if key < sending => {}
                Some(_) => return,
                None if done.as_ref().is_some_and(|done| key <= done) => {}
                None => return,
            }
        }
        items.push(match (command, replica.store().get(key)) {
            (Command::Put { value, .. }, Some(list)) => Item::List {
                key: key.clone(),
                generation: list.generation(),
                start: 0,
                values: vec![value.clone()],
            },
            (Command::Append { value, .. }, Some(list)) => Item::List {
                key: key.clone(),
                generation: list.generation(),
                start: list.values().len() as u64 - 1,
                values: vec![value.clone()],
            },
            (Command::Put { .. } | Command::Append { .. } | Command::Remove { .. }, _) => {
                Item::Gone { key: key.clone() }
            }
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
    use crate::kv::command::{OperationResult, Origin};
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
