//! A view server without its record: asks every server to promise a new epoch,
//! and goes on only when what was recorded last is known for certain.
//!
//! Only reports given with the promise count: a server that has promised adopts nothing of any
//! other or lower epoch from then on, so that no activation of the former view server can reach it
//! later (D49). The members asked are the eligible set of the highest record reported *and* the
//! primary and backup named there: one of them may have taken over since (D50).

use std::collections::BTreeMap;

use crate::protocol::view::{Member, Phase, Record, View};
use crate::types::{Epoch, HistoryId, Incarnation, ServerId, ViewId};

/// What was reported so far.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Recovery {
    /// The epoch that is asked for: above every one reported.
    epoch: Epoch,
    /// The record that turned out to be outdated: what is known at least. Without it, 1. the server
    /// that knew more restarts before it has reported .. 2. only empty spares answer .. 3. an empty
    /// history would begin while an eligible server is merely cut off.
    own: Option<Record>,
    /// Reports given with the promise of this very epoch.
    reports: BTreeMap<Incarnation, Reported>,
}

/// What one server has reported.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Reported {
    /// Its name.
    pub id: ServerId,
    /// The newest record it has adopted.
    pub record: Option<Record>,
    /// It holds a complete copy of that record's history.
    pub holds_copy: bool,
}

/// What is known for certain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// This record continues what was.
    Recovered(Box<Record>, String),
    /// Nobody who answered knows any data.
    Empty {
        /// The highest view number reported.
        number: u64,
    },
}

impl Recovery {
    /// Begins to ask.
    #[must_use]
    pub fn new(epoch: Epoch, own: Option<Record>) -> Recovery {
        Recovery { epoch, own, reports: BTreeMap::new() }
    }

    /// The epoch to be promised.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Takes a report. Returns whether a higher epoch must be asked for, of everybody.
    pub fn on_report(&mut self, from: Incarnation, promised: Epoch, reported: Reported) -> bool {
        if promised > self.epoch {
            self.epoch = Epoch(promised.0 + 1, self.epoch.1);
            self.reports.clear();
            return true;
        }
        if promised == self.epoch {
            self.reports.insert(from, reported);
        }
        false
    }

    /// Whether this process has promised and reported.
    #[must_use]
    pub fn has_answered(&self, incarnation: Incarnation) -> bool {
        self.reports.contains_key(&incarnation)
    }

    fn reported(&self) -> impl Iterator<Item = &Record> {
        let reported = self.reports.values().filter_map(|report| report.record.as_ref());
        let own = self.own.as_ref();
        let belongs = move |record: &&Record| own.is_none_or(|own| record.history == own.history);
        reported.chain(own).filter(belongs)
    }

    /// Whether everybody who was to hold this history follows another one, and nobody who knows it
    /// holds a copy. Who holds one never follows another, so nothing was ever written: 1. a history
    /// begins, and its primary hears nothing of that, but a spare does .. 2. the record is lost, and
    /// the spare cut off .. 3. another history begins with the same primary.
    fn is_given_up(&self, history: HistoryId) -> bool {
        let is_of = |report: &&Reported| {
            report.record.as_ref().is_some_and(|record| record.history == history)
        };
        let mut copies = self.reports.values().filter(is_of).map(|report| report.holds_copy);
        let records = self.reports.values().filter(is_of).filter_map(|it| it.record.as_ref());
        let follows_another = |member: &Member| {
            let report = self.reports.get(&member.incarnation);
            report.is_some_and(|report| report.record.is_some() && !is_of(&report))
        };
        records.max_by_key(|record| record.stamp()).is_some_and(|highest| {
            !highest.eligible.is_empty() && highest.eligible.iter().all(follows_another)
        }) && !copies.any(|holds_copy| holds_copy)
    }

    /// What counts of that: a history that was only proposed says nothing beside one that began,
    /// nor does one that was given up.
    fn records(&self) -> impl Iterator<Item = &Record> {
        let has_begun = |record: &Record| {
            let history = record.history;
            self.reported().any(|it| it.history == history && began(it))
                && !self.is_given_up(history)
        };
        let any_began = self.reported().any(has_begun);
        self.reported().filter(move |record| !any_began || has_begun(record))
    }

    fn highest(&self) -> Option<&Record> {
        self.records().max_by_key(|record| record.stamp())
    }

    /// The history, if one is known.
    #[must_use]
    pub fn history(&self) -> Option<HistoryId> {
        self.highest().map(|record| record.history)
    }

    /// Who holds everything, as far as is reported.
    #[must_use]
    pub fn eligible(&self) -> &[Member] {
        self.highest().map_or(&[], |record| &record.eligible)
    }

    /// The highest view number known.
    #[must_use]
    pub fn highest_number(&self) -> u64 {
        self.records().map(|record| record.view.id.number).max().unwrap_or(0)
    }

    fn has_two_histories(&self) -> bool {
        let begun = self.records().any(began);
        let mut histories = self.records().filter(|_| begun).map(|record| record.history);
        histories.next().is_some_and(|first| histories.any(|other| other != first))
    }

    fn missing_members(&self) -> Vec<&Member> {
        let Some(highest) = self.highest() else { return Vec::new() };
        let named = std::iter::once(&highest.view.primary).chain(&highest.view.backup);
        let mut missing: Vec<&Member> = Vec::new();
        for member in highest.eligible.iter().chain(named) {
            let known = missing.iter().any(|other| other.incarnation == member.incarnation);
            if !known && !self.has_answered(member.incarnation) {
                missing.push(member);
            }
        }
        missing
    }

    /// Whether it cannot go on without this process.
    #[must_use]
    pub fn awaits(&self, incarnation: Incarnation) -> bool {
        self.missing_members().iter().any(|member| member.incarnation == incarnation)
    }

    /// Names of those that must answer before it can go on.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let missing = self.missing_members().into_iter();
        missing
            .map(|member| format!("{} (incarnation {})", member.id, member.incarnation))
            .collect()
    }

    /// What is waited for.
    #[must_use]
    pub fn waiting(&self) -> String {
        let missing = self.missing();
        if self.has_two_histories() {
            let holders: Vec<_> = self
                .reports
                .values()
                .filter(|report| report.record.is_some())
                .map(|report| report.id.to_string())
                .collect();
            return format!(
                "servers know different histories ({}): stop those that do not belong here, \
                 then restart the view server",
                holders.join(", ")
            );
        }
        if !missing.is_empty() {
            return format!(
                "the record is lost: waiting for {} to report; if it is lost for good, `reset` \
                 begins an empty history",
                missing.join(" and ")
            );
        }
        if self.reports.is_empty() {
            return "waiting for a first server".to_owned();
        }
        "listening for servers".to_owned()
    }

    /// What is known for certain; none while somebody who must answer has not.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        if self.reports.is_empty() || self.has_two_histories() {
            return None;
        }
        let Some(highest) = self.highest() else {
            return Some(Outcome::Empty { number: 0 });
        };
        if !self.missing_members().is_empty() {
            return None;
        }
        if !began(highest) {
            // Activation would have been reported by its primary: nothing was stored in that view.
            // 1. its primary fell silent .. 2. the history began with another server, which served
            // and does not answer now .. 3. begun again under the same id, in a higher epoch, the
            // history would tell that server to give up what it holds. So the next one has an id
            // of its own, and theirs is left alone.
            let number = highest.view.id.number;
            return Some(Outcome::Empty { number });
        }
        let continued = Box::new(self.continued(highest));
        Some(Outcome::Recovered(continued, "the record is recovered".to_owned()))
    }

    /// The record that continues the highest one reported, in the new epoch. Everybody who could
    /// know more has answered, so the reported state is the state.
    fn continued(&self, highest: &Record) -> Record {
        let view = &highest.view;
        let id = ViewId { epoch: self.epoch, number: view.id.number + 1 };
        let lease = self.records().map(|record| record.lease).max().unwrap_or_default();
        let (primary, backup, genesis) = match highest.phase {
            // The joiner begins again.
            Phase::Active => {
                // A first view that its primary never heard of: it still has to begin empty.
                let report = self.reports.get(&view.primary.incarnation);
                let newest = report.and_then(|report| report.record.as_ref());
                let unheard = newest.is_none_or(|newest| newest.stamp() < highest.stamp());
                (view.primary.clone(), view.backup.clone(), view.genesis && unheard)
            }
            // A proposed pair: its primary goes on, alone. The backup may lack what it commits
            // when it takes up again.
            Phase::Proposed if highest.keeps_primary() => (view.primary.clone(), None, false),
            // A proposed promotion never served. It is proposed again: both copies stay eligible,
            // because either may have died after it reported.
            Phase::Proposed => {
                return Record { view: View { id, ..view.clone() }, lease, ..highest.clone() };
            }
        };
        let eligible = std::iter::once(&primary).chain(&backup).cloned().collect();
        Record {
            history: highest.history,
            phase: Phase::Active,
            eligible,
            last_primary: Some(primary.clone()),
            lease,
            view: View { id, primary, backup, joining: None, since: view.since, genesis },
        }
    }
}

/// Whether something may be stored: not while a first view is merely proposed.
fn began(record: &Record) -> bool {
    record.phase == Phase::Active || !record.eligible.is_empty()
}
