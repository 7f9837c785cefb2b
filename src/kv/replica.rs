//! One copy of everything that is replicated: store, sessions, and the log that produced them.
//!
//! The log holds the operations that are numbered but not yet applied (a primary applies at commit)
//! and, before them, a bounded stretch of applied ones with the digest after each: that is how two
//! copies are compared at equal operation numbers, and how a server that was away shortly catches
//! up. Operations are applied in order, each once (I11).

use std::collections::VecDeque;

use crate::kv::command::{Operation, OperationResult};
use crate::kv::execute::execute;
use crate::kv::memory;
use crate::kv::session::{Sessions, Standing};
use crate::kv::store::Store;
use crate::types::{OperationNumber, SessionId};

/// A numbered operation.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Entry {
    operation: Operation,
    /// Of the whole copy after the operation; meaningless until it is applied.
    digest: u64,
}

/// What applying an operation has done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applied {
    /// Its number.
    pub number: OperationNumber,
    /// The operation.
    pub operation: Operation,
    /// What became of it.
    pub result: OperationResult,
    /// Whether it changed the state: not if it was refused or had been executed before.
    pub executed: bool,
    /// Sessions that it evicted.
    pub evicted: Vec<SessionId>,
}

/// A copy.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Replica {
    store: Store,
    sessions: Sessions,
    log: VecDeque<Entry>,
    log_bytes: usize,
    applied: OperationNumber,
    /// Number of the last operation that is no longer in the log.
    forgotten: OperationNumber,
}

impl Replica {
    /// A copy that was just completed by a transfer: its history begins after this operation.
    #[must_use]
    pub fn restored(store: Store, sessions: Sessions, applied: OperationNumber) -> Replica {
        Replica { store, sessions, applied, forgotten: applied, ..Replica::default() }
    }

    /// The store, as of the last applied operation.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The sessions, as of the last applied operation.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// The last applied operation.
    #[must_use]
    pub fn applied(&self) -> OperationNumber {
        self.applied
    }

    /// The last numbered operation.
    #[must_use]
    pub fn last(&self) -> OperationNumber {
        OperationNumber(self.forgotten.0 + self.log.len() as u64)
    }

    /// Digest of the state after the last applied operation.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.store.digest().wrapping_add(self.sessions.digest())
    }

    /// Digest of the state after this operation, if it is applied and still remembered.
    #[must_use]
    pub fn digest_at(&self, number: OperationNumber) -> Option<u64> {
        if number == self.applied {
            return Some(self.digest());
        }
        if number > self.applied {
            return None;
        }
        self.entry(number).map(|entry| entry.digest)
    }

    /// A numbered operation that is still remembered.
    #[must_use]
    pub fn operation(&self, number: OperationNumber) -> Option<&Operation> {
        self.entry(number).map(|entry| &entry.operation)
    }

    fn entry(&self, number: OperationNumber) -> Option<&Entry> {
        let index = number.0.checked_sub(self.forgotten.0 + 1)?;
        self.log.get(usize::try_from(index).ok()?)
    }

    /// The last operation that is no longer remembered: every later one still is.
    #[must_use]
    pub fn forgotten(&self) -> OperationNumber {
        self.forgotten
    }

    /// Numbers an operation. It is not applied yet.
    pub fn push(&mut self, operation: Operation) -> OperationNumber {
        self.log_bytes += operation.size();
        self.log.push_back(Entry { operation, digest: 0 });
        self.last()
    }

    /// Applies the next numbered operation; none if all are applied.
    pub fn apply_next(&mut self) -> Option<Applied> {
        let number = self.applied.next();
        let operation = self.operation(number)?.clone();
        let (result, executed, evicted) = self.execute(number, &operation);
        self.applied = number;
        let digest = self.digest();
        let index = usize::try_from(number.0 - self.forgotten.0 - 1).expect("the log fits memory");
        self.log[index].digest = digest;
        Some(Applied { number, operation, result, executed, evicted })
    }

    fn execute(
        &mut self,
        number: OperationNumber,
        operation: &Operation,
    ) -> (OperationResult, bool, Vec<SessionId>) {
        match operation {
            Operation::Open { nonce, epoch, capacity } => {
                let (id, evicted) = self.sessions.open(*nonce, *epoch, *capacity, number);
                let SessionId(_, opened) = id;
                (OperationResult::Opened(id), opened == number, evicted)
            }
            Operation::Write { origin: None, command } => {
                (execute(&mut self.store, command, number), true, Vec::new())
            }
            Operation::Write { origin: Some(origin), command } => {
                let standing = self.sessions.standing(origin.session, origin.number);
                let result = match standing {
                    Standing::Next => {
                        let result = execute(&mut self.store, command, number);
                        self.sessions.executed(*origin, result, number);
                        result
                    }
                    Standing::Executed(result) => result,
                    Standing::Acknowledged => OperationResult::Done,
                    // An earlier operation of the log evicted the session; none is numbered before
                    // its turn.
                    Standing::Unknown | Standing::Early => OperationResult::SessionExpired,
                };
                (result, standing == Standing::Next, Vec::new())
            }
        }
    }

    /// Forgets the operations that are numbered but not applied.
    pub fn drop_unapplied(&mut self) {
        while self.last() > self.applied {
            if let Some(entry) = self.log.pop_back() {
                self.log_bytes -= entry.operation.size();
            }
        }
    }

    /// Forgets the oldest applied operations before `needed`, as long as the log exceeds either
    /// bound.
    pub fn trim(&mut self, needed: OperationNumber, operations: usize, bytes: usize) {
        while (self.log.len() > operations || self.log_bytes > bytes)
            && self.forgotten < self.applied
            && self.forgotten.next() < needed
        {
            if let Some(entry) = self.log.pop_front() {
                self.log_bytes -= entry.operation.size();
                self.forgotten = self.forgotten.next();
            }
        }
    }

    /// Bytes that the copy takes, roughly: lists, sessions, and the log.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.store.memory()
            + memory::SESSION * self.sessions.len()
            + memory::OPERATION * self.log.len()
            + self.log_bytes
    }

    /// Bytes of the operations in the log, roughly.
    #[must_use]
    pub fn log_bytes(&self) -> usize {
        self.log_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::command::{Command, Origin};
    use crate::types::{Epoch, RequestNumber};

    fn append(value: &str, origin: Option<Origin>) -> Operation {
        Operation::Write {
            origin,
            command: Command::Append { key: "k".into(), value: value.into() },
        }
    }

    fn open(nonce: u64, capacity: u64) -> Operation {
        Operation::Open { nonce, epoch: Epoch(1, 1), capacity }
    }

    fn apply(replica: &mut Replica, operation: Operation) -> Applied {
        replica.push(operation);
        replica.apply_next().unwrap()
    }

    fn values(replica: &Replica) -> Vec<String> {
        let list = replica.store().get(&"k".into());
        list.map_or(Vec::new(), |list| list.values().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_request_of_a_session_is_applied_once_however_often_it_is_logged() {
        let mut replica = Replica::default();
        let OperationResult::Opened(session) = apply(&mut replica, open(9, 10)).result else {
            panic!("not opened")
        };
        let origin = |number| {
            Some(Origin {
                session,
                number: RequestNumber(number),
                acknowledged: RequestNumber(number - 1),
            })
        };
        for number in [1, 1, 2, 1, 2, 3] {
            apply(&mut replica, append(&number.to_string(), origin(number)));
        }
        assert_eq!(values(&replica), ["1", "2", "3"]);
    }

    #[test]
    fn a_request_of_an_evicted_session_is_refused_and_changes_nothing() {
        let mut replica = Replica::default();
        let OperationResult::Opened(session) = apply(&mut replica, open(1, 1)).result else {
            panic!("not opened")
        };
        assert_eq!(apply(&mut replica, open(2, 1)).evicted, vec![session]);
        let origin = Origin { session, number: RequestNumber(1), acknowledged: RequestNumber(0) };
        let applied = apply(&mut replica, append("x", Some(origin)));
        assert_eq!(applied.result, OperationResult::SessionExpired);
        assert!(!applied.executed);
        assert_eq!(values(&replica), [""; 0]);
    }

    #[test]
    fn the_digest_covers_sessions_as_well_as_the_store() {
        let mut one = Replica::default();
        let mut other = one.clone();
        let OperationResult::Opened(session) = apply(&mut one, open(1, 10)).result else {
            panic!("not opened")
        };
        apply(&mut other, open(2, 10));
        assert_ne!(one.digest(), other.digest(), "the nonce");
        let mut other = one.clone();
        let origin = |acknowledged| {
            let (number, acknowledged) = (RequestNumber(1), RequestNumber(acknowledged));
            Some(Origin { session, number, acknowledged })
        };
        apply(&mut one, append("x", origin(0)));
        apply(&mut other, append("x", None));
        assert_eq!(values(&one), values(&other));
        assert_ne!(one.digest(), other.digest(), "what the session has executed");
    }

    #[test]
    fn digest_at_an_earlier_operation_is_remembered_until_it_is_trimmed() {
        let mut replica = Replica::default();
        let mut digests = vec![replica.digest()];
        for number in 1..=10 {
            apply(&mut replica, append(&number.to_string(), None));
            digests.push(replica.digest());
        }
        assert_eq!(replica.digest_at(OperationNumber(4)), Some(digests[4]));
        replica.trim(OperationNumber(8), 2, usize::MAX);
        assert_eq!(replica.forgotten(), OperationNumber(7), "what is needed stays");
        assert_eq!(replica.digest_at(OperationNumber(4)), None);
        assert_eq!(replica.digest_at(OperationNumber(8)), Some(digests[8]));
        replica.trim(OperationNumber(u64::MAX), 0, usize::MAX);
        assert_eq!(replica.digest_at(OperationNumber(10)), Some(digests[10]));
        assert_eq!(replica.last(), OperationNumber(10));
    }

    #[test]
    fn operations_that_are_not_applied_are_not_visible_and_can_be_dropped() {
        let mut replica = Replica::default();
        apply(&mut replica, append("1", None));
        let digest = replica.digest();
        replica.push(append("2", None));
        assert_eq!(replica.last(), OperationNumber(2));
        assert_eq!(replica.digest(), digest);
        replica.drop_unapplied();
        assert_eq!(replica.last(), OperationNumber(1));
        assert_eq!(apply(&mut replica, append("3", None)).number, OperationNumber(2));
        assert_eq!(values(&replica), ["1", "3"]);
    }
}
