//! Giving up all data (rule 9): refused as long as somebody who may hold it answers, and checked again
//! when it is recorded. What follows is an empty history, in an epoch above everything promised.

use std::time::Duration;

use crate::protocol::Outbox;
use crate::protocol::counts::Cause;
use crate::protocol::view::{Member, Micros, Phase, Record, View};
use crate::protocol::view_server::{Answer, Mode, ViewServer};
use crate::time::Timestamp;
use crate::types::{Epoch, HistoryId, ViewId};

impl ViewServer {
    /// Whether all data may be given up, with what would be lost.
    pub(super) fn check_reset(&self, now: Timestamp) -> Result<String, String> {
        if now < self.listens_until {
            return Err("still listening for servers; try again in a moment".to_owned());
        }
        let mut warning = "all data of this cluster is given up".to_owned();
        let mut held_by = |members: Vec<(String, Option<Duration>)>| {
            for (name, silent) in members {
                let since = silent.map_or_else(
                    || "gone (its id is borne by another process, or was never heard)".to_owned(),
                    |silent| format!("silent for {:.1}s", silent.as_secs_f64()),
                );
                warning +=
                    &format!("; {name} is {since}: it may hold the data, and may still be serving");
            }
        };
        let history = match &self.mode {
            Mode::Recovering(recovery) => {
                if !self.all_have_reported(now, recovery) {
                    return Err("still asking the servers; try again in a moment".to_owned());
                }
                let alive = |member: &&Member| self.roster.is_alive(now, self.timing(), member);
                if let Some(holder) = recovery.eligible().iter().find(alive) {
                    return Err(format!(
                        "{holder} may hold all data and answers; stop it first if it shall be lost"
                    ));
                }
                held_by(recovery.missing().into_iter().map(|name| (name, None)).collect());
                recovery.history()
            }
            Mode::Running(record) => {
                let alive = |member: &&Member| self.roster.is_alive(now, self.timing(), member);
                if let Some(holder) = record.eligible.iter().find(alive) {
                    return Err(format!("{holder} holds all data and answers"));
                }
                let silence =
                    |member: &Member| self.roster.known(member).map(|known| now.since(known.heard));
                held_by(
                    record.eligible.iter().map(|held| (held.to_string(), silence(held))).collect(),
                );
                Some(record.history)
            }
        };
        if self.pick_first(now, history).is_none() {
            return Err("no server is there to begin with; start one".to_owned());
        }
        Ok(warning)
    }

    pub(super) fn reset(&mut self, now: Timestamp, outbox: &mut Outbox<Answer>) -> Answer {
        // Checked again when it is recorded: a server may have come back since it was prepared.
        if let Err(refusal) = self.check_reset(now) {
            return Answer::ResetRefused(refusal);
        }
        let promised = self
            .roster
            .iter()
            .filter_map(|(_, tracked)| tracked.known.as_ref())
            .map(|known| known.promised.0)
            .max()
            .unwrap_or(0);
        let (history, number, counter) = match &self.mode {
            Mode::Recovering(recovery) => (
                recovery.history().unwrap_or(HistoryId(self.config.incarnation.0)),
                recovery.highest_number(),
                recovery.epoch().0,
            ),
            Mode::Running(record) => {
                (record.history, record.view.id.number, record.view.id.epoch.0)
            }
        };
        let Some(primary) = self.pick_first(now, Some(history)) else {
            return Answer::ResetRefused("no server is there to begin with".to_owned());
        };
        let epoch = Epoch(counter.max(promised) + 1, self.config.incarnation.0);
        let id = ViewId { epoch, number: number + 1 };
        let text = format!("a new, empty history begins with {primary} in view {id}");
        let mut record = Record::first(history, id, primary);
        record.lease = self.lease_to_record(now);
        self.enact(record, (Cause::Reset, "reset by the operator"), now, outbox);
        Answer::ResetDone(text)
    }
}

impl Record {
    /// The first view of an empty history, proposed.
    pub(super) fn first(history: HistoryId, id: ViewId, primary: Member) -> Record {
        Record {
            history,
            view: View { id, primary, backup: None, joining: None, since: id, genesis: true },
            phase: Phase::Proposed,
            eligible: Vec::new(),
            last_primary: None,
            lease: Micros::default(),
        }
    }
}
