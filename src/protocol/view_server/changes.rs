//! The last view changes, for people: what changed, when, and why.
//!
//! Kept here: at most [`CHANGES`] of them, the newest ones, in order. They live in memory alone and
//! decide nothing: the durable record says everything that is needed to go on, and a view server
//! that was restarted begins with the view that it found.

use std::collections::VecDeque;

use crate::protocol::view::{Phase, Record, View};
use crate::time::Timestamp;

/// View changes that are remembered.
pub const CHANGES: usize = 64;

/// One record that became the newest one.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ViewChange {
    /// When, on this process's clock.
    pub at: Timestamp,
    /// The view: its id, primary, backup and joining server.
    pub view: View,
    /// Proposed, or in force. A view that is proposed first and active later is there twice.
    pub phase: Phase,
    /// Why, in words for people.
    pub reason: String,
}

/// See the module's text.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Changes(VecDeque<ViewChange>);

impl Changes {
    /// Remembers that this record is the newest one from now on.
    pub fn note(&mut self, at: Timestamp, record: &Record, reason: &str) {
        if self.0.len() == CHANGES {
            self.0.pop_front();
        }
        let (view, phase, reason) = (record.view.clone(), record.phase, reason.to_owned());
        self.0.push_back(ViewChange { at, view, phase, reason });
    }

    /// Oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &ViewChange> + ExactSizeIterator {
        self.0.iter()
    }
}
