//! one-content-per-view (I5): a view id names one primary, backup, joiner and lineage for ever, and
//! once it is active one eligible set.

use std::collections::BTreeMap;

use pbkv::protocol::view::{Member, Phase, Record, View};
use pbkv::types::ViewId;

use crate::invariants::Violation;

#[derive(Default)]
pub struct OneContentPerView {
    views: BTreeMap<ViewId, (View, Option<Vec<Member>>)>,
}

impl OneContentPerView {
    pub fn on_record(&mut self, record: &Record) -> Result<(), Violation> {
        let id = record.view.id;
        let active = record.phase == Phase::Active;
        let known = self.views.entry(id).or_insert_with(|| (record.view.clone(), None));
        if !same_content(&known.0, &record.view) {
            let detail = format!("view {id} was {:?} and is now {:?}", known.0, record.view);
            return Err(Violation::new("one-content-per-view", detail));
        }
        match &known.1 {
            Some(eligible) if active && !same_processes(eligible, &record.eligible) => {
                let detail = format!("view {id}: {eligible:?}, then {:?}", record.eligible);
                return Err(Violation::new("one-content-per-view", detail));
            }
            Some(_) if !active => {
                let detail = format!("view {id} was active and is proposed again");
                return Err(Violation::new("one-content-per-view", detail));
            }
            None if active => known.1 = Some(record.eligible.clone()),
            Some(_) | None => {}
        }
        // Only the last few views can come back.
        while self.views.len() > 64 {
            self.views.pop_first();
        }
        Ok(())
    }
}

/// Addresses may become known better; who it is must not change.
fn same_content(one: &View, other: &View) -> bool {
    let who = |view: &View| {
        let id = |member: &Option<Member>| member.as_ref().map(|member| member.incarnation);
        (view.primary.incarnation, id(&view.backup), id(&view.joining), view.since, view.genesis)
    };
    who(one) == who(other)
}

fn same_processes(one: &[Member], other: &[Member]) -> bool {
    one.len() == other.len()
        && one.iter().all(|member| other.iter().any(|it| it.incarnation == member.incarnation))
}
