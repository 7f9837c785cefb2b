//! Sessions: what makes a repeated request harmless (exactly once; the idea is
//! RIFL's, and that of section 6.3 of the Raft dissertation).
//!
//! Kept here: a request of a session is executed once, in the order of its number, and its result
//! is remembered until the client has said that it got it. Sessions are replicated state: they are
//! changed by operations alone, so both copies know and evict the same ones (I12).

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::kv::command::{OperationResult, Origin};
use crate::kv::digest;
use crate::types::{Epoch, OperationNumber, RequestNumber, SessionId};

/// One session, as it is replicated, transferred and covered by the digest.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct SessionState {
    /// Its name.
    pub id: SessionId,
    /// Drawn by the client that opened it.
    pub nonce: u64,
    /// Requests up to this one are executed, each once and in order.
    pub executed: RequestNumber,
    /// Requests up to this one have been answered to the client; their results are gone.
    pub acknowledged: RequestNumber,
    /// The last operation that used the session: decides who is evicted.
    pub last_used: OperationNumber,
    /// Results of the requests after `acknowledged`, up to `executed`.
    pub results: VecDeque<OperationResult>,
}

impl SessionState {
    fn contribution(&self) -> u64 {
        let SessionId(epoch, opened) = self.id;
        digest::numbers([
            epoch.0,
            epoch.1,
            opened.0,
            self.nonce,
            self.executed.0,
            self.acknowledged.0,
            self.last_used.0,
        ])
    }

    fn result_contribution(&self, number: RequestNumber, result: OperationResult) -> u64 {
        let (kind, detail) = match result {
            OperationResult::Opened(_) => (1, 0),
            OperationResult::Done => (2, 0),
            OperationResult::SessionExpired => (3, 0),
            OperationResult::Number(number) => (4, number.cast_unsigned()),
            OperationResult::Mismatch(length) => (5, length),
            OperationResult::NotANumber => (6, 0),
            OperationResult::Overflow => (7, 0),
            OperationResult::OutOfMemory => (8, 0),
        };
        digest::numbers([self.id.0.0, self.id.1.0, number.0, kind, detail])
    }

    /// Contribution of all remembered results.
    fn results_contribution(&self) -> u64 {
        let numbers = self.acknowledged.0 + 1..;
        numbers.zip(&self.results).fold(0, |sum: u64, (number, result)| {
            sum.wrapping_add(self.result_contribution(RequestNumber(number), *result))
        })
    }

    /// The remembered result of a request; none if it was not executed or its result is gone.
    #[must_use]
    pub fn result(&self, number: RequestNumber) -> Option<OperationResult> {
        let index = number.0.checked_sub(self.acknowledged.0 + 1)?;
        self.results.get(usize::try_from(index).ok()?).copied()
    }
}

/// What the table says of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It is the next one to be executed.
    Next,
    /// It was executed, with this result.
    Executed(OperationResult),
    /// It was executed, and the client has said that it knows the result.
    Acknowledged,
    /// Earlier requests of the session have not been executed yet.
    Early,
    /// The session is not, or no longer, known.
    Unknown,
}

/// All sessions.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Sessions {
    by_id: BTreeMap<SessionId, SessionState>,
    by_nonce: BTreeMap<u64, SessionId>,
    digest: u64,
}

impl Sessions {
    /// A session.
    #[must_use]
    pub fn get(&self, id: SessionId) -> Option<&SessionState> {
        self.by_id.get(&id)
    }

    /// The live session that was opened with this nonce.
    #[must_use]
    pub fn with_nonce(&self, nonce: u64) -> Option<SessionId> {
        self.by_nonce.get(&nonce).copied()
    }

    /// Number of sessions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is no session.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Digest of all sessions.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// The first session after this one; the very first one without an id.
    #[must_use]
    pub fn first_after(&self, id: Option<SessionId>) -> Option<&SessionState> {
        use std::ops::Bound;
        let start = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_id.range((start, Bound::Unbounded)).next().map(|(_, state)| state)
    }

    /// What the table says of a request.
    #[must_use]
    pub fn standing(&self, session: SessionId, number: RequestNumber) -> Standing {
        let Some(state) = self.by_id.get(&session) else {
            return Standing::Unknown;
        };
        if number == state.executed.next() {
            Standing::Next
        } else if number > state.executed {
            Standing::Early
        } else {
            state.result(number).map_or(Standing::Acknowledged, Standing::Executed)
        }
    }

    /// Opens a session, or finds the live one with this nonce. At most `capacity` are left: the
    /// least recently used ones are evicted, by operation number, the same on every copy. Returns
    /// the session's id and the evicted ones.
    pub fn open(
        &mut self,
        nonce: u64,
        epoch: Epoch,
        capacity: u64,
        by: OperationNumber,
    ) -> (SessionId, Vec<SessionId>) {
        if let Some(id) = self.with_nonce(nonce) {
            return (id, Vec::new());
        }
        let mut evicted = Vec::new();
        while self.by_id.len() as u64 >= capacity.max(1) {
            // Sought when it is needed: keeping an order of use would cost every write more.
            let states = self.by_id.values();
            let least = states.min_by_key(|state| (state.last_used, state.id));
            let oldest = least.expect("there are more than none").id;
            self.take(oldest);
            evicted.push(oldest);
        }
        let id = SessionId(epoch, by);
        self.insert(SessionState {
            id,
            nonce,
            executed: RequestNumber(0),
            acknowledged: RequestNumber(0),
            last_used: by,
            results: VecDeque::new(),
        });
        (id, evicted)
    }

    /// Notes that the next request of a session was executed, and forgets the results that the
    /// client has acknowledged.
    ///
    /// # Panics
    /// If the request is not the next one of a known session ([`Standing::Next`]).
    pub fn executed(&mut self, origin: Origin, result: OperationResult, by: OperationNumber) {
        let state =
            self.by_id.get_mut(&origin.session).expect("the session's standing was checked");
        assert_eq!(origin.number, state.executed.next(), "requests run in order, each once");
        self.digest = self.digest.wrapping_sub(state.contribution());
        while state.acknowledged < origin.acknowledged {
            // What is acknowledged was executed before, so its result stands at the front.
            let Some(forgotten) = state.results.pop_front() else { break };
            let number = state.acknowledged.next();
            self.digest = self.digest.wrapping_sub(state.result_contribution(number, forgotten));
            state.acknowledged = number;
        }
        state.executed = origin.number;
        state.last_used = by;
        state.results.push_back(result);
        self.digest = self
            .digest
            .wrapping_add(state.contribution())
            .wrapping_add(state.result_contribution(origin.number, result));
    }

    /// Puts a transferred session in place of what is known of it.
    pub fn install(&mut self, state: SessionState) {
        self.take(state.id);
        self.insert(state);
    }

    /// Forgets a session.
    pub fn remove(&mut self, id: SessionId) {
        self.take(id);
    }

    fn insert(&mut self, state: SessionState) {
        self.digest = self
            .digest
            .wrapping_add(state.contribution())
            .wrapping_add(state.results_contribution());
        self.by_nonce.insert(state.nonce, state.id);
        self.by_id.insert(state.id, state);
    }

    fn take(&mut self, id: SessionId) {
        if let Some(state) = self.by_id.remove(&id) {
            self.digest = self
                .digest
                .wrapping_sub(state.contribution())
                .wrapping_sub(state.results_contribution());
            self.by_nonce.remove(&state.nonce);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Epoch = Epoch(1, 7);

    fn origin(session: SessionId, number: u64, acknowledged: u64) -> Origin {
        Origin { session, number: RequestNumber(number), acknowledged: RequestNumber(acknowledged) }
    }

    #[test]
    fn results_are_kept_until_the_client_has_acknowledged_them() {
        let mut sessions = Sessions::default();
        let (id, _) = sessions.open(5, EPOCH, 10, OperationNumber(1));
        for number in 1..=3 {
            assert_eq!(sessions.standing(id, RequestNumber(number)), Standing::Next);
            sessions.executed(
                origin(id, number, 0),
                OperationResult::Done,
                OperationNumber(number + 1),
            );
        }
        let done = Standing::Executed(OperationResult::Done);
        assert_eq!(sessions.standing(id, RequestNumber(1)), done);
        sessions.executed(origin(id, 4, 2), OperationResult::Done, OperationNumber(5));
        assert_eq!(sessions.standing(id, RequestNumber(1)), Standing::Acknowledged);
        assert_eq!(sessions.standing(id, RequestNumber(2)), Standing::Acknowledged);
        assert_eq!(sessions.standing(id, RequestNumber(3)), done);
        assert_eq!(sessions.standing(id, RequestNumber(6)), Standing::Early);
    }

    #[test]
    fn a_repeated_open_returns_the_live_session_and_the_least_recently_used_is_evicted() {
        let mut sessions = Sessions::default();
        let (first, _) = sessions.open(1, EPOCH, 2, OperationNumber(1));
        assert_eq!(sessions.open(1, EPOCH, 2, OperationNumber(2)), (first, vec![]));
        let (second, _) = sessions.open(2, EPOCH, 2, OperationNumber(3));
        sessions.executed(origin(first, 1, 0), OperationResult::Done, OperationNumber(4));
        let (third, evicted) = sessions.open(3, EPOCH, 2, OperationNumber(5));
        assert_eq!(evicted, vec![second]);
        assert_eq!(sessions.standing(second, RequestNumber(1)), Standing::Unknown);
        assert!(sessions.get(first).is_some() && sessions.get(third).is_some());
    }

    #[test]
    fn digest_of_a_transferred_table_equals_that_of_the_original() {
        let mut original = Sessions::default();
        for nonce in 1..=5 {
            let (id, _) = original.open(nonce, EPOCH, 4, OperationNumber(nonce * 10));
            for number in 1..=nonce {
                let by = OperationNumber(nonce * 10 + number);
                original.executed(origin(id, number, number / 2), OperationResult::Done, by);
            }
        }
        let mut copy = Sessions::default();
        let mut cursor = None;
        while let Some(state) = original.first_after(cursor) {
            cursor = Some(state.id);
            copy.install(state.clone());
            copy.install(state.clone());
        }
        assert_eq!(copy, original);
        assert_eq!(copy.digest(), original.digest());
        while let Some(id) = copy.first_after(None).map(|state| state.id) {
            copy.remove(id);
        }
        assert_eq!(copy.digest(), 0);
    }
}
