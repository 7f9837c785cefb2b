//! recorded-before-shown (I13): nobody is shown, adopts, or serves in a view that was not durable
//! before, in the phase that it is shown in.

use std::collections::{BTreeMap, BTreeSet};

use pbkv::protocol::view::{Phase, Record, Stamp};
use pbkv::types::Incarnation;

use crate::invariants::Violation;
use crate::observe::Seen;

#[derive(Default)]
pub struct RecordedBeforeShown {
    /// Every stamp that was ever durable, and who may serve in it.
    recorded: BTreeMap<Stamp, Option<Incarnation>>,
    /// Stamps that have been found there, so that each is looked up once.
    found: BTreeSet<Stamp>,
}

impl RecordedBeforeShown {
    pub fn on_record(&mut self, record: &Record) {
        let serves = record.phase == Phase::Active || record.keeps_primary();
        let server = serves.then_some(record.view.primary.incarnation);
        self.recorded.insert(record.stamp(), server);
    }

    pub fn on_shown(&mut self, stamps: &[Stamp]) -> Result<(), Violation> {
        for stamp in stamps {
            if !self.found.contains(stamp) {
                if !self.recorded.contains_key(stamp) {
                    let detail = format!("{stamp:?} is shown but is not durable");
                    return Err(Violation::new("recorded-before-shown", detail));
                }
                self.found.insert(*stamp);
            }
        }
        Ok(())
    }

    pub fn on_turn(&mut self, seen: &Seen) -> Result<(), Violation> {
        let Some(adopted) = seen.adopted else { return Ok(()) };
        let Some(server) = self.recorded.get(&adopted) else {
            let detail = format!("{} adopted {adopted:?}, never durable", seen.incarnation);
            return Err(Violation::new("recorded-before-shown", detail));
        };
        if seen.serving && *server != Some(seen.incarnation) {
            let detail =
                format!("{} serves in {adopted:?}, which is {server:?}'s", seen.incarnation);
            return Err(Violation::new("recorded-before-shown", detail));
        }
        Ok(())
    }
}
