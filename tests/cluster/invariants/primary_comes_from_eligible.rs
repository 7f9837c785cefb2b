//! primary-comes-from-eligible (I6): a view's primary held every acknowledged operation when the
//! view was drawn, and nobody becomes eligible except as the backup of an activated view.

use pbkv::protocol::view::{Phase, Record};

use crate::invariants::Violation;
use crate::observe::Seen;

#[derive(Default)]
pub struct PrimaryComesFromEligible {
    active: Option<Record>,
    /// The last active record that its primary had adopted: the one that could serve. A later one
    /// may be lost with the view server's disk before anybody heard of it, and then never was.
    in_force: Option<Record>,
}

impl PrimaryComesFromEligible {
    pub fn on_turn(&mut self, seen: &Seen) {
        if let Some(active) = &self.active
            && seen.adopted == Some(active.stamp())
            && seen.incarnation == active.view.primary.incarnation
            && self.in_force.as_ref().is_none_or(|in_force| in_force.stamp() < active.stamp())
        {
            self.in_force = Some(active.clone());
        }
    }

    pub fn on_record(&mut self, record: &Record) -> Result<(), Violation> {
        let recovered = |active: &Record| active.view.id.epoch < record.view.id.epoch;
        let follows_active = follows(self.active.as_ref(), record);
        // A recovery may continue what was recorded last, or what was in force before that.
        if self.active.as_ref().is_some_and(recovered) && follows_active.is_err() {
            follows(self.in_force.as_ref(), record)?;
        } else {
            follows_active?;
        }
        if record.phase == Phase::Active {
            self.active = Some(record.clone());
        }
        Ok(())
    }
}

fn follows(before: Option<&Record>, record: &Record) -> Result<(), Violation> {
    let Some(active) = before else { return Ok(()) };
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
