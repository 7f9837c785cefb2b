//! The receiving half of replication: applies operations in order and acknowledges cumulatively.
//! The sending half is [`super::replication`].
//!
//! Kept here: in one view the backup's log is a prefix of the primary's (I8); a gap is never
//! skipped; operations that arrive early wait in a bounded buffer.

use std::collections::BTreeMap;

use crate::config::Limits;
use crate::kv::command::Operation;
use crate::kv::replica::Replica;
use crate::protocol::message::{Ack, Link, Replicate};
use crate::types::{OperationNumber, ViewId};

/// Operations that may wait for an earlier one.
const EARLY_OPERATIONS: u64 = 16_384;

/// A complete copy that follows a primary.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Backup {
    replica: Replica,
    /// Lineage of the copy.
    since: ViewId,
    early: BTreeMap<OperationNumber, Operation>,
    early_bytes: usize,
    received: OperationNumber,
    /// Highest barrier received in this view.
    barrier: u64,
    /// The flip point of this view, once the primary has named it.
    flip: Option<OperationNumber>,
    /// Something arrived that is not acknowledged yet.
    ack_due: bool,
}

impl Backup {
    /// Follows with this copy. Operations that were not applied are dropped: they belong to a view
    /// in which this server was primary itself.
    #[must_use]
    pub fn new(mut replica: Replica, since: ViewId) -> Backup {
        replica.drop_unapplied();
        Backup {
            received: replica.last(),
            replica,
            since,
            early: BTreeMap::new(),
            early_bytes: 0,
            barrier: 0,
            flip: None,
            ack_due: false,
        }
    }

    /// The same primary in a newer view: nothing that was said in the old one counts.
    pub fn enter_view(&mut self) {
        self.early.clear();
        self.early_bytes = 0;
        self.received = self.replica.last();
        self.barrier = 0;
        self.flip = None;
    }

    /// The copy.
    #[must_use]
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// Lineage of the copy.
    #[must_use]
    pub fn since(&self) -> ViewId {
        self.since
    }

    /// Gives the copy up to another role.
    #[must_use]
    pub fn into_replica(self) -> Replica {
        self.replica
    }

    /// Whether everything that the primary committed alone is here, as far as this view's own
    /// messages say.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.flip.is_some_and(|flip| self.replica.applied() >= flip)
    }

    /// Takes operations. The caller has checked that they come from this view's primary and belong
    /// to this lineage. Returns how many of them were here before.
    pub fn on_replicate(&mut self, replicate: Replicate, limits: &Limits) -> u64 {
        self.barrier = self.barrier.max(replicate.barrier);
        self.flip = Some(replicate.flip);
        self.ack_due = true;
        let (mut number, mut repeated) = (replicate.first, 0);
        for operation in replicate.operations {
            repeated += u64::from(number <= self.replica.last());
            self.take(number, operation, limits);
            number = number.next();
        }
        while let Some(operation) = self.early.remove(&self.replica.last().next()) {
            self.early_bytes -= operation.size();
            self.apply(operation);
        }
        // What came early and then again in its turn would keep its room for ever.
        while let Some(entry) = self.early.first_entry()
            && *entry.key() <= self.replica.last()
        {
            self.early_bytes -= entry.remove().size();
        }
        self.replica.trim(
            OperationNumber(u64::MAX),
            limits.history_operations,
            limits.history_bytes,
        );
        repeated
    }

    fn take(&mut self, number: OperationNumber, operation: Operation, limits: &Limits) {
        let last = self.replica.last();
        if number <= last {
            return;
        }
        if number == last.next() {
            self.received = self.received.max(number);
            self.apply(operation);
            return;
        }
        // Reordered or after a loss. Without a bound, a primary that goes on for long after one
        // loss would fill the memory.
        let room = self.early_bytes + operation.size() <= limits.backlog_bytes;
        if number.0 - last.0 <= EARLY_OPERATIONS && room {
            self.received = self.received.max(number);
            self.early_bytes += operation.size();
            if let Some(same) = self.early.insert(number, operation) {
                self.early_bytes -= same.size();
            }
        }
    }

    fn apply(&mut self, operation: Operation) {
        self.replica.push(operation);
        self.replica.apply_next();
    }

    /// The acknowledgement that is due, if one is.
    pub fn take_ack(&mut self, link: Link) -> Option<Ack> {
        if !std::mem::take(&mut self.ack_due) {
            return None;
        }
        Some(Ack {
            link,
            applied: self.replica.applied(),
            digest: self.replica.digest(),
            received: self.received,
            barrier: self.barrier,
            memory_max: None,
        })
    }

    /// Whether an acknowledgement is due.
    #[must_use]
    pub fn is_ack_due(&self) -> bool {
        self.ack_due
    }
}
