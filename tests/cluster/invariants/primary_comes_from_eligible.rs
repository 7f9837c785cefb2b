//! primary-comes-from-eligible (I6): a view's primary held every acknowledged operation when the
//! view was drawn, and nobody becomes eligible except as the backup of an activated view.

use pbkv::protocol::view::{Phase, Record};

use crate::invariants::Violation;

#[derive(Default)]
pub struct PrimaryComesFromEligible {
    active: Option<Record>,
}

impl PrimaryComesFromEligible {
    pub fn on_record(&mut self, record: &Record) -> Result<(), Violation> {
        if let Some(active) = &self.active
            && active.view.id < record.view.id
            && !active.eligible.is_empty()
        {
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
            // An eligible copy must never be told to empty itself on the way to a promotion that
            // may not happen.
            let joins = record.view.joining.as_ref().or(record.view.backup.as_ref());
            if record.phase == Phase::Proposed
                && record.view.primary.incarnation != active.view.primary.incarnation
                && joins.is_some_and(|member| active.is_eligible(member.incarnation))
            {
                return Err(violation("an eligible copy would be wiped", active, record));
            }
        }
        if record.phase == Phase::Active {
            self.active = Some(record.clone());
        }
        Ok(())
    }
}

fn violation(what: &str, active: &Record, record: &Record) -> Violation {
    Violation::new(
        "primary-comes-from-eligible",
        format!("{what}: after {active:?}\n    comes {record:?}"),
    )
}
