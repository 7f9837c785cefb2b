//! The safety properties, one small file each, checked after every step.
//!
//! They look at what is durable and at what the servers hold; none of them knows how the protocol
//! works. `timer-advances` is checked by the driver, `an-eligible-copy-survives` by the nemesis,
//! which alone knows what it took, and `no-stale-read` by the workload, which holds the histories.

mod adopted_view_never_decreases;
mod backup_holds_every_acked_op;
mod one_content_per_view;
mod one_primary_per_view;
mod plain_writes_last;
mod primary_comes_from_eligible;
mod recorded_before_shown;
mod same_number_same_digest;
mod view_ids_increase;

use std::fmt;

use pbkv::kv::command::Key;
use pbkv::protocol::view::{Record, Stamp};

use crate::harness::{Node, World};
use crate::observe;

/// A property that does not hold.
#[derive(Clone, Debug)]
pub struct Violation {
    pub property: &'static str,
    pub detail: String,
}

impl Violation {
    pub fn new(property: &'static str, detail: impl Into<String>) -> Self {
        Violation { property, detail: detail.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.detail)
    }
}

/// All properties, with what each remembers.
#[derive(Default)]
pub struct Checks {
    view_ids: view_ids_increase::ViewIdsIncrease,
    contents: one_content_per_view::OneContentPerView,
    primaries: one_primary_per_view::OnePrimaryPerView,
    succession: primary_comes_from_eligible::PrimaryComesFromEligible,
    adopted: adopted_view_never_decreases::AdoptedViewNeverDecreases,
    digests: same_number_same_digest::SameNumberSameDigest,
    acked: backup_holds_every_acked_op::BackupHoldsEveryAckedOp,
    shown: recorded_before_shown::RecordedBeforeShown,
    pub plain: plain_writes_last::PlainWritesLast,
}

impl Checks {
    /// A record has become durable.
    pub fn on_record(
        &mut self,
        nodes: &[Node],
        previous: Option<&Record>,
        record: &Record,
    ) -> Result<(), Violation> {
        self.shown.on_record(record);
        self.view_ids.on_record(previous, record)?;
        self.contents.on_record(record)?;
        self.succession.on_record(record)?;
        self.acked.on_record(nodes, record)?;
        self.plain.on_record(nodes, record)
    }

    /// A view server that was overtaken, and does not know it, has made a record durable.
    pub fn on_overtaken_record(&mut self, record: &Record) -> Result<(), Violation> {
        self.shown.on_record(record);
        self.contents.on_record(record)
    }

    /// A server has had a turn.
    pub fn on_turn(
        &mut self,
        server: usize,
        seen: &observe::Seen,
        truth: Option<&Record>,
    ) -> Result<(), Violation> {
        self.adopted.on_turn(server, seen)?;
        self.shown.on_turn(seen)?;
        self.succession.on_turn(seen);
        self.primaries.on_turn(seen)?;
        self.digests.on_turn(server, seen, truth)
    }

    /// A client has been told that its append was executed.
    pub fn on_acknowledged(
        &mut self,
        nodes: &[Node],
        truth: Option<&Record>,
        key: &Key,
        value: u64,
    ) -> Result<(), Violation> {
        self.acked.on_acknowledged(nodes, truth, key, value)
    }

    /// The view server has shown these records.
    pub fn on_shown(&mut self, stamps: &[Stamp]) -> Result<(), Violation> {
        self.shown.on_shown(stamps)
    }

    /// All data was given up, legally.
    pub fn new_history(&mut self) {
        self.acked = Default::default();
        self.plain.new_history();
        self.digests = Default::default();
        self.succession = Default::default();
        self.view_ids = Default::default();
    }

    /// Whether the present history has had a primary that knew that it was one.
    pub fn anybody_has_served(&self) -> bool {
        self.succession.in_force
    }

    /// Looks at every copy in full.
    pub fn in_full(&mut self, nodes: &[Node], truth: Option<&Record>) -> Result<(), Violation> {
        let Some(truth) = truth else { return Ok(()) };
        self.acked.in_full(nodes, truth)?;
        self.plain.in_full(nodes, truth)
    }
}

impl World {
    /// Checks what the last turn of a server may have broken.
    pub fn check_server(&mut self, index: usize) {
        let Some(server) = self.nodes[index].server() else { return };
        let seen = observe::server(self.nodes[index].incarnation, server);
        let truth = self.truth.as_ref().map(|truth| &truth.record);
        if let Err(violation) = self.checks.on_turn(index, &seen, truth) {
            self.fail(violation);
        }
    }
}
