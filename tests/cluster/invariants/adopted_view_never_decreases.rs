//! adopted-view-never-decreases (I5): what a process has adopted only ever gets newer.

use std::collections::BTreeMap;

use pbkv::protocol::view::Stamp;
use pbkv::types::Incarnation;

use crate::invariants::Violation;
use crate::observe::Seen;

#[derive(Default)]
pub struct AdoptedViewNeverDecreases {
    adopted: BTreeMap<Incarnation, Option<Stamp>>,
}

impl AdoptedViewNeverDecreases {
    pub fn on_turn(&mut self, server: usize, seen: &Seen) -> Result<(), Violation> {
        let known = self.adopted.entry(seen.incarnation).or_insert(seen.adopted);
        if seen.adopted < *known {
            let detail = format!("s{server} went from {known:?} to {:?}", seen.adopted);
            return Err(Violation::new("adopted-view-never-decreases", detail));
        }
        *known = seen.adopted;
        Ok(())
    }
}
