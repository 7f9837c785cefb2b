//! Histories of a store's operations, and the judgement whether they are linearizable.
//!
//! The simulator, the tests on real processes and `client check` judge with what is here, and
//! `client bench --history` writes what is read here. Reading order: this page, [`lines`] (the file
//! form), [`check()`], [`key`] (the algorithms, one key at a time), `shrink` (what of a violation
//! is worth showing).
//!
//! # What a history is
//!
//! Every operation that clients asked for, with the time of its call and of its return on *one*
//! clock. It begins before the first write of its keys: they are missing then. It holds all writes
//! of its keys; a read may be left out.
//!
//! * `ok`: it took effect at one instant between call and return.
//! * `unknown`: it took effect at one instant after its call, or never.
//! * `not_executed`: it never took effect. A later read of its value is a violation.
//!
//! Only that is judged: operations of one client that overlap may take effect in any order. Every
//! write should write another value. Repeated values are judged correctly, but the search may give
//! up early.
//!
//! Not here: clocks, files and printing; whoever records reads the clock.

mod check;
pub mod key;
pub mod lines;
mod shrink;
#[cfg(test)]
mod tests;

use crate::kv::command::{Key, Value};

pub use check::{Involved, Verdict, Violation, check};
pub use lines::LineError;

/// What a client asked for, and what it saw.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// The list becomes `[value]`.
    Put(Value),
    /// The value joins the end of the list; a missing key starts a new one.
    Append(Value),
    /// The key is missing afterwards.
    Remove,
    /// The list, if the outcome is `ok`; none for a missing key.
    Get(Option<Vec<Value>>),
}

/// What a client was told of its operation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// It was executed.
    Ok,
    /// It certainly did not happen, and never will.
    NotExecuted,
    /// It may have happened, or may still happen.
    Unknown,
}

/// One operation of a history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Who asked. Only shown, never compared.
    pub client: u64,
    /// Which list.
    pub key: Key,
    /// What was asked for, and seen.
    pub action: Action,
    /// When it was called, in nanoseconds.
    pub call_ns: u64,
    /// When the client was told, on the same clock. Always there if the outcome is `ok`, never
    /// before the call, and without meaning if the outcome is another one.
    pub return_ns: Option<u64>,
    /// What the client was told.
    pub outcome: Outcome,
}

impl Event {
    /// The value that it asks to write.
    #[must_use]
    pub fn written(&self) -> Option<&Value> {
        match &self.action {
            Action::Put(value) | Action::Append(value) => Some(value),
            Action::Remove | Action::Get(_) => None,
        }
    }

    /// The word that a person types for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match &self.action {
            Action::Put(_) => "put",
            Action::Append(_) => "append",
            Action::Remove => "remove",
            Action::Get(_) => "get",
        }
    }
}
