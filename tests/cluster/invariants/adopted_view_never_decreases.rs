//! adopted-view-never-decreases (I5): what a process has adopted of one history only ever gets newer.

use std::collections::BTreeMap;

use pbkv::protocol::view::Stamp;
use pbkv::types::{HistoryId, Incarnation};

use crate::invariants::Violation;
use crate::observe::Seen;

#[derive(Default)]
pub struct AdoptedViewNeverDecreases {
    adopted: BTreeMap<(Incarnation, Option<HistoryId>), Option<Stamp>>,
}

impl AdoptedViewNeverDecreases {
    pub fn on_turn(&mut self, server: usize, seen: &Seen) -> Result<(), Violation> {
        let known = self.adopted.entry((seen.incarnation, seen.history)).or_insert(seen.adopted);
        if seen.adopted < *known {
            let detail = format!("s{server} went from {known:?} to {:?}", seen.adopted);
            return Err(Violation::new("adopted-view-never-decreases", detail));
        }
        *known = seen.adopted;
        Ok(())
    }
}
