//! plain-writes-last: an acknowledged write without a session is in the copy of every living member
//! of the eligible set, and no write is there more often than its datagram arrived.
//!
//! Every plain write has a key of its own.

use std::collections::{BTreeMap, BTreeSet};

use pbkv::kv::command::Key;
use pbkv::protocol::view::{Phase, Record};

use crate::harness::Node;
use crate::invariants::Violation;
use crate::invariants::backup_holds_every_acked_op::eligible;
use crate::observe;

#[derive(Default)]
pub struct PlainWritesLast {
    /// How often the datagram of each write has arrived at a server.
    delivered: BTreeMap<u16, usize>,
    acked: BTreeSet<u16>,
    /// Writes that a copy held more than once.
    pub repeated: BTreeSet<u16>,
}

impl PlainWritesLast {
    pub fn on_delivery(&mut self, number: u16) {
        *self.delivered.entry(number).or_default() += 1;
    }

    pub fn on_acknowledged(
        &mut self,
        nodes: &[Node],
        truth: Option<&Record>,
        number: u16,
    ) -> Result<(), Violation> {
        self.acked.insert(number);
        let Some(truth) = truth else { return Ok(()) };
        self.look_for(nodes, truth, number)
    }

    pub fn on_record(&self, nodes: &[Node], record: &Record) -> Result<(), Violation> {
        if record.phase != Phase::Active {
            return Ok(());
        }
        self.acked.iter().try_for_each(|number| self.look_for(nodes, record, *number))
    }

    pub fn in_full(&mut self, nodes: &[Node], record: &Record) -> Result<(), Violation> {
        for (_, server) in eligible(nodes, record) {
            for number in self.delivered.keys() {
                if observe::list(server, &key(*number)).len() > 1 {
                    self.repeated.insert(*number);
                }
            }
        }
        self.delivered.keys().try_for_each(|number| self.look_for(nodes, record, *number))
    }

    fn look_for(&self, nodes: &[Node], record: &Record, number: u16) -> Result<(), Violation> {
        let most = self.delivered.get(&number).copied().unwrap_or_default();
        let least = usize::from(self.acked.contains(&number));
        for (node, server) in eligible(nodes, record) {
            let held = observe::list(server, &key(number)).len();
            if !(least..=most).contains(&held) {
                let detail = format!(
                    "{} holds plain write {number} {held} times: not {least} to {most}",
                    node.name
                );
                return Err(Violation::new("plain-writes-last", detail));
            }
        }
        Ok(())
    }

    /// All data was given up, legally.
    pub fn new_history(&mut self) {
        self.acked.clear();
    }
}

fn key(number: u16) -> Key {
    Key::from(&*format!("p{number}"))
}
