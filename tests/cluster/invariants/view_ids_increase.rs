//! view-ids-increase (I5): the stamps of durable records strictly increase within a history.

use pbkv::protocol::view::Record;

use crate::invariants::Violation;

#[derive(Default)]
pub struct ViewIdsIncrease {
    begun: bool,
}

impl ViewIdsIncrease {
    pub fn on_record(
        &mut self,
        previous: Option<&Record>,
        record: &Record,
    ) -> Result<(), Violation> {
        // The first record of a new history has no predecessor in it.
        let previous = previous.filter(|_| self.begun);
        self.begun = true;
        let Some(previous) = previous else { return Ok(()) };
        if previous.history != record.history {
            let detail = format!("history {:?} follows {:?}", record.history, previous.history);
            return Err(Violation::new("history-never-forks", detail));
        }
        // The same record may be written again, for other addresses or another lease.
        let same = previous.stamp() == record.stamp() && previous.view == record.view;
        if previous.stamp() < record.stamp() || same {
            return Ok(());
        }
        let detail = format!("{:?} is recorded after {:?}", record.stamp(), previous.stamp());
        Err(Violation::new("view-ids-increase", detail))
    }
}
