//! primary-comes-from-eligible (I6): a view's primary held every acknowledged operation when the
//! view was drawn, and nobody becomes eligible except as the backup of an activated view.

use pbkv::protocol::view::{Phase, Record};

use crate::invariants::Violation;
use crate::observe::Seen;

/// Active records, oldest first, from the last one that its primary had adopted: the one that could
/// serve. Later ones may be lost with the view server's disk before anybody heard of them, and then
/// never were; a recovery may continue any of these, and begin anew if none was ever adopted.
#[derive(Default)]
pub struct PrimaryComesFromEligible {
    active: Vec<Record>,
    pub in_force: bool,
}

impl PrimaryComesFromEligible {
    pub fn on_turn(&mut self, seen: &Seen) {
        let in_force = self.active.iter().position(|active| {
            seen.adopted == Some(active.stamp())
                && seen.incarnation == active.view.primary.incarnation
        });
        if let Some(in_force) = in_force {
            self.active.drain(..in_force);
            self.in_force = true;
        }
    }

    pub fn on_record(&mut self, record: &Record) -> Result<(), Violation> {
        if let Some(newest) = self.active.last() {
            let recovered = newest.view.id.epoch < record.view.id.epoch;
            let mut bases = self.active.iter();
            let continues = bases.any(|base| follows(base, record).is_ok());
            if !recovered || (!continues && self.in_force) {
                follows(newest, record)?;
            }
        }
        if record.phase == Phase::Active {
            self.active.push(record.clone());
        }
        Ok(())
    }
}

fn follows(active: &Record, record: &Record) -> Result<(), Violation> {
    if active.view.id >= record.view.id || active.eligible.is_empty() {
        return Ok(());
    }
    let primary = record.view.primary.incarnation;
    if !active.is_eligible(primary) {
        return Err(violation("is primary but was not eligible", active, record));
    }
    let backup = record.view.backup.as_ref().map(|member| member.incarnation);
    for member in &record.eligible {
        let grown = record.phase == Phase::Active && backup == Some(member.incarnation);
        if !active.is_eligible(member.incarnation) && !grown {
            return Err(violation("an eligible one appears", active, record));
        }
    }
    // An eligible copy must never be told to empty itself on the way to a promotion that may not
    // happen.
    let joins = record.view.joining.as_ref().or(record.view.backup.as_ref());
    if record.phase == Phase::Proposed
        && record.view.primary.incarnation != active.view.primary.incarnation
        && joins.is_some_and(|member| active.is_eligible(member.incarnation))
    {
        return Err(violation("an eligible copy would be wiped", active, record));
    }
    Ok(())
}

fn violation(what: &str, active: &Record, record: &Record) -> Violation {
    Violation::new(
        "primary-comes-from-eligible",
        format!("{what}: after {active:?}\n    comes {record:?}"),
    )
}
