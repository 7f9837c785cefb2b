//! backup-holds-every-acked-op (I3) and applied-once (I2): every acknowledged append is in the copy
//! of every living member of the eligible set, exactly once.
//!
//! Looked at for the one operation when it is acknowledged, and in full whenever the eligible set
//! is recorded anew. Only keys that are never put or removed are looked at; for the others the
//! digests speak.

use std::collections::BTreeMap;

use pbkv::kv::command::Key;
use pbkv::protocol::view::{Phase, Record};

use crate::harness::Node;
use crate::invariants::Violation;
use crate::observe;
use crate::workload::number_of;

#[derive(Default)]
pub struct BackupHoldsEveryAckedOp {
    acked: BTreeMap<Key, Vec<u64>>,
}

impl BackupHoldsEveryAckedOp {
    pub fn on_acknowledged(
        &mut self,
        nodes: &[Node],
        truth: Option<&Record>,
        key: &Key,
        value: u64,
    ) -> Result<(), Violation> {
        self.acked.entry(key.clone()).or_default().push(value);
        let Some(truth) = truth else { return Ok(()) };
        for (node, server) in eligible(nodes, truth) {
            if !observe::list(server, key).iter().rev().any(|held| number_of(held) == value) {
                return Err(missing(node, key, value));
            }
        }
        Ok(())
    }

    pub fn on_record(&self, nodes: &[Node], record: &Record) -> Result<(), Violation> {
        if record.phase == Phase::Active { self.in_full(nodes, record) } else { Ok(()) }
    }

    pub fn in_full(&self, nodes: &[Node], record: &Record) -> Result<(), Violation> {
        for (node, server) in eligible(nodes, record) {
            for (key, acked) in &self.acked {
                let list = observe::list(server, key);
                let mut held: Vec<u64> = list.iter().map(number_of).collect();
                held.sort_unstable();
                if let Some(twice) = held.windows(2).find(|pair| pair[0] == pair[1]) {
                    let detail = format!("{} holds {} twice under {key}", node.name, twice[0]);
                    return Err(Violation::new("applied-once", detail));
                }
                if let Some(value) = acked.iter().find(|value| held.binary_search(value).is_err()) {
                    return Err(missing(node, key, *value));
                }
            }
        }
        Ok(())
    }
}

/// The living eligible servers.
pub fn eligible<'a>(
    nodes: &'a [Node],
    record: &'a Record,
) -> impl Iterator<Item = (&'a Node, &'a pbkv::protocol::server::Server)> {
    nodes
        .iter()
        .filter(|node| record.is_eligible(node.incarnation))
        .filter_map(|node| node.server().map(|server| (node, server)))
}

fn missing(node: &Node, key: &Key, value: u64) -> Violation {
    let detail = format!("{} is eligible and lacks {value} under {key}", node.name);
    Violation::new("backup-holds-every-acked-op", detail)
}
