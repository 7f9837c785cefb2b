//! one-primary-per-view: no two processes ever serve in the same view.

use std::collections::BTreeMap;

use pbkv::types::{Incarnation, ViewId};

use crate::invariants::Violation;
use crate::observe::Seen;

#[derive(Default)]
pub struct OnePrimaryPerView {
    served: BTreeMap<ViewId, Incarnation>,
}

impl OnePrimaryPerView {
    pub fn on_turn(&mut self, seen: &Seen) -> Result<(), Violation> {
        let Some(adopted) = seen.adopted.filter(|_| seen.serving) else { return Ok(()) };
        let first = *self.served.entry(adopted.view).or_insert(seen.incarnation);
        if first == seen.incarnation {
            return Ok(());
        }
        let detail = format!("{first} and {} both serve in {}", seen.incarnation, adopted.view);
        Err(Violation::new("one-primary-per-view", detail))
    }
}
