//! Decides whether the history of one key is linearizable, when some operations have an unknown
//! outcome. Linearizability is compositional, so a store is linearizable if every key is.
//!
//! Two checkers with one input. [`check_appends`] is for keys that are only appended to and read:
//! linear time after sorting, and its complaint names the operations that contradict each other.
//! [`check()`] takes puts, appends, removes and reads: Wing and Gong's search with Lowe's memo, and
//! with prunings where every written value is unique. It never says "linearizable" when its budget
//! ran out. The key is missing at the beginning.
//!
//! Not checked here: that a history is well formed across keys.

mod appends;
mod reason;
mod search;
mod seen;
#[cfg(test)]
mod tests;

use std::fmt;

pub use self::appends::check_appends;
pub use self::reason::Reason;
pub use self::search::check;

/// A written value.
pub type Value = u64;

/// What one operation did to, or saw of, its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// The list becomes `[value]`.
    Put(Value),
    /// The value joins the end of the list; a missing key starts a new one.
    Append(Value),
    /// The key is missing afterwards.
    Remove,
    /// The list that was seen; none if the key was missing. A read without an answer does not
    /// belong into a history, because it says nothing.
    Get(Option<Vec<Value>>),
}

/// One operation of a history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operation {
    /// Who called. Within one process, acknowledged appends take effect in the order of the calls,
    /// even if the calls overlap. A caller that promises less gives every operation a process of
    /// its own.
    pub process: u64,
    /// When it was called, on a scale that all processes share.
    pub called: u64,
    /// When it was answered; none if the outcome is unknown: it may have happened at any time after
    /// the call, or may never happen.
    pub answered: Option<u64>,
    /// What it did.
    pub action: Action,
}

/// What a checker found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// There is an order that explains the history.
    Linearizable,
    /// There is none.
    Violation(Explanation),
    /// The budget ran out before either was certain.
    Unknown,
}

/// Why there is no order that explains a history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explanation {
    /// What is wrong.
    pub reason: Reason,
    /// Places, in the history, of the operations that the reason speaks of, in its order.
    pub involved: Vec<usize>,
    /// Both as a line, with values as numbers.
    line: String,
}

impl Explanation {
    fn new(reason: Reason, history: &[Operation], involved: &[usize]) -> Self {
        let mut line = reason.sentence(|value| value.to_string());
        for (number, place) in involved.iter().enumerate() {
            line.push_str(&format!("; ({}) {}", number + 1, history[*place].describe()));
        }
        Explanation { reason, involved: involved.to_vec(), line }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl Operation {
    /// The last moment at which it may have taken effect.
    fn end(&self) -> u64 {
        self.answered.unwrap_or(u64::MAX)
    }

    /// The value that it writes.
    #[must_use]
    pub fn written(&self) -> Option<Value> {
        match self.action {
            Action::Put(value) | Action::Append(value) => Some(value),
            Action::Remove | Action::Get(_) => None,
        }
    }

    fn describe(&self) -> String {
        let answered = self.answered.map_or("no answer".to_owned(), |at| at.to_string());
        let action = match &self.action {
            Action::Get(Some(list)) if list.len() > 12 => {
                format!("Get([{} elements, .. {:?}])", list.len(), &list[list.len() - 6..])
            }
            Action::Get(_) | Action::Put(_) | Action::Append(_) | Action::Remove => {
                format!("{:?}", self.action)
            }
        };
        format!("{action} by {} [{}, {answered}]", self.process, self.called)
    }
}
